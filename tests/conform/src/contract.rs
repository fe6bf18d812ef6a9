//! What a layer changes on purpose.

use std::collections::BTreeSet;

/// What a layer changes on purpose, in the suite's own terms. What it says is an expectation: a change that is declared and
/// not seen is told as stale, so that a contract does not rot.
///
/// ```
/// use conform::Contract;
/// let contract = Contract::transparent()
///     .touches("response header x-request-id")
///     .changes("readiness-error-passed", "its errors become answers");
/// # let _ = contract;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Contract {
    pub(crate) changes: Vec<(String, String)>,
    pub(crate) touches: Vec<String>,
}

impl Contract {
    /// Nothing that a client or the inner service can see is changed.
    pub fn transparent() -> Self {
        Self::default()
    }

    /// The clause `key` is not kept, for a `reason` that the layer's documentation gives. Whether a breach is this one or another
    /// cannot be told: where a part of a head or a body is all that changes, say what it [`touches`](Self::touches).
    pub fn changes(mut self, key: impl Into<String>, reason: impl Into<String>) -> Self {
        self.changes.push((key.into(), reason.into()));
        self
    }

    /// This part of a message is set, changed or removed, and everything else is held to its clauses. A part is a direction,
    /// `request` or `response`, and one of `header <name>`, `method`, `uri`, `version`, `status`, `extensions`, `body` and
    /// `trailers`.
    pub fn touches(mut self, part: impl Into<String>) -> Self {
        self.touches.push(part.into());
        self
    }

    /// What is wrong with the contract itself, a sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        for (key, _) in &self.changes {
            if !crate::clauses().iter().any(|clause| clause.key == key) {
                let meant = nearest(key).map_or(String::new(), |meant| format!("; `{meant}` is"));
                faults.push(format!("the contract changes `{key}`, and no clause is called that{meant}"));
            } else if !seen.insert(key) {
                faults.push(format!("the contract changes `{key}` twice"));
            }
        }
        let mut seen = BTreeSet::new();
        for part in &self.touches {
            if !is_a_part(part) {
                faults.push(format!("the contract touches `{part}`, and no part of a message is called that"));
            } else if !seen.insert(part) {
                faults.push(format!("the contract touches `{part}` twice"));
            }
        }
        faults
    }

    pub(crate) fn reason(&self, key: &str) -> Option<&str> {
        self.changes.iter().find(|(changed, _)| changed == key).map(|(_, reason)| reason.as_str())
    }
}

/// A key that differs in one letter at most.
fn nearest(slip: &str) -> Option<&'static str> {
    let one_more = |long: &str, short: &str| {
        (0..long.len()).any(|at| {
            long.is_char_boundary(at)
                && long.chars().enumerate().filter(|(n, _)| *n != at).map(|(_, c)| c).eq(short.chars())
        })
    };
    let one_other =
        |a: &str, b: &str| a.len() == b.len() && a.chars().zip(b.chars()).filter(|(a, b)| a != b).count() <= 1;
    let near = |key: &&str| one_more(key, slip) || one_more(slip, key) || one_other(key, slip);
    crate::clauses().iter().map(|clause| clause.key).find(near)
}

fn is_a_part(part: &str) -> bool {
    let Some((direction, what)) = part.split_once(' ') else { return false };
    let own = match direction {
        "request" => ["method", "uri"].contains(&what),
        "response" => what == "status",
        _ => return false,
    };
    let name = what.strip_prefix("header ");
    // A name is as HTTP/2 has it, or it would never be seen.
    let is_lower = |name: &str| !name.is_empty() && http::HeaderName::from_lowercase(name.as_bytes()).is_ok();
    own || ["version", "extensions", "body", "trailers"].contains(&what) || name.is_some_and(is_lower)
}
