//! The classifier, by its program.

use std::{fs, path::Path, process::Command};

use drills::{
    evidence::{Dependency, Evidence, Point, Sample},
    matrix,
};
use ghosts::checkout::Checkout;

use crate::{
    forms::Forms,
    support::{PROGRAM, unique},
};

#[test]
fn what_is_measured_has_the_documented_form() {
    let slugs = ["hidden-flush", "leaked-permit"];
    let measured = matrix::measure(&Checkout::here(), &slugs, 1, false, 10.0, Path::new(PROGRAM)).expect("a matrix");
    let document = serde_json::to_value(&measured).expect("JSON");
    Forms::documented().hold("cargo ghosts classify --json", &document);
    let text = measured.markdown();
    // What is told of them hangs on how busy the machine is.
    assert!(text.contains("\n| leaked-permit | broken | "), "{text}");
    assert!(text.contains("\n- Fixed twins: nothing claimed "), "{text}");
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
