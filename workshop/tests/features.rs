//! A library from outside has the same features whether all is built or one case: nothing is built twice, neither for
//! `cargo test -p <slug>` nor for a learner's copy.

use std::{collections::BTreeSet, process::Command};

use ghosts::{ghosts::ALL, root};

/// Each library from outside with its features, as cargo would build it for the given packages.
fn libraries(packages: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
            "--no-dedupe",
            "--format",
            "{p} [{f}]",
        ])
        .args(packages)
        .current_dir(root())
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
    for ghost in ALL {
        for package in [ghost.slug.to_owned(), format!("{}-fixed", ghost.slug)] {
            let other: Vec<String> = libraries(&["--package", &package]).difference(&all).cloned().collect();
            assert_eq!(other, [""; 0], "{package}: let `spec` turn on what is missing (tests/Cargo.toml)");
        }
    }
}
