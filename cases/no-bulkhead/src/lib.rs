//! A shop with a report desk: both are behind one door, which lets in as many requests at a time as the shop can bear.
//!
//! # Symptom
//! Somebody looks at a report that nobody needs, and most orders are answered 503. The shop itself is idle.
//!
//! # Trigger
//! 1. A page of the admin desk asks for the summary of the log, which takes ten seconds.
//! 2. It takes too long for those who look at it, and they press *reload*.
//! 3. Orders wait at the door, and are sent away.
//!
//! # Cause
//! There is one count for all, so that whoever comes first has the place. The limit for the reports is written down and
//! limits nothing: axum applies the layer anew for each connection, and each has a limit of its own.
//!
//! # Cost
//! The part of the shop that earns nothing decides how much the other part may earn.
//!
//! # Start here
//! Two reports are in. Follow the third from `app` to its place: which line asks how many reports there are?

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
use tower::limit::ConcurrencyLimitLayer;

use self::{
    shared::{Class, Places},
    sync::Arc,
};

mod shared;
mod sync {
    pub(crate) use std::sync::*;
}
#[doc(hidden)]
pub mod near_misses;

// ANCHOR: defect
/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`. An order waits for a place for at most `wait`. `GET /livez` tells who is in.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, wait: Duration) -> Router {
    let door = Door { places: Arc::new(Places::new(places, share)), freed: Arc::new(Notify::new()), wait };
    let orders = orders.layer(from_fn_with_state((door.clone(), Class::Order), in_a_place));
    let reports = reports.layer(from_fn_with_state((door.clone(), Class::Report), in_a_place));
    // ANCHOR: mark-1
    let reports = reports.layer(ConcurrencyLimitLayer::new(share));
    // ANCHOR_END: mark-1
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
    /// Waits for a place, but not for longer than it may.
    async fn place(&self, class: Class) -> Option<Place> {
        // ANCHOR: mark-2
        if self.places.admit(class) {
            return Some(Place { door: self.clone(), class });
        }
        // ANCHOR_END: mark-2
        let _waiting = Waiting::begin(self, class);
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
// ANCHOR_END: defect

async fn in_a_place(State((door, class)): State<(Door, Class)>, request: Request, next: Next) -> Response {
    let Some(place) = door.place(class).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "the shop is full\n").into_response();
    };
    next.run(request).await.map(|body| Body::new(Held { body, _place: place }))
}

async fn livez(State(door): State<Door>) -> String {
    door.places.told()
}

/// A request that waits, until this is dropped.
struct Waiting {
    door: Door,
    class: Class,
}

impl Waiting {
    fn begin(door: &Door, class: Class) -> Self {
        door.places.wait(class);
        Self { door: door.clone(), class }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.door.places.stop_waiting(self.class);
    }
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
