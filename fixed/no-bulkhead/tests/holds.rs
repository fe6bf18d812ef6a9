//! The fixed twin and the right fixes that are not ours keep every promise.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use axum::Router;
use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use model::{Exploration, sync};
use no_bulkhead_spec::{Spec, check, interleavings as model_of};

#[path = "also_right/actor.rs"]
mod actor;
#[path = "also_right/owner_in_the_channel.rs"]
mod owner_in_the_channel;
#[path = "also_right/reports_wait_for_their_share.rs"]
mod reports_wait_for_their_share;
#[path = "also_right/reserved_and_common.rs"]
mod reserved_and_common;
#[expect(dead_code, reason = "the model reads nothing aloud")]
#[path = "../src/shared.rs"]
mod shared;
#[path = "also_right/two_semaphores.rs"]
mod two_semaphores;

#[test]
fn our_fix_keeps_every_promise() {
    let report = check(no_bulkhead_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn every_interleaving_holds() {
    let explored = explored().holds();
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {explored} interleavings."));
}

/// Orders and reports come, wait and go at once; there are two places, and reports have a share of one.
fn explored() -> Exploration {
    model_of::at_once(places, step)
}

fn places() -> shared::Places {
    shared::Places::new(2, 1)
}

fn step(places: &shared::Places, step: model_of::Step, class: model_of::Class) -> bool {
    let class = match class {
        model_of::Class::Order => shared::Class::Order,
        model_of::Class::Report => shared::Class::Report,
    };
    match step {
        model_of::Step::Admit => return places.admit(class),
        model_of::Step::Leave => places.leave(class),
        model_of::Step::Wait => places.wait(class),
        model_of::Step::StopWaiting => places.stop_waiting(class),
    }
    false
}

#[test]
fn a_task_that_keeps_the_book_is_right() {
    right(actor::app);
}

#[test]
fn a_place_that_is_sent_with_its_owner_is_right() {
    right(owner_in_the_channel::app);
}

#[test]
fn reports_that_wait_for_their_share_are_right() {
    right(reports_wait_for_their_share::app);
}

#[test]
fn reserved_places_beside_common_ones_are_right() {
    right(reserved_and_common::app);
}

#[test]
fn two_semaphores_are_right() {
    right(two_semaphores::app);
}

/// What each right fix exports.
type App = fn(Router, Router, usize, usize, Duration) -> Router;

fn right(app: App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}

/// Nothing is seen of it on real threads either.
fn stands(app: App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(no_bulkhead_fixed::app);
    stands(actor::app);
    stands(owner_in_the_channel::app);
    stands(reports_wait_for_their_share::app);
    stands(reserved_and_common::app);
    stands(two_semaphores::app);
}
