//! What came of the clauses.

use std::fmt;

use lab::SceneRecord;
use serde::{Deserialize, Serialize};
use textwrap::WordSplitter;

use crate::clauses::Level;

/// The number of the JSON form of a [`Conformance`]; it changes when a reader of the old form would be misled.
pub(crate) const SCHEMA: u32 = 1;
const WIDTH: usize = 80;
/// How many clauses that share a reason are named.
const MOST_KEYS: usize = 12;

/// What came of holding a subject against the clauses: the verdict on each.
///
/// Its `Display` is for people: what fell first, by cause, with what was observed and the transcript that shows it, then what
/// changes as declared, then a count of what is kept. Its serde form is for machines. Both are the same on every run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conformance {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The clauses, in the order of [`clauses`](crate::clauses).
    pub clauses: Vec<Judged>,
    /// What is wrong with the contract or the limits themselves, a sentence each.
    pub faults: Vec<String>,
    /// Parts that the contract declares as touched, and that were not.
    pub untouched: Vec<String>,
}

/// One clause and the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The kebab-case name of the clause.
    pub key: String,
    /// The clause itself.
    pub sentence: String,
    /// How binding it is.
    pub level: Level,
    /// The documentation that it rests on.
    pub source: String,
    /// The ghost that a breach becomes.
    pub ghost: Option<String>,
    /// The verdict.
    pub outcome: Outcome,
    /// What was seen where the clause is broken or changed, or why it does not apply or was not judged.
    pub observed: Option<String>,
    /// The reason that the contract gives for a change.
    pub reason: Option<String>,
    /// The key of the broken clause that this one follows from: one cause, one finding.
    pub cause: Option<String>,
    /// The scene that broke the clause.
    pub scene: Option<SceneRecord>,
}

/// The verdict on one clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every scene showed what the clause says.
    Kept,
    /// A scene showed something else, and the contract has no word of it.
    Broken,
    /// A scene showed something else, as the contract declares.
    Changed,
    /// The contract declares a change, and the clause is kept.
    Stale,
    /// The clause has no meaning for this subject.
    NotApplicable,
    /// An earlier clause made it impossible to judge this one.
    NotJudged,
}

impl Conformance {
    /// Whether the subject is as its contract says: no clause that it must or should keep is broken, each was judged, and the
    /// contract itself is in order. A stale declaration is told and does not count.
    pub fn conforms(&self) -> bool {
        let fine = |judged: &Judged| match judged.outcome {
            Outcome::Broken => judged.level == Level::Info,
            Outcome::NotJudged => false,
            _ => true,
        };
        self.faults.is_empty() && self.clauses.iter().all(fine)
    }

    /// The keys of what is broken, whatever the level, in the order of the clauses.
    pub fn broken(&self) -> Vec<&str> {
        self.keys(Outcome::Broken)
    }

    /// The keys of what is broken and follows from nothing else: the findings.
    pub fn findings(&self) -> Vec<&str> {
        let found = self.clauses.iter().filter(|judged| judged.outcome == Outcome::Broken && judged.cause.is_none());
        found.map(|judged| judged.key.as_str()).collect()
    }

    /// The keys of the clauses with this outcome.
    pub fn keys(&self, outcome: Outcome) -> Vec<&str> {
        self.clauses.iter().filter(|judged| judged.outcome == outcome).map(|judged| judged.key.as_str()).collect()
    }

    /// Declarations that nothing came of: keys of clauses that are kept, and parts that are as they were.
    pub fn stale(&self) -> Vec<&str> {
        let mut stale = self.keys(Outcome::Stale);
        stale.extend(self.untouched.iter().map(String::as_str));
        stale
    }

    /// The verdict on one clause, by its key.
    pub fn clause(&self, key: &str) -> Option<&Judged> {
        self.clauses.iter().find(|judged| judged.key == key)
    }

    fn follow(&self, key: &str) -> Vec<&Judged> {
        self.clauses.iter().filter(|judged| judged.cause.as_deref() == Some(key)).collect()
    }

    fn counts(&self) -> String {
        let mut told = format!("{} of {} clauses kept", self.keys(Outcome::Kept).len(), self.clauses.len());
        for (outcome, word) in [
            (Outcome::Broken, "broken"),
            (Outcome::Changed, "changed as declared"),
            (Outcome::Stale, "stale"),
            (Outcome::NotApplicable, "not applicable"),
            (Outcome::NotJudged, "not judged"),
        ] {
            match self.keys(outcome).len() {
                0 => {}
                count => told.push_str(&format!(", {count} {word}")),
            }
        }
        told
    }
}

