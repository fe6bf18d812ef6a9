//! The failure is logged as it should be, at WARN.
//!
//! It tempts because the service goes on, and the other requests are well. Where the log's level is ERROR there is no line, and
//! an alert on errors has nothing to count.

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
use tracing::{Instrument, Span, error_span, info, warn};

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
    let response = next.run(request).instrument(span.clone()).await;
    info!(id, status = response.status().as_u16(), "answered");
    let response = response.map(|body| Body::new(Told { body, span }));
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
            warn!(error = &error as &dyn StdError, "the archive failed");
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
            self.span.in_scope(|| warn!(error = error as &dyn StdError, "the archive broke off"));
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
