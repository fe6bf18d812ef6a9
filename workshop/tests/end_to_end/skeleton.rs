//! `ghosts new` writes a skeleton that compiles and passes, in a copy of this workspace.

use std::process::Command;

use ghosts::skeleton;

use crate::copy::{Copy, target};

#[test]
fn a_new_ghost_compiles_and_passes() {
    let copy = Copy::of_the_clone("skeleton");
    skeleton::run(copy.root(), "silver-lining", true).expect("a skeleton");
    let library = "tests/src/lib.rs";
    copy.write(library, &format!("{}pub mod silver_lining;\n", copy.read(library)));
    for arguments in [
        &["test", "-p", "silver-lining", "-p", "silver-lining-fixed"] as &[&str],
        &["clippy", "-p", "silver-lining", "-p", "silver-lining-fixed", "--all-targets", "--", "-D", "warnings"],
        &["fmt", "--check", "-p", "silver-lining", "-p", "silver-lining-fixed"],
    ] {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(copy.root())
            .env("CARGO_TARGET_DIR", target())
            .env("INSTA_UPDATE", "always")
            .env("INSTA_WORKSPACE_ROOT", copy.root())
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let again = skeleton::run(copy.root(), "silver-lining", true).expect_err("it is there");
    assert!(again.to_string().starts_with("book/src/silver-lining.md is there already"), "{again}");
}
