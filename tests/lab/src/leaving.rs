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
    /// In the midst of each of these steps, and when all is at rest after those of one millisecond: who leaves at rest after one
    /// of them leaves at rest after all.
    pub(super) fn at_each(steps: &[(u64, String)]) -> Vec<Self> {
        let mut moments = Vec::new();
        for (step, (at_ms, what)) in steps.iter().enumerate() {
            let at = |instant| Self { step, what: what.clone(), instant };
            moments.push(at(Instant::During));
            if steps.get(step + 1).is_none_or(|(next_ms, _)| next_ms != at_ms) {
                moments.push(at(Instant::AtRest));
            }
        }
        moments
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
