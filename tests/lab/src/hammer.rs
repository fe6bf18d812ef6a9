//! The hammer: races on real threads, by the wall clock.
//!
//! A specification judges one thread at a time, and a model the interleavings of a core. What is left, an app whose race
//! stands in code that no model knows, is tried: two threads do what must not meet, at once, some ten thousand times, each time
//! a little earlier or later against the other. What is looked for are breaches that no slowness can bring about: a slot given
//! back twice, another's answer, a 504 for an order that was charged. So a breach is a breach, and nothing seen is no proof.
//!
//! ```
//! use std::{sync::{Arc, atomic::{AtomicU64, Ordering::SeqCst}}, time::Duration};
//! use lab::{hammer::{Force, Hammered, strike}, lingering::linger, require};
//!
//! let force = Force { time: Duration::from_secs(300), tries: u64::MAX };
//! let racy = strike(force, |hammer| {
//!     let count = Arc::new(AtomicU64::new(0));
//!     let (here, there) = (count.clone(), count.clone());
//!     let add = |count: &AtomicU64| {
//!         let before = count.load(SeqCst);
//!         linger(); // so that the two meet here on any machine
//!         count.store(before + 1, SeqCst);
//!     };
//!     hammer.at_once(move || add(&here), move || add(&there));
//!     require(count.load(SeqCst) == 2, "two counted, and one of them got lost")
//! });
//! assert!(matches!(racy, Hammered::Rejected { .. }), "{racy:?}");
//! ```

use std::{
    fmt,
    hint::{black_box, spin_loop},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::runtime::{self, Handle};
use tracing::{Dispatch, dispatcher};

use crate::{Proof, receive_within};

/// How long a hammer strikes, and how often at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Force {
    /// By the wall clock. The try that is then on its way is not waited for.
    pub time: Duration,
    /// The most tries.
    pub tries: u64,
}

impl Default for Force {
    /// Two seconds, and as many tries as there is time for.
    fn default() -> Self {
        Self { time: Duration::from_secs(2), tries: u64::MAX }
    }
}

/// What came of it. How many tries there were differs from run to run, and belongs into no report that two runs share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Hammered {
    /// A breach was seen.
    Rejected {
        /// What was seen, in a sentence.
        observed: String,
        /// The number of the try in which it was seen, from 1.
        tries: u64,
    },
    /// No breach was seen, which is no proof that there is none.
    NothingSeen {
        /// How many tries there were.
        tries: u64,
    },
    /// There was nothing to try, or no try came to its end.
    NotTried {
        /// The reason, in a sentence.
        why: String,
    },
}

impl Hammered {
    /// Whether a breach was seen.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }
}

impl fmt::Display for Hammered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { observed, tries } => write!(f, "rejected in try {tries} on real threads: {observed}"),
            Self::NothingSeen { tries } => write!(f, "{tries} tries on real threads, nothing seen"),
            Self::NotTried { why } => write!(f, "not tried on real threads: {why}"),
        }
    }
}

/// Tries again and again, on real threads, until a try shows a breach or the force is spent. `attempt` makes a new app each
/// time, on a thread that has the runtime entered, and says what it saw. An attempt that ends in a panic ends the trial: it is
/// no breach of what is looked for here.
///
/// What an app changes in its process, its panic hook above all, stays changed: no specification may be judged beside it.
///
/// # Panics
/// If the system gives no thread.
pub fn strike(force: Force, attempt: impl FnMut(&mut Hammer) -> Proof + Send + 'static) -> Hammered {
    strike_hearing(&Dispatch::none(), force, attempt)
}

