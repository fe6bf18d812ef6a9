//! The ghost is laid to rest: a board's task ends with the board's last reader, whatever it waits for.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use model::sync;
use orphan_task_spec::{Spec, check, interleavings as model_of};

#[path = "also_right/counted_in_the_map.rs"]
mod counted_in_the_map;
#[path = "also_right/hub.rs"]
mod hub;
#[path = "also_right/sender_closed.rs"]
mod sender_closed;
#[path = "../src/shared.rs"]
mod shared;
#[path = "also_right/told_by_a_status.rs"]
mod told_by_a_status;
#[path = "also_right/weak_and_abort.rs"]
mod weak_and_abort;

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

#[test]
fn a_handle_in_what_the_readers_share_is_right() {
    right(weak_and_abort::app);
}

#[test]
fn a_task_that_waits_for_its_channel_to_close_is_right() {
    right(sender_closed::app);
}

#[test]
fn one_task_for_all_boards_is_right() {
    right(hub::app);
}

#[test]
fn a_count_under_the_lock_of_the_map_is_right() {
    right(counted_in_the_map::app);
}

#[test]
fn a_head_that_waits_for_the_dial_is_right() {
    right(told_by_a_status::app);
}

fn right(app: <Spec as Ghost>::App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}

/// Nothing is seen of it on real threads either.
fn stands(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(orphan_task_fixed::app);
    stands(counted_in_the_map::app);
    stands(hub::app);
    stands(sender_closed::app);
    stands(told_by_a_status::app);
    stands(weak_and_abort::app);
}
