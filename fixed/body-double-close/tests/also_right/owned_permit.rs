//! Uploads wait for a slot instead of being refused: an owned permit and a number from a free list, in an `Option` that the
//! body takes once.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::HeaderValue,
    middleware::{self, Next},
    response::Response,
};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::Fuse;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender};

/// What a live upload holds; it is taken once.
struct Held {
    slot: usize,
    received: u64,
    _permit: OwnedSemaphorePermit,
}

/// Puts `uploads` behind a spool of `slots` slots.
///
/// The handler finds its slot in `x-slot`. The audit gets the slot, the bytes that the handler received, and how the
/// upload ended: `complete`, `failed` or `abandoned`.
pub fn app(slots: usize, uploads: Router, audit: UnboundedSender<(usize, u64, String)>) -> Router {
    let free = Arc::new(Mutex::new((0..slots).rev().collect()));
    let spool = Spool { permits: Arc::new(Semaphore::new(slots)), free, audit };
    uploads.layer(middleware::from_fn_with_state(spool, hold_slot))
}

#[derive(Clone)]
struct Spool {
    permits: Arc<Semaphore>,
    free: Arc<Mutex<Vec<usize>>>,
    audit: UnboundedSender<(usize, u64, String)>,
}

/// The body that the handler reads.
struct UploadBody {
    inner: Fuse<Body>,
    held: Option<Held>,
    spool: Spool,
}

async fn hold_slot(State(spool): State<Spool>, request: Request, next: Next) -> Response {
    let permit = spool.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    let slot = spool.free.lock().unwrap().pop().expect("there is a slot for each permit");
    let (mut parts, inner) = request.into_parts();
    parts.headers.insert("x-slot", HeaderValue::from(slot));
    let held = Some(Held { slot, received: 0, _permit: permit });
    next.run(Request::from_parts(parts, Body::new(UploadBody { inner: Fuse::new(inner), held, spool }))).await
}

impl UploadBody {
    /// Gives the slot back and writes the audit line, unless that has been done.
    fn close(&mut self, outcome: &str) {
        let Some(held) = self.held.take() else { return };
        self.spool.free.lock().unwrap().push(held.slot);
        // Without an audit the spool goes on.
        let _ = self.spool.audit.send((held.slot, held.received, outcome.to_owned()));
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(held) = &mut self.held {
                    held.received += frame.data_ref().map_or(0, Bytes::len) as u64;
                }
                // A reader that knows the length does not ask for the end.
                if self.inner.is_end_stream() {
                    self.close("complete");
                }
            }
            Some(Err(_)) => self.close("failed"),
            None => self.close("complete"),
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
        let outcome = if self.inner.is_end_stream() { "complete" } else { "abandoned" };
        self.close(outcome);
    }
}
