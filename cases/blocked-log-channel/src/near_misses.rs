//! Tempting fixes that are still wrong, each a whole `lib.rs`.

use std::time::Duration;

use axum::Router;
use tokio::{io::DuplexStream, sync::watch};

use crate::sync::{Arc, atomic::AtomicU64};

#[path = "near_misses/mended/shared.rs"]
mod mended;

pub mod aborted_at_stop;
pub mod ends_at_the_first_error;
pub mod error_dropped;
pub mod flag_beside_the_lock;
pub mod flush_without_limit;
pub mod full_only;
pub mod lane_for_errors;
pub mod larger_buffer;
pub mod load_and_store;
pub mod looks_again;
pub mod looks_then_closes;
pub mod stop_against_the_write;
pub mod task_per_line;
pub mod timeout_round_the_write;
pub mod unbounded_channel;

/// The signature of [`app`](crate::app).
pub type App = fn(Router, DuplexStream, Arc<AtomicU64>, usize, watch::Receiver<bool>, Duration) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("larger-buffer", larger_buffer::app),
    ("timeout-round-the-write", timeout_round_the_write::app),
    ("unbounded-channel", unbounded_channel::app),
    ("task-per-line", task_per_line::app),
    ("error-dropped", error_dropped::app),
    ("full-only", full_only::app),
    ("ends-at-the-first-error", ends_at_the_first_error::app),
    ("lane-for-errors", lane_for_errors::app),
    ("aborted-at-stop", aborted_at_stop::app),
    ("stop-against-the-write", stop_against_the_write::app),
    ("flush-without-limit", flush_without_limit::app),
    ("looks-then-closes", looks_then_closes::app),
    ("flag-beside-the-lock", flag_beside_the_lock::app),
    ("looks-again", looks_again::app),
    ("load-and-store", load_and_store::app),
];
