//! Holds the app against the specification, `tests/{slug}/src/lib.rs` of the clone, in a process of its own.

// What is linked already is not linked again.
#[cfg(all(unix, not(target_env = "musl")))]
use lab_dylib as _;

use {module}_spec::check;

#[test]
fn every_promise_is_kept() {
    lab::in_exercise("promises::every_promise_is_kept", &|| check(crate::{item}));
}
