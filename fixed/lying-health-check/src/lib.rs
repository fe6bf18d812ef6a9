//! An order service in front of its database, with the two addresses at which others ask how it is.
//!
//! # Symptom
//! The database is out of reach, and a share of all orders gets an answer without an order in it. The balancer
//! goes on sending orders to this instance, and every dashboard is green.
//!
//! # Trigger
//! 1. The database fails or hangs, or every connection of the pool is in use and none comes back.
//! 2. The balancer probes `/readyz`, and keeps the instance.
//! 3. Orders come, and none is served.
//!
//! # Fix
//! The verdict is the status: 503 with the same body, for `/readyz` and for an order. The check takes a connection of
//! the pool, as an order does, within its deadline, and does not wait behind all of them. While the service is not ready
//! no order waits for the database. A checker that is gone counts as not ready, and `/livez` depends on nothing.
//!
//! # Cost
//! One ping a period, on a connection of the pool. One order at the database at the wrong moment still waits.
//!
//! # Start here
//! Follow one failed ping from `check_each_period` to the status that a probe of `/readyz` gets.

use std::{sync::Arc, time::Duration};

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
    sync::{Mutex, Semaphore, SemaphorePermit, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tower::ServiceExt;
use tracing::info;

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
    let (verdict, health) = watch::channel(DOWN);
    let database = Database { router: database, pool, queue: Arc::default() };
    tokio::spawn(check_each_period(database.clone(), period, verdict));
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/readyz", get(readyz))
        .route("/orders", get(orders).post(orders))
        .with_state(Shop { database, health })
}

#[derive(Clone)]
struct Shop {
    database: Database,
    health: watch::Receiver<Health>,
}

#[derive(Clone)]
struct Database {
    router: Router,
    pool: Arc<Semaphore>,
    queue: Arc<Mutex<()>>,
}

impl Database {
    /// Asks, on a connection that the caller has.
    async fn ask(&self, question: Request) -> Response {
        let Ok(answer) = self.router.clone().oneshot(question).await;
        answer
    }
}

// ANCHOR: fix
impl IntoResponse for Health {
    fn into_response(self) -> Response {
        // ANCHOR: mark-1-probe
        let status = if self == UP { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self)).into_response()
        // ANCHOR_END: mark-1-probe
    }
}

impl Database {
    /// A connection of the pool, for an order. One at a time waits for it, so that a check waits behind one and no more.
    async fn connect(&self) -> Option<SemaphorePermit<'_>> {
        let _turn = self.queue.lock().await;
        self.pool.acquire().await.ok()
    }

    /// Asks for a sign of life, on a connection of the pool, as an order asks.
    async fn ping(&self) -> bool {
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        // ANCHOR: mark-2
        let Ok(_connection) = self.pool.acquire().await else {
            // ANCHOR_END: mark-2
            return false;
        };
        self.ask(ping).await.status().is_success()
    }
}

/// Checks the database once a period, until nobody wants to know any more.
async fn check_each_period(database: Database, period: Duration, verdict: watch::Sender<Health>) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !verdict.is_closed() {
        ticks.tick().await;
        // ANCHOR: mark-ping
        let answered = timeout(period / 2, database.ping()).await.unwrap_or(false);
        // ANCHOR_END: mark-ping
        let health = if answered { UP } else { DOWN };
        if verdict.send_replace(health) != health {
            info!(health = health.status, "the health has changed");
        }
    }
}

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    // Without its checker, the last verdict is history.
    // ANCHOR: mark-5
    if shop.health.has_changed().is_err() { DOWN } else { *shop.health.borrow() }
    // ANCHOR_END: mark-5
}

/// Passes an order on to the database, unless the service is not ready, or ceases to be while the order waits.
async fn orders(State(mut shop): State<Shop>, order: Request) -> Response {
    let connection = select! {
        biased;
        // A checker that is gone ends the wait as well.
        // ANCHOR: mark-4
        _ = shop.health.wait_for(|health| *health == DOWN) => None,
        // ANCHOR_END: mark-4
        connection = shop.database.connect() => connection,
    };
    let Some(_connection) = connection else {
        return DOWN.into_response();
    };
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
// ANCHOR_END: fix
