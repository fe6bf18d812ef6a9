//! Reports take the places of orders, and so they do with every patch that gives one of the two no wall.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use lab::Report;
use model::{Exploration, sync};
use no_bulkhead::near_misses;
use no_bulkhead_spec::{check, interleavings as model_of};
use tokio::time::sleep;
use tower::ServiceExt;

#[expect(dead_code, reason = "the model reads nothing aloud")]
#[path = "../src/near_misses/look_then_raise/shared.rs"]
mod look_then_raise;
#[expect(dead_code, reason = "the model reads nothing aloud")]
#[path = "../src/near_misses/raise_then_lower/shared.rs"]
mod raise_then_lower;
#[expect(dead_code, reason = "the model reads nothing aloud")]
#[path = "../src/shared.rs"]
mod shared;

/// The steps of one core, as the model takes them.
macro_rules! steps {
    ($core:ident) => {
        |places: &$core::Places, step, class| {
            let class = match class {
                model_of::Class::Order => $core::Class::Order,
                model_of::Class::Report => $core::Class::Report,
            };
            match step {
                model_of::Step::Admit => return places.admit(class),
                model_of::Step::Leave => places.leave(class),
                model_of::Step::Wait => places.wait(class),
                model_of::Step::StopWaiting => places.stop_waiting(class),
            }
            false
        }
    };
}

#[test]
fn reports_take_the_places_of_orders() {
    let report = check(no_bulkhead::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: one class asks for more than its share, and then the other comes.
#[tokio::test(start_paused = true)]
async fn by_hand_an_order_finds_every_place_with_a_report() {
    let takes = |ms| Router::new().route("/{what}", get(move || sleep(Duration::from_millis(ms))));
    let app = no_bulkhead::app(takes(100), takes(10_000), 4, 2, Duration::from_secs(1));
    let ask = |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request);
        async { answer.await.unwrap().status() }
    };

    assert_eq!(ask("/orders/7").await, StatusCode::OK);

    let reports: Vec<_> = (0..6).map(|_| tokio::spawn(ask("/admin/summary"))).collect();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(ask("/orders/8").await, StatusCode::SERVICE_UNAVAILABLE);
    drop(reports);
}
// ANCHOR_END: notice

#[test]
fn a_larger_limit_is_no_wall() {
    near_miss("larger-limit", "never-more-than-places");
}

#[test]
fn a_report_that_is_cut_off_had_its_place_until_then() {
    near_miss("deadline-on-reports", "orders-despite-reports");
}

#[test]
fn who_is_refused_at_once_is_refused_all_the_same() {
    near_miss("shed-at-the-limit", "orders-despite-reports");
}

#[test]
fn a_limit_that_is_made_for_each_request_is_none() {
    near_miss("limit-on-the-router", "never-more-than-places");
}

#[test]
fn two_limits_that_are_made_for_each_request_are_none() {
    near_miss("limit-on-each", "never-more-than-places");
}

#[test]
fn the_limits_that_are_shared_end_at_the_head() {
    near_miss("global-limits", "held-to-the-end");
}

#[test]
fn a_share_on_top_of_all_places_is_too_many() {
    near_miss("share-without-total", "never-more-than-places");
}

#[test]
fn two_pools_lend_each_other_nothing() {
    near_miss("two-partitions", "idle-places-are-lent");
}

#[test]
fn a_report_that_waits_for_its_share_has_a_place() {
    near_miss("place-then-share", "orders-despite-reports");
}

#[test]
fn a_report_with_its_share_is_in_the_queue_of_the_orders() {
    near_miss("share-then-queue", "no-report-before-an-order");
}

#[test]
fn an_order_that_does_not_wait_is_lost() {
    near_miss("orders-refused-at-once", "waiting-order-is-next");
}

#[test]
fn a_permit_in_the_handler_is_gone_before_the_body() {
    near_miss("released-at-the-head", "held-to-the-end");
}

#[test]
fn a_line_after_the_await_is_not_reached_by_who_leaves() {
    near_miss("after-the-await", "places-come-back");
}

#[test]
fn a_grant_that_was_not_fetched_is_kept() {
    near_miss("grant-is-kept", "places-come-back");
}

#[test]
fn an_order_that_left_waits_for_ever() {
    near_miss("waits-for-ever", "places-come-back");
}

#[test]
fn a_report_slips_in_before_the_order_that_was_woken() {
    near_miss("waiting-not-counted", "no-report-before-an-order");
}

#[test]
fn who_asks_whether_the_shop_is_alive_waits_with_the_orders() {
    near_miss("livez-inside", "alive-when-full");
}

#[test]
fn one_report_leaves_an_order_its_place() {
    assert_eq!(model_of::in_turn(places, step, 1), Exploration::Holds { interleavings: 1 });
}

#[test]
fn two_reports_have_both_places() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

#[test]
fn who_looks_first_does_not_see_who_comes_in_meanwhile() {
    keeps_every_promise("look-then-raise");
    let places = || look_then_raise::Places::new(2, 1);
    assert_eq!(model_of::in_turn(places, steps!(look_then_raise), 2), Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once(places, steps!(look_then_raise));
    insta::assert_snapshot!("interleaving-look-then-raise", failing.fails());
}

#[test]
fn who_raises_first_keeps_a_place_from_an_order() {
    keeps_every_promise("raise-then-lower");
    let places = || raise_then_lower::Places::new(2, 1);
    assert_eq!(model_of::in_turn(places, steps!(raise_then_lower), 2), Exploration::Holds { interleavings: 1 });
    let failing = model_of::at_once(places, steps!(raise_then_lower));
    insta::assert_snapshot!("interleaving-raise-then-lower", failing.fails());
}

// ANCHOR: model
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
