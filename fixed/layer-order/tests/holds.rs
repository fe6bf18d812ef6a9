//! The ghost is laid to rest: the same nine layers, each inside what must see its answers.
#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use lab::Ghost;
use layer_order_spec::{Spec, check};

#[path = "also_right/by_tower_http.rs"]
mod by_tower_http;
#[path = "also_right/cors_outside_the_log.rs"]
mod cors_outside_the_log;
#[path = "also_right/early_401.rs"]
mod early_401;
#[path = "also_right/in_sequence.rs"]
mod in_sequence;
#[path = "also_right/limit_outside.rs"]
mod limit_outside;
#[path = "also_right/read_from_below.rs"]
mod read_from_below;
#[path = "also_right/recovery_innermost.rs"]
mod recovery_innermost;
#[path = "also_right/recovery_twice.rs"]
mod recovery_twice;
#[path = "also_right/round_the_router.rs"]
mod round_the_router;

#[test]
fn every_promise_is_kept() {
    let report = check(layer_order_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn a_chain_that_is_read_from_below_is_right() {
    right(read_from_below::app);
}

#[test]
fn a_stack_round_the_finished_router_is_right() {
    right(round_the_router::app);
}

#[test]
fn one_middleware_with_nine_steps_is_right() {
    right(in_sequence::app);
}

#[test]
fn a_401_for_missing_credentials_may_come_before_the_quota() {
    right(early_401::app);
}

#[test]
fn recovery_may_stand_inside_and_outside() {
    right(recovery_twice::app);
}

#[test]
fn recovery_may_stand_innermost_and_the_deadline_inside_the_quota() {
    right(recovery_innermost::app);
}

#[test]
fn cors_may_stand_outside_the_access_log() {
    right(cors_outside_the_log::app);
}

#[test]
fn a_limit_that_reads_nothing_may_stand_outside_authentication() {
    right(limit_outside::app);
}

#[test]
fn ids_of_tower_http_and_an_audit_by_route_layer_are_right() {
    right(by_tower_http::app);
}

fn right(app: <Spec as Ghost>::App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}
