//! Fixes that tempt and do not hold.

use std::{sync::Arc, time::Duration};

use axum::{Router, http::StatusCode};
use tokio::sync::{Semaphore, mpsc::UnboundedSender};

pub mod audit_moved;
pub mod by_route_layer;
pub mod deadline_inside;
pub mod deadline_outside;
pub mod id_inside_log;
pub mod length_only;
pub mod limit_inside_audit;
pub mod limit_outside;
pub mod logged_twice;
pub mod one_builder;
pub mod only_the_known;
pub mod options_pass;
pub mod quota_inside;
pub mod quota_looked_at;
pub mod quota_outside_cors;
pub mod recovery_outermost;
pub mod trail_afterwards;
pub mod two_deadlines;
pub mod where_credentials_are;
pub mod whole_answers;
pub mod written_if_good;

/// Makes an app.
pub type App = fn(
    Router,
    Router,
    Arc<Semaphore>,
    UnboundedSender<(String, String, StatusCode)>,
    UnboundedSender<(String, Vec<u8>)>,
    Duration,
    usize,
) -> Router;

/// Every near miss by its name.
pub const ALL: &[(&str, App)] = &[
    ("one-builder", one_builder::app),
    ("audit-moved", audit_moved::app),
    ("options-pass", options_pass::app),
    ("written-if-good", written_if_good::app),
    ("where-credentials-are", where_credentials_are::app),
    ("only-the-known", only_the_known::app),
    ("logged-twice", logged_twice::app),
    ("deadline-outside", deadline_outside::app),
    ("quota-outside-cors", quota_outside_cors::app),
    ("quota-inside", quota_inside::app),
    ("quota-looked-at", quota_looked_at::app),
    ("deadline-inside", deadline_inside::app),
    ("two-deadlines", two_deadlines::app),
    ("recovery-outermost", recovery_outermost::app),
    ("id-inside-log", id_inside_log::app),
    ("length-only", length_only::app),
    ("limit-inside-audit", limit_inside_audit::app),
    ("limit-outside", limit_outside::app),
    ("by-route-layer", by_route_layer::app),
    ("trail-afterwards", trail_afterwards::app),
    ("whole-answers", whole_answers::app),
];
