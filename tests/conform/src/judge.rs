//! Holds a subject against the clauses, and reads what came of it by its contract.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use lab::{Asked, Lab, Limits, Specification, locked};

use crate::{
    clauses::{Clause, clauses, is_about_readiness},
    contract::Contract,
    report::{Conformance, Judged, Outcome, SCHEMA},
    stand::{Fall, Notes, Stand},
    subject::Subject,
};

const CALLED_WHERE_READY: &str = "called-where-ready";

/// Holds a subject against every clause, and reads what came of it by its contract. Blocks the caller, also one inside a
/// runtime.
///
/// ```
/// use conform::{Contract, Subject};
/// let report = conform::check(Subject::layer(tower::layer::util::Identity::new), &Contract::transparent());
/// assert!(report.conforms(), "{report}");
/// ```
pub fn check(subject: Subject, contract: &Contract) -> Conformance {
    judge(subject, contract, Limits::default())
}

/// Like [`check`], with limits of the caller's. [`Limits::only`] is the key of the one clause to judge.
pub fn judge(subject: Subject, contract: &Contract, limits: Limits<'_>) -> Conformance {
    let mut faults = contract.faults();
    if let Some(only) = limits.only
        && !clauses().iter().any(|clause| clause.key == only)
    {
        faults.push(format!("only `{only}` is to be judged, and no clause is called that"));
    }
    let [first, rest @ ..] = clauses() else { unreachable!("there are clauses") };
    let mut tried = Trial::new(std::slice::from_ref(first), &subject, contract, limits);
    let answered = tried.iter().all(|trial| trial.notes.answered.load(Ordering::SeqCst));
    if answered {
        tried.extend(Trial::new(rest, &subject, contract, limits));
    } else {
        let rest = rest.iter().filter(|clause| limits.only.is_none_or(|only| only == clause.key));
        tried.extend(rest.map(|clause| Trial::unable(*clause)));
    }
    let mut judged: Vec<Judged> = tried.iter().map(|trial| trial.read(contract)).collect();
    let causes: Vec<Option<String>> = (0..tried.len()).map(|at| cause(at, &tried, &judged)).collect();
    judged.iter_mut().zip(causes).for_each(|(judged, cause)| judged.cause = cause);
    let seen: BTreeSet<String> = tried.iter().flat_map(|trial| locked(&trial.notes.touched).clone()).collect();
    let whole = limits.only.is_none() && !judged.iter().any(|judged| judged.outcome == Outcome::NotJudged);
    let untouched = contract.touches.iter().filter(|part| whole && faults.is_empty() && !seen.contains(*part));
    let untouched = untouched.cloned().collect();
    Conformance { schema: SCHEMA, clauses: judged, faults, untouched }
}

/// A clause with what came of its proof.
struct Trial {
    clause: Clause,
    judged: lab::Judged,
    notes: Arc<Notes>,
}

impl Trial {
    fn new(clauses: &[Clause], subject: &Subject, contract: &Contract, limits: Limits<'_>) -> Vec<Self> {
        let touches: Arc<[String]> = contract.touches.clone().into();
        let changes: Arc<[String]> = contract.changes.iter().map(|(key, _)| key.clone()).collect();
        let clauses = clauses.iter().filter(|clause| limits.only.is_none_or(|only| only == clause.key));
        let clauses: Vec<(Clause, Arc<Notes>)> = clauses.map(|clause| (*clause, Arc::default())).collect();
        let mut specification = Specification::of("conformance", subject.clone());
        for (clause, notes) in &clauses {
            let (prove, notes, touches, changes) = (clause.prove, notes.clone(), touches.clone(), changes.clone());
            let proof = async move |lab: Lab, subject| {
                let stand = Stand { lab, subject, touches, changes, notes: notes.clone() };
                match prove(stand.clone()).await {
                    Ok(()) => Ok(()),
                    Err(Fall::NotApplicable(why)) => {
                        *locked(&notes.not_applicable) = Some(why);
                        Ok(())
                    }
                    Err(Fall::Broken { certain: Some(root), .. }) if stand.changes(root) => {
                        let why = format!("it follows from {root}, which the contract changes");
                        *locked(&notes.not_applicable) = Some(why);
                        Ok(())
                    }
                    Err(Fall::Broken { observed, causes, .. }) => {
                        *locked(&notes.causes) = causes;
                        Err(lab::Broken::because(observed))
                    }
                }
            };
            specification = specification.promise(Asked::new(clause.key, clause.sentence), proof);
        }
        let report = specification.judge(limits);
        let trials = clauses.into_iter().zip(report.promises);
        trials.map(|((clause, notes), judged)| Self { clause, judged, notes }).collect()
    }

