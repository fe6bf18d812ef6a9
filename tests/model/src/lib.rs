//! Explores the interleavings of a ghost's shared state and tells the failing one.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use tracing::subscriber::NoSubscriber;

pub mod sync;
pub mod thread;
mod trace;

pub use trace::{Interleaving, Step};

/// A model with more interleavings than this is refused: it would not end while somebody waits.
const MOST_INTERLEAVINGS: usize = 100_000;

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
/// # Panics
///
/// If there are more than 100,000 interleavings within the bounds.
pub fn explore(bounds: Bounds, model: impl Fn() + Send + Sync + 'static) -> Exploration {
    let mut builder = loom::model::Builder::new();
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

    let run = move || {
        let number = trace::next_run();
        require(number <= MOST_INTERLEAVINGS, "too many interleavings");
        model();
    };
    trace::begin();
    // A test may have a subscriber of its own, which would be told each of loom's moves.
    let outcome = tracing::subscriber::with_default(NoSubscriber::default(), || {
        let _muted = Muted::new();
        catch_unwind(AssertUnwindSafe(|| builder.check(run)))
    });
    let broken = outcome.err().map(|panic| message(panic.as_ref()));
    let (interleavings, failing) = trace::end(broken);
    assert!(
        interleavings <= MOST_INTERLEAVINGS,
        "there are more than {MOST_INTERLEAVINGS} interleavings: take fewer threads or bound the preemptions"
    );
    failing.map_or(Exploration::Holds { interleavings }, Exploration::Fails)
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
                    "the model has only one interleaving, so that it holds proves nothing: its threads share no step"
                )
            }
            Self::Holds { interleavings } => interleavings,
            Self::Fails(interleaving) => panic!("the model fails\n\n{interleaving}\n"),
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

thread_local! {
    static MUTED: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, panics on this OS thread, which are the model's, are not printed.
struct Muted;

impl Muted {
    fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !MUTED.get() {
                    print(panic);
                }
            }));
        });
        MUTED.set(true);
        Self
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        MUTED.set(false);
    }
}
