//! The orders are evidence as well: one that the database fails ends the readiness at once, one that it serves renews it, and a
//! ping once a period asks where no order comes by.

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
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, timeout},
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
    let database = Database { router: database, pool };
    tokio::spawn(ping_each_period(database.clone(), period, lease.clone()));
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/readyz", get(readyz))
        .route("/orders", get(orders).post(orders))
        .with_state(Shop { database, lease, period })
}

#[derive(Clone)]
struct Shop {
    database: Database,
    lease: Lease,
    period: Duration,
}

/// Until when the service is ready, unless it hears from the database again.
#[derive(Clone, Debug)]
struct Lease(Arc<Mutex<Instant>>);

impl Lease {
    fn learns(&self, answered: bool, period: Duration) {
        let end = if answered { Instant::now() + period * 8 / 5 } else { Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    fn health(&self) -> Health {
        if Instant::now() < *self.0.lock().unwrap_or_else(PoisonError::into_inner) { UP } else { DOWN }
    }
}

#[derive(Clone)]
struct Database {
    router: Router,
    pool: Arc<Semaphore>,
}

impl Database {
    /// Asks on a connection of the pool.
    async fn ask(&self, question: Request) -> Response {
        let Ok(_connection) = self.pool.acquire().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
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
    /// Asks for a sign of life, as an order asks: it queues where the orders queue.
    async fn ping(&self) -> bool {
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        self.ask(ping).await.status().is_success()
    }
}

/// Pings once a period, and lets the lease know what came of it.
async fn ping_each_period(database: Database, period: Duration, lease: Lease) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Arc::strong_count(&lease.0) > 1 {
        ticks.tick().await;
        if let Ok(answered) = timeout(period / 2, database.ping()).await {
            lease.learns(answered, period);
        }
    }
}

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    shop.lease.health()
}

/// Passes an order on to the database, unless the service is not ready.
async fn orders(shop: State<Shop>, order: Request) -> Response {
    if readyz(shop.clone()).await == DOWN {
        return DOWN.into_response();
    }
    let answer = shop.database.ask(order).await;
    let failed = answer.status().is_server_error();
    shop.lease.learns(!failed, shop.period);
    if failed { DOWN.into_response() } else { answer }
}
