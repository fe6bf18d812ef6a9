//! An upload spool: each upload holds one of N numbered slots while its body is read, and leaves one line in the audit.
//!
//! # Symptom
//! Now and then two uploads write to the same slot, and the audit has more lines than there were uploads. Under load all
//! are slow together: the 95th percentile goes from 80 ms to more than a second, most of it spent waiting for a lock.
//!
//! # Trigger
//! 1. Ada sends a chunked upload; the handler reads it to its end and goes on working, holding the spent body.
//! 2. Ben's upload begins in the slot that Ada's has given back.
//! 3. Ada's body is dropped. Cem's upload begins, and is told Ben's slot.
//! 4. A handler refuses Dora's upload at its first bytes. Until she has sent the rest, nobody else gets in.
//!
//! # Fix
//! The end of the stream, the drop of the body and the drop of the request still all close the upload, and the first
//! of them takes the lease out of its cell: the others find nothing to give back. A body that has ended stays ended.
//! Nobody reads what the handler left; hyper knows what to do with it, and makes nobody wait.
//!
//! # Cost
//! One lock without contention for each frame. A client on HTTP/1.1 whose upload was refused halfway loses its connection.
//!
//! # Start here
//! Follow one upload through `Upload::close`: who calls it, and how often?

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

use self::{
    shared::{Lease, Slots},
    sync::Arc,
};

mod shared;
mod sync {
    pub(crate) use std::sync::*;
}

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

/// The body that the handler reads.
struct UploadBody {
    inner: Fuse<Body>,
    upload: Arc<Upload>,
}

/// Closes the upload if the request is dropped unanswered: then its client has gone, whoever still holds the body.
struct Unanswered(Option<Arc<Upload>>);

async fn hold_slot(State(spool): State<Spool>, request: Request, next: Next) -> Response {
    let Some(lease) = spool.slots.take() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "all slots are taken\n").into_response();
    };
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(lease.slot()));
    let upload = Arc::new(Upload { lease, audit: spool.audit });
    let mut unanswered = Unanswered(Some(upload.clone()));
    let body = Body::new(UploadBody { inner: Fuse::new(inner), upload });
    let response = next.run(Request::from_parts(parts, body)).await;
    unanswered.0 = None;
    response
}

impl Upload {
    /// Gives the slot back and writes the audit line, unless that has been done.
    fn close(&self, outcome: &str) {
        let Some(received) = self.lease.release() else { return };
        // Without an audit the spool goes on.
        let _ = self.audit.send((self.lease.slot(), received, outcome.to_owned()));
    }
}

// ANCHOR: closes
impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if !self.upload.lease.receive(frame.data_ref().map_or(0, Bytes::len) as u64) {
                    return Poll::Ready(Some(Err(axum::Error::new("the client has gone"))));
                }
                // A reader that knows the length does not ask for the end.
                if self.inner.is_end_stream() {
                    self.upload.close("complete");
                }
            }
            Some(Err(_)) => self.upload.close("failed"),
            None => self.upload.close("complete"),
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
        self.upload.close(if self.inner.is_end_stream() { "complete" } else { "abandoned" });
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(upload) = &self.0 {
            upload.close("abandoned");
        }
    }
}
// ANCHOR_END: closes
