//! `ghosts new` writes a skeleton that compiles and passes, in a copy of this workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ghosts::{root, skeleton};

#[test]
fn a_new_ghost_compiles_and_passes() {
    let copy = copy_of_the_workspace();
    skeleton::run(&copy, "silver-lining", true).expect("a skeleton");
    let library = copy.join("tests/src/lib.rs");
    let text = fs::read_to_string(&library).expect("the specifications");
    fs::write(&library, format!("{text}pub mod silver_lining;\n")).expect("a copy of our own");
    for arguments in [
        &["test", "-p", "silver-lining", "-p", "silver-lining-fixed"] as &[&str],
        &["clippy", "-p", "silver-lining", "-p", "silver-lining-fixed", "--all-targets", "--", "-D", "warnings"],
        &["fmt", "--check", "-p", "silver-lining", "-p", "silver-lining-fixed"],
    ] {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(&copy)
            // Every crate from outside is built there already.
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory"))
            .env("INSTA_UPDATE", "always")
            .env("INSTA_WORKSPACE_ROOT", &copy)
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let again = skeleton::run(&copy, "silver-lining", true).expect_err("it is there");
    assert!(again.to_string().starts_with("book/src/silver-lining.md is there already"), "{again}");
    fs::remove_dir_all(&copy).expect("a copy of our own");
}

/// A copy of what git knows of, in the temporary folder of this build.
fn copy_of_the_workspace() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skeleton");
    // What an interrupted run has left.
    let _ = fs::remove_dir_all(&copy);
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git starts");
    assert!(listed.status.success(), "the end-to-end suite runs in a clone");
    for name in String::from_utf8(listed.stdout).expect("text").lines().filter(|name| root().join(name).exists()) {
        let to = copy.join(name);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder of our own");
        fs::copy(root().join(name), to).expect("a file of this clone");
    }
    copy
}
