//! What bodies carry: their bytes, their trailers, and what they say of their length.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use lab::{Scene, locked};
use tokio::time::sleep;

use super::{Clause, Level, streaming::KINDS};
use crate::{
    body::{Script, Seen, noise, read},
    probe::Answering,
    stand::{Bench, PLENTY, Proof, Slot, Stand, require, same_bytes},
};

pub(super) const ALL: &[Clause] =
    &[BYTES_ONCE_IN_ORDER, TRAILERS_KEPT, REQUEST_TRAILERS_KEPT, LENGTHS_ARE_TRUE, LENGTHS_ARE_KEPT];

const ORDER: &str = "http-body 1.0, Frame: data frames, then at most one frame of trailers";

/// Reads the request into the slot, then answers with this.
pub(super) fn after_reading(
    seen: Slot<(HeaderMap, Seen)>,
    answer: impl Fn() -> Response<Body> + Send + Sync + 'static,
) -> impl Fn(Scene, Request<Body>) -> Answering {
    let answer = Arc::new(answer);
    move |scene, request| {
        let (seen, answer) = (seen.clone(), answer.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            seen.put((parts.headers, read(&scene, body).await));
            Ok(answer())
        })
    }
}

pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    headers.contains_key("content-encoding")
}

/// The body did not fail.
pub(super) fn whole(seen: &Seen, who: &str) -> Proof {
    let told = seen.error.as_ref().map(|(error, _)| error.clone()).unwrap_or_default();
    require(seen.error.is_none(), format!("nothing had failed, and {who} got the error \"{told}\" in the body"))
}

const BYTES_ONCE_IN_ORDER: Clause = Clause {
    key: "bytes-once-in-order",
    sentence: "All bytes of both bodies arrive once and in order.",
    level: Level::Must,
    source: "RFC 9110 section 6.4: the content is the octets that were sent, after the framing is taken off",
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(bytes_once_in_order(stand)),
};

async fn bytes_once_in_order(stand: Stand) -> Proof {
    let part = |number: usize, length: usize| -> Bytes {
        (0..length).map(|at| (number * 31 + at % 251) as u8).collect::<Vec<_>>().into()
    };
    let parts = move || {
        let lengths = [20_000, 1, 900, 5, 0, 9_000, 17, 8_192, 1, 1];
        lengths.into_iter().enumerate().map(move |(number, length)| Frame::data(part(number, length)))
    };
    let sent: Vec<u8> = parts().filter_map(|frame| frame.into_data().ok()).flatten().collect();
    let inner = Slot::new();
    let handler = after_reading(inner.clone(), move || Response::new(Script::new(parts()).body()));
    let mut bench = stand.open("ten frames each way, one of them empty", PLENTY, handler);
    let answer = bench.send(bench.post("/probe/1", Script::new(parts()).body())).await?;
    let coded = is_coded(answer.headers());
    let seen = bench.read(answer).await;
    if let Some((_, inner)) = inner.take()
        && !stand.may_touch("request body")
    {
        whole(&inner, "the inner service")?;
        same_bytes("the inner service", &inner.bytes(), &sent)?;
    }
    whole(&seen, "the client")?;
    require(!seen.data.is_empty(), "the client got no bytes")?;
    stand.same_response(coded, seen.bytes(), &sent)?;

    let slot = Slot::new();
    let mut bench =
        stand.open("frames with pauses between them", PLENTY, super::streaming::streaming(&slot, "text/plain"));
    let (mut source, body) = bench.scene.feed("response body");
    slot.put(body);
    bench.scene.spawn(async move {
        for part in ["one ", "", "two ", "three"] {
            sleep(Duration::from_millis(5)).await;
            source.data(part);
        }
        source.end();
    });
    let answer = bench.send(bench.get("/probe/2")).await?;
    let coded = is_coded(answer.headers());
    let seen = bench.read(answer).await;
    whole(&seen, "the client")?;
    stand.same_response(coded, seen.bytes(), b"one two three")
}

