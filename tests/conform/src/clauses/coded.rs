//! Bodies in a coding: a layer leaves them as they are, or takes the coding off whole.

use std::io::Write;

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;

use super::{
    Clause, Level,
    content::{after_reading, are_kept, are_true, trailers},
    streaming::arrive_in_time,
};
use crate::{
    body::{Noise, Script, Seen},
    stand::{PLENTY, Proof, Slot, Stand, at_once, needs, require, same_bytes},
};

pub(super) const ALL: &[Clause] = &[CODED_BODIES_SURVIVE, CODED_TRAILERS_KEPT, CODED_BODIES_STREAM];

const SOURCE: &str = "RFC 9110 section 8.4: content-encoding says how the content is coded";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
}

fn letters() -> Vec<u8> {
    b"letters of the night shift, one after the other. ".repeat(40)
}

/// A message whose content is coded, cut as the scene says.
fn coded(frames: impl IntoIterator<Item = Frame<Bytes>>, length: Option<usize>) -> (HeaderMap, Body) {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    if let Some(length) = length {
        headers.insert("content-length", HeaderValue::from(length));
    }
    (headers, Script::new(frames).exact(length.is_some()).body())
}

fn respond((headers, body): (HeaderMap, Body)) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.headers_mut() = headers;
    answer
}

const CODED_BODIES_SURVIVE: Clause = Clause {
    key: "coded-bodies-survive",
    sentence: "A gzip body arrives as it was, or decoded whole and without its content-encoding, in both directions, \
               however it was cut into frames, and its stated length is true.",
    level: Level::Must,
    source: SOURCE,
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(coded_bodies_survive(stand)),
};

async fn coded_bodies_survive(stand: Stand) -> Proof {
    for (title, size) in [("in one frame", usize::MAX), ("in frames of 7 bytes", 7), ("byte by byte", 1)] {
        let message = move || {
            let bytes = gzip(&letters());
            let frames: Vec<_> = bytes.chunks(size).map(|part| Frame::data(Bytes::copy_from_slice(part))).collect();
            coded(frames, Some(bytes.len()))
        };
        let inner = Slot::new();
        let mut bench =
            stand.open(format!("gzip, {title}"), PLENTY, after_reading(inner.clone(), move || respond(message())));
        let (headers, body) = message();
        let mut request = bench.post("/probe/1", body);
        request.headers_mut().extend(headers);
        let answer = bench.send(request).await?;
        let outer = answer.headers().clone();
        let seen = bench.read(answer).await;
        let inner = inner.take().unwrap_or_default();
        for (who, direction, (headers, seen)) in
            [("the inner service", "request", inner), ("the client", "response", (outer, seen))]
        {
            are_true(&format!("the {direction}"), &headers, &seen)?;
            if !stand.touches.iter().any(|part| *part == format!("{direction} body")) {
                is_honest(who, &headers, &seen).map_err(|fall| fall.or_follows("bytes-once-in-order"))?;
            }
        }
    }
    Ok(())
}

/// What the head says of the coding is true of the bytes.
fn is_honest(who: &str, headers: &HeaderMap, seen: &Seen) -> Proof {
    let codings: Vec<_> = headers.get_all("content-encoding").iter().map(HeaderValue::as_bytes).collect();
    match codings[..] {
        [] => same_bytes(&format!("without a content-encoding {who}"), &seen.bytes(), &letters()),
        [b"gzip"] => same_bytes(&format!("with content-encoding gzip {who}"), &seen.bytes(), &gzip(&letters())),
        _ => {
            let told: Vec<_> = codings.iter().map(|coding| coding.escape_ascii().to_string()).collect();
            require(false, format!("what was sent as gzip came to {who} as {}", told.join(", ")))
        }
    }
}

const CODED_TRAILERS_KEPT: Clause = Clause {
    key: "coded-trailers-kept",
    sentence: "Trailers after a gzip body arrive once, as they were, after the last byte, in both directions.",
    level: Level::Should,
    source: "http-body 1.0, Frame: data frames, then at most one frame of trailers",
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(coded_trailers_kept(stand)),
};

async fn coded_trailers_kept(stand: Stand) -> Proof {
    let message = || coded([Frame::data(Bytes::from(gzip(&letters()))), Frame::trailers(trailers())], None);
    let inner = Slot::new();
    let mut bench = stand.open("gzip, then trailers", PLENTY, after_reading(inner.clone(), move || respond(message())));
    let (headers, body) = message();
    let mut request = bench.post("/probe/1", body);
    request.headers_mut().extend(headers);
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let answer = bench.send(request).await?;
    let seen = bench.read(answer).await;
    let (_, inner) = inner.take().unwrap_or_default();
    let lost = |key: &str, part: &str| stand.changes(key) || stand.may_touch(part);
    let proof = are_kept(&inner, "the inner service", || lost("request-trailers-kept", "request trailers"));
    proof.map_err(|fall| fall.or_follows("request-trailers-kept"))?;
    let proof = are_kept(&seen, "the client", || lost("trailers-kept", "response trailers"));
    proof.map_err(|fall| fall.or_follows("trailers-kept"))
}

const CODED_BODIES_STREAM: Clause = Clause {
    key: "coded-bodies-stream",
    sentence: "Each flushed part of a gzip response reaches the client, coded or decoded, before the clock moves.",
    level: Level::Should,
    source: "RFC 1952 with RFC 1951 section 3.2.3: a flushed block can be decoded when it is there",
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(coded_bodies_stream(stand)),
};

async fn coded_bodies_stream(stand: Stand) -> Proof {
    needs(!stand.changes("response-streams"), "the contract says that responses do not stream")?;
    let slot = Slot::new();
    let fed: Slot<Body> = slot.clone();
    let handler = at_once(move |_| {
        let (headers, _) = coded([], None);
        respond((headers, fed.take().unwrap_or_default()))
    });
    let mut bench = stand.open("gzip, flushed after each part", PLENTY, handler);
    let (source, body) = bench.scene.feed("response body");
    slot.put(body);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut noise = Noise::default();
    let parts = [1024, 1, 17].map(|length| {
        encoder.write_all(&noise.next(length)).and_then(|()| encoder.flush()).expect("memory");
        Bytes::from(std::mem::take(encoder.get_mut()))
    });
    let last = encoder.finish().expect("memory");
    let proof = arrive_in_time(&mut bench, "gzip", source, parts, Some(last.into())).await;
    proof.map_err(|fall| fall.or_follows("response-streams"))
}
