//! The difference of the twins: the lesson.

use std::{fmt::Write, fs, path::Path};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::{Refusal, ghosts::Ghost, print, print_json};

/// The files in which the twins may differ.
pub(crate) const FILES: [&str; 2] = ["lib.rs", "shared.rs"];

/// The one admitted difference in surface, which is no part of the lesson.
const NEAR_MISSES: &str = "#[doc(hidden)]\npub mod near_misses;\n";

#[derive(Serialize)]
struct Difference {
    schema: u32,
    slug: &'static str,
    unified: String,
}

/// Prints the difference.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn run(root: &Path, ghost: &Ghost, json: bool) -> Result<bool, Refusal> {
    let unified = unified(root, ghost.slug)?;
    if json {
        print_json(&Difference { schema: 1, slug: ghost.slug, unified })?;
    } else {
        print(&coloured(&unified))?;
    }
    Ok(true)
}

/// The difference of the twins of `slug` as a unified diff, from broken to fixed.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn unified(root: &Path, slug: &str) -> Result<String, Refusal> {
    let mut all = String::new();
    for file in FILES {
        let (broken, fixed) = (format!("cases/{slug}/src/{file}"), format!("fixed/{slug}/src/{file}"));
        let (old, new) = (source(root, &broken)?, source(root, &fixed)?);
        let diff = TextDiff::from_lines(&old, &new);
        if diff.ratio() < 1.0 {
            all.push_str(&diff.unified_diff().context_radius(3).header(&broken, &fixed).to_string());
        }
    }
    Ok(all)
}

/// How many code lines differ: the lines that are added and those that are taken away, without blank ones and comments.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn changed_code_lines(root: &Path, slug: &str) -> Result<usize, Refusal> {
    let mut changed = 0;
    for file in FILES {
        let old = source(root, &format!("cases/{slug}/src/{file}"))?;
        let new = source(root, &format!("fixed/{slug}/src/{file}"))?;
        let diff = TextDiff::from_lines(&old, &new);
        let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        changed += diff
            .iter_all_changes()
            .filter(|change| change.tag() != ChangeTag::Equal && is_code(change.value()))
            .count();
    }
    Ok(changed)
}

/// The text of a source file with line feeds only, without what is there for the book and for the tests; empty where a twin
/// has no such file.
fn source(root: &Path, name: &str) -> Result<String, Refusal> {
    let path = root.join(name);
    if name.ends_with("shared.rs") && !path.exists() {
        return Ok(String::new());
    }
    let text = fs::read_to_string(path).map_err(|error| Refusal::new(format!("cannot read {name}: {error}")))?;
    let text = text.replace("\r\n", "\n").replace(NEAR_MISSES, "").replace("\n\n\n", "\n\n");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("// ANCHOR"));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

fn coloured(unified: &str) -> String {
    let mut text = String::new();
    for line in unified.lines() {
        let style = match line.as_bytes().first() {
            _ if line.starts_with("---") || line.starts_with("+++") => Style::new().bold(),
            Some(b'-') => AnsiColor::Red.on_default(),
            Some(b'+') => AnsiColor::Green.on_default(),
            Some(b'@') => AnsiColor::Cyan.on_default(),
            _ => Style::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{style}{line}{style:#}");
    }
    text
}
