//! The fixed twin and the right fixes that are not ours keep every promise.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use insta::assert_snapshot;
use {module}_spec::check;

#[path = "also_right/by_fallback.rs"]
mod by_fallback;

#[test]
fn our_fix_keeps_every_promise() {
    let report = check({module}_fixed::app);
    assert!(report.all_kept(), "{report}");
    assert_snapshot!("fixed", report.verdicts());
}

#[test]
fn a_fallback_keeps_every_promise() {
    let report = check(by_fallback::app);
    assert!(report.all_kept(), "{report}");
}
