//! The ghost is laid to rest: each request has a context of its own.
#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use axum::Router;
use closure_captured_state_spec::{Entry, Spec, check};
use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use model::{closure_captured_state as model_of, sync};
use tokio::sync::mpsc::UnboundedSender;

#[path = "../src/shared.rs"]
mod shared;

#[path = "also_right/guarded_map.rs"]
mod guarded_map;
#[path = "also_right/local_in_the_service.rs"]
mod local_in_the_service;
#[path = "also_right/own_cells.rs"]
mod own_cells;
#[path = "also_right/own_header.rs"]
mod own_header;
#[path = "also_right/task_local.rs"]
mod task_local;

#[test]
fn every_promise_is_kept() {
    let report = check(closure_captured_state_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn two_requests_at_once_never_read_each_other() {
    let holding = model_of::overlapping(
        shared::RequestContext::new,
        |context, user| context.begin(user),
        |context| (context.log_id(), context.user()),
    );
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}

#[test]
fn a_task_local_is_right() {
    right(task_local::app);
}

#[test]
fn a_request_header_that_the_layer_overwrites_is_right() {
    right(own_header::app);
}

#[test]
fn a_context_with_locks_for_each_request_is_right() {
    right(own_cells::app);
}

#[test]
fn a_map_under_the_id_of_the_request_is_right() {
    right(guarded_map::app);
}

#[test]
fn a_service_whose_future_keeps_it_all_is_right() {
    right(local_in_the_service::app);
}

fn right(app: fn(Router, UnboundedSender<Entry>) -> Router) {
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
    stands(closure_captured_state_fixed::app);
    stands(guarded_map::app);
    stands(local_in_the_service::app);
    stands(own_header::app);
    stands(task_local::app);
}
