//! The processes of a check: cargo, which builds an exercise, and the tests that it has built.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use lab::Heard;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::blame::{self, Error};
use crate::{
    Refusal,
    cargo::cargo,
    learn::{building::Meanwhile, exercise::Exercise, judged::Outcome},
};

/// A test that cargo has built.
pub(super) enum Test {
    Promises(PathBuf),
    Interleavings(PathBuf),
}

/// What is left of a build when its tests were handed over.
#[derive(Default)]
pub(super) struct Built {
    /// Why there is no test of the promises.
    pub(super) stopped: Option<Outcome>,
    /// The first error in the test of the model.
    pub(super) first_of_model: String,
    /// What the compiler warns of in the exercise.
    pub(super) warnings: Vec<String>,
}

/// A line of `cargo build --message-format=json`, as far as it is of interest.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Line {
    CompilerMessage {
        target: Target,
        message: Message,
        manifest_path: PathBuf,
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
    /// Only a diagnostic of code has one; a count of warnings has none.
    code: Option<IgnoredAny>,
    rendered: Option<String>,
    spans: Vec<Span>,
    children: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    is_primary: bool,
}

impl Message {
    /// As the compiler shows it.
    fn rendered(&self) -> String {
        self.rendered.clone().unwrap_or_else(|| self.message.clone())
    }

    /// The same with the paths that lead there from the root of the clone, so that an editor finds them.
    fn below(&self, place: &str) -> String {
        let spans = self.spans.iter().chain(self.children.iter().flat_map(|child| &child.spans));
        let names: BTreeSet<&str> = spans.map(|span| span.file_name.as_str()).collect();
        let relative = names.into_iter().filter(|name| Path::new(name).is_relative() && !name.starts_with('<'));
        let below = |text: String, name: &str| {
            // The promises are a module of the library by a path that goes up and down again.
            let there = format!("{place}/{}:", name.trim_start_matches("src/../"));
            text.replace(&format!("{name}:"), &there)
        };
        relative.fold(self.rendered(), below)
    }

    fn files(&self) -> Vec<String> {
        self.spans.iter().filter(|span| span.is_primary).map(|span| span.file_name.replace('\\', "/")).collect()
    }
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
        if let Some((_, lock)) = line.split_once("waiting for file lock on ") {
            tell(Meanwhile::WaitsForLock(lock.trim()));
        } else if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
            tell(Meanwhile::Compiles(package.split(' ').next().unwrap_or_default()));
        }
    };
    let true_path = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // A crate that the learner has made in it is theirs too.
    let own = true_path(&exercise.folder());
    let (mut built, mut errors, mut has_promises) = (Built::default(), Vec::new(), false);
    let of_model = |target: &Target| target.name == "interleavings" && target.kind == ["test"];
    let said = thread::scope(|threads| {
        let reading = threads.spawn(|| read(err, &told));
        // What was read before a failure counts.
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            match serde_json::from_slice(&line) {
                Ok(Line::CompilerMessage { target, message, .. }) if of_model(&target) => {
                    let is_error = message.level.starts_with("error");
                    if is_error && built.first_of_model.is_empty() {
                        built.first_of_model = message.message;
                    }
                }
                Ok(Line::CompilerMessage { message, manifest_path, .. }) => {
                    let manifest = true_path(&manifest_path);
                    let is_own = manifest.starts_with(&own);
                    let text = if is_own { message.below(&place) } else { message.rendered() };
                    if message.level.starts_with("error") {
                        errors.push(Error { manifest, is_own, files: message.files(), text });
                    } else if is_own && message.code.is_some() && !built.warnings.contains(&text) {
                        built.warnings.push(text);
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
    if has_promises {
        return Ok(built);
    }
    let said = String::from_utf8_lossy(&said);
    built.stopped = blame::of(exercise, &errors, &said);
    if built.stopped.is_none() {
        let anew = format!("or start over with `cargo ghosts reset {slug}`");
        if status.success() {
            return Err(Refusal::new(format!(
                "{place}/Cargo.toml keeps cargo from building the library's tests, as `test = false` in `[lib]` \
                 does; take that out, {anew}"
            )));
        }
        return Err(Refusal::new(format!(
            "cargo cannot build {place}; fix what it names, {anew}:\n\n{}",
            said.trim_end()
        )));
    }
    Ok(built)
}

/// Runs one test of an exercise, and reads what came of it. `None` if there is no such test any more.
pub(super) fn run<T: DeserializeOwned>(
    folder: &Path,
    binary: &Path,
    test: &str,
    tell: &(dyn Fn(Meanwhile<'_>) + Sync),
) -> Result<Option<Heard<T>>, Refusal> {
    let mut command = Command::new(binary);
    // The last lines are to have the cause, and not the frames above it.
    command.current_dir(folder).env("RUST_BACKTRACE", "0");
    lab::child_of_hearing(&mut command, test, &|line| tell(Meanwhile::Tells(line)))
        .map_err(|error| Refusal::new(format!("cannot run {}: {error}", binary.display())))
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
