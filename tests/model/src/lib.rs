//! Explores every interleaving of a core, and tells the one that breaks it.
//!
//! The *core* of a ghost is the file in which threads share state, `src/shared.rs`. It takes its
//! primitives from `super::sync`, which in the library is std's. A test includes the same file a
//! second time, beside a `sync` that is [this crate's](sync): loom then decides before each
//! operation which thread is next, and tries all orders, one run for each. There is no flag to set;
//! plain `cargo test` does it.
//!
//! # Examples
//!
//! An upload slot is given back at the end of the stream and again when the body is dropped. A flag
//! was to prevent that:
//!
//! ```
//! use model::sync; // the `super::sync` of the core
//! use model::{Bounds, explore, note, require, thread};
//!
//! // In a test of a ghost: #[path = "../src/shared.rs"] mod shared;
//! mod shared {
//!     use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
//!
//!     #[derive(Default)]
//!     pub struct Slot {
//!         given_back: AtomicBool,
//!         free: AtomicUsize,
//!     }
//!
//!     impl Slot {
//!         pub fn give_back(&self) {
//!             if !self.given_back.load(SeqCst) {
//!                 self.given_back.store(true, SeqCst);
//!                 self.free.fetch_add(1, SeqCst);
//!             }
//!         }
//!
//!         pub fn free(&self) -> usize {
//!             self.free.load(SeqCst)
//!         }
//!     }
//! }
//!
//! # fn main() {
//! let failing = explore(Bounds::Exhaustive, || {
//!     let slot = sync::Arc::new(shared::Slot::default());
//!     let (end, drop) = (slot.clone(), slot.clone());
//!     let end = thread::spawn("end of stream", move || end.give_back());
//!     let drop = thread::spawn("drop of the body", move || drop.give_back());
//!     end.join().unwrap();
//!     drop.join().unwrap();
//!     note("the upload is over");
//!     require(slot.free() == 1, "a slot that was taken once is free once");
//! })
//! .fails();
//! println!("{failing}");
//! # assert_eq!(failing.broken, "a slot that was taken once is free once");
//! # }
//! ```
//!
//! What is printed is the run in which it failed, to be followed from top to bottom:
//!
//! ```text
//! interleaving 10
//!
//! 1  end of stream     reads false          if !self.given_back.load(SeqCst) {    shared.rs:13
//! 2  drop of the body  reads false          if !self.given_back.load(SeqCst) {    shared.rs:13
//! 3  drop of the body  stores true          self.given_back.store(true, SeqCst);  shared.rs:14
//! 4  drop of the body  adds 1: 0 becomes 1  self.free.fetch_add(1, SeqCst);       shared.rs:15
//! 5  end of stream     stores true          self.given_back.store(true, SeqCst);  shared.rs:14
//! 6  end of stream     adds 1: 1 becomes 2  self.free.fetch_add(1, SeqCst);       shared.rs:15
//! 7  main              the upload is over
//! 8  main              reads 2              self.free.load(SeqCst)                shared.rs:20
//!
//! broken: a slot that was taken once is free once
//! ```
//!
//! Both looked before either wrote. With `swap` in place of the load and the store the same model
//! [holds](Exploration::holds), and the number of interleavings says how much was tried.
//!
//! # Writing a model
//!
//! - Each run must do the same for the same order of steps: no clock, no randomness, nothing kept
//!   from one run to the next. What threads share is made inside the closure.
//! - Clone what the threads need before the first is spawned. A clone afterwards races with the
//!   threads that are there, and is one more step to be interleaved with theirs.
//! - Two or three threads, each of a few steps, are explored exhaustively within a second;
//!   more threads need [`Bounds::Preemptions`]. Five are the most.
//! - A control in which nothing runs at the same time has one interleaving; compare it with
//!   `Exploration::Holds { interleavings: 1 }`.
//!
//! # What is not explored
//!
//! Values are std's; loom only decides whose turn it is. So a load reads the newest value whatever
//! its `Ordering`, and the table is a true sequence. The price: a failure that lives on a stale
//! read (`Relaxed` where `Acquire` is needed) is not found; such a ghost takes loom as it is.
//!
//! A failed run is taken down by unwinding, as in any test. Atomics, locks and `Arc`s then act at
//! once and without loom, so a `Drop` may use them. Two things still abort the process: a `Drop`
//! that waits while unwinding for a lock which another thread holds, and one that panics. Run such
//! a model in a process of its own, by starting the test's own binary again with `--exact` and the
//! test's name. A deadlock of locks needs none of that: it is told like any other failure. So is a
//! loop that waits for another thread. A panic that the model itself catches is not supported.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use loom::model::Builder;
use tracing::subscriber::NoSubscriber;

pub mod body_double_close;
