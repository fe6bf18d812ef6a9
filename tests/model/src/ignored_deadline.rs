//! The model of `ignored-deadline`: the closure that charges an order, and the deadline that tells the client it failed.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike: `make` makes what the
//! two threads share, `commit` is what the closure does with it and with the charge, `expire` what the deadline does, which
//! returns whether the client may be told that nothing was charged.

use crate::{
    Bounds, Exploration, explore, note, require,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

/// The closure and the deadline at the same time.
pub fn at_once<S: Send + Sync + 'static>(
    make: impl Fn() -> S + Send + Sync + 'static,
    commit: impl Fn(&S, &mut dyn FnMut() -> bool) -> bool + Copy + Send + Sync + 'static,
    expire: impl Fn(&S) -> bool + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let settlement = Arc::new(make());
        let charges = Arc::new(AtomicUsize::new(0));
        let closure = {
            let (settlement, charges) = (settlement.clone(), charges.clone());
            thread::spawn("closure", move || charge(&*settlement, &charges, commit))
        };
        let deadline = thread::spawn("deadline", move || tell(&*settlement, expire));
        let told_failed = deadline.join().expect("a failing thread ends the model");
        closure.join().expect("a failing thread ends the model");
        judge(told_failed, charges.load(SeqCst));
    })
}

/// The control: the order is charged, and then the deadline comes.
pub fn in_turn<S: Send + Sync + 'static>(
    make: impl Fn() -> S + Send + Sync + 'static,
    commit: impl Fn(&S, &mut dyn FnMut() -> bool) -> bool + Copy + Send + Sync + 'static,
    expire: impl Fn(&S) -> bool + Copy + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let (settlement, charges) = (make(), AtomicUsize::new(0));
        charge(&settlement, &charges, commit);
        let told_failed = tell(&settlement, expire);
        judge(told_failed, charges.load(SeqCst));
        require(charges.load(SeqCst) == 1, "nothing had expired, and the order was not charged");
    })
}

fn charge<S>(settlement: &S, charges: &AtomicUsize, commit: impl Fn(&S, &mut dyn FnMut() -> bool) -> bool) {
    commit(settlement, &mut || {
        charges.fetch_add(1, SeqCst);
        true
    });
}

fn tell<S>(settlement: &S, expire: impl Fn(&S) -> bool) -> bool {
    let told_failed = expire(settlement);
    note(if told_failed { "tells the client 504" } else { "leaves the answer to the closure" });
    told_failed
}

/// What is told is true. A core that lets neither side win, when both come at once, has harmed nobody.
fn judge(told_failed: bool, charges: usize) {
    require(charges <= 1, "the order was charged twice");
    if told_failed {
        require(charges == 0, "the client was told 504, and the order was charged");
    }
}
