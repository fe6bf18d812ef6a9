//! Bodies that are held back, read ahead, cut, or that lie of themselves.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use axum::{
    Error,
    body::Body,
    extract::Request,
    http::{HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{
    Bad,
    support::{app, on_request, on_response},
};

type Polled = Option<Result<Frame<Bytes>, Error>>;

pub(crate) fn all() -> Vec<Bad> {
    vec![
        app("keeps-the-response-body", "body-drop-reaches-inner", async |request, next: Next| {
            next.run(request).await.map(|body| Body::new(Parks(Some(body))))
        }),
        app("keeps-the-request-body", "request-body-released", async |request: Request, next: Next| {
            let (parts, body) = request.into_parts();
            let kept = Arc::new(Mutex::new(body));
            let answer = next.run(Request::from_parts(parts, Body::new(Shared(kept.clone())))).await;
            drop(kept);
            answer
        }),
        app("peeks-the-response", "head-before-body", async |request, next: Next| {
            let (parts, body) = next.run(request).await.into_parts();
            Response::from_parts(parts, Peeked::body(body).await)
        }),
        app("collects-the-response", "head-before-body", async |request, next: Next| {
            let (parts, body) = next.run(request).await.into_parts();
            Response::from_parts(parts, collected(body).await)
        }),
        on_response("holds-back", "response-streams", |answer| answer.map(HoldsBack::body)),
        on_response("reads-ahead", "response-not-read-ahead", |answer| answer.map(ReadsAhead::body)),
        app("peeks-the-request", "request-body-untouched", async |request: Request, next: Next| {
            let (parts, body) = request.into_parts();
            next.run(Request::from_parts(parts, Peeked::body(body).await)).await
        }),
        app("collects-the-request", "request-body-untouched", async |request: Request, next: Next| {
            let (parts, body) = request.into_parts();
            next.run(Request::from_parts(parts, collected(body).await)).await
        }),
        on_request("holds-the-request-back", "request-streams", |request| request.map(HoldsBack::body)),
        on_request("reads-the-request-ahead", "request-not-read-ahead", |request| request.map(ReadsAhead::body)),
        on_response("shouts", "bytes-once-in-order", |answer| {
            answer.map(|body| {
                Reworked::body(body, |frame| {
                    frame.map(|frame| frame.map(|frame| frame.map_data(|data| data.to_ascii_uppercase().into())))
                })
            })
        }),
        on_response("data-stream", "trailers-kept", |answer| answer.map(|body| Reworked::body(body, no_trailers))),
        on_request("request-data-stream", "request-trailers-kept", |request| {
            request.map(|body| Reworked::body(body, no_trailers))
        }),
        on_response("at-least-a-byte", "lengths-are-true", |answer| {
            answer.map(|body| {
                Body::new(Hints {
                    body,
                    hint: |hint| {
                        if hint.exact().is_none() {
                            hint.set_lower(1);
                        }
                    },
                })
            })
        }),
        on_response("hides-the-length", "lengths-are-kept", |answer| {
            answer.map(|body| Body::new(Hints { body, hint: |hint| *hint = SizeHint::default() }))
        }),
        on_response("forgets-the-coding", "coded-bodies-survive", |mut answer| {
            answer.headers_mut().remove("content-encoding");
            answer
        }),
        on_response("coded-without-trailers", "coded-trailers-kept", |answer| {
            if_coded(answer, |body| Reworked::body(body, no_trailers))
        }),
        on_response("coded-in-blocks", "coded-bodies-stream", |answer| if_coded(answer, HoldsBack::body)),
        on_response("error-as-end", "body-error-after-its-bytes", |answer| {
            answer.map(|body| Reworked::body(body, |frame| frame.filter(Result::is_ok)))
        }),
        on_response("polls-twice", "not-polled-after-end", |answer| answer.map(|body| Body::new(Twice(body)))),
        app("nothing-in-a-head", "empty-stays-empty", async |request: Request, next: Next| {
            let head = request.method() == Method::HEAD;
            let mut answer = next.run(request).await;
            if head {
                answer.headers_mut().insert("content-length", HeaderValue::from_static("0"));
                *answer.body_mut() = Body::empty();
            }
            answer
        }),
    ]
}

fn if_coded(answer: Response, body: fn(Body) -> Body) -> Response {
    if answer.headers().contains_key("content-encoding") { answer.map(body) } else { answer }
}

fn no_trailers(frame: Polled) -> Polled {
    frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers))
}

