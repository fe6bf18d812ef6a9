//! Tempting because the flag and its lock make closing the upload one step, and a reader that is still at work keeps others out.
//! The answer waits for that lock until the client has sent what nobody wants.

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
use http_body_util::{BodyExt, combinators::Fuse};
use tokio::sync::{Mutex, mpsc::UnboundedSender};

use crate::{
    shared::{Lease, Slots},
    sync::Arc,
};

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
    closed: Mutex<bool>,
    rest: crate::sync::Mutex<Option<Fuse<Body>>>,
    audit: UnboundedSender<(usize, u64, String)>,
}

/// The body that the handler reads.
struct UploadBody {
    inner: Fuse<Body>,
    upload: Arc<Upload>,
}

async fn hold_slot(State(spool): State<Spool>, request: Request, next: Next) -> Response {
    let Some(lease) = spool.slots.take() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "all slots are taken\n").into_response();
    };
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(lease.slot()));
    let (closed, rest) = (Mutex::new(false), Default::default());
    let upload = Arc::new(Upload { lease, closed, rest, audit: spool.audit });
    let body = Body::new(UploadBody { inner: Fuse::new(inner), upload: upload.clone() });
    let response = next.run(Request::from_parts(parts, body)).await;
    upload.drain().await;
    response
}

impl Upload {
    /// Gives the slot back and writes the audit line, unless that has been done.
    fn close(&self, outcome: &str) {
        // Whoever holds the lock is closing it.
        let Ok(mut closed) = self.closed.try_lock() else { return };
        if mem::replace(&mut *closed, true) {
            return;
        }
        let received = self.lease.release();
        // Without an audit the spool goes on.
        let _ = self.audit.send((self.lease.slot(), received, outcome.to_owned()));
    }

    /// Reads what the handler left: a client that is still sending does not look at its answer.
    async fn drain(&self) {
        let _closing = self.closed.lock().await;
        let rest = self.rest.lock().unwrap().take();
        if let Some(mut rest) = rest {
            while let Some(Ok(_)) = rest.frame().await {}
        }
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
        *self.upload.rest.lock().unwrap() = Some(mem::replace(&mut self.inner, Fuse::new(Body::empty())));
    }
}
