//! `TraceLayer` makes the span, at level ERROR so that it is there.
//!
//! It tempts because it is one line, and method and URI are in each event. The URI has the link's signature, with which whoever
//! reads the log may read the invoice; the id and the route are not there.

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
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body::{Frame, SizeHint};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::{Level, Span, error, info};

/// The service in front of the `archive`, which gives an invoice by its number.
///
/// Each answer carries `x-request-id`. What the archive does not have is a 404, and if it fails in any other way the answer is
/// a 502. The proxy in front has verified the link's signature.
pub fn app(archive: BoxCloneSyncService<String, Body, Error>) -> Router {
    Router::new()
        .route("/invoices/{id}", get(invoice))
        .layer(TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().level(Level::ERROR)))
        .layer(from_fn_with_state(Arc::new(AtomicU64::new(0)), identify))
        .with_state(archive)
}

/// Gives each request an id, and logs how it was answered.
async fn identify(State(last_id): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    let id = format!("req-{}", last_id.fetch_add(1, Ordering::Relaxed) + 1);
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
        answer => answer.map(|body| Body::new(Told { body, span: Span::current() })).map_err(|error| {
            error!(error = &error as &dyn StdError, "the archive failed");
            StatusCode::BAD_GATEWAY
        }),
    }
}

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
