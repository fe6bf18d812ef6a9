//! A body whose frames come when the specification says so.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::{mpsc, watch};

use super::{locked, scene::Scene, transcript::escaped};

/// The error with which a [`Feed`] fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError(pub String);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for SourceError {}

/// The handle of a body of unknown length that the specification feeds, frame by frame. It is never full: the frames wait
/// until the body is polled. Dropping the handle ends the body, without a line in the transcript.
#[derive(Debug)]
#[must_use = "dropping it ends the body"]
pub struct Feed {
    scene: Scene,
    lane: String,
    frames: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, SourceError>>>,
    shared: Arc<Shared>,
    dropped: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Shared {
    taken: AtomicU64,
    dropped_at: Mutex<Option<u64>>,
}

impl Feed {
    /// Produces a data frame now.
    pub fn data(&self, data: impl Into<Bytes>) {
        let data = data.into();
        self.scene.note(&self.lane, format!("sends {}", escaped(&data)));
        self.put(Ok(Frame::data(data)));
    }

    /// Produces the trailers now.
    pub fn trailers(&self, trailers: HeaderMap) {
        self.scene.note(&self.lane, format!("sends {} trailers", trailers.len()));
        self.put(Ok(Frame::trailers(trailers)));
    }

    /// Fails now: after the frames before it, the body yields an error with this text, and nothing more.
    pub fn fail(&self, error: &str) {
        self.scene.note(&self.lane, format!("fails: {error}"));
        self.put(Err(SourceError(error.to_owned())));
    }

    /// Ends the body. No more frames can come.
    pub fn end(&mut self) {
        if self.frames.take().is_some() {
            self.scene.note(&self.lane, "ends");
        }
    }

    /// How many bytes of data were taken from the body so far.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// When the body was dropped, in milliseconds of the scene; `None` while it lives.
    pub fn dropped_at_ms(&self) -> Option<u64> {
        *locked(&self.shared.dropped_at)
    }

    /// Waits until the body is dropped.
    pub async fn dropped(&self) {
        // The sender lives in the body and says so before it goes.
        let _ = self.dropped.clone().wait_for(|dropped| *dropped).await;
    }

    fn put(&self, frame: Result<Frame<Bytes>, SourceError>) {
        if let Some(frames) = &self.frames {
            // The body may be gone; the specification learns that from `dropped_at_ms`.
            let _ = frames.send(frame);
        }
    }
}

struct FedBody {
    scene: Scene,
    lane: String,
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, SourceError>>,
    shared: Arc<Shared>,
    dropped: watch::Sender<bool>,
    ended: bool,
    /// Whether it is a breach to poll it after its end.
    ends_once: bool,
}

pub(super) fn feed(scene: Scene, lane: &str, ends_once: bool) -> (Feed, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (gone, dropped) = watch::channel(false);
    let shared = Arc::<Shared>::default();
    let body = FedBody {
        scene: scene.clone(),
        lane: lane.to_owned(),
        frames: receiver,
        shared: shared.clone(),
        dropped: gone,
        ended: false,
        ends_once,
    };
    (Feed { scene, lane: lane.to_owned(), frames: Some(sender), shared, dropped }, Body::new(body))
}

impl http_body::Body for FedBody {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        // A body that has ended stays ended, also after an error.
        if self.ended {
            if self.ends_once {
                self.scene.note(&self.lane, "is polled after its end");
                self.scene.breach(format!("the source `{}` was polled after its end", self.lane));
            }
            return Poll::Ready(None);
        }
        let frame = ready!(self.frames.poll_recv(cx));
        match &frame {
            Some(Ok(frame)) => {
                let taken = frame.data_ref().map_or(0, Bytes::len);
                self.shared.taken.fetch_add(taken as u64, Ordering::SeqCst);
            }
            Some(Err(_)) | None => self.ended = true,
        }
        Poll::Ready(frame)
    }
}

impl Drop for FedBody {
    fn drop(&mut self) {
        let now = self.scene.now_ms();
        *locked(&self.shared.dropped_at) = Some(now);
        if !self.ended {
            self.scene.note(&self.lane, "is dropped before its end");
        }
        self.dropped.send_replace(true);
    }
}
