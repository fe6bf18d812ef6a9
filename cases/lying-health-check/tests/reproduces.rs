//! The ghost appears: the verdict is right, and stands where no machine reads it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use lying_health_check::near_misses;
use lying_health_check_spec::check;
use tokio::{sync::Semaphore, time::sleep};
use tower::ServiceExt;
use tracing_test::traced_test;

#[test]
fn a_dead_database_is_a_200_with_a_sad_body() {
    let report = check(lying_health_check::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

/// The body is right, so that a test which reads it passes.
#[tokio::test(start_paused = true)]
#[traced_test]
async fn the_log_knows_that_the_database_is_gone_and_the_status_does_not() {
    let database = Router::new().fallback(async || StatusCode::INTERNAL_SERVER_ERROR);
    let pool = Arc::new(Semaphore::new(1));
    let app = lying_health_check::app(database, pool, Duration::from_secs(1));
    sleep(Duration::from_secs(2)).await;

    let probe = Request::get("/readyz").body(Body::empty()).unwrap();
    let answer = app.oneshot(probe).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 1000).await.unwrap();
    assert_eq!(body, r#"{"code":5001,"status":"database out of reach"}"#);
}

#[test]
fn a_result_is_a_503_only_for_what_it_takes_for_an_error() {
    miss("error-only", "sick-within-two-periods");
}

#[test]
fn an_order_that_fails_with_200_teaches_a_proxy_nothing() {
    miss("readiness-only", "learning-proxy-goes-round");
}

#[test]
fn one_handler_for_both_gets_a_live_process_restarted() {
    miss("one-handler", "alive-throughout");
}

#[test]
fn a_check_with_a_connection_of_its_own_does_not_see_the_pool() {
    miss("own-connection", "sick-within-two-periods");
}

#[test]
fn one_reading_of_the_pool_takes_a_busy_service_for_a_sick_one() {
    miss("one-reading", "busy-is-not-sick");
}

#[test]
fn the_last_word_of_a_dead_checker_stands_for_ever() {
    miss("dead-checker", "sick-within-two-periods");
}

#[test]
fn a_service_that_has_not_asked_yet_vouches_for_its_database() {
    miss("ready-until-proven-sick", "not-ready-before-a-check");
}

#[test]
fn a_checker_that_stops_at_the_first_failure_sees_no_recovery() {
    miss("gives-up-at-first-failure", "well-within-two-periods");
}

#[test]
fn a_deadline_on_the_handle_leaves_the_check_and_its_connection() {
    miss("deadline-on-the-handle", "check-gives-permit-back");
}

#[test]
fn a_check_for_each_probe_is_as_many_pings_as_probes() {
    miss("check-per-probe", "one-ping-a-period");
}

#[test]
fn a_good_result_that_is_kept_outlives_the_database() {
    miss("cached-for-ever", "sick-within-two-periods");
}

#[test]
fn a_check_without_a_deadline_makes_the_probe_hang_with_the_database() {
    miss("no-deadline", "probe-answered-in-a-period");
}

#[test]
fn a_check_in_the_task_of_a_probe_ends_with_its_prober() {
    miss("check-in-the-probe", "check-outlives-its-prober");
}

fn miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of this name");
    let report = check(*app);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks), "{name} keeps {breaks}:\n{report}");
}
