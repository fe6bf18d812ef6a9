//! The fixed twin and the right fixes that are not ours keep every promise.

use no_bulkhead_spec::check;

#[test]
fn our_fix_keeps_every_promise() {
    let report = check(no_bulkhead_fixed::app);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!("fixed", report.verdicts());
}
