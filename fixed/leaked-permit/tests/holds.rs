//! The ghost is laid to rest: a place is given back on every way out, and what was granted is never lost.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use axum::Router;
use model::{leaked_permit as model_of, sync};
use spec::leaked_permit::{Connect, check};

#[path = "also_right/channel_of_connections.rs"]
mod channel_of_connections;
#[path = "also_right/deadpool.rs"]
mod deadpool;
#[path = "also_right/owned_permit.rs"]
mod owned_permit;
#[path = "also_right/owner_in_the_channel.rs"]
mod owner_in_the_channel;
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

#[test]
fn the_pool_of_deadpool_is_right() {
    right(deadpool::app);
}

#[test]
fn an_owned_permit_beside_the_connection_is_right() {
    right(owned_permit::app);
}

#[test]
fn a_channel_of_connections_is_right() {
    right(channel_of_connections::app);
}

#[test]
fn a_place_that_is_sent_with_its_owner_is_right() {
    right(owner_in_the_channel::app);
}

/// What each right fix exports.
type App = fn(usize, Duration, Connect) -> Router;

fn right(app: App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}
