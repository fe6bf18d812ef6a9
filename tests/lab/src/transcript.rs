//! What was seen in one scene, in one order, in virtual time.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

/// The most events that one scene keeps; an endless source would otherwise fill the memory.
const KEPT: usize = 500;
/// The most events that a report prints of one scene.
const PRINTED: usize = 32;
/// An id of so many characters or fewer may stand in a line by chance.
const SHORT_ID: usize = 4;
/// How many bytes of a body a line quotes.
const QUOTED: usize = 48;

/// One thing that was seen: who did what, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Virtual milliseconds since the scene began.
    pub at_ms: u64,
    /// Who did it: `client`, `app`, `log`, or a part that the specification supplies.
    pub lane: String,
    /// What it did, as a verb phrase: `sends GET /`, `gets 200`.
    pub what: String,
}

/// The transcript of one scene, as a report keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneRecord {
    /// What distinguishes this scene from its siblings, for instance `HTTP/2, text/plain`.
    pub title: String,
    /// The events in the order in which they happened: at most 500, the first 250 and the last.
    pub events: Vec<Event>,
    /// How many events between those were seen and not kept.
    pub left_out: usize,
}

impl SceneRecord {
    pub(super) fn new(title: String) -> Self {
        Self { title, events: Vec::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() == KEPT {
            self.events.remove(KEPT / 2);
            self.left_out += 1;
        }
        self.events.push(event);
    }

    /// Puts `id 1` in the place of the first of `ids`, and so on, wherever it stands as a word of its own.
    pub(super) fn rename(&mut self, ids: &HashMap<String, usize>) {
        if !ids.is_empty() {
            for event in &mut self.events {
                event.what = renamed(&event.what, ids);
            }
        }
    }

    /// Drops all but the first events, and does not count them.
    pub(super) fn keep_the_beginning(&mut self) {
        self.events.truncate(PRINTED / 2);
        self.left_out = 0;
    }
}

fn renamed(text: &str, ids: &HashMap<String, usize>) -> String {
    // An id may contain hyphens, and a short number is no id but where a header says so.
    let in_a_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let named = |word: &str, before: &str| {
        let certain = word.len() > SHORT_ID || before.ends_with("-id: ");
        ids.get(word).filter(|_| certain).map(|number| format!("id {number}"))
    };
    let mut new = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(in_a_word) {
        new.push_str(&rest[..start]);
        rest = &rest[start..];
        let (word, after) = rest.split_at(rest.find(|c| !in_a_word(c)).unwrap_or(rest.len()));
        let name = named(word, &new);
        new.push_str(name.as_deref().unwrap_or(word));
        rest = after;
    }
    new + rest
}

impl SceneRecord {
    /// What a report prints: for each line the stamp with the lane, and what was done.
    pub fn lines(&self) -> Vec<(String, String)> {
        let width = self.events.iter().map(|event| event.lane.chars().count()).max().unwrap_or(0);
        let line = |event: &Event| (format!("{:>7} ms  {:width$}  ", event.at_ms, event.lane), one_line(&event.what));
        // The beginning says what was asked and the end what came of it; a long middle is the same line again and again.
        let head = if self.events.len() <= PRINTED { self.events.len() } else { PRINTED / 2 };
        let tail = self.events.len().saturating_sub(PRINTED / 2).max(head);
        let between = tail - head + self.left_out;
        let mut lines: Vec<_> = self.events[..head].iter().map(line).collect();
        if between > 0 {
            lines.push((format!("{:>10}  ", "..."), format!("({between} more)")));
        }
        lines.extend(self.events[tail..].iter().map(line));
        lines
    }
}

impl fmt::Display for SceneRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().into_iter().try_for_each(|(stamp, what)| writeln!(f, "{stamp}{what}"))
    }
}

/// An app may log what it likes; a line of the transcript stays one line.
fn one_line(text: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_debug().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// The bytes as a quoted, escaped and shortened text, with their number where they were shortened.
///
/// ```
/// assert_eq!(lab::escaped(b"a\n"), r#""a\n""#);
/// assert_eq!(lab::escaped(&[b'a'; 1000]), format!("\"{}\"... (1000 bytes)", "a".repeat(48)));
/// ```
pub fn escaped(bytes: &[u8]) -> String {
    let quoted = match std::str::from_utf8(bytes) {
        Ok(text) => text[..text.floor_char_boundary(QUOTED)].escape_debug().to_string(),
        Err(_) => bytes[..bytes.len().min(QUOTED)].escape_ascii().to_string(),
    };
    let shortened = if bytes.len() > QUOTED { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{quoted}\"{shortened}")
}
