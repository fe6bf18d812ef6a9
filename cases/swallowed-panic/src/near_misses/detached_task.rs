//! A task contains a panic without any catching of your own, and its `JoinError` can be logged.
//! A task is not dropped with the future that waits for it, so the handler goes on when its client has left.

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

/// Keeps a panic from the connection, in a task of its own: it becomes an ERROR event and a 500 without details.
async fn recover(request: Request, next: Next) -> Response {
    let span = Span::current();
    let task = tokio::spawn(next.run(request).instrument(span.clone()));
    let response = task.await.unwrap_or_else(|error| {
        log_panic(&span, &*error.into_panic());
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    response.map(|inner| Body::new(RecoveredBody { inner, span }))
}

/// A body whose panic is an error, so that no client takes half an answer for a whole one.
struct RecoveredBody {
    inner: Body,
    /// The span of the request, because the connection polls a body outside of it.
    span: Span,
}

impl HttpBody for RecoveredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = || Pin::new(&mut self.inner).poll_frame(cx);
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|payload| {
            log_panic(&self.span, &*payload);
            Poll::Ready(Some(Err(axum::Error::new("the body panicked"))))
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
    error!(parent: span, panic = text, "the request panicked");
}

async fn look_up_tenant(State(directory): State<Arc<Directory>>, mut request: Request, next: Next) -> Response {
    let Some(tenant) = directory.find(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.headers_mut().insert("x-tenant", tenant);
    next.run(request).await
}
