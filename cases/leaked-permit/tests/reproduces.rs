//! A place is lost on every way out that nobody thought of, and so it is by every patch that leaves one of them open.

use std::{convert::Infallible, time::Duration};

use axum::{
    BoxError,
    body::{Body, to_bytes},
    http::Request,
};
use lab::Report;
use leaked_permit::near_misses;
use leaked_permit_spec::check;
use model::{Exploration, leaked_permit as model_of, sync};
use tower::{
    ServiceExt, service_fn,
    util::{BoxCloneSyncService, BoxService},
};

#[path = "../src/near_misses/look_then_leave/shared.rs"]
mod look_then_leave;
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn a_place_is_lost_with_every_request_that_ends_badly() {
    let report = check(leaked_permit::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: as many bad ends as there are places, and then a good request.
#[tokio::test(start_paused = true)]
async fn by_hand_two_refusals_take_both_places() {
    let connect = service_fn(async |()| {
        let connection = service_fn(async |query: String| match query.as_str() {
            "stock mugs" => Err(BoxError::from("refused")),
            _ => Ok(vec![]),
        });
        Ok::<_, Infallible>(BoxService::new(connection))
    });
    let connect = BoxCloneSyncService::new(connect.map_err(BoxError::from));
    let app = leaked_permit::app(2, Duration::from_millis(500), connect);
    let ask = async |item: &str, id: &str| {
        let request = Request::get(format!("/stock/{item}")).header("x-request-id", id).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8(to_bytes(answer.into_body(), 1000).await.unwrap().into()).unwrap())
    };

    assert_eq!(ask("cups", "r-1").await.0, 200);
    assert_eq!(ask("mugs", "r-2").await.0, 502);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ask("mugs", "r-3").await.0, 502);

    let (status, text) = ask("cups", "r-4").await;
    assert_eq!(status, 503);
    let holders = "r-2 has one for 60500 ms\nr-3 has one for 500 ms\n";
    assert_eq!(text, format!("none of 2 connections came back in 500 ms\n{holders}"));
}
// ANCHOR_END: notice

#[test]
fn a_release_in_every_branch_is_not_reached_by_who_leaves() {
    near_miss("release-on-error", "capacity-is-kept");
}

#[test]
fn a_grant_that_was_not_fetched_is_forgotten() {
    near_miss("forgotten-grant", "grant-is-passed-on");
}

#[test]
fn a_connection_comes_back_with_the_rows_of_another() {
    near_miss("return-on-drop", "spoilt-is-not-used-again");
}

#[test]
fn a_query_that_was_dropped_has_not_said_what_became_of_it() {
    near_miss("return-unless-broken", "spoilt-is-not-used-again");
}

#[test]
fn a_reaper_takes_a_slow_request_for_a_lost_one() {
    near_miss("reaper-by-age", "one-request-per-connection");
}

#[test]
fn a_permit_that_has_no_name_is_dropped_at_once() {
    near_miss("let-underscore", "no-more-than-size");
}

#[test]
fn a_request_that_holds_one_waits_for_another() {
    near_miss("second-check-out", "capacity-is-kept");
}

#[test]
fn a_slow_query_is_cut_off_by_the_limit_of_the_wait() {
    near_miss("timeout-round-the-request", "wait-is-bounded");
}

#[test]
fn a_wait_that_begins_again_is_longer_than_the_wait() {
    near_miss("wait-begins-again", "wait-is-bounded");
}

#[test]
fn a_permit_in_the_handler_is_gone_before_the_rows() {
    near_miss("released-at-the-head", "held-to-the-last-row");
}

#[test]
fn who_left_before_the_release_takes_nothing_along() {
    let control = model_of::in_turn(one_place, wait, give_back);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
}

#[test]
fn who_leaves_at_the_release_takes_the_place_along() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

#[test]
fn who_looks_and_then_leaves_is_granted_a_place_in_between() {
    keeps_every_promise("look-then-leave");
    let one_place = || look_then_leave::Pool::<()>::new(1);
    let wait = |pool: &look_then_leave::Pool<()>| pool.place();
    let give_back = |pool: &look_then_leave::Pool<()>, place| pool.give_back(place);
    let control = model_of::in_turn(one_place, wait, give_back);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once(one_place, wait, give_back);
    insta::assert_snapshot!("interleaving-look-then-leave", failing.fails());
}

// ANCHOR: model
/// One place is given back while the first of two who wait for it goes away.
fn explored() -> Exploration {
    model_of::at_once(one_place, wait, give_back)
}

fn one_place() -> shared::Pool<()> {
    shared::Pool::new(1)
}

fn wait(pool: &shared::Pool<()>) -> shared::Waiting<()> {
    pool.place()
}

fn give_back(pool: &shared::Pool<()>, place: shared::Place<()>) {
    pool.give_back(place);
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
    assert!(report.all_kept());
}

fn judged(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    check(*app)
}
