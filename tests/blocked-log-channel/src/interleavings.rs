//! The model: two requests that leave a line each, while the shipper closes the door and takes what waits.
//!
//! It is generic over the core, so that broken, near misses, fixed and anybody's `shared.rs` are explored alike: `make` makes a
//! queue with room for one line, which counts what is lost in what it is given.

use std::sync::Arc;

use model::{
    Bounds, Exploration, explore, note, require,
    sync::{
        self,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

/// How many requests leave a line.
const OFFERED: u64 = 2;

/// What a core tells whoever offers a line: nothing, or whether there was room for it. Who is told that there was none still has
/// the line, unless the core has counted it.
pub trait Answer {
    /// Whether the line was refused.
    fn refused(self) -> bool;
}

impl Answer for () {
    fn refused(self) -> bool {
        false
    }
}

impl Answer for bool {
    fn refused(self) -> bool {
        !self
    }
}

impl<T, E> Answer for Result<T, E> {
    fn refused(self) -> bool {
        self.is_err()
    }
}

/// All that may happen at the same time: two lines are offered while the shipper takes one, and while it closes the door and takes
/// the rest.
pub fn at_once<Q: Send + Sync + 'static, A: Answer>(
    make: impl Fn(sync::Arc<AtomicU64>) -> Q + Send + Sync + 'static,
    offer: impl Fn(&Q, String) -> A + Copy + Send + Sync + 'static,
    end: impl Fn(&Q) -> u64 + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let lost = sync::Arc::new(AtomicU64::new(0));
        // Who owns the queue is no step of the core's.
        let queue = Arc::new(make(lost.clone()));
        let requests = ["ada's request", "ben's request"].map(|name| {
            let queue = queue.clone();
            thread::spawn(name, move || offer(&queue, name[..3].to_owned()).refused())
        });
        let shipping = queue.clone();
        let shipper = thread::spawn("shipper", move || end(&shipping));
        let refused = requests.map(|request| u64::from(request.join().expect("a failing thread ends the model")));
        let written = shipper.join().expect("a failing thread ends the model");
        all_are_known(written, &lost, refused.iter().sum());
    })
}

/// The control: both lines are offered before the door is closed.
pub fn in_turn<Q: Send + Sync + 'static, A: Answer>(
    make: impl Fn(sync::Arc<AtomicU64>) -> Q + Send + Sync + 'static,
    offer: impl Fn(&Q, String) -> A + Send + Sync + 'static,
    end: impl Fn(&Q) -> u64 + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let lost = sync::Arc::new(AtomicU64::new(0));
        let queue = make(lost.clone());
        let refused = ["ada", "ben"].map(|line| u64::from(offer(&queue, line.to_owned()).refused()));
        let written = end(&queue);
        all_are_known(written, &lost, refused.iter().sum());
    })
}

/// What the shipper does at the end: it closes the door, and writes what `take` has until there is nothing more.
pub fn close_and_take<Q>(queue: &Q, close: impl Fn(&Q), take: impl Fn(&Q) -> Option<String>) -> u64 {
    close(queue);
    let mut written = 0;
    while let Some(line) = take(queue) {
        note(format!("writes {line}'s line"));
        written += 1;
    }
    note("drops its end of the log");
    written
}

/// What a shipper does that closes the door when there is nothing more.
pub fn take_and_close<Q>(queue: &Q, close: impl Fn(&Q), take: impl Fn(&Q) -> Option<String>) -> u64 {
    let mut written = 0;
    while let Some(line) = take(queue) {
        note(format!("writes {line}'s line"));
        written += 1;
    }
    close(queue);
    note("drops its end of the log");
    written
}

fn all_are_known(written: u64, lost: &AtomicU64, refused: u64) {
    note(format!("of two lines {written} written"));
    let lost = lost.load(SeqCst);
    let known = written + lost;
    // A line that was refused is its owner's again, or lost.
    let all = known == OFFERED || known + refused == OFFERED;
    require(all || known > OFFERED, "a line was neither written nor counted as lost: nobody knows of it");
    require(all, "a line was written, and counted as lost as well");
}
