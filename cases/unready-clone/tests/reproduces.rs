//! A place is reserved on one service and a clone of it is called, and so it is, or worse, by every patch that leaves the
//! reservation behind.

use spec::unready_clone::check;

#[test]
fn the_service_is_called_where_nothing_was_reserved() {
    let report = check(unready_clone::layer);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}
