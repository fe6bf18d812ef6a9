//! Every line reaches the client when it is printed, with our fix and with others.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use axum::Router;
use lab::Report;

#[path = "also_right/compression_layer.rs"]
mod compression_layer;
#[path = "also_right/flush_each_frame.rs"]
mod flush_each_frame;
#[path = "also_right/known_length_only.rs"]
mod known_length_only;
#[path = "also_right/watchful_pump.rs"]
mod watchful_pump;

#[test]
fn a_flush_before_pending_keeps_every_promise() {
    insta::assert_snapshot!("fixed", all_kept(hidden_flush_fixed::app).verdicts());
}

#[test]
fn so_does_a_flush_after_each_frame() {
    all_kept(flush_each_frame::app);
}

#[test]
fn so_does_leaving_live_logs_uncompressed() {
    all_kept(known_length_only::app);
}

#[test]
fn so_does_a_pump_that_notices_when_the_client_leaves() {
    all_kept(watchful_pump::app);
}

#[test]
fn so_does_the_layer_of_tower_http_over_an_encoder_that_flushes() {
    all_kept(compression_layer::app);
}

fn all_kept(app: fn(Router) -> Router) -> Report {
    let report = hidden_flush_spec::check(app);
    assert!(report.all_kept(), "{report}");
    report
}
