//! The steps of the run that is going on, and the table that a failing one becomes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};

use loom::thread::ThreadId;
use serde::Serialize;

/// The table is never wider than this.
const COLUMNS: usize = 100;
/// What a thread did is broken into lines where it is longer than this.
const DEED: usize = 36;

/// The run in which a model failed, step by step.
///
/// Its `Display` is a table to be followed from top to bottom, with the broken statement last.
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
    /// The name of the thread, `main` for the one that runs the model's closure.
    pub thread: String,
    /// What it did.
    pub did: String,
    /// The text of the line that did it; none for an unlock and a note.
    pub line: Option<String>,
    /// File name and number of that line, as `shared.rs:31`.
    pub place: Option<String>,
}

#[derive(Default)]
struct Trace {
    number: usize,
    steps: Vec<Raw>,
    waiting: Vec<(ThreadId, String, &'static Location<'static>)>,
    arcs: usize,
    counted: BTreeSet<usize>,
}

struct Raw {
    thread: String,
    did: String,
    at: Option<&'static Location<'static>>,
    /// Shown only if the owners of this `Arc` are counted.
    arc: Option<usize>,
}

thread_local! {
    /// The threads of a model are coroutines on the OS thread of the test, so one trace is theirs.
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Forgets what an exploration before this one has left.
pub(crate) fn begin() {
    TRACE.set(Some(Trace::default()));
}

/// Begins the next run and says which it is.
pub(crate) fn next_run() -> usize {
    TRACE.with_borrow_mut(|trace| {
        let number = trace.as_ref().map_or(0, |trace| trace.number) + 1;
        *trace = Some(Trace {
            number,
            ..Trace::default()
        });
        number
    })
}

/// Ends the exploration: the number of the last run, and its table should it have `broken` something.
pub(crate) fn end(broken: Option<String>) -> (usize, Option<Interleaving>) {
    let trace = TRACE.take().expect("an exploration was begun");
    (trace.number, broken.map(|broken| trace.tell(broken)))
}

pub(crate) fn exploring() -> bool {
    TRACE.with_borrow(Option::is_some)
}

#[track_caller]
pub(crate) fn step(did: String) {
    record(did, Some(Location::caller()), None);
}

pub(crate) fn step_without_line(did: String) {
    record(did, None, None);
}

#[track_caller]
pub(crate) fn change_owners(arc: usize, did: String) {
    record(did, Some(Location::caller()), Some(arc));
}

#[track_caller]
pub(crate) fn count_owners(arc: usize, did: String) {
    record(did, Some(Location::caller()), Some(arc));
    with(|trace| trace.counted.insert(arc));
}

pub(crate) fn next_arc() -> usize {
    with(|trace| {
        trace.arcs += 1;
        trace.arcs
    })
    .unwrap_or_default()
}

/// A thread that waits for a lock: it stands in the table only if nobody ever lets it in.
pub(crate) struct Waiting(ThreadId);

#[track_caller]
pub(crate) fn wait() -> Waiting {
    let (thread, name) = (loom::thread::current().id(), name());
    with(|trace| trace.waiting.push((thread, name, Location::caller())));
    Waiting(thread)
}

impl Waiting {
    pub(crate) fn ends(self) {
        with(|trace| trace.waiting.retain(|(thread, ..)| *thread != self.0));
    }
}

/// Nothing is recorded of a thread that unwinds: the run is over, and loom no longer answers.
fn record(did: String, at: Option<&'static Location<'static>>, arc: Option<usize>) {
    if exploring() && !std::thread::panicking() {
        let thread = name();
        with(|trace| {
            trace.steps.push(Raw {
                thread,
                did,
                at,
                arc,
            })
        });
    }
}

fn name() -> String {
    loom::thread::current().name().unwrap_or("main").to_owned()
}

fn with<R>(act: impl FnOnce(&mut Trace) -> R) -> Option<R> {
    TRACE.with_borrow_mut(|trace| trace.as_mut().map(act))
}

impl Trace {
    fn tell(self, mut broken: String) -> Interleaving {
        let mut steps = self.steps;
        steps.retain(|step| step.arc.is_none_or(|arc| self.counted.contains(&arc)));
        if broken.starts_with("deadlock") {
            broken = "every thread waits for another: a deadlock".to_owned();
            steps.extend(self.waiting.into_iter().map(|(_, thread, at)| Raw {
                thread,
                did: "waits for ever".to_owned(),
                at: Some(at),
                arc: None,
            }));
        }
        let steps = steps
            .into_iter()
            .map(
                |Raw {
                     thread, did, at, ..
                 }| Step {
                    thread,
                    did,
                    line: at.and_then(line_of),
                    place: at.map(place_of),
                },
            )
            .collect();
        Interleaving {
            number: self.number,
            steps,
            broken,
        }
    }
}

fn place_of(at: &Location<'_>) -> String {
    let name = Path::new(at.file()).file_name().unwrap_or_default();
    format!("{}:{}", name.to_string_lossy(), at.line())
}

/// The compiler names a file from the root of the workspace, a test runs in its package's folder.
fn line_of(at: &Location<'_>) -> Option<String> {
    let here = std::env::current_dir().unwrap_or_default();
    let file: PathBuf = here
        .ancestors()
        .map(|folder| folder.join(at.file()))
        .find(|file| file.is_file())?;
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.lines().nth(at.line() as usize - 1)?.trim().to_owned())
}

impl fmt::Display for Interleaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |of: fn(&Step) -> usize| self.steps.iter().map(of).max().unwrap_or(0);
        let number = self.steps.len().to_string().len();
        let thread = widest(|step| step.thread.chars().count());
        let place = widest(|step| step.place.as_ref().map_or(0, String::len));
        let did =
            widest(|step| step.line.as_ref().map_or(0, |_| step.did.chars().count())).min(DEED);
        let left = COLUMNS.saturating_sub(number + thread + 4);
        let line = left.saturating_sub(did + place + 4);

        writeln!(f, "interleaving {}\n", self.number)?;
        for (index, step) in self.steps.iter().enumerate() {
            let width = if step.line.is_some() { did } else { left };
            for (row, part) in textwrap::wrap(&step.did, width).iter().enumerate() {
                let text = match (&step.line, &step.place) {
                    (Some(text), Some(at)) if row == 0 => {
                        format!("{part:did$}  {:line$}  {at}", shorten(text, line))
                    }
                    _ => part.to_string(),
                };
                if row == 0 {
                    writeln!(f, "{:number$}  {:thread$}  {text}", index + 1, step.thread)?;
                } else {
                    writeln!(f, "{:number$}  {:thread$}  {text}", "", "")?;
                }
            }
        }
        write!(f, "\nbroken: {}", self.broken)
    }
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars()
        .take(width.saturating_sub(1))
        .chain(['…'])
        .collect()
}
