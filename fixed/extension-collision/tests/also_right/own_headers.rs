//! The layers tell caller and mailbox by request headers, which they overwrite or remove whatever the client sent; the store
//! gets the client's request, with another path.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

type MayRead = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

#[derive(Clone)]
struct Desk {
    may_read: MayRead,
    store: Router,
}

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

fn set(headers: &mut HeaderMap, name: &'static str, user: Option<&str>) {
    headers.remove(name);
    if let Some(user) = user.and_then(|user| HeaderValue::from_str(user).ok()) {
        headers.insert(name, user);
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    let value = text(request.headers(), AUTHORIZATION.as_str());
    set(request.headers_mut(), "x-caller", value.as_deref().and_then(|value| value.strip_prefix("Bearer ")));
    next.run(request).await
}

async fn by_path(Path(user): Path<String>, mut request: Request, next: Next) -> Response {
    set(request.headers_mut(), "x-mailbox", Some(&user));
    next.run(request).await
}

async fn own(mut request: Request, next: Next) -> Response {
    let caller = text(request.headers(), "x-caller");
    set(request.headers_mut(), "x-mailbox", caller.as_deref());
    next.run(request).await
}

async fn record(
    State(audit): State<UnboundedSender<(String, String, StatusCode)>>,
    request: Request,
    next: Next,
) -> Response {
    let (caller, mailbox) = (text(request.headers(), "x-caller"), text(request.headers(), "x-mailbox"));
    let response = next.run(request).await;
    if let (Some(caller), Some(mailbox)) = (caller, mailbox) {
        let _ = audit.send((caller, mailbox, response.status()));
    }
    response
}

async fn letters(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let (Some(caller), Some(mailbox)) = (text(&headers, "x-caller"), text(&headers, "x-mailbox")) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if !(desk.may_read)(&caller, &mailbox) {
        return StatusCode::FORBIDDEN.into_response();
    }
    ask(desk.store, "/letters", headers).await
}

async fn card(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    ask(desk.store, "/card", headers).await
}

async fn ask(store: Router, path: &str, headers: HeaderMap) -> Response {
    let Ok(mut question) = Request::get(path).body(Body::empty()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *question.headers_mut() = headers;
    store.oneshot(question).await.into_response()
}
