//! What a scrape is told. A process of its own: the recorder is the process's. Behind the feature `end-to-end`: promtool reads it.

use std::{
    future::pending,
    io::Write,
    process::{Command, Stdio},
};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use instruments::{Observe, Tasks, prometheus::Metrics};
use tower::ServiceExt;

async fn ask(app: &Router, path: &str) -> String {
    let answer = app.clone().oneshot(Request::get(path).body(Body::empty()).expect("a good request")).await;
    let body = answer.expect("a router cannot fail").into_body().collect().await.expect("a whole body");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_scrape_has_buckets_tasks_and_the_runtime_and_promtool_has_nothing_to_say() {
    let tasks = Tasks::new();
    let metrics = Metrics::install().expect("no other recorder is installed").tasks(&tasks);
    Metrics::install().expect_err("there is one");
    let app = Router::new().route("/parcels/{id}", get(async || "on its way")).layer(Observe::new());
    let app = app.merge(metrics.router()).with_state(());
    tasks.spawn("flush", pending::<()>());
    tokio::spawn(pending::<()>());
    ask(&app, "/parcels/7").await;
    let text = ask(&app, "/metrics").await;
    for line in [
        r#"http_request_duration_seconds_bucket{route="/parcels/{id}",method="GET",status="2xx",le="0.001"} 1"#,
        r#"http_requests_total{route="/parcels/{id}",method="GET",status="2xx",outcome="complete"} 1"#,
        r#"http_requests_in_flight{route="/parcels/{id}",method="GET"} 0"#,
        r#"http_response_bytes_total{route="/parcels/{id}",method="GET",status="2xx"} 10"#,
        r#"tasks_alive{name="flush"} 1"#,
        r#"tasks_alive{name="unnamed"} 1"#,
        "tokio_tasks_alive 2",
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool starts: install the package prometheus");
    promtool.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool reads");
    let told = promtool.wait_with_output().expect("promtool ends");
    let told = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    assert_eq!(told, "");
}
