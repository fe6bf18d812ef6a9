//! What cargo says while it builds, told on: one line that moves on a terminal, a line for each crate elsewhere.

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// What cargo does, in its own words, as they begin its lines.
const VERBS: [&str; 6] = ["Blocking", "Updating", "Downloading", "Downloaded", "Compiling", "Finished"];

/// Reads what a cargo says on its standard error until it ends, shows on ours that it works, and returns all of it.
///
/// The cargo is to be started without `--quiet` and with `CARGO_TERM_COLOR=never`. What it says of its progress goes on to
/// our standard error as a line each, unless that is a terminal: there one line moves, and is gone at the end.
pub fn follow(said: impl Read) -> String {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a template of indicatif's"));
    let (mut all, mut crates) = (String::new(), 0);
    // A line that is no text ends nothing: cargo quotes what it finds in files.
    for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Some(doing) = doing(&line) {
            crates += usize::from(doing.starts_with("Compiling"));
            if io::stderr().is_terminal() {
                // From the first line on: a build of which there is nothing to say is not shown.
                bar.enable_steady_tick(Duration::from_millis(100));
                let count = if crates > 1 { format!(" ({crates} crates so far)") } else { String::new() };
                bar.set_message(format!("{doing}{count}"));
            } else {
                // Standard error may be closed; the build goes on.
                let _ = writeln!(io::stderr(), "{doing}");
            }
        }
        all.push_str(&line);
        all.push('\n');
    }
    bar.finish_and_clear();
    all
}

/// What cargo is doing, without the paths of our own crates, if this line says it.
pub(crate) fn doing(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let verb = line.split(' ').next().unwrap_or_default();
    VERBS.contains(&verb).then(|| line.split(" (").next().unwrap_or(line).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_does_is_told_without_paths() {
        assert_eq!(doing("   Compiling spec v0.1.0 (/somewhere/tests)"), Some("Compiling spec v0.1.0"));
        let blocking = "    Blocking waiting for file lock on build directory";
        assert_eq!(doing(blocking), Some("Blocking waiting for file lock on build directory"));
        assert_eq!(doing("error: could not compile `hidden-flush-exercise` (lib)"), None);
        assert_eq!(doing("warning: unused variable: `x`"), None);
    }

    #[test]
    fn all_that_cargo_says_is_returned() {
        let said = "error: no matching package\n\u{fffd}\n";
        assert_eq!(follow(&b"error: no matching package\n\xff\n"[..]), said);
    }
}
