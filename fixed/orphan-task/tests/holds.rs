//! The ghost is laid to rest: a board's task ends with the board's last reader, whatever it waits for.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use model::sync;
use orphan_task_spec::{check, interleavings as model_of};

#[path = "../src/shared.rs"]
mod shared;

#[test]
fn every_promise_is_kept() {
    let report = check(orphan_task_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn the_last_reader_stops_the_feed_whoever_comes_meanwhile() {
    let holding = model_of::every_meeting(shared::Feed::open, shared::Feed::join, shared::Feed::leave);
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}
