//! A promise of a service, proven on a real wire in virtual time without this laboratory: the book prints it to be pasted.

// ANCHOR: uses
use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Request, StatusCode},
    middleware::{Next, from_fn},
    response::IntoResponse,
    routing::get,
};
use http_body_util::BodyExt;
use hyper::{client::conn::http1::SendRequest, server::conn::http1::Builder};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep, timeout},
};
// ANCHOR_END: uses

// ANCHOR: wire
/// A client of the app, with hyper at both ends of a pipe in memory. No socket can wake us, so the clock is ours.
async fn connect(app: Router) -> SendRequest<Body> {
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(Builder::new().serve_connection(TokioIo::new(far), TowerToHyperService::new(app)));
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.expect("a connection");
    tokio::spawn(connection);
    sender
}

fn ask_for(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a path")
}
// ANCHOR_END: wire

// ANCHOR: backend
/// Says when it is dropped, and so when the work that holds it has ended, however it ends.
struct Work(UnboundedSender<&'static str>);

impl Drop for Work {
    fn drop(&mut self) {
        let _ = self.0.send("ended");
    }
}

/// A handler that works for as many minutes as the path says.
fn reports(seen: UnboundedSender<&'static str>) -> Router {
    let report = async move |Path(minutes): Path<u64>| {
        let work = Work(seen);
        let _ = work.0.send("started");
        sleep(Duration::from_secs(60 * minutes)).await;
        "the report"
    };
    Router::new().route("/reports/{minutes}", get(report))
}
// ANCHOR_END: backend

// ANCHOR: promise
/// When a client leaves, nobody goes on with what it asked for.
async fn work_ends_with_its_client(app: fn(Router) -> Router) -> Result<(), String> {
    let (seen, mut sees) = unbounded_channel();
    let mut client = connect(app(reports(seen))).await;

    // The control: the app works before the fault, or the rest proves nothing.
    let answer = client.send_request(ask_for("/reports/1")).await.map_err(|error| error.to_string())?;
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    if body != "the report" || sees.recv().await != Some("started") || sees.recv().await != Some("ended") {
        return Err(format!("the app does not even pass on a report: {body:?}"));
    }

    // The fault: the client leaves as soon as the work on its report has started.
    tokio::select! {
        _ = client.send_request(ask_for("/reports/60")) => return Err("a report of an hour came at once".to_owned()),
        started = sees.recv() => assert_eq!(started, Some("started")),
    }
    drop(client);
    let left = Instant::now();

    // The verdict, in virtual time: an hour costs nothing, and no moment is too short to be seen.
    sees.recv().await;
    match left.elapsed() {
        Duration::ZERO => Ok(()),
        longer => Err(format!("the work went on for {} s after its client had left", longer.as_secs())),
    }
}
// ANCHOR_END: promise

// ANCHOR: tests
/// Your middleware goes here, round the routes that the test supplies.
fn app(routes: Router) -> Router {
    routes.layer(from_fn(async |request: Request<Body>, next: Next| {
        let answer = timeout(Duration::from_secs(2 * 60 * 60), next.run(request)).await;
        answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
    }))
}

#[tokio::test(start_paused = true)]
async fn the_work_ends_with_its_client() {
    assert_eq!(work_ends_with_its_client(app).await, Ok(()));
}

/// The test can fail: a tempting patch breaks the promise, and the test says how.
#[tokio::test(start_paused = true)]
async fn a_task_of_its_own_outlives_the_client() {
    let spawning = |routes: Router| {
        routes.layer(from_fn(async |request: Request<Body>, next: Next| {
            tokio::spawn(next.run(request)).await.expect("no panic")
        }))
    };
    let verdict = work_ends_with_its_client(spawning).await;
    assert_eq!(verdict, Err("the work went on for 3600 s after its client had left".to_owned()));
}
// ANCHOR_END: tests
