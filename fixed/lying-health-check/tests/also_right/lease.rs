//! Each ping that is answered renews a lease of a little more than a period and a half, and the service is ready while the
//! lease runs: whatever becomes of the checker, silence is enough to end it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{
    select,
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tower::ServiceExt;

/// How the service is, as it tells others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Health {
    code: u32,
    status: &'static str,
}

const UP: Health = Health { code: 0, status: "up" };
const DOWN: Health = Health { code: 5001, status: "database out of reach" };

/// Serves `/orders` from `database`, tells at `/readyz` whether it can, and at `/livez` whether it runs at all.
///
/// Each call of the database takes a connection: a permit of `pool`. Once a `period` the database is checked by
/// `GET /ping`, which may take half a period.
pub fn app(database: Router, pool: Arc<Semaphore>, period: Duration) -> Router {
    let lease = Lease(Arc::new(Mutex::new(Instant::now())));
    let database = Database { router: database, pool, next: Arc::new(Semaphore::new(1)) };
    tokio::spawn(renew_each_period(database.clone(), period, lease.clone()));
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/readyz", get(readyz))
        .route("/orders", get(orders).post(orders))
        .with_state(Shop { database, lease })
}

#[derive(Clone)]
struct Shop {
    database: Database,
    lease: Lease,
}

/// Until when the service is ready, unless it hears from the database again.
#[derive(Clone, Debug)]
struct Lease(Arc<Mutex<Instant>>);

impl Lease {
    fn end(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn health(&self) -> Health {
        if Instant::now() < *self.0.lock().unwrap_or_else(PoisonError::into_inner) { UP } else { DOWN }
    }

    /// Waits for the end of the lease.
    async fn ended(&self) {
        while self.health() == UP {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sleep_until(end).await;
        }
    }
}

#[derive(Clone)]
struct Database {
    router: Router,
    pool: Arc<Semaphore>,
    /// The one order that waits for a connection.
    next: Arc<Semaphore>,
}

impl Database {
    /// Asks, on a connection that the caller has.
    async fn ask(&self, question: Request) -> Response {
        let Ok(answer) = self.router.clone().oneshot(question).await;
        answer
    }
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let status = if self == UP { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self)).into_response()
    }
}

impl Database {
    /// A connection of the pool, for an order. One at a time waits for it, so that a check waits behind one and no more.
    async fn connect(&self) -> Option<SemaphorePermit<'_>> {
        let _next = self.next.acquire().await.ok()?;
        self.pool.acquire().await.ok()
    }

    /// Asks for a sign of life, on a connection of the pool, as an order asks.
    async fn ping(&self) -> bool {
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        let Ok(_connection) = self.pool.acquire().await else {
            return false;
        };
        self.ask(ping).await.status().is_success()
    }
}

/// Renews the lease once a period, if the database answers.
async fn renew_each_period(database: Database, period: Duration, lease: Lease) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The other half of the lease is the service's.
    while Arc::strong_count(&lease.0) > 1 {
        ticks.tick().await;
        if let Ok(true) = timeout(period / 2, database.ping()).await {
            lease.end(Instant::now() + period * 8 / 5);
        }
    }
}

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    shop.lease.health()
}

/// Passes an order on to the database, unless the service is not ready, or ceases to be while the order waits.
async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    let connection = select! {
        biased;
        () = shop.lease.ended() => None,
        connection = shop.database.connect() => connection,
    };
    let Some(_connection) = connection else {
        return DOWN.into_response();
    };
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
