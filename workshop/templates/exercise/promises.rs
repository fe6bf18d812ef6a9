//! Holds the app against the specification, `tests/src/{module}.rs` of the clone, in a process of its own.

use spec::{module}::check;

#[test]
fn every_promise_is_kept() {
    let report = spec::in_exercise("every_promise_is_kept", || check({module}_exercise::{item}));
    assert!(report.all_kept(), "{report}");
}
