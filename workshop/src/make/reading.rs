//! How long a chapter takes to read: 220 words a minute, and three seconds a line of code.
//!
//! What is folded is not counted, for nobody has to open it; nor are output, tables and pictures.

use std::collections::BTreeMap;

use super::marks;
use crate::{Refusal, catalogue::generated::FOLDER, checkout::Checkout};

/// What there is to read in a chapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    words: usize,
    lines: usize,
}

/// The line for the head of a chapter.
///
/// # Errors
/// If the chapter or what it includes cannot be read.
pub(super) fn line(checkout: &Checkout, made: &BTreeMap<String, String>, slug: &str) -> Result<String, Refusal> {
    let page = checkout.text(&format!("book/src/{slug}.md"))?;
    let included = |file: &str| included(checkout, made, file);
    let reading = read(&page, &included);
    let minutes = reading.minutes();
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    Ok(format!(
        "{minutes} {unit} to read: {} words and {} lines of code, without what is folded.\n",
        reading.words, reading.lines
    ))
}

/// What a chapter includes: of what is generated, what is made now.
pub(super) fn included(checkout: &Checkout, made: &BTreeMap<String, String>, file: &str) -> String {
    let (name, part) = file.split_once(':').unwrap_or((file, ""));
    let name = match name.strip_prefix("../../") {
        Some(name) => name.to_owned(),
        None => format!("book/src/{name}"),
    };
    let text = match made.get(&name) {
        Some(text) => text.clone(),
        None if name.starts_with(FOLDER) => String::new(),
        None => checkout.text(&name).unwrap_or_default(),
    };
    let lines = || text.lines().map(|line| format!("{line}\n"));
    if part.is_empty() {
        return text;
    }
    if let Some(first) = part.split(':').next().and_then(|first| first.parse::<usize>().ok()) {
        return lines().skip(first - 1).collect();
    }
    let is = |mark: &str, line: &String| line.trim() == format!("// {mark}: {part}");
    let inner = lines().skip_while(|line| !is("ANCHOR", line)).skip(1).take_while(|line| !is("ANCHOR_END", line));
    inner.filter(|line| !line.trim_start().starts_with("// ANCHOR")).collect()
}

impl Reading {
    fn minutes(self) -> usize {
        (self.words * 60 + self.lines * 3 * 220).div_ceil(220 * 60)
    }
}

fn read(page: &str, included: &dyn Fn(&str) -> String) -> Reading {
    let mut whole = String::new();
    for line in page.lines() {
        match line.trim().strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}")) {
            // A picture, or what a terminal shows.
            Some(file) if file.ends_with(".html") => {}
            Some(file) => whole.push_str(&included(file)),
            None => whole.push_str(line),
        }
        whole.push('\n');
    }
    let (mut reading, mut folds, mut fence) = (Reading::default(), 0_usize, None::<String>);
    for line in whole.lines() {
        let line = line.trim();
        if let Some(kind) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind.to_owned()) };
            continue;
        }
        if fence.is_none() {
            folds += line.matches("<details").count();
            folds = folds.saturating_sub(line.matches("</details>").count());
        }
        match &fence {
            _ if folds > 0 => {}
            Some(kind) if kind.starts_with("rust") || kind == "diff" => reading.lines += usize::from(is_code(line)),
            Some(_) => {}
            None if line.starts_with(['<', '|']) || line.contains("{{#") => {}
            None => reading.words += line.split_whitespace().filter(|word| is_word(word)).count(),
        }
    }
    reading
}

/// An empty line is none, nor is the number above a line.
fn is_code(line: &str) -> bool {
    !line.is_empty() && marks::numbers(line).next().is_none()
}

/// A number in a circle is none.
fn is_word(text: &str) -> bool {
    text.contains(|letter: char| letter.is_alphabetic() || letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_code_are_counted_and_what_is_folded_or_printed_is_not() {
        let page = "# A head\n\nFour words are (①) here – so.\n\n| a | table |\n\n```rust,ignore\n{{#include x.rs}}\n```\n\n{{#include see.html}}\n\n\
                    ```text\noutput\n```\n\n<details>\n<summary>More</summary>\n\nFolded.\n\n</details>\n\n- Two words\n";
        let reading = read(page, &|file| format!("// {file}\n// ①\nf();\n\n"));
        assert_eq!(reading, Reading { words: 9, lines: 2 });
    }

    #[test]
    fn a_minute_is_220_words_or_twenty_lines() {
        assert_eq!(Reading { words: 220, lines: 20 }.minutes(), 2);
        assert_eq!(Reading { words: 221, lines: 20 }.minutes(), 3);
    }
}
