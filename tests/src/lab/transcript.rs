//! What was seen in one scene, in one order, in virtual time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most events that one scene keeps; an endless source would otherwise fill the memory.
const KEPT: usize = 500;
/// The most events that a report prints of one scene.
const PRINTED: usize = 32;
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
    /// The events in the order in which they happened.
    pub events: Vec<Event>,
    /// How many further events were seen and not kept.
    pub left_out: usize,
}

impl SceneRecord {
    pub(super) fn new(title: String) -> Self {
        Self { title, events: Vec::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() < KEPT {
            self.events.push(event);
        } else {
            self.left_out += 1;
        }
    }
}

impl fmt::Display for SceneRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.events.len() + self.left_out;
        let width = self.events.iter().map(|event| event.lane.chars().count()).max().unwrap_or(0);
        // The beginning says what was asked and the end what came of it; a long middle is the same line again and again.
        let head = if self.events.len() <= PRINTED { self.events.len() } else { PRINTED / 2 };
        let tail = self.events.len().saturating_sub(PRINTED / 2).max(head);
        for event in &self.events[..head] {
            line(f, event, width)?;
        }
        if total > head + (self.events.len() - tail) {
            writeln!(f, "{:>10}  ({} more)", "...", total - head - (self.events.len() - tail))?;
        }
        for event in &self.events[tail..] {
            line(f, event, width)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, event: &Event, width: usize) -> fmt::Result {
    writeln!(f, "{:>7} ms  {:width$}  {}", event.at_ms, event.lane, event.what)
}

/// The bytes as a quoted, escaped and shortened text, with their number where they were shortened.
///
/// ```
/// assert_eq!(spec::lab::escaped(b"a\n"), r#""a\n""#);
/// assert_eq!(spec::lab::escaped(&[b'a'; 1000]), format!("\"{}\"... (1000 bytes)", "a".repeat(48)));
/// ```
pub fn escaped(bytes: &[u8]) -> String {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    };
    if bytes.len() <= QUOTED {
        return format!("\"{}\"", text(bytes));
    }
    format!("\"{}\"... ({} bytes)", bytes[..QUOTED].escape_ascii(), bytes.len())
}
