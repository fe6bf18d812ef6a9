//! A place is reserved with one service and a clone of it is called, and every patch that leaves the reservation behind
//! fails otherwise.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use tokio::time::timeout;
use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use unready_clone::{layer, near_misses};
use unready_clone_spec::check;

#[test]
fn the_service_is_called_where_nothing_was_reserved() {
    let report = check(layer);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

async fn answer(_: Request) -> Result<Response, Infallible> {
    Ok(Response::default())
}

fn request() -> Request {
    Request::new(Body::empty())
}

#[tokio::test]
async fn by_hand_all_is_well_before_a_service_that_is_always_ready() {
    let mut service = ServiceBuilder::new().layer(layer()).service_fn(answer);

    for _ in 0..3 {
        let answer = service.ready().await.unwrap().call(request()).await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn by_hand_the_first_request_before_a_limit_panics() {
    let mut service = ServiceBuilder::new().layer(layer()).concurrency_limit(64).service_fn(answer);

    let answer = tokio::spawn(service.ready().await.unwrap().call(request()));

    assert!(answer.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn by_hand_two_calls_of_router_layer_hide_it_and_one_stack_does_not() {
    let limit = ConcurrencyLimitLayer::new(1);
    let routes = Router::new().route("/", get(async || "well"));

    let apart = routes.clone().layer(limit.clone()).layer(layer());
    let stack = routes.layer(ServiceBuilder::new().layer(layer()).layer(limit));

    assert_eq!(apart.oneshot(request()).await.unwrap().status(), 200);
    assert!(tokio::spawn(stack.oneshot(request())).await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn by_hand_a_server_hides_a_clone_that_is_asked_and_a_client_waits_for_itself() {
    let stack =
        ServiceBuilder::new().layer(near_misses::oneshot_on_a_clone::layer()).layer(ConcurrencyLimitLayer::new(1));
    let server = Router::new().route("/", get(async || "well")).layer(stack.clone());
    let mut client = stack.service_fn(answer);

    assert_eq!(server.oneshot(request()).await.unwrap().status(), 200);
    let call = client.ready().await.unwrap().call(request());
    assert!(timeout(Duration::from_secs(3600), call).await.is_err());
}

#[test]
fn a_clone_that_is_asked_itself_leaves_a_place_reserved_for_nobody() {
    near_miss("oneshot-on-a-clone", "nothing-left-reserved");
}

#[test]
fn a_layer_that_is_always_ready_never_says_that_the_service_is_full() {
    near_miss("always-ready", "not-ready-at-the-limit");
}

#[test]
fn a_place_that_is_given_back_is_taken_by_whoever_waits() {
    near_miss("place-given-back", "ready-keeps-its-place");
}

#[test]
fn an_exchange_that_calls_what_it_left_calls_the_clone() {
    near_miss("swapped-back", "called-where-ready");
}

#[test]
fn a_lock_round_the_service_lets_one_call_run_at_a_time() {
    near_miss("shared-behind-a-mutex", "calls-overlap");
}

#[test]
fn a_buffer_is_ready_when_the_service_is_not_and_renames_its_errors() {
    near_miss("wrapped-in-a-buffer", "errors-unchanged");
}

#[test]
fn a_flag_that_is_cloned_says_ready_for_a_clone_that_is_not() {
    near_miss("readiness-remembered", "called-where-ready");
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn near_miss(name: &str, breaks: &str) {
    let (_, layer) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    let report = check(*layer);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}
