//! The shape of the write-up: how long uploads take behind the spool of `body-double-close` while many come at once, and
//! how many tasks are alive meanwhile. Without the spool, behind the broken twin and behind the fixed one, in one run.
//!
//! 150 clients upload again and again, each with a pause in between and over a connection of its own, so no client waits
//! for another unless the app makes it wait. An upload comes in sixteen pieces with small pauses; it is several times
//! larger than what the wire and both of its ends hold, as real uploads are, and one that fits is slowed far less. One in
//! ten is refused at its first piece, while its client is still sending. A client begins no upload before its last one is
//! answered, so a slow app is asked less often: what a stream of clients that never let up would see is worse.
//!
//! Then, in the module `bulkhead`, how orders fare beside the report desk of `no-bulkhead`. With a slug behind it,
//! `cargo bench -p ghosts --bench load no-bulkhead`, only that ghost's.

mod bulkhead;
mod surroundings;

use std::{
    convert::Infallible,
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::post,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::DuplexStream,
    runtime::{Builder, Handle, Runtime},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::sleep,
};

const CLIENTS: u64 = 150;
/// Plenty: no upload is turned away for want of one.
const SLOTS: usize = 10_000;
const PIECES: usize = 16;
const PIECE: usize = 8 * 1024;

/// A line of the audit: slot, bytes, outcome.
type Line = (usize, u64, String);

/// What was measured of one app, in all rounds together.
struct Measured {
    name: &'static str,
    app: fn(Router, UnboundedSender<Line>) -> Router,
    /// Microseconds from an upload's first byte to the last one of its answer.
    latency: Histogram<u64>,
    /// How many tasks the server had, each time when somebody looked.
    tasks: Vec<usize>,
    /// Refused uploads whose connection was gone before they had read that they were refused.
    cut: u64,
}

fn main() {
    // The clients have a runtime of their own, so that the tasks of the server can be counted.
    let (server, world) = (runtime(), runtime());
    let slugs: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let asked_for = |slug: &str| slugs.is_empty() || slugs.iter().any(|asked| asked == slug);
    if asked_for("body-double-close") {
        uploads(&server, &world);
    }
    if asked_for("no-bulkhead") {
        bulkhead::measure(server.handle(), world.handle());
    }
}

fn uploads(server: &Runtime, world: &Runtime) {
    let (clients, uploads, rounds) = if surroundings::rehearsal() { (10, 1, 1) } else { (CLIENTS, 2, 3) };
    let mut all = [
        Measured::new("bare", |uploads, _| uploads),
        Measured::new("broken", |uploads, audit| body_double_close::app(SLOTS, uploads, audit)),
        Measured::new("fixed", |uploads, audit| body_double_close_fixed::app(SLOTS, uploads, audit)),
    ];
    // In turns, and each time another one first, so that whatever else the machine does disturbs all of them alike.
    for round in 0..rounds {
        for turn in 0..all.len() {
            let measured = &mut all[(round + turn) % 3];
            world.block_on(measured.round(round as u64, clients, uploads, server.handle()));
        }
    }
    println!("\nbody-double-close under load, {}", surroundings::machine());
    println!("{clients} clients, in memory, HTTP/1.1, uploads of {} KiB in {PIECES} pieces", PIECES * PIECE / 1024);
    println!("one in ten is refused at its first piece\n");
    println!("{:8}{:>9}{:>12}{:>12}{:>12}{:>14}", "", "uploads", "P50", "P95", "P99", "live tasks");
    for measured in &all {
        println!("{}", measured.row());
    }
    let [bare, broken, fixed] = &all;
    let (broken_to_bare, fixed_to_bare) = (broken.p95() / bare.p95(), fixed.p95() / bare.p95());
    println!("\nP95, broken : bare {broken_to_bare:7.3} x   goal: at least 5    {}", verdict(broken_to_bare >= 5.0));
    println!("P95, fixed : bare  {fixed_to_bare:7.3} x   goal: at most 1.1   {}", verdict(fixed_to_bare <= 1.1));
    let fewer = 100.0 * (1.0 - fixed.mean_tasks() / broken.mean_tasks());
    println!("Live tasks are the server's, on average; the fixed twin has {fewer:.0} % fewer than the broken one.");
    for measured in all.iter().filter(|measured| measured.cut > 0) {
        println!("{}: {} of the refused lost the connection before they had read why.", measured.name, measured.cut);
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_time().build().expect("the system gives threads")
}

impl Measured {
    fn new(name: &'static str, app: fn(Router, UnboundedSender<Line>) -> Router) -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order");
        Self { name, app, latency, tasks: Vec::new(), cut: 0 }
    }

    /// All clients make all their uploads.
    async fn round(&mut self, round: u64, clients: u64, uploads: u64, server: &Handle) {
        let (audit, mut lines) = unbounded_channel();
        server.spawn(async move { while lines.recv().await.is_some() {} });
        let app = (self.app)(Router::new().route("/uploads", post(store)), audit);
        let done = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn(watch(server.clone(), done.clone()));
        let turn = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let (app, server, turn) = (app.clone(), server.clone(), turn.clone());
            tasks.spawn(async move {
                let mut chance = Chance(round * clients + client);
                let mut seen = Vec::new();
                for _ in 0..uploads {
                    sleep(chance.between(0, 480)).await;
                    let refused = turn.fetch_add(1, Ordering::Relaxed) % 10 == 9;
                    let wire = surroundings::serve(&server, app.clone(), PIECE);
                    seen.push(upload(wire, refused, &mut chance).await);
                }
                seen
            });
        }
        for (took, answered) in tasks.join_all().await.into_iter().flatten() {
            self.latency.saturating_record(took.as_micros() as u64);
            self.cut += u64::from(!answered);
        }
        done.store(true, Ordering::Relaxed);
        self.tasks.extend(watch.await.expect("watching does not panic"));
    }

    fn p95(&self) -> f64 {
        self.latency.value_at_quantile(0.95) as f64
    }

    fn mean_tasks(&self) -> f64 {
        self.tasks.iter().sum::<usize>() as f64 / self.tasks.len().max(1) as f64
    }

    fn row(&self) -> String {
        let [p50, p95, p99] = [0.5, 0.95, 0.99]
            .map(|quantile| format!("{:.0} ms", self.latency.value_at_quantile(quantile) as f64 / 1000.0));
        format!("{:8}{:>9}{p50:>12}{p95:>12}{p99:>12}{:>14.0}", self.name, self.latency.len(), self.mean_tasks())
    }
}

