//! What tower-service says of `poll_ready`, and what it takes to pass it on.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use lab::SourceError;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt};

use super::{Clause, Level};
use crate::{
    body::{chain, source_error},
    probe::{Answering, OUT_OF_ORDER},
    stand::{
        Bench, Failed, Fall, PAUSE, PLENTY, Proof, SOON, Slot, Stand, at_once, by_path, call, fails, joined, needs,
        require, require_but,
    },
};

pub(super) const ALL: &[Clause] = &[
    CALLED_WHERE_READY,
    READY_IS_KEPT,
    BACKPRESSURE_PASSED_ON,
    READINESS_ERROR_PASSED,
    LATE_READINESS_ERROR_TOLD,
    LAST_WAKER_WOKEN,
];

const NO_READINESS: &str = "axum asks its routes for readiness when a request is there";
const CANNOT_FAIL: &str = "the inner service cannot fail";

const CALLED_WHERE_READY: Clause = Clause {
    key: "called-where-ready",
    sentence: "The inner service is called only on an instance that has said it's ready, once for each time it has said \
               so.",
    level: Level::Must,
    source: "tower-service 0.3, Service::call and \"Be careful when cloning inner services\"",
    ghost: Some("unready-clone"),
    prove: |stand| Box::pin(called_where_ready(stand)),
};

async fn called_where_ready(stand: Stand) -> Proof {
    needs(stand.subject.has_readiness, NO_READINESS)?;
    let mut bench = stand.open("one call after the other", PLENTY, by_path);
    for number in 0..2 {
        bench.send(bench.get(&format!("/probe/{number}/10"))).await?;
        as_asked(&bench)?;
    }
    let mut bench = stand.open("two calls at a time", PLENTY, by_path);
    let first = bench.call(bench.get("/probe/1/20")).await?;
    let first = bench.scene.spawn(first);
    bench.send(bench.get("/probe/2/10")).await?;
    joined(first).await??;
    as_asked(&bench)?;
    let mut bench = stand.open("a clone of a service that is ready", PLENTY, by_path);
    if let Some(mut twin) = bench.outer.ready().await.map_err(Failed)?.twin() {
        call(&mut twin, bench.get("/probe/1/10")).await?.await?;
        bench.send(bench.get("/probe/2/10")).await?;
        as_asked(&bench)?;
    }
    if stand.subject.fallible {
        let first = AtomicBool::new(true);
        let handler = move |scene, request| -> Answering {
            if first.swap(false, Ordering::SeqCst) { fails(scene, request) } else { by_path(scene, request) }
        };
        let mut bench = stand.open("a call after one that fails", PLENTY, handler);
        // What becomes of the error is another clause's.
        let _ = bench.send(bench.get("/probe/1/10")).await;
        bench.send(bench.get("/probe/2/10")).await?;
        as_asked(&bench)?;
    }
    Ok(())
}

fn as_asked(bench: &Bench) -> Proof {
    let unready = bench.back.state().unready.clone();
    require(unready.is_none(), unready.unwrap_or_default())
}

const READY_IS_KEPT: Clause = Clause {
    key: "ready-is-kept",
    sentence: "A caller that was told ready is told so again, nothing more is reserved for it, and its call reaches the \
               inner service at once.",
    level: Level::Must,
    source: "tower-service 0.3, Service::poll_ready: until a request is dispatched, repeated calls return Ready",
    ghost: Some("unready-clone"),
    prove: |stand| Box::pin(ready_is_kept(stand)),
};

async fn ready_is_kept(stand: Stand) -> Proof {
    needs(stand.subject.has_readiness, NO_READINESS)?;
    let mut bench = stand.open("three places, asked five times", 3, by_path);
    for _ in 0..5 {
        let asked = timeout(SOON, bench.outer.ready()).await;
        let ready = asked.map_err(|_| Fall::because("a caller was told ready, asked again, and was not told so"))?;
        ready.map_err(Failed)?;
    }
    let taken = bench.taken(3).await;
    require(taken <= 1, format!("one caller asked five times, and {taken} places are reserved"))?;

    let reached = Slot::new();
    let mark = reached.clone();
    let handler = move |scene: lab::Scene, request: http::Request<_>| {
        if request.uri().path().starts_with("/mine") {
            mark.put(scene.now_ms());
        }
        by_path(scene, request)
    };
    let mut bench = stand.open("one place, another caller waits for it", 1, handler);
    bench.outer.ready().await.map_err(Failed)?;
    if let Some(mut twin) = bench.twin() {
        let request = bench.get("/other/10");
        bench.scene.spawn(async move {
            let ready = twin.ready().await?;
            sleep(Duration::from_millis(10)).await;
            ready.call(request).await
        });
    }
    sleep(Duration::from_millis(5)).await;
    let request = bench.get("/mine/20");
    let mine = bench.outer.call(request);
    let answer = timeout(SOON, mine).await;
    let at = reached.take();
    let told = at.map_or("has not in 10 s".to_owned(), |at| format!("did at {at} ms"));
    require(
        at == Some(5),
        format!("a caller that was told ready called at 5 ms; its call was to reach the inner service, and {told}"),
    )?;
    answer.map_err(|_| Fall::because("the call reached the inner service, and no answer came"))?.map_err(Failed)?;
    Ok(())
}

