use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::service::Open;

pin_project! {
    /// The body of an answer that passed [`Timed`](super::Timed).
    pub struct TimedBody<B> {
        // Dropped first, as in the future.
        #[pin]
        inner: B,
        open: Option<Open>,
        begun: bool,
    }
}

impl<B: Body> TimedBody<B> {
    pub(super) fn new(inner: B, open: Option<Open>) -> Self {
        // A body that says it has ended is not asked again.
        let open = open.filter(|_| !inner.is_end_stream());
        Self { inner, open, begun: false }
    }
}

/// A body of no request: some layers outside, as tower-http's timeout, make an answer of their own with it.
impl<B: Default> Default for TimedBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), open: None, begun: false }
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let ended = !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream();
        if !*this.begun && data.is_some_and(Buf::has_remaining) {
            *this.begun = true;
            if let Some(open) = this.open {
                open.first(ended);
            }
        }
        if ended {
            *this.open = None;
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

impl<B> std::fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimedBody").finish_non_exhaustive()
    }
}
