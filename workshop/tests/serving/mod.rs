//! A twin served by the runner, as a process of its own, on a port of its own.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// How long a line may take that must come. Nothing is judged by it: it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// `ghosts serve`, until it is dropped.
pub(crate) struct Serving {
    child: Child,
    /// For instance `127.0.0.1:40123`.
    pub(crate) address: String,
    lines: Receiver<String>,
}

impl Serving {
    pub(crate) fn start(slug: &str, fixed: bool) -> Self {
        Self::start_with(slug, fixed, &[])
    }

    /// The same with more of what the command takes.
    pub(crate) fn start_with(slug: &str, fixed: bool, more: &[&OsStr]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghosts"));
        command.args(["serve", slug, "--port", "0", "--json"]).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        if fixed {
            command.arg("--fixed");
        }
        let mut child = command.spawn().expect("the runner starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (said, lines) = channel();
        thread::spawn(move || {
            // The test may have seen enough.
            stderr.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        let mut stdout = child.stdout.take().expect("it is piped");
        let mut document = Vec::new();
        let value: serde_json::Value = loop {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).expect("it prints"), 1, "it ended: {:?}", child.wait());
            document.push(byte[0]);
            if let Ok(value) = serde_json::from_slice(&document) {
                break value;
            }
        };
        let base = value["base"].as_str().expect("a base").to_owned();
        Self { child, address: base.trim_start_matches("http://").to_owned(), lines }
    }

    /// The next line of the supplied parts or of the log that contains `text`.
    pub(crate) fn said(&self, text: &str) -> String {
        loop {
            let line = self.next().unwrap_or_else(|| panic!("nothing said {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The next line of the supplied parts or of the log, if one comes.
    pub(crate) fn next(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }

    /// Ends the twin and tells every line that was not asked for yet.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.child.kill().expect("it serves until it is ended");
        self.child.wait().expect("it is our child");
        self.lines.iter().collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
