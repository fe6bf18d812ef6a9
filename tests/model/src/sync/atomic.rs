//! The atomics of `std::sync::atomic`, each operation a recorded step.

pub use std::sync::atomic::Ordering;

use std::fmt;
use std::sync::atomic as standard;

use crate::trace;

/// The place in which loom decides whose turn it is: an atomic of loom's without meaning.
///
/// The value itself is std's, kept beside it. All threads of a model share one OS thread, so
/// whoever has the turn acts on the newest value, and a single turn is a single step.
pub(crate) struct Turn(loom::sync::atomic::AtomicUsize);

impl Turn {
    pub(crate) fn new() -> Self {
        Self(loom::sync::atomic::AtomicUsize::new(0))
    }

    /// Returns when this thread may act.
    ///
    /// A thread that unwinds acts at once: the run has failed, and loom, asked for another turn by
    /// a `Drop`, could only abort the process.
    pub(crate) fn take(&self) {
        if !std::thread::panicking() {
            self.0.fetch_add(0, Ordering::SeqCst);
        }
    }
}

/// The types differ in their names, their values and the arithmetic that they know.
macro_rules! atomic {
    ($name:ident, $value:ty, $($fetch:ident: $verb:literal),+) => {
        #[doc = concat!("Looks like [`std::sync::atomic::", stringify!($name), "`]; each operation is a step.")]
        #[doc = ""]
        #[doc = "A load reads the newest value, whatever its `Ordering`."]
        pub struct $name {
            turn: Turn,
            value: standard::$name,
        }

        impl $name {
            /// Makes an atomic that holds `value`; not `const`, unlike std's.
            pub fn new(value: $value) -> Self {
                Self { turn: Turn::new(), value: standard::$name::new(value) }
            }

            /// Waits for the turn, acts, and records what `tell` makes of the outcome.
            #[track_caller]
            fn step<R>(
                &self,
                act: impl FnOnce(&standard::$name) -> R,
                tell: impl FnOnce(&R) -> String,
            ) -> R {
                self.turn.take();
                let outcome = act(&self.value);
                trace::step(tell(&outcome));
                outcome
            }

            fn newest(&self) -> $value {
                self.value.load(Ordering::SeqCst)
            }

            /// As std's, but always the newest value.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.step(|value| value.load(order), |seen| format!("reads {seen}"))
            }

            /// As std's.
            #[track_caller]
            pub fn store(&self, new: $value, order: Ordering) {
                self.step(|value| value.store(new, order), |()| format!("stores {new}"));
            }

            /// As std's.
            #[track_caller]
            pub fn swap(&self, new: $value, order: Ordering) -> $value {
                self.step(|value| value.swap(new, order), |old| format!("replaces {old} with {new}"))
            }

            /// As std's.
            ///
            /// # Errors
            ///
            /// Gives back the value if it is not `current`.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.step(
                    |value| value.compare_exchange(current, new, success, failure),
                    |outcome| match outcome {
                        Ok(old) => format!("changes {old} to {new}"),
                        Err(seen) => format!("expects {current}, finds {seen}"),
                    },
                )
            }

            /// As [`compare_exchange`](Self::compare_exchange): it never fails spuriously here.
            ///
            /// # Errors
            ///
            /// Gives back the value if it is not `current`.
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            /// As std's, in a single step: the tries of which nothing comes are not shown.
            ///
            /// # Errors
            ///
            /// Gives back the value if `change` makes nothing of it.
            #[track_caller]
            pub fn fetch_update(
                &self,
                set_order: Ordering,
                fetch_order: Ordering,
                change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.step(
                    |value| value.fetch_update(set_order, fetch_order, change),
                    |outcome| match outcome {
                        Ok(old) => format!("changes {old} to {}", self.newest()),
                        Err(seen) => format!("leaves {seen}"),
                    },
                )
            }

            $(
                /// As std's.
                #[track_caller]
                pub fn $fetch(&self, operand: $value, order: Ordering) -> $value {
                    self.step(
                        |value| value.$fetch(operand, order),
                        |old| format!("{} {operand}: {old} becomes {}", $verb, self.newest()),
                    )
                }
            )+

            /// As std's; no step, because nobody else can look.
            pub fn get_mut(&mut self) -> &mut $value {
                self.value.get_mut()
            }

            /// As std's; no step, because nobody else can look.
            pub fn into_inner(self) -> $value {
                self.value.into_inner()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.newest(), f)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$value>::default())
            }
        }

        impl From<$value> for $name {
            fn from(value: $value) -> Self {
                Self::new(value)
            }
        }
    };
}

atomic!(AtomicBool, bool, fetch_and: "ands", fetch_or: "ors", fetch_xor: "xors", fetch_nand: "nands");

macro_rules! atomic_integer {
    ($($name:ident, $value:ty;)+) => {$(
        atomic!(
            $name, $value, fetch_add: "adds", fetch_sub: "subtracts", fetch_max: "raises to",
            fetch_min: "lowers to", fetch_and: "ands", fetch_or: "ors", fetch_xor: "xors"
        );
    )+};
}

atomic_integer! {
    AtomicU8, u8;
    AtomicU32, u32;
    AtomicU64, u64;
    AtomicUsize, usize;
    AtomicI64, i64;
}