const TRAILERS_KEPT: Clause = Clause {
    key: "trailers-kept",
    sentence: "Trailers of a response arrive once, as they were, after the last byte.",
    level: Level::Should,
    source: ORDER,
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(trailers_kept(stand)),
};

const REQUEST_TRAILERS_KEPT: Clause = Clause {
    key: "request-trailers-kept",
    sentence: "Trailers of a request reach the inner service once, as they were, after the last byte.",
    level: Level::Should,
    source: ORDER,
    ghost: Some("body-double-close"),
    prove: |stand| Box::pin(request_trailers_kept(stand)),
};

pub(super) fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.append("x-checksum", HeaderValue::from_static("one"));
    trailers.append("x-checksum", HeaderValue::from_static("two"));
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

/// The shapes of a body that has trailers. One that ends with an empty frame has been taken for the end.
const SHAPES: [(&str, &[&str]); 4] = [
    ("after two frames", &["letters letters letters letters letters letters ", "and more"]),
    ("after an empty frame", &["letters", ""]),
    ("after nothing but an empty frame", &[""]),
    ("and nothing else", &[]),
];

fn with_trailers(parts: &[&'static str]) -> Body {
    let data = parts.iter().map(|part| Frame::data(Bytes::from_static(part.as_bytes())));
    Script::new(data.chain([Frame::trailers(trailers())]).collect::<Vec<_>>()).body()
}

async fn trailers_kept(stand: Stand) -> Proof {
    for kind in KINDS {
        for (shape, parts) in SHAPES {
            let answer = move || {
                let mut answer = Response::new(with_trailers(parts));
                answer.headers_mut().insert("content-type", HeaderValue::from_static(kind));
                answer
            };
            let mut bench = stand.open(format!("{kind}: trailers {shape}"), PLENTY, after_reading(Slot::new(), answer));
            let answer = bench.send(bench.get("/probe/1")).await?;
            let seen = bench.read(answer).await;
            are_kept(&seen, "the client", || stand.may_touch("response trailers"))?;
        }
    }
    let slot = Slot::new();
    let mut bench = stand.open("trailers after a pause", PLENTY, super::streaming::streaming(&slot, "text/plain"));
    let (source, body) = bench.scene.feed("response body");
    slot.put(body);
    bench.scene.spawn(async move {
        source.data("letters");
        sleep(Duration::from_millis(5)).await;
        source.trailers(trailers());
    });
    let answer = bench.send(bench.get("/probe/1")).await?;
    let seen = bench.read(answer).await;
    are_kept(&seen, "the client", || stand.may_touch("response trailers"))
}

async fn request_trailers_kept(stand: Stand) -> Proof {
    for (shape, parts) in SHAPES {
        let inner = Slot::new();
        let mut bench =
            stand.open(format!("trailers {shape}"), PLENTY, after_reading(inner.clone(), Response::default));
        let mut request = bench.post("/probe/1", with_trailers(parts));
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        bench.send(request).await?;
        let (_, seen) = inner.take().unwrap_or_default();
        are_kept(&seen, "the inner service", || stand.may_touch("request trailers"))?;
    }
    Ok(())
}

pub(super) fn are_kept(seen: &Seen, who: &str, touched: impl FnOnce() -> bool) -> Proof {
    let late = seen.out_of_order.unwrap_or_default();
    require(seen.out_of_order.is_none(), format!("{who} got {late} after the trailers"))?;
    let kept = seen.trailers == [trailers()];
    require(
        kept || touched(),
        match &seen.trailers[..] {
            [] => format!("{who} got no trailers"),
            [other] => format!("{who} got the trailers {}", listed(other)),
            frames => format!("{who} got {} frames of trailers", frames.len()),
        },
    )
}

fn listed(headers: &HeaderMap) -> String {
    let mut told: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii())).collect();
    told.sort();
    told.join(", ")
}

