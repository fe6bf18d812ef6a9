//! Tempting because reports do not wait: no report can stand in front of an order.
//! Between the return of a place and the moment at which the order that waits is polled, a report finds the place free.

use std::{
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
use tokio::{sync::Notify, time::timeout};

use super::mended::{Class, Places};
use crate::sync::Arc;

/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`. An order waits for a place for at most `wait`. `GET /livez` tells who is in.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, wait: Duration) -> Router {
    let door = Door { places: Arc::new(Places::new(places, share)), freed: Arc::new(Notify::new()), wait };
    let orders = orders.layer(from_fn_with_state((door.clone(), Class::Order), in_a_place));
    let reports = reports.layer(from_fn_with_state((door.clone(), Class::Report), in_a_place));
    Router::new().nest("/orders", orders).nest("/admin", reports).route("/livez", get(livez).with_state(door))
}

/// Where requests get their places.
#[derive(Clone)]
struct Door {
    places: Arc<Places>,
    /// Told whenever a place is given back.
    freed: Arc<Notify>,
    wait: Duration,
}

impl Door {
    /// Gets a place: an order may wait for it, a report may not.
    async fn place(&self, class: Class) -> Option<Place> {
        if self.places.admit(class) {
            return Some(Place { door: self.clone(), class });
        }
        if class == Class::Report {
            return None;
        }
        let place = async {
            loop {
                let freed = self.freed.notified();
                if self.places.admit(class) {
                    return Place { door: self.clone(), class };
                }
                freed.await;
            }
        };
        timeout(self.wait, place).await.ok()
    }
}

async fn in_a_place(State((door, class)): State<(Door, Class)>, request: Request, next: Next) -> Response {
    let Some(place) = door.place(class).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "the shop is full\n").into_response();
    };
    next.run(request).await.map(|body| Body::new(Held { body, _place: place }))
}

async fn livez(State(door): State<Door>) -> String {
    door.places.told()
}

/// A request that is in, until this is dropped.
struct Place {
    door: Door,
    class: Class,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.places.leave(self.class);
        self.door.freed.notify_waiters();
    }
}

/// A body that has a place until it is done, or nobody wants it any more.
struct Held {
    body: Body,
    _place: Place,
}

impl HttpBody for Held {
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
