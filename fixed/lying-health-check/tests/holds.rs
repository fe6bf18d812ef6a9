//! The ghost is gone: the verdict is the status, and right fixes by other means are accepted.

use spec::lying_health_check::check;

#[test]
fn the_verdict_is_the_status() {
    let report = check(lying_health_check_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}
