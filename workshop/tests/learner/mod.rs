//! A learner at work in a copy of this clone.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use ghosts::checkout::Checkout;

use crate::copy::{of_the_workspace, target};

/// A learner with a clone of their own; it is removed when it is dropped.
pub(crate) struct Learner {
    checkout: Checkout,
}

impl Learner {
    /// Clones. Each test has a name of its own.
    pub(crate) fn with_a_clone(name: &str) -> Self {
        Self { checkout: Checkout::at(of_the_workspace(name)) }
    }

    /// The clone.
    pub(crate) fn checkout(&self) -> &Checkout {
        &self.checkout
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        self.checkout.root()
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
        command.args(arguments).current_dir(self.checkout.path(folder)).env("CARGO_TARGET_DIR", target());
        command.output().expect("a program that is there")
    }

    /// Writes a file of the copy.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.checkout.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of our own");
        fs::write(path, text).expect("a file of our own");
    }

    /// Reads a file of the copy.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.checkout.path(name)).expect("a file that is there")
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        // A test that fails leaves it to whoever looks for the reason.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.root());
        }
    }
}

/// What a program printed.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program said to standard error.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
