//! The ghost is laid to rest: everything that a request has set going keeps its deadline.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]
#![expect(clippy::duplicate_mod, reason = "the core of a fix is compiled for std and for the model")]

use std::time::Duration;

use ignored_deadline_spec::{Spec, check};
use lab::{
    Ghost, Report,
    hammer::{Force, Hammered},
};
use model::{ignored_deadline as model_of, sync};

#[path = "also_right/abort_on_drop.rs"]
mod abort_on_drop;
#[path = "also_right/cancellation_token.rs"]
mod cancellation_token;
#[path = "also_right/join_set.rs"]
mod join_set;
#[path = "also_right/no_task.rs"]
mod no_task;
#[path = "also_right/one_lock.rs"]
mod one_lock;
#[path = "also_right/one_lock/shared.rs"]
mod one_lock_core;
#[path = "also_right/own_thread.rs"]
mod own_thread;
#[path = "../src/shared.rs"]
mod shared;
#[path = "cores/two_flags.rs"]
mod two_flags;

#[test]
fn a_504_is_true_and_nothing_is_left_of_its_request() {
    let report = check(ignored_deadline_fixed::app);
    all_kept(&report);
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn in_no_interleaving_is_an_order_both_told_failed_and_charged() {
    use shared::Settlement;
    let holding = model_of::at_once(Settlement::new, |order, charge| order.commit(charge), Settlement::expire);
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {} interleavings.", holding.holds()));
}

#[test]
fn nor_when_a_lock_decides() {
    use one_lock_core::Settlement;
    let holding = model_of::at_once(Settlement::new, |order, charge| order.commit(charge), Settlement::expire);
    insta::assert_snapshot!("one-lock", format!("The core holds in all {} interleavings.", holding.holds()));
    all_kept(&check(one_lock::app));
}

/// When both come at once it may be that neither wins: the order is not charged, and its client is not told 504.
#[test]
fn nor_when_each_side_raises_a_flag_and_then_reads_the_others() {
    use two_flags::Settlement;
    let holding = model_of::at_once(Settlement::new, |order, charge| order.commit(charge), Settlement::expire);
    assert!(holding.holds() > 1);
}

#[test]
fn the_charge_may_stand_in_the_requests_own_future() {
    all_kept(&check(no_task::app));
}

#[test]
fn a_token_may_stop_the_preparation() {
    all_kept(&check(cancellation_token::app));
}

#[test]
fn an_abort_may_stop_the_preparation() {
    all_kept(&check(abort_on_drop::app));
}

#[test]
fn a_set_of_tasks_may_own_the_preparation() {
    all_kept(&check(join_set::app));
}

#[test]
fn a_thread_of_its_own_may_seal() {
    all_kept(&check(own_thread::app));
}

fn all_kept(report: &Report) {
    assert!(report.all_kept(), "{report}");
}

/// Nothing is seen of it on real threads either.
fn stands(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(ignored_deadline_fixed::app);
    stands(abort_on_drop::app);
    stands(cancellation_token::app);
    stands(join_set::app);
    stands(no_task::app);
    stands(one_lock::app);
    stands(own_thread::app);
}
