//! The runner: it shows the ghosts, serves them, compares their twins and regenerates what is made from them.
//!
//! The binary `ghosts` is a thin shell round this library. Exit codes: 0 as asked, 1 a verdict is not as it should be, 2 the
//! command could not do as asked and has written nothing.

pub mod agenda;
pub mod board;
pub mod book;
pub mod building;
mod cargo;
pub mod case;
pub mod check;
pub mod cli;
pub mod completions;
pub mod conform;
pub mod difference;
pub mod exercise;
pub mod generated;
pub mod ghosts;
pub mod handout;
pub mod hints;
pub mod junit;
pub mod kit;
pub mod list;
pub mod picture;
pub mod preflight;
pub mod progress;
pub mod serve;
pub mod show;
pub mod skeleton;
pub mod solution;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod tidy;
pub mod tour;
pub mod trainer;
pub mod watch;

use std::{
    env, fmt,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

/// Why a command could not do as asked, and what to do next, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// The folder of the clone: the nearest above the current folder, or else the one that this binary was built from.
pub fn root() -> PathBuf {
    let is_clone = |folder: &&Path| folder.join("workshop/Cargo.toml").is_file() && folder.join("cases").is_dir();
    let here = env::current_dir().unwrap_or_default();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(""));
    here.ancestors().find(is_clone).unwrap_or(built).to_path_buf()
}

/// Writes to standard output. A reader that has gone away, such as `head`, has seen what it wanted.
///
/// # Errors
/// If standard output cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Refusal> {
    use io::Write;
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Refusal::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says how wide the terminal of a watch is, in the commands that it runs: their own output is a pipe.
const COLUMNS: &str = "GHOSTS_COLUMNS";

/// How wide the terminal is; 80 where there is none.
pub(crate) fn columns() -> usize {
    let told = env::var(COLUMNS).ok().and_then(|columns| columns.parse().ok());
    let seen = || io::stdout().is_terminal().then(crossterm::terminal::size)?.ok();
    told.or_else(|| seen().map(|(columns, _)| usize::from(columns))).unwrap_or(80)
}

/// The text in lines of at most 80 columns, or as many as the terminal has, each after `indent`.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let width = columns().clamp(40, 80);
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(indent).break_words(false);
    textwrap::fill(text, options) + "\n"
}

/// Prints a value as JSON, one document.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Refusal> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Refusal::new(format!("cannot write JSON: {error}")))?;
    print(&format!("{text}\n"))
}
