//! A task that reads the source and a channel that carries its output tempt because plain
//! `async` code replaces the state machine, and the channel is bounded.
//!
//! It breaks when the client leaves a quiet stream: the task finds out only when it next
//! sends, so it holds the source for as long as the source is quiet.

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
use http_body::Frame;
use http_body_util::{
    BodyExt,
    channel::{Channel, Sender},
};

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
        let (output, body) = Channel::new(CAPACITY);
        tokio::spawn(pump(inner, output));
        Body::new(body)
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
async fn pump(mut inner: Body, mut output: Sender<Bytes, Error>) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut last = None;
    while let Some(frame) = inner.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                if let Err(error) = encoder.write_all(&data).and_then(|()| encoder.flush()) {
                    return output.abort(Error::new(error));
                }
                let compressed = mem::take(encoder.get_mut());
                if output.send_data(compressed.into()).await.is_err() {
                    return;
                }
            }
            Ok(Err(trailers)) => last = Some(trailers),
            Err(error) => return output.abort(error),
        }
    }
    match encoder.finish() {
        Ok(compressed) => {
            // The client may have left by now, and then nobody misses the end.
            let _ = output.send_data(compressed.into()).await;
            if let Some(trailers) = last {
                let _ = output.send(trailers).await;
            }
        }
        Err(error) => output.abort(Error::new(error)),
    }
}
