//! What a specification demands, in words that whoever writes the app has read.

use crate::{Proof, require};

/// One thing that a specification demands: a promise, or a line of *What is asked* on an exercise's page. Each expectation
/// cites one, so that nothing is demanded that stands nowhere.
///
/// ```
/// use lab::Asked;
///
/// const FORBIDDEN_FIRST: Asked =
///     Asked::new("forbidden-first", "Where a request may be answered with 403 or with 413, it is answered with 403.");
/// assert!(FORBIDDEN_FIRST.require(false, "the answer was 413").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The kebab-case name.
    pub key: &'static str,
    /// One definite sentence.
    pub sentence: &'static str,
}

impl Asked {
    /// What is asked under the name `key`, in one `sentence`.
    pub const fn new(key: &'static str, sentence: &'static str) -> Self {
        Self { key, sentence }
    }

    /// Goes on if it `holds`.
    ///
    /// # Errors
    /// What was `observed`, if not.
    pub fn require(self, holds: bool, observed: impl Into<String>) -> Proof {
        require(holds, observed)
    }
}
