//! A library from outside has the same features whether all is built, one case or the runner: nothing is built twice, neither
//! for `cargo test -p <slug>`, nor for a learner's copy, nor for `cargo test` after `cargo run`.

use std::{collections::BTreeSet, path::Path, process::Command};

use ghosts::{catalogue::ghosts::ALL, checkout::Checkout};

use crate::learner::Learner;

/// The dependencies that tests have.
const TESTED: &str = "normal,build,dev";

/// Each library from outside with its features, as cargo would build it to test the given packages.
fn libraries(packages: &[&str]) -> BTreeSet<String> {
    libraries_in(Checkout::here().root(), TESTED, &[&["--locked"], packages].concat())
}

fn libraries_in(folder: &Path, edges: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--edges", edges, "--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    // Our own packages are printed with their path in brackets.
    let lines = text.lines().map(|line| line.replace(" (proc-macro)", ""));
    lines.filter(|line| !line.contains(" (")).collect()
}

#[test]
fn one_case_is_built_from_the_same_libraries_as_the_workspace() {
    let all = libraries(&["--workspace"]);
    for ghost in ALL.iter() {
        for package in [ghost.slug.to_owned(), format!("{}-fixed", ghost.slug), format!("{}-spec", ghost.slug)] {
            let other: Vec<String> = libraries(&["--package", &package]).difference(&all).cloned().collect();
            assert_eq!(other, [""; 0], "{package}: let `features` turn on what is missing (tests/features/Cargo.toml)");
        }
    }
}

#[test]
fn the_runner_is_built_from_the_same_libraries_as_the_workspace() {
    let all = libraries(&["--workspace"]);
    let run = libraries_in(Checkout::here().root(), "normal,build", &["--locked", "--package", "ghosts"]);
    let other: Vec<String> = run.difference(&all).cloned().collect();
    assert_eq!(
        other, [""; 0],
        "let the root manifest turn on what is missing, or `cargo test` builds the runner again"
    );
}

#[test]
fn an_exercise_is_built_from_the_same_libraries_as_the_workspace() {
    let all = libraries(&["--workspace"]);
    let copy = Learner::with_a_clone("libraries");
    for ghost in ALL.iter() {
        copy.ghosts(&["start", ghost.slug]);
        let exercise = copy.root().join("exercises").join(ghost.slug);
        // With the model of a ghost with shared state, and without it.
        for packages in [&["--offline", "--workspace"] as &[&str], &["--offline"]] {
            let other = libraries_in(&exercise, TESTED, packages);
            let other: Vec<String> = other.difference(&all).cloned().collect();
            assert_eq!(
                other, [""; 0],
                "{}: let `features` turn on what is missing (tests/features/Cargo.toml)",
                ghost.slug
            );
        }
    }
}
