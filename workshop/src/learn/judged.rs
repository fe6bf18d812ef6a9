//! What came of a check, as plain data.

use lab::Report;
use serde::Serialize;

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The ghost.
    pub slug: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The compiler refuses it.
    DoesNotCompile {
        /// What the compiler says, as it says it, with its colours.
        errors: String,
    },
    /// The app took its process down.
    EndedWithoutVerdict {
        /// How it ended, a sentence.
        how: String,
        /// What it said last, to standard error.
        said: String,
    },
    /// Every promise that could be judged was judged.
    Judged {
        /// The promises.
        report: Report,
        /// The near misses that break exactly the same promises, if they are few.
        looks_like: Vec<LooksLike>,
        /// What came of the model, where the ghost has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        interleavings: Option<Interleavings>,
    },
}

/// A near miss that breaks the same promises.
#[derive(Clone, Debug, Serialize)]
pub struct LooksLike {
    /// Its name.
    pub name: String,
    /// Why it tempts.
    pub tempts: String,
    /// The chapter that tells of it, below the root.
    pub page: String,
}

/// What came of the model of a ghost with shared state.
#[derive(Clone, Debug, Serialize)]
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
    /// Whether every promise is kept and no interleaving breaks the model.
    pub fn laid_to_rest(&self) -> bool {
        match &self.outcome {
            Outcome::Judged { report, interleavings, .. } => {
                report.all_kept() && !matches!(interleavings, Some(Interleavings::Fail { .. }))
            }
            _ => false,
        }
    }
}
