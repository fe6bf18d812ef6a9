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
//! # Cause
//! The verdict is right, but no machine reads it where it is: `Json` alone is a 200, and a probe or a proxy looks
//! only at the status. It holds for orders as well, so a proxy that learns from failed orders learns nothing. And the
//! check does not use what the orders use: it needs no connection of the pool.
//!
//! # Cost
//! One sick instance of three fails a third of the orders for as long as the outage lasts, while two others are well.
//!
//! # Start here
//! Follow one failed ping from `check_each_period` to what a probe of `/readyz` is sent.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tower::ServiceExt;
use tracing::info;

#[doc(hidden)]
pub mod near_misses;

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
    let database = Database { router: database, pool };
    tokio::spawn(check_each_period(database.clone(), period, verdict));
    Router::new()
        .route("/livez", get(readyz))
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
}

impl Database {
    /// Asks, on a connection that the caller has.
    async fn ask(&self, question: Request) -> Response {
        let Ok(answer) = self.router.clone().oneshot(question).await;
        answer
    }
}

// ANCHOR: defect
impl IntoResponse for Health {
    fn into_response(self) -> Response {
        // ANCHOR: mark-probe
        Json(self).into_response()
        // ANCHOR_END: mark-probe
    }
}

impl Database {
    /// A connection of the pool, for an order.
    async fn connect(&self) -> Option<SemaphorePermit<'_>> {
        self.pool.acquire().await.ok()
    }

    /// Asks for a sign of life, on a connection of its own so as not to queue behind the orders.
    async fn ping(&self) -> bool {
        // ANCHOR: mark-1
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        // ANCHOR_END: mark-1
        self.ask(ping).await.status().is_success()
    }
}

/// Checks the database once a period, until nobody wants to know any more.
async fn check_each_period(database: Database, period: Duration, verdict: watch::Sender<Health>) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !verdict.is_closed() {
        ticks.tick().await;
        // ANCHOR: mark-2-ping
        let answered = timeout(period / 2, database.ping()).await.unwrap_or(false);
        // ANCHOR_END: mark-2-ping
        let health = if answered { UP } else { DOWN };
        if verdict.send_replace(health) != health {
            info!(health = health.status, "the health has changed");
        }
    }
}

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    *shop.health.borrow()
}

/// Passes an order on to the database.
async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    let Some(_connection) = shop.database.connect().await else {
        return DOWN.into_response();
    };
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
// ANCHOR_END: defect
