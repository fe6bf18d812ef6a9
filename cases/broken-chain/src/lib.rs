//! The reading room of a records archive: whoever comes in is registered, and so is how they left.
//!
//! # Symptom
//! The register has visits that were opened and never closed, more of them each day, and the room is empty. Whoever is
//! turned away sees "network error" in the browser, and never why.
//!
//! # Trigger
//! 1. A reader comes without credentials, with too large a body, or for something that takes too long; or leaves.
//! 2. The register has `opened`.
//! 3. A `?` returns, or the request is dropped at its `.await`.
//!
//! # Cause
//! What comes after `next.run` is code like any other: an early return passes it by, and so does a future that is dropped.
//! The register's second line, the CORS header and the id are all there, and all of them are passed by together.
//!
//! # Cost
//! A gauge that only rises, alarms about readers who left hours ago, and an afternoon spent on CORS where the answer was 401.
//!
//! # Start here
//! `attend`, from `opened` down.

use std::time::Duration;

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

#[doc(hidden)]
pub mod near_misses;

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

// ANCHOR: visit
/// A visit, from `opened` to its end.
struct Visit {
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
    id: String,
}

impl Visit {
    fn open(room: &Room, id: &HeaderValue) -> Self {
        let id = String::from_utf8_lossy(id.as_bytes()).into_owned();
        // Readers are let in even if nobody keeps the register.
        let _ = room.register.send((id.clone(), "opened".to_owned(), None));
        Self { register: room.register.clone(), id }
    }

    fn close(self, status: StatusCode) {
        let _ = self.register.send((self.id, "closed".to_owned(), Some(status)));
    }
}
// ANCHOR_END: visit

// ANCHOR: defect
/// Registers a visit, and how it ended.
async fn attend(State(room): State<Room>, request: Request, next: Next) -> Result<Response, StatusCode> {
    if is_preflight(&request) {
        return Ok(allow());
    }
    let id = request.headers().get("x-request-id").cloned().unwrap_or(HeaderValue::from_static("unknown"));
    // ANCHOR: mark-1-opened
    let visit = Visit::open(&room, &id);
    // ANCHOR_END: mark-1-opened

    // ANCHOR: mark-2-refused
    authenticate(&request)?;
    measure(&request, room.limit)?;
    // ANCHOR_END: mark-2-refused
    // ANCHOR: mark-3
    let answer = timeout(room.budget, next.run(request)).await;
    let mut response = answer.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
    // ANCHOR_END: mark-3

    // ANCHOR: mark-4
    visit.close(response.status());
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response.headers_mut().insert("x-request-id", id);
    // ANCHOR_END: mark-4
    Ok(response)
}
// ANCHOR_END: defect

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
