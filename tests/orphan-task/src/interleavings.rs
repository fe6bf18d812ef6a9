//! The model: the last reader leaves a feed on one thread while others come to it, and go, on theirs.
//!
//! It is generic over the core, so that broken, near misses, fixed and anybody's `shared.rs` are explored alike: `open` makes a
//! feed with one reader, `join` counts one more if the feed has not stopped, and `leave` counts one less and tells who has to
//! stop it.

use std::sync::Arc;

use model::{
    Bounds, Exploration, explore, note, require,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

/// What the last one to leave does with a feed: the token of its task is cancelled. Who reads sees that the stream has ended.
#[derive(Default)]
struct Token {
    cancelled: AtomicBool,
}

impl Token {
    fn comes_and_goes<F>(&self, feed: &F, join: impl Fn(&F) -> bool, leave: impl Fn(&F) -> bool) {
        if !join(feed) {
            return note("is not let in, and opens a feed of its own");
        }
        note("is let in");
        let stopped = self.cancelled.load(SeqCst);
        require(!stopped, "a reader who was let in is on a feed that has stopped");
        self.leaves(feed, leave);
    }

    fn leaves<F>(&self, feed: &F, leave: impl Fn(&F) -> bool) {
        if leave(feed) {
            note("stops the feed");
            let stopped = self.cancelled.swap(true, SeqCst);
            require(!stopped, "the feed was stopped twice");
        }
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
        let (feed, token) = (Arc::new(open()), Arc::new(Token::default()));
        let theirs: Vec<_> = others.iter().map(|name| (*name, feed.clone(), token.clone())).collect();
        let (hers, told) = (feed.clone(), token.clone());
        note("Ada reads");
        let mut threads = vec![thread::spawn("Ada", move || told.leaves(&*hers, leave))];
        for (name, feed, token) in theirs {
            threads.push(thread::spawn(name, move || token.comes_and_goes(&*feed, join, leave)));
        }
        for thread in threads {
            thread.join().expect("a failing thread ends the model");
        }
        let stopped = token.cancelled.load(SeqCst);
        require(stopped, "all readers have left, and nobody has stopped the feed");
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