/// Like [`strike`], and whatever is logged on a thread of the attempts' comes to `heard`.
///
/// # Panics
/// If the system gives no thread.
pub fn strike_hearing(
    heard: &Dispatch,
    force: Force,
    attempt: impl FnMut(&mut Hammer) -> Proof + Send + 'static,
) -> Hammered {
    let stop = Arc::new(AtomicBool::new(false));
    let tries = Arc::new(AtomicU64::new(0));
    let (tell, told) = mpsc::channel();
    let (stopped, counted, heard) = (stop.clone(), tries.clone(), heard.clone());
    let work = move || {
        let try_all = || dispatcher::with_default(&heard, || try_all(force.tries, &stopped, &counted, &heard, attempt));
        let verdict = catch_unwind(AssertUnwindSafe(try_all));
        // Nobody listens once the time is over.
        let _ = tell.send(verdict.unwrap_or_else(|_| not_tried("the app panicked, see standard error")));
    };
    thread::Builder::new().name("hammer".to_owned()).spawn(work).expect("a thread for the hammer");
    let verdict = receive_within(&told, force.time);
    stop.store(true, Ordering::SeqCst);
    verdict.unwrap_or_else(|_| match tries.load(Ordering::SeqCst) {
        0 => not_tried("no try finished in time"),
        tries => Hammered::NothingSeen { tries },
    })
}

fn not_tried(why: &str) -> Hammered {
    Hammered::NotTried { why: why.to_owned() }
}

fn try_all(
    most: u64,
    stop: &Arc<AtomicBool>,
    tries: &AtomicU64,
    heard: &Dispatch,
    mut attempt: impl FnMut(&mut Hammer) -> Proof,
) -> Hammered {
    let mut hammer = Hammer::new(stop.clone(), most, heard);
    let runtime = hammer.runtime.handle().clone();
    let _entered = runtime.enter();
    while !stop.load(Ordering::SeqCst) && hammer.number < most {
        if let Err(broken) = attempt(&mut hammer) {
            return Hammered::Rejected { observed: broken.to_string(), tries: hammer.number + 1 };
        }
        hammer.number += 1;
        tries.store(hammer.number, Ordering::SeqCst);
    }
    Hammered::NothingSeen { tries: hammer.number }
}

/// How far one side of a pair is held back at most, in turns of an empty loop.
const HELD_BACK: u64 = 512;
/// How long a thread looks for the next job before it sleeps.
const LOOKS: u32 = 2000;
/// How long a thread looks for the other before it lets others run. On a busy machine two that give way too soon run in turns, and
/// never at once.
const LONG_LOOKS: u32 = 20_000;

/// What an attempt tries with: a runtime of two workers, another whose clock stands still, and a second thread to meet.
pub struct Hammer {
    runtime: runtime::Runtime,
    still: runtime::Runtime,
    number: u64,
    most: u64,
    meetings: u64,
    jobs: Sender<Job>,
    met: Arc<Met>,
    stop: Arc<AtomicBool>,
}

type Job = Box<dyn FnOnce() + Send>;

/// The number of the meeting that each of the two threads is ready for.
#[derive(Default)]
struct Met {
    here: AtomicU64,
    there: AtomicU64,
}

/// Where a thread is that has panicked: nobody waits for it any more.
const GONE: u64 = u64::MAX;

