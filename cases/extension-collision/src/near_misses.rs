//! Tempting fixes that do not lay the ghost to rest.

use std::sync::Arc;

use axum::{Router, http::StatusCode};
use tokio::sync::mpsc::UnboundedSender;

pub mod appended;
pub mod by_template;
pub mod checked_early;
pub mod first_and_last;
pub mod insert_if_absent;
pub mod map_made_anew;
pub mod one_key;
pub mod other_order;
pub mod parsed_again;
pub mod set_only;
pub mod string_and_arc_str;
pub mod string_in_answer;
pub mod thread_local;
pub mod type_aliases;

/// The letter box, as [`app`](crate::app) makes it.
pub type App =
    fn(Arc<dyn Fn(&str, &str) -> bool + Send + Sync>, Router, UnboundedSender<(String, String, StatusCode)>) -> Router;

/// The near misses by name.
pub const ALL: &[(&str, App)] = &[
    ("insert-if-absent", insert_if_absent::app),
    ("string-and-arc-str", string_and_arc_str::app),
    ("parsed-again", parsed_again::app),
    ("other-order", other_order::app),
    ("type-aliases", type_aliases::app),
    ("map-made-anew", map_made_anew::app),
    ("one-key", one_key::app),
    ("first-and-last", first_and_last::app),
    ("checked-early", checked_early::app),
    ("set-only", set_only::app),
    ("appended", appended::app),
    ("thread-local", thread_local::app),
    ("by-template", by_template::app),
    ("string-in-answer", string_in_answer::app),
];
