//! One middleware does the nine steps, one after another. Nothing stands in an order but its lines.

use std::{
    panic::AssertUnwindSafe,
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
        HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::{
    sync::{Semaphore, mpsc::UnboundedSender},
    time::timeout,
};
use tower::ServiceExt;
use tower_http::cors::{Any, CorsLayer};

const REQUEST_ID: &str = "x-request-id";

/// What the steps need.
struct Desk {
    last_id: AtomicU64,
    identity: Router,
    quota: Arc<Semaphore>,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    audit: UnboundedSender<(String, Vec<u8>)>,
    budget: Duration,
    limit: usize,
}

/// The portal before `routes`.
pub fn app(
    routes: Router,
    identity: Router,
    quota: Arc<Semaphore>,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    audit: UnboundedSender<(String, Vec<u8>)>,
    budget: Duration,
    limit: usize,
) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE]);
    let desk = Desk { last_id: AtomicU64::new(0), identity, quota, access_log, audit, budget, limit };
    routes.layer(from_fn_with_state(Arc::new(desk), receive)).layer(cors)
}

/// Gives a request its id, and answers it in time, whatever happens.
async fn receive(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let id = (desk.last_id.fetch_add(1, Ordering::Relaxed) + 1).to_string();
    let path = request.uri().path().to_owned();
    request.headers_mut().insert(REQUEST_ID, HeaderValue::try_from(&id).expect("digits"));
    let passed = AssertUnwindSafe(let_pass(&desk, &id, request, next)).catch_unwind();
    let answer = match timeout(desk.budget, passed).await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    };
    let _ = desk.access_log.send((id.clone(), path, answer.status()));
    ([(REQUEST_ID, id)], answer).into_response()
}

/// What a request has to pass, in this order.
async fn let_pass(desk: &Desk, id: &str, request: Request, next: Next) -> Result<Response, StatusCode> {
    desk.quota.try_acquire().map_err(|_| StatusCode::TOO_MANY_REQUESTS)?.forget();

    let credentials = request.headers().get(AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
    let question = Request::post("/verify").header(AUTHORIZATION, credentials).header(REQUEST_ID, id);
    let question = question.body(Body::empty()).map_err(|_| StatusCode::UNAUTHORIZED)?;
    if desk.identity.clone().oneshot(question).await.into_response().status() != StatusCode::OK {
        return Err(StatusCode::UNAUTHORIZED);
    }

    let (parts, body) = request.into_parts();
    let body = to_bytes(body, desk.limit).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let _ = desk.audit.send((id.to_owned(), body.to_vec()));
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}
