//! The moments at which a client may leave: at each wait of the app, and between two.

use std::fmt;

/// When a client leaves, counted in the steps that another play of the same scene took. A step is a line that the wire, or a
/// part that the specification supplies, has written into the transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub(super) step: usize,
    what: String,
    pub(super) instant: Instant,
}

/// At which instant after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instant {
    /// While the step is taken: whoever takes it goes on, and nothing has waited since.
    During,
    /// As soon as nothing can run any more: everything waits that came of the step.
    AtRest,
}

impl Leaving {
    /// Twice for each of these steps: in the midst of it, and when all is at rest after it.
    pub(super) fn at_each(steps: Vec<String>) -> Vec<Self> {
        let both = |(step, what): (usize, String)| {
            [Instant::During, Instant::AtRest].map(|instant| Self { step, what: what.clone(), instant })
        };
        steps.into_iter().enumerate().flat_map(both).collect()
    }
}

/// What distinguishes a scene in which a client leaves at this moment.
impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.instant {
            Instant::During => "in the midst of",
            Instant::AtRest => "at rest after",
        };
        write!(f, "the client leaves {when} step {}: {}", self.step + 1, self.what)
    }
}
