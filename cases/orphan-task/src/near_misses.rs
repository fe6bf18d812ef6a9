//! Tempting wrong fixes, each a whole `lib.rs`.

use axum::{BoxError, Router};
use tokio::sync::mpsc;
use tower::util::BoxCloneSyncService;

use crate::sync::Arc;

#[path = "near_misses/mended/shared.rs"]
mod mended;

pub mod only_str;

/// What each near miss exports, and [`crate::app`] is, too.
pub type App = fn(
    BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>,
    Arc<dyn Fn(&str) -> String + Send + Sync>,
) -> Router;

/// Every near miss, under the name that it has in `case.toml`.
pub const ALL: &[(&str, App)] = &[("only-str", only_str::app)];
