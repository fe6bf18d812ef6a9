//! A clock that stands still while the app is at work on threads that it knows nothing of.
//!
//! The paused clock goes on by itself as soon as the runtime has nothing to do. It waits for the closures of
//! `spawn_blocking`, and for no other thread: not for a `std::thread`, not for a pool with a channel.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot};

use super::guard::receive_within;

/// How many turns other threads get in [`Scene::let_threads_run`](super::Scene::let_threads_run).
const TURNS: usize = 20;

/// While it lives, the clock of its scene moves by `tokio::time::advance` only. See
/// [`Scene::hold_the_clock`](super::Scene::hold_the_clock).
#[must_use = "dropping it lets the clock go on"]
pub struct HeldClock {
    /// Its other end is in a closure of `spawn_blocking`, which ends when this one is dropped.
    _release: Option<mpsc::Sender<()>>,
}

impl fmt::Debug for HeldClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldClock").finish_non_exhaustive()
    }
}

/// How long a held clock waits by the wall clock, and whether one has waited for so long, in whatever promise: an app that
/// then did nothing is waiting for time to pass, and would let us wait again and again.
#[derive(Clone)]
pub(super) struct Holding {
    pub(super) limit: Duration,
    pub(super) in_vain: Arc<AtomicBool>,
}

impl Holding {
    pub(super) fn hold(&self, runtime: &Handle) -> HeldClock {
        if self.in_vain.load(Ordering::SeqCst) {
            return HeldClock { _release: None };
        }
        let (release, released) = mpsc::channel::<()>();
        let Self { limit, in_vain } = self.clone();
        // From here on, and not only when it runs, the clock does not move by itself.
        drop(runtime.spawn_blocking(move || {
            if receive_within(&released, limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                in_vain.store(true, Ordering::SeqCst);
            }
        }));
        HeldClock { _release: Some(release) }
    }
}

pub(super) async fn let_threads_run(runtime: &Handle) {
    for _ in 0..TURNS {
        // It cannot panic, and the runtime is not being dropped while it waits.
        let _ = runtime.spawn_blocking(thread::yield_now).await;
    }
}

thread_local! {
    /// Goes when the thread ends, or when it visits again.
    static VISITING: RefCell<Option<oneshot::Sender<()>>> = const { RefCell::new(None) };
}

/// The visit of a thread to a part that the specification supplies: a seal, a render, a look-up. It says when the thread has
/// done whatever the app had for it to do behind that part, if that can be told.
#[derive(Debug)]
pub struct Visit {
    left: oneshot::Receiver<()>,
}

impl Visit {
    /// The thread that calls this begins a visit, and so ends the one before.
    pub fn begin() -> Self {
        let (visiting, left) = oneshot::channel();
        let before = VISITING.try_with(|slot| slot.replace(Some(visiting)));
        drop(before);
        Self { left }
    }

    /// Waits until the thread has come to its end, or visits again. The thread of a pool may do neither: give the others
    /// some time with [`Scene::let_threads_run`](super::Scene::let_threads_run), whichever comes first.
    pub async fn left(self) {
        // Nothing is ever sent.
        let _ = self.left.await;
    }
}
