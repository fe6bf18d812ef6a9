//! The runner as a person meets it, what it writes, the twins that it serves on real sockets, and the order of the trees.
//!
//! All in one binary, because each is linked with everything that the runner depends on. So no test changes what belongs to
//! the process: commands are run, signalled and killed as processes of their own, each server in here has a runtime of its
//! own, and every folder that a test writes to has a name of its own. The panic hook that the laboratory sets while it judges
//! the twins passes on what others panic with. What needs programs from outside is in `end_to_end`.

#[path = "../copy/mod.rs"]
mod copy;
#[path = "../forms/mod.rs"]
mod forms;
#[path = "../learner/mod.rs"]
mod learner;
#[path = "../serving/mod.rs"]
mod serving;

mod cli;
mod editor;
mod exercise;
mod features;
mod machines;
mod places;
mod progress;
mod rooms;
mod sockets;
mod tidy;
mod trainer;

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    sync::{Arc, Mutex, OnceLock},
};

fn ghosts(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghosts"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    ghosts(arguments).output().expect("the runner starts")
}

/// What a command does that only reads. It does the same each time, and so runs once for all tests that ask for it: some
/// judge for seconds.
fn read(arguments: &[&str]) -> Output {
    static READ: Mutex<BTreeMap<String, Arc<OnceLock<Output>>>> = Mutex::new(BTreeMap::new());
    let once = lab::locked(&READ).entry(arguments.join(" ")).or_default().clone();
    once.get_or_init(|| run(arguments)).clone()
}
