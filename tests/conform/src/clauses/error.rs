//! What fails is told, once, and hurts nobody else.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::body::Body;
use futures_util::FutureExt;
use http::{Request, Response};
use lab::{Scene, arranged_panic};
use tokio::time::{sleep, timeout};

use super::{
    Clause, Level,
    content::{after_reading, is_coded},
    readiness::is_ours,
};
use crate::{
    body::{Script, Seen, chain, data, read},
    probe::Answering,
    stand::{Failed, Fall, OUT_OF_PAPER, PLENTY, Proof, SOON, Slot, Stand, call, fails, needs, require, require_but},
    subject::Wrapped,
};

pub(super) const ALL: &[Clause] =
    &[SERVICE_ERROR_UNCHANGED, BODY_ERROR_AFTER_ITS_BYTES, NOT_POLLED_AFTER_END, SURVIVES_A_PANIC];

const SERVICE_ERROR_UNCHANGED: Clause = Clause {
    key: "service-error-unchanged",
    sentence: "An error of the inner service reaches the caller, as it is or as a cause.",
    level: Level::Should,
    source: "std, Error::source: an error that wraps another tells it",
    ghost: Some("swallowed-panic"),
    prove: |stand| Box::pin(service_error_unchanged(stand)),
};

async fn service_error_unchanged(stand: Stand) -> Proof {
    needs(stand.subject.fallible, "the inner service cannot fail")?;
    let mut bench = stand.open("the call fails", PLENTY, fails);
    match bench.send(bench.get("/probe/1")).await {
        Ok(answer) => Err(Fall::because(format!("the inner service failed, and the caller got {}", answer.status()))),
        Err(Failed(error)) => is_ours(&*error, OUT_OF_PAPER, "the inner service"),
    }
}

const BODY_ERROR_AFTER_ITS_BYTES: Clause = Clause {
    key: "body-error-after-its-bytes",
    sentence: "An error of either body arrives as an error, with its cause, after every byte before it.",
    level: Level::Must,
    source: "RFC 9112 section 8: a message that breaks off is incomplete, and is not to look complete",
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(body_error_after_its_bytes(stand)),
};

async fn body_error_after_its_bytes(stand: Stand) -> Proof {
    let torn = || Script::new([data("one "), data("two ")]).failing("torn").body();
    let inner = Slot::new();
    let handler = after_reading(inner.clone(), move || Response::new(torn()));
    let mut bench = stand.open("two frames, then an error, each way", PLENTY, handler);
    let answer = match bench.send(bench.post("/probe/1", torn())).await {
        Ok(answer) => answer,
        Err(Failed(error)) => {
            let told = format!("a body failed, and the caller got no answer but the error \"{}\"", chain(&*error));
            return Err(Fall::follows(told, "head-before-body"));
        }
    };
    let (status, coded) = (answer.status(), is_coded(answer.headers()));
    let seen = bench.read(answer).await;
    let Some((_, inner)) = inner.take() else {
        let told = format!("the request body failed, and the inner service was not called; the caller got {status}");
        return Err(Fall::follows(told, "request-body-untouched"));
    };
    let untouched = |part| !stand.touches.iter().any(|declared| declared == part);
    is_torn("the inner service", &inner, untouched("request body"))?;
    let proof = is_torn("the client", &seen, !coded && untouched("response body"));
    // An answer that was held until its body had failed is another one.
    proof.map_err(|fall| fall.or_follows_if(!status.is_success(), "head-before-body"))
}

fn is_torn(who: &str, seen: &Seen, compare: bool) -> Proof {
    let got = seen.text();
    let told = format!("\"one two \" came before the error, and {who} got {}", lab::escaped(got.as_bytes()));
    require_but(!compare || got == "one two ", "bytes-once-in-order", told)?;
    match &seen.error {
        None => Err(Fall::because(format!("the body failed, and {who} got one that ended as it should"))),
        Some((error, is_ours)) => require(
            *is_ours,
            format!("the body failed with \"torn\", and {who} got \"{error}\" without that as a cause"),
        ),
    }
}

const NOT_POLLED_AFTER_END: Clause = Clause {
    key: "not-polled-after-end",
    sentence: "A body that has ended, or failed, is not polled again.",
    level: Level::Should,
    source: "http-body 1.0, Body::poll_frame: None is the end; a Stream behind it may panic after that",
    ghost: Some("body-double-close"),
    prove: |stand| Box::pin(not_polled_after_end(stand)),
};

async fn not_polled_after_end(stand: Stand) -> Proof {
    for (title, fails) in [("two frames, then the end", false), ("two frames, then an error", true)] {
        let made = move || {
            let body = Script::new([data("one "), data("two ")]);
            if fails { body.failing("torn") } else { body }
        };
        let fate = Slot::new();
        let mark = fate.clone();
        let handler = after_reading(Slot::new(), move || {
            let body = made();
            mark.put(body.fate());
            Response::new(body.body())
        });
        let mut bench = stand.open(title, PLENTY, handler);
        let body = made();
        let request = body.fate();
        // What becomes of the error is another clause's.
        if let Ok(answer) = bench.send(bench.post("/probe/1", body.body())).await {
            bench.read(answer).await;
        }
        bench.scene.settle().await;
        let response = fate.take().map_or(0, |fate| fate.polls_after_end());
        for (who, polls) in [("request", request.polls_after_end()), ("response", response)] {
            let since = if fails { "had failed" } else { "had ended" };
            require(polls == 0, format!("the {who} body {since}, and was polled {polls} more times"))?;
        }
    }
    Ok(())
}

