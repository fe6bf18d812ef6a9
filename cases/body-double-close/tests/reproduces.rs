//! A slot is given back more than once, and so it is, or never, by every patch that does not make closing one step.

use axum::{
    Router,
    body::{Body, Bytes},
    http::Request,
    routing::post,
};
use body_double_close::near_misses;
use body_double_close_spec::check;
use lab::Report;
use model::{Exploration, body_double_close as model_of, sync};
use tokio::sync::mpsc::unbounded_channel;
use tower::ServiceExt;

#[expect(dead_code, reason = "the number of the slot is not asked for")]
#[path = "cores/count_beside.rs"]
mod count_beside;
#[expect(dead_code, reason = "the model takes and gives back, and does not read")]
#[path = "../src/near_misses/last_owner/shared.rs"]
mod last_owner;
#[expect(dead_code, reason = "the model takes and gives back, and does not read")]
#[path = "../src/near_misses/load_then_store/shared.rs"]
mod load_then_store;
#[expect(dead_code, reason = "the number of the slot is not asked for")]
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn a_slot_is_given_back_more_than_once() {
    let report = check(body_double_close::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: one request, and what is left of it afterwards.
#[tokio::test]
async fn by_hand_one_upload_leaves_three_lines_in_the_audit() {
    let (audit, mut lines) = unbounded_channel();
    let uploads = Router::new().route("/uploads", post(async |file: Bytes| file.len().to_string()));
    let app = body_double_close::app(2, uploads, audit);
    let upload = Request::post("/uploads").body(Body::from("letters")).unwrap();

    let answer = app.oneshot(upload).await.unwrap();

    assert_eq!(answer.status(), 200);
    for _ in 0..3 {
        assert_eq!(lines.recv().await.unwrap(), (0, 7, "complete".into()));
    }
    assert_eq!(lines.recv().await, None);
}
// ANCHOR_END: notice

#[test]
fn a_release_that_waits_for_the_drop_waits_for_the_handler() {
    near_miss("release-on-drop", "free-at-last-byte");
}

#[test]
fn a_release_at_the_end_never_comes_for_a_body_that_nobody_reads() {
    near_miss("release-at-end", "slot-released-once");
}

#[test]
fn a_set_of_slots_frees_the_slot_of_another() {
    near_miss("set-of-slots", "slot-has-one-upload");
}

#[test]
fn an_answer_waits_for_the_lock_under_which_its_body_is_drained() {
    near_miss("drained-under-lock", "nobody-waits");
}

#[test]
fn a_drain_in_the_background_keeps_the_slot_of_a_client_that_stops() {
    near_miss("drain-in-background", "slot-released-once");
}

#[test]
fn a_guard_that_is_forgotten_is_an_owner_for_ever() {
    near_miss("forgotten-guard", "slot-released-once");
}

#[test]
fn one_close_gives_the_slot_back_once() {
    let control = model_of::in_turn(one_slot, take, close, drop);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
}

#[test]
fn two_closes_give_it_back_twice() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

#[test]
fn a_flag_that_is_read_and_then_written_is_read_by_both() {
    keeps_every_promise("load-then-store");
    let one_slot = || load_then_store::Slots::new(1);
    let take = |slots: &load_then_store::Slots| slots.take().map(sync::Arc::new);
    let close = |lease: sync::Arc<load_then_store::Lease>| {
        lease.release();
    };
    let control = model_of::in_turn(one_slot, take, close, close);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once(one_slot, take, close, close);
    insta::assert_snapshot!("interleaving-load-then-store", failing.fails());
}

#[test]
fn a_count_of_owners_has_changed_when_it_is_acted_upon() {
    keeps_every_promise("last-owner");
    let one_slot = || last_owner::Slots::new(1);
    let reader = |lease: last_owner::Lease| {
        lease.end();
        lease.leave();
    };
    let layer = |lease: last_owner::Lease| {
        lease.leave();
    };
    let control = model_of::in_turn(one_slot, last_owner::Slots::take, reader, layer);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once(one_slot, last_owner::Slots::take, reader, layer);
    insta::assert_snapshot!("interleaving-last-owner", failing.fails());
}

/// The flag is swapped in one step; the bytes beside it are counted in another.
#[test]
fn a_count_beside_the_flag_is_read_before_the_last_bytes_are_in_it() {
    let one_slot = || count_beside::Slots::new(1);
    let take = |slots: &count_beside::Slots| slots.take().map(sync::Arc::new);
    let receive = |lease: &sync::Arc<count_beside::Lease>, bytes| lease.receive(bytes);
    let release = |lease: &sync::Arc<count_beside::Lease>| lease.release();
    let close = move |lease| {
        release(&lease);
    };
    assert!(model_of::at_once(one_slot, take, close, close).holds() > 1);
    let failing = model_of::every_pair(one_slot, take, receive, release);
    insta::assert_snapshot!("interleaving-count-beside", failing.fails());
}

// ANCHOR: model
/// The end of the stream and the drop of the request both close the upload, the one while the other still receives.
fn explored() -> Exploration {
    model_of::every_pair(one_slot, take, |lease, bytes| lease.receive(bytes), |lease| lease.release())
}

fn one_slot() -> shared::Slots {
    shared::Slots::new(1)
}

fn take(slots: &shared::Slots) -> Option<sync::Arc<shared::Lease>> {
    slots.take().map(sync::Arc::new)
}
// ANCHOR_END: model

fn close(lease: sync::Arc<shared::Lease>) {
    lease.release();
}

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
    assert!(report.all_kept());
}

fn judged(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    check(*app)
}
