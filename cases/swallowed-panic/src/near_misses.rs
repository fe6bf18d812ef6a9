//! Fixes that a good engineer would try first, each of which still breaks a promise.

use std::sync::{Arc, atomic::AtomicI64};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
};
use tokio::sync::mpsc::UnboundedSender;

pub mod call_only;
pub mod clean_end;
pub mod detached_task;
pub mod head_only;
pub mod hook_and_layer;
pub mod message_to_client;
pub mod panic_hook;
pub mod poisoned_lock;
pub mod recovery_innermost;
pub mod silent_500;

/// The form of every `app`.
pub type App = fn(
    Router,
    Arc<dyn Fn(&HeaderMap) -> Option<String> + Send + Sync>,
    Arc<AtomicI64>,
    UnboundedSender<(String, StatusCode)>,
) -> Router;

/// The near misses, in the order in which they are told.
pub const ALL: &[(&str, App)] = &[
    ("silent-500", silent_500::app),
    ("detached-task", detached_task::app),
    ("recovery-innermost", recovery_innermost::app),
    ("panic-hook", panic_hook::app),
    ("hook-and-layer", hook_and_layer::app),
    ("message-to-client", message_to_client::app),
    ("call-only", call_only::app),
    ("head-only", head_only::app),
    ("clean-end", clean_end::app),
    ("poisoned-lock", poisoned_lock::app),
];
