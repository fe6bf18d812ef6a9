//! Rows of published layers, and what the conformance suite says of each: what the rows of the workspace and those of the field
//! have in common.

use axum::body::Body;
use conform::{Contract, Outcome, Subject};
use serde::{Deserialize, Serialize};

/// A published layer, as it is put round a service, with what it declares.
pub struct Row {
    library: &'static str,
    name: &'static str,
    put: &'static str,
    subject: Subject,
    contract: Contract,
}

impl Row {
    /// A layer of a library that changes nothing on purpose. The library is its name in the lock file, with the beginning of
    /// the version where the lock file has several: `tower-http 0.6`. `put` is how it is constructed, for people.
    pub fn new(library: &'static str, name: &'static str, put: &'static str, subject: Subject) -> Self {
        Self { library, name, put, subject, contract: Contract::transparent() }
    }

    /// It does not keep this clause, for this reason.
    #[must_use]
    pub fn changes(mut self, key: &str, reason: &str) -> Self {
        self.contract = self.contract.changes(key, reason);
        self
    }

    /// It changes this part of a message.
    #[must_use]
    pub fn touches(mut self, part: impl Into<String>) -> Self {
        self.contract = self.contract.touches(part);
        self
    }

    /// Its name, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.library, self.name)
    }

    /// What the suite says of it.
    ///
    /// # Errors
    /// If the lock file has no such library, or several versions of it: a sentence.
    pub fn judge(self, lock: &str) -> Result<Judged, String> {
        let (library, version) = locked(lock, self.library)?;
        let report = conform::check(self.subject, &self.contract);
        let kept = report.keys(Outcome::Kept).len();
        let unlike = report.clauses.into_iter().filter(|judged| judged.outcome != Outcome::Kept);
        let cells = unlike.map(|judged| Cell {
            key: judged.key,
            outcome: judged.outcome,
            observed: judged.observed,
            reason: judged.reason,
            cause: judged.cause,
        });
        let mut faults = report.faults;
        faults.extend(report.untouched.iter().map(|part| format!("declares {part} as touched, and it is not")));
        let (name, put) = (self.name.to_owned(), self.put.to_owned());
        Ok(Judged { library, version, name, put, kept, cells: cells.collect(), faults })
    }
}

/// A row that has been judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The library.
    pub library: String,
    /// Its version, from the lock file.
    pub version: String,
    /// The layer.
    pub name: String,
    /// How it is put round a service.
    pub put: String,
    /// How many clauses it keeps.
    pub kept: usize,
    /// The other clauses, in the order of the suite.
    pub cells: Vec<Cell>,
    /// What is wrong with the row itself, a sentence each.
    pub faults: Vec<String>,
}

/// One clause that a row does not simply keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The clause.
    pub key: String,
    /// The verdict.
    pub outcome: Outcome,
    /// What was seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub observed: Option<String>,
    /// Why it is declared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The broken clause that it follows from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
}

/// Rows that have been judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The rows.
    pub rows: Vec<Judged>,
}

/// Judges every row whose title has `part` in it.
///
/// # Errors
/// As [`Row::judge`].
pub fn judge_all(rows: Vec<Row>, part: Option<&str>, lock: &str) -> Result<Rows, String> {
    let chosen = rows.into_iter().filter(|row| part.is_none_or(|part| row.title().contains(part)));
    let rows = chosen.map(|row| row.judge(lock)).collect::<Result<_, _>>()?;
    Ok(Rows { schema: 1, rows })
}

/// The name and the version of a library in a lock file.
fn locked(lock: &str, library: &str) -> Result<(String, String), String> {
    let (name, begins) = library.split_once(' ').unwrap_or((library, ""));
    let entries = lock.split("[[package]]\n").filter(|entry| entry.starts_with(&format!("name = \"{name}\"\n")));
    let versions = entries.filter_map(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    let versions: Vec<&str> = versions.filter(|version| version.starts_with(begins)).collect();
    match versions[..] {
        [version] => Ok((name.to_owned(), version.to_owned())),
        [] => Err(format!("the lock file has no {library}")),
        _ => Err(format!("the lock file has several versions of {library}: {}", versions.join(", "))),
    }
}

/// Sets a header of each request, for layers that act only where it is there.
pub fn sending(
    name: &'static str,
    value: &'static str,
) -> impl Fn(&mut axum::http::Request<Body>) + Send + Sync + 'static {
    use axum::http::{HeaderName, HeaderValue};
    move |request| {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// A layer that codes the bodies of answers.
#[must_use]
pub fn coded(row: Row) -> Row {
    row.touches("response body").touches("response header content-encoding").touches("response header vary")
}
