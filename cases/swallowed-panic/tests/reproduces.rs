//! The swallowed panic, reproduced: what the broken gateway does, and what each tempting fix still does.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use swallowed_panic::{app, near_misses};
use swallowed_panic_spec::check;
use tokio::sync::{Mutex, mpsc::unbounded_channel};
use tower::ServiceExt;
use tracing_test::traced_test;

/// Two of the near misses put a panic hook into the process, which would log the panics of other tests too.
static HOOK: Mutex<()> = Mutex::const_new(());

#[test]
fn a_panic_becomes_an_empty_200_and_nobody_is_told() {
    insta::assert_snapshot!("broken", check(app));
}

/// The kind of test to copy: one request whose handler panics, then a look at the answer and at the log.
#[traced_test]
#[tokio::test]
async fn a_panic_leaves_a_success_and_no_line_in_the_log() {
    let _hook = HOOK.lock().await;
    let routes = Router::new().route("/invoices/{id}", get(async || -> &str { panic!("the invoice has no lines") }));
    let (access_log, mut entries) = unbounded_channel();
    let app = app(routes, Arc::new(|_| Some("acme".to_owned())), Arc::default(), access_log);

    let request = Request::get("/invoices/13").header("x-request-id", "req-1").body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(entries.recv().await, Some(("/invoices/{id}".to_owned(), StatusCode::OK)));
    assert!(!logs_contain("the invoice has no lines"));
}

/// Holds a near miss against the specification, and expects that it breaks the promise that the chapter explains.
fn near_miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    let report = {
        let _hook = HOOK.blocking_lock();
        check(app)
    };
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks), "{name} keeps {breaks}:\n{report}");
}

#[test]
fn a_silent_500_leaves_the_cause_unknown() {
    near_miss("silent-500", "panic-logged-once");
}

#[test]
fn a_detached_task_outlives_its_client() {
    near_miss("detached-task", "handler-leaves-with-client");
}

#[test]
fn an_innermost_recovery_misses_the_look_up() {
    near_miss("recovery-innermost", "look-up-panic-like-handler-panic");
}

#[test]
fn a_panic_hook_answers_nobody() {
    near_miss("panic-hook", "panic-answered-with-bare-500");
}

#[test]
fn a_hook_and_a_layer_count_each_panic_twice() {
    near_miss("hook-and-layer", "panic-logged-once");
}

#[test]
fn a_message_in_the_answer_tells_every_client() {
    near_miss("message-to-client", "panic-answered-with-bare-500");
}

#[test]
fn a_guarded_call_does_not_guard_the_polls() {
    near_miss("call-only", "panic-answered-with-bare-500");
}

#[test]
fn a_guarded_head_does_not_guard_the_body() {
    near_miss("head-only", "body-panic-ends-in-error");
}

#[test]
fn a_clean_end_passes_half_an_answer_off_as_whole() {
    near_miss("clean-end", "body-panic-ends-in-error");
}

#[test]
fn a_poisoned_lock_fails_every_later_request() {
    near_miss("poisoned-lock", "next-request-works");
}
