//! The four rungs of help, one a call.

use anstyle::Style;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hints {
    schema: u32,
    /// The ghost.
    pub slug: String,
    /// One rung; those that were taken, where they are read again; or all four once they were all given or the ghost is laid to
    /// rest.
    pub rungs: Vec<Rung>,
}

/// One hint.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rung {
    /// Its number, from 1.
    pub number: usize,
    /// What it tells, in two or three words.
    pub tells: String,
    /// The hint.
    pub text: String,
}

/// Takes the next hint, and records that it was taken; or reads those `again` that were taken before, and takes none.
///
/// # Errors
/// If `case.toml` is wrong or the progress cannot be read; and if there is none to read again.
pub fn take(exercise: &Exercise<'_>, again: bool) -> Result<Hints, Refusal> {
    let slug = exercise.slug();
    let texts = case::read(exercise.checkout, slug)?.hints;
    let summary = exercise.progress()?;
    let all = RUNGS.iter().zip(texts).enumerate();
    let rung =
        |(index, (tells, text)): (usize, (&&str, String))| Rung { number: index + 1, tells: (*tells).to_owned(), text };
    let mut rungs: Vec<Rung> = all.map(rung).collect();
    // Whoever has solved it may read all, until they begin anew.
    let is_open = summary.state == State::Solved && !summary.anew || summary.hints == RUNGS.len();
    if again && !is_open {
        rungs.truncate(summary.hints);
        if rungs.is_empty() {
            return Err(Refusal::new(format!(
                "you have taken no hint yet; `cargo ghosts hint {slug}` gives the first"
            )));
        }
    } else if !is_open {
        rungs = vec![rungs.remove(summary.hints)];
        exercise.record(Deed::Hint { rung: summary.hints + 1 });
    }
    Ok(Hints { schema: 1, slug: slug.to_owned(), rungs })
}

/// Takes the next hint, or reads those `again` that were taken, and prints.
///
/// # Errors
/// As [`take`].
pub fn run(exercise: &Exercise<'_>, again: bool, json: bool) -> Result<bool, Refusal> {
    let hints = take(exercise, again)?;
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
