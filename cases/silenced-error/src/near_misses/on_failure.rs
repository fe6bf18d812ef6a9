//! `TraceLayer`'s `on_failure` is to tell of bodies that fail.
//!
//! It tempts because its docs name failures of the body. With the usual classifier an answer is a success once its head is; what
//! becomes of the body is nobody's failure, and the closure is never called.

use std::{
    error::Error as StdError,
    io::{Error, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
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
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_http::{classify::ServerErrorsFailureClass, trace::TraceLayer};
use tracing::{Instrument, Span, error, error_span, info};

/// The service in front of the `archive`, which gives an invoice by its number.
///
/// Each answer carries `x-request-id`. What the archive does not have is a 404, and if it fails in any other way the answer is
/// a 502. The proxy in front has verified the link's signature.
pub fn app(archive: BoxCloneSyncService<String, Body, Error>) -> Router {
    Router::new()
        .route("/invoices/{id}", get(invoice))
        .layer(TraceLayer::new_for_http().on_failure(|class: ServerErrorsFailureClass, _: Duration, _: &Span| {
            if let ServerErrorsFailureClass::Error(error) = class {
                error!(error, "the archive broke off");
            }
        }))
        .layer(from_fn_with_state(Arc::new(AtomicU64::new(0)), identify))
        .with_state(archive)
}

/// Gives each request an id, and logs how it was answered.
async fn identify(State(last_id): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    let id = format!("req-{}", last_id.fetch_add(1, Ordering::Relaxed) + 1);
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let span = error_span!("request", id, route);
    let response = next.run(request).instrument(span).await;
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
        answer => answer.map_err(|error| {
            error!(error = &error as &dyn StdError, "the archive failed");
            StatusCode::BAD_GATEWAY
        }),
    }
}
