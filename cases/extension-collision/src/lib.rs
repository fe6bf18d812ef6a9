//! A letter box: users read their own letters, those that they were given leave to read, and anybody's card.
//!
//! # Symptom
//! Carol reads Bob's letters, although nobody gave her leave. The audit trail has no entry of hers: it says that Bob read
//! them himself.
//!
//! # Trigger
//! 1. Carol asks for `/users/bob/letters` under her own name.
//! 2. `authenticate` finds out who asks, and `by_path` whose mailbox the path names.
//! 3. The handler asks whether the caller may read the mailbox.
//!
//! # Cause
//! The extensions of a request are a map from types to values. Both layers insert a `UserId`, so the inner one replaces
//! what the outer one stored. `insert` returns the replaced value, and nobody looks at it. From here on the caller is the
//! owner of the mailbox.
//!
//! # Cost
//! Everybody may read everybody's letters, and the trail that should say who did says that the owner did.
//!
//! # Start here
//! [`app`], then `authenticate`, then `by_path`.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{Extensions, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

#[doc(hidden)]
pub mod near_misses;

/// Says whether a caller, named first, may read a mailbox.
type MayRead = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// A user's name.
#[derive(Clone)]
struct UserId(String);

/// What the handlers ask.
#[derive(Clone)]
struct Desk {
    may_read: MayRead,
    store: Router,
}

/// The letter box in front of `store`.
///
/// Users come with `authorization: Bearer <user>`. The store is told who asks in `x-caller`, and whose mailbox it is about
/// in `x-mailbox`. Each answer to a user leaves `(caller, mailbox, status)` in the audit trail.
pub fn app(may_read: MayRead, store: Router, audit: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let record = from_fn_with_state(audit, record);
    let own = Router::new().route("/me/letters", get(letters)).route_layer(record.clone()).route_layer(from_fn(own));
    Router::new()
        .route("/users/{user}/letters", get(letters))
        .route("/users/{user}/card", get(card))
        .route_layer(record)
        .route_layer(from_fn(by_path))
        .merge(own)
        .layer(from_fn(authenticate))
        .with_state(Desk { may_read, store })
}

// ANCHOR: defect
/// Finds out who asks.
async fn authenticate(mut request: Request, next: Next) -> Response {
    if let Some(user) = bearer(&request) {
        // ANCHOR: mark-asks
        request.extensions_mut().insert(user);
        // ANCHOR_END: mark-asks
    }
    next.run(request).await
}

fn caller(extensions: &Extensions) -> Option<UserId> {
    extensions.get().cloned()
}

/// Finds out whose mailbox the path names.
async fn by_path(Path(user): Path<String>, mut request: Request, next: Next) -> Response {
    // ANCHOR: mark-asks
    request.extensions_mut().insert(UserId(user));
    // ANCHOR_END: mark-asks
    next.run(request).await
}

fn mailbox(extensions: &Extensions) -> Option<UserId> {
    extensions.get().cloned()
}
// ANCHOR_END: defect

/// The mailbox is the caller's own.
async fn own(mut request: Request, next: Next) -> Response {
    if let Some(user) = caller(request.extensions()) {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// Puts who was answered, and about whose mailbox, into the audit trail.
async fn record(
    State(audit): State<UnboundedSender<(String, String, StatusCode)>>,
    request: Request,
    next: Next,
) -> Response {
    let (caller, mailbox) = (caller(request.extensions()), mailbox(request.extensions()));
    let response = next.run(request).await;
    if let (Some(UserId(caller)), Some(UserId(mailbox))) = (caller, mailbox) {
        // Nobody may be reading the trail any more; the user still gets the answer.
        let _ = audit.send((caller, mailbox, response.status()));
    }
    response
}

// ANCHOR: letters
/// The letters of a mailbox, for a caller who may read them.
async fn letters(State(desk): State<Desk>, extensions: Extensions) -> Result<Response, StatusCode> {
    let caller = caller(&extensions).ok_or(StatusCode::UNAUTHORIZED)?;
    let mailbox = mailbox(&extensions).ok_or(StatusCode::NOT_FOUND)?;
    if !(desk.may_read)(&caller.0, &mailbox.0) {
        return Err(StatusCode::FORBIDDEN);
    }
    ask(desk.store, "/letters", Some(caller), mailbox).await
}
// ANCHOR_END: letters

/// The card of a user, for everybody.
async fn card(State(desk): State<Desk>, extensions: Extensions) -> Result<Response, StatusCode> {
    let mailbox = mailbox(&extensions).ok_or(StatusCode::NOT_FOUND)?;
    ask(desk.store, "/card", caller(&extensions), mailbox).await
}

/// Asks the store, and passes its answer on as it comes.
async fn ask(store: Router, path: &str, caller: Option<UserId>, mailbox: UserId) -> Result<Response, StatusCode> {
    let mut question = Request::get(path).header("x-mailbox", mailbox.0);
    if let Some(UserId(caller)) = caller {
        question = question.header("x-caller", caller);
    }
    let question = question.body(Body::empty()).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(store.oneshot(question).await.into_response())
}

/// The user named by `authorization: Bearer <user>`.
fn bearer(request: &Request) -> Option<UserId> {
    let user = request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    Some(UserId(user.to_owned()))
}
