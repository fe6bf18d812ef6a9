//! What is given up ends, and what is let go of is let go of.

use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use lab::Scene;
use tokio::time::{sleep, timeout};

use super::{Clause, Level};
use crate::{
    probe::Answering,
    stand::{Bench, Fall, PAUSE, PLENTY, Proof, SOON, Slot, Stand, at_once, require, require_but},
};

pub(super) const ALL: &[Clause] = &[
    CANCEL_REACHES_INNER,
    CANCELLED_AT_EACH_STEP,
    BODY_DROP_REACHES_INNER,
    REQUEST_BODY_RELEASED,
    NOTHING_LEFT_RUNNING,
];

const DROP: &str =
    "std, Future: what is not polled does nothing; dropping it gives it up, and hyper does when a client leaves";

const CANCEL_REACHES_INNER: Clause = Clause {
    key: "cancel-reaches-inner",
    sentence: "When the response future is dropped, the inner future and the request body are dropped before the clock \
               moves.",
    level: Level::Should,
    source: DROP,
    ghost: Some("ignored-deadline"),
    prove: |stand| Box::pin(cancel_reaches_inner(stand)),
};

async fn cancel_reaches_inner(stand: Stand) -> Proof {
    let handler = |_: Scene, request: Request<Body>| -> Answering {
        Box::pin(async move {
            let _request = request;
            std::future::pending().await
        })
    };
    let mut bench = stand.open("the response future is dropped at 5 ms", PLENTY, handler);
    let (source, body) = bench.scene.feed("request body");
    let call = bench.call(bench.post("/probe/1", body)).await?;
    let mut call = Box::pin(call);
    let _ = timeout(Duration::from_millis(5), &mut call).await;
    let told = "a request whose body had not ended did not reach the inner service";
    let proof = require_but(bench.back.state().running == 1, "request-body-untouched", told);
    proof.map_err(|fall| fall.or_follows("calls-overlap"))?;
    bench.scene.note("client", "drops the response future");
    drop(call);
    gone(&bench, 5).await?;
    let dropped = source.dropped_at_ms();
    require(dropped == Some(5), format!("the response future was dropped at 5 ms, the request body {}", at(dropped)))
}

fn at(ms: Option<u64>) -> String {
    ms.map_or("lives on".to_owned(), |ms| format!("at {ms} ms"))
}

/// The inner future was dropped at this time, if there was one.
async fn gone(bench: &Bench, ms: u64) -> Proof {
    let proof = async {
        sleep(PAUSE).await;
        let running = bench.back.state().running;
        let given_up = bench.back.state().given_up.first().copied();
        let told = match given_up {
            Some(given_up) => format!("the inner future at {given_up} ms"),
            None => "30 ms later the inner future lives on".to_owned(),
        };
        require(
            running == 0 && given_up.is_none_or(|at| at == ms),
            format!("the response future was dropped at {ms} ms, {told}"),
        )
    };
    let tasks = bench.scene.app_tasks();
    proof.await.map_err(|fall| fall.or_follows_if(tasks > 0, "same-task"))
}

const CANCELLED_AT_EACH_STEP: Clause = Clause {
    key: "cancelled-at-each-step",
    sentence: "At whichever step the response future is dropped, before its first poll or after any of them, the inner \
               future and the request body are dropped before the clock moves.",
    level: Level::Should,
    source: DROP,
    ghost: Some("ignored-deadline"),
    prove: |stand| Box::pin(cancelled_at_each_step(stand)),
};

async fn cancelled_at_each_step(stand: Stand) -> Proof {
    for step in 0..5 {
        let handler = |_: Scene, request: Request<Body>| -> Answering {
            Box::pin(async move {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {
                    sleep(Duration::from_millis(10)).await;
                }
                Ok(Response::default())
            })
        };
        let title = match step {
            0 => "dropped before its first poll".to_owned(),
            step => format!("dropped at {} ms", 10 * step - 5),
        };
        let mut bench = stand.open(title, PLENTY, handler);
        let (source, body) = bench.scene.feed("request body");
        source.data("one");
        source.data("two");
        let call = bench.call(bench.post("/probe/1", body)).await?;
        let mut call = Box::pin(call);
        if step > 0 {
            let _ = timeout(Duration::from_millis(10 * step - 5), &mut call).await;
        }
        let now = bench.scene.now_ms();
        bench.scene.note("client", "drops the response future");
        drop(call);
        let proof = gone(&bench, now).await.and_then(|()| {
            let dropped = source.dropped_at_ms();
            let told = format!("the response future was dropped at {now} ms, the request body {}", at(dropped));
            bench.unless_spawned(require(dropped == Some(now), told))
        });
        proof.map_err(|fall| fall.or_follows("cancel-reaches-inner"))?;
    }
    Ok(())
}

const BODY_DROP_REACHES_INNER: Clause = Clause {
    key: "body-drop-reaches-inner",
    sentence: "When the response body is dropped, the inner body is dropped before the clock moves.",
    level: Level::Should,
    source: "http-body 1.0, Body: its reader polls it; hyper drops it when the client leaves",
    ghost: Some("ignored-deadline"),
    prove: |stand| Box::pin(body_drop_reaches_inner(stand)),
};

