//! The model: the last reader leaves a feed on one thread while others come to it, and go, on theirs.
//!
//! It is generic over the core, so that broken, near misses, fixed and anybody's `shared.rs` are explored alike: `open` makes a
//! feed with one reader, `join` counts one more if the feed has not stopped, and `leave` counts one less and tells who has to
//! stop it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize as Count, Ordering::SeqCst},
};

use model::{Bounds, Exploration, explore, note, require, thread};

/// What has come of a feed. It is the model's own, and none of the steps that are interleaved.
#[derive(Default)]
struct Seen {
    stopped: Count,
    /// How many were let in and have not left.
    inside: Count,
}

impl Seen {
    fn comes_and_goes<F>(&self, feed: &F, join: impl Fn(&F) -> bool, leave: impl Fn(&F) -> bool) {
        if !join(feed) {
            return note("is not let in, and opens a feed of its own");
        }
        self.inside.fetch_add(1, SeqCst);
        require(self.stopped.load(SeqCst) == 0, "a reader was let in to a feed that has stopped");
        note("reads");
        self.inside.fetch_sub(1, SeqCst);
        self.leaves(feed, leave);
    }

    fn leaves<F>(&self, feed: &F, leave: impl Fn(&F) -> bool) {
        if leave(feed) {
            self.stopped.fetch_add(1, SeqCst);
            require(self.inside.load(SeqCst) == 0, "the feed was stopped while somebody read it");
            note("stops the feed");
        }
    }

    fn is_over(&self) {
        let stopped = self.stopped.load(SeqCst);
        require(stopped > 0, "all readers have left, and nobody has stopped the feed");
        require(stopped == 1, "the feed was stopped twice");
    }
}

/// Ada, who is the only reader, leaves; Ben comes and goes. Then the same with Cem as well, each thread interrupted where it
/// may be twice in all.
pub fn every_meeting<F: Send + Sync + 'static>(
    open: impl Fn() -> F + Copy + Send + Sync + 'static,
    join: impl Fn(&F) -> bool + Copy + Send + Sync + 'static,
    leave: impl Fn(&F) -> bool + Copy + Send + Sync + 'static,
) -> Exploration {
    let two = match at_once(&["Ben"], Bounds::Exhaustive, open, join, leave) {
        Exploration::Holds { interleavings } => interleavings,
        failing => return failing,
    };
    match at_once(&["Ben", "Cem"], Bounds::Preemptions(2), open, join, leave) {
        Exploration::Holds { interleavings } => Exploration::Holds { interleavings: two + interleavings },
        failing => failing,
    }
}

/// Ada leaves on her thread, and each of these comes and goes on one of their own.
pub fn at_once<F: Send + Sync + 'static>(
    others: &'static [&'static str],
    bounds: Bounds,
    open: impl Fn() -> F + Copy + Send + Sync + 'static,
    join: impl Fn(&F) -> bool + Copy + Send + Sync + 'static,
    leave: impl Fn(&F) -> bool + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(bounds, move || {
        let (feed, seen) = (Arc::new(open()), Arc::new(Seen::default()));
        let theirs: Vec<_> = others.iter().map(|name| (*name, feed.clone(), seen.clone())).collect();
        let (hers, told) = (feed.clone(), seen.clone());
        note("Ada reads");
        let mut threads = vec![thread::spawn("Ada", move || told.leaves(&*hers, leave))];
        for (name, feed, seen) in theirs {
            threads.push(thread::spawn(name, move || seen.comes_and_goes(&*feed, join, leave)));
        }
        for thread in threads {
            thread.join().expect("a failing thread ends the model");
        }
        seen.is_over();
    })
}

/// The control: Ben comes and goes while Ada reads, and the feed lives.
pub fn in_turn<F: 'static>(
    open: impl Fn() -> F + Send + Sync + 'static,
    join: impl Fn(&F) -> bool + Send + Sync + 'static,
    leave: impl Fn(&F) -> bool + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let feed = open();
        require(join(&feed), "Ada reads, and Ben is not let in");
        require(!leave(&feed), "Ada reads, and Ben's leaving stops the feed");
        require(join(&feed), "Ben has left, Ada reads, and Cem is not let in");
    })
}
