use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Outcome, record::Record};

pin_project! {
    /// The body of an answer that passed [`Observe`](super::Observe).
    pub struct ObservedBody<B> {
        pub(super) record: Option<Record>,
        #[pin]
        pub(super) inner: B,
    }
}

impl<B: Body> ObservedBody<B> {
    /// A body that says it has ended is not asked again.
    pub(super) fn ends_where_the_inner_does(&mut self) {
        if self.inner.is_end_stream()
            && let Some(record) = self.record.take()
        {
            record.end(Outcome::Complete);
        }
    }
}

/// A body of no request: some layers outside, as tower-http's timeout, make an answer of their own with it.
impl<B: Default> Default for ObservedBody<B> {
    fn default() -> Self {
        Self { record: None, inner: B::default() }
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(record) = this.record else { return this.inner.poll_frame(cx) };
        let frame = ready!(record.run(|| this.inner.as_mut().poll_frame(cx)));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Buf::remaining);
        record.data(data);
        let ended = match &frame {
            Some(Ok(_)) => this.inner.is_end_stream().then_some(Outcome::Complete),
            Some(Err(_)) => Some(Outcome::Failed),
            None => Some(Outcome::Complete),
        };
        if let Some(outcome) = ended
            && let Some(record) = this.record.take()
        {
            match data {
                0 => record.end(outcome),
                _ => record.end_with_last_byte(),
            }
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

impl<B> std::fmt::Debug for ObservedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedBody").finish_non_exhaustive()
    }
}
