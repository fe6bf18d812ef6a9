//! The classifier, on what drills show.

use std::{fs, path::Path, process::Command, thread};

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
    let said = |which: Which| {
        let twins = slugs.map(|slug| (slug, which));
        let evidence = matrix::seen(&Checkout::here(), &twins, 1, matrix::SPEED, Path::new(PROGRAM)).expect("evidence");
        let mut said: Vec<_> =
            classify(&evidence).causes.into_iter().map(|cause| (cause.service, cause.ghost)).collect();
        said.sort();
        said
    };
    let (broken, fixed) = thread::scope(|threads| {
        let [broken, fixed] = [Which::Broken, Which::Fixed].map(|which| threads.spawn(move || said(which)));
        (broken.join().expect("what was said"), fixed.join().expect("what was said"))
    });
    let expected = [("boards", "orphan-task"), ("invoices", "silenced-error"), ("stock", "leaked-permit")];
    assert_eq!(broken, expected.map(|(service, ghost)| (service.to_owned(), ghost)));
    assert_eq!(fixed, []);
}

#[test]
fn what_is_measured_has_the_documented_form() {
    let slugs = ["hidden-flush", "leaked-permit"];
    let measured = matrix::measure(&Checkout::here(), &slugs, 1, false, 10.0, Path::new(PROGRAM)).expect("a matrix");
    let document = serde_json::to_value(&measured).expect("JSON");
    Forms::documented().hold("cargo ghosts classify --json", &document);
    let text = measured.markdown();
    assert!(text.contains("\n| leaked-permit | broken | yes | "), "{text}");
    assert!(text.contains("\n- Fixed twins: nothing claimed "), "{text}");
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
