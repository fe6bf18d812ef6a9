//! A copy of this clone, in which a test or a bench may do as it likes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ghosts::checkout::Checkout;

/// What a clone has and a copy does not need: what is built, what learners have, and what only git knows.
const LEFT_OUT: [&str; 4] = ["target", "exercises", ".git", "book/book"];

/// A copy of this clone, as `name` in the temporary folder of this build, which nobody removes.
pub(crate) fn of_the_workspace(name: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // What an interrupted run has left.
    let _ = fs::remove_dir_all(&copy);
    copy_folder(Checkout::here().root(), &copy, "");
    copy
}

/// The target directory of this build, in which every crate from outside is built already.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory")
}

fn copy_folder(from: &Path, to: &Path, below: &str) {
    fs::create_dir_all(to).expect("a folder of our own");
    for entry in fs::read_dir(from).expect("a folder of this clone") {
        let entry = entry.expect("an entry of a folder of this clone");
        let name = entry.file_name().into_string().expect("names here are plain");
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if LEFT_OUT.contains(&path.as_str()) {
            continue;
        }
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(name), &path);
        } else {
            let to = to.join(name);
            fs::copy(entry.path(), &to).expect("a file of our own");
            // What cargo has built of it in an earlier run is still good.
            let changed = entry.metadata().and_then(|from| from.modified()).expect("files here have a time");
            fs::File::options().append(true).open(to).and_then(|to| to.set_modified(changed)).expect("our own file");
        }
    }
}
