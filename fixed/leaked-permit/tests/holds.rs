//! The ghost is laid to rest: a place is given back on every way out, and what was granted is never lost.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use axum::Router;
use model::{leaked_permit as model_of, sync};
use spec::leaked_permit::{Connect, check};

#[path = "../src/shared.rs"]
mod shared;

#[test]
fn every_promise_is_kept() {
    let report = check(leaked_permit_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn what_was_granted_to_one_who_leaves_is_passed_on() {
    let one_place = || shared::Pool::<()>::new(1);
    let wait = |pool: &shared::Pool<()>| pool.place();
    let give_back = |pool: &shared::Pool<()>, place| pool.give_back(place);
    let holding = model_of::at_once(one_place, wait, give_back);
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}
