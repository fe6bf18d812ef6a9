//! Whether the layer lets anything through at all.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{Method, Response};

use super::{Clause, Level};
use crate::stand::{PLENTY, Proof, Stand, at_once, require};

pub(super) const ALL: &[Clause] = &[LETS_THROUGH, METHODS_PASS];

/// The first of all: what does not keep it cannot be held to most others.
pub(super) const LETS_THROUGH: Clause = Clause {
    key: "lets-through",
    sentence: "An ordinary request reaches the inner service once, and its answer comes back.",
    level: Level::Should,
    source: "tower-layer 0.3, Layer: it decorates a service",
    ghost: None,
    prove: |stand| Box::pin(lets_through(stand)),
};

async fn lets_through(stand: Stand) -> Proof {
    let mut bench = stand.open("an ordinary request", PLENTY, at_once(|_| Response::new(Body::from("boo"))));
    let answer = bench.send(bench.get("/probe/1")).await?;
    let calls = bench.back.state().calls;
    stand.notes.answered.store(calls > 0, Ordering::SeqCst);
    let told = format!("the answer was {}, and the inner service was called {calls} times", answer.status());
    require(calls == 1, told)?;
    let seen = bench.read(answer).await;
    require(seen.error.is_none(), format!("the body of the answer failed: {:?}", seen.error))
}

const METHODS_PASS: Clause = Clause {
    key: "methods-pass",
    sentence: "A request of any method reaches the inner service.",
    level: Level::Should,
    source: "RFC 9110 section 9.1: what a method means is for the resource to say",
    ghost: None,
    prove: |stand| Box::pin(methods_pass(stand)),
};

async fn methods_pass(stand: Stand) -> Proof {
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PURGE"] {
        let mut bench = stand.open(method, PLENTY, at_once(|_| Response::default()));
        let mut request = bench.get("http://ghost.test/probe/1");
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = bench.send(request).await?;
        let reached = bench.back.state().calls > 0;
        require(reached, format!("{method} was answered {} and did not reach the inner service", answer.status()))?;
    }
    Ok(())
}
