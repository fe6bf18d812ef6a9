//! A kit, unpacked where cargo has neither a network nor anything that it has fetched before.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use ghosts::train::kit;

use crate::{
    forms::Forms,
    learner::{Learner, err},
};

fn git(copy: &Learner, arguments: &[&str]) {
    let nobody = ["-c", "user.name=nobody", "-c", "user.email=nobody@ghost.test"];
    let git = Command::new("git").args(nobody).args(arguments).current_dir(copy.root()).output().expect("git starts");
    assert!(git.status.success(), "{arguments:?}: {}", err(&git));
}

/// Cargo with a home in which there is nothing.
fn cargo(folder: &Path, home: &Path, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(folder).env("CARGO_HOME", home).env("CARGO_TARGET_DIR", home.join("target"));
    cargo.output().expect("cargo starts")
}

#[test]
fn every_source_is_in_a_kit() {
    let copy = Learner::with_a_clone("kit");
    git(&copy, &["init", "--quiet"]);
    git(&copy, &["add", "--all"]);
    git(&copy, &["commit", "--quiet", "--message", "a clone"]);
    let (file, home) = (copy.root().join("target/kit.tar.gz"), copy.root().join("target/home"));
    fs::create_dir_all(&home).expect("a folder of our own");
    copy.write("README.md", "changed\n");
    let refused = kit::run(copy.checkout(), &file, true).expect_err("the clone is changed").to_string();
    assert!(refused.contains("README.md has changes that are not in it"), "{refused}");
    git(&copy, &["checkout", "--quiet", "README.md"]);
    let packed = copy.ghosts(&["kit", &file.to_string_lossy(), "--json"]);
    let told = serde_json::from_slice(&packed.stdout).unwrap_or_else(|_| panic!("{}", err(&packed)));
    Forms::documented().hold("cargo ghosts kit --json", &told);

    let tar = Command::new("tar").args(["xzf", "kit.tar.gz"]).current_dir(copy.root().join("target")).output();
    let tar = tar.expect("tar starts");
    assert!(tar.status.success(), "{}", err(&tar));
    let unpacked = copy.root().join("target/ghosts-kit");
    let everything: &[&str] = &["metadata", "--locked", "--all-features", "--format-version", "1"];
    // The second one builds something, since cargo looks at the sums of the sources only then.
    for arguments in [everything, &["check", "--locked", "--package", "strsim"]] {
        let output = cargo(&unpacked, &home, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    }

    assert!(!cargo(copy.root(), &home, &["metadata", "--offline", "--format-version", "1"]).status.success());
    kit::unpack(copy.checkout(), &file).expect("the sources");
    let output = cargo(copy.root(), &home, everything);
    assert!(output.status.success(), "{}", err(&output));
}
