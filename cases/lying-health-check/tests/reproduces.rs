//! The ghost appears: the verdict is right, and stands where no machine reads it.

use spec::lying_health_check::check;

#[test]
fn a_dead_database_is_a_200_with_a_sad_body() {
    let report = check(lying_health_check::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}
