//! What a core takes from `super::sync`: a look-alike of [`std::sync`] whose operations are steps.

pub mod atomic;

pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync as standard;
use std::thread::panicking;

use self::atomic::Turn;
use crate::trace;

/// Looks like [`std::sync::Arc`] for a value of known size.
///
/// Clones and drops are turns, so every order of them is explored; they are shown in the table only
/// if the owners of this very `Arc` are counted, because only then do they matter.
pub struct Arc<T>(standard::Arc<Shared<T>>);

struct Shared<T> {
    turn: Turn,
    number: usize,
    value: T,
}

impl<T> Arc<T> {
    /// As std's.
    pub fn new(value: T) -> Self {
        Self(standard::Arc::new(Shared { turn: Turn::new(), number: trace::next_arc(), value }))
    }

    /// As std's; a step.
    #[track_caller]
    pub fn strong_count(this: &Self) -> usize {
        this.0.turn.take();
        let count = standard::Arc::strong_count(&this.0);
        trace::owners_matter(this.0.number);
        this.record(format!("counts {}", owners(count)), Some(Location::caller()));
        count
    }

    /// As std's.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        standard::Arc::ptr_eq(&this.0, &other.0)
    }

    fn record(&self, did: String, line: Option<&'static Location<'static>>) {
        trace::step_of_arc(self.0.number, did, line);
    }
}

fn owners(count: usize) -> String {
    if count == 1 { "1 owner".to_owned() } else { format!("{count} owners") }
}

impl<T> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        self.0.turn.take();
        let clone = Self(standard::Arc::clone(&self.0));
        let count = standard::Arc::strong_count(&self.0);
        self.record(format!("clones its Arc: {}", owners(count)), Some(Location::caller()));
        clone
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        self.0.turn.take();
        let left = standard::Arc::strong_count(&self.0) - 1;
        self.record(format!("drops its Arc: {}", owners(left)), None);
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> AsRef<T> for Arc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.value, f)
    }
}

impl<T: Default> Default for Arc<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Arc<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Looks like [`std::sync::Mutex`] for a value that can be shown: the table says what was found and
/// what was left.
///
/// A panic ends the run, so a lock is found poisoned only by a `Drop` of the same unwinding.
pub struct Mutex<T> {
    turn: loom::sync::Mutex<()>,
    show: fn(&T) -> String,
    value: standard::Mutex<T>,
}

impl<T: fmt::Debug> Mutex<T> {
    /// As std's, but for `Debug` and not `const`.
    pub fn new(value: T) -> Self {
        Self {
            turn: loom::sync::Mutex::new(()),
            show: |value| format!("{value:?}"),
            value: standard::Mutex::new(value),
        }
    }
}

impl<T> Mutex<T> {
    /// As std's; the lock and the unlock are steps.
    ///
    /// # Errors
    ///
    /// In a `Drop`, if the lock was held where the unwinding began.
    ///
    /// # Panics
    ///
    /// If a thread that unwinds would have to wait.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let mut turn = None;
        if !panicking() {
            trace::begin_to_wait();
            turn = Some(self.turn.lock().expect("loom never says that a lock is poisoned"));
            trace::end_to_wait();
        }
        let (value, poisoned) = match self.value.try_lock() {
            Ok(value) => (value, false),
            Err(TryLockError::Poisoned(error)) => (error.into_inner(), true),
            Err(TryLockError::WouldBlock) => panic!("a thread that unwinds waits for a lock"),
        };
        let found = (self.show)(&value);
        trace::step(format!("locks, finds {found}"));
        let guard = MutexGuard { value: Some(value), turn, found, show: self.show };
        if poisoned { Err(PoisonError::new(guard)) } else { Ok(guard) }
    }

    /// As std's.
    ///
    /// # Errors
    ///
    /// If the lock is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.value.get_mut()
    }

    /// As std's.
    ///
    /// # Errors
    ///
    /// If the lock is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        self.value.into_inner()
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Debug + Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// The lock is held while this lives, as with [`std::sync::MutexGuard`].
pub struct MutexGuard<'a, T> {
    value: Option<standard::MutexGuard<'a, T>>,
    turn: Option<loom::sync::MutexGuard<'a, ()>>,
    found: String,
    show: fn(&T) -> String,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until the drop")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("there until the drop")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        let left = (self.show)(self);
        trace::step_without_line(if left == self.found {
            "unlocks".to_owned()
        } else {
            format!("unlocks, leaves {left}")
        });
        // The value goes first: who is let in by the turn finds it free.
        drop(self.value.take());
        drop(self.turn.take());
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
