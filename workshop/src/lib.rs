//! The runner: it shows the ghosts, serves them, compares their twins and regenerates what is made from them.
//!
//! The binary `ghosts` is a thin shell round this library. Exit codes: 0 as asked, 1 a verdict is not as it should be, 2 the
//! command could not do as asked and has written nothing.

pub mod book;
pub mod case;
pub mod cli;
pub mod difference;
pub mod generated;
pub mod ghosts;
pub mod picture;
pub mod serve;
pub mod show;
pub mod skeleton;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod tidy;
pub mod tour;

use std::{
    fmt, io,
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

/// The folder of the workspace that this binary was built from.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
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

/// The text in lines of at most 80 columns, each after `indent`.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let options = textwrap::Options::new(80).initial_indent(indent).subsequent_indent(indent).break_words(false);
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