/// The whole body with its trailers or its error, when it is there.
async fn collected(mut body: Body) -> Body {
    let (hint, mut frames) = (body.size_hint(), VecDeque::new());
    while let Some(frame) = body.frame().await {
        let failed = frame.is_err();
        frames.push_back(frame);
        if failed {
            break;
        }
    }
    Body::new(Frames { frames, hint })
}

struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, Error>>,
    hint: SizeHint,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Polled> {
        let frame = self.frames.pop_front();
        self.hint = SizeHint::default();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.frames.is_empty() { SizeHint::with_exact(0) } else { self.hint }
    }
}

/// Each frame as something else, or none in its place: that is the end.
struct Reworked {
    body: Body,
    rework: fn(Polled) -> Polled,
    ended: bool,
}

impl Reworked {
    fn body(body: Body, rework: fn(Polled) -> Polled) -> Body {
        Body::new(Self { body, rework, ended: false })
    }
}

impl HttpBody for Reworked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = (self.rework)(frame);
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Forgets the body when it is dropped before its end: somebody may want the rest.
struct Parks(Option<Body>);

impl HttpBody for Parks {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        Pin::new(self.0.as_mut().expect("there until it is dropped")).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Parks {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

/// A body that the middleware holds too.
struct Shared(Arc<Mutex<Body>>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        Pin::new(&mut *self.0.lock().expect("never poisoned")).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().expect("never poisoned").is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().expect("never poisoned").size_hint()
    }
}

/// A body whose first frame was looked at.
struct Peeked {
    first: Polled,
    rest: Body,
    ended: bool,
}

impl Peeked {
    async fn body(mut rest: Body) -> Body {
        let known_end = rest.is_end_stream();
        let first = if known_end { None } else { rest.frame().await };
        let ended = first.is_none();
        Body::new(Self { first, rest, ended })
    }
}

impl HttpBody for Peeked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(cx));
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()).and_then(Frame::data_ref);
        let more = first.map_or(0, |data| data.len() as u64);
        self.rest.size_hint().exact().map_or_else(SizeHint::default, |exact| SizeHint::with_exact(exact + more))
    }
}

/// Gives a frame out when the next one is there.
struct HoldsBack {
    held: Polled,
    body: Body,
    ended: bool,
}

impl HoldsBack {
    fn body(body: Body) -> Body {
        Body::new(Self { held: None, body, ended: false })
    }
}

impl HttpBody for HoldsBack {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        while !self.ended {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.ended = frame.as_ref().is_none_or(Result::is_err);
            if let Some(held) = std::mem::replace(&mut self.held, frame) {
                return Poll::Ready(Some(held));
            }
        }
        Poll::Ready(self.held.take())
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// Takes all that is there, whenever it is asked for one frame.
struct ReadsAhead {
    ready: VecDeque<Result<Frame<Bytes>, Error>>,
    body: Body,
    ended: bool,
}

impl ReadsAhead {
    fn body(body: Body) -> Body {
        Body::new(Self { ready: VecDeque::new(), body, ended: false })
    }
}

impl HttpBody for ReadsAhead {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        while !self.ended {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            self.ended = frame.as_ref().is_none_or(Result::is_err);
            self.ready.extend(frame);
        }
        match self.ready.pop_front() {
            None if !self.ended => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.ready.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// Says something else of its length.
struct Hints {
    body: Body,
    hint: fn(&mut SizeHint),
}

impl HttpBody for Hints {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        (self.hint)(&mut hint);
        hint
    }
}

/// Asks once more when the end was told: there may be trailers.
struct Twice(Body);

impl HttpBody for Twice {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            None => Pin::new(&mut self.0).poll_frame(cx),
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
