//! The ghost appears.

use spec::unread_body::check;

#[test]
fn broken() {
    let report = check(unread_body::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}
