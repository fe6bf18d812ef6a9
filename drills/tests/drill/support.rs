//! What the tests share.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use drills::{Drill, Options};
use ghosts::checkout::Checkout;
use tokio::time::timeout;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_drills");

/// How long a drill may take until it shows what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A drill that runs ten times as fast as a clock.
pub(crate) fn quick(seed: u64, slug: Option<&str>) -> Arc<Drill> {
    let options =
        Options { seed, slug: slug.map(str::to_owned), speed: 10.0, hard: false, program: PathBuf::from(PROGRAM) };
    Drill::begin(&Checkout::here(), &options).expect("a drill")
}

/// Waits until the drill has come to this second.
pub(crate) fn until(drill: &Drill, second: f64) {
    let mut ticks = drill.ticks();
    let come = async {
        while drill.samples_since(0).last().is_none_or(|sample| sample.at_s < second) {
            ticks.changed().await.expect("it runs");
        }
    };
    drill.runtime().block_on(async { timeout(PATIENCE, come).await }).expect("it comes to this second");
}

/// Whether a process with this id is there.
#[cfg(target_os = "linux")]
pub(crate) fn lives(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // One that has ended and was not waited for is none.
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A number that no other test has.
pub(crate) fn unique() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}
