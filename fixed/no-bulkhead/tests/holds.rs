//! The fixed twin and the right fixes that are not ours keep every promise.

use model::{Exploration, sync};
use no_bulkhead_spec::{check, interleavings as model_of};

#[expect(dead_code, reason = "the model reads nothing aloud")]
#[path = "../src/shared.rs"]
mod shared;

#[test]
fn our_fix_keeps_every_promise() {
    let report = check(no_bulkhead_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn every_interleaving_holds() {
    let explored = explored().holds();
    insta::assert_snapshot!("interleaving-fixed", format!("The core holds in all {explored} interleavings."));
}

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
