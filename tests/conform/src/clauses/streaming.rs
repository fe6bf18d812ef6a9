//! Bodies pass as they come, and no faster than they are read.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use lab::{Scene, locked};
use tokio::time::{sleep, timeout};

use super::{Clause, Level};
use crate::{
    body::{Noise, Script, data, noise},
    probe::Answering,
    stand::{Bench, Failed, Fall, PAUSE, PLENTY, Proof, SOON, Slot, Stand, at_once, joined, require, require_but},
};

pub(super) const ALL: &[Clause] = &[
    HEAD_BEFORE_BODY,
    RESPONSE_STREAMS,
    RESPONSE_NOT_READ_AHEAD,
    REQUEST_BODY_UNTOUCHED,
    REQUEST_STREAMS,
    REQUEST_NOT_READ_AHEAD,
];

const AS_IT_COMES: &str = "http-body 1.0, Body::poll_frame: a frame is there when it is ready";
const AS_IT_IS_READ: &str = "http-body 1.0, Body: a frame is produced when it is polled for";
/// Of what kinds the streams are. Some layers act on one kind only.
pub(super) const KINDS: [&str; 4] = ["text/plain", "text/html", "text/event-stream", "application/grpc"];
/// What may be taken ahead of the reader.
const AHEAD: usize = 64 * 1024;

/// Answers with the body that is put into the slot.
pub(super) fn streaming(slot: &Slot<Body>, kind: &'static str) -> impl Fn(Scene, Request<Body>) -> Answering + use<> {
    let fed = slot.clone();
    at_once(move |_| {
        let mut answer = Response::new(fed.take().unwrap_or_default());
        answer.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        answer
    })
}

const HEAD_BEFORE_BODY: Clause = Clause {
    key: "head-before-body",
    sentence: "The head of a response reaches the client before the first byte of its body is produced.",
    level: Level::Should,
    source: AS_IT_COMES,
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(head_before_body(stand)),
};

async fn head_before_body(stand: Stand) -> Proof {
    for kind in KINDS {
        let slot = Slot::new();
        let mut bench = stand.open(kind, PLENTY, streaming(&slot, kind));
        let (source, body) = bench.scene.feed("response body");
        slot.put(body);
        let call = bench.call(bench.get("/probe/1")).await?;
        let answer = timeout(SOON, call).await;
        drop(source);
        let told = format!("the inner service answered at 0 ms, and while its {kind} was silent no head came in 10 s");
        answer.map_err(|_| Fall::because(told))??;
    }
    Ok(())
}

const RESPONSE_STREAMS: Clause = Clause {
    key: "response-streams",
    sentence: "Bytes of a response reach the client before the clock moves on from the moment they were produced.",
    level: Level::Should,
    source: AS_IT_COMES,
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(response_streams(stand)),
};

async fn response_streams(stand: Stand) -> Proof {
    for kind in KINDS {
        let slot = Slot::new();
        let mut bench = stand.open(kind, PLENTY, streaming(&slot, kind));
        let (source, body) = bench.scene.feed("response body");
        slot.put(body);
        let mut noise = Noise::default();
        let parts = [1024, 1, 17].map(|length| noise.next(length));
        arrive_in_time(&mut bench, kind, source, parts, None).await?;
    }
    Ok(())
}

/// Feeds a part after each pause, and requires that bytes come to the client in the same millisecond.
pub(super) async fn arrive_in_time(
    bench: &mut Bench,
    kind: &str,
    mut source: lab::Feed,
    parts: impl IntoIterator<Item = Bytes>,
    last: Option<Bytes>,
) -> Proof {
    let call = bench.call(bench.get("/probe/1")).await?;
    let came = Arc::<Mutex<Vec<u64>>>::default();
    let (scene, arrivals, head) = (bench.scene.clone(), came.clone(), Slot::new());
    let has_head: Slot<u64> = head.clone();
    let reader = bench.scene.spawn(async move {
        let mut body = call.await?.into_body();
        has_head.put(scene.now_ms());
        scene.note("client", "has the head");
        while let Some(Ok(frame)) = body.frame().await {
            // How many they are is the layer's own affair, and may differ between versions of a coding.
            if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                scene.note("client", "gets bytes");
                locked(&arrivals).push(scene.now_ms());
            }
        }
        Ok::<_, Failed>(())
    });
    let mut produced = Vec::new();
    for part in parts {
        produced.push(bench.scene.now_ms());
        source.data(part);
        sleep(PAUSE).await;
    }
    let head = head.take();
    if let Some(last) = last {
        source.data(last);
    }
    source.end();
    sleep(PAUSE).await;
    let mut at = locked(&came).clone();
    // A coding may give one part out in several frames.
    at.dedup();
    let told = format!("parts of {kind} were produced at {produced:?} ms, and bytes came at {at:?} ms");
    if head.is_none() {
        return Err(Fall::follows("no head came while the body had not ended", "head-before-body"));
    }
    let proof = require(produced.iter().all(|time| at.contains(time)), told);
    proof.map_err(|fall| fall.or_follows_if(head.is_some_and(|at| at > 0), "calls-overlap"))?;
    if reader.is_finished() {
        joined(reader).await??;
    }
    Ok(())
}

const RESPONSE_NOT_READ_AHEAD: Clause = Clause {
    key: "response-not-read-ahead",
    sentence: "While nobody reads a response, at most 64 KiB of its body are taken from the inner service.",
    level: Level::Should,
    source: AS_IT_IS_READ,
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(response_not_read_ahead(stand)),
};