const BACKPRESSURE_PASSED_ON: Clause = Clause {
    key: "backpressure-passed-on",
    sentence: "While the inner service isn't ready, the layer isn't either, neither for the same caller nor for a clone; \
               it's ready the instant the inner service is.",
    level: Level::Should,
    source: "tower-service 0.3, Service: \"Backpressure\"",
    ghost: Some("unready-clone"),
    prove: |stand| Box::pin(backpressure_passed_on(stand)),
};

async fn backpressure_passed_on(stand: Stand) -> Proof {
    needs(stand.subject.has_readiness, NO_READINESS)?;
    for title in ["one place, the same caller asks again", "one place, a clone asks for it"] {
        let mut bench = stand.open(title, 1, by_path);
        let mut other = if title.contains("clone") { bench.twin() } else { None };
        if title.contains("clone") && other.is_none() {
            continue;
        }
        let first = bench.call(bench.get("/probe/1/20")).await?;
        let first = bench.scene.spawn(first);
        bench.scene.settle().await;
        let running = bench.back.state().running;
        let told = "the layer said that it was ready, and the call did not reach the inner service";
        require_but(running == 1, "ready-is-kept", told)?;
        let next = other.as_mut().unwrap_or(&mut bench.outer);
        let ready = timeout(SOON, next.ready()).await;
        let kept = bench.back.state().running == 0 && bench.back.places.available_permits() == 0;
        let told = "the place was free at 20 ms, and 10 s later the layer was not ready";
        ready.map_err(|_| Fall::because(told).or_follows_if(kept, "nothing-left-reserved"))?.map_err(Failed)?;
        let at = bench.scene.now_ms();
        require(at == 20, format!("the only place was taken until 20 ms, and the layer was ready at {at} ms"))?;
        joined(first).await??;
    }
    Ok(())
}

const READINESS_ERROR_PASSED: Clause = Clause {
    key: "readiness-error-passed",
    sentence: "An error of the inner service's poll_ready comes out of the layer's poll_ready, as it is or as a cause.",
    level: Level::Should,
    source: "tower-service 0.3, Service::poll_ready: after Ready(Err) the caller discards the service",
    ghost: None,
    prove: |stand| Box::pin(readiness_error_passed(stand)),
};

async fn readiness_error_passed(stand: Stand) -> Proof {
    needs(stand.subject.fallible, CANNOT_FAIL)?;
    needs(stand.subject.has_readiness, NO_READINESS)?;
    let mut bench = stand.open("the inner service is out of order", PLENTY, by_path);
    bench.back.state().out_of_order = true;
    let request = bench.get("/probe/10");
    let ready = timeout(SOON, bench.outer.ready()).await;
    let ready = ready.map_err(|_| Fall::because("poll_ready failed, and the layer was not ready in 10 s"))?;
    let error = match ready {
        Err(error) => error,
        Ok(ready) => {
            let told = match timeout(SOON, ready.call(request)).await {
                Err(_) => "no answer came".to_owned(),
                Ok(Ok(answer)) => format!("it answered {}", answer.status()),
                Ok(Err(error)) => format!("its call failed: {}", chain(&*error)),
            };
            return Err(Fall::because(format!("poll_ready failed, the layer said that it was ready, and {told}")));
        }
    };
    is_ours(&*error, OUT_OF_ORDER, "poll_ready")
}

