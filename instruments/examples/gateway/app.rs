//! The gateway itself: what it serves, its layers, its pool and its breaker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode};
use instruments::{Bundles, Chain, Faults, Heat, Observe, Status, Tasks, status::Resource};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::sleep};
use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer};
use tower_http::{catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer, timeout::TimeoutLayer};

/// The instruments of the gateway.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) tasks: Tasks,
    pub(crate) chain: Chain,
    pub(crate) heat: Heat,
    pub(crate) faults: Faults,
    leaks: bool,
}

impl Parts {
    pub(crate) fn new(tasks: Tasks, faults: Faults, leaks: bool) -> Self {
        Self { tasks, chain: Chain::new(), heat: Heat::new(), faults, leaks }
    }
}

#[derive(Clone)]
pub(crate) struct Gateway {
    parts: Parts,
    bundles: Bundles,
    pool: Arc<Pool>,
    breaker: Arc<Breaker>,
}

impl Gateway {
    pub(crate) fn new(parts: Parts, bundles: &Bundles) -> Self {
        Self { parts, bundles: bundles.clone(), pool: Arc::default(), breaker: Arc::default() }
    }

    pub(crate) fn router(self, status: Status) -> Router {
        let Parts { tasks, chain, heat, faults, .. } = &self.parts;
        let status = status
            .tasks(tasks)
            .chain(chain)
            .heat(heat)
            .faults(faults)
            .resource("pool", self.pool.clone())
            .resource("breaker", self.breaker.clone());
        // ANCHOR: stack
        let served_by = SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-served-by"),
            HeaderValue::from_static("the gateway"),
        );
        let stack =
            ServiceBuilder::new()
                .layer(CatchPanicLayer::new())
                .layer(Observe::new().then(heat.recorder()).then(self.bundles.recorder()))
                .layer(chain.named(
                    "timeout",
                    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(2)),
                ))
                .layer(chain.named("limit", ConcurrencyLimitLayer::new(16)))
                .layer(chain.named("auth", from_fn(auth)))
                .layer(chain.named("served-by", served_by))
                .layer(chain.named("faults", faults.clone()))
                .layer(chain.mark("handler"));
        // ANCHOR_END: stack
        Router::new()
            .route("/parcels/{id}", get(parcel))
            .route("/notify/{id}", get(notify))
            .route("/health", get(async || "ok"))
            .layer(stack)
            .with_state(self)
            .merge(status.router())
    }
}

/// Asks who it is, which takes two milliseconds.
async fn auth(request: Request, next: Next) -> Response {
    sleep(Duration::from_millis(2)).await;
    next.run(request).await
}

/// One in fifty is slow: the heat map has a line of its own for them.
async fn parcel(State(gateway): State<Gateway>, Path(id): Path<u64>) -> Response {
    if gateway.breaker.is_open() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the depot is left alone for a while\n").into_response();
    }
    let answered = gateway.pool.ask(id).await;
    gateway.breaker.seen(answered.is_ok());
    match answered {
        Ok(place) => place.into_response(),
        Err(why) => (StatusCode::BAD_GATEWAY, why).into_response(),
    }
}

/// Tells somebody, later. With the leak the notification waits for an answer that nobody gives.
async fn notify(State(gateway): State<Gateway>, Path(_): Path<u64>) -> StatusCode {
    let leaks = gateway.parts.leaks;
    gateway.parts.tasks.spawn("notify", async move {
        match leaks {
            true => std::future::pending().await,
            false => sleep(Duration::from_millis(20)).await,
        }
    });
    StatusCode::ACCEPTED
}

/// Four connections to a depot that knows where parcels are.
pub(crate) struct Pool {
    free: Semaphore,
    size: usize,
    waiting: AtomicU64,
    asked: AtomicU64,
}

impl Default for Pool {
    fn default() -> Self {
        Self { free: Semaphore::new(4), size: 4, waiting: AtomicU64::new(0), asked: AtomicU64::new(0) }
    }
}

impl Pool {
    async fn ask(&self, id: u64) -> Result<String, &'static str> {
        let waiting = Waiting::new(&self.waiting);
        let connection = self.free.acquire().await.expect("the pool is never closed");
        drop(waiting);
        self.asked.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(if id.is_multiple_of(50) { 300 } else { 5 })).await;
        drop(connection);
        if id.is_multiple_of(97) {
            Err("the depot does not answer\n")
        } else {
            Ok(format!("parcel {id} is on its way\n"))
        }
    }
}

/// Counts one who waits, until they do so no more, for whichever reason.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Resource for Pool {
    fn snapshot(&self) -> Value {
        json!({
            "size": self.size,
            "free": self.free.available_permits(),
            "waiting": self.waiting.load(Ordering::Relaxed),
            "asked": self.asked.load(Ordering::Relaxed),
            "url": "http://gateway:not-shown@depot:4000",
        })
    }
}

/// Opens after five failures in a row, and lets every tenth request through then: one that succeeds closes it.
#[derive(Default)]
pub(crate) struct Breaker {
    failures: AtomicU64,
    refused: AtomicU64,
}

impl Breaker {
    fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= 5
            && !(self.refused.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(10)
    }

    fn seen(&self, well: bool) {
        match well {
            true => self.failures.store(0, Ordering::Relaxed),
            false => drop(self.failures.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl Resource for Breaker {
    fn snapshot(&self) -> Value {
        let failures = self.failures.load(Ordering::Relaxed);
        json!({ "open": failures >= 5, "failures_in_a_row": failures, "refused": self.refused.load(Ordering::Relaxed) })
    }
}
