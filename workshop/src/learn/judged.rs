//! What came of a check, as plain data.

use lab::{Report, hammer::Hammered};
use serde::{Deserialize, Serialize};

/// What came of one check.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Judged {
    /// The number of this form, now 2.
    pub schema: u32,
    /// The ghost.
    pub slug: String,
    /// Whether every promise is kept, and no race is left that was only tried or not judged at all.
    pub laid_to_rest: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of one check.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The compiler refuses it.
    DoesNotCompile {
        /// What the compiler says, as it says it, with its colours; the paths are those from the root of the clone.
        errors: String,
    },
    /// It could not be built, and that is nothing that the learner wrote.
    NotBuilt {
        /// Whose it is.
        cause: Cause,
        /// What is wrong and what to do, in a sentence.
        sentence: String,
        /// What the compiler or cargo says of it, as they say it.
        said: String,
    },
    /// The app took its process down.
    EndedWithoutVerdict {
        /// How it ended, a sentence.
        how: String,
        /// What it said last, on both streams.
        said: String,
    },
    /// Every promise that could be judged was judged.
    Judged {
        /// The promises.
        report: Report,
        /// The near misses that break the same promises in the same way, if they are few.
        looks_like: Vec<LooksLike>,
        /// What came of the model, where the ghost has one: what was explored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interleavings: Option<Interleavings>,
        /// What came of the hammer, where the ghost has one: what was tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hammer: Option<Hammered>,
        /// What the app printed last, and panicked with, while the first broken promise was judged.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        said: String,
        /// What the compiler warns of, as it says it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
}

/// Why an exercise could not be built, where that is nothing that the learner wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// There is no room left on the disk.
    DiskFull,
    /// There is no linker.
    NoLinker,
    /// A crate from outside is not to be had, or does not compile.
    Dependency,
    /// What the clone has beside the exercise does not compile.
    Clone,
    /// The clone is newer than the exercise.
    OlderExercise,
}

/// A near miss that breaks the same promises.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LooksLike {
    /// Its name.
    pub name: String,
    /// Why it tempts.
    pub tempts: String,
    /// The chapter that tells of it, below the root.
    pub page: String,
}

/// What came of the model of a ghost with shared state.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Interleavings {
    /// It holds in all of them.
    Hold {
        /// How many were explored.
        explored: usize,
    },
    /// It fails in this one.
    Fail {
        /// The steps of the threads, in order, as a table of at most 78 columns.
        table: String,
    },
    /// This fix cannot be explored.
    NotApplicable {
        /// Why not, half a sentence.
        why: String,
    },
}

impl Judged {
    /// What came of a check of this ghost.
    pub fn new(slug: &str, outcome: Outcome) -> Self {
        let laid_to_rest = match &outcome {
            Outcome::Judged { interleavings: Some(model), .. } => matches!(model, Interleavings::Hold { .. }),
            Outcome::Judged { hammer, .. } => hammer.is_none(),
            _ => false,
        };
        let mut judged = Self { schema: 2, slug: slug.to_owned(), laid_to_rest, outcome };
        judged.laid_to_rest &= judged.is_accepted();
        judged
    }

    /// Whether every promise is kept, and neither the model nor the hammer has seen a breach.
    pub fn is_accepted(&self) -> bool {
        match &self.outcome {
            Outcome::Judged { report, interleavings, hammer, .. } => {
                report.all_kept()
                    && !matches!(interleavings, Some(Interleavings::Fail { .. }))
                    && !hammer.as_ref().is_some_and(Hammered::is_rejected)
            }
            _ => false,
        }
    }
}
