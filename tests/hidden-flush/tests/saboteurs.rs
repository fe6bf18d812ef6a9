//! A right app, and the ways in which it is spoilt.

use std::{
    fmt::Write as _,
    io::Write as _,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Error, Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, header},
    middleware::{Next, from_fn},
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::FutureExt;
use hidden_flush_spec::check;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use lab::abreast;
use tokio::sync::mpsc;
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};

/// What is wrong with the app.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Each event is a gzip of its own, of which a client shows the first.
    MemberForEachEvent,
    /// A second, empty gzip comes at the end.
    MemberAfterTheLast,
    /// What is there at once is taken out of the log, and given a length, and what follows it is forgotten.
    LengthOfWhatIsThere,
    /// The same, only where nothing but trailers is there.
    LengthOfNothing,
    /// The head waits for the first event.
    HeadHeldBack,
    /// The types that everybody thinks of are not compressed, and the others are held back.
    WellKnownTypesExempt,
    /// A flush gives out what fits into a buffer, and the rest waits for the next one.
    FlushOfAPart,
    /// A task reads the log, and what ends the task ends the body.
    PanicAsEnd,
    /// What is not compressed is made anew from its bytes.
    PlainBodyRebuilt,
    /// Nothing tells a cache of who does not accept gzip.
    VaryWithGzipOnly,
    /// A request's body is read before the log is asked for.
    RequestReadFirst,
    /// A task answers, and goes on when the client has left.
    AnsweredInATask,
    /// Of several lines of a header the first is read.
    FirstLineOnly,
    /// The log is asked once more when the bytes before its error are out.
    AskedAfterItsError,
    /// The library's layer, over a body that is not fused.
    AskedAfterItsEnd,
}

