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
//! # Fix
//! The error is logged where it is met, with all its causes, before it becomes a status. A span at level ERROR, which no level
//! of a filter takes away, adds the id and the route. The body is wrapped: it holds the span, and logs its error as well.
//!
//! # Cost
//! An outage of hours, most of which went into finding out what had failed.
//!
//! # Start here
//! `invoice`, then `identify`.

use std::{
    error::Error as StdError,
    io::{Error, ErrorKind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Path, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body::{Frame, SizeHint};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tracing::{Instrument, Span, error, error_span, info};

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
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let span = error_span!("request", id, route);
    let response = next.run(request).instrument(span.clone()).await;
    info!(id, status = response.status().as_u16(), "answered");
    let response = response.map(|body| Body::new(Told { body, span }));
    ([("x-request-id", id)], response).into_response()
}
// ANCHOR_END: identify

// ANCHOR: fix
/// The invoice, as the archive gives it.
async fn invoice(
    State(archive): State<BoxCloneSyncService<String, Body, Error>>,
    Path(id): Path<String>,
) -> Result<Body, StatusCode> {
    match archive.oneshot(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StatusCode::NOT_FOUND),
        // ANCHOR: mark-line
        answer => answer.map_err(|error| {
            error!(error = &error as &dyn StdError, "the archive failed");
            StatusCode::BAD_GATEWAY
        }),
        // ANCHOR_END: mark-line
    }
}
// ANCHOR_END: fix

// ANCHOR: body
/// A body that logs its error, in the span of its request.
struct Told {
    body: Body,
    span: Span,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame {
            self.span.in_scope(|| error!(error = error as &dyn StdError, "the archive broke off"));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
// ANCHOR_END: body
