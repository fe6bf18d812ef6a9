//! Bodies that the suite supplies, and what it sees of those that come.

use std::{
    collections::VecDeque,
    error::Error,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use lab::{Scene, SourceError};
use tower::BoxError;

/// The body without its type. What it says of itself stays as it is.
pub(crate) fn plain<B>(body: B) -> Body
where
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    Body::new(Plain(Box::pin(body)))
}

struct Plain<B>(Pin<Box<B>>);

impl<B: http_body::Body<Error: Into<BoxError>>> http_body::Body for Plain<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.0.as_mut().poll_frame(cx)).map(|frame| {
            let frame = frame.map_err(Into::into)?;
            Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

// ===== Supplied =====

/// What became of a [`Script`].
#[derive(Debug, Default)]
pub(crate) struct Fate {
    polls: AtomicUsize,
    polls_after_end: AtomicUsize,
    taken: AtomicUsize,
}

impl Fate {
    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    pub(crate) fn polls_after_end(&self) -> usize {
        self.polls_after_end.load(Ordering::SeqCst)
    }

    /// How many bytes were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// A body all of whose frames are there when it is asked for them.
pub(crate) struct Script {
    frames: VecDeque<Result<Frame<Bytes>, SourceError>>,
    /// Whether it says how long it is, and that it is at its end.
    exact: bool,
    /// What comes when the frames are out: the end, or nothing for ever.
    ends: bool,
    ended: bool,
    fate: Arc<Fate>,
    on_poll: Box<dyn FnMut() + Send>,
}

impl Script {
    /// Of unknown length.
    pub(crate) fn new(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let frames = frames.into_iter().map(Ok).collect();
        Self { frames, exact: false, ends: true, ended: false, fate: Arc::default(), on_poll: Box::new(|| {}) }
    }

    /// Says how long it is.
    pub(crate) fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Noise, and no end: after 256 KiB it is silent, so that whoever takes all of it comes to a stop.
    pub(crate) fn endless() -> Self {
        static NOISE: LazyLock<Bytes> = LazyLock::new(|| Noise::default().next(256 * 1024));
        let frame = |at: usize| Frame::data(NOISE.slice(at * 1024..(at + 1) * 1024));
        Self { ends: false, ..Self::new((0..256).map(frame)) }
    }

    /// Fails after the frames.
    pub(crate) fn failing(mut self, error: &str) -> Self {
        self.frames.push_back(Err(SourceError(error.to_owned())));
        self
    }

    pub(crate) fn on_poll(mut self, seen: impl FnMut() + Send + 'static) -> Self {
        self.on_poll = Box::new(seen);
        self
    }

    pub(crate) fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }

    pub(crate) fn body(self) -> Body {
        Body::new(self)
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        self.fate.polls.fetch_add(1, Ordering::SeqCst);
        (self.on_poll)();
        if self.ended {
            self.fate.polls_after_end.fetch_add(1, Ordering::SeqCst);
            return Poll::Ready(None);
        }
        let Some(frame) = self.frames.pop_front() else {
            if !self.ends {
                return Poll::Pending;
            }
            self.ended = true;
            return Poll::Ready(None);
        };
        match &frame {
            Ok(frame) => {
                let taken = frame.data_ref().map_or(0, Bytes::len);
                self.fate.taken.fetch_add(taken, Ordering::SeqCst);
            }
            Err(_) => self.ended = true,
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.exact && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.exact {
            return SizeHint::default();
        }
        let left: usize = self.frames.iter().flatten().filter_map(|frame| frame.data_ref()).map(Bytes::len).sum();
        SizeHint::with_exact(left as u64)
    }
}

/// Bytes that no coding makes shorter, the same on each run.
pub(crate) struct Noise(u32);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9e37_79b9)
    }
}

impl Noise {
    /// The next bytes. An xorshift whose period is longer than any body.
    pub(crate) fn next(&mut self, length: usize) -> Bytes {
        let mut byte = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            (self.0 >> 11) as u8
        };
        (0..length).map(|_| byte()).collect::<Vec<u8>>().into()
    }
}

/// One KiB that no coding makes shorter.
pub(crate) fn noise() -> Bytes {
    Noise::default().next(1024)
}

/// A frame of data.
pub(crate) fn data(bytes: impl AsRef<[u8]>) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(bytes.as_ref()))
}

// ===== Seen =====

/// What came of a body that was read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The data frames that are not empty, each with the milliseconds of the scene at which it came.
    pub(crate) data: Vec<(u64, Bytes)>,
    pub(crate) trailers: Vec<HeaderMap>,
    /// What came after the trailers.
    pub(crate) out_of_order: Option<&'static str>,
    /// A hint that did not come true.
    pub(crate) untrue: Option<String>,
    /// The chain of the error with which it ended, and whether the suite's own is in it.
    pub(crate) error: Option<(String, bool)>,
}

impl Seen {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|(_, data)| data.iter().copied()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// Reads a body until it says `None` or fails, and holds each of its hints against what follows.
pub(crate) async fn read(scene: &Scene, mut body: Body) -> Seen {
    let mut seen = Seen::default();
    let mut hints = vec![(0, body.size_hint())];
    let mut length = 0;
    loop {
        let said_end = body.is_end_stream();
        let Some(frame) = body.frame().await else { break };
        if said_end {
            let told = || format!("is_end_stream was true after {length} bytes, and a frame came");
            seen.untrue.get_or_insert_with(told);
        }
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                if !seen.trailers.is_empty() {
                    seen.out_of_order.get_or_insert("data");
                }
                length += data.len() as u64;
                if !data.is_empty() {
                    seen.data.push((scene.now_ms(), data));
                }
            }
            Ok(Err(frame)) => {
                if !seen.trailers.is_empty() {
                    seen.out_of_order.get_or_insert("trailers");
                }
                seen.trailers.extend(frame.into_trailers());
            }
            Err(error) => {
                seen.error = Some((chain(&error), source_error(&error).is_some()));
                break;
            }
        }
        hints.push((length, body.size_hint()));
    }
    if seen.error.is_none() {
        let untrue = hints.iter().find_map(|(at, hint)| {
            let rest = length - at;
            let fits = hint.lower() <= rest && hint.upper().is_none_or(|upper| upper >= rest);
            let upper = hint.upper().map_or("no end".to_owned(), |upper| upper.to_string());
            (!fits).then(|| {
                format!("after {at} bytes size_hint was {} to {upper}, and {rest} more bytes came", hint.lower())
            })
        });
        seen.untrue = seen.untrue.or(untrue);
    }
    seen
}

/// The suite's own error in a chain of causes.
pub(crate) fn source_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a SourceError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref() {
            return Some(ours);
        }
        cause = error.source();
    }
    None
}

/// An error with its causes. One that says no more than the one before it is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.ends_with(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}
