//! A task compresses into a bounded channel, stops as soon as nobody reads from it, and is asked at the
//! end whether it got there.

use std::{io::Write, mem};

use axum::{
    Error, Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, future::ready, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

/// How many compressed frames may wait for the client.
const CAPACITY: usize = 8;

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
        let (output, mut frames) = mpsc::channel(CAPACITY);
        let pump = tokio::spawn(pump(inner, output));
        // The channel also ends when the task panics, and then the log is not whole.
        let panic = stream::once(pump).filter_map(|ended| ready(ended.err().map(|panic| Err(Error::new(panic)))));
        let frames = stream::poll_fn(move |cx| frames.poll_recv(cx));
        Body::new(StreamBody::new(frames.chain(panic)))
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

/// Compresses `inner` into `output`, and flushes after each frame.
async fn pump(mut inner: Body, output: mpsc::Sender<Result<Frame<Bytes>, Error>>) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut last = None;
    loop {
        let frame = tokio::select! {
            biased;
            () = output.closed() => return,
            frame = inner.frame() => frame,
        };
        let compressed = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => encoder.write_all(&data).and_then(|()| encoder.flush()),
            Some(Ok(Err(trailers))) => {
                last = Some(trailers);
                continue;
            }
            Some(Err(error)) => {
                let _ = output.send(Err(error)).await;
                return;
            }
            None => break,
        };
        let frame = compressed.map(|()| Frame::data(mem::take(encoder.get_mut()).into()));
        // The next turn of the loop sees that the client has left.
        let _ = output.send(frame.map_err(Error::new)).await;
    }
    let rest = encoder.finish().map(|rest| Frame::data(rest.into()));
    let _ = output.send(rest.map_err(Error::new)).await;
    if let Some(trailers) = last {
        let _ = output.send(Ok(trailers)).await;
    }
}
