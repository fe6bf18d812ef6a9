//! Ending the log where its source fails tempts because browsers then show what there is instead
//! of a network error.
//!
//! It breaks the reader's trust: half a log comes with the checksum of a whole one.

use std::{
    io::Write,
    mem,
    pin::Pin,
    task::{Context, Poll},
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

/// How much of a log goes into the encoder between two flushes, each of which costs compression.
const BLOCK: usize = 8 * 1024;

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
            unflushed: 0,
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
    /// How much has gone into the encoder since its last flush.
    unflushed: usize,
    ended: bool,
    /// What follows the last compressed byte: trailers or nothing.
    last: Option<Frame<Bytes>>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl GzipBody {
    fn flush(&mut self) -> Polled {
        self.encoder.flush().map_err(Error::new)?;
        self.unflushed = 0;
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
        while !this.ended {
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.unflushed > 0 => return this.flush(),
                Poll::Pending => return Poll::Pending,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.encoder.write_all(&data).map_err(Error::new)?;
                    this.unflushed += data.len();
                    if this.unflushed >= BLOCK {
                        return this.flush();
                    }
                }
                Some(Ok(Err(trailers))) => {
                    this.last = Some(trailers);
                    return this.finish();
                }
                // A build that is killed never closes its log.
                Some(Err(_)) | None => return this.finish(),
            }
        }
        Poll::Ready(this.last.take().map(Ok))
    }
}
