//! The ghost appears: whoever is turned away, or leaves, stays in the register for ever.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use broken_chain::near_misses;
use broken_chain_spec::check;
use tokio::{sync::mpsc::unbounded_channel, time::timeout};
use tower::ServiceExt;

#[test]
fn visits_stay_open() {
    let report = check(broken_chain::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: a request for each way out, also the one of a client that leaves, and
/// then as many ends as beginnings.
#[tokio::test(start_paused = true)]
async fn beginnings_and_ends_differ() {
    let (register, mut entries) = unbounded_channel();
    let records = Router::new().route("/", get(std::future::pending::<()>));
    let app = broken_chain::app(records, Router::new(), register, 1024, Duration::from_secs(9));
    let request = |credentials| Request::get("/").header("authorization", credentials).body(Body::empty()).unwrap();

    let turned_away = app.clone().oneshot(request("")).await.unwrap();
    let gone = timeout(Duration::from_secs(1), app.clone().oneshot(request("Bearer ada"))).await;
    let too_late = app.oneshot(request("Bearer bob")).await.unwrap();

    assert_eq!(turned_away.status(), StatusCode::UNAUTHORIZED);
    assert!(gone.is_err());
    assert_eq!(too_late.status(), StatusCode::REQUEST_TIMEOUT);
    let (mut opened, mut ended) = (0, 0);
    while let Some((_, what, _)) = entries.recv().await {
        *if what == "opened" { &mut opened } else { &mut ended } += 1;
    }
    assert_eq!((opened, ended), (3, 0));
}
// ANCHOR_END: notice

#[test]
fn a_client_that_leaves_takes_no_way_out() {
    miss("by-hand", "client-that-leaves-ends-its-visit");
}

#[test]
fn a_visit_that_was_closed_is_dropped_as_well() {
    miss("written-twice", "each-exit-ends-its-visit");
}

#[test]
fn a_404_has_no_route() {
    miss("route-layer", "each-exit-ends-its-visit");
}

#[test]
fn what_is_nested_later_has_no_layers() {
    miss("partners-outside", "each-exit-ends-its-visit");
}

#[test]
fn a_deadline_drops_what_it_bounds() {
    miss("inside-the-deadline", "each-exit-ends-its-visit");
}

#[test]
fn a_panic_unwinds_until_it_is_caught() {
    miss("recovery-outside", "each-exit-ends-its-visit");
}

#[test]
fn a_task_works_on_for_nobody() {
    miss("spawned", "client-that-leaves-ends-its-visit");
}

#[test]
fn a_body_of_known_length_is_not_asked_for_its_end() {
    miss("end-of-body", "each-exit-ends-its-visit");
}

#[test]
fn the_deadline_has_a_way_out_of_its_own() {
    miss("headers-repeated", "headers-on-every-answer");
}

#[test]
fn the_partners_answer_is_theirs() {
    miss("catch-all", "routes-answer-as-ever");
}

#[test]
fn what_began_last_need_not_end_first() {
    miss("last-opened", "visits-keep-apart");
}

#[test]
fn two_guards_write_two_ends() {
    miss("two-guards", "each-exit-ends-its-visit");
}

#[test]
fn a_wrapper_without_hints_has_no_length() {
    miss("no-hints", "routes-answer-as-ever");
}

#[test]
fn a_guard_made_later_knows_nothing_of_those_turned_away() {
    miss("guard-too-late", "each-exit-ends-its-visit");
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    let report = check(*app);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}
