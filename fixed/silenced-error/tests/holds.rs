//! The ghost is laid to rest: each failure is one event, with its causes and its request.
#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use lab::Ghost;
use silenced_error_spec::{Spec, check};

#[path = "also_right/error_in_the_answer.rs"]
mod error_in_the_answer;
#[path = "also_right/joined_by_hand.rs"]
mod joined_by_hand;
#[path = "also_right/no_span.rs"]
mod no_span;
#[path = "also_right/trace_layer.rs"]
mod trace_layer;
#[path = "also_right/wrapped_archive.rs"]
mod wrapped_archive;

#[test]
fn every_promise_is_kept() {
    let report = check(silenced_error_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn an_error_in_the_answers_extensions_is_right() {
    right(error_in_the_answer::app);
}

#[test]
fn a_chain_joined_by_hand_is_right() {
    right(joined_by_hand::app);
}

#[test]
fn an_event_that_has_every_field_is_right() {
    right(no_span::app);
}

#[test]
fn a_trace_layer_with_a_span_of_ones_own_is_right() {
    right(trace_layer::app);
}

#[test]
fn an_archive_that_logs_for_itself_is_right() {
    right(wrapped_archive::app);
}

fn right(app: <Spec as Ghost>::App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}
