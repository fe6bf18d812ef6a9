//! The ghost is gone: the verdict is the status, and right fixes by other means are accepted.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use lab::Report;
use lying_health_check_spec::check;
use tokio::{sync::Semaphore, time::sleep};
use tower::ServiceExt;
use tracing_test::traced_test;

#[path = "also_right/cached_check.rs"]
pub mod cached_check;
#[path = "also_right/lease.rs"]
pub mod lease;
#[path = "also_right/orders_tell_too.rs"]
pub mod orders_tell_too;
#[path = "also_right/supervised_checker.rs"]
pub mod supervised_checker;

#[test]
fn the_verdict_is_the_status() {
    let report = check(lying_health_check_fixed::app);
    holds(&report);
    insta::assert_snapshot!("fixed", report.verdicts());
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: it looks at the status, as a proxy does.
#[tokio::test(start_paused = true)]
#[traced_test]
async fn a_probe_reads_503_and_the_log_tells_of_it_once() {
    let pool = Arc::new(Semaphore::new(1));
    let app =
        lying_health_check_fixed::app(Router::new().fallback(async || "pong"), pool.clone(), Duration::from_secs(1));
    let readyz = async || {
        let probe = Request::get("/readyz").body(Body::empty()).unwrap();
        app.clone().oneshot(probe).await.unwrap().status()
    };
    sleep(Duration::from_millis(500)).await;
    assert_eq!(readyz().await, StatusCode::OK);

    // No statement that has a connection ever ends.
    pool.acquire().await.unwrap().forget();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(readyz().await, StatusCode::SERVICE_UNAVAILABLE);
    logs_assert(|lines| match lines.iter().filter(|line| line.contains("the health has changed")).count() {
        2 => Ok(()),
        other => Err(format!("{other} lines, where up and out of reach are two")),
    });
}
// ANCHOR_END: notice

#[test]
fn so_it_is_when_a_probe_has_the_database_checked() {
    holds(&check(cached_check::app));
}

#[test]
fn so_it_is_when_silence_ends_a_lease() {
    holds(&check(lease::app));
}

#[test]
fn so_it_is_when_the_orders_are_evidence_too() {
    holds(&check(orders_tell_too::app));
}

#[test]
fn so_it_is_when_the_checker_survives_a_panic() {
    holds(&check(supervised_checker::app));
}

fn holds(report: &Report) {
    assert!(report.all_kept(), "{report}");
}
