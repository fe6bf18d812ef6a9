//! The ghost is laid to rest: no request waits for the log, and each line is in it or counted.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::Router;
use blocked_log_channel_spec::{Spec, check, interleavings as model_of};
use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use model::sync;
use tokio::{io::DuplexStream, sync::watch};

#[path = "also_right/drops_the_oldest.rs"]
mod drops_the_oldest;
#[path = "also_right/in_batches.rs"]
mod in_batches;
#[path = "also_right/places_by_semaphore.rs"]
mod places_by_semaphore;
#[path = "../src/shared.rs"]
mod shared;
#[path = "also_right/try_send.rs"]
mod try_send;

#[test]
fn every_promise_is_kept() {
    let report = check(blocked_log_channel_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn a_door_under_the_lock_lets_no_line_slip_in() {
    let took = |queue: &shared::Queue| match queue.take() {
        shared::Taken::Line(line) => model_of::Next::Line(line),
        shared::Taken::Nothing => model_of::Next::Nothing,
        shared::Taken::Closed => model_of::Next::Over,
    };
    let holding = model_of::at_once(
        |lost| shared::Queue::new(1, lost),
        |queue, line| queue.offer(line),
        shared::Queue::close,
        took,
    );
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}

#[test]
fn a_channel_with_try_send_is_right() {
    right(try_send::app);
}

#[test]
fn a_channel_behind_a_semaphore_is_right() {
    right(places_by_semaphore::app);
}

#[test]
fn losing_the_oldest_line_is_right() {
    right(drops_the_oldest::app);
}

#[test]
fn writing_some_lines_at_once_is_right() {
    right(in_batches::app);
}

/// What each right fix exports.
type App = fn(Router, DuplexStream, Arc<AtomicU64>, usize, watch::Receiver<bool>, Duration) -> Router;

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
    stands(blocked_log_channel_fixed::app);
    stands(drops_the_oldest::app);
    stands(in_batches::app);
    stands(places_by_semaphore::app);
    stands(try_send::app);
}
