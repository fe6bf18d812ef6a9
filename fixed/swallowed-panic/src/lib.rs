//! A tenant gateway: access log, CORS and an in-flight gauge round the recovery, the look-up of the tenant and the routes.
//!
//! # Symptom
//! The client sees a 500 without details, the error log has one line, the next request is served.
//!
//! # Trigger
//! 1. A route or the look-up of a tenant panics: an index out of bounds, a wrong `expect`.
//! 2. The client of that request gets a 500; where the head of a 200 is gone already, a broken-off body.
//! 3. The client of the next request gets its answer, whatever panicked before.
//!
//! # Fix
//! The future is caught in place, so it still ends with its client. A panic becomes an ERROR event
//! in the request's span and a 500, inside all layers that must see an answer and outside all that
//! may panic. When a body panics its head is gone, so that panic becomes an error, which resets the
//! stream. The look-up runs before the lock is taken.
//!
//! # Cost
//! One more boxed body for each answer. `AssertUnwindSafe` is a promise that we make: what a panic
//! leaves half done must not matter to the next request.
//!
//! # Start here
//! Read [`app`] from the outermost layer to the innermost, and ask what each layer sees of a panic.

use std::{
    any::Any,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame, SizeHint};
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
        // ANCHOR: lock
        let tenant = (self.tenant)(headers)?;
        let mut served = self.served.lock().expect("counting does not panic");
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

// ANCHOR: fix
/// Keeps a panic from the connection: it becomes an ERROR event and a 500 without details.
async fn recover(request: Request, next: Next) -> Response {
    let span = Span::current();
    // ANCHOR: mark-1-panics
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    // ANCHOR_END: mark-1-panics
    let response = outcome.unwrap_or_else(|payload| {
        log_panic(&span, &*payload);
        // ANCHOR: mark-answer
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
        // ANCHOR_END: mark-answer
    });
    response.map(|inner| Body::new(RecoveredBody { inner, span }))
}

/// A body whose panic is an error, so that no client takes half an answer for a whole one.
struct RecoveredBody {
    inner: Body,
    /// The span of the request, because the connection polls a body outside of it.
    // ANCHOR: mark-2
    span: Span,
    // ANCHOR_END: mark-2
}

impl HttpBody for RecoveredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = || Pin::new(&mut self.inner).poll_frame(cx);
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|payload| {
            log_panic(&self.span, &*payload);
            // ANCHOR: mark-3
            Poll::Ready(Some(Err(axum::Error::new("the body panicked"))))
            // ANCHOR_END: mark-3
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn log_panic(span: &Span, payload: &(dyn Any + Send)) {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    // ANCHOR: mark-error
    error!(parent: span, panic = text, "the request panicked");
    // ANCHOR_END: mark-error
}
// ANCHOR_END: fix

async fn look_up_tenant(State(directory): State<Arc<Directory>>, mut request: Request, next: Next) -> Response {
    let Some(tenant) = directory.find(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.headers_mut().insert("x-tenant", tenant);
    next.run(request).await
}
