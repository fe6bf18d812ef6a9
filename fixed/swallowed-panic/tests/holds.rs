//! The gateway that answers a panic and tells of it keeps every promise, and so do fixes by other means.

use spec::{Report, swallowed_panic::check};

#[path = "also_right/aborted_task.rs"]
pub mod aborted_task;
#[path = "also_right/catch_panic_layer.rs"]
pub mod catch_panic_layer;

/// Expects that every promise is kept.
fn holds(name: &str, report: &Report) {
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}

#[test]
fn every_panic_is_answered_told_once_and_over() {
    holds("fixed", &check(swallowed_panic_fixed::app));
}

#[test]
fn a_catch_panic_layer_with_a_guarded_body_is_right_too() {
    holds("catch-panic-layer", &check(catch_panic_layer::app));
}

#[test]
fn a_task_that_is_aborted_with_its_client_is_right_too() {
    holds("aborted-task", &check(aborted_task::app));
}
