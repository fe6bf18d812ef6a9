//! A board's subscription lives on when its last reader has gone, and so it does, or another promise breaks, with every patch
//! that does not settle who counts, who is told, and when.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{BoxError, body::Body, http::Request};
use lab::Report;
use model::{Exploration, sync};
use orphan_task::near_misses;
use orphan_task_spec::{check, interleavings as model_of};
use tokio::{runtime::Handle, sync::mpsc, time::sleep};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

#[path = "../src/near_misses/load_then_add/shared.rs"]
mod load_then_add;
#[path = "../src/near_misses/load_then_store/shared.rs"]
mod load_then_store;
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn a_subscription_outlives_its_last_reader() {
    let report = check(orphan_task::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: count the tasks, let a client come and go, and count again.
#[tokio::test(start_paused = true)]
async fn by_hand_a_reader_who_has_left_leaves_a_task_behind() {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let upstream = service_fn(move |_board: String| {
        let receiver = receiver.lock().unwrap().take();
        async { receiver.ok_or(BoxError::from("dialled twice")) }
    });
    let app = orphan_task::app(BoxCloneSyncService::new(upstream), Arc::new(str::to_owned));
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();

    let request = Request::get("/boards/trains/events").body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    // The clock is paused: all that can run does, and then a millisecond goes by.
    sleep(Duration::from_millis(1)).await;
    drop(answer);
    sleep(Duration::from_millis(1)).await;

    assert_eq!(tasks(), before + 1);
    assert!(!sender.is_closed());
}
// ANCHOR_END: notice

#[test]
fn a_weak_that_is_upgraded_before_the_wait_is_strong_while_it_lasts() {
    near_miss("upgraded-at-the-top", "last-reader-ends-it");
}

#[test]
fn a_reader_who_aborts_the_task_aborts_it_for_all() {
    near_miss("abort-with-each-reader", "one-subscription-a-board");
}

#[test]
fn a_flag_is_seen_by_a_task_that_wakes() {
    near_miss("flag-looked-at", "last-reader-ends-it");
}

#[test]
fn a_send_fails_when_something_is_sent() {
    near_miss("failed-send", "last-reader-ends-it");
}

#[test]
fn a_janitor_comes_too_late() {
    near_miss("janitor", "last-reader-ends-it");
}

#[test]
fn a_handle_that_somebody_keeps_ends_nothing() {
    near_miss("handles-in-a-vec", "thousand-leave-no-trace");
}

#[test]
fn a_subscription_for_each_reader_is_not_one_a_board() {
    near_miss("subscription-for-each", "one-subscription-a-board");
}

#[test]
fn a_stopped_board_in_the_map_is_joined() {
    near_miss("corpse-in-the-map", "next-reader-is-served");
}

#[test]
fn a_board_that_is_removed_by_its_name_is_somebody_elses() {
    near_miss("removed-by-name", "next-reader-is-served");
}

#[test]
fn a_reader_who_never_had_a_body_is_never_counted_out() {
    near_miss("counted-before-the-dial", "last-reader-ends-it");
}

#[test]
fn a_lock_across_the_dial_holds_up_every_board() {
    near_miss("locked-across-the-dial", "slow-dial-holds-up-its-board");
}

#[test]
fn a_dial_goes_with_the_reader_who_drives_it() {
    near_miss("first-reader-dials", "slow-dial-holds-up-its-board");
}

#[test]
fn a_head_that_waits_for_a_message_never_comes_on_a_quiet_board() {
    near_miss("head-held-back", "one-subscription-a-board");
}

#[test]
fn a_panic_that_is_left_to_the_runtime_ends_its_board() {
    near_miss("panic-left-to-the-runtime", "panic-costs-one-message");
}

#[test]
fn only_the_literal_text_of_a_panic_is_told() {
    near_miss("only-str", "panic-costs-one-message");
}

#[test]
fn a_feed_lives_while_somebody_reads_it() {
    let control = model_of::in_turn(shared::Feed::open, shared::Feed::join, shared::Feed::leave);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
}

#[test]
fn nobody_is_ever_the_last() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

#[test]
fn a_feed_that_was_running_when_it_was_looked_at_has_stopped_when_it_is_joined() {
    keeps_every_promise("load-then-add");
    let (open, join, leave) = (load_then_add::Feed::open, load_then_add::Feed::join, load_then_add::Feed::leave);
    assert_eq!(model_of::in_turn(open, join, leave), Exploration::Holds { interleavings: 1 });
    insta::assert_snapshot!("interleaving-load-then-add", model_of::every_meeting(open, join, leave).fails());
}

#[test]
fn whoever_comes_between_the_load_and_the_store_is_not_counted() {
    keeps_every_promise("load-then-store");
    let (open, join, leave) = (load_then_store::Feed::open, load_then_store::Feed::join, load_then_store::Feed::leave);
    assert_eq!(model_of::in_turn(open, join, leave), Exploration::Holds { interleavings: 1 });
    insta::assert_snapshot!("interleaving-load-then-store", model_of::every_meeting(open, join, leave).fails());
}

// ANCHOR: model
/// Ada, who is the only reader, leaves a feed; others come and go meanwhile.
fn explored() -> Exploration {
    model_of::every_meeting(shared::Feed::open, shared::Feed::join, shared::Feed::leave)
}
// ANCHOR_END: model

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn near_miss(name: &str, breaks: &str) {
    let report = judged(name);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
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