impl fmt::Display for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        wrapped(f, &self.counts(), "", "  ")?;
        for fault in &self.faults {
            writeln!(f)?;
            entry(f, "FAULT", fault)?;
        }
        let broken = self.clauses.iter().filter(|judged| judged.outcome == Outcome::Broken && judged.cause.is_none());
        for judged in broken {
            writeln!(f)?;
            judged.write(f, &self.follow(&judged.key))?;
        }
        for judged in self.clauses.iter().filter(|judged| judged.outcome == Outcome::Changed) {
            writeln!(f)?;
            entry(f, "changes", &judged.key)?;
            entry(f, "", &format!("declared: {}", judged.reason.as_deref().unwrap_or_default()))?;
            entry(f, "", &format!("-> {}", judged.observed.as_deref().unwrap_or_default()))?;
        }
        let stale = self.stale();
        if !stale.is_empty() {
            writeln!(f)?;
        }
        for declared in stale {
            entry(f, "stale", &format!("{declared}: declared, and nothing of it was seen"))?;
        }
        for (outcome, word) in [(Outcome::NotApplicable, "-"), (Outcome::NotJudged, "not judged")] {
            self.write_by_reason(f, outcome, word)?;
        }
        Ok(())
    }
}

impl Conformance {
    /// One entry for each reason, with the keys that share it.
    fn write_by_reason(&self, f: &mut fmt::Formatter<'_>, outcome: Outcome, word: &str) -> fmt::Result {
        let these = || self.clauses.iter().filter(move |judged| judged.outcome == outcome);
        let mut reasons: Vec<&str> = Vec::new();
        for reason in these().filter_map(|judged| judged.observed.as_deref()) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        for reason in reasons {
            let keys =
                these().filter(|judged| judged.observed.as_deref() == Some(reason)).map(|judged| judged.key.as_str());
            let keys: Vec<&str> = keys.collect();
            writeln!(f)?;
            match keys.len() {
                0..=MOST_KEYS => entry(f, word, &keys.join(", "))?,
                many => entry(f, word, &format!("{many} clauses"))?,
            }
            entry(f, "", reason)?;
        }
        Ok(())
    }
}

impl Judged {
    fn write(&self, f: &mut fmt::Formatter<'_>, follow: &[&Self]) -> fmt::Result {
        let level = match self.level {
            Level::Must => "must",
            Level::Should => "should",
            Level::Info => "info",
        };
        entry(f, "BROKEN", &format!("{} ({level})", self.key))?;
        entry(f, "", &self.sentence)?;
        entry(f, "", &format!("[{}]", self.source))?;
        writeln!(f)?;
        entry(f, "", &format!("-> {}", self.observed.as_deref().unwrap_or_default()))?;
        if let Some(scene) = self.scene.as_ref().filter(|scene| !scene.events.is_empty()) {
            writeln!(f, "\n              {}:", scene.title)?;
            for (stamp, what) in scene.lines() {
                let stamp = format!("      {stamp}");
                wrapped(f, &what, &stamp, &" ".repeat(stamp.chars().count()))?;
            }
        }
        if !follow.is_empty() {
            let keys: Vec<&str> = follow.iter().map(|judged| judged.key.as_str()).collect();
            writeln!(f)?;
            entry(f, "", &format!("also follows: {}", keys.join(", ")))?;
        }
        if let Some(ghost) = &self.ghost {
            writeln!(f)?;
            entry(f, "", &format!("in production this is {ghost}: cargo ghosts show {ghost}"))?;
        }
        Ok(())
    }
}

/// A word at the left, and what it is of in a column of its own.
fn entry(f: &mut fmt::Formatter<'_>, word: &str, text: &str) -> fmt::Result {
    wrapped(f, text, &format!("  {word:10}  "), &" ".repeat(14))
}

fn wrapped(f: &mut fmt::Formatter<'_>, text: &str, first: &str, rest: &str) -> fmt::Result {
    let options = textwrap::Options::new(WIDTH).initial_indent(first).subsequent_indent(rest).break_words(false);
    // A key stays whole, so that it can be searched for.
    let options = options.word_splitter(WordSplitter::NoHyphenation);
    for line in textwrap::wrap(text, options) {
        writeln!(f, "{line}")?;
    }
    Ok(())
}
