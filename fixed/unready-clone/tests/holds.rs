//! The layer that calls the very service that was ready keeps every promise, and so do fixes by other means.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use lab::Report;
use tokio::time::timeout;
use tower::{Service, ServiceBuilder, ServiceExt};
use unready_clone_fixed::layer;
use unready_clone_spec::check;

#[path = "also_right/asked_again.rs"]
pub mod asked_again;
#[path = "also_right/called_in_place.rs"]
pub mod called_in_place;
#[path = "also_right/one_to_clone.rs"]
pub mod one_to_clone;
#[path = "also_right/tower_http_layers.rs"]
pub mod tower_http_layers;

/// Expects that every promise is kept.
fn holds(name: &str, report: &Report) {
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}

#[test]
fn the_service_is_called_where_it_was_ready() {
    holds("fixed", &check(layer));
}

// ANCHOR: notice
/// The kind of test to copy: one place, one service, and more calls than one. A panic fails it, and so does a place that
/// stays reserved: the clock is paused, so that it runs to the end of the minute at once when nobody can go on.
#[tokio::test(start_paused = true)]
async fn one_service_with_one_place_answers_one_call_after_the_other() {
    let answer = async |_: Request| Ok::<_, Infallible>(Response::default());
    let mut service = ServiceBuilder::new().layer(layer()).concurrency_limit(1).service_fn(answer);

    for _ in 0..3 {
        let ready = timeout(Duration::from_secs(60), service.ready()).await.expect("a free place").unwrap();
        let call = ready.call(Request::new(Body::empty()));
        timeout(Duration::from_secs(60), call).await.expect("a place that was reserved").unwrap();
    }
}
// ANCHOR_END: notice

#[test]
fn a_service_that_is_called_in_place_is_right_too() {
    holds("called-in-place", &check(called_in_place::layer));
}

#[test]
fn the_layers_of_tower_http_are_right_too() {
    holds("tower-http-layers", &check(tower_http_layers::layer));
}

#[test]
fn one_service_that_is_only_cloned_is_right_too() {
    holds("one-to-clone", &check(one_to_clone::layer));
}

#[test]
fn a_service_that_was_ready_and_is_asked_again_is_right_too() {
    holds("asked-again", &check(asked_again::layer));
}
