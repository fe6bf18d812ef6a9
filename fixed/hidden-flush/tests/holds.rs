//! The fixed twin keeps every promise, and so do right fixes that are not ours.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

#[path = "also_right/compression_layer.rs"]
mod compression_layer;
#[path = "also_right/flush_each_frame.rs"]
mod flush_each_frame;
#[path = "also_right/known_length_only.rs"]
mod known_length_only;
#[path = "also_right/watchful_pump.rs"]
mod watchful_pump;

#[test]
fn compiles() {
    let _: [fn(axum::Router) -> axum::Router; 5] = [
        hidden_flush_fixed::app,
        compression_layer::app,
        flush_each_frame::app,
        known_length_only::app,
        watchful_pump::app,
    ];
}
