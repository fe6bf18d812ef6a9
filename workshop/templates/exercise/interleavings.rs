//! Explores every order in which two threads can take their steps through `src/shared.rs`.
//!
//! It calls the functions that the file has now. A fix that does away with them cannot be explored: `cargo ghosts check`
//! then says that this does not apply, and judges the promises. `cargo test` alone leaves it out.

use {model_of} as model_of;

use model::{Exploration, sync};
// What is linked already is not linked again.
#[cfg(all(unix, not(target_env = "musl")))]
use lab_dylib as _;

#[allow(dead_code, reason = "the model does not call everything")]
#[path = "../src/shared.rs"]
mod shared;

{model}
#[test]
fn every_interleaving_holds() {
    let outcome = || explored().outcome().map_err(|failing| format!("{failing:78}"));
    match lab::in_child("every_interleaving_holds", outcome) {
        Ok(Ok(_)) => {}
        Ok(Err(table)) => panic!("{table}"),
        Err(ended) => panic!("{ended}\n{}", ended.said()),
    }
}
