//! Reports take the places of orders, and so they do with every patch that gives one of the two no wall.

use lab::Report;
use no_bulkhead::near_misses;
use no_bulkhead_spec::check;

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
