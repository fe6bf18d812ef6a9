//! The difference of the twins: the lesson.

use similar::{ChangeTag, TextDiff};

use crate::{Refusal, checkout::Checkout};

/// The files in which the twins may differ.
pub(crate) const FILES: [&str; 2] = ["lib.rs", "shared.rs"];

/// The one admitted difference in surface, which is no part of the lesson.
const NEAR_MISSES: &str = "#[doc(hidden)]\npub mod near_misses;\n";

/// The difference of the twins of `slug` as a unified diff, from broken to fixed.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn unified(checkout: &Checkout, slug: &str) -> Result<String, Refusal> {
    let mut all = String::new();
    for file in FILES {
        let (broken, fixed) = (format!("cases/{slug}/src/{file}"), format!("fixed/{slug}/src/{file}"));
        let (old, new) = (source(checkout, &broken)?, source(checkout, &fixed)?);
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
pub fn changed_code_lines(checkout: &Checkout, slug: &str) -> Result<usize, Refusal> {
    let mut changed = 0;
    for file in FILES {
        let old = source(checkout, &format!("cases/{slug}/src/{file}"))?;
        let new = source(checkout, &format!("fixed/{slug}/src/{file}"))?;
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
fn source(checkout: &Checkout, name: &str) -> Result<String, Refusal> {
    if name.ends_with("shared.rs") && !checkout.has(name) {
        return Ok(String::new());
    }
    let text = checkout.text(name)?.replace(NEAR_MISSES, "").replace("\n\n\n", "\n\n");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("// ANCHOR"));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}
