//! A copy of this workspace, in which a test or a bench may do as it likes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ghosts::root;

/// A copy of what git knows of, as `name` in the temporary folder of this build.
pub(crate) fn of_the_workspace(name: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // What an interrupted run has left.
    let _ = fs::remove_dir_all(&copy);
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git starts");
    assert!(listed.status.success(), "this is not a clone");
    for name in String::from_utf8(listed.stdout).expect("text").lines().filter(|name| root().join(name).exists()) {
        let to = copy.join(name);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder of our own");
        fs::copy(root().join(name), to).expect("a file of this clone");
    }
    copy
}

/// The target directory of this build, in which every crate from outside is built already.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory")
}
