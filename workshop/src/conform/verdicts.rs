//! The hand-written verdicts on what is broken, `tests/conform/verdicts.toml`.

use matrix::Judged;
use serde::Deserialize;

use super::cells::{findings, is_ours, title};
use crate::{Refusal, checkout::Checkout};

/// Where they are.
pub(super) const FILE: &str = "tests/conform/verdicts.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdicts {
    #[serde(rename = "verdict")]
    all: Vec<Verdict>,
}

/// What a broken clause of a row means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    /// The rows, each as library, version and name.
    rows: Vec<String>,
    /// The clauses.
    clauses: Vec<String>,
    pub(super) kind: Kind,
    /// Why, in a sentence.
    pub(super) reason: String,
    /// The public thread, as `owner/repository#number`; where there is none, none was found.
    pub(super) thread: Option<String>,
    /// The name of the draft in `tests/conform/field/reports`.
    pub(super) report: Option<String>,
    /// A version, judged or tested here too, that no longer does it.
    pub(super) cured: Option<String>,
}

/// Of which kind it is. "The suite was wrong" is none: then the suite is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// The layer does what its contract, or the protocol's, forbids.
    Fault,
    /// The layer has reasons, and does not tell of them as a contract would.
    TradeOff,
}

impl Verdict {
    fn is_on(&self, row: &Judged, key: &str) -> bool {
        self.rows.contains(&title(row)) && self.clauses.iter().any(|clause| clause == key)
    }
}

/// All verdicts.
pub(super) fn all(checkout: &Checkout) -> Result<Vec<Verdict>, Refusal> {
    let verdicts: Verdicts =
        toml::from_str(&checkout.text(FILE)?).map_err(|error| Refusal::new(format!("{FILE}: {error}")))?;
    Ok(verdicts.all)
}

/// The verdict on a clause of a row.
pub(super) fn find<'v>(verdicts: &'v [Verdict], row: &Judged, key: &str) -> Option<&'v Verdict> {
    verdicts.iter().find(|verdict| verdict.is_on(row, key))
}

/// What is broken and has no verdict, a sentence each. Our own ghosts are broken on purpose; a fixed twin is none of them.
pub(super) fn missing(checkout: &Checkout, rows: &[Judged]) -> Result<Vec<String>, Refusal> {
    let verdicts = all(checkout)?;
    let theirs = rows.iter().filter(|row| !is_ours(row) || row.name == super::ours::FIXED);
    let broken = theirs.flat_map(|row| findings(row).into_iter().map(move |key| (row, key)));
    let missing = broken.filter(|(row, key)| find(&verdicts, row, key).is_none());
    Ok(missing.map(|(row, key)| format!("{} breaks {key}, and {FILE} has no verdict on it", title(row))).collect())
}

/// The verdicts on what is not broken, or follows from another clause, a sentence each. `rows` are all rows.
pub(super) fn idle(checkout: &Checkout, rows: &[Judged]) -> Result<Vec<String>, Refusal> {
    let mut idle = Vec::new();
    for verdict in all(checkout)? {
        for named in &verdict.rows {
            for key in &verdict.clauses {
                let broken = rows.iter().any(|row| title(row) == *named && findings(row).contains(&key.as_str()));
                if !broken {
                    idle.push(format!(
                        "{FILE} has a verdict on {key} of {named}, and that is not a finding of its own"
                    ));
                }
            }
        }
        if let Some(report) = &verdict.report
            && !checkout.has(&format!("tests/conform/field/reports/{report}.md"))
        {
            idle.push(format!("{FILE} names the report {report}, and there is none"));
        }
    }
    Ok(idle)
}
