//! The handler reads the whole body before it answers.
//!
//! It tempts because a body that fails can then be a 502, with its line and its id. A long invoice comes late and all at once,
//! the head with it, and trailers are lost.

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
    body::{Body, to_bytes},
    extract::{MatchedPath, Path, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tracing::{Instrument, error, error_span, info};

/// The service in front of the `archive`, which gives an invoice by its number.
///
/// Each answer carries `x-request-id`. What the archive does not have is a 404, and if it fails in any other way the answer is
/// a 502. The proxy in front has verified the link's signature.
pub fn app(archive: BoxCloneSyncService<String, Body, Error>) -> Router {
    Router::new()
        .route("/invoices/{id}", get(invoice))
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
    let body = match archive.oneshot(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(StatusCode::NOT_FOUND),
        answer => answer.map_err(|error| failed(&error))?,
    };
    Ok(to_bytes(body, usize::MAX).await.map_err(|error| failed(&error))?.into())
}

fn failed(error: &(dyn StdError + 'static)) -> StatusCode {
    error!(error, "the archive failed");
    StatusCode::BAD_GATEWAY
}
