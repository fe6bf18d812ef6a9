//! The steps of the run that is going on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::Location;
use std::thread::panicking;

use loom::thread::{ThreadId, current};

use crate::interleaving::{Interleaving, Step};

/// So many steps of a run that never ends are told.
const FIRST_OF_A_LOOP: usize = 20;

type Line = &'static Location<'static>;

thread_local! {
    // The threads of a model are coroutines on the OS thread of the test: one trace is theirs.
    static TRACE: RefCell<Trace> = RefCell::default();
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Default)]
struct Trace {
    run: usize,
    steps: Vec<Recorded>,
    waiting: Vec<(ThreadId, Recorded)>,
    arcs: usize,
    counted: BTreeSet<usize>,
}

struct Recorded {
    thread: String,
    did: String,
    line: Option<Line>,
    /// Told only if the owners of this `Arc` are counted.
    arc: Option<usize>,
}

pub(crate) fn exploring() -> bool {
    EXPLORING.get()
}

/// Begins an exploration.
pub(crate) fn begin() {
    EXPLORING.set(true);
    TRACE.set(Trace::default());
}

/// Begins the next run of an exploration and says which it is.
pub(crate) fn next_run() -> usize {
    with(|trace| {
        *trace = Trace { run: trace.run + 1, ..Trace::default() };
        trace.run
    })
}

/// Ends an exploration: the number of its last run, which is told if it has `broken` something.
pub(crate) fn end(broken: Option<String>) -> (usize, Option<Interleaving>) {
    EXPLORING.set(false);
    let trace = TRACE.take();
    (trace.run, broken.map(|broken| trace.tell(broken)))
}

#[track_caller]
pub(crate) fn step(did: String) {
    record(did, Some(Location::caller()), None);
}

/// For what has no line of its own: a note, and a guard that is dropped at the end of a block.
pub(crate) fn step_without_line(did: String) {
    record(did, None, None);
}

pub(crate) fn step_of_arc(arc: usize, did: String, line: Option<Line>) {
    record(did, line, Some(arc));
}

/// Has the steps of this `Arc` told.
pub(crate) fn owners_matter(arc: usize) {
    with(|trace| trace.counted.insert(arc));
}

pub(crate) fn next_arc() -> usize {
    with(|trace| {
        trace.arcs += 1;
        trace.arcs
    })
}

/// A thread waits for a lock, which is told only if nobody ever lets it in.
#[track_caller]
pub(crate) fn begin_to_wait() {
    let recorded =
        Recorded { thread: name(), did: "waits for ever".to_owned(), line: Some(Location::caller()), arc: None };
    with(|trace| trace.waiting.push((current().id(), recorded)));
}

pub(crate) fn end_to_wait() {
    with(|trace| trace.waiting.retain(|(thread, _)| *thread != current().id()));
}

/// Nothing is recorded of a thread that unwinds: its run has failed, and loom would not answer.
fn record(did: String, line: Option<Line>, arc: Option<usize>) {
    if exploring() && !panicking() {
        let thread = name();
        with(|trace| trace.steps.push(Recorded { thread, did, line, arc }));
    }
}

fn name() -> String {
    current().name().unwrap_or("main").to_owned()
}

fn with<R>(act: impl FnOnce(&mut Trace) -> R) -> R {
    TRACE.with_borrow_mut(act)
}

impl Trace {
    fn tell(mut self, mut broken: String) -> Interleaving {
        self.steps.retain(|step| step.arc.is_none_or(|arc| self.counted.contains(&arc)));
        if broken.starts_with("deadlock; threads = ") {
            broken = "every thread waits for another: a deadlock".to_owned();
            self.steps.extend(self.waiting.into_iter().map(|(_, recorded)| recorded));
        } else if broken.starts_with("Model exceeded maximum number of branches") {
            broken = "a thread waits in a loop for another and never ends".to_owned();
            self.steps.truncate(FIRST_OF_A_LOOP);
        }
        let tell = |step: Recorded| Step::new(step.thread, step.did, step.line);
        Interleaving { number: self.run, steps: self.steps.into_iter().map(tell).collect(), broken }
    }
}
