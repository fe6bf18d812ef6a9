//! Tempting fixes that do not lay the ghost to rest.

use std::{convert::Infallible, time::Duration};

use axum::Router;
use tokio::sync::mpsc;

pub mod asked_once;
pub mod collected_answer;
pub mod early_disarm;
pub mod given_back_twice;
pub mod guard_in_the_request;
pub mod guard_outside;
pub mod late_guard;
pub mod named_after_the_editor;
pub mod no_deadline;
pub mod no_drain;
pub mod one_by_one;
pub mod own_sender;
pub mod own_timeout;
pub mod small_queue;
pub mod spawned_handler;
pub mod spawned_release;
pub mod thrown_away;

/// The editor, as [`app`](crate::app) makes it.
pub type App = fn(Router, Router, Duration, mpsc::Sender<Infallible>) -> Router;

/// The near misses by name.
pub const ALL: &[(&str, App)] = &[
    ("late-guard", late_guard::app),
    ("early-disarm", early_disarm::app),
    ("no-drain", no_drain::app),
    ("spawned-release", spawned_release::app),
    ("own-timeout", own_timeout::app),
    ("given-back-twice", given_back_twice::app),
    ("small-queue", small_queue::app),
    ("asked-once", asked_once::app),
    ("guard-in-the-request", guard_in_the_request::app),
    ("own-sender", own_sender::app),
    ("one-by-one", one_by_one::app),
    ("no-deadline", no_deadline::app),
    ("thrown-away", thrown_away::app),
    ("spawned-handler", spawned_handler::app),
    ("guard-outside", guard_outside::app),
    ("named-after-the-editor", named_after_the_editor::app),
    ("collected-answer", collected_answer::app),
];
