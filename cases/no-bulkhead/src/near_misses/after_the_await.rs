//! Tempting because the place is given back in the line after the one that used it, and no type is needed for that.
//! A client that leaves, or a handler that panics, never comes to that line.

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
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
    async fn place(&self, class: Class) -> bool {
        if self.places.admit(class) {
            return true;
        }
        if class == Class::Report {
            return false;
        }
        let _waiting = Waiting::begin(self, class);
        let place = async {
            loop {
                let freed = self.freed.notified();
                if self.places.admit(class) {
                    return;
                }
                freed.await;
            }
        };
        timeout(self.wait, place).await.is_ok()
    }
}

async fn in_a_place(State((door, class)): State<(Door, Class)>, request: Request, next: Next) -> Response {
    if !door.place(class).await {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "the shop is full\n").into_response();
    }
    let answer = next.run(request).await;
    door.places.leave(class);
    door.freed.notify_waiters();
    answer
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
