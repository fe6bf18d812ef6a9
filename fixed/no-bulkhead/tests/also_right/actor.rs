//! A task has the counts and the queue, and everybody asks it: it sends each its place with an owner, whose drop tells the task.

use std::{
    collections::VecDeque,
    pin::Pin,
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
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel},
        oneshot,
    },
    time::timeout,
};

/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`. An order waits for a place for at most `wait`. `GET /livez` tells that it runs.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, wait: Duration) -> Router {
    let (door, asked) = unbounded_channel();
    tokio::spawn(keep(asked, door.downgrade(), places, share));
    Router::new()
        .nest(
            "/orders",
            orders.layer(from_fn_with_state(Door { door: door.clone(), class: Class::Order, wait }, enter)),
        )
        .nest("/admin", reports.layer(from_fn_with_state(Door { door, class: Class::Report, wait }, enter)))
        .route("/livez", get(async || "alive\n"))
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Order,
    Report,
}

/// What the task is told.
enum Message {
    Asks(Class, oneshot::Sender<Place>),
    Leaves(Class),
}

/// A request that is in, until this is dropped.
struct Place {
    door: UnboundedSender<Message>,
    class: Class,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without the task there are no places either.
        let _ = self.door.send(Message::Leaves(self.class));
    }
}

#[derive(Clone)]
struct Door {
    door: UnboundedSender<Message>,
    class: Class,
    wait: Duration,
}

/// Keeps the book. Who is refused hears that its sender is gone.
async fn keep(
    mut asked: UnboundedReceiver<Message>,
    door: WeakUnboundedSender<Message>,
    mut free: usize,
    mut share: usize,
) {
    let mut queue = VecDeque::new();
    while let Some(message) = asked.recv().await {
        match message {
            Message::Asks(Class::Order, answer) => queue.push_back(answer),
            Message::Asks(Class::Report, answer) => {
                if let (true, Some(door)) = (free > 0 && share > 0 && queue.is_empty(), door.upgrade()) {
                    (free, share) = (free - 1, share - 1);
                    drop(answer.send(Place { door, class: Class::Report }));
                }
            }
            Message::Leaves(class) => {
                free += 1;
                share += usize::from(class == Class::Report);
            }
        }
        while let (true, Some(door)) = (free > 0 && !queue.is_empty(), door.upgrade()) {
            free -= 1;
            let answer: oneshot::Sender<Place> = queue.pop_front().expect("it is not empty");
            // Where nobody is there any more, the place comes back with the next message.
            drop(answer.send(Place { door, class: Class::Order }));
        }
    }
}

async fn enter(State(Door { door, class, wait }): State<Door>, request: Request, next: Next) -> Response {
    let (answer, place) = oneshot::channel();
    let asked = door.send(Message::Asks(class, answer));
    let (Ok(()), Ok(Ok(place))) = (asked, timeout(wait, place).await) else { return full() };
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