impl fmt::Debug for Hammer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hammer").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Hammer {
    fn new(stop: Arc<AtomicBool>, most: u64, heard: &Dispatch) -> Self {
        let everywhere = heard.clone();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            // It ends with its thread.
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&everywhere)))
            .build();
        let runtime = runtime.expect("a runtime for the hammer");
        let still = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let still = still.expect("a runtime for the hammer");
        let (jobs, next) = mpsc::channel();
        let (entering, heard) = (runtime.handle().clone(), heard.clone());
        let work = move || {
            let _entered = entering.enter();
            dispatcher::with_default(&heard, || work_off(&next));
        };
        thread::Builder::new().name("hammer, other".to_owned()).spawn(work).expect("a thread for the hammer");
        Self { runtime, still, number: 0, most, meetings: 0, jobs, met: Arc::default(), stop }
    }

    /// The number of this try, from 0: what an attempt varies may depend on it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many tries an attempt may make of itself that would like to make `wanted` in one go, this one included. It is
    /// counted as so many.
    pub fn tries_at_once(&mut self, wanted: usize) -> usize {
        let left = usize::try_from(self.most - self.number).unwrap_or(usize::MAX);
        let tries = wanted.clamp(1, left.max(1));
        self.number += tries as u64 - 1;
        tries
    }

    /// Waits for something, on this thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Waits for something on this thread, and in a runtime of this thread only whose clock goes on by
    /// [`advance`](tokio::time::advance), or when there is nothing else to do: a deadline that costs no time. Threads are
    /// what they are.
    pub fn block_on_a_still_clock<F: Future>(&self, future: F) -> F::Output {
        self.still.block_on(future)
    }

    /// Does both at once, one here and one on another thread. They begin in the same instant, except that one or the other is
    /// held back a little, a different little at each call. A panic in either is the attempt's.
    pub fn at_once<L, R>(&mut self, here: impl FnOnce() -> L, there: impl FnOnce() -> R + Send + 'static) -> (L, R)
    where
        R: Send + 'static,
    {
        let both = self.each_at_once(vec![(here, there)]).pop();
        both.expect("of one pair, one comes back")
    }

    /// Does both of each pair at once, one pair after the other. It takes far longer for two threads to meet than for both to
    /// go on from there: many pairs cost hardly more than one.
    pub fn each_at_once<L, R>(
        &mut self,
        pairs: Vec<(impl FnOnce() -> L, impl FnOnce() -> R + Send + 'static)>,
    ) -> Vec<(L, R)>
    where
        R: Send + 'static,
    {
        let first = self.meetings + 1;
        self.meetings += pairs.len() as u64;
        let (here, there): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (tell, told) = mpsc::channel();
        let (met, stop) = (self.met.clone(), self.stop.clone());
        let job: Job = Box::new(move || {
            let work = || {
                let each = (first..).zip(there).map(|(number, there)| {
                    meet(number, &met.there, &met.here, held_back(number).1, &stop);
                    there()
                });
                each.collect::<Vec<R>>()
            };
            match catch_unwind(AssertUnwindSafe(work)) {
                // The attempt may have panicked meanwhile.
                Ok(all) => drop(tell.send(all)),
                // That no result comes is told where it is waited for.
                Err(_) => met.there.store(GONE, Ordering::SeqCst),
            }
        });
        self.jobs.send(job).expect("the other thread lives as long as this one");
        let mut all = Vec::with_capacity(here.len());
        for (number, here) in (first..).zip(here) {
            meet(number, &self.met.here, &self.met.there, held_back(number).0, &self.stop);
            all.push(here());
        }
        let there = loop {
            match told.try_recv() {
                Ok(there) => break there,
                Err(TryRecvError::Disconnected) => panic!("the other side panicked"),
                Err(TryRecvError::Empty) if self.stop.load(Ordering::SeqCst) => over(),
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
        };
        all.into_iter().zip(there).collect()
    }

    /// Waits until the runtime has come to rest, and says whether it has: each worker sleeps, and nothing is queued, and it
    /// is still so half a second later. `done` ends the wait at once. For what must happen without any more cause.
    pub fn at_rest_before(&self, mut done: impl FnMut() -> bool) -> bool {
        let handle = self.runtime.handle();
        let (_never, nothing) = mpsc::channel::<()>();
        let mut still = 0;
        let mut seen = parked(handle);
        while still < 50 {
            if done() || self.stop.load(Ordering::SeqCst) {
                return false;
            }
            // No verdict hangs on how long that is: it is half a second in all, of a runtime that does nothing.
            let _ = nothing.recv_timeout(Duration::from_millis(10));
            let now = parked(handle);
            still = if now.is_some() && now == seen { still + 1 } else { 0 };
            seen = now;
        }
        !done()
    }
}

/// How often each worker went to sleep, if all sleep now and nothing is queued.
fn parked(handle: &Handle) -> Option<Vec<u64>> {
    let metrics = handle.metrics();
    let counts: Vec<u64> = (0..metrics.num_workers()).map(|worker| metrics.worker_park_unpark_count(worker)).collect();
    // Odd while it sleeps.
    (metrics.global_queue_depth() == 0 && counts.iter().all(|count| count % 2 == 1)).then_some(counts)
}

/// How far either side of a meeting is held back: one of them not at all, the other a step further each time.
fn held_back(number: u64) -> (u64, u64) {
    // Small steps as often as large ones: most windows are narrow.
    let reach = 1 << (number / 2 % 10);
    let back = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % u64::min(reach, HELD_BACK);
    if number.is_multiple_of(2) { (back, 0) } else { (0, back) }
}

fn idle(turns: u64) {
    (0..turns).for_each(|_| spin_loop());
}

/// Says at `own` that this thread is there, and waits until `other` says so too.
fn meet(number: u64, own: &AtomicU64, other: &AtomicU64, back: u64, stop: &AtomicBool) {
    own.store(number, Ordering::SeqCst);
    let mut looks = 0_u32;
    while other.load(Ordering::SeqCst) < number {
        if stop.load(Ordering::SeqCst) {
            over();
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LONG_LOOKS) { thread::yield_now() } else { spin_loop() }
    }
    idle(back);
}

/// The time is over: whoever still waits unwinds.
fn over() -> ! {
    resume_unwind(Box::new("the time is over"))
}

fn work_off(jobs: &Receiver<Job>) {
    let next = || {
        // A thread that sleeps is woken late; the next job seldom takes long.
        let soon = (0..LOOKS).find_map(|_| {
            spin_loop();
            jobs.try_recv().ok()
        });
        soon.or_else(|| jobs.recv().ok())
    };
    std::iter::from_fn(next).for_each(|job| job());
}

/// For how long the side of a race that would be the first is held back so that either may be. Where it can be seen which was,
/// each outcome moves it towards the instant at which they meet.
#[derive(Debug)]
pub struct Aim {
    turns: u64,
    step: u64,
    last: bool,
}

/// How far an aim is moved once it is near, in turns of an empty loop, and how far away it may be: no thread waits for longer
/// than a few milliseconds.
const NEAR: u64 = 4;
const FURTHEST: u64 = 1 << 13;

impl Default for Aim {
    fn default() -> Self {
        Self { turns: 0, step: NEAR, last: true }
    }
}

impl Aim {
    /// For how many turns to [`wait`](Self::wait) this time.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// Waits a little, much more finely than by looking at a clock.
    pub fn wait(turns: u64) {
        (0..turns).for_each(|turn| {
            black_box(turn);
        });
    }

    /// Whether the side that was held back was the first nevertheless.
    pub fn was_first(&mut self, first: bool) {
        // Ever further, until it has been too far once: a thread that is late now and then moves it no more than any other.
        self.step = if first && self.last { u64::min(self.step * 2, FURTHEST / 4) } else { NEAR };
        self.last &= first;
        self.turns = if first { self.turns + self.step } else { self.turns.saturating_sub(self.step) }.min(FURTHEST);
    }
}

/// A future that is polled by hand, now here and now there, as two threads of a server would.
pub struct ByHand<T> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<T> ByHand<T> {
    /// Not polled yet.
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), woken: Arc::default() }
    }

    /// Polls it once, unless it has ended.
    pub fn poll(&mut self) -> Option<T> {
        let future = self.future.as_mut()?;
        let waker = Waker::from(self.woken.clone());
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => {
                self.future = None;
                Some(output)
            }
            Poll::Pending => None,
        }
    }

    /// Polls it again whenever it was woken, until it has ended or nobody has woken it.
    pub fn poll_while_woken(&mut self) -> Option<T> {
        let mut woken = self.woken.0.load(Ordering::SeqCst);
        loop {
            if let Some(output) = self.poll() {
                return Some(output);
            }
            let now = self.woken.0.load(Ordering::SeqCst);
            if now == woken || self.future.is_none() {
                return None;
            }
            woken = now;
        }
    }
}

impl<T> fmt::Debug for ByHand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand").field("woken", &self.woken.0).finish_non_exhaustive()
    }
}
