//! What is generated and committed, as others read it: the verdicts on the near misses, and the interleavings.

use serde::{Deserialize, Serialize};

use crate::{Refusal, checkout::Checkout};

/// The command that makes it all anew.
pub const COMMAND: &str = "cargo ghosts regenerate";
/// The folder of what is generated for the book, one for each ghost in it.
pub(crate) const FOLDER: &str = "book/src/generated";
/// The file with the verdicts on the broken twin and the near misses of a ghost.
pub(crate) const VERDICTS: &str = "verdicts.json";

/// Which promises the broken twin and the near misses of a ghost break.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verdicts {
    /// The number of this form, now 1.
    pub schema: u32,
    /// What the broken twin breaks.
    pub broken: Vec<String>,
    /// What each near miss breaks, in the order of `near_misses::ALL`.
    pub near_misses: Vec<Rejected>,
}

/// What a near miss breaks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// The keys of the promises, none where only the model rejects it.
    pub broken: Vec<String>,
}

/// Which promises the broken twin and the near misses of a ghost break, as they were when the book was generated.
///
/// # Errors
/// If the generated file is missing or wrong.
pub fn verdicts(checkout: &Checkout, slug: &str) -> Result<Verdicts, Refusal> {
    let name = format!("{FOLDER}/{slug}/{VERDICTS}");
    let text = checkout.text(&name).map_err(|_| Refusal::new(format!("cannot read {name}: run `{COMMAND}`")))?;
    serde_json::from_str(&text).map_err(|error| Refusal::new(format!("{name}: {error}: run `{COMMAND}`")))
}

/// What was observed of each promise that a near miss breaks, [comparable], as it was when the book was generated.
///
/// # Errors
/// If the generated file is missing.
pub fn observed(checkout: &Checkout, slug: &str, near_miss: &str) -> Result<Vec<(String, String)>, Refusal> {
    let name = format!("{FOLDER}/{slug}/near-miss-{near_miss}.txt");
    let text = checkout.text(&name).map_err(|_| Refusal::new(format!("cannot read {name}: run `{COMMAND}`")))?;
    let mut observed: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(key) = line.strip_prefix("BROKEN ") {
            observed.push((key.trim().to_owned(), String::new()));
        } else if let Some((_, seen)) = observed.last_mut() {
            // Lines are broken at hyphens too.
            if !seen.is_empty() && !seen.ends_with('-') {
                seen.push(' ');
            }
            seen.push_str(line.strip_prefix("-> ").unwrap_or(line));
        }
    }
    Ok(observed.into_iter().map(|(key, seen)| (key, comparable(&seen))).collect())
}

/// What was observed, wherever its lines are broken, without the places in a source that nobody else has.
pub fn comparable(observed: &str) -> String {
    let mut parts = observed.split("panicked at ");
    let first = parts.next().unwrap_or_default().to_owned();
    let without_places = parts.fold(first, |text, part| {
        let rest = part.split_once(|letter: char| letter.is_whitespace() || letter == ';').map_or("", |(_, rest)| rest);
        text + "panicked " + rest
    });
    without_places.split_whitespace().collect()
}

/// The table of a committed interleaving, or the count of a model that holds.
#[derive(Clone, Debug, Serialize)]
pub struct Interleaving {
    /// The name of the snapshot, for instance `interleaving-broken`.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The snapshot, below the root.
    pub file: String,
    /// The table.
    pub text: String,
}

/// The interleavings that the tests of a ghost have committed: those of the broken core, of the near misses that only the
/// model rejects, and the count of the fixed core. None where the ghost has no shared state.
///
/// # Errors
/// If a snapshot cannot be read.
pub fn interleavings(checkout: &Checkout, slug: &str) -> Result<Vec<Interleaving>, Refusal> {
    let mut found = Vec::new();
    for (tree, test) in [("cases", "reproduces"), ("fixed", "holds")] {
        let folder = format!("{tree}/{slug}/tests/snapshots");
        let prefix = format!("{test}__interleaving");
        for file in checkout.names(&folder).into_iter().filter(|file| file.starts_with(&prefix)) {
            let name = file.trim_start_matches(&format!("{test}__")).trim_end_matches(".snap").to_owned();
            let path = format!("{folder}/{file}");
            let text = checkout.text(&path)?;
            // A snapshot is a header between two lines of dashes, and then what was seen.
            let text = text.splitn(3, "---\n").nth(2).unwrap_or_default().trim_end();
            let title = match name.strip_prefix("interleaving-") {
                Some("broken") => "What loom found in the broken core".to_owned(),
                Some("fixed") => "What loom found in the fixed core".to_owned(),
                Some(near_miss) => format!("What loom found in the near miss {near_miss}"),
                None => "What loom found".to_owned(),
            };
            found.push(Interleaving { name, title, file: path, text: format!("{text}\n") });
        }
    }
    Ok(found)
}
