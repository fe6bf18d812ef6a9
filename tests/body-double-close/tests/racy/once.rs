//! Whoever comes first closes the upload inside a `std::sync::Once`, which makes the others wait until it is done. But a frame
//! is counted after a look whether the upload is closed: it may be closed in between, and the audit does not count what the
//! handler then receives.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
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
use lab::lingering::linger;
use tokio::sync::mpsc::UnboundedSender;

type Slots = Arc<Mutex<Vec<usize>>>;

/// Puts `uploads` behind a spool of `slots` slots.
///
/// The handler finds its slot in `x-slot`. The audit gets the slot, the bytes that the handler received, and how the
/// upload ended: `complete`, `failed` or `abandoned`.
pub fn app(slots: usize, uploads: Router, audit: UnboundedSender<(usize, u64, String)>) -> Router {
    let spool = Spool { slots: Arc::new(Mutex::new((0..slots).rev().collect())), audit };
    uploads.layer(middleware::from_fn_with_state(spool, hold_slot))
}

#[derive(Clone)]
struct Spool {
    slots: Slots,
    audit: UnboundedSender<(usize, u64, String)>,
}

struct Upload {
    slots: Slots,
    slot: usize,
    received: AtomicU64,
    closed: Once,
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
    let Some(slot) = spool.slots.lock().unwrap().pop() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "all slots are taken\n").into_response();
    };
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(slot));
    let upload = Arc::new(Upload {
        slots: spool.slots,
        slot,
        received: AtomicU64::new(0),
        closed: Once::new(),
        audit: spool.audit,
    });
    let mut unanswered = Unanswered(Some(upload.clone()));
    let body = Body::new(UploadBody { inner: Fuse::new(inner), upload });
    let response = next.run(Request::from_parts(parts, body)).await;
    unanswered.0 = None;
    response
}

impl Upload {
    /// Gives the slot back and writes the audit line, unless that has been done.
    fn close(&self, outcome: &str) {
        self.closed.call_once(|| {
            self.slots.lock().unwrap().push(self.slot);
            // Without an audit the spool goes on.
            let _ = self.audit.send((self.slot, self.received.load(SeqCst), outcome.to_owned()));
        });
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if self.upload.closed.is_completed() {
                    return Poll::Ready(Some(Err(axum::Error::new("the client has gone"))));
                }
                linger();
                self.upload.received.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, SeqCst);
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
