//! Tempting because a place goes straight to the next order, so that nobody can come in between, and who has left is passed over.
//! One that leaves between its grant and its next poll has not left yet: it takes the place along.

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
    queue: VecDeque<oneshot::Sender<()>>,
}

/// A request that is in, until this is dropped.
struct Place {
    door: Door,
    share: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.door.book.lock().unwrap();
        book.share += self.share;
        // Who has left is passed over.
        while let Some(next) = book.queue.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        book.free += 1;
    }
}

async fn order(State(door): State<Door>, request: Request, next: Next) -> Response {
    let granted = {
        let mut book = door.book.lock().unwrap();
        let (grant, granted) = oneshot::channel();
        if book.free > 0 {
            book.free -= 1;
            grant.send(()).expect("it is there");
        } else {
            book.queue.push_back(grant);
        }
        granted
    };
    let Ok(Ok(())) = timeout(door.wait, granted).await else { return full() };
    let place = Place { door, share: 0 };
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
