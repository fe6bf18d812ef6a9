//! Tempting because the release in `Drop` is the second one, and without it there is only one left.
//! An upload that does not come to its end, because its handler or its client has gone, keeps its slot for good.

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
use http_body::{Frame, SizeHint};
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
    upload: Option<Upload>,
}

async fn hold_slot(State(spool): State<Spool>, request: Request, next: Next) -> Response {
    let Some(lease) = spool.slots.take() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "all slots are taken\n").into_response();
    };
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(lease.slot()));
    let upload = Some(Upload { lease, audit: spool.audit });
    let body = Body::new(UploadBody { inner: Fuse::new(inner), upload });
    next.run(Request::from_parts(parts, body)).await
}

impl Upload {
    /// Gives the slot back and writes the audit line, for the last time.
    fn close(self, outcome: &str) {
        let received = self.lease.release();
        // Without an audit the spool goes on.
        let _ = self.audit.send((self.lease.slot(), received, outcome.to_owned()));
    }
}

impl UploadBody {
    fn close(&mut self, outcome: &str) {
        if let Some(upload) = self.upload.take() {
            upload.close(outcome);
        }
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(upload) = &this.upload {
                    upload.lease.receive(frame.data_ref().map_or(0, Bytes::len) as u64);
                }
                // A reader that knows the length does not ask for the end.
                if this.inner.is_end_stream() {
                    this.close("complete");
                }
            }
            Some(Err(_)) => this.close("failed"),
            None => this.close("complete"),
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
