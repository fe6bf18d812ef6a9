//! The ghost is laid to rest: however a write ends, its lease is given back.
#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use cancelled_cleanup_spec::{Spec, check};
use lab::Ghost;

#[path = "also_right/abort_on_drop.rs"]
mod abort_on_drop;
#[path = "also_right/disarmed_by_a_423.rs"]
mod disarmed_by_a_423;
#[path = "also_right/in_line.rs"]
mod in_line;
#[path = "also_right/lease_task.rs"]
mod lease_task;
#[path = "also_right/sweeper.rs"]
mod sweeper;
#[path = "also_right/to_the_end_of_the_body.rs"]
mod to_the_end_of_the_body;

#[test]
fn every_promise_is_kept() {
    let report = check(cancelled_cleanup_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn a_task_that_is_aborted_with_its_client_is_right() {
    right(abort_on_drop::app);
}

#[test]
fn a_guard_that_a_423_disarms_is_right() {
    right(disarmed_by_a_423::app);
}

#[test]
fn a_release_in_line_under_an_armed_guard_is_right() {
    right(in_line::app);
}

#[test]
fn a_task_for_each_lease_is_right() {
    right(lease_task::app);
}

#[test]
fn a_sweeper_is_right() {
    right(sweeper::app);
}

#[test]
fn a_lease_to_the_end_of_the_body_is_right() {
    right(to_the_end_of_the_body::app);
}

fn right(app: <Spec as Ghost>::App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}
