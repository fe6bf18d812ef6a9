//! The ghost is laid to rest: a place is given back on every way out, and what was granted is never lost.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use axum::{
    BoxError, Router,
    body::{Body, to_bytes},
    http::Request,
};
use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use leaked_permit_spec::{Connect, Spec, check};
use model::{leaked_permit as model_of, sync};
use tokio::time::sleep;
use tower::{
    ServiceExt, service_fn,
    util::{BoxCloneSyncService, BoxService},
};

#[path = "also_right/channel_of_connections.rs"]
mod channel_of_connections;
#[path = "also_right/deadpool.rs"]
mod deadpool;
#[path = "also_right/owned_permit.rs"]
mod owned_permit;
#[path = "also_right/owner_in_the_channel.rs"]
mod owner_in_the_channel;
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn every_promise_is_kept() {
    let report = check(leaked_permit_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn what_was_granted_to_one_who_leaves_is_passed_on() {
    let one_place = || shared::Pool::<()>::new(1);
    let wait = |pool: &shared::Pool<()>| pool.place();
    let give_back = |pool: &shared::Pool<()>, place| pool.give_back(place);
    let holding = model_of::at_once(one_place, wait, give_back);
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}

#[tokio::test(start_paused = true)]
async fn the_503_names_who_has_the_connection_and_nobody_who_had_it() {
    let connect = service_fn(async |()| {
        let connection = service_fn(async |query: String| {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, BoxError>(if query == "more" { vec![] } else { vec!["3 on shelf 1".to_owned()] })
        });
        Ok::<_, BoxError>(BoxService::new(connection))
    });
    let app = leaked_permit_fixed::app(1, Duration::from_millis(500), BoxCloneSyncService::new(connect));
    let ask = |id: &'static str| {
        let request = Request::get("/stock/cups").header("x-request-id", id).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request);
        async { String::from_utf8(to_bytes(answer.await.unwrap().into_body(), 1000).await.unwrap().into()).unwrap() }
    };
    for (holder, waiting) in [("r-1", "r-2"), ("r-3", "r-4")] {
        let served = tokio::spawn(ask(holder));
        sleep(Duration::from_millis(10)).await;
        let told = format!("none of 1 connections came back in 500 ms\n{holder} has one for 510 ms\n");
        assert_eq!(ask(waiting).await, told);
        assert_eq!(served.await.unwrap(), "3 on shelf 1\n");
    }
}

#[test]
fn the_pool_of_deadpool_is_right() {
    right(deadpool::app);
}

#[test]
fn an_owned_permit_beside_the_connection_is_right() {
    right(owned_permit::app);
}

#[test]
fn a_channel_of_connections_is_right() {
    right(channel_of_connections::app);
}

#[test]
fn a_place_that_is_sent_with_its_owner_is_right() {
    right(owner_in_the_channel::app);
}

/// What each right fix exports.
type App = fn(usize, Duration, Connect) -> Router;

fn right(app: App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}

/// Nothing is seen of it on real threads either.
fn stands(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(leaked_permit_fixed::app);
    stands(channel_of_connections::app);
    stands(deadpool::app);
    stands(owned_permit::app);
    stands(owner_in_the_channel::app);
}
