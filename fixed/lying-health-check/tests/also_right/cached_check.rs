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
    select,
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout},
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
    let database = Database { router: database, pool, queue: Arc::default() };
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

    /// Waits until the database is found out of reach; whoever waits for a connection has it checked as well.
    async fn is_down(&self) {
        while readyz(State(self.clone())).await == UP {
            sleep(self.period / 4).await;
        }
    }
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

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let status = if self == UP { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self)).into_response()
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
        let Ok(_connection) = self.pool.acquire().await else {
            return false;
        };
        self.ask(ping).await.status().is_success()
    }
}

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    // A check in a task of its own ends neither with its prober nor with a panic.
    tokio::spawn(shop.health()).await.unwrap_or(DOWN)
}

/// Passes an order on to the database, unless the service is not ready, or ceases to be while the order waits.
async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    if readyz(State(shop.clone())).await == DOWN {
        return DOWN.into_response();
    }
    let connection = select! {
        biased;
        () = shop.is_down() => None,
        connection = shop.database.connect() => connection,
    };
    let Some(_connection) = connection else {
        return DOWN.into_response();
    };
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
