//! Many calls at a time, and the task that they run in.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use lab::{Scene, SourceError, locked};
use tokio::time::{sleep, timeout};

use super::{Clause, Level};
use crate::{
    body::{Script, chain, data, read},
    probe::Answering,
    stand::{Failed, Fall, PLENTY, Proof, SOON, Stand, by_path, joined, require},
};

pub(super) const ALL: &[Clause] = &[CALLS_OVERLAP, REQUESTS_ISOLATED, SAME_TASK];

const CALLS_OVERLAP: Clause = Clause {
    key: "calls-overlap",
    sentence: "Calls run concurrently, through one service and through clones, and each is answered the instant the inner \
               service answers it.",
    level: Level::Should,
    source: "tower-service 0.3, Service: call returns a future, and the service can be called again before it is ready",
    ghost: Some("closure-captured-state"),
    prove: |stand| Box::pin(calls_overlap(stand)),
};

async fn calls_overlap(stand: Stand) -> Proof {
    for title in ["three calls through one service", "three calls through clones"] {
        let mut bench = stand.open(title, PLENTY, by_path);
        let mut calls = Vec::new();
        for length in [30, 40, 50] {
            if title.contains("clones") {
                let Some(twin) = bench.twin() else { return Ok(()) };
                bench.outer = twin;
            }
            let ready = timeout(SOON, bench.call(bench.get(&format!("/probe/{length}")))).await;
            let call =
                ready.map_err(|_| Fall::because("a call was under way, and the layer was not ready in 10 s"))??;
            let scene = bench.scene.clone();
            calls.push((length, bench.scene.spawn(async move { (call.await.map(drop), scene.now_ms()) })));
        }
        for (length, call) in calls {
            let answered = timeout(SOON, joined(call)).await;
            let told = || Fall::because(format!("a call that takes {length} ms was not answered in 10 s"));
            let (answer, at) = answered.map_err(|_| told())??;
            answer?;
            require(at == length, format!("a call that takes {length} ms was answered at {at} ms"))?;
        }
    }
    Ok(())
}

const REQUESTS_ISOLATED: Clause = Clause {
    key: "requests-isolated",
    sentence: "When many requests are under way, each reaches the inner service as one, and each gets its own answer: \
               head, extensions and body.",
    level: Level::Must,
    source: "RFC 9110 section 3.3: each request can be understood in isolation",
    ghost: Some("closure-captured-state"),
    prove: |stand| Box::pin(requests_isolated(stand)),
};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Number(u64);

fn number_in(headers: &http::HeaderMap) -> Option<u64> {
    headers.get("x-marker")?.to_str().ok()?.parse().ok()
}

/// The number that a letter is of. What is no letter is another clause's.
fn number_of(letter: &str) -> Option<u64> {
    letter.strip_prefix("letter ")?.parse().ok()
}

async fn requests_isolated(stand: Stand) -> Proof {
    let mixed = Arc::<Mutex<Option<String>>>::default();
    let seen = mixed.clone();
    let handler = move |_: Scene, request: Request<Body>| -> Answering {
        let seen = seen.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let number = number_in(&parts.headers).unwrap_or_default();
            sleep(Duration::from_millis(60 - 10 * number.min(5))).await;
            let body = body.collect().await.map_err(|error| SourceError(chain(&error)))?.to_bytes();
            let extension = parts.extensions.get::<Number>().map(|number| number.0);
            let letter = number_of(&String::from_utf8_lossy(&body));
            for (what, other) in [("the extensions", extension), ("the body", letter)] {
                if let Some(other) = other.filter(|other| *other != number) {
                    let told = format!("the inner service got the head of request {number} with {what} of {other}");
                    locked(&seen).get_or_insert(told);
                }
            }
            let mut answer = Response::new(Body::from(body));
            answer.headers_mut().insert("x-marker", HeaderValue::from(number));
            answer.extensions_mut().insert(Number(number));
            Ok(answer)
        })
    };
    let mut bench = stand.open("five requests under way, answered in the other order", PLENTY, handler);
    let mut calls = Vec::new();
    for number in 1..=5 {
        let mut request = bench.post(&format!("/probe/{number}"), Body::from(format!("letter {number}")));
        request.headers_mut().insert("x-marker", HeaderValue::from(number));
        request.extensions_mut().insert(Number(number));
        let call = bench.call(request).await?;
        let scene = bench.scene.clone();
        calls.push(bench.scene.spawn(async move {
            let (parts, body) = call.await?.into_parts();
            Ok::<_, Failed>((parts, read(&scene, body).await))
        }));
    }
    for (number, call) in (1..=5).zip(calls) {
        let (parts, body) = joined(call).await??;
        let extension = parts.extensions.get::<Number>().map(|number| number.0);
        let letter = number_of(&body.text());
        for (what, other) in [("x-marker", number_in(&parts.headers)), ("extension", extension), ("body", letter)] {
            let own = other.is_none_or(|other| other == number);
            require(own, format!("request {number} got the {what} of request {}", other.unwrap_or_default()))?;
        }
    }
    let mixed = locked(&mixed).take();
    require(mixed.is_none(), mixed.unwrap_or_default())
}

const SAME_TASK: Clause = Clause {
    key: "same-task",
    sentence: "The inner service is called, and its future and its body are polled, in the task of the caller, where \
               task-locals and spans are.",
    level: Level::Should,
    source: "tokio, task_local: a value is seen in its own task only",
    ghost: None,
    prove: |stand| Box::pin(same_task(stand)),
};

tokio::task_local! {
    static CALLER: ();
}

async fn same_task(stand: Stand) -> Proof {
    let elsewhere = Arc::<Mutex<Vec<&'static str>>>::default();
    let seen = elsewhere.clone();
    let note = move |what| {
        let mut seen = locked(&seen);
        if CALLER.try_with(|()| ()).is_err() && !seen.contains(&what) {
            seen.push(what);
        }
    };
    let handler = move |_: Scene, _: Request<Body>| -> Answering {
        note("called");
        let (note_future, note_body) = (note.clone(), note.clone());
        Box::pin(async move {
            note_future("its future polled");
            sleep(Duration::from_millis(5)).await;
            note_future("its future polled");
            let body = Script::new([data("a"), data("b")]).exact(true).on_poll(move || note_body("its body polled"));
            Ok(Response::new(body.body()))
        })
    };
    let mut bench = stand.open("a task-local of the caller", PLENTY, handler);
    let request = bench.get("/probe/1");
    let in_the_task = async {
        let answer = bench.send(request).await?;
        bench.read(answer).await;
        Ok::<_, Failed>(())
    };
    CALLER.scope((), in_the_task).await?;
    let elsewhere = locked(&elsewhere).join(", ");
    require(elsewhere.is_empty(), format!("in another task the inner service was {elsewhere}"))
}
