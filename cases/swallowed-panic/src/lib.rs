//! A tenant gateway: access log, CORS and an in-flight gauge round the recovery, the look-up of the tenant and the routes.
//!
//! # Symptom
//! Customers see empty pages with status 200. Dashboards are green, the error log is empty. After
//! some panics *every* page is empty, until somebody restarts the gateway.
//!
//! # Trigger
//! 1. A route or the look-up of a tenant panics: an index out of bounds, a wrong `expect`.
//! 2. The client of that request gets a success with nothing in it.
//! 3. If it was the look-up, so does the client of every later request.
//!
//! # Cause
//! `unwrap_or_default` throws the `JoinError` away and makes up an answer: a default `Response` is
//! an empty 200, so all outer layers see a success. The task does not end with its client, and a
//! body is polled outside of it, by the connection. One panic poisons the `Mutex`, `expect` then
//! panics every time, and `recover` hides that too.
//!
//! # Cost
//! An outage that nothing shows: the access log says 200, the gauge says idle. All there is of a panic
//! is std's message on stderr, which names neither the request nor its route, and no alarm reads it.
//!
//! # Start here
//! Read [`app`] from the outermost layer to the innermost, and ask what each layer sees of a panic.

use std::{
    collections::HashMap,
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
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceBuilder;
use tower_http::cors::{self, CorsLayer};
use tracing::{Instrument, debug, info_span};

#[doc(hidden)]
pub mod near_misses;

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
        // ANCHOR: lock
        let mut served = self.served.lock().expect("counting does not panic");
        let tenant = (self.tenant)(headers)?;
        // ANCHOR_END: lock
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

// ANCHOR: defect
/// Keeps a panic from the connection: only the task that the request runs in ends with it.
async fn recover(request: Request, next: Next) -> Response {
    // ANCHOR: mark-panics
    tokio::spawn(next.run(request)).await.unwrap_or_default()
    // ANCHOR_END: mark-panics
}
// ANCHOR_END: defect

async fn look_up_tenant(State(directory): State<Arc<Directory>>, mut request: Request, next: Next) -> Response {
    let Some(tenant) = directory.find(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.headers_mut().insert("x-tenant", tenant);
    next.run(request).await
}
