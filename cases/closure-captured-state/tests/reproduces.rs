//! The ghost appears: one context is captured for all requests.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use closure_captured_state::near_misses;
use closure_captured_state_spec::check;
use lab::Report;
use model::{Exploration, closure_captured_state as model_of, sync};
use tokio::{sync::mpsc::unbounded_channel, time::sleep};
use tower::ServiceExt;
use tracing_test::traced_test;

#[path = "../src/near_misses/reset_first/shared.rs"]
mod reset_first;
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn customers_are_mistaken_for_one_another() {
    let report = check(closure_captured_state::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: two requests, of which the second comes while the first waits.
#[tokio::test(start_paused = true)]
#[traced_test]
async fn a_request_that_is_overtaken_goes_on_as_the_other_one() {
    let warehouse = Router::new().fallback(async |question: Request<Body>| {
        sleep(Duration::from_secs(3)).await;
        format!("{} of {}\n", question.uri().path(), question.headers()["x-user"].to_str().unwrap())
    });
    let (access_log, mut entries) = unbounded_channel();
    let app = closure_captured_state::app(warehouse, access_log);
    let orders = |user| {
        let request = Request::get("/orders").header("authorization", format!("Bearer {user}"));
        app.clone().oneshot(request.body(Body::empty()).unwrap())
    };

    let later = async {
        sleep(Duration::from_secs(1)).await;
        orders("bob").await
    };
    let (ada, bob) = tokio::join!(orders("ada"), later);

    let (head, body) = ada.unwrap().into_parts();
    assert_eq!(to_bytes(body, 1024).await.unwrap(), "/orders of ada\n/parcels of bob\n");
    assert_eq!(head.headers["x-user"], "bob");
    assert_eq!(head.headers["x-log-id"], bob.unwrap().headers()["x-log-id"]);
    assert_eq!(entries.recv().await.unwrap(), ("bob".into(), "desk-2".into(), StatusCode::OK));
    assert!(logs_contain(r#"asking for /orders log_id="desk-1" user="ada""#));
    assert!(!logs_contain(r#"asking for /parcels log_id="desk-1" user="ada""#));
}
// ANCHOR_END: notice

#[test]
fn one_lock_for_user_and_id_is_still_one_slot() {
    miss("rwlock-slot", "answer-names-the-caller");
}

#[test]
fn clearing_the_slot_first_clears_it_under_whoever_waits() {
    miss("reset-first", "failure-leaves-nothing");
}

#[test]
fn a_slot_for_each_thread_does_not_travel_with_the_request() {
    miss("thread-local", "any-thread-may-poll");
}

#[test]
fn a_slot_for_each_peer_is_shared_by_the_streams_of_a_connection() {
    miss("keyed-by-peer", "streams-keep-apart");
}

#[test]
fn a_lock_held_across_the_await_lets_nobody_pass() {
    miss("lock-held", "slow-requests-overlap");
}

#[test]
fn an_access_log_fed_from_the_slot_names_whoever_came_last() {
    miss("log-from-slot", "access-log-names-the-caller");
}

#[test]
fn a_clock_gives_one_id_to_all_who_come_at_once() {
    miss("id-from-clock", "log-ids-differ");
}

#[test]
fn a_list_that_is_full_gives_everybody_the_same_id() {
    miss("id-from-len", "log-ids-differ");
}

#[test]
fn two_requests_in_turn_are_told_apart() {
    let control = model_of::in_turn(
        shared::RequestContext::new,
        |context, user| context.begin(user),
        |context| (context.log_id(), context.user()),
    );
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
}

#[test]
fn two_requests_at_once_read_each_other() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

// ANCHOR: model
/// The requests of Ada and Bob at the same time.
fn explored() -> Exploration {
    model_of::overlapping(
        shared::RequestContext::new,
        |context, user| context.begin(user),
        |context| (context.log_id(), context.user()),
    )
}
// ANCHOR_END: model

#[test]
fn two_requests_at_once_clear_each_other() {
    let failing = model_of::overlapping(
        reset_first::RequestContext::new,
        |context, user| {
            context.clear();
            context.begin(user);
        },
        |context| (context.log_id(), context.user()),
    );
    insta::assert_snapshot!("interleaving-reset-first", failing.fails());
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn miss(name: &str, breaks: &str) {
    let report = judged(name);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}

fn judged(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    check(*app)
}
