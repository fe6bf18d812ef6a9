//! Tempting because both limits are there, and whoever has a place and a share may go in.
//! A report that waits for its share has a place meanwhile, in which nothing happens.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body::{Frame, SizeHint};
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
    let Ok(Ok(place)) = timeout(door.wait, door.places.acquire_owned()).await else { return full() };
    held(next.run(request).await, place)
}

async fn report(State(door): State<Door>, request: Request, next: Next) -> Response {
    let both = async { (door.places.acquire_owned().await, door.share.acquire_owned().await) };
    let Ok((Ok(place), Ok(share))) = timeout(door.wait, both).await else { return full() };
    held(next.run(request).await, (place, share))
}

fn full() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "the shop is full\n").into_response()
}

/// The answer, whose body has its place until it is done, or nobody wants it any more.
fn held(answer: Response, place: impl Send + Unpin + 'static) -> Response {
    answer.map(|body| Body::new(Held { body, _place: place }))
}

struct Held<P> {
    body: Body,
    _place: P,
}

impl<P: Unpin> HttpBody for Held<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
