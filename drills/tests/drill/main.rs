//! Drills, as their players meet them. What they wait for is told by the drill, and not by a clock.

#[expect(dead_code, reason = "which commands are documented is asked by the runner's suite")]
#[path = "../../../workshop/tests/forms/mod.rs"]
mod forms;

mod bundles;
mod classified;
mod leaks;
// Processes are looked at by way of `/proc`.
#[cfg(target_os = "linux")]
mod leaves;
mod plays;
mod refusals;
mod support;
