//! Places of the inner service that nobody needs any more are free again.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::{Clause, Level};
use crate::{
    body::chain,
    stand::{Bench, Failed, Proof, SOON, Stand, by_path, fails, require},
};

pub(super) const ALL: &[Clause] = &[NOTHING_LEFT_RESERVED, UNPOLLED_FUTURE_RELEASES, READY_SERVICE_RELEASES];

/// More often than a layer's own limit is likely to allow.
const ROUNDS: usize = 100;
const SOURCE: &str = "tower-service 0.3, Service::poll_ready: resources are released if the service is dropped before call, \
                      or the future before it is polled";

const NOTHING_LEFT_RESERVED: Clause = Clause {
    key: "nothing-left-reserved",
    sentence: "No place of the inner service stays reserved after a call was answered, failed, or was given up halfway, \
               and the next call is answered.",
    level: Level::Must,
    source: SOURCE,
    ghost: Some("leaked-permit"),
    prove: |stand| Box::pin(nothing_left_reserved(stand)),
};

async fn nothing_left_reserved(stand: Stand) -> Proof {
    let mut bench = open(&stand, "a call was answered");
    let _kept = bench.twin();
    bench.send(bench.get("/probe/10")).await?;
    free(&bench, "a call was answered").await?;

    if stand.subject.fallible {
        let mut bench = stand.open("two places: a call has failed", 2, fails);
        let _kept = bench.twin();
        // What becomes of the error is another clause's.
        let _ = bench.send(bench.get("/probe/10")).await;
        free(&bench, "a call has failed").await?;
    }

    let mut bench = open(&stand, "calls were given up half-way");
    let _kept = bench.twin();
    let mut rounds = 0;
    let since = "a call was given up half-way";
    while rounds < ROUNDS {
        let ready = timeout(SOON, bench.call(bench.get(&format!("/probe/{rounds}/10")))).await;
        let Ok(Ok(call)) = ready else { break };
        let _ = timeout(Duration::from_millis(5), call).await;
        if rounds == 0 {
            free(&bench, since).await?;
        }
        rounds += 1;
    }
    if rounds == ROUNDS {
        free(&bench, since).await?;
    }
    goes_on(&mut bench, "calls were given up half-way").await
}

fn open(stand: &Stand, since: &str) -> Bench {
    let bench = stand.open(format!("two places: {since}"), 2, by_path);
    // A layer may have a rate of its own.
    bench.scene.patience(Duration::from_secs(3 * 3600));
    bench
}

async fn free(bench: &Bench, since: &str) -> Proof {
    let taken = bench.taken(2).await;
    let proof = require(taken == 0, format!("{since}, and afterwards {taken} of 2 places were still reserved"));
    let state = bench.back.state();
    let (reserved, running) = (state.reserved > 0, state.running > 0);
    drop(state);
    bench.unless_spawned(proof).map_err(|fall| {
        // An instance that was ready is still there and was not called, or a call goes on that was given up.
        fall.or_follows_if(reserved, "called-where-ready")
            .or_follows_if(reserved, "ready-is-kept")
            .or_follows_if(reserved, "nothing-left-reserved")
            .or_follows_if(running, "cancel-reaches-inner")
            .or_follows_if(running, "cancelled-at-each-step")
    })
}

/// The layer's own places are free too: the next call is answered.
async fn goes_on(bench: &mut Bench, since: &str) -> Proof {
    let mut told = next(bench, "/probe/next/10").await;
    if told.is_some() {
        // A layer may keep calls off for a while after what it takes for failures. A place that is lost never comes back.
        sleep(Duration::from_secs(3600)).await;
        told = next(bench, "/probe/last/10").await;
    }
    require(told.is_none(), format!("{since}, and an hour later the next call {}", told.unwrap_or_default()))
}

/// What is wrong with the next call.
async fn next(bench: &mut Bench, path: &str) -> Option<String> {
    let request = bench.get(path);
    match timeout(SOON, bench.send(request)).await {
        Ok(Ok(_)) => None,
        Ok(Err(Failed(error))) => Some(format!("failed: {}", chain(&*error))),
        Err(_) => Some("waited 10 s".to_owned()),
    }
}

const UNPOLLED_FUTURE_RELEASES: Clause = Clause {
    key: "unpolled-future-releases",
    sentence: "A response future that is dropped before its first poll leaves no place reserved, and the next call is \
               answered.",
    level: Level::Must,
    source: SOURCE,
    ghost: Some("leaked-permit"),
    prove: |stand| Box::pin(unpolled_future_releases(stand)),
};

async fn unpolled_future_releases(stand: Stand) -> Proof {
    let since = "a future was dropped before it was polled";
    let mut bench = open(&stand, since);
    let _kept = bench.twin();
    let mut rounds = 0;
    while rounds < ROUNDS {
        let ready = timeout(SOON, bench.call(bench.get(&format!("/probe/{rounds}/10")))).await;
        let Ok(Ok(call)) = ready else { break };
        drop(call);
        if rounds == 0 {
            free(&bench, since).await?;
        }
        rounds += 1;
    }
    if rounds == ROUNDS {
        free(&bench, since).await?;
    }
    goes_on(&mut bench, since).await
}

const READY_SERVICE_RELEASES: Clause = Clause {
    key: "ready-service-releases",
    sentence: "A service that is dropped when it is ready leaves no place reserved, and the next call is answered.",
    level: Level::Must,
    source: SOURCE,
    ghost: Some("leaked-permit"),
    prove: |stand| Box::pin(ready_service_releases(stand)),
};

async fn ready_service_releases(stand: Stand) -> Proof {
    let since = "a service was dropped when it was ready";
    let mut bench = open(&stand, since);
    let Some(next) = bench.twin() else {
        bench.outer.ready().await.map_err(Failed)?;
        let Bench { scene, back, outer, .. } = bench;
        drop(outer);
        scene.settle().await;
        let free = back.places.available_permits();
        return require(free == 2, format!("{since}, and afterwards {free} of 2 places were free"));
    };
    let mut rounds = 0;
    while rounds < ROUNDS {
        let mut twin = next.twin().unwrap_or_else(|| unreachable!("it could be cloned before"));
        let ready = timeout(SOON, twin.ready()).await;
        if !matches!(ready, Ok(Ok(_))) {
            break;
        }
        drop(twin);
        if rounds == 0 {
            free(&bench, since).await?;
        }
        rounds += 1;
    }
    if rounds == ROUNDS {
        free(&bench, since).await?;
    }
    goes_on(&mut bench, since).await
}
