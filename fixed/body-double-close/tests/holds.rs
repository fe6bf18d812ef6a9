//! The ghost is laid to rest: whoever closes the upload first gives its slot back, and nobody else does.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use axum::Router;
use body_double_close_spec::{Spec, check};
use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use model::{body_double_close as model_of, sync};
use tokio::sync::mpsc::UnboundedSender;

#[path = "also_right/guard_in_the_body.rs"]
mod guard_in_the_body;
#[path = "also_right/lease_taken.rs"]
mod lease_taken;
#[path = "also_right/once.rs"]
mod once;
#[path = "also_right/one_word.rs"]
mod one_word;
#[path = "also_right/owned_permit.rs"]
mod owned_permit;
#[expect(dead_code, reason = "the number of the slot is not asked for")]
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn every_promise_is_kept() {
    let report = check(body_double_close_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn two_closes_at_once_give_the_slot_back_once() {
    let one_slot = || shared::Slots::new(1);
    let take = |slots: &shared::Slots| slots.take().map(sync::Arc::new);
    let holding = model_of::every_pair(one_slot, take, |lease, bytes| lease.receive(bytes), |lease| lease.release());
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}

#[test]
fn one_owner_with_a_guard_is_right() {
    right(guard_in_the_body::app);
}

#[test]
fn a_count_and_a_flag_in_one_word_are_right() {
    right(one_word::app);
}

/// Its core is the broken one: nothing but the cell round the lease makes it right.
#[test]
fn a_lease_that_the_first_to_close_takes_out_of_its_cell_is_right() {
    right(lease_taken::app);
}

#[test]
fn closing_inside_a_once_is_right() {
    right(once::app);
}

#[test]
fn waiting_for_an_owned_permit_is_right() {
    right(owned_permit::app);
}

/// What each right fix exports.
type App = fn(usize, Router, UnboundedSender<(usize, u64, String)>) -> Router;

fn right(app: App) {
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
    stands(body_double_close_fixed::app);
    stands(guard_in_the_body::app);
    stands(once::app);
    stands(owned_permit::app);
    stands(lease_taken::app);
    stands(one_word::app);
}
