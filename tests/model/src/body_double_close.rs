//! The model of `body-double-close`: one upload that comes to its end while its request is dropped.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike: `make` makes one slot,
//! `take` takes it, and the two who may close the upload each own a clone of what `take` gave.

use crate::{Bounds, Exploration, explore, note, require, thread};

/// How many bytes the reader receives.
const BYTES: u64 = 7;

/// What a core says of bytes that are about to be received: whether the reader may have them. A core that says nothing lets its
/// caller see to that, and is not held to it here.
pub trait MayHave {
    /// Whether the reader may have them, if the core says so.
    fn may_have(self) -> Option<bool>;
}

impl MayHave for () {
    fn may_have(self) -> Option<bool> {
        None
    }
}

impl MayHave for bool {
    fn may_have(self) -> Option<bool> {
        Some(self)
    }
}

impl<T> MayHave for Option<T> {
    fn may_have(self) -> Option<bool> {
        Some(self.is_some())
    }
}

impl<T, E> MayHave for Result<T, E> {
    fn may_have(self) -> Option<bool> {
        Some(self.is_ok())
    }
}

/// What a core tells whoever releases: the bytes received, if it is the first to do so.
pub trait Told {
    /// The bytes, for the audit.
    fn told(self) -> Option<u64>;
}

impl Told for u64 {
    fn told(self) -> Option<u64> {
        Some(self)
    }
}

impl Told for Option<u64> {
    fn told(self) -> Option<u64> {
        self
    }
}

/// All that two threads may do with one upload at the same time: close it and close it, receive and close.
pub fn every_pair<S, L: Clone + Send + 'static, R: MayHave, T: Told>(
    make: impl Fn() -> S + Copy + Send + Sync + 'static,
    take: impl Fn(&S) -> Option<L> + Copy + Send + Sync + 'static,
    receive: impl Fn(&L, u64) -> R + Copy + Send + Sync + 'static,
    release: impl Fn(&L) -> T + Copy + Send + Sync + 'static,
) -> Exploration {
    let close = move |lease: L| {
        release(&lease).told();
    };
    let closing = match at_once(make, take, close, close) {
        Exploration::Holds { interleavings } => interleavings,
        failing => return failing,
    };
    match while_received(make, take, receive, release) {
        Exploration::Holds { interleavings } => Exploration::Holds { interleavings: closing + interleavings },
        failing => failing,
    }
}

/// A task receives bytes and then drops the body, while the request is dropped on another thread: what the first to close is
/// told is what the task may have.
pub fn while_received<S, L: Clone + Send + 'static, R: MayHave, T: Told>(
    make: impl Fn() -> S + Send + Sync + 'static,
    take: impl Fn(&S) -> Option<L> + Send + Sync + 'static,
    receive: impl Fn(&L, u64) -> R + Copy + Send + Sync + 'static,
    release: impl Fn(&L) -> T + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let slots = make();
        let lease = take(&slots).expect("a slot that nobody has");
        let body = lease.clone();
        let task = thread::spawn("task", move || {
            let may_have = receive(&body, BYTES).may_have();
            note(match may_have {
                Some(false) => "its reader gets an error",
                _ => "its reader gets the bytes",
            });
            (may_have, release(&body).told())
        });
        let dropped = thread::spawn("request dropped", move || release(&lease).told());
        let (may_have, by_task) = task.join().expect("a failing thread ends the model");
        let by_request = dropped.join().expect("a failing thread ends the model");
        is_free_once(&slots, &take);
        if let (Some(may_have), Some(told)) = (may_have, by_task.or(by_request)) {
            let received = if may_have { BYTES } else { 0 };
            require(told == received, "the audit has other bytes than the reader");
        }
    })
}

/// The end of the stream on one thread and the drop of the request on another: the slot is free once.
pub fn at_once<S, L: Clone + Send + 'static>(
    make: impl Fn() -> S + Send + Sync + 'static,
    take: impl Fn(&S) -> Option<L> + Send + Sync + 'static,
    end_of_stream: impl Fn(L) + Copy + Send + Sync + 'static,
    request_dropped: impl Fn(L) + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let slots = make();
        let lease = take(&slots).expect("a slot that nobody has");
        let reader = lease.clone();
        let closers = [
            thread::spawn("end of stream", move || end_of_stream(reader)),
            thread::spawn("request dropped", move || request_dropped(lease)),
        ];
        for closer in closers {
            closer.join().expect("a failing thread ends the model");
        }
        is_free_once(&slots, &take);
    })
}

/// The control: the stream has ended before the request is dropped.
pub fn in_turn<S, L: Clone + Send + 'static>(
    make: impl Fn() -> S + Send + Sync + 'static,
    take: impl Fn(&S) -> Option<L> + Send + Sync + 'static,
    end_of_stream: impl Fn(L) + Send + Sync + 'static,
    request_dropped: impl Fn(L) + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let slots = make();
        let lease = take(&slots).expect("a slot that nobody has");
        end_of_stream(lease.clone());
        request_dropped(lease);
        is_free_once(&slots, &take);
    })
}

fn is_free_once<S, L>(slots: &S, take: impl Fn(&S) -> Option<L>) {
    let next = take(slots);
    require(next.is_some(), "the slot was not given back: no upload will ever have it again");
    require(take(slots).is_none(), "the slot was given back twice: two uploads have it now");
}