async fn body_drop_reaches_inner(stand: Stand) -> Proof {
    for title in ["dropped unread", "dropped after a frame"] {
        let slot = Slot::new();
        let fed = slot.clone();
        let mut bench = stand.open(title, PLENTY, at_once(move |_| Response::new(fed.take().unwrap_or_default())));
        let (source, body) = bench.scene.feed("response body");
        slot.put(body);
        let answer = bench.head_of(bench.get("/probe/1")).await?;
        source.data("one ");
        let mut body = answer.into_body();
        if title == "dropped after a frame" {
            let _ = timeout(Duration::from_millis(5), body.frame()).await;
        }
        let now = bench.scene.now_ms();
        bench.scene.note("client", "drops the response body");
        drop(body);
        let spawned = bench.scene.app_tasks() > 0;
        sleep(PAUSE).await;
        let dropped = source.dropped_at_ms();
        let proof = require(
            dropped == Some(now),
            format!("the response body was dropped at {now} ms, the inner one {}", at(dropped)),
        );
        proof.map_err(|fall| fall.or_follows_if(spawned, "same-task"))?;
    }
    Ok(())
}

const REQUEST_BODY_RELEASED: Clause = Clause {
    key: "request-body-released",
    sentence: "When the inner service lets go of the request body, the client's body is let go of before the clock moves.",
    level: Level::Should,
    source: "hyper 1, server: a body that is dropped unread ends what the client still sends",
    ghost: Some("unread-body"),
    prove: |stand| Box::pin(request_body_released(stand)),
};

async fn request_body_released(stand: Stand) -> Proof {
    for title in ["let go of unread", "let go of after a frame"] {
        let released = Slot::new();
        let mark = released.clone();
        let handler = move |scene: Scene, request: Request<Body>| -> Answering {
            let mark = mark.clone();
            Box::pin(async move {
                let mut body = request.into_body();
                if title == "let go of after a frame" {
                    let _ = body.frame().await;
                }
                mark.put(scene.now_ms());
                drop(body);
                sleep(PAUSE).await;
                Ok(Response::default())
            })
        };
        let mut bench = stand.open(title, PLENTY, handler);
        let (source, body) = bench.scene.feed("request body");
        source.data("one ");
        source.data("two ");
        let call = bench.call(bench.post("/probe/1", body)).await?;
        let _ = timeout(SOON, call).await;
        let told = "a request whose body had not ended did not reach the inner service";
        require_but(bench.back.state().calls > 0, "request-body-untouched", told)?;
        let Some(released) = released.take() else {
            let told = "the inner service was called, and of a frame that was sent it got nothing";
            return Err(Fall::follows(told, "request-streams"));
        };
        let dropped = source.dropped_at_ms();
        let told = format!("the inner service let go of the request body at {released} ms, the layer {}", at(dropped));
        bench.unless_spawned(require(dropped == Some(released), told))?;
    }
    Ok(())
}

const NOTHING_LEFT_RUNNING: Clause = Clause {
    key: "nothing-left-running",
    sentence: "No task is left after a call was answered and its body read, after it was given up, or after it was given \
               up while its body was being read.",
    level: Level::Should,
    source: "tokio, task::spawn: a task goes on when its JoinHandle is dropped",
    ghost: Some("ignored-deadline"),
    prove: |stand| Box::pin(nothing_left_running(stand)),
};

async fn nothing_left_running(stand: Stand) -> Proof {
    let slot = Slot::new();
    let fed: Slot<Body> = slot.clone();
    let handler = move |_: Scene, request: Request<Body>| -> Answering {
        let body = fed.clone();
        Box::pin(async move {
            if request.uri().path().ends_with("/slow") {
                sleep(PAUSE).await;
            }
            Ok(Response::new(body.take().unwrap_or_else(|| Body::from("done"))))
        })
    };
    let mut bench = stand.open("answered, given up, given up while it was read", PLENTY, handler);
    let answer = bench.send(bench.get("/probe/0")).await?;
    bench.read(answer).await;
    bench.scene.settle().await;
    // What lives as long as the service does is its own affair.
    let idle = bench.scene.app_tasks();
    let none = async |bench: &Bench, since: &str| {
        bench.scene.settle().await;
        let more = bench.scene.app_tasks().saturating_sub(idle);
        require(more == 0, format!("{since}, and {more} more tasks than before live on"))
            .map_err(|fall| fall.or_follows("same-task"))
    };
    let answer = bench.send(bench.get("/probe/1")).await?;
    bench.read(answer).await;
    none(&bench, "a call was answered and read").await?;

    let call = bench.call(bench.get("/probe/2/slow")).await?;
    let _ = timeout(Duration::from_millis(5), call).await;
    none(&bench, "a call was given up").await?;

    let (source, body) = bench.scene.feed("response body");
    slot.put(body);
    let answer = bench.head_of(bench.get("/probe/3")).await?;
    source.data("one ");
    let mut body = answer.into_body();
    let _ = timeout(Duration::from_millis(5), body.frame()).await;
    drop(body);
    none(&bench, "a response body was given up").await
}
