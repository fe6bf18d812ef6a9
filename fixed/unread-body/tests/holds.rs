//! The ghost is laid to rest.

use spec::unread_body::check;

#[test]
fn fixed() {
    let report = check(unread_body_fixed::app);
    insta::assert_snapshot!("fixed", report.verdicts());
    assert!(report.all_kept(), "{report}");
}
