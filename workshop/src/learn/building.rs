//! What a check says while it builds and judges: one line that moves on a terminal, no more than is needed elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// What goes on while an exercise is judged, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile<'a> {
    /// Another cargo holds a lock, which cargo names so.
    WaitsForLock(&'a str),
    /// Cargo compiles this package.
    Compiles(&'a str),
    /// The guard of the app has this to tell.
    Tells(&'a str),
}

/// Said while a first build takes its time.
pub const BUILDS: &str = "building what the exercise needs; the first time takes a while";

/// How the packages of an exercise end; all others are built once.
const OF_AN_EXERCISE: [&str; 2] = ["-exercise", "-interleavings"];

/// What is waited for while another cargo holds this lock.
pub fn waits(lock: &str) -> String {
    let holder = match lock {
        // Cargo has called it `build directory` and `artifact directory`.
        lock if lock.ends_with("directory") => "that is building here",
        "package cache" | "package cache lock" => "that is fetching packages",
        _ => return format!("waiting for another cargo (the lock on the {lock})"),
    };
    format!("waiting for another cargo {holder}")
}

/// A build of an exercise, told on standard error until it is dropped.
#[derive(Debug)]
pub struct Building {
    bar: ProgressBar,
    /// How many crates were built, without the exercise itself: that one is built each time, and quickly.
    crates: AtomicUsize,
    /// What was told last on what is no terminal: cargo takes the same lock again and again.
    last: Mutex<String>,
}

impl Default for Building {
    fn default() -> Self {
        // Nothing is shown of it on what is no terminal, and nothing before it ticks.
        let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a template of indicatif's"));
        Self { bar, crates: AtomicUsize::new(0), last: Mutex::default() }
    }
}

impl Building {
    /// Says what cargo is doing.
    pub fn tell(&self, meanwhile: Meanwhile<'_>) {
        let (line, shown) = match meanwhile {
            Meanwhile::WaitsForLock(lock) => (Some(waits(lock)), waits(lock)),
            Meanwhile::Tells(line) => (Some(line.to_owned()), line.to_owned()),
            Meanwhile::Compiles(package) if OF_AN_EXERCISE.iter().any(|end| package.ends_with(end)) => {
                (None, format!("building {package}"))
            }
            Meanwhile::Compiles(package) => {
                let before = self.crates.fetch_add(1, Ordering::Relaxed);
                ((before == 0).then(|| BUILDS.to_owned()), format!("{BUILDS} ({}: {package})", before + 1))
            }
        };
        if io::stderr().is_terminal() {
            self.bar.enable_steady_tick(Duration::from_millis(100));
            self.bar.set_message(shown);
        } else if let Some(line) = line {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != line {
                // Standard error may be closed; the build goes on.
                let _ = writeln!(io::stderr(), "{line}");
                *last = line;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::waits;

    #[test]
    fn each_lock_is_called_what_it_is() {
        for (lock, told) in [
            ("build directory", "waiting for another cargo that is building here"),
            ("artifact directory", "waiting for another cargo that is building here"),
            ("package cache", "waiting for another cargo that is fetching packages"),
            ("registry index", "waiting for another cargo (the lock on the registry index)"),
        ] {
            assert_eq!(waits(lock), told);
        }
    }
}
