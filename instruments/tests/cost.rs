//! What the instruments allocate. A process of its own: it counts the allocations of all threads.

use std::{alloc::System, hint::black_box};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use instruments::{Chain, Faults, Heat, Observe};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{ServiceBuilder, ServiceExt};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn bare() -> Router {
    Router::new().route("/parcels/{id}", get(async || "on its way")).with_state(())
}

/// All on: the hook with a heat map, a chain of four names, and a fault layer whose rules do not fit.
fn observed() -> Router {
    let (chain, heat) = (Chain::new(), Heat::new());
    let faults = Faults::from_text("[[rule]]\nheader = \"x-chaos\"\nstatus = 503").expect("a good rule");
    let stack = ServiceBuilder::new()
        .layer(Observe::new().then(heat.recorder()))
        .layer(chain.mark("first"))
        .layer(chain.mark("second"))
        .layer(chain.mark("third"))
        .layer(faults)
        .layer(chain.mark("handler"));
    Router::new().route("/parcels/{id}", get(async || "on its way")).layer(stack).with_state(())
}

async fn ask(app: &Router, requests: usize) {
    for n in 0..requests {
        let request = Request::get(format!("/parcels/{}", n % 1_000)).body(Body::empty()).expect("a good request");
        let answer = app.clone().oneshot(request).await.expect("a router cannot fail");
        black_box(answer.into_body().collect().await.expect("a body that is there"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_costs_four_allocations_at_most_and_none_of_them_stays() {
    const MANY: usize = 20_000;
    let per_request = async |app: &Router, requests| {
        // So many that what is made once, and what is kept of the last requests, is there.
        ask(app, 1_000).await;
        let region = Region::new(ALLOCATOR);
        ask(app, requests).await;
        let change = region.change();
        let kept = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
        (change.allocations / requests, change.allocations % requests, kept)
    };
    let (floor, rest, _) = per_request(&bare(), 10_000).await;
    assert_eq!(rest, 0, "the bare app allocates the same for each request");
    let app = observed();
    let (all, rest, kept) = per_request(&app, MANY).await;
    println!("{} allocations a request, {rest} more in {MANY} requests; {kept} bytes more are in use", all - floor);
    assert!(all + usize::from(rest > MANY / 100) - floor <= 4, "{all} and {floor}");
    assert!(kept < 1_024, "{kept} bytes stay after {MANY} requests");
}
