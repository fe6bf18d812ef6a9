//! The processes of a check: cargo, which builds an exercise, and the tests that it has built.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use lab::Ended;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    Refusal,
    cargo::cargo,
    learn::{building::Meanwhile, exercise::Exercise},
};

/// A test that cargo has built.
pub(super) enum Test {
    Promises(PathBuf),
    Interleavings(PathBuf),
}

/// What is left of a build when its tests were handed over.
#[derive(Default)]
pub(super) struct Built {
    /// What the compiler says of everything but the test of the model.
    pub(super) errors: String,
    /// The first error in the test of the model.
    pub(super) first_of_model: String,
}

/// A line of `cargo build --message-format=json`, as far as it is of interest.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Line {
    CompilerMessage {
        target: Target,
        message: Message,
    },
    CompilerArtifact {
        target: Target,
        executable: Option<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    message: String,
    rendered: Option<String>,
}

/// Each test is handed to `judge` as soon as it is there, before cargo has tidied up.
pub(super) fn build(
    exercise: &Exercise<'_>,
    explore: bool,
    tell: &(dyn Fn(Meanwhile<'_>) + Sync),
    mut judge: impl FnMut(Test),
) -> Result<Built, Refusal> {
    let (place, slug) = (exercise.place(), exercise.slug());
    let mut cargo = cargo(&exercise.folder());
    // `--keep-going`: the promises are judged even where the model does not compile.
    cargo.args(["build", "--tests", "--keep-going", "--message-format=json-diagnostic-rendered-ansi"]);
    if explore {
        cargo.arg("--workspace");
    }
    let cannot = |error| Refusal::new(format!("cannot run cargo in {place}: {error}"));
    let mut cargo = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let (out, err) = (cargo.stdout.take().expect("it is piped"), cargo.stderr.take().expect("it is piped"));
    let told = |line: &str| {
        if line.contains("Blocking waiting for file lock") {
            tell(Meanwhile::WaitsForLock);
        } else if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
            tell(Meanwhile::Compiles(package.split(' ').next().unwrap_or_default()));
        }
    };
    let (mut built, mut has_promises) = (Built::default(), false);
    let of_model = |target: &Target| target.name == "interleavings" && target.kind == ["test"];
    let said = thread::scope(|threads| {
        let reading = threads.spawn(|| read(err, &told));
        // What was read before a failure counts.
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            match serde_json::from_slice(&line) {
                Ok(Line::CompilerMessage { target, message }) if message.level.starts_with("error") => {
                    if !of_model(&target) {
                        built.errors.push_str(&message.rendered.unwrap_or(message.message));
                    } else if built.first_of_model.is_empty() {
                        built.first_of_model = message.message;
                    }
                }
                Ok(Line::CompilerArtifact { target, executable: Some(binary) }) => {
                    if of_model(&target) {
                        judge(Test::Interleavings(binary));
                    } else if target.kind == ["lib"] {
                        has_promises = true;
                        judge(Test::Promises(binary));
                    }
                }
                _ => {}
            }
        }
        reading.join().unwrap_or_default()
    });
    let status = cargo.wait().map_err(cannot)?;
    if !has_promises && built.errors.is_empty() {
        let anew = format!("or begin anew with `cargo ghosts reset {slug}`");
        if status.success() {
            return Err(Refusal::new(format!(
                "{place}/Cargo.toml lets cargo build no test of the library, as `test = false` in `[lib]` does; take \
                 that out, {anew}"
            )));
        }
        let said = String::from_utf8_lossy(&said);
        return Err(Refusal::new(format!(
            "cargo cannot build {place}; mend what it names, {anew}:\n\n{}",
            said.trim_end()
        )));
    }
    Ok(built)
}

/// Runs one test of an exercise, and reads what came of it. `put_back` is what to do if there is no such test any more.
pub(super) fn run<T: DeserializeOwned>(
    folder: &Path,
    binary: &Path,
    test: &str,
    put_back: &str,
) -> Result<Result<T, Ended>, Refusal> {
    let told = lab::child_of(Command::new(binary).current_dir(folder), test)
        .map_err(|error| Refusal::new(format!("cannot run {}: {error}", binary.display())))?;
    told.ok_or_else(|| Refusal::new(format!("the test `{test}` of the exercise is gone; {put_back}")))
}

/// Reads to the end; each line is told as it comes.
fn read(from: impl Read, tell: &dyn Fn(&str)) -> Vec<u8> {
    let (mut from, mut all, mut line) = (BufReader::new(from), Vec::new(), Vec::new());
    // What was read before a failure is kept.
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        tell(&String::from_utf8_lossy(&line));
        all.append(&mut line);
    }
    all
}
