//! What is printed: text and JSON, the width that there is, and the colours of a difference.

use std::{
    env,
    fmt::Write,
    io::{self, IsTerminal},
};

use anstyle::{AnsiColor, Style};
use textwrap::{WordSeparator, WordSplitter};

use crate::Refusal;

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

/// Prints a value as JSON, one document.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Refusal> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Refusal::new(format!("cannot write JSON: {error}")))?;
    print(&format!("{text}\n"))
}

/// Says how wide the terminal of a watch is, in the commands that it runs: their own output is a pipe.
pub(crate) const COLUMNS: &str = "GHOSTS_COLUMNS";

/// Whether a watch has started this process, and reads what it prints.
pub(crate) fn watched() -> bool {
    env::var_os(COLUMNS).is_some()
}

/// How wide the terminal is; 80 where there is none, or it says that it has no columns, as some do in containers.
pub(crate) fn columns() -> usize {
    let told = env::var(COLUMNS).ok().and_then(|columns| columns.parse().ok());
    let seen = || io::stdout().is_terminal().then(crossterm::terminal::size)?.ok();
    let columns = told.or_else(|| seen().map(|(columns, _)| usize::from(columns)));
    columns.filter(|columns| *columns > 0).unwrap_or(80)
}

/// The text in lines of at most 80 columns, or as many as the terminal has, each after `indent`.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let width = columns().clamp(40, 80);
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(indent).break_words(false);
    textwrap::fill(text, options) + "\n"
}

/// The same for what has paths in it: each stays in one piece, so that it can be clicked.
pub(crate) fn wrapped_at_spaces(text: &str, indent: &str) -> String {
    let width = columns().clamp(40, 80);
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(indent).break_words(false);
    let options = options.word_separator(WordSeparator::AsciiSpace).word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(text, options) + "\n"
}

/// The text with each of its lines in lines of at most 80 columns, or as many as the terminal has: what goes on stands further in
/// than what began.
pub fn folded(text: &str) -> String {
    let width = columns().clamp(40, 80);
    let fold = |line: &str| {
        let further = " ".repeat(line.len() - line.trim_start().len() + 2);
        let options = textwrap::Options::new(width).subsequent_indent(&further).break_words(false);
        let options = options.word_separator(WordSeparator::AsciiSpace).word_splitter(WordSplitter::NoHyphenation);
        if line.chars().count() > width { textwrap::fill(line, options) } else { line.to_owned() }
    };
    text.split('\n').map(fold).collect::<Vec<_>>().join("\n")
}

/// A unified difference in colours, each line after `indent`.
pub(crate) fn difference(unified: &str, indent: &str) -> String {
    let mut text = String::new();
    for line in unified.lines() {
        let style = match line.as_bytes().first() {
            _ if line.starts_with("--- ") || line.starts_with("+++ ") => Style::new().bold(),
            Some(b'-') => AnsiColor::Red.on_default(),
            Some(b'+') => AnsiColor::Green.on_default(),
            Some(b'@') => AnsiColor::Cyan.on_default(),
            _ => Style::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{indent}{style}{line}{style:#}");
    }
    text
}
