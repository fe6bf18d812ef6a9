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

/// What the shipper is told when it takes.
#[derive(Debug)]
pub enum Next {
    /// A line.
    Line(String),
    /// Nothing now: it waits until a request has left a line.
    Nothing,
    /// Nothing, and nothing will come.
    Over,
}

/// All that may happen at the same time: two lines are offered while the shipper closes the door and takes what waits.
pub fn at_once<Q: Send + Sync + 'static, A: Answer>(
    make: impl Fn(sync::Arc<AtomicU64>) -> Q + Send + Sync + 'static,
    offer: impl Fn(&Q, String) -> A + Copy + Send + Sync + 'static,
    close: impl Fn(&Q) + Copy + Send + Sync + 'static,
    take: impl Fn(&Q) -> Next + Copy + Send + Sync + 'static,
) -> Exploration {
    let end = move |queue: &Q| {
        close(queue);
        all_taken(queue, take)
    };
    meeting(make, offer, end, take)
}

/// The same with a shipper that closes the door when there is nothing more.
pub fn at_once_closing_last<Q: Send + Sync + 'static, A: Answer>(
    make: impl Fn(sync::Arc<AtomicU64>) -> Q + Send + Sync + 'static,
    offer: impl Fn(&Q, String) -> A + Copy + Send + Sync + 'static,
    close: impl Fn(&Q) + Copy + Send + Sync + 'static,
    take: impl Fn(&Q) -> Next + Copy + Send + Sync + 'static,
) -> Exploration {
    let end = move |queue: &Q| {
        let (written, _) = all_taken(queue, take);
        close(queue);
        (written, true)
    };
    meeting(make, offer, end, take)
}

fn meeting<Q: Send + Sync + 'static, A: Answer>(
    make: impl Fn(sync::Arc<AtomicU64>) -> Q + Send + Sync + 'static,
    offer: impl Fn(&Q, String) -> A + Copy + Send + Sync + 'static,
    end: impl Fn(&Q) -> (u64, bool) + Copy + Send + Sync + 'static,
    take: impl Fn(&Q) -> Next + Copy + Send + Sync + 'static,
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
        let shipper = thread::spawn("shipper", move || {
            let (written, is_over) = end(&shipping);
            note(if is_over { "drops its end of the log" } else { "waits" });
            (written, is_over)
        });
        let refused = requests.map(|request| u64::from(request.join().expect("a failing thread ends the model")));
        let (mut written, is_over) = shipper.join().expect("a failing thread ends the model");
        if !is_over {
            // It was told of the lines that were still on their way.
            written += all_taken(&*queue, take).0;
        }
        all_are_known(written, &lost, refused.iter().sum());
    })
}

/// The control: both lines are offered before the door is closed.
pub fn in_turn<Q: Send + Sync + 'static, A: Answer>(
    make: impl Fn(sync::Arc<AtomicU64>) -> Q + Send + Sync + 'static,
    offer: impl Fn(&Q, String) -> A + Send + Sync + 'static,
    close: impl Fn(&Q) + Send + Sync + 'static,
    take: impl Fn(&Q) -> Next + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let lost = sync::Arc::new(AtomicU64::new(0));
        let queue = make(lost.clone());
        let refused = ["ada", "ben"].map(|line| u64::from(offer(&queue, line.to_owned()).refused()));
        close(&queue);
        let (written, _) = all_taken(&queue, take);
        all_are_known(written, &lost, refused.iter().sum());
    })
}

/// How many lines the shipper writes until there is nothing, and whether nothing will come.
fn all_taken<Q>(queue: &Q, take: impl Fn(&Q) -> Next) -> (u64, bool) {
    let mut written = 0;
    loop {
        match take(queue) {
            Next::Line(line) => {
                note(format!("writes {line}'s line"));
                written += 1;
            }
            Next::Nothing => return (written, false),
            Next::Over => return (written, true),
        }
    }
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
