//! The ghost is gone: the verdict is the status, and right fixes by other means are accepted.

use spec::{Report, lying_health_check::check};

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
