//! Cargo as a child: the one by which we were started, with its words told on while it works.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Refusal;

/// Cargo in `folder`.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(program("CARGO", "cargo"));
    // What it says is read.
    cargo.current_dir(folder).env("CARGO_TERM_COLOR", "never");
    cargo
}

/// The program that a variable names, or else the one in the path.
pub(crate) fn program(variable: &str, name: &str) -> OsString {
    env::var_os(variable).filter(|program| !program.is_empty()).unwrap_or_else(|| name.into())
}

/// Puts this program in the place of ours. It returns where that cannot be done.
#[cfg(unix)]
pub(crate) fn become_it(program: &mut Command) -> io::Error {
    std::os::unix::process::CommandExt::exec(program)
}

/// Runs this program, and ends as it ends.
#[cfg(not(unix))]
pub(crate) fn become_it(program: &mut Command) -> io::Error {
    match program.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(2)),
        Err(error) => error,
    }
}

/// Runs cargo in `folder`: whether it has succeeded, and all that it said. What it does meanwhile is one moving line on a
/// terminal, and `what` is told once elsewhere.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn followed(folder: &Path, arguments: &[&str], what: &str) -> Result<(bool, String), Refusal> {
    let cannot = |error: io::Error| Refusal::new(format!("cannot start cargo: {error}"));
    let mut cargo = cargo(folder);
    cargo.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = cargo.spawn().map_err(cannot)?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a template of indicatif's"));
    if io::stderr().is_terminal() {
        bar.enable_steady_tick(Duration::from_millis(100));
        bar.set_message(what.to_owned());
    } else {
        // Standard error may be closed; the work goes on.
        let _ = writeln!(io::stderr(), "{what}");
    }
    let mut said = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')) {
        // A line that is no text ends nothing: cargo quotes what it finds in files.
        let line = line.map(|line| String::from_utf8_lossy(&line).into_owned()).unwrap_or_default();
        if let Some(doing) = doing(&line) {
            bar.set_message(format!("{what}: {doing}"));
        }
        said.push_str(&line);
        said.push('\n');
    }
    let ended = child.wait();
    bar.finish_and_clear();
    Ok((ended.map_err(cannot)?.success(), said))
}

/// What cargo names last as the cause of an error.
pub(crate) fn last_cause(said: &str) -> &str {
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("cargo said nothing")
}

/// What cargo is doing, if this line says it, without the folders of our own crates.
fn doing(line: &str) -> Option<&str> {
    let verbs = ["Blocking", "Updating", "Downloading", "Downloaded", "Compiling", "Vendoring"];
    let line = line.trim_start();
    let verb = line.split(' ').next().unwrap_or_default();
    verbs.contains(&verb).then(|| line.split(" (").next().unwrap_or(line).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::Checkout;

    #[test]
    fn what_cargo_does_is_told_without_folders() {
        assert_eq!(doing("   Compiling spec v0.1.0 (/somewhere/tests)"), Some("Compiling spec v0.1.0"));
        let blocking = "    Blocking waiting for file lock on build directory";
        assert_eq!(doing(blocking), Some("Blocking waiting for file lock on build directory"));
        assert_eq!(doing("error: could not compile `spec` (lib)"), None);
    }

    #[test]
    fn all_that_cargo_says_is_kept() {
        let (succeeded, said) = followed(Checkout::here().root(), &["no-such-command"], "a trial").unwrap();
        assert!(!succeeded);
        assert!(said.starts_with("error: no such command: `no-such-command`"), "{said}");
    }
}
