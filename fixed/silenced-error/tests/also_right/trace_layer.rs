//! `TraceLayer` with a span of our own; call and body are logged inside it, for it polls both there.

use std::{
    error::Error as StdError,
    io::{Error, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Path, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body_util::BodyExt;
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_http::trace::TraceLayer;
use tracing::{error, error_span, info};

/// The service in front of the `archive`, which gives an invoice by its number.
///
/// Each answer carries `x-request-id`. What the archive does not have is a 404, and if it fails in any other way the answer is
/// a 502. The proxy in front has verified the link's signature.
pub fn app(archive: BoxCloneSyncService<String, Body, Error>) -> Router {
    Router::new()
        .route("/invoices/{id}", get(invoice))
        .layer(TraceLayer::new_for_http().make_span_with(|request: &Request| {
            let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
            let id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.as_str());
            error_span!("request", id, route)
        }))
        .layer(from_fn_with_state(Arc::new(AtomicU64::new(0)), identify))
        .with_state(archive)
}

/// Gives each request an id, and logs how it was answered.
async fn identify(State(last_id): State<Arc<AtomicU64>>, mut request: Request, next: Next) -> Response {
    let id = format!("req-{}", last_id.fetch_add(1, Ordering::Relaxed) + 1);
    request.extensions_mut().insert(RequestId(id.clone()));
    let response = next.run(request).await;
    info!(id, status = response.status().as_u16(), "answered");
    ([("x-request-id", id)], response).into_response()
}

/// The invoice, as the archive gives it.
async fn invoice(
    State(archive): State<BoxCloneSyncService<String, Body, Error>>,
    Path(id): Path<String>,
) -> Result<Body, StatusCode> {
    match archive.oneshot(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StatusCode::NOT_FOUND),
        answer => answer.map(told).map_err(|error| {
            error!(error = &error as &dyn StdError, "the archive failed");
            StatusCode::BAD_GATEWAY
        }),
    }
}

/// The id of a request.
#[derive(Clone)]
struct RequestId(String);

/// The body, which logs its error.
fn told(body: Body) -> Body {
    Body::new(body.map_err(|error| {
        error!(error = &error as &dyn StdError, "the archive broke off");
        error
    }))
}
