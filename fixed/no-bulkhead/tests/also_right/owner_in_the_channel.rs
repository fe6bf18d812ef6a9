//! One lock round both counts and a queue: an order that waits is sent its place together with its owner, whose drop passes it on
//! when nobody takes it out.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
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
use tokio::{sync::oneshot, time::timeout};

/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`. An order waits for a place for at most `wait`. `GET /livez` tells that it runs.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, wait: Duration) -> Router {
    let book = Book { free: places, share, queue: VecDeque::new() };
    let door = Door { book: Arc::new(Mutex::new(book)), wait };
    Router::new()
        .nest("/orders", orders.layer(from_fn_with_state(door.clone(), order)))
        .nest("/admin", reports.layer(from_fn_with_state(door, report)))
        .route("/livez", get(async || "alive\n"))
}

/// Where requests get their places.
#[derive(Clone)]
struct Door {
    book: Arc<Mutex<Book>>,
    wait: Duration,
}

struct Book {
    free: usize,
    share: usize,
    queue: VecDeque<oneshot::Sender<Place>>,
}

/// A request that is in, until this is dropped.
struct Place {
    door: Door,
    share: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut book = self.door.book.lock().unwrap();
            book.share += self.share;
            let next = book.queue.pop_front();
            book.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // Not under the lock: where the receiver is gone, the place is dropped here and now.
            drop(next.send(Self { door: self.door.clone(), share: 0 }));
        }
    }
}

async fn order(State(door): State<Door>, request: Request, next: Next) -> Response {
    let granted = {
        let mut book = door.book.lock().unwrap();
        let (grant, granted) = oneshot::channel();
        if book.free > 0 {
            book.free -= 1;
            drop(grant.send(Place { door: door.clone(), share: 0 }));
        } else {
            book.queue.push_back(grant);
        }
        granted
    };
    let Ok(Ok(place)) = timeout(door.wait, granted).await else { return full() };
    held(next.run(request).await, place)
}

async fn report(State(door): State<Door>, request: Request, next: Next) -> Response {
    {
        let mut book = door.book.lock().unwrap();
        if book.free == 0 || book.share == 0 {
            return full();
        }
        (book.free, book.share) = (book.free - 1, book.share - 1);
    }
    let place = Place { door, share: 1 };
    held(next.run(request).await, place)
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
