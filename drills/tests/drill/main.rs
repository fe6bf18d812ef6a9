//! Drills, as their players meet them. What they wait for is told by the drill, and not by a clock.

mod classified;
mod leaks;
mod leaves;
mod plays;
mod refusals;
mod support;
