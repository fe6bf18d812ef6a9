//! What tower-service says of `poll_ready`.

use super::{Clause, Level};
use crate::stand::{Failed, PLENTY, Proof, Stand, by_path, call, needs, require};
use lab::SourceError;
use tower::ServiceExt;

pub(super) const ALL: &[Clause] = &[CALLED_WHERE_READY];

pub(super) const NO_READINESS: &str = "axum asks its routes for readiness when a request is there";

const CALLED_WHERE_READY: Clause = Clause {
    key: "called-where-ready",
    sentence: "The inner service is called only on an instance that has said that it is ready, once for each time that it has.",
    level: Level::Must,
    source: "tower-service 0.3, Service::call: poll_ready must have returned Ready(Ok(())) before; Service: be careful when cloning inner services",
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
    first.await.map_err(|_| crate::stand::Fall::because("the first call was not answered"))??;
    as_asked(&bench)?;
    let mut bench = stand.open("a clone of a service that is ready", PLENTY, by_path);
    if let Some(mut twin) = bench.outer.ready().await.map_err(Failed)?.twin() {
        call(&mut twin, bench.get("/probe/1/10")).await?.await?;
        bench.send(bench.get("/probe/2/10")).await?;
        as_asked(&bench)?;
    }
    if stand.subject.fallible {
        let fails = std::sync::atomic::AtomicBool::new(true);
        let handler = move |scene, request| -> crate::probe::Answering {
            if fails.swap(false, std::sync::atomic::Ordering::SeqCst) {
                return Box::pin(async { Err(SourceError("out of paper".to_owned())) });
            }
            by_path(scene, request)
        };
        let mut bench = stand.open("a call after one that fails", PLENTY, handler);
        // What becomes of the error is another clause's.
        let _ = bench.send(bench.get("/probe/1/10")).await;
        bench.send(bench.get("/probe/2/10")).await?;
        as_asked(&bench)?;
    }
    Ok(())
}

fn as_asked(bench: &crate::stand::Bench) -> Proof {
    let unready = bench.back.state().unready.clone();
    require(unready.is_none(), unready.unwrap_or_default())
}
