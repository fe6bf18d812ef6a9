//! Tempting wrong fixes, each a whole `lib.rs`.

use std::time::Duration;

use axum::Router;

#[path = "near_misses/mended/shared.rs"]
mod mended;

pub mod after_the_await;
pub mod deadline_on_reports;
pub mod global_limits;
pub mod grant_is_kept;
pub mod larger_limit;
pub mod limit_on_each;
pub mod limit_on_the_router;
pub mod livez_inside;
pub mod look_then_raise;
pub mod orders_refused_at_once;
pub mod place_then_share;
pub mod raise_then_lower;
pub mod released_at_the_head;
pub mod share_then_queue;
pub mod share_without_total;
pub mod shed_at_the_limit;
pub mod two_partitions;
pub mod waiting_not_counted;
pub mod waits_for_ever;

/// The signature of [`app`](crate::app).
pub type App = fn(Router, Router, usize, usize, Duration) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("larger-limit", larger_limit::app),
    ("deadline-on-reports", deadline_on_reports::app),
    ("shed-at-the-limit", shed_at_the_limit::app),
    ("limit-on-the-router", limit_on_the_router::app),
    ("limit-on-each", limit_on_each::app),
    ("global-limits", global_limits::app),
    ("share-without-total", share_without_total::app),
    ("two-partitions", two_partitions::app),
    ("place-then-share", place_then_share::app),
    ("share-then-queue", share_then_queue::app),
    ("orders-refused-at-once", orders_refused_at_once::app),
    ("released-at-the-head", released_at_the_head::app),
    ("after-the-await", after_the_await::app),
    ("grant-is-kept", grant_is_kept::app),
    ("waits-for-ever", waits_for_ever::app),
    ("waiting-not-counted", waiting_not_counted::app),
    ("livez-inside", livez_inside::app),
    ("look-then-raise", look_then_raise::app),
    ("raise-then-lower", raise_then_lower::app),
];
