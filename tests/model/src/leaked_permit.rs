//! The model of `leaked-permit`: a place that is given back while one of those who wait for it goes away.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike: `make` makes a pool of
//! one place, `wait` a future that becomes a place, and `give_back` gives one back. Who goes away drops its future.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::{Bounds, Exploration, explore, note, require, thread};

/// Ada's request ends on one thread while Ben's client leaves on another: Cem, who waits as well, gets the place.
pub fn at_once<S, P, W>(
    make: impl Fn() -> S + Send + Sync + 'static,
    wait: impl Fn(&S) -> W + Send + Sync + 'static,
    give_back: impl Fn(&S, P) + Copy + Send + Sync + 'static,
) -> Exploration
where
    S: Clone + Send + 'static,
    P: Send + 'static,
    W: Future<Output = P> + Unpin + Send + 'static,
{
    explore(Bounds::Exhaustive, move || {
        let Queue { pool, ada, ben, cem, woken } = queue(&make, &wait);
        let threads = [
            thread::spawn("Ada's request", move || give_back(&pool, ada)),
            thread::spawn("Ben's request", move || go_away(ben)),
        ];
        for thread in threads {
            thread.join().expect("a failing thread ends the model");
        }
        cem_has_it(cem, &woken);
    })
}

/// The control: Ben's client has left when Ada's request ends.
pub fn in_turn<S: Clone, P, W: Future<Output = P> + Unpin>(
    make: impl Fn() -> S + Send + Sync + 'static,
    wait: impl Fn(&S) -> W + Send + Sync + 'static,
    give_back: impl Fn(&S, P) + Send + Sync + 'static,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let Queue { pool, ada, ben, cem, woken } = queue(&make, &wait);
        go_away(ben);
        give_back(&pool, ada);
        cem_has_it(cem, &woken);
    })
}

/// Ada has the only place; Ben waits for it, and then Cem.
struct Queue<S, P, W> {
    pool: S,
    ada: P,
    ben: W,
    cem: W,
    /// Whether Cem has been woken.
    woken: Arc<Flag>,
}

fn queue<S, P, W: Future<Output = P> + Unpin>(make: impl Fn() -> S, wait: impl Fn(&S) -> W) -> Queue<S, P, W> {
    let pool = make();
    let Poll::Ready(ada) = poll(&mut wait(&pool), Waker::noop()) else { panic!("the pool has no place") };
    let woken = Arc::<Flag>::default();
    let [mut ben, mut cem] = [wait(&pool), wait(&pool)];
    let ben_waits = poll(&mut ben, Waker::noop()).is_pending();
    let cem_waits = poll(&mut cem, &woken.clone().into()).is_pending();
    require(ben_waits && cem_waits, "one place was taken twice");
    note("Ada has the only place, Ben and Cem wait");
    Queue { pool, ada, ben, cem, woken }
}

fn go_away<W>(waiting: W) {
    drop(waiting);
    note("goes away");
}

fn cem_has_it<P, W: Future<Output = P> + Unpin>(mut cem: W, woken: &Flag) {
    require(woken.0.load(SeqCst), "the place was given back, Ben went away, and Cem was not woken");
    require(poll(&mut cem, Waker::noop()).is_ready(), "Cem was woken, and there is no place");
}

fn poll<W: Future + Unpin>(waiting: &mut W, waker: &Waker) -> Poll<W::Output> {
    std::pin::Pin::new(waiting).poll(&mut Context::from_waker(waker))
}

/// A waker that can be asked whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
        note("wakes Cem");
    }
}
