//! Tempting wrong fixes, each a whole `lib.rs`.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::mpsc::UnboundedSender;

pub mod abort_the_closure;
pub mod abort_the_parent;
pub mod budget_forwarded_verbatim;
pub mod charge_and_refund;
pub mod check_then_charge;
pub mod deadline_from_the_head;
pub mod deadline_on_the_head;
pub mod flag_checked_too_early;
pub mod fresh_budget_for_the_retry;
pub mod idle_timeout_on_the_body;
pub mod time_for_the_answer;
pub mod timeout_on_the_handle;
pub mod token_not_passed;
pub mod wait_for_the_stop;

/// The signature of [`app`](crate::app).
pub type App = fn(Router, Arc<dyn Fn(&str) -> String + Send + Sync>, UnboundedSender<String>, Duration) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("timeout-on-the-handle", timeout_on_the_handle::app),
    ("abort-the-parent", abort_the_parent::app),
    ("abort-the-closure", abort_the_closure::app),
    ("token-not-passed", token_not_passed::app),
    ("flag-checked-too-early", flag_checked_too_early::app),
    ("check-then-charge", check_then_charge::app),
    ("charge-and-refund", charge_and_refund::app),
    ("wait-for-the-stop", wait_for_the_stop::app),
    ("time-for-the-answer", time_for_the_answer::app),
    ("fresh-budget-for-the-retry", fresh_budget_for_the_retry::app),
    ("budget-forwarded-verbatim", budget_forwarded_verbatim::app),
    ("deadline-on-the-head", deadline_on_the_head::app),
    ("deadline-from-the-head", deadline_from_the_head::app),
    ("idle-timeout-on-the-body", idle_timeout_on_the_body::app),
];
