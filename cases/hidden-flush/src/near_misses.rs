//! Patches that tempt and fail.

use axum::Router;

pub mod bounded_pump;
pub mod data_stream;
pub mod error_as_end;
pub mod event_stream_exempt;
pub mod flush_large_frames;
pub mod flush_timer;
pub mod now_or_never;
pub mod smaller_buffer;
pub mod stale_length;
pub mod unbounded_pump;

/// What each of them exports.
pub type App = fn(Router) -> Router;

/// All of them, by name.
pub const ALL: &[(&str, App)] = &[
    ("smaller-buffer", smaller_buffer::app),
    ("flush-timer", flush_timer::app),
    ("event-stream-exempt", event_stream_exempt::app),
    ("flush-large-frames", flush_large_frames::app),
    ("now-or-never", now_or_never::app),
    ("bounded-pump", bounded_pump::app),
    ("unbounded-pump", unbounded_pump::app),
    ("data-stream", data_stream::app),
    ("error-as-end", error_as_end::app),
    ("stale-length", stale_length::app),
];