/// The error is the suite's own, or has it as a cause.
pub(super) fn is_ours(error: &(dyn std::error::Error + 'static), said: &str, who: &str) -> Proof {
    let same = source_error(error) == Some(&SourceError(said.to_owned()));
    require(same, format!("{who} said \"{said}\", and the caller got \"{}\" without that as a cause", chain(error)))
}

const LATE_READINESS_ERROR_TOLD: Clause = Clause {
    key: "late-readiness-error-told",
    sentence: "When the inner service breaks down after it was ready, the caller is told: by poll_ready, or by the call that \
               it makes.",
    level: Level::Should,
    source: "tower-service 0.3, Service::poll_ready: repeated calls return Ready(Ok) or Ready(Err)",
    ghost: None,
    prove: |stand| Box::pin(late_readiness_error_told(stand)),
};

async fn late_readiness_error_told(stand: Stand) -> Proof {
    needs(stand.subject.fallible, CANNOT_FAIL)?;
    needs(stand.subject.has_readiness, NO_READINESS)?;
    let mut bench = stand.open("ready, then out of order", PLENTY, by_path);
    bench.outer.ready().await.map_err(Failed)?;
    bench.back.state().out_of_order = true;
    bench.scene.note("service", "is out of order from now on");
    let request = bench.get("/probe/10");
    let told = async {
        let ready = bench.outer.ready().await?;
        ready.call(request).await
    };
    match timeout(SOON, told).await {
        Err(_) => {
            Err(Fall::because("poll_ready failed after it was ready, and 10 s later the caller had not been told"))
        }
        Ok(Ok(answer)) => {
            Err(Fall::because(format!("poll_ready failed after it was ready, and the caller got {}", answer.status())))
        }
        Ok(Err(error)) => is_ours(&*error, OUT_OF_ORDER, "the inner service"),
    }
}

const LAST_WAKER_WOKEN: Clause = Clause {
    key: "last-waker-woken",
    sentence: "When poll_ready, the future or the body was polled from one task and then from another, the task that \
               polled last is woken.",
    level: Level::Must,
    source: "std, Future::poll: only the Waker of the most recent call is to be woken",
    ghost: None,
    prove: |stand| Box::pin(last_waker_woken(stand)),
};

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls from one task and then from another; tells whether the second was woken. `None` if there was nothing
/// to wait for.
async fn wakes_the_last(mut poll: impl FnMut(&mut Context<'_>) -> bool) -> Option<bool> {
    let (first, last) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    for bell in [&first, &last] {
        if poll(&mut Context::from_waker(&Waker::from(bell.clone()))) {
            return None;
        }
    }
    sleep(PAUSE).await;
    Some(last.0.load(Ordering::SeqCst))
}

async fn last_waker_woken(stand: Stand) -> Proof {
    if stand.subject.has_readiness {
        let mut bench = stand.open("poll_ready, asked from two tasks", 0, by_path);
        let places = bench.back.places.clone();
        bench.scene.spawn(async move {
            sleep(Duration::from_millis(20)).await;
            places.add_permits(1);
        });
        let woken = wakes_the_last(|cx| bench.outer.poll_ready(cx).is_ready()).await;
        require(woken != Some(false), "a place became free, and the task that asked last was not woken")?;
    }
    let mut bench = stand.open("the future, asked from two tasks", PLENTY, by_path);
    let mut future = Box::pin(bench.call(bench.get("/probe/20")).await?);
    let woken = wakes_the_last(|cx| future.as_mut().poll(cx).is_ready()).await;
    require(woken != Some(false), "the inner service answered, and the task that asked last was not woken")?;

    let slot = Slot::new();
    let fed = slot.clone();
    let mut bench = stand.open(
        "the body, asked from two tasks",
        PLENTY,
        at_once(move |_| http::Response::new(fed.take().unwrap_or_default())),
    );
    let (source, body) = bench.scene.feed("response body");
    slot.put(body);
    let answer = bench.head_of(bench.get("/probe/1")).await?;
    let mut body = answer.into_body();
    // A coding may hold a first byte back until its own head is out; another clause is about that.
    let first =
        poll_fn(|cx| Poll::Ready(http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx).is_ready())).await;
    if first {
        return Ok(());
    }
    bench.scene.spawn(async move {
        sleep(Duration::from_millis(20)).await;
        source.data(crate::body::noise());
        sleep(SOON).await;
    });
    let woken = wakes_the_last(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx).is_ready()).await;
    require(woken != Some(false), "the inner body went on, and the task that asked last was not woken")
}
