//! The suite judged: small wrong layers, each wrong in one way that is seen in the wild. Each breaks the clause that it is there
//! for, and nothing but what follows from it.

mod bodies;
mod calls;
mod heads;
mod places;
mod readiness;
mod support;

use std::{collections::BTreeSet, sync::LazyLock};

use conform::{Conformance, Contract, Outcome, Subject};

/// A layer that is wrong in one way.
struct Bad {
    name: &'static str,
    /// The clause that it is there for.
    breaks: &'static str,
    subject: Subject,
}

fn all() -> Vec<Bad> {
    let mut all = readiness::all();
    all.extend(places::all());
    all.extend(calls::all());
    all.extend(bodies::all());
    all.extend(heads::all());
    all
}

/// Each bad layer's name, the clause that it is there for, and its report.
static REPORTS: LazyLock<Vec<(&str, &str, Conformance)>> = LazyLock::new(|| {
    let judged = all().into_iter().map(|Bad { name, breaks, subject }| {
        let report = conform::check(subject, &Contract::transparent());
        (name, breaks, report)
    });
    judged.collect()
});

#[test]
fn each_bad_layer_breaks_one_clause_and_what_follows_from_it() {
    let mut told = String::new();
    let mut wrong = Vec::new();
    for (name, breaks, report) in &*REPORTS {
        let follow: Vec<&str> = report.broken().into_iter().filter(|key| !report.findings().contains(key)).collect();
        told.push_str(&format!("{name}: {}\n", report.findings().join(", ")));
        if !follow.is_empty() {
            told.push_str(&format!("    also follows: {}\n", follow.join(", ")));
        }
        for key in report.findings() {
            let judged = report.clause(key).expect("it was judged");
            told.push_str(&format!("    -> {}\n", judged.observed.as_deref().unwrap_or_default()));
        }
        if report.findings() != [*breaks] {
            wrong.push(format!("{name} is to break {breaks}, and breaks {:?}", report.findings()));
        }
    }
    insta::assert_snapshot!("bad_layers", told);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn something_breaks_each_clause() {
    let broken: BTreeSet<&str> = all().iter().map(|bad| bad.breaks).collect();
    let unbroken: Vec<&str> =
        conform::clauses().iter().map(|clause| clause.key).filter(|key| !broken.contains(key)).collect();
    assert!(unbroken.is_empty(), "no bad layer breaks {}", unbroken.join(", "));
}

#[test]
fn a_report_is_readable_at_80_columns_and_by_machines() {
    for (name, _, report) in &*REPORTS {
        for line in report.to_string().lines() {
            // What has no space in it is not cut.
            let whole = !line.trim_start().contains(' ');
            assert!(line.chars().count() <= 80 || whole, "{name}: {line}");
        }
        let json = serde_json::to_string(report).expect("plain data");
        assert!(json.starts_with(r#"{"schema":1,"#), "{json}");
        let read: Conformance = serde_json::from_str(&json).expect("the same form");
        assert_eq!(read, *report);
    }
}

#[test]
fn the_readme_shows_what_is_reported() {
    let (.., report) = REPORTS.iter().find(|(name, ..)| *name == "unready-clone").expect("it is there");
    let report = report.to_string();
    let (_, shown) = report.split_once("\n\n").expect("the counts, then the findings");
    assert!(include_str!("../../README.md").contains(shown.trim_end()), "{report}");
}

#[test]
fn a_report_is_the_same_on_each_run() {
    for (bad, (name, _, first)) in all().into_iter().zip(&*REPORTS).step_by(5) {
        let second = conform::check(bad.subject, &Contract::transparent());
        assert!(!first.keys(Outcome::Broken).is_empty(), "{name} breaks nothing");
        assert_eq!(*first, second, "{name}");
    }
}

/// An unready clone explains what falls about readiness, and nothing that it does to heads.
#[test]
fn what_has_a_cause_of_its_own_is_a_finding_of_its_own() {
    let report = conform::check(readiness::unready_and_forgetful(), &Contract::transparent());
    assert_eq!(report.findings(), ["called-where-ready", "response-head-kept"], "{report}");
    assert!(report.broken().len() > report.findings().len(), "{report}");
}
