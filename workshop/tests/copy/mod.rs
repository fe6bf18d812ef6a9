//! A copy of this clone, in which a test may be a learner.

#![allow(dead_code, reason = "no suite needs all of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use ghosts::root;

/// What a clone has and a copy does not need: what is built, what learners have, and what only git knows.
const LEFT_OUT: [&str; 4] = ["target", "exercises", ".git", "book/book"];

/// A copy of this clone in the temporary folder of this build; it is removed when it is dropped.
pub(crate) struct Copy {
    root: PathBuf,
}

impl Copy {
    /// Copies the clone. Each test has a name of its own.
    pub(crate) fn of_the_clone(name: &str) -> Self {
        let copy = Self { root: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) };
        // What an interrupted run has left.
        let _ = fs::remove_dir_all(&copy.root);
        copy_folder(&root(), &copy.root, "");
        copy
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs the runner at the root of the copy.
    pub(crate) fn ghosts(&self, arguments: &[&str]) -> Output {
        self.ghosts_in("", arguments)
    }

    /// Runs the runner in a folder of the copy.
    pub(crate) fn ghosts_in(&self, folder: &str, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_ghosts"), folder, arguments)
    }

    /// Runs cargo in a folder of the copy. What is built already need not be built again.
    pub(crate) fn cargo_in(&self, folder: &str, arguments: &[&str]) -> Output {
        self.command(env!("CARGO"), folder, arguments)
    }

    fn command(&self, program: &str, folder: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.root.join(folder)).env("CARGO_TARGET_DIR", target());
        command.output().expect("a program that is there")
    }

    /// Writes a file of the copy.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of our own");
        fs::write(path, text).expect("a file of our own");
    }

    /// Reads a file of the copy.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).expect("a file that is there")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A test that fails leaves it to whoever looks for the reason.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
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
            fs::copy(entry.path(), to.join(name)).expect("a file of our own");
        }
    }
}

/// The target directory of this build, in which every crate from outside is built already.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory")
}

/// What a program printed.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program said to standard error.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