const SURVIVES_A_PANIC: Clause = Clause {
    key: "survives-a-panic",
    sentence: "A panic of the inner service, in call, future or body, ends its own request, at once and not as a success, and \
               leaves nothing reserved; the next request is answered.",
    level: Level::Should,
    source: "std, panic: unwinding runs destructors; tower-service 0.3, Service::poll_ready: resources are released",
    ghost: Some("swallowed-panic"),
    prove: |stand| Box::pin(survives_a_panic(stand)),
};

/// A service that panics there when the path says so.
fn panicking(place: &'static str) -> impl Fn(Scene, Request<Body>) -> Answering {
    move |_, request| {
        let armed = request.uri().path() == "/probe/panic";
        if armed && place == "the call" {
            arranged_panic("boo");
        }
        Box::pin(async move {
            if armed && place == "the future" {
                sleep(Duration::from_millis(5)).await;
                arranged_panic("boo");
            }
            if !armed {
                return Ok(Response::new(Body::from("fine")));
            }
            let first = AtomicBool::new(true);
            let body = Script::new([data("one "), data("two ")]).on_poll(move || {
                if !first.swap(false, Ordering::SeqCst) {
                    arranged_panic("boo");
                }
            });
            Ok(Response::new(body.body()))
        })
    }
}

async fn survives_a_panic(stand: Stand) -> Proof {
    for place in ["the call", "the future", "the body"] {
        let mut bench = stand.open(format!("a panic in {place}"), PLENTY, panicking(place));
        let usual = bench.send(bench.get("/probe/before")).await?.status();
        // What an ordinary call leaves reserved is another clause's.
        let before = bench.taken(PLENTY).await;
        let mut twin = bench.twin();
        let request = bench.get("/probe/panic");
        let outcome = attempt(&bench.scene, &mut bench.outer, request).await;
        bench.scene.note("client", outcome.told());
        match outcome {
            Outcome::Nothing => {
                return Err(Fall::because(format!("a panic in {place}, and 10 s later nothing had come of it")));
            }
            Outcome::Answer(status, None) if status.is_success() => {
                return Err(Fall::because(format!("a panic in {place} became a {status} that ended as it should")));
            }
            Outcome::Unwound | Outcome::Error(_) | Outcome::Answer(..) => {}
        }
        // A server goes on with a clone; a service that unwound may be in any state.
        let Some(next) = &mut twin else { continue };
        let request = bench.get("/probe/next");
        let told = match attempt(&bench.scene, next, request).await {
            Outcome::Answer(status, None) if status == usual => None,
            Outcome::Answer(status, None) => Some(format!("got {status}")),
            Outcome::Answer(status, Some(error)) => Some(format!("got {status} and a body that failed: {error}")),
            Outcome::Error(error) => Some(format!("failed: {error}")),
            Outcome::Unwound => Some("panicked, too".to_owned()),
            Outcome::Nothing => Some("waited 10 s".to_owned()),
        };
        require(told.is_none(), format!("a panic in {place}, and the next request {}", told.unwrap_or_default()))?;
        drop(std::mem::replace(&mut bench.outer, twin.take().expect("it was there")));
        let after = bench.taken(PLENTY).await;
        // The two calls since may each have left what the first one did.
        require(after <= 3 * before, format!("a panic in {place}, and afterwards {after} places stay reserved"))?;
    }
    Ok(())
}

/// What came of a request.
enum Outcome {
    Nothing,
    Unwound,
    Error(String),
    /// The status, and the error of the body.
    Answer(http::StatusCode, Option<String>),
}

impl Outcome {
    fn told(&self) -> String {
        match self {
            Self::Nothing => "gets nothing in 10 s".to_owned(),
            Self::Unwound => "is unwound".to_owned(),
            Self::Error(_) => "gets an error".to_owned(),
            Self::Answer(status, None) => format!("gets {status}"),
            Self::Answer(status, Some(_)) => format!("gets {status}, and an error in the body"),
        }
    }
}

async fn attempt(scene: &Scene, outer: &mut Wrapped, request: Request<Body>) -> Outcome {
    let attempt = async {
        let answer = call(outer, request).await?.await?;
        let status = answer.status();
        let seen = read(scene, answer.into_body()).await;
        Ok::<_, Failed>((status, seen.error.map(|(error, _)| error)))
    };
    match timeout(SOON, AssertUnwindSafe(attempt).catch_unwind()).await {
        Err(_) => Outcome::Nothing,
        Ok(Err(_)) => Outcome::Unwound,
        Ok(Ok(Err(Failed(error)))) => Outcome::Error(chain(&*error)),
        Ok(Ok(Ok((status, error)))) => Outcome::Answer(status, error),
    }
}
