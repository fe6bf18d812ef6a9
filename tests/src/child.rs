//! Judges in a process of its own what could end the process: an exit, an abort, a stack overflow.

use std::{env, fmt, fs, process};

use crate::lab::Report;

const REPORT_FILE: &str = "GHOST_REPORT_FILE";

/// The child ended without a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    how: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended without a verdict: the app took its process down ({})", self.how)
    }
}

impl std::error::Error for Ended {}

/// Runs `check` in a child: this test binary, started again for the one test `test` that calls this function.
///
/// The child writes its report to a file as the last thing that it does. No file means that the app ended the process,
/// whatever the exit code says.
///
/// # Errors
/// If the child ends without a verdict.
///
/// # Panics
/// If the test binary cannot be started again, or the temporary folder cannot be written.
pub fn in_child(test: &str, check: impl FnOnce() -> Report) -> Result<Report, Ended> {
    if let Some(file) = env::var_os(REPORT_FILE) {
        let report = serde_json::to_vec(&check()).expect("a report is plain data");
        fs::write(file, report).expect("the parent made the folder");
        process::exit(0);
    }
    let folder = env::temp_dir().join(format!("ghost-{}-{}", process::id(), test.replace("::", "-")));
    fs::create_dir_all(&folder).expect("a folder for the report");
    let file = folder.join("report.json");
    let child = process::Command::new(env::current_exe().expect("the path of this test binary"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(REPORT_FILE, &file)
        .output()
        .expect("this test binary started once already");
    let report = fs::read(&file);
    // What is left behind is a folder in the temporary one.
    let _ = fs::remove_dir_all(&folder);
    report.ok().and_then(|report| serde_json::from_slice(&report).ok()).ok_or_else(|| Ended { how: how(child.status) })
}

/// The code or the signal, in words that are the same on every system where they can be.
fn how(status: process::ExitStatus) -> String {
    status.code().map_or_else(|| "killed by a signal".to_owned(), |code| format!("exit code {code}"))
}
