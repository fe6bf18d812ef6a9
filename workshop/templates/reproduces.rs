//! The broken twin and the near misses break the promises that their snapshots name.

use insta::assert_snapshot;
use lab::Report;
use {module}_spec::check;

#[test]
fn the_broken_twin_says_hello() {
    assert_snapshot!("broken", check({module}::app));
}

#[test]
fn another_greeting_is_still_wrong() {
    let report = near_miss("still-wrong");
    assert!(report.broken().contains(&"says-boo"));
    assert_snapshot!("still-wrong", report.verdicts());
}

fn near_miss(name: &str) -> Report {
    let all = {module}::near_misses::ALL;
    let (_, app) = all.iter().find(|(known, _)| *known == name).expect("a near miss of this name");
    check(app)
}
