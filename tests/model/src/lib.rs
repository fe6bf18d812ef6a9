//! Explores every interleaving of a core, and tells the one that breaks it.
//!
//! The *core* of a ghost is the file in which threads share state, `src/shared.rs`. It takes its
//! primitives from `super::sync`, which in the library is std's. A test includes the same file a
//! second time, beside a `sync` that is [this crate's](sync): loom then decides before each
//! operation which thread is next, and tries all orders, one run for each. There is no flag to set;
//! plain `cargo test` does it.
//!
//! # Examples
//!
//! An upload slot is given back at the end of the stream and again when the body is dropped. A flag
//! was to prevent that:
//!
//! ```
//! use model::sync; // the `super::sync` of the core
//! use model::{Bounds, explore, note, require, thread};
//!
//! // In a test of a ghost: #[path = "../src/shared.rs"] mod shared;
//! mod shared {
//!     use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
//!
//!     #[derive(Default)]
//!     pub struct Slot {
//!         given_back: AtomicBool,
//!         free: AtomicUsize,
//!     }
//!
//!     impl Slot {
//!         pub fn give_back(&self) {
//!             if !self.given_back.load(SeqCst) {
//!                 self.given_back.store(true, SeqCst);
//!                 self.free.fetch_add(1, SeqCst);
//!             }
//!         }
//!
//!         pub fn free(&self) -> usize {
//!             self.free.load(SeqCst)
//!         }
//!     }
//! }
//!
//! # fn main() {
//! let failing = explore(Bounds::Exhaustive, || {
//!     let slot = sync::Arc::new(shared::Slot::default());
//!     let (end, drop) = (slot.clone(), slot.clone());
//!     let end = thread::spawn("end of stream", move || end.give_back());
//!     let drop = thread::spawn("drop of the body", move || drop.give_back());
//!     end.join().unwrap();
//!     drop.join().unwrap();
//!     note("the upload is over");
//!     require(slot.free() == 1, "a slot that was taken once is free once");
//! })
//! .fails();
//! println!("{failing}");
//! # assert_eq!(failing.broken, "a slot that was taken once is free once");
//! # }
//! ```
//!
//! What is printed is the run in which it failed, to be followed from top to bottom:
//!
//! ```text
//! interleaving 10
//!
//! 1  end of stream     reads false          if !self.given_back.load(SeqCst) {    shared.rs:13
//! 2  drop of the body  reads false          if !self.given_back.load(SeqCst) {    shared.rs:13
//! 3  drop of the body  stores true          self.given_back.store(true, SeqCst);  shared.rs:14
//! 4  drop of the body  adds 1: 0 becomes 1  self.free.fetch_add(1, SeqCst);       shared.rs:15
//! 5  end of stream     stores true          self.given_back.store(true, SeqCst);  shared.rs:14
//! 6  end of stream     adds 1: 1 becomes 2  self.free.fetch_add(1, SeqCst);       shared.rs:15
//! 7  main              the upload is over
//! 8  main              reads 2              self.free.load(SeqCst)                shared.rs:20
//!
//! broken: a slot that was taken once is free once
//! ```
//!
//! Both looked before either wrote. With `swap` in place of the load and the store the same model
//! [holds](Exploration::holds), and the number of interleavings says how much was tried.
//!
//! # Writing a model
//!
//! - Each run must do the same for the same order of steps: no clock, no randomness, nothing kept
//!   from one run to the next. What threads share is made inside the closure.
//! - Clone what the threads need before the first is spawned. A clone afterwards races with the
//!   threads that are there, and is one more step to be interleaved with theirs.
//! - Two or three threads, each of a few steps, are explored exhaustively within a second;
//!   more threads need [`Bounds::Preemptions`]. Five are the most.
//! - A control in which nothing runs at the same time has one interleaving; compare it with
//!   `Exploration::Holds { interleavings: 1 }`.
//!
//! # What is not explored
//!
//! Values are std's; loom only decides whose turn it is. So a load reads the newest value whatever
//! its `Ordering`, and the table is a true sequence. The price: a failure that lives on a stale
//! read (`Relaxed` where `Acquire` is needed) is not found; such a ghost takes loom as it is.
//!
//! A failed run is taken down by unwinding, as in any test. Atomics, locks and `Arc`s then act at
//! once and without loom, so a `Drop` may use them. Two things still abort the process: a `Drop`
//! that waits while unwinding for a lock which another thread holds, and one that panics. Run such
//! a model in a process of its own, by starting the test's own binary again with `--exact` and the
//! test's name. A deadlock of locks needs none of that: it is told like any other failure. So is a
//! loop that waits for another thread. A panic that the model itself catches is not supported.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use loom::model::Builder;
use tracing::subscriber::NoSubscriber;

pub mod body_double_close;
pub mod closure_captured_state;
pub mod ignored_deadline;
mod interleaving;
pub mod sync;
pub mod thread;
mod trace;

pub use interleaving::{Interleaving, Source, Step};

