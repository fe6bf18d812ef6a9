//! Explores every order in which two threads can take their steps through `src/shared.rs`.
//!
//! It calls the functions that the file has now. A fix that does away with them cannot be explored: `cargo ghosts check`
//! then says that this does not apply, and judges the promises. `cargo test` alone leaves it out.

use model::{module} as model_of;
use model::{Exploration, sync};

#[allow(dead_code, reason = "the model does not call everything")]
#[path = "../src/shared.rs"]
mod shared;

{model}
#[test]
fn every_interleaving_holds() {
    let outcome = || explored().outcome().map_err(|failing| format!("{failing:78}"));
    if let Err(table) = spec::in_exercise("every_interleaving_holds", outcome) {
        panic!("{table}");
    }
}
