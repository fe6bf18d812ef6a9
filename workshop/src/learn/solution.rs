//! The way to the fixed twin from where the learner is: a difference, with the reason of each piece.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::{
    Refusal,
    case::{self, Reason},
    difference,
    exercise::{self, FOLDER, JUDGED, exercises, folder, recorded},
    ghosts::Ghost,
    print, print_json,
    progress::{self, Deed, State},
    wrapped,
};

/// The solution of one ghost, for one learner.
#[derive(Clone, Debug, Serialize)]
pub struct Solution {
    schema: u32,
    /// The ghost.
    pub slug: &'static str,
    /// What the fixed twin does, in a paragraph.
    pub fix: String,
    /// What to change, piece by piece.
    pub hunks: Vec<Hunk>,
}

/// One piece of the difference.
#[derive(Clone, Debug, Serialize)]
pub struct Hunk {
    /// The file, below the exercise.
    pub file: &'static str,
    /// The piece as a unified difference.
    pub text: String,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
}

/// The difference from the learner's files to the fixed twin.
///
/// # Errors
/// If a source cannot be read.
pub fn of(root: &Path, ghost: &Ghost) -> Result<Solution, Refusal> {
    let slug = ghost.slug;
    let case = case::read(root, slug)?;
    let mut solution = Solution { schema: 1, slug, fix: fix(root, slug)?, hunks: Vec::new() };
    for file in difference::FILES {
        let name = format!("fixed/{slug}/src/{file}");
        if !root.join(&name).exists() {
            continue;
        }
        let mut fixed = exercise::without_cause(&exercise::text(root, &name)?);
        if file == "lib.rs" {
            fixed.push_str(JUDGED);
        }
        // A file that the learner has removed is to be written anew.
        let yours = fs::read_to_string(folder(root, slug).join("src").join(file)).unwrap_or_default();
        let (yours, fixed) = (without_header(&yours), without_header(&fixed));
        solution.hunks.extend(hunks(file, &yours, &fixed, &case.reasons));
    }
    Ok(solution)
}

/// The header tells of the twin's behaviour and is no part of the fix.
fn without_header(source: &str) -> String {
    let source = source.replace("\r\n", "\n");
    let lines = source.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

fn hunks(file: &'static str, yours: &str, fixed: &str, reasons: &[Reason]) -> Vec<Hunk> {
    let diff = TextDiff::from_lines(yours, fixed);
    let mut unified = diff.unified_diff();
    let hunks = unified.context_radius(3).iter_hunks();
    let with_reasons = hunks.map(|hunk| {
        let changes = hunk.iter_changes().filter(|change| change.tag() != ChangeTag::Equal);
        let changed: Vec<&str> = changes.map(|change| change.value()).collect();
        let fits = |reason: &&Reason| changed.iter().any(|line| line.contains(&reason.code));
        let reasons = reasons.iter().filter(fits).map(|reason| reason.why.clone()).collect();
        // Line numbers are of no use to somebody who reads: the headers of both files have been left out.
        let text = hunk.to_string().split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or_default();
        Hunk { file, text, reasons }
    });
    with_reasons.collect()
}

/// The paragraph under `# Fix` in the header of the fixed twin.
fn fix(root: &Path, slug: &str) -> Result<String, Refusal> {
    let lib = exercise::text(root, &format!("fixed/{slug}/src/lib.rs"))?;
    let lines = lib.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph = lines.skip_while(|line| *line != "# Fix").skip(1).take_while(|line| !line.starts_with("# "));
    Ok(paragraph.collect::<Vec<_>>().join(" ").trim().to_owned())
}

/// Shows the solution; asks first whoever has not solved it.
///
/// # Errors
/// If nobody can be asked, or a source cannot be read.
pub fn run(root: &Path, ghost: &Ghost, yes: bool, json: bool) -> Result<bool, Refusal> {
    let slug = ghost.slug;
    if !folder(root, slug).is_dir() {
        return exercise::standing(root, slug).map(|_| true);
    }
    let progress = progress::read(&exercises(root).join(progress::FILE))?;
    let solved = progress::summary(&progress.events, slug).state == State::Solved;
    if !(solved || yes || agreed(slug)?) {
        print("not shown\n")?;
        return Ok(true);
    }
    let solution = of(root, ghost)?;
    recorded(root, slug, Deed::Solution);
    if json {
        print_json(&solution)?;
    } else {
        print(&solution.text())?;
    }
    Ok(true)
}

fn agreed(slug: &str) -> Result<bool, Refusal> {
    if !io::stdin().is_terminal() {
        return Err(Refusal::new(format!(
            "you have not laid {slug} to rest yet; `cargo ghosts hint {slug}` helps, `--yes` shows the solution all the same"
        )));
    }
    // The answer is what counts; a question that cannot be written is not answered with yes.
    let _ = write!(io::stderr(), "You have not laid {slug} to rest yet. Show the solution all the same? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Refusal::new(format!("cannot read your answer: {error}")))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

impl Solution {
    fn text(&self) -> String {
        let bold = Style::new().bold();
        let mut text = wrapped(&self.fix, "");
        if self.hunks.is_empty() {
            text.push_str("\nYour files and ours are the same.\n");
        }
        let mut file = "";
        for hunk in &self.hunks {
            if file != hunk.file {
                file = hunk.file;
                let _ = writeln!(text, "\n{bold}{FOLDER}/{}/src/{file}{bold:#}", self.slug);
            }
            text.push('\n');
            hunk.reasons.iter().for_each(|reason| text.push_str(&wrapped(reason, "  # ")));
            text.push_str(&coloured(&hunk.text));
        }
        let _ = writeln!(text, "\nThe whole file: fixed/{}/src/lib.rs", self.slug);
        text
    }
}

fn coloured(hunk: &str) -> String {
    let mut text = String::new();
    for line in hunk.lines() {
        let style = match line.as_bytes().first() {
            Some(b'-') => AnsiColor::Red.on_default(),
            Some(b'+') => AnsiColor::Green.on_default(),
            _ => Style::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {style}{line}{style:#}");
    }
    text
}
