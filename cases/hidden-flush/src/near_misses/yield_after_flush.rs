//! Returning `Pending` after each flush tempts because hyper writes to the socket when a body
//! is pending.
//!
//! It breaks because nobody has asked the source: it holds no waker, so the second event waits
//! until something else polls the body.

use std::{
    io::Write,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Error, Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use http_body::Frame;

/// Serves `logs`, compressed for clients that accept gzip.
pub fn app(logs: Router) -> Router {
    logs.layer(middleware::from_fn(compress))
}

async fn compress(request: Request, next: Next) -> Response {
    let accepted = accepts_gzip(request.headers());
    let mut response = next.run(request).await;
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    // 204 and 304 have no body, and the gzip of nothing is twenty bytes.
    if encoded || response.body().is_end_stream() {
        return response;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !accepted {
        return response;
    }
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.remove(header::CONTENT_LENGTH);
    response.map(|inner| {
        Body::new(GzipBody {
            inner,
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            flushed: false,
            ended: false,
            last: None,
        })
    })
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut offers = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    offers.any(|offer| {
        let (coding, weight) = offer.split_once(';').unwrap_or((offer, "q=1"));
        let weight = weight.trim().trim_start_matches("q=").parse::<f32>();
        coding.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// A body that compresses another one while it passes through.
struct GzipBody {
    inner: Body,
    encoder: GzEncoder<Vec<u8>>,
    /// Whether the last frame came from a flush.
    flushed: bool,
    ended: bool,
    /// What follows the last compressed byte: trailers, an error, or nothing.
    last: Option<Result<Frame<Bytes>, Error>>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl GzipBody {
    fn flush(&mut self) -> Polled {
        self.encoder.flush().map_err(Error::new)?;
        self.flushed = true;
        let compressed = mem::take(self.encoder.get_mut());
        Poll::Ready(Some(Ok(Frame::data(compressed.into()))))
    }

    fn finish(&mut self) -> Polled {
        self.encoder.try_finish().map_err(Error::new)?;
        self.ended = true;
        let compressed = mem::take(self.encoder.get_mut());
        Poll::Ready(Some(Ok(Frame::data(compressed.into()))))
    }
}

impl HttpBody for GzipBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(this.last.take());
        }
        // Hyper keeps what it was given in a buffer of its own until the body is pending.
        if mem::take(&mut this.flushed) && !this.inner.is_end_stream() {
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                this.encoder.write_all(&data).map_err(Error::new)?;
                this.flush()
            }
            Some(Ok(Err(trailers))) => {
                this.last = Some(Ok(trailers));
                this.finish()
            }
            Some(Err(error)) => {
                this.last = Some(Err(error));
                // Finishing would add the checksum of a whole log.
                this.ended = true;
                this.flush()
            }
            None => this.finish(),
        }
    }
}
