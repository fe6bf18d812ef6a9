//! CORS, the id, the limit, the deadline and the recovery are tower-http's layers. Only the register is written by hand, and stands outside them all.

use std::{mem, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any, CorsLayer},
    limit::RequestBodyLimitLayer,
    request_id::PropagateRequestIdLayer,
    timeout::TimeoutLayer,
};

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
    let id = HeaderName::from_static("x-request-id");
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers([AUTHORIZATION, id.clone()]);
    let stack = ServiceBuilder::new()
        .layer(from_fn_with_state(register, attend))
        .layer(PropagateRequestIdLayer::new(id))
        .layer(cors)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, budget))
        .layer(from_fn(authenticate))
        .layer(RequestBodyLimitLayer::new(limit))
        .layer(CatchPanicLayer::new())
        .layer(DefaultBodyLimit::disable());
    records.nest("/partners", partners).layer(stack)
}

/// A visit, from `opened` to its end.
struct Visit {
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
    id: String,
    status: Option<StatusCode>,
}

impl Visit {
    fn open(register: &UnboundedSender<(String, String, Option<StatusCode>)>, id: &HeaderValue) -> Self {
        let id = String::from_utf8_lossy(id.as_bytes()).into_owned();
        // Readers are let in even if nobody keeps the register.
        let _ = register.send((id.clone(), "opened".to_owned(), None));
        Self { register: register.clone(), id, status: None }
    }

    fn close(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let what = if self.status.is_some() { "closed" } else { "abandoned" };
        let _ = self.register.send((mem::take(&mut self.id), what.to_owned(), self.status));
    }
}

/// Registers a visit, and how it ended.
async fn attend(
    State(register): State<UnboundedSender<(String, String, Option<StatusCode>)>>,
    request: Request,
    next: Next,
) -> Response {
    let id = request.headers().get("x-request-id").cloned().unwrap_or(HeaderValue::from_static("unknown"));
    let visit = Visit::open(&register, &id);
    let response = next.run(request).await;
    visit.close(response.status());
    response
}

/// Whoever has no credentials gets no further.
async fn authenticate(request: Request, next: Next) -> Result<Response, StatusCode> {
    let bearer = |value: &HeaderValue| value.as_bytes().starts_with(b"Bearer ");
    if !request.headers().get(AUTHORIZATION).is_some_and(bearer) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(next.run(request).await)
}
