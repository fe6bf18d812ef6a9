//! Tempting wrong fixes, each a whole `lib.rs`.

use std::time::Duration;

use axum::{BoxError, Router};
use tower::util::{BoxCloneSyncService, BoxService};

#[path = "near_misses/mended/shared.rs"]
mod mended;

pub mod forgotten_grant;
pub mod let_underscore;
pub mod look_then_leave;
pub mod reaper_by_age;
pub mod release_on_error;
pub mod released_at_the_head;
pub mod return_on_drop;
pub mod return_unless_broken;
pub mod second_check_out;
pub mod timeout_round_the_request;
pub mod wait_begins_again;

/// The signature of [`app`](crate::app).
pub type App =
    fn(usize, Duration, BoxCloneSyncService<(), BoxService<String, Vec<String>, BoxError>, BoxError>) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("release-on-error", release_on_error::app),
    ("forgotten-grant", forgotten_grant::app),
    ("look-then-leave", look_then_leave::app),
    ("return-on-drop", return_on_drop::app),
    ("return-unless-broken", return_unless_broken::app),
    ("reaper-by-age", reaper_by_age::app),
    ("let-underscore", let_underscore::app),
    ("second-check-out", second_check_out::app),
    ("timeout-round-the-request", timeout_round_the_request::app),
    ("wait-begins-again", wait_begins_again::app),
    ("released-at-the-head", released_at_the_head::app),
];
