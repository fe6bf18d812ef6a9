//! The specification of `hidden-flush`: a build-log server that compresses, and must not hold back what it compresses.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request, routing::get};
use tokio::time::sleep;

use crate::lab::{Lab, Limits, Proof, Protocol, Report, Specification, require};

/// Makes the app under test from the server of the logs.
pub type App = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Router) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits) -> Report {
    Specification::of("hidden-flush", app)
        .promise(
            "event-before-clock",
            "Each event reaches the client before the clock moves after it was produced, whatever the type of the stream.",
            event_before_clock,
        )
        .judge(limits)
}

async fn event_before_clock(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for kind in ["text/event-stream", "application/x-ndjson", "text/plain"] {
            let scene = lab.scene(format!("{protocol}, {kind}"));
            let (mut feed, body) = scene.feed("logs");
            let logs = streaming(kind, body);
            let client = scene.serve(app(logs)).connect("client", protocol).await;
            let listener = client.send(asking("/builds/7/log")).await?.listen();
            for event in ["event 1\n", "event 2\n", "event 3\n"] {
                let sent = scene.now_ms();
                feed.data(event);
                sleep(Duration::from_secs(5)).await;
                let came = listener.so_far().came_at_ms(event);
                require(came == Some(sent), late(event, sent, came))?;
            }
            feed.end();
            listener.ended().await;
        }
    }
    Ok(())
}

fn late(event: &str, sent: u64, came: Option<u64>) -> String {
    let event = event.trim();
    match came {
        Some(came) => format!("{event} was produced at {sent} ms and came at {came} ms"),
        None => format!("{event} was produced at {sent} ms and had not come 5000 ms later"),
    }
}

/// A server of logs that answers one request with `body`.
fn streaming(kind: &'static str, body: Body) -> Router {
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let answer = move || async move {
        let body = body.lock().ok().and_then(|mut body| body.take()).unwrap_or_default();
        ([("content-type", kind)], body)
    };
    Router::new().route("/builds/7/log", get(answer))
}

fn asking(path: &str) -> Request<Body> {
    Request::get(path).header("accept-encoding", "gzip").body(Body::empty()).expect("a request that never changes")
}
