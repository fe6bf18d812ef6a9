//! Two threads give one slot back.
//!
//! The near misses stand here once more beside a `sync` whose atomics a thread handles slowly. So two threads meet where they must not
//! on every machine, and what is tested is that the hammer sees it.

#![expect(unreachable_pub, reason = "each near miss is a whole lib.rs")]

use std::time::Duration;

use body_double_close_spec::Spec;
use lab::{Ghost, hammer::Force};

#[path = "../src/near_misses"]
mod near_misses {
    pub mod load_then_store;
}

mod sync {
    pub(crate) use std::sync::{Arc, Mutex};

    pub(crate) mod atomic {
        pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

        pub(crate) use lab::lingering::AtomicBool;
    }
}

#[test]
fn load_then_store_falls_on_real_threads() {
    falls(near_misses::load_then_store::app);
}

/// A thread lingers where the other must come: it takes a fraction of this time.
fn falls(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(300), tries: u64::MAX });
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}
