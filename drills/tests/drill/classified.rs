//! The classifier, by its program.

use std::{fs, path::Path, process::Command};

use drills::{
    detectors,
    evidence::{Dependency, Evidence, Point, Sample},
    matrix::{self, Matrix},
};
use ghosts::checkout::Checkout;

use crate::{
    forms::Forms,
    support::{PROGRAM, unique},
};

#[test]
fn what_is_measured_has_the_documented_form_and_can_be_read_again() {
    let slugs = ["hidden-flush", "leaked-permit"];
    let wanted = matrix::Measure { slugs: &slugs, seeds: 1, others: false, speed: 10.0, program: Path::new(PROGRAM) };
    let folder = std::env::temp_dir().join(format!("kept-{}-{}", std::process::id(), unique()));
    let mut runs = Vec::new();
    let measured = matrix::measure(&Checkout::here(), wanted, |run| {
        run.keep(&folder)?;
        runs.push(run);
        Ok(())
    });
    measured.expect("it can be measured");
    let measured = Matrix::of(&runs, 10.0);
    let document = serde_json::to_value(&measured).expect("JSON");
    Forms::documented().hold("cargo ghosts classify --json", &document);
    let text = measured.markdown();
    // What is told of them hangs on how busy the machine is.
    assert!(text.contains("\n| leaked-permit | broken | "), "{text}");
    assert!(text.contains("\n- Fixed twins (2): nothing claimed "), "{text}");
    let again = Command::new(PROGRAM).args(["classify", "--all", "--from"]).arg(&folder).output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&again.stdout), text);
    fs::remove_dir_all(&folder).expect("it was there");
    let none = Command::new(PROGRAM).args(["classify", "--all", "--from"]).arg(&folder).output().expect("it starts");
    let said = format!("drill: there is no kept evidence in {}\n", folder.display());
    assert_eq!(String::from_utf8_lossy(&none.stderr), said);
}

#[test]
fn what_is_seen_before_a_service_runs_is_what_the_book_says() {
    let now = detectors::before(&Checkout::here()).expect("a table");
    let again = "cargo ghosts classify --detectors";
    assert!(include_str!("../../detectors.md").starts_with(&now), "{again} makes\n{now}");
}

/// After thirty seconds every request is refused, and none of them comes to the dependency.
fn an_empty_pool() -> Evidence {
    let served = Dependency { calls: 8, served: 8, ..Dependency::default() };
    let calm = Point { requests: 8, p50_ms: 40.0, p95_ms: 42.0, p99_ms: 42.0, dependency: served, ..Point::default() };
    let refused = Point { errors: 8, p50_ms: 800.0, dependency: Dependency::default(), ..calm.clone() };
    let samples = (1..80).map(|second| {
        let point = if second < 30 { &calm } else { &refused };
        Sample { at_s: f64::from(second), points: vec![point.clone()] }
    });
    Evidence { schema: 1, services: vec!["stock".to_owned()], samples: samples.collect(), log: Vec::new() }
}

#[test]
fn the_evidence_of_a_drill_is_read_from_a_file() {
    let file = std::env::temp_dir().join(format!("evidence-{}-{}.json", std::process::id(), unique()));
    fs::write(&file, serde_json::to_vec(&an_empty_pool()).expect("JSON")).expect("it is written");
    let told = Command::new(PROGRAM).arg("classify").arg(&file).output().expect("it starts");
    let text = String::from_utf8(told.stdout).expect("text");
    assert!(text.starts_with("# What it may be\n\n## 1. `leaked-permit` in stock, "), "{text}");
    assert!(text.contains("\nFirst: restart the instance.\n"), "{text}");
    let told = Command::new(PROGRAM).args(["classify", "--json"]).arg(&file).output().expect("it starts");
    Forms::documented().hold("cargo ghosts classify --json", &serde_json::from_slice(&told.stdout).expect("JSON"));
    fs::write(&file, "{}").expect("it is written");
    let refused = Command::new(PROGRAM).arg("classify").arg(&file).output().expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with(&format!("drill: cannot read {}: missing field `schema`", file.display())), "{said}");
    fs::remove_file(file).expect("it was there");
}
