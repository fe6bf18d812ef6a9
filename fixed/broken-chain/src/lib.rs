//! The reading room of a records archive: whoever comes in is registered, and so is how they left.
//!
//! # Symptom
//! None is left. Each visit that was opened has one end, and a browser may read every answer.
//!
//! # Trigger
//! 1. A reader comes without credentials, with too large a body, or for something that takes too long; or leaves.
//! 2. The register has `opened`.
//! 3. A `?` returns, or the request is dropped at its `.await`.
//!
//! # Fix
//! What must happen at every end is owned by the visit and done by its `Drop`. What must be on every answer is set by a
//! function that has no early return: those that may return early are in `admit`, and it calls them.
//!
//! # Cost
//! One value for each request.
//!
//! # Start here
//! `Visit`, then `attend`.

use std::{mem, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::{sync::mpsc::UnboundedSender, time::timeout};
use tower_http::catch_panic::CatchPanicLayer;

/// The reading room: the `records`, and those of the `partners` under `/partners`.
///
/// The `register` gets the visit's `x-request-id`, `opened`, `closed` or `abandoned`, and with `closed` the status. A request
/// without `authorization: Bearer …` is a 401, a body above `limit` a 413, and one that is not answered within `budget` a 408.
pub fn app(
    records: Router,
    partners: Router,
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
    limit: usize,
    budget: Duration,
) -> Router {
    records
        .nest("/partners", partners)
        .layer(DefaultBodyLimit::max(limit))
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(Room { register, limit, budget }, attend))
}

#[derive(Clone)]
struct Room {
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
    limit: usize,
    budget: Duration,
}

/// A visit, from `opened` to its end.
struct Visit {
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
    id: String,
    status: Option<StatusCode>,
}

impl Visit {
    fn open(room: &Room, id: &HeaderValue) -> Self {
        let id = String::from_utf8_lossy(id.as_bytes()).into_owned();
        // Readers are let in even if nobody keeps the register.
        let _ = room.register.send((id.clone(), "opened".to_owned(), None));
        Self { register: room.register.clone(), id, status: None }
    }

    fn close(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

// ANCHOR: end
impl Drop for Visit {
    fn drop(&mut self) {
        let what = if self.status.is_some() { "closed" } else { "abandoned" };
        let _ = self.register.send((mem::take(&mut self.id), what.to_owned(), self.status));
    }
}
// ANCHOR_END: end

// ANCHOR: fix
/// Registers a visit, and how it ended.
async fn attend(State(room): State<Room>, request: Request, next: Next) -> Response {
    if is_preflight(&request) {
        return allow();
    }
    let id = request.headers().get("x-request-id").cloned().unwrap_or(HeaderValue::from_static("unknown"));
    let visit = Visit::open(&room, &id);

    let mut response = admit(&room, request, next).await.into_response();

    // ANCHOR: mark-closed
    visit.close(response.status());
    // ANCHOR_END: mark-closed
    // ANCHOR: mark-answer
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    // ANCHOR_END: mark-answer
    response.headers_mut().insert("x-request-id", id);
    response
}

/// Lets in whoever may come in, for as long as they may stay.
async fn admit(room: &Room, request: Request, next: Next) -> Result<Response, StatusCode> {
    authenticate(&request)?;
    measure(&request, room.limit)?;
    let answer = timeout(room.budget, next.run(request)).await;
    answer.map_err(|_| StatusCode::REQUEST_TIMEOUT)
}
// ANCHOR_END: fix

/// Whoever has no credentials gets no further.
fn authenticate(request: &Request) -> Result<(), StatusCode> {
    let bearer = |value: &HeaderValue| value.as_bytes().starts_with(b"Bearer ");
    if request.headers().get(AUTHORIZATION).is_some_and(bearer) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

/// A body that says it is too large is not read. One that does not say so is counted by whoever reads it.
fn measure(request: &Request, limit: usize) -> Result<(), StatusCode> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(()) }
}

/// Whether a browser asks what it may send, before it sends credentials.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser may send.
fn allow() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "*"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, x-request-id"),
    ];
    (StatusCode::NO_CONTENT, headers, Body::empty()).into_response()
}
