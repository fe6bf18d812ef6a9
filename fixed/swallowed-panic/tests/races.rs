//! A process of its own: two of these fixes set a panic hook, and on real threads nothing puts the one before back, which would
//! log the panics of other tests too.

use std::time::Duration;

use lab::{
    Ghost,
    hammer::{Force, Hammered},
};
use swallowed_panic_spec::Spec;

#[path = "also_right/aborted_task.rs"]
pub mod aborted_task;
#[path = "also_right/catch_panic_layer.rs"]
pub mod catch_panic_layer;
#[path = "also_right/chained_hook.rs"]
pub mod chained_hook;
#[path = "also_right/logging_hook.rs"]
pub mod logging_hook;

/// Nothing is seen of it on real threads either.
fn stands(app: <Spec as Ghost>::App) {
    let hammered = Spec::hammer(app, Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn nothing_is_seen_on_real_threads() {
    stands(swallowed_panic_fixed::app);
    stands(aborted_task::app);
    stands(catch_panic_layer::app);
    stands(chained_hook::app);
    stands(logging_hook::app);
}
