//! Holds the app against the specification, `tests/src/{module}.rs` of the clone, in a process of its own.

use spec::{module}::check;
// What is linked already is not linked again.
#[cfg(all(unix, not(target_env = "musl")))]
use spec_dylib as _;

#[test]
fn every_promise_is_kept() {
    spec::in_exercise("promises::every_promise_is_kept", &|| check(crate::{item}));
}
