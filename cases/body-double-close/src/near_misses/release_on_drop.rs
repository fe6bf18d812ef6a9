//! Tempting because every body is dropped once, however the upload ends, and ownership then does the rest.
//! A handler that keeps the spent body while it goes on working keeps the slot, too.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::Fuse;
use tokio::sync::mpsc::UnboundedSender;

use crate::shared::{Lease, Slots};

/// Puts `uploads` behind a spool of `slots` slots.
///
/// The handler finds its slot in `x-slot`. The audit gets the slot, the bytes that the handler received, and how the
/// upload ended: `complete`, `failed` or `abandoned`.
pub fn app(slots: usize, uploads: Router, audit: UnboundedSender<(usize, u64, String)>) -> Router {
    let spool = Spool { slots: Slots::new(slots), audit };
    uploads.layer(middleware::from_fn_with_state(spool, hold_slot))
}

#[derive(Clone)]
struct Spool {
    slots: Slots,
    audit: UnboundedSender<(usize, u64, String)>,
}

struct Upload {
    lease: Lease,
    audit: UnboundedSender<(usize, u64, String)>,
}

/// The body that the handler reads, and the only owner of the upload.
struct UploadBody {
    inner: Fuse<Body>,
    upload: Upload,
    outcome: &'static str,
}

async fn hold_slot(State(spool): State<Spool>, request: Request, next: Next) -> Response {
    let Some(lease) = spool.slots.take() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "all slots are taken\n").into_response();
    };
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(lease.slot()));
    let upload = Upload { lease, audit: spool.audit };
    let body = Body::new(UploadBody { inner: Fuse::new(inner), upload, outcome: "abandoned" });
    next.run(Request::from_parts(parts, body)).await
}

impl Upload {
    /// Gives the slot back and writes the audit line.
    fn close(&self, outcome: &str) {
        let received = self.lease.release();
        // Without an audit the spool goes on.
        let _ = self.audit.send((self.lease.slot(), received, outcome.to_owned()));
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.upload.lease.receive(frame.data_ref().map_or(0, Bytes::len) as u64);
            }
            Some(Err(_)) => self.outcome = "failed",
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        if self.outcome == "abandoned" && self.inner.is_end_stream() {
            self.outcome = "complete";
        }
        self.upload.close(self.outcome);
    }
}
