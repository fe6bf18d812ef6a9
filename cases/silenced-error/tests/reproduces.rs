//! The ghost appears: an error becomes a status, and the log has no line of it.

use std::io;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use silenced_error::near_misses;
use silenced_error_spec::check;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
use tracing_test::traced_test;

#[test]
fn the_outage_has_no_line() {
    let report = check(silenced_error::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: something fails, and one looks into the log and not at the answer.
#[traced_test]
#[tokio::test]
async fn a_failure_is_a_status_and_nothing_more() {
    let archive = service_fn(|_| async { Err::<Body, _>(io::Error::other("the bucket of 2026 is closed")) });
    let app = silenced_error::app(BoxCloneSyncService::new(archive));

    let request = Request::get("/invoices/13?signature=1234").body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();

    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(to_bytes(answer.into_body(), 1024).await.unwrap(), "");
    assert!(!logs_contain("the bucket of 2026 is closed"));
    assert!(!logs_contain("ERROR"));
    assert!(!logs_contain("1234"));
}
// ANCHOR_END: notice

#[test]
fn a_display_says_what_failed_and_not_why() {
    miss("first-text", "one-event-tells-all-causes");
}

#[test]
fn a_span_at_info_is_not_there_when_only_errors_are_logged() {
    miss("info-span", "event-names-route-and-id");
}

#[test]
fn a_body_is_polled_when_the_span_was_left() {
    miss("map-err-outside", "broken-body-is-told");
}

#[test]
fn a_debug_shows_what_display_leaves_out() {
    miss("debugged", "secrets-are-kept");
}

#[test]
fn two_places_that_log_are_two_errors() {
    miss("told-twice", "one-event-tells-all-causes");
}

#[test]
fn a_warning_is_not_there_when_only_errors_are_logged() {
    miss("as-a-warning", "one-event-tells-all-causes");
}

#[test]
fn the_uri_of_a_signed_link_is_a_key() {
    miss("traced-by-default", "secrets-are-kept");
}

#[test]
fn headers_have_sessions() {
    miss("headers-too", "secrets-are-kept");
}

#[test]
fn a_path_is_no_route() {
    miss("raw-path", "event-names-route-and-id");
}

#[test]
fn an_error_does_not_know_its_request() {
    miss("in-the-answer", "event-names-route-and-id");
}

#[test]
fn a_mistyped_link_is_nobodys_failure() {
    miss("error-from-400", "no-failure-no-error");
}

#[test]
fn an_entered_span_stays_on_the_thread() {
    miss("entered", "failures-keep-apart");
}

#[test]
fn a_failed_body_is_no_failure_to_the_trace_layer() {
    miss("on-failure", "broken-body-is-told");
}

#[test]
fn a_body_that_is_collected_comes_late() {
    miss("collected", "broken-body-is-told");
}

#[test]
fn an_error_that_becomes_an_end_is_half_an_invoice() {
    miss("clean-end", "broken-body-is-told");
}

#[test]
fn a_client_that_leaves_drops_the_body_too() {
    miss("told-by-the-drop", "no-failure-no-error");
}

#[test]
fn an_empty_invoice_is_a_success() {
    miss("default-body", "failure-is-a-bare-5xx");
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    let report = check(*app);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}
