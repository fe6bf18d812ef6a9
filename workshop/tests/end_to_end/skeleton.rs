//! `ghosts new` writes a skeleton that compiles and passes, in a copy of this workspace.

use std::{fs, process::Command};

use ghosts::{checkout::Checkout, make::skeleton};

use crate::copy;

#[test]
fn a_new_ghost_compiles_and_passes() {
    let copy = copy::of_the_workspace("skeleton");
    skeleton::run(&Checkout::at(&copy), "silver-lining", true).expect("a skeleton");
    let list = copy.join("workshop/src/catalogue/ghosts.rs");
    let text = fs::read_to_string(&list).expect("the list of the ghosts");
    let line = "Ghost::of::<silver_lining_spec::Spec>(silver_lining::app, silver_lining_fixed::app, silver_lining::near_misses::ALL),";
    let text = text.replace("    vec![\n", &format!("    vec![\n        {line}\n"));
    fs::write(&list, text).expect("a copy of our own");
    for arguments in [
        &["test", "-p", "silver-lining", "-p", "silver-lining-fixed", "-p", "silver-lining-spec"] as &[&str],
        &[
            "clippy",
            "-p",
            "silver-lining",
            "-p",
            "silver-lining-fixed",
            "-p",
            "silver-lining-spec",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        &["fmt", "--check", "-p", "silver-lining", "-p", "silver-lining-fixed", "-p", "silver-lining-spec"],
    ] {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(&copy)
            .env("CARGO_TARGET_DIR", copy::target())
            .env("INSTA_UPDATE", "always")
            .env("INSTA_WORKSPACE_ROOT", &copy)
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let again = skeleton::run(&Checkout::at(&copy), "silver-lining", true).expect_err("it is there");
    assert!(again.to_string().starts_with("book/src/silver-lining.md already exists"), "{again}");
    fs::remove_dir_all(&copy).expect("a copy of our own");
}
