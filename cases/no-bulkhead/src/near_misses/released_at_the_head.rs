//! Tempting because a permit gives itself back when the handler returns, however it returns.
//! Then the answer has its head, and its body is still being made: the shop has more requests than places.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::Semaphore, time::timeout};

/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`. An order waits for a place for at most `wait`. `GET /livez` tells that it runs.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, wait: Duration) -> Router {
    let places = Arc::new(Semaphore::new(places));
    let door = Door { places, share: Arc::new(Semaphore::new(share)), wait };
    Router::new()
        .nest("/orders", orders.layer(from_fn_with_state(door.clone(), order)))
        .nest("/admin", reports.layer(from_fn_with_state(door, report)))
        .route("/livez", get(async || "alive\n"))
}

/// Where requests get their places.
#[derive(Clone)]
struct Door {
    places: Arc<Semaphore>,
    share: Arc<Semaphore>,
    wait: Duration,
}

async fn order(State(door): State<Door>, request: Request, next: Next) -> Response {
    let Ok(Ok(_place)) = timeout(door.wait, door.places.acquire_owned()).await else { return full() };
    next.run(request).await
}

async fn report(State(door): State<Door>, request: Request, next: Next) -> Response {
    let Ok(_share) = door.share.try_acquire_owned() else { return full() };
    let Ok(_place) = door.places.try_acquire_owned() else { return full() };
    next.run(request).await
}

fn full() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "the shop is full\n").into_response()
}
