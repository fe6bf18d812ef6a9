//! A spool that keeps every promise on one thread, and writes an untrue line on two: only the hammer tells.

#![expect(unreachable_pub, reason = "the fix is a whole lib.rs")]

use std::time::Duration;

use body_double_close_spec::{Spec, check};
use lab::{Ghost, hammer::Force};

#[path = "racy/once.rs"]
mod once;

#[test]
fn a_count_beside_a_once_is_not_what_the_handler_received() {
    let report = check(once::app);
    assert!(report.all_kept(), "{report}");
    // A thread lingers where the other must come: it takes a fraction of this.
    let hammered = Spec::hammer(once::app, Force { time: Duration::from_secs(300), tries: u64::MAX });
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}
