//! The load: what clients do, in a process of its own. It ends with the one that feeds its standard input.

use std::{
    convert::Infallible,
    io::{self, Read},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Method, Request, header::HOST},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ghosts::{Refusal, catalogue::case::Load};
use serde::{Deserialize, Serialize};
use tokio::{
    runtime,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{draw::Dice, edge};

/// What a load is told on its standard input.
#[derive(Debug, Deserialize, Serialize)]
pub struct Plan {
    /// The address of the edge.
    pub edge: SocketAddr,
    /// How much faster than a clock the drill runs.
    pub speed: f64,
    /// What decides when within its interval a request is sent.
    pub seed: u64,
    /// Requests, each kind with the service that they go to.
    pub kinds: Vec<(String, Load)>,
}

/// How long a client waits at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
/// How many clients of a kind there are at a time.
const CLIENTS: usize = 150;

/// Drives the load that standard input tells, until it ends.
///
/// # Errors
/// If it tells none.
pub fn run() -> Result<(), Refusal> {
    let cannot = |error: &dyn std::fmt::Display| Refusal::new(format!("cannot drive the load: {error}"));
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| cannot(&error))?;
    let plan: Plan = serde_json::from_str(&line).map_err(|error| cannot(&error))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| cannot(&error))?;
    std::thread::spawn(move || runtime.block_on(drive(plan)));
    // Nothing else comes: it ends when the drill does, however that ends.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

async fn drive(plan: Plan) {
    let start = Instant::now();
    let mut dice = Dice::new(plan.seed);
    let kinds = plan.kinds.into_iter().enumerate().map(|(kind, (service, load))| {
        let offset_ms = dice.below(load.every_ms.max(1) as usize) as u64;
        send(plan.edge, kind, service, load, start, plan.speed, offset_ms)
    });
    futures_util::future::join_all(kinds.collect::<Vec<_>>()).await;
}

/// Sends the requests of a kind.
async fn send(edge: SocketAddr, kind: usize, service: String, load: Load, start: Instant, speed: f64, offset_ms: u64) {
    let first = start + Duration::from_millis(load.from_s * 1000 + offset_ms).div_f64(speed);
    let last = load.until_s.map(|until_s| start + Duration::from_secs(until_s).div_f64(speed));
    let mut ticks = interval_at(first, Duration::from_millis(load.every_ms).div_f64(speed));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let clients = Arc::new(AtomicUsize::new(0));
    let patience = load.leaves_ms.map_or(PATIENCE, Duration::from_millis);
    for number in 0_u64.. {
        let now = ticks.tick().await;
        if last.is_some_and(|last| now >= last) {
            return;
        }
        if clients.fetch_add(1, SeqCst) >= CLIENTS {
            clients.fetch_sub(1, SeqCst);
            continue;
        }
        let (clients, request) = (clients.clone(), request(edge, kind, &service, &load, number));
        tokio::spawn(async move {
            // Whether the client leaves or has its answer, the connection ends.
            let _ = timeout(patience, answered(edge, request)).await;
            clients.fetch_sub(1, SeqCst);
        });
    }
}

fn request(edge: SocketAddr, kind: usize, service: &str, load: &Load, number: u64) -> Request<Body> {
    let mut request = asks(kind, &format!("/{service}"), load, number);
    // An address is a header's value.
    request.headers_mut().extend(edge.to_string().parse().map(|host| (HOST, host)));
    request
}

/// A request of a kind, below a prefix.
pub(crate) fn asks(kind: usize, prefix: &str, load: &Load, number: u64) -> Request<Body> {
    let method = load.method.as_deref().and_then(|method| method.parse().ok()).unwrap_or(Method::GET);
    let path = format!("{prefix}{}", load.path.replace("{n}", &number.to_string()));
    let id = format!("{}-{kind}-{number}", prefix.trim_start_matches('/'));
    let mut request = Request::builder().method(method).uri(path).header("x-request-id", id);
    for (name, value) in &load.headers {
        request = request.header(name, value);
    }
    request.body(body(load)).unwrap_or_default()
}

/// In how many pieces a body is sent by a client that takes its time.
const PIECES: usize = 4;

fn body(load: &Load) -> Body {
    let text = Bytes::from(load.sends.clone().unwrap_or_default());
    let Some(sends_ms) = load.sends_ms else { return Body::from(text) };
    let pause = Duration::from_millis(sends_ms) / PIECES as u32;
    let piece = text.len().div_ceil(PIECES).max(1);
    Body::from_stream(stream::unfold(text, move |mut text| async move {
        if text.is_empty() {
            return None;
        }
        sleep(pause).await;
        let rest = text.split_off(piece.min(text.len()));
        Some((Ok::<_, Infallible>(text), rest))
    }))
}

async fn answered(edge: SocketAddr, request: Request<Body>) {
    let Ok(answer) = edge::asked(edge, request).await else { return };
    let mut body = answer.into_body().into_data_stream();
    while let Some(Ok(_)) = body.next().await {}
}