const LENGTHS_ARE_TRUE: Clause = Clause {
    key: "lengths-are-true",
    sentence: "What a body's size_hint and is_end_stream and a content-length say of the bytes to come is true, in both \
               directions.",
    level: Level::Must,
    source: "http-body 1.0, Body::size_hint and is_end_stream; RFC 9110 section 8.6",
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(lengths_are_true(stand)),
};

async fn lengths_are_true(stand: Stand) -> Proof {
    for (title, frames, exact) in [
        ("a body of known length", 3, true),
        ("a body of unknown length", 3, false),
        ("an empty body that knows it", 0, true),
        ("an empty body that does not know it", 0, false),
    ] {
        let body = move || Script::new((0..frames).map(|_| Frame::data(noise()))).exact(exact).body();
        let length = move |headers: &mut HeaderMap| {
            if exact {
                headers.insert("content-length", HeaderValue::from(frames * 1024));
            }
        };
        let answer = move || {
            let mut answer = Response::new(body());
            answer.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
            length(answer.headers_mut());
            answer
        };
        let inner = Slot::new();
        let mut bench = stand.open(title, PLENTY, after_reading(inner.clone(), answer));
        let mut request = bench.post("/probe/1", body());
        length(request.headers_mut());
        let answer = bench.send(request).await?;
        let outer = answer.headers().clone();
        let seen = bench.read(answer).await;
        let inner = inner.take().unwrap_or_default();
        for (who, (headers, seen)) in [("the request", inner), ("the response", (outer, seen))] {
            are_true(who, &headers, &seen)?;
        }
    }
    Ok(())
}

/// What the head and the body said of the length came true.
pub(super) fn are_true(who: &str, headers: &HeaderMap, seen: &Seen) -> Proof {
    whole(seen, &format!("the reader of {who}"))?;
    let untrue = seen.untrue.clone().unwrap_or_default();
    require(seen.untrue.is_none(), format!("{who}: {untrue}"))?;
    let length = seen.bytes().len().to_string();
    let stated = headers.get("content-length").map(|stated| String::from_utf8_lossy(stated.as_bytes()));
    let told = format!("{who} says content-length {}, and has {length} bytes", stated.as_deref().unwrap_or_default());
    require(stated.is_none_or(|stated| stated == length), told)
}

const LENGTHS_ARE_KEPT: Clause = Clause {
    key: "lengths-are-kept",
    sentence: "A body that knows its length still does behind the layer, and an empty one is at its end.",
    level: Level::Should,
    source: "http-body 1.0, Body::size_hint and is_end_stream",
    ghost: None,
    prove: |stand| Box::pin(lengths_are_kept(stand)),
};

async fn lengths_are_kept(stand: Stand) -> Proof {
    for (title, length) in [("three bytes", 3), ("no bytes", 0)] {
        let body = move || if length == 0 { Body::empty() } else { Body::from("abc") };
        let inner = Arc::<Mutex<Option<(Option<u64>, bool)>>>::default();
        let seen = inner.clone();
        let handler = crate::stand::at_once(move |request: Request<Body>| {
            *locked(&seen) = Some((request.body().size_hint().exact(), request.body().is_end_stream()));
            Response::new(body())
        });
        let mut bench: Bench = stand.open(format!("bodies of {title}"), PLENTY, handler);
        let answer = bench.send(bench.post("/probe/1", body())).await?;
        let outer = (answer.body().size_hint().exact(), answer.body().is_end_stream());
        let inner = locked(&inner).unwrap_or_default();
        for (who, part, (hint, end)) in [("request", "request body", inner), ("response", "response body", outer)] {
            let hinted = hint.map_or("no exact length".to_owned(), |length| format!("{length} bytes"));
            let told = format!("the {who} has {title}; behind the layer size_hint says {hinted}, is_end_stream {end}");
            let kept = hint == Some(length) && end == (length == 0);
            require(kept || stand.may_touch(part), told)?;
        }
    }
    Ok(())
}
