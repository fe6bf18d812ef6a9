//! Two threads find the same place, or none where there is one.
//!
//! The near misses stand here once more beside a `sync` whose atomics a thread handles slowly. So two threads meet where they must not
//! on every machine, and what is tested is that the hammer sees it.

#![expect(unreachable_pub, reason = "each near miss is a whole lib.rs")]

use std::time::Duration;

use lab::{Ghost, hammer::Force};
use no_bulkhead_spec::Spec;

#[path = "../src/near_misses"]
mod near_misses {
    pub mod look_then_raise;
    pub mod raise_then_lower;
}

mod sync {
    pub(crate) use std::sync::Arc;

    pub(crate) mod atomic {
        pub(crate) use std::sync::atomic::Ordering;

        pub(crate) use lab::lingering::AtomicUsize;
    }
}

#[test]
fn look_then_raise_falls_on_real_threads() {
    falls(near_misses::look_then_raise::app);
}

#[test]
fn raise_then_lower_falls_on_real_threads() {
    falls(near_misses::raise_then_lower::app);
}

/// A thread lingers where the other must come: it takes a fraction of this time.
fn falls(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(300), tries: u64::MAX });
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}
