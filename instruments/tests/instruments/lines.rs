//! The lines that the book shows, run.

use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use instruments::{Alerts, Bundles, Chain, Faults, Heat, Observe, Status, Tasks};
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

async fn parcel() -> &'static str {
    "on its way"
}

async fn answers(app: Router) {
    let answer = app.oneshot(Request::get("/parcels/7").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_response_hook() {
    // ANCHOR: observe
    let app = Router::new().route("/parcels/{id}", get(parcel)).layer(Observe::new());
    // ANCHOR_END: observe
    answers(app).await;
}

#[tokio::test(start_paused = true)]
async fn the_chain_and_the_heat_map() {
    // ANCHOR: chain
    let (chain, heat) = (Chain::new(), Heat::new());
    let stack = ServiceBuilder::new()
        .layer(Observe::new().then(heat.recorder()))
        .layer(chain.named("limit", ConcurrencyLimitLayer::new(64)))
        .layer(chain.mark("handler"));
    // ANCHOR_END: chain
    answers(Router::new().route("/parcels/{id}", get(parcel)).layer(stack)).await;
    assert_eq!(chain.by_layer().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn tasks_by_name() {
    // ANCHOR: spawn
    let tasks = Tasks::new();
    tasks.spawn("notify", async { /* what tokio::spawn was given */ });
    // ANCHOR_END: spawn

    // ANCHOR: leak
    let before = tasks.snapshot();
    // … what is tested …
    tasks.back_to(&before, Duration::from_secs(5)).await.expect("nothing is left behind");
    // ANCHOR_END: leak
}

#[tokio::test(start_paused = true)]
async fn faults_from_the_environment() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: faults
    let faults = Faults::from_env()?;
    tokio::spawn(faults.clone().watch());
    let app = Router::new().route("/parcels/{id}", get(parcel)).layer(faults);
    // ANCHOR_END: faults
    answers(app).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn status_pages() -> Result<(), Box<dyn std::error::Error>> {
    let (tasks, chain, heat) = (Tasks::new(), Chain::new(), Heat::new());
    let routes = Router::new().route("/parcels/{id}", get(parcel));
    // ANCHOR: status
    let status = Status::from_env()?.tasks(&tasks).chain(&chain).heat(&heat);
    let app = routes.merge(status.router());
    // ANCHOR_END: status
    answers(app).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn bundles() {
    let (tasks, chain) = (Tasks::new(), Chain::new());
    let routes = Router::new().route("/parcels/{id}", get(parcel));
    // ANCHOR: bundle
    let bundles =
        Bundles::new("/var/lib/shop/bundles").version("shop", env!("CARGO_PKG_VERSION")).tasks(&tasks).chain(&chain);
    tokio::spawn(bundles.clone().watch());
    let app = routes.layer(Observe::new().then(bundles.recorder()));
    // ANCHOR_END: bundle
    answers(app).await;
}

#[test]
fn the_rules_of_a_service() {
    // ANCHOR: alerts
    let rules = Alerts::new("/health").rules();
    // ANCHOR_END: alerts
    assert!(rules.contains("HttpLatencySpike"));
}