/// Counts the tasks of the server until all uploads are done.
async fn watch(server: Handle, done: Arc<AtomicBool>) -> Vec<usize> {
    let mut tasks = Vec::new();
    while !done.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(5)).await;
        tasks.push(server.metrics().num_alive_tasks());
    }
    tasks
}

/// Reads an upload to its end, unless its first piece shows that it is a programme.
async fn store(mut body: Body) -> Result<String, StatusCode> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let piece = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data().unwrap_or_default();
        if piece.starts_with(b"#!") {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        bytes += piece.len();
    }
    Ok(format!("{bytes} bytes\n"))
}

/// Makes one upload, and returns how long it took until its answer was there, and whether there was one.
async fn upload(wire: DuplexStream, refused: bool, chance: &mut Chance) -> (Duration, bool) {
    let piece = if refused { b"#!" } else { b"ok" }.repeat(PIECE / 2);
    let pieces = (0..PIECES).map(|_| (Bytes::from(piece.clone()), chance.between(2, 8))).collect::<Vec<_>>();
    let pieces = stream::iter(pieces).then(|(piece, pause)| async move {
        sleep(pause).await;
        Ok::<_, Infallible>(piece)
    });
    let request = Request::post("/uploads").body(Body::from_stream(pieces)).expect("a request that never changes");

    let start = Instant::now();
    let (mut client, connection) = http1::Builder::new()
        .max_buf_size(PIECE)
        .handshake(TokioIo::new(wire))
        .await
        .expect("a handshake is only local");
    let connection = tokio::spawn(connection);
    let answer = async {
        let response = client.send_request(request).await.ok()?;
        let status = response.status();
        response.into_body().collect().await.ok()?;
        Some(status)
    };
    let answer = answer.await;
    let took = start.elapsed();
    // Whoever is refused stops sending.
    connection.abort();
    let right = if refused {
        answer.is_none() || answer == Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    } else {
        answer == Some(StatusCode::OK)
    };
    assert!(right, "an upload was answered with {answer:?}");
    (took, answer.is_some())
}

/// Numbers that look random and are the same for each app.
struct Chance(u64);

impl Chance {
    /// Between `low` and `high` milliseconds.
    fn between(&mut self, low: u64, high: u64) -> Duration {
        // Knuth's MMIX generator; its high bits are the better ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(low + (self.0 >> 33) % (high - low + 1))
    }
}
