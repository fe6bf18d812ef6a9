//! The ghost appears: the deadline is in the answer, and nowhere else.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use ignored_deadline::near_misses;
use ignored_deadline_spec::check;
use lab::Report;
use model::{Exploration, ignored_deadline as model_of, note, sync};
use tokio::{sync::mpsc::unbounded_channel, time::sleep};
use tower::ServiceExt;
use tracing_test::traced_test;

#[path = "../src/near_misses/check_then_charge/shared.rs"]
mod check_then_charge;
#[path = "../src/near_misses/flag_checked_too_early/shared.rs"]
mod flag_checked_too_early;
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn the_client_is_told_504_and_the_card_is_charged() {
    let report = check(ignored_deadline::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: the clock is paused, so three seconds cost nothing.
#[tokio::test(start_paused = true)]
#[traced_test]
async fn the_log_has_the_charge_after_the_deadline() {
    let bank = Router::new().fallback(async || sleep(Duration::from_secs(3)).await);
    let (ledger, mut charged) = unbounded_channel();
    let app = ignored_deadline::app(bank, Arc::new(str::to_owned), ledger, Duration::from_secs(1));

    let order = Request::post("/orders/7").body(Body::empty()).unwrap();
    let answer = app.oneshot(order).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(logs_contain("the deadline has passed"));
    assert!(!logs_contain("charged"));

    assert_eq!(charged.recv().await.unwrap(), "7");
    sleep(Duration::from_secs(1)).await;
    assert!(logs_contain("charged"));
}
// ANCHOR_END: notice

#[test]
fn a_timeout_round_the_handle_bounds_the_wait_and_not_the_work() {
    miss("timeout-on-the-handle", "answer-matches-ledger");
}

#[test]
fn an_aborted_parent_leaves_its_child_behind() {
    miss("abort-the-parent", "answer-matches-ledger");
}

#[test]
fn an_aborted_closure_runs_to_its_end() {
    miss("abort-the-closure", "late-seal-charges-nothing");
}

#[test]
fn a_token_that_is_not_passed_on_stops_nobody() {
    miss("token-not-passed", "answer-matches-ledger");
}

#[test]
fn a_flag_that_is_read_before_the_long_work_is_read_too_early() {
    miss("flag-checked-too-early", "late-seal-charges-nothing");
}

#[test]
fn a_refund_comes_after_the_charge() {
    miss("charge-and-refund", "late-seal-charges-nothing");
}

#[test]
fn whoever_waits_for_the_work_to_stop_answers_late() {
    miss("wait-for-the-stop", "answer-by-deadline");
}

#[test]
fn time_kept_back_for_the_answer_is_taken_from_the_client() {
    miss("time-for-the-answer", "work-in-time-is-kept");
}

#[test]
fn a_retry_with_the_first_budget_is_given_time_that_has_passed() {
    miss("fresh-budget-for-the-retry", "bank-knows-what-is-left");
}

#[test]
fn a_budget_handed_on_verbatim_begins_again_at_each_hop() {
    miss("budget-forwarded-verbatim", "bank-knows-what-is-left");
}

#[test]
fn a_timeout_ends_with_the_head() {
    miss("deadline-on-the-head", "statement-ends-at-deadline");
}

#[test]
fn a_deadline_that_starts_at_the_head_is_later_than_the_clients() {
    miss("deadline-from-the-head", "statement-ends-at-deadline");
}

#[test]
fn an_idle_timeout_starts_again_with_each_frame() {
    miss("idle-timeout-on-the-body", "statement-ends-at-deadline");
}

#[test]
fn looking_straight_before_the_charge_keeps_every_promise_that_is_timed() {
    let report = near_miss("check-then-charge");
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("check-then-charge", report.verdicts());
}

#[test]
fn and_between_the_look_and_the_charge_the_client_is_told_504() {
    use check_then_charge::Settlement;
    let found = model_of::at_once(Settlement::new, |order, charge| order.commit(charge), Settlement::expire).fails();
    insta::assert_snapshot!("interleaving-check-then-charge", found);
}

#[test]
fn a_look_before_the_seal_is_no_better_than_none() {
    use flag_checked_too_early::Settlement;
    let commit = |order: &Settlement, charge: &mut dyn FnMut() -> bool| {
        order.is_open() && {
            note("seals the receipt");
            order.commit(charge)
        }
    };
    let found = model_of::at_once(Settlement::new, commit, Settlement::expire).fails();
    insta::assert_snapshot!("interleaving-flag-checked-too-early", found);
}

#[test]
fn an_order_that_is_charged_first_is_told_so() {
    use shared::Settlement;
    let explored = model_of::in_turn(Settlement::new, |order, charge| order.commit(charge), Settlement::expire);
    assert_eq!(explored, Exploration::Holds { interleavings: 1 });
}

#[test]
fn a_deadline_that_comes_first_is_no_hindrance_to_the_charge() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

// ANCHOR: model
/// The closure that charges and the deadline at the same time.
fn explored() -> Exploration {
    use shared::Settlement;
    model_of::at_once(Settlement::new, |order, charge| order.commit(charge), Settlement::expire)
}
// ANCHOR_END: model

/// This near miss breaks this promise; the snapshot says which others it breaks as well.
fn miss(name: &str, promise: &str) {
    let report = near_miss(name);
    assert!(report.broken().contains(&promise), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}

fn near_miss(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("the name of a near miss");
    check(app)
}
