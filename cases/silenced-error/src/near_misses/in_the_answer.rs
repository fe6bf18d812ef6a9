//! The error type logs itself when it becomes an answer, and there is no span.
//!
//! It tempts because no error can become an answer without its line. The line knows the error and not the request: neither
//! route nor id.

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
use tracing::{error, info};

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
    let response = next.run(request).await;
    info!(id, status = response.status().as_u16(), "answered");
    let response = response.map(|body| Body::new(Told { body }));
    ([("x-request-id", id)], response).into_response()
}

/// The invoice, as the archive gives it.
async fn invoice(
    State(archive): State<BoxCloneSyncService<String, Body, Error>>,
    Path(id): Path<String>,
) -> Result<Body, Refused> {
    match archive.oneshot(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Refused(StatusCode::NOT_FOUND, None)),
        answer => answer.map_err(|error| Refused(StatusCode::BAD_GATEWAY, Some(error))),
    }
}

/// A status, and the error behind it.
struct Refused(StatusCode, Option<Error>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if let Some(error) = &self.1 {
            error!(error = error as &dyn StdError, "the archive failed");
        }
        self.0.into_response()
    }
}

/// A body that logs its error.
struct Told {
    body: Body,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame {
            error!(error = error as &dyn StdError, "the archive broke off");
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
