//! The model of `body-double-close`: one upload that comes to its end while its request is dropped.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike: `make` makes one slot,
//! `take` takes it, and the two who may close the upload each own a clone of what `take` gave.

use crate::{Bounds, Exploration, explore, require, thread};

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
