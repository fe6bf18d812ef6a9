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
//! # Cause
//! A body closes more than once: at the end of its stream, when it is dropped, when the request is dropped. Each
//! time gives the slot back, and the second time it is somebody else's. What the handler left unread is then read to
//! its end under the lock at which every new upload asks for a slot.
//!
//! # Cost
//! Files mixed up between customers, more uploads than slots, and one slow client that holds up all the others.
//!
//! # Start here
//! Follow one upload through `Upload::close`: who calls it, and how often?

use std::{
    mem,
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
use http_body_util::BodyExt;
use tokio::sync::mpsc::UnboundedSender;

use self::{
    shared::{Lease, Slots},
    sync::Arc,
};

mod shared;
mod sync {
    pub(crate) use std::sync::*;
}
#[doc(hidden)]
pub mod near_misses;

/// Puts `uploads` behind a spool of `slots` slots.
///
/// The handler finds its slot in `x-slot`. The audit gets the slot, the bytes that the handler received, and how the
/// upload ended: `complete`, `failed` or `abandoned`.
pub fn app(slots: usize, uploads: Router, audit: UnboundedSender<(usize, u64, String)>) -> Router {
    let spool = Spool { slots: Slots::new(slots), intake: Arc::default(), audit };
    uploads.layer(middleware::from_fn_with_state(spool, hold_slot))
}

#[derive(Clone)]
struct Spool {
    slots: Slots,
    intake: Arc<tokio::sync::Mutex<()>>,
    audit: UnboundedSender<(usize, u64, String)>,
}

struct Upload {
    lease: Lease,
    rest: sync::Mutex<Option<Body>>,
    audit: UnboundedSender<(usize, u64, String)>,
}

/// The body that the handler reads.
struct UploadBody {
    inner: Body,
    upload: Arc<Upload>,
}

/// Closes the upload if the request is dropped unanswered: then its client has gone, whoever still holds the body.
struct Unanswered(Option<Arc<Upload>>);

async fn hold_slot(State(spool): State<Spool>, request: Request, next: Next) -> Response {
    // An upload waits here while the intake is shut.
    drop(spool.intake.lock().await);
    let Some(lease) = spool.slots.take() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "all slots are taken\n").into_response();
    };
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(lease.slot()));
    let upload = Arc::new(Upload { lease, rest: Default::default(), audit: spool.audit });
    let mut unanswered = Unanswered(Some(upload.clone()));
    let body = Body::new(UploadBody { inner, upload: upload.clone() });
    let response = next.run(Request::from_parts(parts, body)).await;
    unanswered.0 = None;
    upload.drain(&spool.intake).await;
    response
}

impl Upload {
    /// Gives the slot back and writes the audit line.
    fn close(&self, outcome: &str) {
        let received = self.lease.release();
        // Without an audit the spool goes on.
        let _ = self.audit.send((self.lease.slot(), received, outcome.to_owned()));
    }

    // ANCHOR: drain
    /// Reads what the handler left: a client that is still sending does not look at its answer.
    async fn drain(&self, intake: &tokio::sync::Mutex<()>) {
        // The intake is shut meanwhile: new uploads would only slow down what is left of this one.
        let _shut = intake.lock().await;
        let rest = self.rest.lock().unwrap().take();
        if let Some(mut rest) = rest {
            while let Some(Ok(_)) = rest.frame().await {}
        }
    }
    // ANCHOR_END: drain
}

// ANCHOR: closes
impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.upload.lease.receive(frame.data_ref().map_or(0, Bytes::len) as u64);
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
        *self.upload.rest.lock().unwrap() = Some(mem::take(&mut self.inner));
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
