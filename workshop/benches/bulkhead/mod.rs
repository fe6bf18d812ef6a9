//! How orders fare beside a report desk, idle and saturated: without a door, behind the broken twin of `no-bulkhead` and behind
//! the fixed one, in one run.
//!
//! Behind all three is the same database, with as many connections as the shop has places, of which an order needs one for
//! 5 ms and a report one for 300 ms. Clients have a connection each. Whoever orders pauses for a moment and orders again; whoever
//! wants a report asks again when it comes, or, as people do, soon after a refusal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, runtime::Handle, sync::Semaphore, task::JoinSet, time::sleep};

use crate::{Chance, surroundings, verdict};

const PLACES: usize = 8;
const SHARE: usize = 3;
/// How long an order waits for a place.
const WAIT: Duration = Duration::from_millis(200);
const ORDER: Duration = Duration::from_millis(5);
const REPORT: Duration = Duration::from_millis(300);
const BUYERS: u64 = 20;
/// Who wants a report, where the desk is saturated.
const CURIOUS: u64 = 40;

type App = fn(Router, Router) -> Router;

/// What was measured of one app, idle and saturated, in all rounds together.
struct Measured {
    name: &'static str,
    app: App,
    idle: Orders,
    saturated: Orders,
}

/// What came of the orders.
struct Orders {
    /// Microseconds from the request to the end of its answer, a refusal too.
    latency: Histogram<u64>,
    served: u64,
}

/// Measures all three, and prints a table.
pub(crate) fn measure(server: &Handle, world: &Handle) {
    let (rounds, lasts) = if surroundings::rehearsal() { (1, 50) } else { (3, 3000) };
    let mut all = [
        Measured::new("bare", |orders, reports| Router::new().nest("/orders", orders).nest("/admin", reports)),
        Measured::new("broken", |orders, reports| no_bulkhead::app(orders, reports, PLACES, SHARE, WAIT)),
        Measured::new("fixed", |orders, reports| no_bulkhead_fixed::app(orders, reports, PLACES, SHARE, WAIT)),
    ];
    // In turns, and each time another one first, so that whatever else the machine does disturbs all of them alike.
    for round in 0..rounds {
        for turn in 0..all.len() {
            let Measured { app, idle, saturated, .. } = &mut all[(round + turn) % 3];
            for (curious, orders) in [(0, idle), (CURIOUS, saturated)] {
                world.block_on(orders.round(*app, curious, Duration::from_millis(lasts), server));
            }
        }
    }
    println!("\nno-bulkhead under load, {}", surroundings::machine());
    println!(
        "{PLACES} places, a share of {SHARE}, in memory, HTTP/1.1; {BUYERS} clients order, {CURIOUS} ask for reports\n"
    );
    println!("{:8}{:>12}{:>9}{:>10}{:>10}{:>10}", "", "report desk", "orders", "served", "P50", "P99");
    for Measured { name, idle, saturated, .. } in &all {
        println!("{}", idle.row(name, "idle"));
        println!("{}", saturated.row("", "saturated"));
    }
    let [_, broken, fixed] = &all;
    let (lost, kept) = (broken.saturated.served_in_100(), fixed.saturated.served_in_100());
    let slower = fixed.saturated.p99() / fixed.idle.p99();
    println!("\nserved beside a saturated desk, broken {lost:8.2} %   goal: at most 50     {}", verdict(lost <= 50.0));
    println!("served beside a saturated desk, fixed  {kept:8.2} %   goal: at least 99.9  {}", verdict(kept >= 99.9));
    println!("P99, fixed, saturated : idle           {slower:8.3} x   goal: at most 1.5    {}", verdict(slower <= 1.5));
}

impl Measured {
    fn new(name: &'static str, app: App) -> Self {
        Self { name, app, idle: Orders::none(), saturated: Orders::none() }
    }
}

impl Orders {
    fn none() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order");
        Self { latency, served: 0 }
    }

    /// All clients ask for as long as that.
    async fn round(&mut self, app: App, curious: u64, lasts: Duration, server: &Handle) {
        let database = Arc::new(Semaphore::new(PLACES));
        let app = app(router(&database, ORDER), router(&database, REPORT));
        let over = Arc::new(AtomicBool::new(false));
        let (mut buyers, mut others) = (JoinSet::new(), JoinSet::new());
        let wire = || surroundings::serve(server, app.clone(), 8 * 1024);
        for number in 0..curious {
            others.spawn(ask_for_reports(wire(), Chance(number), over.clone()));
        }
        if curious > 0 {
            // The desk is at work when the first order comes.
            sleep(REPORT / 2).await;
        }
        for number in 0..BUYERS {
            buyers.spawn(order(wire(), Chance(1000 + number), over.clone()));
        }
        sleep(lasts).await;
        over.store(true, Ordering::Relaxed);
        for (took, status) in buyers.join_all().await.into_iter().flatten() {
            self.latency.saturating_record(took.as_micros() as u64);
            self.served += u64::from(status == StatusCode::OK);
        }
        others.abort_all();
    }

    fn served_in_100(&self) -> f64 {
        100.0 * self.served as f64 / self.latency.len().max(1) as f64
    }

    fn p99(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64
    }

    fn row(&self, name: &str, desk: &str) -> String {
        let [p50, p99] =
            [0.5, 0.99].map(|quantile| format!("{:.1} ms", self.latency.value_at_quantile(quantile) as f64 / 1000.0));
        let served = format!("{:.2} %", self.served_in_100());
        format!("{name:8}{desk:>12}{:>9}{served:>10}{p50:>10}{p99:>10}", self.latency.len())
    }
}

/// Routes that need a connection to the database for so long.
fn router(database: &Arc<Semaphore>, takes: Duration) -> Router {
    let database = database.clone();
    Router::new().route(
        "/{what}",
        get(async move || {
            let _connection = database.acquire().await.expect("it is never closed");
            sleep(takes).await;
            "done\n"
        }),
    )
}

/// Orders again and again, and tells how long each order took and what came of it.
async fn order(wire: DuplexStream, mut chance: Chance, over: Arc<AtomicBool>) -> Vec<(Duration, StatusCode)> {
    let mut client = connected(wire).await;
    let mut seen = Vec::new();
    while !over.load(Ordering::Relaxed) {
        sleep(chance.between(10, 50)).await;
        let start = Instant::now();
        let status = asked(&mut client, "/orders/7").await;
        seen.push((start.elapsed(), status));
    }
    seen
}

async fn ask_for_reports(wire: DuplexStream, mut chance: Chance, over: Arc<AtomicBool>) {
    let mut client = connected(wire).await;
    while !over.load(Ordering::Relaxed) {
        if asked(&mut client, "/admin/summary").await != StatusCode::OK {
            sleep(chance.between(20, 80)).await;
        }
    }
}

async fn connected(wire: DuplexStream) -> http1::SendRequest<Body> {
    let (client, connection) = http1::handshake(TokioIo::new(wire)).await.expect("a handshake is only local");
    tokio::spawn(connection);
    client
}

async fn asked(client: &mut http1::SendRequest<Body>, path: &str) -> StatusCode {
    let request = Request::get(path).body(Body::empty()).expect("a request that never changes");
    client.ready().await.expect("the connection is kept alive");
    let answer = client.send_request(request).await.expect("the server answers");
    let status = answer.status();
    answer.into_body().collect().await.expect("the answer is whole");
    status
}
