//! It tempts: everybody says that a `ServiceBuilder` is read from the top, so the same nine lines go into one.
//!
//! It breaks: each layer is now on the other side of all others. What was wrong is right, and what was right by accident is
//! wrong: recovery stands outside the access log, and quota and deadline outside CORS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use tokio::sync::{Semaphore, mpsc::UnboundedSender};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any, CorsLayer},
    timeout::TimeoutLayer,
};

const REQUEST_ID: &str = "x-request-id";

/// The portal before `routes`. `identity` says with a 200 who may come in.
///
/// A request that the `quota` admits takes one permit for good. A body has at most `limit` bytes, and an answer comes within
/// `budget`. Each answer is an entry of `access_log`, and each body that's let through one of `audit`.
pub fn app(
    routes: Router,
    identity: Router,
    quota: Arc<Semaphore>,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    audit: UnboundedSender<(String, Vec<u8>)>,
    budget: Duration,
    limit: usize,
) -> Router {
    // The app in the browser is served from elsewhere.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE]);
    routes.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(Arc::<AtomicU64>::default(), identify))
            .layer(CatchPanicLayer::new())
            .layer(from_fn_with_state(access_log, log_access))
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, budget))
            .layer(from_fn_with_state(quota, admit))
            .layer(cors)
            .layer(from_fn_with_state(identity, authenticate))
            .layer(from_fn_with_state(limit, bound))
            .layer(from_fn_with_state(audit, record)),
    )
}

/// Gives each request an id, and its answer the same.
async fn identify(State(last_id): State<Arc<AtomicU64>>, mut request: Request, next: Next) -> Response {
    let id = HeaderValue::from(last_id.fetch_add(1, Ordering::Relaxed) + 1);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Logs how each request was answered.
async fn log_access(
    State(log): State<UnboundedSender<(String, String, StatusCode)>>,
    request: Request,
    next: Next,
) -> Response {
    let (id, path) = (id_of(request.headers()), request.uri().path().to_owned());
    let response = next.run(request).await;
    // A portal whose log has stopped goes on serving.
    let _ = log.send((id, path, response.status()));
    response
}

/// Admits as many requests as the quota has permits.
async fn admit(State(quota): State<Arc<Semaphore>>, request: Request, next: Next) -> Result<Response, StatusCode> {
    quota.try_acquire().map_err(|_| StatusCode::TOO_MANY_REQUESTS)?.forget();
    Ok(next.run(request).await)
}

/// Asks the identity service who this is: the expensive part.
async fn authenticate(State(identity): State<Router>, request: Request, next: Next) -> Result<Response, StatusCode> {
    let credentials = request.headers().get(AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
    let question = Request::post("/verify")
        .header(AUTHORIZATION, credentials)
        .header(REQUEST_ID, id_of(request.headers()))
        .body(Body::empty())
        .map_err(|_| StatusCode::UNAUTHORIZED)?;
    match identity.oneshot(question).await {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(next.run(request).await),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

/// Lets through no body above the limit.
async fn bound(State(limit): State<usize>, request: Request, next: Next) -> Result<Response, StatusCode> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, limit).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

/// Puts what a request brings into the audit trail.
async fn record(
    State(audit): State<UnboundedSender<(String, Vec<u8>)>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let _ = audit.send((id_of(&parts.headers), body.to_vec()));
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

/// The id of a request, if it has one by now.
fn id_of(headers: &HeaderMap) -> String {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}
