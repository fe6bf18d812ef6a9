//! Tempting wrong fixes, each a whole `lib.rs`.

use std::io;

use axum::Router;
use tokio::io::DuplexStream;
use tower::util::BoxCloneSyncService;

pub mod byte_limit_only;
pub mod connection_close;
pub mod drain_in_a_task;
pub mod drain_without_bound;
pub mod drop_both;
pub mod idle_time_limit;
pub mod length_decides;
pub mod nothing_kept;
pub mod one_connection;
pub mod shorter_page;
pub mod time_limit_only;
pub mod uploads_only;
pub mod whole_body_first;

/// The signature of [`app`](crate::app).
pub type App = fn(BoxCloneSyncService<(), DuplexStream, io::Error>) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("shorter-page", shorter_page::app),
    ("uploads-only", uploads_only::app),
    ("one-connection", one_connection::app),
    ("connection-close", connection_close::app),
    ("drain-without-bound", drain_without_bound::app),
    ("whole-body-first", whole_body_first::app),
    ("drain-in-a-task", drain_in_a_task::app),
    ("byte-limit-only", byte_limit_only::app),
    ("time-limit-only", time_limit_only::app),
    ("idle-time-limit", idle_time_limit::app),
    ("length-decides", length_decides::app),
    ("drop-both", drop_both::app),
    ("nothing-kept", nothing_kept::app),
];
