//! The broken twin and the near misses break the promises that their snapshots name.

use insta::assert_snapshot;
use spec::{Report, {module}::check};
use {module}::{app, near_misses};

#[test]
fn the_broken_twin_says_hello() {
    assert_snapshot!("broken", check(app));
}

#[test]
fn another_greeting_is_still_wrong() {
    let report = near_miss("still-wrong");
    assert!(report.broken().contains(&"says-boo"));
    assert_snapshot!("still-wrong", report.verdicts());
}

fn near_miss(name: &str) -> Report {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of this name");
    check(app)
}