#[test]
fn the_app_is_right_until_it_is_spoilt() {
    let report = check(|logs| app(logs, Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_app_is_rejected_for_its_own_reason() {
    let spoilt = [
        (Fault::MemberForEachEvent, "bytes-once-in-order"),
        (Fault::MemberAfterTheLast, "bytes-once-in-order"),
        (Fault::LengthOfWhatIsThere, "trailers-survive"),
        (Fault::LengthOfNothing, "trailers-survive"),
        (Fault::HeadHeldBack, "answer-begins-first"),
        (Fault::WellKnownTypesExempt, "event-before-clock"),
        (Fault::FlushOfAPart, "event-before-clock"),
        (Fault::PanicAsEnd, "error-after-its-bytes"),
        (Fault::PlainBodyRebuilt, "leaves-the-rest-alone"),
        (Fault::VaryWithGzipOnly, "headers-are-true"),
        (Fault::RequestReadFirst, "leaves-the-rest-alone"),
        (Fault::AnsweredInATask, "leaves-the-rest-alone"),
        (Fault::FirstLineOnly, "bytes-once-in-order"),
        (Fault::AskedAfterItsError, "source-ends-once"),
        (Fault::AskedAfterItsEnd, "source-ends-once"),
    ];
    let reports = abreast(spoilt, |(fault, _)| check(move |logs| app(logs, fault)));
    let mut rejections = String::new();
    for ((fault, promise), report) in spoilt.into_iter().zip(reports) {
        assert!(report.broken().contains(&promise), "{fault:?}\n{report}");
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

fn app(logs: Router, fault: Fault) -> Router {
    match fault {
        Fault::AskedAfterItsEnd => logs.layer(CompressionLayer::new().compress_when(SizeAbove::default())),
        _ => logs.layer(from_fn(move |request, next| compress(request, next, fault))),
    }
}

async fn compress(mut request: Request, next: Next, fault: Fault) -> Response {
    let lines = if fault == Fault::FirstLineOnly { 1 } else { usize::MAX };
    let mut offers = request.headers().get_all(header::ACCEPT_ENCODING).iter().take(lines);
    let accepted = offers.any(|offer| {
        let offer = offer.to_str().unwrap_or_default().to_lowercase();
        offer.contains("gzip") && !offer.contains("gzip;q=0") && !offer.contains("gzip; q=0")
            || offer.contains("gzip;q=0.9")
    });
    if fault == Fault::RequestReadFirst {
        let (head, body) = request.into_parts();
        let whole = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        request = Request::from_parts(head, Body::from(whole));
    }
    let mut response = match fault {
        Fault::AnsweredInATask => tokio::spawn(next.run(request)).await.expect("the routes do not panic"),
        _ => next.run(request).await,
    };
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    if encoded || response.body().is_end_stream() {
        return response;
    }
    let headers = response.headers_mut();
    if accepted || fault != Fault::VaryWithGzipOnly {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if !accepted {
        return match fault {
            Fault::PlainBodyRebuilt => response.map(|body| Body::from_stream(body.into_data_stream())),
            _ => response,
        };
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let known = ["text/event-stream", "application/x-ndjson", "text/plain"].contains(&kind);
    if fault == Fault::WellKnownTypesExempt && known && response.body().size_hint().exact().is_none() {
        return response;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.remove(header::CONTENT_LENGTH);
    let (head, mut inner) = response.into_parts();
    let mut body = GzipBody::new(Body::empty(), fault);
    match fault {
        Fault::HeadHeldBack => body.first = inner.frame().await,
        Fault::LengthOfWhatIsThere | Fault::LengthOfNothing => match inner.frame().now_or_never() {
            // A log without one byte, perhaps with trailers.
            Some(None) => return Response::from_parts(head, Body::new(Full::from(gzip(b"")))),
            Some(Some(Ok(frame))) if frame.is_trailers() => {
                return Response::from_parts(head, Body::new(Full::from(gzip(b""))));
            }
            Some(first) => {
                let next = inner.frame().now_or_never();
                match (first, next, fault) {
                    (Some(Ok(first)), Some(Some(Ok(next))), Fault::LengthOfWhatIsThere) => {
                        let mut data = first.into_data().unwrap_or_default().to_vec();
                        data.extend(next.into_data().unwrap_or_default());
                        while let Some(Some(Ok(next))) = inner.frame().now_or_never() {
                            data.extend(next.into_data().unwrap_or_default());
                        }
                        if inner.is_end_stream() || inner.frame().now_or_never().is_some() {
                            return Response::from_parts(head, Body::new(Full::from(gzip(&data))));
                        }
                        body.first = Some(Ok(Frame::data(data.into())));
                    }
                    (first, None, _) => body.first = first,
                    (first, Some(next), _) => (body.first, body.second) = (first, Some(next)),
                }
            }
            None => {}
        },
        Fault::PanicAsEnd => inner = in_a_task(inner),
        _ => {}
    }
    body.inner = inner;
    Response::from_parts(head, Body::new(body))
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("memory")
}

/// Reads `inner` in a task that ends with the client.
fn in_a_task(mut inner: Body) -> Body {
    let (output, mut frames) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                () = output.closed() => return,
                frame = inner.frame() => frame,
            };
            let Some(frame) = frame else { return };
            let fails = frame.is_err();
            if output.send(frame).await.is_err() || fails {
                return;
            }
        }
    });
    Body::new(StreamBody::new(futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx))))
}

type Read = Option<Result<Frame<Bytes>, Error>>;

struct GzipBody {
    /// What was read before the answer began.
    first: Read,
    second: Option<Read>,
    inner: Body,
    encoder: GzEncoder<Vec<u8>>,
    unflushed: usize,
    ended: bool,
    last: Read,
    fault: Fault,
}

impl GzipBody {
    fn new(inner: Body, fault: Fault) -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Self { first: None, second: None, inner, encoder, unflushed: 0, ended: false, last: None, fault }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        if self.first.is_some() {
            return Poll::Ready(self.first.take());
        }
        match self.second.take() {
            Some(second) => Poll::Ready(second),
            None => Pin::new(&mut self.inner).poll_frame(cx),
        }
    }

    fn flush(&mut self) -> Poll<Read> {
        self.encoder.flush().map_err(Error::new)?;
        self.unflushed = 0;
        let compressed = self.encoder.get_mut();
        let part = match self.fault {
            Fault::FlushOfAPart => compressed.len().min(16 * 1024),
            _ => compressed.len(),
        };
        let rest = compressed.split_off(part);
        Poll::Ready(Some(Ok(Frame::data(mem::replace(compressed, rest).into()))))
    }

    fn finish(&mut self, last: Read) -> Poll<Read> {
        (self.ended, self.last) = (true, last);
        let empty = GzEncoder::new(Vec::new(), Compression::fast());
        let mut compressed = match self.fault {
            Fault::MemberForEachEvent => Vec::new(),
            _ => mem::replace(&mut self.encoder, empty).finish().map_err(Error::new)?,
        };
        if self.fault == Fault::MemberAfterTheLast {
            compressed.extend(gzip(b""));
        }
        Poll::Ready(Some(Ok(Frame::data(compressed.into()))))
    }
}

impl HttpBody for GzipBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Read> {
        let this = self.get_mut();
        while !this.ended {
            let frame = match this.poll_inner(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.unflushed > 0 && this.fault != Fault::WellKnownTypesExempt => {
                    return this.flush();
                }
                Poll::Pending => return Poll::Pending,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if this.fault == Fault::MemberForEachEvent => {
                    return Poll::Ready(Some(Ok(Frame::data(gzip(&data).into()))));
                }
                Some(Ok(Ok(data))) => {
                    this.encoder.write_all(&data).map_err(Error::new)?;
                    this.unflushed += data.len();
                    if this.unflushed >= 8 * 1024 {
                        return this.flush();
                    }
                }
                Some(Ok(Err(trailers))) => return this.finish(Some(Ok(trailers))),
                Some(Err(error)) if this.fault == Fault::AskedAfterItsError && this.unflushed > 0 => {
                    this.last = Some(Err(error));
                    return this.flush();
                }
                Some(Err(error)) => {
                    (this.ended, this.last) = (true, Some(Err(error)));
                    return this.flush();
                }
                None if this.last.is_some() => break,
                None => return this.finish(None),
            }
        }
        Poll::Ready(this.last.take())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
