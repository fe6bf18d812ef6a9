//! One probe a period asks the database, the others wait for what it finds: few pings, and always fresh.
//! When the database hangs, that one never stops waiting, and all the others wait for it.

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

/// Tells how the service is; once a period one of those who ask finds it out.
async fn readyz(State(shop): State<Shop>) -> Health {
    let mut checked = shop.checked.lock().await;
    if let Some((at, health)) = *checked
        && at.elapsed() < shop.period
    {
        return health;
    }
    let at = Instant::now();
    let health = if shop.database.ping().await { UP } else { DOWN };
    *checked = Some((at, health));
    health
}

/// Passes an order on to the database, which may take a period.
async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    match timeout(shop.period, shop.database.ask(order)).await {
        Ok(answer) if !answer.status().is_server_error() => answer,
        _ => DOWN.into_response(),
    }
}
