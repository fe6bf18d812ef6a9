//! The classifier, on what drills show.

use std::{fs, path::Path, process::Command};

use drills::{
    classify::classify,
    matrix::{self, SECONDS},
    services::Which,
};
use ghosts::checkout::Checkout;

use crate::{
    forms::Forms,
    support::{PROGRAM, quick, unique, until},
};

/// Three of them, and one seed: `cargo ghosts classify --all` measures them all with ten.
#[test]
fn three_broken_twins_are_told_and_nothing_is_claimed_of_the_fixed_ones() {
    let slugs = ["leaked-permit", "orphan-task", "silenced-error"];
    for which in [Which::Broken, Which::Fixed] {
        let twins = slugs.map(|slug| (slug, which));
        let evidence = matrix::seen(&Checkout::here(), &twins, 1, 8.0, Path::new(PROGRAM)).expect("evidence");
        let said: Vec<_> = classify(&evidence).causes.into_iter().map(|cause| (cause.service, cause.ghost)).collect();
        let mut right: Vec<_> = evidence.services.iter().cloned().zip(slugs).collect();
        right.retain(|_| which == Which::Broken);
        right.sort();
        let mut sorted = said.clone();
        sorted.sort();
        assert_eq!(sorted, right, "{which:?}: {said:?}");
    }
}

#[test]
fn what_is_measured_has_the_documented_form() {
    let slugs = ["hidden-flush", "leaked-permit"];
    let measured = matrix::measure(&Checkout::here(), &slugs, 1, false, 10.0, Path::new(PROGRAM)).expect("a matrix");
    let document = serde_json::to_value(&measured).expect("JSON");
    Forms::documented().hold("cargo ghosts classify --json", &document);
    let text = measured.markdown();
    assert!(text.contains("\n| leaked-permit | broken | yes | leaked-permit 1 | 1 of 1 |\n"), "{text}");
    assert!(text.contains("\n- Fixed twins: nothing claimed 2 of 2.\n"), "{text}");
}

#[test]
fn the_evidence_of_a_drill_is_read_from_a_file() {
    let drill = quick(1, Some("orphan-task"));
    until(&drill, SECONDS);
    let file = std::env::temp_dir().join(format!("evidence-{}-{}.json", std::process::id(), unique()));
    fs::write(&file, serde_json::to_vec(&drill.evidence()).expect("JSON")).expect("it is written");
    let told = Command::new(PROGRAM).arg("classify").arg(&file).output().expect("it starts");
    let text = String::from_utf8(told.stdout).expect("text");
    assert!(text.starts_with("# What it may be\n\n## 1. `orphan-task` in boards, "), "{text}");
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
