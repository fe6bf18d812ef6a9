//! What the instruments cost: a request of an axum app with none of them, with each, and with all, a recorder for Prometheus and a ring
//! of log lines behind them.
//!
//! Criterion measures app by app. The table at the end goes round the apps in small batches, so that whatever else the machine does
//! disturbs all of them alike; then it counts allocations, and what is in use after 200,000 requests.

use std::{alloc::System, hint::black_box};

use axum::{Router, body::Body, routing::get};
use criterion::Criterion;
use http::Request;
use http_body_util::BodyExt;
use instruments::{Bundles, Chain, Faults, Heat, Logs, Observe, prometheus::Metrics};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use tower::{ServiceBuilder, ServiceExt};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MANY: usize = 200_000;
const ROUNDS: usize = 400;
const BATCH: usize = 100;

fn routes() -> Router {
    Router::new().route("/parcels/{id}", get(async || "on its way"))
}

fn apps() -> Vec<(&'static str, Router)> {
    let faults = || Faults::from_text("[[rule]]\nheader = \"x-chaos\"\nstatus = 503").expect("a good rule");
    let (heat, chain, four, all) = (Heat::new(), Chain::new(), Chain::new(), Chain::new());
    let bundles = Bundles::new("never-written");
    let four = ServiceBuilder::new()
        .layer(four.mark("first"))
        .layer(four.mark("second"))
        .layer(four.mark("third"))
        .layer(four.mark("handler"));
    let all_on = ServiceBuilder::new()
        .layer(Observe::new().then(heat.recorder()).then(bundles.recorder()))
        .layer(all.mark("first"))
        .layer(all.mark("second"))
        .layer(all.mark("third"))
        .layer(faults())
        .layer(all.mark("handler"));
    let apps = vec![
        ("bare", routes()),
        (
            "a layer that does nothing",
            routes().layer(tower::util::MapRequestLayer::new(|request: Request<Body>| request)),
        ),
        ("Observe", routes().layer(Observe::new())),
        ("Observe with a heat map", routes().layer(Observe::new().then(Heat::new().recorder()))),
        ("Chain, one name", routes().layer(chain.mark("handler"))),
        ("Chain, four names", routes().layer(four)),
        ("Faults, off", routes().layer(Faults::off())),
        ("Faults, no rule fits", routes().layer(faults())),
        ("all on", routes().layer(all_on)),
    ];
    // As a server does.
    apps.into_iter().map(|(name, app)| (name, app.with_state(()))).collect()
}

async fn ask(app: &Router, requests: usize) {
    for n in 0..requests {
        let request = Request::get(["/parcels/7", "/parcels/8"][n % 2]).body(Body::empty()).expect("a good request");
        let answer = app.clone().oneshot(request).await.expect("a router cannot fail");
        black_box(answer.into_body().collect().await.expect("a body that is there"));
    }
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metrics = Metrics::install().expect("no other recorder");
    let subscriber = tracing_subscriber::registry().with(Logs::new());
    tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
    let apps = apps();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("a request");
    for (name, app) in &apps {
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|requests| {
                let start = Instant::now();
                runtime.block_on(ask(app, requests as usize));
                start.elapsed()
            });
            metrics.text();
        });
    }
    group.finish();
    criterion.final_summary();
    table(&runtime, &apps, &metrics);
}

fn table(runtime: &Runtime, apps: &[(&str, Router)], metrics: &Metrics) {
    // `cargo test` runs a bench with `--test`: once through is enough.
    let (rounds, many) =
        if std::env::args().any(|argument| argument == "--test") { (1, BATCH) } else { (ROUNDS, MANY) };
    let mut times = vec![Vec::new(); apps.len()];
    for _ in 0..rounds {
        let mut round = Vec::new();
        for (_, app) in apps {
            let start = Instant::now();
            runtime.block_on(ask(app, BATCH));
            round.push(start.elapsed().as_secs_f64() * 1e6 / BATCH as f64);
        }
        for (times, micros) in times.iter_mut().zip(&round) {
            times.push(micros - round[0]);
        }
        metrics.text();
    }
    println!("\nBeside the bare app, a request; {rounds} rounds of {BATCH}, medians\n");
    println!("{:28}{:>10}{:>14}", "", "µs", "allocations");
    let mut floor = 0;
    let mut last = (0.0, 0);
    for ((name, app), times) in apps.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let region = Region::new(ALLOCATOR);
        runtime.block_on(ask(app, 1_000));
        let allocations = region.change().allocations / 1_000;
        if floor == 0 {
            floor = allocations;
        }
        last = (times[times.len() / 2], allocations - floor);
        println!("{name:28}{:>10.2}{:>14}", last.0, last.1);
    }
    let (_, all) = apps.last().expect("all on");
    runtime.block_on(ask(all, 1_000));
    metrics.text();
    let region = Region::new(ALLOCATOR);
    for _ in 0..many / BATCH {
        runtime.block_on(ask(all, BATCH));
        metrics.text();
    }
    let change = region.change();
    let kept = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
    let met = |met| if met { "met" } else { "missed" };
    println!("\nall on: at most 2 µs: {}; at most 4 allocations: {}", met(last.0 <= 2.0), met(last.1 <= 4));
    println!("after {many} requests with all on {kept} bytes more are in use");
}
