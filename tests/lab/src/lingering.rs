//! Atomics that a thread handles slowly, for the tests of a hammer.
//!
//! The window of a race is a few instructions wide. Whether two threads meet in it within a minute is decided by the machine, so a
//! test that waits for it passes on one and fails on the next. With these in place of std's a thread lingers before and after each step, and
//! the other has time to come: what is tested is whether the hammer *sees* what happens then. How often two threads meet without
//! help is measured, not tested.
//!
//! ```
//! use std::sync::{Arc, atomic::Ordering::SeqCst};
//! use lab::{hammer::{Force, strike}, lingering::AtomicUsize, require};
//!
//! let racy = strike(Force { time: std::time::Duration::from_secs(300), tries: u64::MAX }, |hammer| {
//!     let places = Arc::new(AtomicUsize::new(1));
//!     let (here, there) = (places.clone(), places.clone());
//!     let take = |places: &AtomicUsize| places.load(SeqCst) > 0 && places.fetch_sub(1, SeqCst) > 0;
//!     let (one, other) = hammer.at_once(move || take(&here), move || take(&there));
//!     require(one || other, "one of the two takes the place")?;
//!     require(places.load(SeqCst) == 0, "one place was taken twice")
//! });
//! assert!(racy.is_rejected(), "{racy}");
//! ```

use std::{
    hint::spin_loop,
    ops::Deref,
    sync::atomic::{self, Ordering},
    thread,
};

/// For how many turns of an empty loop a thread lingers at most, as a power of two: some fifty microseconds. One that always lingers as
/// long is always too early for another, or always too late.
const LONGEST: u32 = 13;
static LINGERED: atomic::AtomicU32 = atomic::AtomicU32::new(0);

/// An atomic of std's; a thread lingers where it looks at it or counts on it.
#[derive(Debug, Default)]
pub struct Lingering<T>(T);

/// Like [`std::sync::atomic::AtomicBool`].
pub type AtomicBool = Lingering<atomic::AtomicBool>;
/// Like [`std::sync::atomic::AtomicUsize`].
pub type AtomicUsize = Lingering<atomic::AtomicUsize>;

/// Takes a little time, another at each call, and lets another thread run that has no processor of its own.
pub fn linger() {
    let turns = 1_u32 << (LINGERED.fetch_add(1, Ordering::Relaxed) % (LONGEST + 1));
    (0..turns).for_each(|_| spin_loop());
    thread::yield_now();
}

fn slowly<T>(step: impl FnOnce() -> T) -> T {
    linger();
    let done = step();
    linger();
    done
}

impl AtomicBool {
    /// Like std's.
    pub const fn new(value: bool) -> Self {
        Self(atomic::AtomicBool::new(value))
    }

    /// Like std's; what it returns may be old by then.
    pub fn load(&self, order: Ordering) -> bool {
        slowly(|| self.0.load(order))
    }
}

impl AtomicUsize {
    /// Like std's.
    pub const fn new(value: usize) -> Self {
        Self(atomic::AtomicUsize::new(value))
    }

    /// Like std's; what it returns may be old by then.
    pub fn load(&self, order: Ordering) -> usize {
        slowly(|| self.0.load(order))
    }

    /// Like std's; the count may be another by the time it returns.
    pub fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        slowly(|| self.0.fetch_add(value, order))
    }

    /// Like std's; the count may be another by the time it returns.
    pub fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
        slowly(|| self.0.fetch_sub(value, order))
    }
}

/// All other steps are std's.
impl<T> Deref for Lingering<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
