//! The layer that calls the very service that was ready keeps every promise, and so do fixes by other means.

use spec::{Report, unready_clone::check};

/// Expects that every promise is kept.
fn holds(name: &str, report: &Report) {
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}

#[test]
fn the_service_is_called_where_it_was_ready() {
    holds("fixed", &check(unready_clone_fixed::layer));
}
