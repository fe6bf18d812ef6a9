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
#[path = "also_right/owned_permit.rs"]
mod owned_permit;
#[expect(dead_code, reason = "the model takes and gives back, and does not read")]
#[path = "../src/shared.rs"]
mod shared;
#[path = "also_right/swap.rs"]
mod swap;

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
    let close = |lease: sync::Arc<shared::Lease>| {
        lease.release();
    };
    let holding = model_of::at_once(one_slot, take, close, close);
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}

#[test]
fn one_owner_with_a_guard_is_right() {
    right(guard_in_the_body::app);
}

#[test]
fn a_flag_that_is_read_and_written_in_one_step_is_right() {
    right(swap::app);
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
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(60), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(body_double_close_fixed::app);
    stands(guard_in_the_body::app);
    stands(owned_permit::app);
    stands(swap::app);
}
