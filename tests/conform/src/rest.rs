//! The suite as one promise of a specification: a fix breaks nothing else.

use lab::{Broken, Limits, Shown};

use crate::{
    clauses::Level,
    contract::Contract,
    judge::judge,
    report::{Judged, Outcome},
    subject::Subject,
};

/// Holds a subject against every clause that it *must* keep, and those of the others that `should` names; what its contract
/// declares is not counted against it, seen or not. For [`lab::Specification::beside`]: a breach names each clause that fell,
/// with what was observed, and shows the scene of the first.
pub fn the_rest(subject: Subject, contract: &Contract, should: &[&str], limits: Limits<'_>) -> Shown {
    let report = judge(subject, contract, Limits { only: None, ..limits });
    if let Some(fault) = report.faults.first() {
        return (Err(Broken::because(fault.clone())), Vec::new());
    }
    let is_asked = |judged: &&Judged| judged.level == Level::Must || should.contains(&judged.key.as_str());
    let fell = |judged: &&Judged| matches!(judged.outcome, Outcome::Broken | Outcome::NotJudged);
    let fallen: Vec<&Judged> = report.clauses.iter().filter(is_asked).filter(fell).collect();
    let Some(first) = fallen.first() else { return (Ok(()), Vec::new()) };
    // What was not judged is a consequence of what was broken before it.
    let broken = fallen.iter().filter(|judged| judged.outcome == Outcome::Broken || fallen.len() == 1);
    let told: Vec<String> = broken
        .map(|judged| format!("{}: {}", judged.key, judged.observed.as_deref().unwrap_or("it was not judged")))
        .collect();
    (Err(Broken::because(told.join("; "))), first.scene.iter().cloned().collect())
}
