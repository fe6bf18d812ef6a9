//! A board's subscription lives on when its last reader has gone, and so it does, or another promise breaks, with every patch
//! that does not settle who counts, who is told, and when.

use lab::Report;
use model::{Exploration, sync};
use orphan_task::near_misses;
use orphan_task_spec::{check, interleavings as model_of};

#[path = "../src/shared.rs"]
mod shared;

#[test]
fn a_subscription_outlives_its_last_reader() {
    let report = check(orphan_task::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

#[test]
fn only_the_literal_text_of_a_panic_is_told() {
    near_miss("only-str", "panic-costs-one-message");
}

#[test]
fn a_feed_lives_while_somebody_reads_it() {
    let control = model_of::in_turn(shared::Feed::open, shared::Feed::join, shared::Feed::leave);
    assert_eq!(control, Exploration::Holds { interleavings: 1 });
}

#[test]
fn nobody_is_ever_the_last() {
    insta::assert_snapshot!("interleaving-broken", explored().fails());
}

// ANCHOR: model
/// Ada, who is the only reader, leaves a feed; others come and go meanwhile.
fn explored() -> Exploration {
    model_of::every_meeting(shared::Feed::open, shared::Feed::join, shared::Feed::leave)
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
