//! Tempting fixes that do not lay the ghost to rest.

use std::io::Error;

use axum::{Router, body::Body};
use tower::util::BoxCloneSyncService;

pub mod as_a_warning;
pub mod clean_end;
pub mod collected;
pub mod debugged;
pub mod default_body;
pub mod entered;
pub mod error_from_400;
pub mod first_text;
pub mod headers_too;
pub mod in_the_answer;
pub mod info_span;
pub mod map_err_outside;
pub mod on_failure;
pub mod raw_path;
pub mod told_by_the_drop;
pub mod told_twice;
pub mod traced_by_default;

/// The service, as [`app`](crate::app) makes it.
pub type App = fn(BoxCloneSyncService<String, Body, Error>) -> Router;

/// The near misses by name.
pub const ALL: &[(&str, App)] = &[
    ("first-text", first_text::app),
    ("info-span", info_span::app),
    ("map-err-outside", map_err_outside::app),
    ("debugged", debugged::app),
    ("told-twice", told_twice::app),
    ("as-a-warning", as_a_warning::app),
    ("traced-by-default", traced_by_default::app),
    ("headers-too", headers_too::app),
    ("raw-path", raw_path::app),
    ("in-the-answer", in_the_answer::app),
    ("error-from-400", error_from_400::app),
    ("entered", entered::app),
    ("on-failure", on_failure::app),
    ("collected", collected::app),
    ("clean-end", clean_end::app),
    ("told-by-the-drop", told_by_the_drop::app),
    ("default-body", default_body::app),
];
