//! The way to the fixed twin from where the learner is: a difference, with the reason of each piece.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, IsTerminal, Write},
};

use anstyle::Style;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::exercise::Exercise;
use crate::{
    Refusal,
    catalogue::{
        case::{self, Reason},
        difference,
        exercise_files::{JUDGED, without_cause},
    },
    checkout::{Checkout, EXERCISES},
    progress::{Deed, State},
    terminal::{self, print, print_json, wrapped},
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
pub fn of(exercise: &Exercise<'_>) -> Result<Solution, Refusal> {
    let (checkout, slug) = (exercise.checkout, exercise.slug());
    let case = case::read(checkout, slug)?;
    let mut solution = Solution { schema: 1, slug, fix: fix(checkout, slug)?, hunks: Vec::new() };
    for file in difference::FILES {
        let name = format!("fixed/{slug}/src/{file}");
        if !checkout.has(&name) {
            continue;
        }
        let mut fixed = without_cause(&checkout.text(&name)?);
        if file == "lib.rs" {
            fixed.push_str(JUDGED);
        }
        // A file that the learner has removed is to be written anew.
        let yours = fs::read_to_string(exercise.folder().join("src").join(file)).unwrap_or_default();
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
fn fix(checkout: &Checkout, slug: &str) -> Result<String, Refusal> {
    let lib = checkout.text(&format!("fixed/{slug}/src/lib.rs"))?;
    let lines = lib.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph = lines.skip_while(|line| *line != "# Fix").skip(1).take_while(|line| !line.starts_with("# "));
    Ok(paragraph.collect::<Vec<_>>().join(" ").trim().to_owned())
}

/// Shows the solution; asks first whoever has not solved it.
///
/// # Errors
/// If nobody can be asked, or a source cannot be read.
pub fn run(exercise: &Exercise<'_>, yes: bool, json: bool) -> Result<bool, Refusal> {
    if !exercise.folder().is_dir() {
        return exercise.standing().map(|_| true);
    }
    let solved = exercise.progress()?.state == State::Solved;
    if !(solved || yes || agreed(exercise.slug())?) {
        print("not shown\n")?;
        return Ok(true);
    }
    let solution = of(exercise)?;
    exercise.record(Deed::Solution);
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
            "you have not laid {slug} to rest yet; `cargo ghosts hint {slug}` helps, `--yes` shows the solution \
             anyway"
        )));
    }
    // The answer is what counts; a question that cannot be written is not answered with yes.
    let _ = write!(io::stderr(), "You have not laid {slug} to rest yet. Show the solution anyway? [y/N] ");
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
                let _ = writeln!(text, "\n{bold}{EXERCISES}/{}/src/{file}{bold:#}", self.slug);
            }
            text.push('\n');
            hunk.reasons.iter().for_each(|reason| text.push_str(&wrapped(reason, "  # ")));
            text.push_str(&terminal::difference(&hunk.text, "  "));
        }
        let _ = writeln!(text, "\nThe whole file: fixed/{}/src/lib.rs", self.slug);
        text
    }
}
