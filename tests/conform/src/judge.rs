//! Holds a subject against the clauses, and reads what came of it by its contract.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock, atomic::Ordering},
};

use lab::{Asked, Broken, Lab, Limits, Specification, locked};

use crate::{
    clauses::{Clause, clauses, is_about_readiness},
    contract::Contract,
    report::{Conformance, Judged, Outcome, SCHEMA},
    stand::{Fall, Notes, Stand},
    subject::Subject,
};

const CALLED_WHERE_READY: &str = "called-where-ready";
const UNABLE: &str =
    "an ordinary request does not come through; where the layer asks for something, Subject::asking supplies it";
/// What the laboratory says of a layer that spins.
const SPINS: &str = "the app did not yield: it spins, or it blocks its thread";

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
    let tried = Trial::all(&subject, contract, limits);
    let mut judged: Vec<Judged> = tried.iter().map(|trial| trial.read(contract)).collect();
    let causes: Vec<Option<String>> = (0..tried.len()).map(|at| cause(at, &tried, &judged)).collect();
    judged.iter_mut().zip(causes).for_each(|(judged, cause)| judged.cause = cause);
    let seen: BTreeSet<String> = tried.iter().flat_map(|trial| locked(&trial.notes.touched).clone()).collect();
    let unseen = |judged: &Judged| judged.outcome == Outcome::NotJudged || judged.observed.as_deref() == Some(SPINS);
    let whole = limits.only.is_none() && !judged.iter().any(unseen);
    let untouched = contract.touches.iter().filter(|part| whole && faults.is_empty() && !seen.contains(*part));
    let untouched = untouched.cloned().collect();
    Conformance { schema: SCHEMA, clauses: judged, faults, untouched }
}

/// What a proof says beside its verdict. It goes with the verdict's text, between two marks, because where a layer spins the
/// clauses that are left are judged in another process, of which only the texts come back.
enum Aside {
    /// An ordinary request does not come through.
    Unable,
    NotApplicable(String),
    /// The clauses that explain a breach, nearest first.
    Causes(Vec<&'static str>),
}

const MARK: char = '\u{1f}';

impl Aside {
    fn after(&self, observed: &str) -> Broken {
        let aside = match self {
            Self::Unable => "unable ".to_owned(),
            Self::NotApplicable(why) => format!("not-applicable {why}"),
            Self::Causes(causes) => format!("causes {}", causes.join(" ")),
        };
        Broken::because(format!("{observed}{MARK}{aside}{MARK}"))
    }

    /// Takes it out of the text.
    fn out_of(observed: &str) -> (String, Option<Self>) {
        let Some((before, (aside, after))) =
            observed.split_once(MARK).and_then(|(before, rest)| Some((before, rest.split_once(MARK)?)))
        else {
            return (observed.to_owned(), None);
        };
        let aside = aside.split_once(' ').map(|(kind, text)| match kind {
            "unable" => Self::Unable,
            "not-applicable" => Self::NotApplicable(text.to_owned()),
            _ => Self::Causes(text.split_whitespace().filter_map(key_of).collect()),
        });
        (format!("{before}{after}"), aside)
    }
}

fn key_of(text: &str) -> Option<&'static str> {
    clauses().iter().map(|clause| clause.key).find(|key| *key == text)
}

/// A clause with what came of its proof.
struct Trial {
    clause: Clause,
    judged: lab::Judged,
    observed: Option<String>,
    aside: Option<Aside>,
    notes: Arc<Notes>,
}

