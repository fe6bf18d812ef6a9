//! What came of a specification: one line for each promise.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::transcript::SceneRecord;

/// The number of the JSON form of a [`Report`]; it changes when a reader of the old form would be misled.
const SCHEMA: u32 = 1;
const WIDTH: usize = 80;

/// One line for each promise of a ghost: kept, broken or not judged.
///
/// Its `Display` is for people: the broken promises with what was observed and the transcript that shows it. Its serde form
/// is for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The slug of the ghost.
    pub ghost: String,
    /// The promises in the order of the specification.
    pub promises: Vec<Judged>,
}

/// One promise and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The kebab-case name of the promise.
    pub key: String,
    /// The promise itself, one definite sentence.
    pub promise: String,
    /// Kept, broken or not judged.
    pub outcome: Outcome,
    /// What was seen, where the promise is not kept.
    pub observed: Option<String>,
    /// The scenes that were played; the last one is the one that broke the promise.
    pub scenes: Vec<SceneRecord>,
}

/// The verdict on one promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every scene showed what the promise says.
    Kept,
    /// A scene showed something else.
    Broken,
    /// An earlier promise made it impossible to judge this one.
    NotJudged,
}

impl Report {
    pub(super) fn new(ghost: &str, promises: Vec<Judged>) -> Self {
        Self { schema: SCHEMA, ghost: ghost.to_owned(), promises }
    }

    /// Whether the ghost is laid to rest: every promise was judged and kept.
    pub fn all_kept(&self) -> bool {
        self.kept() == self.promises.len()
    }

    /// How many promises were kept.
    pub fn kept(&self) -> usize {
        self.count(Outcome::Kept)
    }

    /// The keys of the broken promises, in the order of the specification.
    pub fn broken(&self) -> Vec<&str> {
        self.promises.iter().filter(|p| p.outcome == Outcome::Broken).map(|p| p.key.as_str()).collect()
    }

    /// The report without its transcripts: a line for each promise, and what was observed under the broken ones.
    pub fn verdicts(&self) -> Verdicts<'_> {
        Verdicts(self)
    }

    /// This report with a transcript under each promise that `broken` breaks: the same scene, played by this app.
    pub fn beside<'a>(&'a self, broken: &'a Report) -> Beside<'a> {
        Beside { report: self, broken }
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.promises.iter().filter(|p| p.outcome == outcome).count()
    }

    fn write<'a>(
        &'a self,
        f: &mut fmt::Formatter<'_>,
        scene: impl Fn(&'a Judged) -> Option<&'a SceneRecord>,
    ) -> fmt::Result {
        let total = self.promises.len();
        write!(f, "{}: {} of {total} promises kept", self.ghost, self.kept())?;
        match self.count(Outcome::NotJudged) {
            0 => writeln!(f)?,
            left => writeln!(f, ", {left} not judged")?,
        }
        for judged in &self.promises {
            judged.write(f, scene(judged))?;
        }
        Ok(())
    }
}

/// The scene that broke the promise.
fn breaking(judged: &Judged) -> Option<&SceneRecord> {
    judged.scenes.last().filter(|_| judged.outcome == Outcome::Broken)
}

impl Judged {
    pub(super) fn not_judged(key: &str, promise: &str, why: String) -> Self {
        let (key, promise) = (key.to_owned(), promise.to_owned());
        Self { key, promise, outcome: Outcome::NotJudged, observed: Some(why), scenes: Vec::new() }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, scene: Option<&SceneRecord>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Kept => "kept",
            Outcome::Broken => "BROKEN",
            Outcome::NotJudged => "not judged",
        };
        writeln!(f, "\n  {word:10}  {}", self.key)?;
        indented(f, &self.promise)?;
        if let Some(observed) = &self.observed {
            writeln!(f)?;
            indented(f, &format!("-> {observed}"))?;
        }
        if let Some(scene) = scene {
            writeln!(f, "\n              {}:", scene.title)?;
            for (stamp, what) in scene.lines() {
                let stamp = format!("      {stamp}");
                // What goes on in the next line begins in the same column.
                wrapped(f, &what, &stamp, &" ".repeat(stamp.chars().count()))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, breaking)
    }
}

/// See [`Report::verdicts`].
#[derive(Clone, Copy, Debug)]
pub struct Verdicts<'a>(&'a Report);

impl fmt::Display for Verdicts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, |_| None)
    }
}

/// See [`Report::beside`].
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    report: &'a Report,
    broken: &'a Report,
}

impl fmt::Display for Beside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.write(f, |judged| {
            let there = self.broken.promises.iter().find(|there| there.key == judged.key).and_then(breaking)?;
            judged.scenes.iter().find(|scene| scene.title == there.title)
        })
    }
}

fn indented(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let indent = "              ";
    wrapped(f, text, indent, indent)
}

fn wrapped(f: &mut fmt::Formatter<'_>, text: &str, first: &str, rest: &str) -> fmt::Result {
    let options = textwrap::Options::new(WIDTH).initial_indent(first).subsequent_indent(rest).break_words(false);
    for line in textwrap::wrap(text, options) {
        writeln!(f, "{line}")?;
    }
    Ok(())
}
