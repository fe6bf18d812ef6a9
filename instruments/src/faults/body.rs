use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::rules::Then;

pin_project! {
    /// The body of an answer that passed [`Faults`](super::Faults).
    pub struct FaultyBody<B> {
        #[pin]
        inner: Option<B>,
        then: Then,
        given: u64,
        ended: bool,
    }
}

/// The error of a [`FaultyBody`].
#[derive(Debug)]
pub enum Broken<E> {
    /// The rule file has asked for it.
    OnPurpose,
    /// The error of the inner body.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for Broken<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnPurpose => f.write_str("the fault layer breaks this answer"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Broken<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OnPurpose => None,
            // What is shown is the inner error itself.
            Self::Inner(error) => error.source(),
        }
    }
}

impl<B> FaultyBody<B> {
    pub(super) fn new(inner: B, then: Then) -> Self {
        Self { inner: Some(inner), then, given: 0, ended: false }
    }

    pub(super) fn empty() -> Self {
        Self { inner: None, then: Then::Nothing, given: 0, ended: true }
    }
}

/// A body of no request: some layers outside make an answer of their own with it.
impl<B: Default> Default for FaultyBody<B> {
    fn default() -> Self {
        Self::new(B::default(), Then::Nothing)
    }
}

impl<B: Body<Data = Bytes>> Body for FaultyBody<B> {
    type Data = Bytes;
    type Error = Broken<B::Error>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let limit = match *this.then {
            Then::Reset => 0,
            Then::StallAfter(bytes) | Then::CutAfter(bytes) => bytes,
            _ => u64::MAX,
        };
        if *this.ended {
            return Poll::Ready(None);
        }
        if *this.given >= limit {
            if matches!(this.then, Then::StallAfter(_)) {
                // Nothing wakes it: whoever waits has to have a limit of their own.
                return Poll::Pending;
            }
            *this.ended = true;
            return Poll::Ready(Some(Err(Broken::OnPurpose)));
        }
        let frame = match ready!(inner.poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(Broken::Inner(error)))),
            Some(Ok(frame)) => frame,
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(mut data) => {
                let left = usize::try_from(limit - *this.given).unwrap_or(usize::MAX);
                data.truncate(left);
                *this.given += data.len() as u64;
                Frame::data(data)
            }
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            None => true,
            // A body that is to break has not ended before it has.
            Some(inner) => self.ended || (self.passes() && inner.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            None => SizeHint::with_exact(0),
            Some(inner) if self.passes() => inner.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

impl<B> FaultyBody<B> {
    fn passes(&self) -> bool {
        matches!(self.then, Then::Nothing)
    }
}

impl<B> fmt::Debug for FaultyBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBody").field("then", &self.then).finish_non_exhaustive()
    }
}