async fn response_not_read_ahead(stand: Stand) -> Proof {
    for (title, take) in [("a body without end, unread", 0), ("a body without end, one frame read", 1)] {
        let slot = Slot::new();
        let mut bench = stand.open(title, PLENTY, streaming(&slot, "text/plain"));
        let body = Script::endless();
        let fate = body.fate();
        slot.put(body.body());
        let mut body = bench.head_of(bench.get("/probe/1")).await?.into_body();
        for _ in 0..take {
            let _ = timeout(PAUSE, body.frame()).await;
        }
        let spawned = bench.scene.app_tasks() > 0;
        sleep(PAUSE).await;
        let kib = fate.taken() / 1024;
        let proof = require(fate.taken() <= AHEAD, format!("{title}, and {kib} KiB or more were taken of it"));
        proof.map_err(|fall| fall.or_follows_if(spawned, "same-task"))?;
    }
    Ok(())
}

const REQUEST_BODY_UNTOUCHED: Clause = Clause {
    key: "request-body-untouched",
    sentence: "No part of a request body is asked for before the inner service asks for it.",
    level: Level::Should,
    source: "RFC 9110 section 10.1.1: whoever reads first sends 100 Continue; the resource may refuse unread",
    ghost: Some("unread-body"),
    prove: |stand| Box::pin(request_body_untouched(stand)),
};

async fn request_body_untouched(stand: Stand) -> Proof {
    let handler = |_: Scene, request: Request<Body>| -> Answering {
        Box::pin(async move {
            let _request = request;
            sleep(PAUSE).await;
            Ok(Response::default())
        })
    };
    let mut bench = stand.open("the inner service does not read", PLENTY, handler);
    let body = Script::new([data(noise()), data(noise())]);
    let fate = body.fate();
    bench.send(bench.post("/probe/1", body.body())).await?;
    let told = format!("the inner service read nothing, and {} bytes were taken of the request body", fate.taken());
    require(fate.polls() == 0, told)
}

const REQUEST_STREAMS: Clause = Clause {
    key: "request-streams",
    sentence: "The inner service is called before the request body has ended, and gets each frame before the clock moves.",
    level: Level::Should,
    source: AS_IT_COMES,
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(request_streams(stand)),
};

async fn request_streams(stand: Stand) -> Proof {
    let came = Arc::<Mutex<Vec<u64>>>::default();
    let (arrivals, called_at) = (came.clone(), Slot::new());
    let mark = called_at.clone();
    let handler = move |scene: Scene, request: Request<Body>| -> Answering {
        let arrivals = arrivals.clone();
        mark.put(scene.now_ms());
        Box::pin(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                    scene.note("service", "gets bytes");
                    locked(&arrivals).push(scene.now_ms());
                }
            }
            Ok(Response::default())
        })
    };
    let mut bench = stand.open("a request body of three parts", PLENTY, handler);
    let (mut source, body) = bench.scene.feed("request body");
    let call = bench.call(bench.post("/probe/1", body)).await?;
    let answer = bench.scene.spawn(call);
    let (mut produced, mut noise) = (Vec::new(), Noise::default());
    for length in [1024, 1, 17] {
        produced.push(bench.scene.now_ms());
        source.data(noise.next(length));
        sleep(PAUSE).await;
    }
    let called = bench.back.state().calls > 0;
    let at = locked(&came).clone();
    source.end();
    let told = "the inner service was not called while the request body had not ended";
    require_but(called, "request-body-untouched", told)?;
    let told = format!("parts were sent at {produced:?} ms, and the inner service got bytes at {at:?} ms");
    let proof = require(produced.iter().all(|time| at.contains(time)), told);
    proof.map_err(|fall| fall.or_follows_if(called_at.take().is_some_and(|at| at > 0), "calls-overlap"))?;
    joined(answer).await??;
    Ok(())
}

const REQUEST_NOT_READ_AHEAD: Clause = Clause {
    key: "request-not-read-ahead",
    sentence: "While the inner service isn't reading, at most 64 KiB of a request body are taken from the client.",
    level: Level::Should,
    source: AS_IT_IS_READ,
    ghost: Some("unread-body"),
    prove: |stand| Box::pin(request_not_read_ahead(stand)),
};

async fn request_not_read_ahead(stand: Stand) -> Proof {
    let handler = |_: Scene, request: Request<Body>| -> Answering {
        Box::pin(async move {
            let mut body = request.into_body();
            let _ = body.frame().await;
            sleep(PAUSE).await;
            Ok(Response::default())
        })
    };
    let mut bench = stand.open("a body without end, one frame read", PLENTY, handler);
    let body = Script::endless();
    let fate = body.fate();
    let call = bench.call(bench.post("/probe/1", body.body())).await?;
    let answer = timeout(SOON, call).await;
    let told = "the inner service was not called while the request body had not ended";
    require_but(bench.back.state().calls > 0, "request-body-untouched", told)?;
    let told = format!("the inner service read one frame, and {} KiB or more were taken", fate.taken() / 1024);
    bench.unless_spawned(require(fate.taken() <= AHEAD, told))?;
    answer.map_err(|_| Fall::because("the inner service answered, and no answer came in 10 s"))??;
    Ok(())
}