impl Trial {
    fn all(subject: &Subject, contract: &Contract, limits: Limits<'_>) -> Vec<Self> {
        let touches: Arc<[String]> = contract.touches.clone().into();
        let changes: Arc<[String]> = contract.changes.iter().map(|(key, _)| key.clone()).collect();
        let wanted = clauses().iter().filter(|clause| limits.only.is_none_or(|only| only == clause.key));
        let wanted: Vec<(Clause, Arc<Notes>)> = wanted.map(|clause| (*clause, Arc::default())).collect();
        // Set once the first clause was tried: whether anything comes through. Nobody has tried where only another is judged.
        let comes_through = Arc::<OnceLock<Arc<Notes>>>::default();
        let mut specification = Specification::of("conformance", subject.clone());
        for (clause, notes) in &wanted {
            let is_first = clause.key == clauses()[0].key;
            let (comes_through, prove, notes) = (comes_through.clone(), clause.prove, notes.clone());
            let (touches, changes) = (touches.clone(), changes.clone());
            let proof = async move |lab: Lab, subject| {
                if is_first {
                    let _ = comes_through.set(notes.clone());
                } else if comes_through.get().is_some_and(|first| !first.answered.load(Ordering::SeqCst)) {
                    return Err(Aside::Unable.after(""));
                }
                let stand = Stand { lab, subject, touches, changes, notes: notes.clone() };
                match prove(stand.clone()).await {
                    Ok(()) => Ok(()),
                    Err(Fall::NotApplicable(why)) => Err(Aside::NotApplicable(why).after("")),
                    Err(Fall::Broken { certain: Some(root), .. }) if stand.changes(root) => {
                        let why = format!("it follows from {root}, which the contract changes");
                        Err(Aside::NotApplicable(why).after(""))
                    }
                    Err(Fall::Broken { observed, causes, .. }) => {
                        Err(Aside::Causes(notes.causes().into_iter().chain(causes).collect()).after(&observed))
                    }
                }
            };
            specification = specification.promise(Asked::new(clause.key, clause.sentence), proof);
        }
        let report = specification.judge(limits);
        wanted
            .into_iter()
            .zip(report.promises)
            .map(|((clause, notes), judged)| Self::of(clause, judged, notes))
            .collect()
    }

    fn of(clause: Clause, judged: lab::Judged, notes: Arc<Notes>) -> Self {
        // The scene stands under it, with its title.
        let title = judged.scenes.last().map(|scene| format!("in {}: ", scene.title)).unwrap_or_default();
        let (observed, aside) = judged.observed.as_deref().map(Aside::out_of).unzip();
        // Where nothing stands before it, what else the laboratory saw still begins as the rest of a sentence.
        let observed =
            observed.map(|seen| seen.strip_prefix(&title).unwrap_or(&seen).trim_start_matches("; ").to_owned());
        Self { clause, judged, observed, aside: aside.flatten(), notes }
    }

    /// The clauses that explain a breach, nearest first.
    fn causes(&self) -> Vec<&'static str> {
        match &self.aside {
            Some(Aside::Causes(causes)) => causes.clone(),
            _ => self.notes.causes(),
        }
    }

    fn read(&self, contract: &Contract) -> Judged {
        let Self { clause, judged, .. } = self;
        let reason = contract.reason(clause.key);
        let seen = self.observed.clone();
        let nothing_else = seen.as_deref().is_none_or(str::is_empty);
        let (outcome, observed) = match (judged.outcome, &self.aside) {
            (lab::Outcome::NotJudged, _) => (Outcome::NotJudged, seen),
            (_, Some(Aside::Unable)) if nothing_else => (Outcome::NotJudged, Some(UNABLE.to_owned())),
            (_, Some(Aside::NotApplicable(why))) if nothing_else => (Outcome::NotApplicable, Some(why.clone())),
            (lab::Outcome::Broken, _) if reason.is_some() => (Outcome::Changed, seen),
            (lab::Outcome::Broken, _) => (Outcome::Broken, seen),
            (lab::Outcome::Kept, _) if reason.is_some() => (Outcome::Stale, None),
            (lab::Outcome::Kept, _) => (Outcome::Kept, None),
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
        let causes = tried[this].causes().into_iter().filter(explains).chain(same_panic(this, judged));
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
