//! What the deadline and the charge agree upon: they come from two threads.

use super::sync::{Mutex, PoisonError};

/// What has become of one order.
#[derive(Debug)]
pub(crate) struct Settlement {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    Charged,
    Expired,
}

impl Settlement {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Open) }
    }

    /// Charges the order unless the deadline came first, and returns whether it has been charged.
    pub(crate) fn commit(&self, charge: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Open && charge() {
            *state = State::Charged;
        }
        *state == State::Charged
    }

    /// Ends the wait at the deadline, and returns whether the client may be told that nothing was charged.
    pub(crate) fn expire(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Open {
            *state = State::Expired;
        }
        *state == State::Expired
    }
}
