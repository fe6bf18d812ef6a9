//! The future of the request is caught, and with it everything that a handler does before it answers.
//! A body is polled later, by the connection, and a panic there takes the connection down unheard.

use std::{
    any::Any,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceBuilder;
use tower_http::cors::{self, CorsLayer};
use tracing::{Instrument, Span, debug, error, info_span};

type Tenant = Arc<dyn Fn(&HeaderMap) -> Option<String> + Send + Sync>;

/// The gateway before `routes`, which are told the tenant in `x-tenant`.
///
/// `tenant` finds the tenant that a request's headers stand for, `in_flight` is the gauge of the
/// requests that wait for an answer. Each answer is an entry of `access_log`: route and status.
pub fn app(
    routes: Router,
    tenant: Tenant,
    in_flight: Arc<AtomicI64>,
    access_log: UnboundedSender<(String, StatusCode)>,
) -> Router {
    let directory = Arc::new(Directory { tenant, served: Mutex::default() });
    routes.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(access_log, log_access))
            .layer(CorsLayer::new().allow_origin(cors::Any))
            .layer(from_fn_with_state(in_flight, count_in_flight))
            .layer(from_fn(recover))
            .layer(from_fn_with_state(directory, look_up_tenant)),
    )
}

/// Who the tenants are, and how many requests each of them is billed for.
struct Directory {
    tenant: Tenant,
    served: Mutex<HashMap<String, u64>>,
}

impl Directory {
    fn find(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let tenant = (self.tenant)(headers)?;
        let mut served = self.served.lock().expect("counting does not panic");
        let requests = served.entry(tenant.clone()).or_default();
        *requests += 1;
        debug!(tenant, requests, "tenant found");
        HeaderValue::try_from(tenant).ok()
    }
}

/// One request in the gauge until it is dropped, so that a client that leaves is not counted for good.
struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn log_access(
    State(log): State<UnboundedSender<(String, StatusCode)>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = route.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("none");
    let span = info_span!("request", id, route);
    let response = next.run(request).instrument(span).await;
    // A gateway whose access log has stopped goes on serving.
    let _ = log.send((route, response.status()));
    response
}

async fn count_in_flight(State(gauge): State<Arc<AtomicI64>>, request: Request, next: Next) -> Response {
    gauge.fetch_add(1, Ordering::Relaxed);
    let _in_flight = InFlight(gauge);
    next.run(request).await
}

/// Keeps a panic from the connection: it becomes an ERROR event and a 500 without details.
async fn recover(request: Request, next: Next) -> Response {
    let span = Span::current();
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    outcome.unwrap_or_else(|payload| {
        log_panic(&span, &*payload);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

fn log_panic(span: &Span, payload: &(dyn Any + Send)) {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    error!(parent: span, panic = text, "the request panicked");
}

async fn look_up_tenant(State(directory): State<Arc<Directory>>, mut request: Request, next: Next) -> Response {
    let Some(tenant) = directory.find(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.headers_mut().insert("x-tenant", tenant);
    next.run(request).await
}
