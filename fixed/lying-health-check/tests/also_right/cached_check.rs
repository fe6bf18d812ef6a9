//! There is no checker: a probe that finds the last verdict older than a period has the database checked, in a task that does
//! not end with the probe, and all who ask meanwhile wait for the same check.

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
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
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
    let database = Database { router: database, pool };
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/readyz", get(readyz))
        .route("/orders", get(orders).post(orders))
        .with_state(Shop { database, checked: Arc::default(), period })
}

#[derive(Clone)]
struct Shop {
    database: Database,
    checked: Arc<Mutex<Option<(Instant, Health)>>>,
    period: Duration,
}

impl Shop {
    /// The verdict, which is not older than a period.
    async fn health(self) -> Health {
        let mut checked = self.checked.lock().await;
        if let Some((at, health)) = *checked
            && at.elapsed() < self.period
        {
            return health;
        }
        // Counted from the beginning of the check: a verdict is as old as the question.
        let at = Instant::now();
        *checked = Some((at, DOWN));
        let answered = timeout(self.period / 2, self.database.ping()).await.unwrap_or(false);
        let health = if answered { UP } else { DOWN };
        *checked = Some((at, health));
        info!(health = health.status, "the health was checked");
        health
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

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    // A check in a task of its own ends neither with its prober nor with a panic.
    tokio::spawn(shop.health()).await.unwrap_or(DOWN)
}

/// Passes an order on to the database, unless the service is not ready.
async fn orders(shop: State<Shop>, order: Request) -> Response {
    if readyz(shop.clone()).await == DOWN {
        return DOWN.into_response();
    }
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
