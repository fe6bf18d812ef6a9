//! An invoice archive behind signed links: `GET /invoices/{id}?signature=…` gives out an invoice.
//!
//! # Symptom
//! Invoices have failed for hours: 502 for some, half a page for others. The error log is empty. At info there is a line for
//! each 502, and it says 502.
//!
//! # Trigger
//! 1. A reader follows a link to an invoice.
//! 2. The archive cannot read it, and says why in an error with two causes; or it breaks off in the middle of the body.
//! 3. The error becomes a status, or the end of a connection.
//!
//! # Cause
//! `map_err(|_| …)` turns the archive's error into a status and drops all that it said. What is logged later, by a layer that
//! sees only the answer, is that status, at info and without the causes. A body that fails does so after the answer has passed
//! every layer: neither axum nor hyper tells of it.
//!
//! # Cost
//! An outage of hours, most of which went into finding out what had failed.
//!
//! # Start here
//! `invoice`, then `identify`.

use std::{
    io::{Error, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tracing::info;

#[doc(hidden)]
pub mod near_misses;

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

// ANCHOR: identify
/// Gives each request an id, and logs how it was answered.
async fn identify(State(last_id): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    let id = format!("req-{}", last_id.fetch_add(1, Ordering::Relaxed) + 1);
    let response = next.run(request).await;
    info!(id, status = response.status().as_u16(), "answered");
    ([("x-request-id", id)], response).into_response()
}
// ANCHOR_END: identify

// ANCHOR: defect
/// The invoice, as the archive gives it.
async fn invoice(
    State(archive): State<BoxCloneSyncService<String, Body, Error>>,
    Path(id): Path<String>,
) -> Result<Body, StatusCode> {
    match archive.oneshot(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StatusCode::NOT_FOUND),
        #[expect(clippy::map_err_ignore, reason = "what the error says is lost here")]
        // ANCHOR: mark-fails
        answer => answer.map_err(|_| StatusCode::BAD_GATEWAY),
        // ANCHOR_END: mark-fails
    }
}
// ANCHOR_END: defect
