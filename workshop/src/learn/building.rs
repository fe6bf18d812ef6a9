//! What a check says while it builds: one line that moves on a terminal, no more than is needed elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// What goes on while an exercise is judged, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile<'a> {
    /// Another cargo is building into the same folder.
    WaitsForLock,
    /// Cargo compiles this package.
    Compiles(&'a str),
}

/// Said while another cargo holds the lock of the target directory.
pub const WAITS: &str = "waiting for another cargo that is building here";
/// Said during the first build, which takes a while.
pub const BUILDS: &str = "building what every exercise needs; this once it takes a while";

/// How the packages of an exercise end; all others are built once.
const OF_AN_EXERCISE: [&str; 2] = ["-exercise", "-interleavings"];

/// A build of an exercise, told on standard error until it is dropped.
#[derive(Debug)]
pub struct Building {
    bar: ProgressBar,
    /// How many crates were built, without the exercise itself: that one is built each time, and quickly.
    crates: AtomicUsize,
}

impl Default for Building {
    fn default() -> Self {
        // Nothing is shown of it on what is no terminal, and nothing before it ticks.
        let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a template of indicatif's"));
        Self { bar, crates: AtomicUsize::new(0) }
    }
}

impl Building {
    /// Says what cargo is doing.
    pub fn tell(&self, meanwhile: Meanwhile<'_>) {
        let (line, shown) = match meanwhile {
            Meanwhile::WaitsForLock => (Some(WAITS), WAITS.to_owned()),
            Meanwhile::Compiles(package) if OF_AN_EXERCISE.iter().any(|end| package.ends_with(end)) => {
                (None, format!("building {package}"))
            }
            Meanwhile::Compiles(package) => {
                let before = self.crates.fetch_add(1, Ordering::Relaxed);
                ((before == 0).then_some(BUILDS), format!("{BUILDS} ({}: {package})", before + 1))
            }
        };
        if io::stderr().is_terminal() {
            self.bar.enable_steady_tick(Duration::from_millis(100));
            self.bar.set_message(shown);
        } else if let Some(line) = line {
            // Standard error may be closed; the build goes on.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}
