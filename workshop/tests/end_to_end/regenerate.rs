//! The generator as a command: it judges every ghost in a process of its own.

use std::fs;

use serde_json::{Value, json};

use crate::{
    forms::Forms,
    learner::{Learner, err},
};

#[test]
fn what_is_missing_is_made_again_and_told_in_the_documented_form() {
    let copy = Learner::with_a_clone("regenerate");
    let missing = "book/src/generated/hidden-flush/verdicts.json";
    let before = copy.read(missing);
    fs::remove_file(copy.root().join(missing)).expect("our own file");
    let done = copy.ghosts(&["regenerate", "--json"]);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", err(&done)));
    Forms::documented().hold("cargo ghosts regenerate --json", &told);
    assert_eq!(told["written"], json!([missing]), "{told:#}");
    assert_eq!(copy.read(missing), before);
}
