//! Tempting wrong fixes, each a whole `lib.rs`.

use axum::{BoxError, Router};
use tokio::sync::mpsc;
use tower::util::BoxCloneSyncService;

use crate::sync::Arc;

#[path = "near_misses/mended/shared.rs"]
mod mended;

pub mod abort_with_each_reader;
pub mod corpse_in_the_map;
pub mod counted_before_the_dial;
pub mod failed_send;
pub mod first_reader_dials;
pub mod flag_looked_at;
pub mod handles_in_a_vec;
pub mod head_held_back;
pub mod janitor;
pub mod load_then_add;
pub mod load_then_store;
pub mod locked_across_the_dial;
pub mod only_str;
pub mod panic_left_to_the_runtime;
pub mod removed_by_name;
pub mod subscription_for_each;
pub mod upgraded_at_the_top;

/// What each near miss exports, and [`crate::app`] is, too.
pub type App = fn(
    BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>,
    Arc<dyn Fn(&str) -> String + Send + Sync>,
) -> Router;

/// Every near miss, under the name that it has in `case.toml`.
pub const ALL: &[(&str, App)] = &[
    ("upgraded-at-the-top", upgraded_at_the_top::app),
    ("abort-with-each-reader", abort_with_each_reader::app),
    ("load-then-store", load_then_store::app),
    ("load-then-add", load_then_add::app),
    ("flag-looked-at", flag_looked_at::app),
    ("failed-send", failed_send::app),
    ("janitor", janitor::app),
    ("handles-in-a-vec", handles_in_a_vec::app),
    ("subscription-for-each", subscription_for_each::app),
    ("corpse-in-the-map", corpse_in_the_map::app),
    ("removed-by-name", removed_by_name::app),
    ("counted-before-the-dial", counted_before_the_dial::app),
    ("locked-across-the-dial", locked_across_the_dial::app),
    ("first-reader-dials", first_reader_dials::app),
    ("head-held-back", head_held_back::app),
    ("panic-left-to-the-runtime", panic_left_to_the_runtime::app),
    ("only-str", only_str::app),
];
