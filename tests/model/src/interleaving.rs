//! The run in which a model failed, as a table.

use std::fmt;
use std::panic::Location;
use std::path::Path;

use serde::Serialize;

/// The table is never wider, unless the format asks for another width.
const COLUMNS: usize = 100;
/// What a thread did beside a source line is broken into rows when longer.
const DID: usize = 36;

/// The run in which a model failed, step by step.
///
/// Its `Display` is a table to be followed from top to bottom, the broken statement last. `{:78}` fits it into 78 columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interleaving {
    /// Which of the explored interleavings it is, from 1.
    pub number: usize,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The statement that did not hold.
    pub broken: String,
}

/// One step of one thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The name of the thread; `main` for the one that runs the model's closure.
    pub thread: String,
    /// What it did.
    pub did: String,
    /// Where; none for a note and for a drop at the end of a block.
    pub source: Option<Source>,
}

/// The source line of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The line itself, without its indentation; empty if the file is not there.
    pub line: String,
    /// The name of the file and the number of the line, as `shared.rs:31`.
    pub place: String,
}

impl Step {
    pub(crate) fn new(thread: String, did: String, line: Option<&Location<'_>>) -> Self {
        let source = line.map(|at| {
            let file = Path::new(at.file()).file_name().unwrap_or_default().to_string_lossy();
            Source { line: read(at).unwrap_or_default(), place: format!("{file}:{}", at.line()) }
        });
        Self { thread, did, source }
    }
}

/// The compiler names a file from the root of its workspace, a test runs in the folder of its package.
fn read(at: &Location<'_>) -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let mut candidates = here.ancestors().map(|folder| folder.join(at.file()));
    let text = std::fs::read_to_string(candidates.find(|file| file.is_file())?).ok()?;
    let line = text.lines().nth(at.line() as usize - 1)?;
    Some(line.trim().to_owned())
}

impl fmt::Display for Interleaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |of: fn(&Step) -> usize| self.steps.iter().map(of).max().unwrap_or(0);
        let number = self.steps.len().to_string().len();
        let thread = widest(|step| width(&step.thread));
        let did = widest(|step| step.source.as_ref().map_or(0, |_| width(&step.did))).min(DID);
        let line = widest(|step| step.source.as_ref().map_or(0, |source| width(&source.line)));
        let place = widest(|step| step.source.as_ref().map_or(0, |source| width(&source.place)));
        // Two spaces stand between the columns.
        let rest = f.width().unwrap_or(COLUMNS).saturating_sub(number + thread + 4);
        let line = line.min(rest.saturating_sub(did + place + 4));

        writeln!(f, "interleaving {}\n", self.number)?;
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "{:number$}  {:thread$}", index + 1, step.thread)?;
            let room = if step.source.is_some() { did } else { rest };
            let mut rows = textwrap::wrap(&step.did, room).into_iter();
            let first = rows.next().unwrap_or_default();
            match &step.source {
                Some(source) => {
                    writeln!(f, "  {first:did$}  {:line$}  {}", fit(&source.line, line), source.place)?;
                }
                None => writeln!(f, "  {first}")?,
            }
            for row in rows {
                writeln!(f, "{:number$}  {:thread$}  {row}", "", "")?;
            }
        }
        write!(f, "\nbroken: {}", self.broken)
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn fit(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}
