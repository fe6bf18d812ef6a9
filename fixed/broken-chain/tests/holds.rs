//! The ghost is laid to rest: each visit has one end.
#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use broken_chain_spec::{Spec, check};
use lab::Ghost;

#[path = "also_right/in_the_body.rs"]
mod in_the_body;
#[path = "also_right/inline_block.rs"]
mod inline_block;
#[path = "also_right/on_early_drop.rs"]
mod on_early_drop;
#[path = "also_right/response_future.rs"]
mod response_future;
#[path = "also_right/tower_http_layers.rs"]
mod tower_http_layers;
#[path = "also_right/wrapped_whole.rs"]
mod wrapped_whole;

#[test]
fn every_promise_is_kept() {
    let report = check(broken_chain_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn a_visit_that_goes_with_the_body_is_right() {
    right(in_the_body::app);
}

#[test]
fn a_block_that_catches_each_early_return_is_right() {
    right(inline_block::app);
}

#[test]
fn a_guard_of_tower_http_is_right() {
    right(on_early_drop::app);
}

#[test]
fn a_response_future_that_ends_the_visit_is_right() {
    right(response_future::app);
}

#[test]
fn tower_https_layers_inside_the_register_are_right() {
    right(tower_http_layers::app);
}

#[test]
fn a_router_wrapped_whole_is_right() {
    right(wrapped_whole::app);
}

fn right(app: <Spec as Ghost>::App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}