/// A model with more interleavings than this is refused: it would not end while somebody waits.
const MOST_INTERLEAVINGS: usize = 20_000;

/// How much is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Every interleaving; for two or three threads.
    Exhaustive,
    /// Every interleaving in which a thread is interrupted no more than so many times in all; for
    /// more threads.
    Preemptions(usize),
}

/// What came of [`explore`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an exploration says nothing until it is asked whether the model holds"]
pub enum Exploration {
    /// No interleaving broke the model.
    Holds {
        /// How many were explored.
        interleavings: usize,
    },
    /// This one did.
    Fails(Interleaving),
}

/// Runs `model` once for each interleaving of its threads, until one of them fails.
///
/// Nothing is printed, and no environment variable changes the outcome.
///
/// All runs are on one OS thread named `loom`. Loom ends each of its threads by a panic, hundreds in
/// one exploration; a panic hook put in the place of ours can leave them out by that name.
///
/// # Panics
///
/// If there are more than 20,000 interleavings within the bounds, which take some seconds.
#[track_caller]
pub fn explore(bounds: Bounds, model: impl Fn() + Send + Sync + 'static) -> Exploration {
    install_hook();
    let builder = builder(bounds);
    let thread = std::thread::Builder::new().name("loom".to_owned());
    let runs = thread.spawn(move || run_all(&builder, model)).expect("a thread can be started");
    let (interleavings, failing) = runs.join().expect("what panics in a model is caught");
    assert!(
        interleavings <= MOST_INTERLEAVINGS,
        "there are more than {MOST_INTERLEAVINGS} interleavings: take fewer threads or bound the preemptions"
    );
    failing.map_or(Exploration::Holds { interleavings }, Exploration::Fails)
}

fn builder(bounds: Bounds) -> Builder {
    let mut builder = Builder::new();
    // Every field is set, because the defaults are read from environment variables.
    builder.max_threads = loom::MAX_THREADS;
    builder.max_branches = 1_000;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.preemption_bound = match bounds {
        Bounds::Exhaustive => None,
        Bounds::Preemptions(most) => Some(most),
    };
    builder.checkpoint_file = None;
    builder.checkpoint_interval = usize::MAX;
    builder.expect_explicit_explore = false;
    builder.location = false;
    builder.log = false;
    builder
}

/// The number of runs, and the last one if it failed.
fn run_all(builder: &Builder, model: impl Fn() + Send + Sync + 'static) -> (usize, Option<Interleaving>) {
    let run = move || {
        let number = trace::next_run();
        require(number <= MOST_INTERLEAVINGS, "too many interleavings");
        model();
    };
    trace::begin();
    // The tests' own subscriber, if it is the process's, would be told each of loom's moves.
    let outcome = tracing::subscriber::with_default(NoSubscriber::default(), || {
        catch_unwind(AssertUnwindSafe(|| builder.check(run)))
    });
    trace::end(outcome.err().map(|panic| message(panic.as_ref())))
}

impl Exploration {
    /// The number of interleavings in which the model holds.
    ///
    /// # Panics
    ///
    /// With the table if it fails; and if there was but one interleaving, which proves nothing.
    #[track_caller]
    pub fn holds(self) -> usize {
        match self {
            Self::Holds { interleavings: 1 } => {
                panic!(
                    "the model has only one interleaving, so that it holds proves nothing: \
                 its threads share no step, or the bound is too low"
                )
            }
            Self::Holds { interleavings } => interleavings,
            Self::Fails(interleaving) => panic!("the model fails\n\n{interleaving}\n"),
        }
    }

    /// The number of interleavings in which the model holds, one also; for those who judge what is not theirs.
    ///
    /// # Errors
    ///
    /// The interleaving in which it fails.
    pub fn outcome(self) -> Result<usize, Interleaving> {
        match self {
            Self::Holds { interleavings } => Ok(interleavings),
            Self::Fails(interleaving) => Err(interleaving),
        }
    }

    /// The interleaving in which the model fails.
    ///
    /// # Panics
    ///
    /// If it holds.
    #[track_caller]
    pub fn fails(self) -> Interleaving {
        match self {
            Self::Holds { interleavings } => {
                panic!("the model was to fail, but holds in all of {interleavings} interleavings")
            }
            Self::Fails(interleaving) => interleaving,
        }
    }
}

/// Fails the model with exactly this sentence unless the condition holds.
///
/// # Panics
///
/// If the condition does not hold; inside [`explore`] without a word from the panic hook.
#[track_caller]
pub fn require(condition: bool, sentence: &str) {
    if condition {
        return;
    }
    if trace::exploring() {
        resume_unwind(Box::new(sentence.to_owned()));
    }
    panic!("{sentence}");
}

/// Records a step in words, for what a model does itself: "the client is told 504".
pub fn note(words: impl Into<String>) {
    trace::step_without_line(words.into());
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a thread panicked without a message".to_owned())
}

/// Keeps the panics of models out of the output, and prints all others as before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !trace::exploring() {
                print(panic);
            }
        }));
    });
}