    /// One that was not made, because nothing comes through.
    fn unable(clause: Clause) -> Self {
        let judged = lab::Judged {
            key: clause.key.to_owned(),
            promise: clause.sentence.to_owned(),
            outcome: lab::Outcome::NotJudged,
            observed: Some(
                "an ordinary request does not come through; where the layer asks for something, Subject::asking \
                 supplies it"
                    .to_owned(),
            ),
            scenes: Vec::new(),
        };
        Self { clause, judged, notes: Arc::default() }
    }

    fn read(&self, contract: &Contract) -> Judged {
        let Self { clause, judged, notes } = self;
        let reason = contract.reason(clause.key);
        let not_applicable = locked(&notes.not_applicable).clone();
        // The scene stands under it, with its title.
        let title = judged.scenes.last().map(|scene| format!("in {}: ", scene.title)).unwrap_or_default();
        let seen = judged.observed.as_deref().map(|seen| seen.strip_prefix(&title).unwrap_or(seen).to_owned());
        let (outcome, observed) = match (judged.outcome, not_applicable) {
            (lab::Outcome::NotJudged, _) => (Outcome::NotJudged, seen),
            (lab::Outcome::Broken, _) if reason.is_some() => (Outcome::Changed, seen),
            (lab::Outcome::Broken, _) => (Outcome::Broken, seen),
            (lab::Outcome::Kept, Some(why)) => (Outcome::NotApplicable, Some(why)),
            (lab::Outcome::Kept, None) if reason.is_some() => (Outcome::Stale, None),
            (lab::Outcome::Kept, None) => (Outcome::Kept, None),
        };
        let shown = outcome == Outcome::Broken || outcome == Outcome::Changed;
        Judged {
            key: clause.key.to_owned(),
            sentence: clause.sentence.to_owned(),
            level: clause.level,
            source: clause.source.to_owned(),
            ghost: clause.ghost.map(str::to_owned),
            outcome,
            observed,
            reason: reason.map(str::to_owned),
            cause: None,
            scene: judged.scenes.last().filter(|_| shown).cloned(),
        }
    }
}

/// The clause that explains the breach of the one `at`, if it is broken too.
fn cause(at: usize, tried: &[Trial], judged: &[Judged]) -> Option<String> {
    let broken = |key: &str| judged.iter().any(|judged| judged.key == key && judged.outcome == Outcome::Broken);
    if judged[at].outcome != Outcome::Broken {
        return None;
    }
    let mut root = None;
    let mut next = Some(at);
    while let Some(this) = next.filter(|_| root.is_none_or(|root: &str| root != judged[at].key)) {
        let key = judged[this].key.as_str();
        let explains = |cause: &&str| *cause != CALLED_WHERE_READY || is_about_readiness(key);
        let causes = tried[this].notes.causes().into_iter().filter(explains).chain(same_panic(this, judged));
        let cause = causes.into_iter().find(|cause| *cause != key && broken(cause));
        root = cause.or(root);
        next = cause.and_then(|cause| judged.iter().position(|judged| judged.key == cause));
    }
    root.filter(|root| *root != judged[at].key).map(str::to_owned)
}

/// The first clause that fell by the same panic.
fn same_panic(at: usize, judged: &[Judged]) -> Option<&str> {
    let place = |judged: &Judged| Some(judged.observed.as_deref()?.split_once("the app panicked at ")?.1.to_owned());
    let this = place(&judged[at])?;
    let first = judged.iter().find(|judged| judged.outcome == Outcome::Broken && place(judged).as_ref() == Some(&this));
    first.map(|judged| judged.key.as_str())
}
