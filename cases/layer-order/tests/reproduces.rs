//! The ghost appears: nine layers that are right, in an order that is not.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use layer_order::near_misses;
use layer_order_spec::check;
use tokio::sync::{Semaphore, mpsc::unbounded_channel};
use tower::ServiceExt;

#[test]
fn a_strangers_body_is_in_the_trail_and_a_preflight_is_refused() {
    let report = check(layer_order::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: an answer that no route gives, and what every answer must have.
#[tokio::test]
async fn a_refusal_is_in_no_log_and_its_body_in_the_trail() {
    let (access_log, mut logged) = unbounded_channel();
    let (audit, mut audited) = unbounded_channel();
    let nobody = Router::new().fallback(async || StatusCode::UNAUTHORIZED);
    let quota = Arc::new(Semaphore::new(1));
    let app = layer_order::app(Router::new(), nobody, quota, access_log, audit, Duration::from_secs(2), 1_024);

    let request = Request::post("/notes").header("origin", "https://portal.test").header("authorization", "Bearer eve");
    let answer = app.oneshot(request.body(Body::from("2 pills")).unwrap()).await.unwrap();

    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert!(!answer.headers().contains_key("x-request-id"));
    assert!(logged.try_recv().is_err());
    assert_eq!(audited.try_recv().unwrap().1, b"2 pills");
}
// ANCHOR_END: notice

#[test]
fn the_same_lines_in_a_builder_are_the_order_upside_down() {
    miss("one-builder", "each-answer-has-cors");
}

#[test]
fn one_line_that_moves_leaves_eight() {
    miss("audit-moved", "preflight-needs-no-credentials");
}

#[test]
fn an_excused_preflight_is_followed_by_a_bare_401() {
    miss("options-pass", "each-answer-has-cors");
}

#[test]
fn an_entry_that_is_not_written_was_read_all_the_same() {
    miss("written-if-good", "audit-behind-authentication");
}

#[test]
fn wrong_credentials_are_credentials() {
    miss("where-credentials-are", "audit-behind-authentication");
}

#[test]
fn a_log_of_the_known_knows_nothing_of_the_refused() {
    miss("only-the-known", "each-answer-logged-once");
}

#[test]
fn two_logs_are_two_entries() {
    miss("logged-twice", "each-answer-logged-once");
}

#[test]
fn a_deadline_drops_what_stands_inside() {
    miss("deadline-outside", "each-answer-logged-once");
}

#[test]
fn a_preflight_takes_a_permit() {
    miss("quota-outside-cors", "preflight-needs-no-credentials");
}

#[test]
fn a_quota_that_comes_late_spares_nothing() {
    miss("quota-inside", "quota-before-identity");
}

#[test]
fn a_look_is_no_permit() {
    miss("quota-looked-at", "quota-before-identity");
}

#[test]
fn a_deadline_inside_does_not_bound_the_look_up() {
    miss("deadline-inside", "one-deadline-for-all");
}

#[test]
fn two_budgets_are_their_sum() {
    miss("two-deadlines", "one-deadline-for-all");
}

#[test]
fn a_panic_unwinds_through_all_that_stands_inside() {
    miss("recovery-outermost", "each-answer-logged-once");
}

#[test]
fn an_id_made_inside_is_not_in_the_log() {
    miss("id-inside-log", "one-id-everywhere");
}

#[test]
fn a_chunked_body_announces_nothing() {
    miss("length-only", "audit-has-what-was-let-through");
}

#[test]
fn a_trail_outside_the_limit_keeps_what_is_refused() {
    miss("limit-inside-audit", "audit-has-what-was-let-through");
}

#[test]
fn a_limit_that_reads_waits_for_strangers() {
    miss("limit-outside", "audit-behind-authentication");
}

#[test]
fn an_unknown_path_meets_no_route_layer() {
    miss("by-route-layer", "each-answer-logged-once");
}

#[test]
fn a_panic_leaves_nothing_to_write_afterwards() {
    miss("trail-afterwards", "audit-has-what-was-let-through");
}

#[test]
fn an_answer_that_is_collected_does_not_stream() {
    miss("whole-answers", "stream-outlasts-the-budget");
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    let report = check(*app);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}
