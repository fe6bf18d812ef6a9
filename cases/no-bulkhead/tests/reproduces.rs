//! Reports take the places of orders, and so they do with every patch that gives one of the two no wall.

use lab::Report;
use model::{Exploration, sync};
use no_bulkhead::near_misses;
use no_bulkhead_spec::{check, interleavings as model_of};

#[expect(dead_code, reason = "the model reads nothing aloud")]
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn reports_take_the_places_of_orders() {
    let report = check(no_bulkhead::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

#[test]
fn a_larger_limit_is_no_limit() {
    near_miss("larger-limit", "never-more-than-places");
}

#[test]
fn one_report_leaves_an_order_its_place() {
    assert_eq!(model_of::in_turn(places, step, 1), Exploration::Holds { interleavings: 1 });
}

#[test]
fn two_reports_have_both_places() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

// ANCHOR: model
/// Orders and reports come, wait and go at once; there are two places, and reports have a share of one.
fn explored() -> Exploration {
    model_of::at_once(places, step)
}

fn places() -> shared::Places {
    shared::Places::new(2, 1)
}

fn step(places: &shared::Places, step: model_of::Step, class: model_of::Class) -> bool {
    let class = match class {
        model_of::Class::Order => shared::Class::Order,
        model_of::Class::Report => shared::Class::Report,
    };
    match step {
        model_of::Step::Admit => return places.admit(class),
        model_of::Step::Leave => places.leave(class),
        model_of::Step::Wait => places.wait(class),
        model_of::Step::StopWaiting => places.stop_waiting(class),
    }
    false
}
// ANCHOR_END: model

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn near_miss(name: &str, breaks: &str) {
    let report = judged(name);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}

fn judged(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    check(*app)
}
