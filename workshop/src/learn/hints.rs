//! The four rungs of help, one a call.

use anstyle::Style;
use serde::Serialize;

use super::exercise::Exercise;
use crate::{
    Refusal,
    catalogue::case,
    progress::{Deed, State},
    terminal::{print, print_json, wrapped},
};

/// What each rung tells.
const RUNGS: [&str; 4] = ["where to look", "what to ask", "the mechanism", "the fix"];

/// The hints of one call.
#[derive(Clone, Debug, Serialize)]
pub struct Hints {
    schema: u32,
    /// The ghost.
    pub slug: &'static str,
    /// One rung, or all four once they were all given or the ghost is laid to rest.
    pub rungs: Vec<Rung>,
}

/// One hint.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// Its number, from 1.
    pub number: usize,
    /// What it tells, in two or three words.
    pub tells: &'static str,
    /// The hint.
    pub text: String,
}

/// Takes the next hint, and records that it was taken.
///
/// # Errors
/// If `case.toml` is wrong or the progress cannot be read.
pub fn take(exercise: &Exercise<'_>) -> Result<Hints, Refusal> {
    let slug = exercise.slug();
    let texts = case::read(exercise.checkout, slug)?.hints;
    let summary = exercise.progress()?;
    let all = RUNGS.iter().zip(texts).enumerate();
    let mut rungs: Vec<Rung> = all.map(|(index, (tells, text))| Rung { number: index + 1, tells, text }).collect();
    if summary.state != State::Solved && summary.hints < RUNGS.len() {
        rungs = vec![rungs.remove(summary.hints)];
        exercise.record(Deed::Hint { rung: summary.hints + 1 });
    }
    Ok(Hints { schema: 1, slug, rungs })
}

/// Takes the next hint and prints it.
///
/// # Errors
/// As [`take`].
pub fn run(exercise: &Exercise<'_>, json: bool) -> Result<bool, Refusal> {
    let hints = take(exercise)?;
    if json {
        print_json(&hints)?;
    } else {
        print(&hints.text())?;
    }
    Ok(true)
}

impl Hints {
    /// The hints for the terminal.
    pub fn text(&self) -> String {
        let bold = Style::new().bold();
        let mut text = String::new();
        for rung in &self.rungs {
            text.push_str(&format!("{bold}{} of {}, {}{bold:#}\n", rung.number, RUNGS.len(), rung.tells));
            text.push_str(&format!("{}\n", wrapped(&rung.text, "  ")));
        }
        text.push_str(&match self.rungs.last() {
            Some(last) if last.number < RUNGS.len() => {
                format!("Next, {}: cargo ghosts hint {}\n", RUNGS[last.number], self.slug)
            }
            _ => format!("After this: cargo ghosts solution {}\n", self.slug),
        });
        text
    }
}
