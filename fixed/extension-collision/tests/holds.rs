//! The ghost is laid to rest: caller and mailbox are two types.
#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use std::time::Duration;

use extension_collision_spec::{Spec, check};
use lab::{
    Ghost,
    hammer::{Force, Hammered},
};

#[path = "also_right/extractors.rs"]
mod extractors;
#[path = "also_right/one_context.rs"]
mod one_context;
#[path = "also_right/own_headers.rs"]
mod own_headers;
#[path = "also_right/task_local.rs"]
mod task_local;
#[path = "also_right/told_by_the_answer.rs"]
mod told_by_the_answer;

#[test]
fn every_promise_is_kept() {
    let report = check(extension_collision_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn one_context_that_all_layers_know_is_right() {
    right(one_context::app);
}

#[test]
fn extractors_that_store_nothing_are_right() {
    right(extractors::app);
}

#[test]
fn request_headers_that_the_layers_overwrite_or_remove_are_right() {
    right(own_headers::app);
}

#[test]
fn two_task_locals_are_right() {
    right(task_local::app);
}

#[test]
fn an_answer_that_tells_the_audit_in_a_private_type_is_right() {
    right(told_by_the_answer::app);
}

fn right(app: <Spec as Ghost>::App) {
    let report = check(app);
    assert!(report.all_kept(), "{report}");
}

/// Nothing is seen of it on real threads either.
fn stands(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(extension_collision_fixed::app);
    stands(extractors::app);
    stands(one_context::app);
    stands(own_headers::app);
    stands(task_local::app);
    stands(told_by_the_answer::app);
}
