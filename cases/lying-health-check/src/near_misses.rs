//! Tempting wrong fixes, each a whole `lib.rs`.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::Semaphore;

pub mod cached_for_ever;
pub mod check_in_the_probe;
pub mod check_per_probe;
pub mod dead_checker;
pub mod deadline_on_the_handle;
pub mod error_only;
pub mod gives_up_at_first_failure;
pub mod no_deadline;
pub mod one_handler;
pub mod one_reading;
pub mod own_connection;
pub mod readiness_only;
pub mod ready_until_proven_sick;

/// The signature of [`app`](crate::app).
pub type App = fn(Router, Arc<Semaphore>, Duration) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("error-only", error_only::app),
    ("readiness-only", readiness_only::app),
    ("one-handler", one_handler::app),
    ("own-connection", own_connection::app),
    ("one-reading", one_reading::app),
    ("dead-checker", dead_checker::app),
    ("ready-until-proven-sick", ready_until_proven_sick::app),
    ("gives-up-at-first-failure", gives_up_at_first_failure::app),
    ("deadline-on-the-handle", deadline_on_the_handle::app),
    ("check-per-probe", check_per_probe::app),
    ("cached-for-ever", cached_for_ever::app),
    ("no-deadline", no_deadline::app),
    ("check-in-the-probe", check_in_the_probe::app),
];
