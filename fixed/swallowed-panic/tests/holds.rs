//! The gateway that answers a panic and tells of it keeps every promise, and so do fixes by other means.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use lab::Report;
use swallowed_panic_spec::check;
use tokio::sync::{Mutex, mpsc::unbounded_channel};
use tower::ServiceExt;
use tracing_test::traced_test;

#[path = "also_right/aborted_task.rs"]
pub mod aborted_task;
#[path = "also_right/catch_panic_layer.rs"]
pub mod catch_panic_layer;
#[path = "also_right/chained_hook.rs"]
pub mod chained_hook;
#[path = "also_right/logging_hook.rs"]
pub mod logging_hook;

/// Two of the fixes put a panic hook into the process, which would log the panics of other tests too.
static HOOK: Mutex<()> = Mutex::const_new(());

/// Expects that every promise is kept.
fn holds(name: &str, report: &Report) {
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}

#[test]
fn every_panic_is_answered_told_once_and_over() {
    holds("fixed", &check(swallowed_panic_fixed::app));
}

// ANCHOR: notice
/// The kind of test to copy: one request whose handler panics, then a look at the answer and at the log.
#[traced_test]
#[tokio::test]
async fn a_panic_is_a_500_and_a_line_that_says_what_panicked_and_for_whom() {
    let _hook = HOOK.lock().await;
    let routes = Router::new().route("/invoices/{id}", get(async || -> &str { panic!("the invoice has no lines") }));
    let (access_log, mut entries) = unbounded_channel();
    let app = swallowed_panic_fixed::app(routes, Arc::new(|_| Some("acme".to_owned())), Arc::default(), access_log);

    let request = Request::get("/invoices/13").header("x-request-id", "req-1").body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();

    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(entries.recv().await, Some(("/invoices/{id}".to_owned(), StatusCode::INTERNAL_SERVER_ERROR)));
    logs_assert(|lines| {
        match lines.iter().filter(|line| line.contains("the invoice has no lines")).collect::<Vec<_>>()[..] {
            [line] if line.contains("ERROR") && line.contains("req-1") && line.contains("/invoices/{id}") => Ok(()),
            ref others => Err(format!("expected one ERROR that names the request, got {others:?}")),
        }
    });
}
// ANCHOR_END: notice

#[test]
fn a_catch_panic_layer_with_a_guarded_body_is_right_too() {
    holds("catch-panic-layer", &check(catch_panic_layer::app));
}

#[test]
fn a_task_that_is_aborted_with_its_client_is_right_too() {
    holds("aborted-task", &check(aborted_task::app));
}

#[test]
fn a_hook_that_logs_for_a_layer_that_answers_is_right_too() {
    let report = {
        let _hook = HOOK.blocking_lock();
        check(logging_hook::app)
    };
    holds("logging-hook", &report);
}

#[test]
fn a_hook_that_is_set_once_and_goes_on_to_the_one_before_is_right_too() {
    let report = {
        let _hook = HOOK.blocking_lock();
        check(chained_hook::app)
    };
    holds("chained-hook", &report);
}
