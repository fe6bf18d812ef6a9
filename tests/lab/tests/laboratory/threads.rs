//! Steps on other OS threads: polled by hand in a fixed order, with the scene's clock and logs.

use std::{cell::Cell, panic::AssertUnwindSafe, panic::catch_unwind, task::Poll, time::Duration};

use axum::{Router, routing};
use lab::{Lab, Protocol, require};
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::{get, holds, judged, transcript};

thread_local! {
    static CURRENT: Cell<&'static str> = const { Cell::new("nobody") };
}

#[test]
fn a_request_that_is_polled_on_other_threads_finds_nothing_in_its_thread_local() {
    holds(async |lab: Lab, ()| {
        let scene = lab.scene("by hand");
        let (open, gate) = oneshot::channel::<()>();
        let gate = std::sync::Arc::new(std::sync::Mutex::new(Some(gate)));
        let handler = move || {
            let gate = gate.lock().ok().and_then(|mut gate| gate.take());
            async move {
                CURRENT.set("ada");
                if let Some(gate) = gate {
                    let _ = gate.await;
                }
                CURRENT.get()
            }
        };
        let app = Router::new().route("/", routing::get(handler));
        let mut request = Box::pin(app.oneshot(get("/")));
        require(scene.poll_elsewhere(&mut request).is_pending(), "it does not wait at its gate")?;
        let _ = open.send(());
        let Poll::Ready(Ok(response)) = scene.poll_elsewhere(&mut request) else {
            return require(false, "it still waits");
        };
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap_or_default();
        require(body == "nobody", format!("the thread local says {body:?}"))
    });
}

#[test]
fn a_step_on_another_thread_has_the_clock_the_runtime_and_the_logs() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("another thread");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (now, spawned) = scene.on_another_thread(|| {
            tracing::info!(ghost = 7, "seen elsewhere");
            (tokio::time::Instant::now(), tokio::spawn(async { "spawned" }))
        });
        require(now == tokio::time::Instant::now(), "another clock")?;
        require(spawned.await.is_ok_and(|word| word == "spawned"), "nothing was spawned")?;
        require(scene.logs().len() == 1, "no log line")
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn a_timer_that_was_polled_elsewhere_is_due_at_its_time() {
    holds(async |lab, ()| {
        let scene = lab.scene("a timer");
        let mut late = Box::pin(async { tokio::time::sleep(Duration::from_secs(5)).await });
        require(scene.poll_elsewhere(&mut late).is_pending(), "due at once")?;
        tokio::time::sleep(Duration::from_millis(4999)).await;
        require(scene.poll_elsewhere(&mut late).is_pending(), "due too early")?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        require(scene.poll_elsewhere(&mut late).is_ready(), "due too late")
    });
}

#[test]
fn a_panic_on_another_thread_is_the_callers_and_the_apps() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("a panic");
        let step = || scene.on_another_thread(|| panic!("elsewhere"));
        require(catch_unwind(AssertUnwindSafe(step)).is_err(), "the panic was lost")
    });
    let observed = crate::observed(&report);
    assert!(
        observed.starts_with("in a panic: the app panicked at tests/lab/tests/laboratory/threads.rs:"),
        "{observed}"
    );
}

#[test]
fn logs_and_panics_of_blocking_threads_are_the_promises() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("spawn_blocking");
        let sealed = tokio::task::spawn_blocking(|| {
            tracing::info!("sealed");
            CURRENT.get()
        });
        require(sealed.await.is_ok(), "it failed")?;
        require(scene.logs().len() == 1, "its log line is missing")?;
        let failed = tokio::task::spawn_blocking(|| lab::arranged_panic("no seal"));
        require(failed.await.is_err(), "its panic was lost")
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn each_client_has_a_peer_of_its_own() {
    use axum::extract::ConnectInfo;
    use std::net::SocketAddr;
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let who = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
            let server = scene.serve(Router::new().route("/", routing::get(who)));
            let first = server.connect("first", protocol).await;
            let second = server.connect("second", protocol).await;
            for (client, peer) in
                [(&first, "127.0.0.1:40001"), (&second, "127.0.0.1:40002"), (&first, "127.0.0.1:40001")]
            {
                let text = client.send(get("/")).await?.read().await.text();
                require(text == peer, format!("expected {peer}, got {text}"))?;
            }
        }
        Ok(())
    });
}
