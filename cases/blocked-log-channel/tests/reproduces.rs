//! Each request waits for a log that has stopped, and so it does, or lines are lost without a word, after every patch that does not
//! bound the wait, the queue and the end.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{Router, body::Body, http::Request, routing::get};
use blocked_log_channel::near_misses;
use blocked_log_channel_spec::{Spec, check, interleavings as model_of};
use lab::{
    Ghost, Report,
    hammer::{Force, Hammered},
};
use model::{Exploration, sync};
use tokio::{sync::watch, time::timeout};
use tower::ServiceExt;

#[path = "../src/near_misses/load_and_store/shared.rs"]
mod load_and_store;
#[path = "../src/near_misses/looks_again/shared.rs"]
mod looks_again;
#[path = "../src/near_misses/mended/shared.rs"]
mod mended;
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn each_request_waits_for_the_log() {
    let report = check(blocked_log_channel::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: a log that nobody reads, and requests that are answered all the same.
#[tokio::test(start_paused = true)]
async fn by_hand_the_sixth_request_waits_for_a_log_that_nobody_reads() {
    let (log, _nobody_reads) = tokio::io::duplex(64);
    let (_stop, stopping) = watch::channel(false);
    let lost = Arc::new(AtomicU64::new(0));
    let routes = Router::new().route("/orders", get(|| async { "on its way" }));
    let app = blocked_log_channel::app(routes, log, lost, 4, stopping, Duration::from_secs(1));
    let ask = |number: usize| {
        let request =
            Request::get("/orders").header("x-request-id", format!("r-{number}")).body(Body::empty()).unwrap();
        timeout(Duration::from_secs(60), app.clone().oneshot(request))
    };

    for number in 1..=5 {
        assert!(ask(number).await.is_ok());
    }

    assert!(ask(6).await.is_err());
}
// ANCHOR_END: notice

#[test]
fn a_larger_buffer_is_full_later() {
    near_miss("larger-buffer", "waiting-lines-are-bounded");
}

#[test]
fn a_timeout_round_the_write_is_a_wait() {
    near_miss("timeout-round-the-write", "no-request-waits");
}

#[test]
fn a_channel_without_a_bound_keeps_an_outage_in_memory() {
    near_miss("unbounded-channel", "waiting-lines-are-bounded");
}

#[test]
fn tasks_that_wait_for_room_are_a_queue_without_a_bound() {
    near_miss("task-per-line", "waiting-lines-are-bounded");
}

#[test]
fn an_error_that_is_dropped_is_a_line_that_nobody_misses() {
    near_miss("error-dropped", "written-or-counted");
}

#[test]
fn a_channel_that_is_closed_is_not_full() {
    near_miss("full-only", "stop-is-no-end");
}

#[test]
fn a_shipper_that_ends_leaves_a_queue_that_takes_lines() {
    near_miss("ends-at-the-first-error", "written-or-counted");
}

#[test]
fn a_failure_in_a_lane_of_its_own_overtakes_its_beginning() {
    near_miss("lane-for-errors", "lines-are-whole");
}

#[test]
fn an_abort_tears_the_line_that_is_being_written() {
    near_miss("aborted-at-stop", "stop-writes-what-waits");
}

#[test]
fn a_write_that_is_dropped_has_written_a_part() {
    near_miss("stop-against-the-write", "stop-writes-what-waits");
}

#[test]
fn a_flush_without_a_limit_waits_for_the_log() {
    near_miss("flush-without-limit", "flush-is-bounded");
}

#[test]
fn lines_that_are_offered_in_turn_are_written_or_given_back() {
    let offer = |queue: &shared::Queue, line| queue.offer(line);
    let control = model_of::in_turn(|lost| shared::Queue::new(1, lost), offer, shared::Queue::close, took);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
}

#[test]
fn a_line_that_comes_in_after_the_last_look_is_not_known() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

// ANCHOR: model
/// Two requests leave a line each, while the shipper closes the door and takes what waits.
fn explored() -> Exploration {
    model_of::at_once(|lost| shared::Queue::new(1, lost), |queue, line| queue.offer(line), shared::Queue::close, took)
}

/// What the shipper is told when it takes.
fn took(queue: &shared::Queue) -> model_of::Next {
    match queue.take() {
        shared::Taken::Line(line) => model_of::Next::Line(line),
        shared::Taken::Nothing => model_of::Next::Nothing,
        shared::Taken::Closed => model_of::Next::Over,
    }
}
// ANCHOR_END: model

#[test]
fn a_flag_beside_the_lock_is_looked_at_too_early() {
    keeps_every_promise("flag-beside-the-lock");
    let lost_where_there_is_no_room = |queue: &shared::Queue, line| {
        if queue.offer(line).is_err() {
            queue.lose();
        }
    };
    let failing =
        model_of::at_once(|lost| shared::Queue::new(1, lost), lost_where_there_is_no_room, shared::Queue::close, took);
    insta::assert_snapshot!("interleaving-flag-beside-the-lock", failing.fails());
}

#[test]
fn a_line_that_comes_between_the_last_look_and_the_door_is_not_known() {
    keeps_every_promise("looks-then-closes");
    let took = |queue: &mended::Queue| match queue.take() {
        mended::Taken::Line(line) => model_of::Next::Line(line),
        mended::Taken::Nothing => model_of::Next::Nothing,
        mended::Taken::Closed => model_of::Next::Over,
    };
    let offer = |queue: &mended::Queue, line| queue.offer(line);
    let control = model_of::in_turn(|lost| mended::Queue::new(1, lost), offer, mended::Queue::close, took);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once_closing_last(|lost| mended::Queue::new(1, lost), offer, mended::Queue::close, took);
    insta::assert_snapshot!("interleaving-looks-then-closes", failing.fails());
}

#[test]
fn a_line_that_is_counted_after_the_second_look_may_be_written() {
    keeps_every_promise("looks-again");
    let took = |queue: &looks_again::Queue| match queue.take() {
        looks_again::Taken::Line(line) => model_of::Next::Line(line),
        looks_again::Taken::Nothing => model_of::Next::Nothing,
        looks_again::Taken::Closed => model_of::Next::Over,
    };
    let offer = |queue: &looks_again::Queue, line| queue.offer(line);
    let control = model_of::in_turn(|lost| looks_again::Queue::new(1, lost), offer, looks_again::Queue::close, took);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once(|lost| looks_again::Queue::new(1, lost), offer, looks_again::Queue::close, took);
    insta::assert_snapshot!("interleaving-looks-again", failing.fails());
}

#[test]
fn two_that_lose_a_line_at_once_count_one() {
    keeps_every_promise("load-and-store");
    let took = |queue: &load_and_store::Queue| match queue.take() {
        load_and_store::Taken::Line(line) => model_of::Next::Line(line),
        load_and_store::Taken::Nothing => model_of::Next::Nothing,
        load_and_store::Taken::Closed => model_of::Next::Over,
    };
    let offer = |queue: &load_and_store::Queue, line| queue.offer(line);
    let control =
        model_of::in_turn(|lost| load_and_store::Queue::new(1, lost), offer, load_and_store::Queue::close, took);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
    let failing =
        model_of::at_once(|lost| load_and_store::Queue::new(1, lost), offer, load_and_store::Queue::close, took);
    insta::assert_snapshot!("interleaving-load-and-store", failing.fails());
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn near_miss(name: &str, breaks: &str) {
    let report = judged(name);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks), "{report}");
}

/// Only the model rejects it.
fn keeps_every_promise(name: &str) {
    let report = judged(name);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.all_kept(), "{report}");
}

fn judged(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    check(*app)
}

/// Each falls in one of some tens of thousands of tries, where two threads are really at work at once: so it is tried, and nothing
/// that is not a rejection says more than that.
fn is_tried(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force::default());
    assert!(!matches!(hammered, Hammered::NotTried { .. }), "{hammered}");
}

#[test]
fn a_flag_beside_the_lock_is_tried_on_real_threads() {
    is_tried(near_misses::flag_beside_the_lock::app);
}

#[test]
fn looks_then_closes_is_tried_on_real_threads() {
    is_tried(near_misses::looks_then_closes::app);
}

#[test]
fn load_and_store_is_tried_on_real_threads() {
    is_tried(near_misses::load_and_store::app);
}
