//! Judges a learner's exercise: builds it, runs the tests that it has, and says what came of it.
//!
//! [`judge`] is the whole of it and returns plain data; [`render`] makes a page of that for a terminal.

use std::{
    env,
    ffi::OsString,
    fmt::Write,
    fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use spec::{Ended, Report, VERDICT, lab::Outcome as Verdict};

use crate::{
    Refusal,
    building::Building,
    case,
    exercise::{self, FOLDER},
    generated,
    ghosts::Ghost,
    junit, print, print_json,
    progress::{self, Deed, Model, State},
    tour::MODEL,
    wrapped,
};

/// More near misses than this look alike, and naming them says nothing.
const MOST_ALIKE: usize = 3;
/// How often a process that runs is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The ghost.
    pub slug: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The compiler refuses it.
    DoesNotCompile {
        /// What the compiler says, as it says it, with its colours.
        errors: String,
    },
    /// The app took its process down.
    EndedWithoutVerdict {
        /// How it ended, a sentence.
        how: String,
        /// What it said last, to standard error.
        said: String,
    },
    /// Every promise that could be judged was judged.
    Judged {
        /// The promises.
        report: Report,
        /// The near misses that break exactly the same promises, if they are few.
        looks_like: Vec<LooksLike>,
        /// What came of the model, where the ghost has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        interleavings: Option<Interleavings>,
    },
}

/// A near miss that breaks the same promises.
#[derive(Clone, Debug, Serialize)]
pub struct LooksLike {
    /// Its name.
    pub name: String,
    /// Why it tempts.
    pub tempts: String,
    /// The chapter that tells of it, below the root.
    pub page: String,
}

/// What came of the model of a ghost with shared state.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Interleavings {
    /// It holds in all of them.
    Hold {
        /// How many were explored.
        explored: usize,
    },
    /// It fails in this one.
    Fail {
        /// The steps of the threads, in order, as a table of at most 78 columns.
        table: String,
    },
    /// This fix cannot be explored.
    NotApplicable {
        /// Why not, half a sentence.
        why: String,
    },
}

impl Judged {
    /// Whether every promise is kept and no interleaving breaks the model.
    pub fn laid_to_rest(&self) -> bool {
        match &self.outcome {
            Outcome::Judged { report, interleavings, .. } => {
                report.all_kept() && !matches!(interleavings, Some(Interleavings::Fail { .. }))
            }
            _ => false,
        }
    }
}

/// What goes on while an exercise is judged, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile<'a> {
    /// Another cargo is building into the same folder.
    WaitsForLock,
    /// Cargo compiles this package.
    Compiles(&'a str),
}

/// Judges the exercise of `ghost`.
///
/// # Errors
/// If the exercise is not there, or cargo cannot begin to build it.
pub fn judge(root: &Path, ghost: &Ghost) -> Result<Judged, Refusal> {
    judge_until(root, ghost, &AtomicBool::new(false), &|_| ())
}

/// Like [`judge`], until `stop` becomes true: then what runs is ended at once. Tells what goes on meanwhile, from a thread of
/// its own.
///
/// # Errors
/// As [`judge`]; and if it was stopped.
pub fn judge_until(
    root: &Path,
    ghost: &Ghost,
    stop: &AtomicBool,
    tell: &(dyn Fn(Meanwhile<'_>) + Sync),
) -> Result<Judged, Refusal> {
    let slug = ghost.slug;
    let folder = exercise::standing(root, slug)?;
    exercise::surroundings(root)?;
    if !folder.join("Cargo.lock").exists() {
        let copied = fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"));
        copied.map_err(|error| Refusal::new(format!("cannot write {FOLDER}/{slug}/Cargo.lock: {error}")))?;
    }
    let has_model = root.join(format!("cases/{slug}/src/shared.rs")).exists();
    let unexplorable = has_model.then(|| unexplorable(&folder)).flatten();
    let explore = has_model && unexplorable.is_none();
    let built = build(&folder, slug, explore, stop, tell)?;
    let Some(promises) = &built.promises else {
        return Ok(Judged { schema: 1, slug, outcome: Outcome::DoesNotCompile { errors: built.errors } });
    };
    let explore = |binary: &Path| run::<Result<usize, String>>(&folder, binary, "every_interleaving_holds", stop);
    let (told, explored) = thread::scope(|threads| {
        let exploring = threads.spawn(|| built.interleavings.as_deref().map(explore));
        let told = run::<Report>(&folder, promises, "every_promise_is_kept", stop);
        (told, exploring.join().expect("waiting for a process does not panic"))
    });
    let outcome = match told? {
        Err(ended) => Outcome::EndedWithoutVerdict { how: ended.to_string(), said: ended.said().to_owned() },
        Ok(report) => {
            let not = |why: &str| Interleavings::NotApplicable { why: why.to_owned() };
            let interleavings = match (has_model, unexplorable, explored) {
                (false, ..) => None,
                (true, Some(why), _) => Some(not(why)),
                (true, None, None) => Some(not(&format!(
                    "tests/interleavings.rs does not compile with this src/shared.rs ({})",
                    built.first_of_model
                ))),
                (true, None, Some(explored)) => Some(match explored? {
                    Ok(Ok(explored)) => Interleavings::Hold { explored },
                    Ok(Err(table)) => Interleavings::Fail { table },
                    Err(ended) => not(&format!("the model {ended}")),
                }),
            };
            let looks_like = looks_like(root, slug, &report, interleavings.as_ref())?;
            Outcome::Judged { report, looks_like, interleavings }
        }
    };
    Ok(Judged { schema: 1, slug, outcome })
}

/// Why the model cannot be built, where that is plain beforehand.
fn unexplorable(folder: &Path) -> Option<&'static str> {
    if !folder.join("tests/interleavings.rs").exists() {
        return Some("tests/interleavings.rs is gone");
    }
    let lib = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
    let declares = |line: &str| !line.trim_start().starts_with("//") && line.contains("mod shared");
    (!lib.lines().any(declares)).then_some("src/lib.rs has no `mod shared` any more")
}

/// What cargo has built.
#[derive(Default)]
struct Built {
    promises: Option<PathBuf>,
    interleavings: Option<PathBuf>,
    errors: String,
    /// The first error in the test of the model.
    first_of_model: String,
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

fn build(
    folder: &Path,
    slug: &str,
    explore: bool,
    stop: &AtomicBool,
    tell: &(dyn Fn(Meanwhile<'_>) + Sync),
) -> Result<Built, Refusal> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // `--keep-going`: the promises are judged even where the model does not compile.
    cargo.args(["build", "--keep-going", "--message-format=json-diagnostic-rendered-ansi"]);
    cargo.args(["--test", "promises"]);
    if explore {
        cargo.args(["--test", "interleavings"]);
    }
    let told = |line: &str| {
        if line.contains("waiting for file lock on build directory") {
            tell(Meanwhile::WaitsForLock);
        } else if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
            tell(Meanwhile::Compiles(package.split(' ').next().unwrap_or_default()));
        }
    };
    let output = output(cargo.current_dir(folder).env("CARGO_TERM_COLOR", "never"), stop, &told)
        .map_err(|error| Refusal::new(format!("cannot run cargo in {FOLDER}/{slug}: {error}")))?;
    let mut built = Built::default();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    for line in lines {
        let of_model = |target: &Target| target.name == "interleavings" && target.kind == ["test"];
        match line {
            Line::CompilerMessage { target, message } if message.level.starts_with("error") => {
                if !of_model(&target) {
                    built.errors.push_str(&message.rendered.unwrap_or(message.message));
                } else if built.first_of_model.is_empty() {
                    built.first_of_model = message.message;
                }
            }
            Line::CompilerArtifact { target, executable: Some(binary) } if target.kind == ["test"] => {
                let of = if of_model(&target) { &mut built.interleavings } else { &mut built.promises };
                *of = Some(binary);
            }
            _ => {}
        }
    }
    if built.promises.is_none() && built.errors.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Refusal::new(format!(
            "cargo cannot build {FOLDER}/{slug}; mend what it names, or begin anew with `cargo ghosts reset {slug}`:\n\n{}",
            said.trim_end()
        )));
    }
    Ok(built)
}

/// Runs one test of an exercise, and reads what it tells.
fn run<T: DeserializeOwned>(
    folder: &Path,
    binary: &Path,
    test: &str,
    stop: &AtomicBool,
) -> Result<Result<T, Ended>, Refusal> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = env::temp_dir().join(format!("ghosts-verdict-{}-{run}.json", process::id()));
    let mut command = Command::new(binary);
    command.args(["--exact", test]).env(VERDICT, &file).current_dir(folder);
    let output = output(&mut command, stop, &|_| ());
    let told = fs::read(&file).ok().and_then(|told| serde_json::from_slice(&told).ok());
    // It may not be there.
    let _ = fs::remove_file(&file);
    let output = output.map_err(|error| Refusal::new(format!("cannot run {}: {error}", binary.display())))?;
    told.ok_or_else(|| {
        let said = [output.stdout, output.stderr].concat();
        Refusal::new(format!(
            "the test `{test}` tells no verdict; if you have changed the files in tests/, put them back:\n\n{}",
            String::from_utf8_lossy(&said).trim_end()
        ))
    })
}

/// Runs a process to its end, or until it is stopped; each line of its standard error is told as it comes.
fn output(command: &mut Command, stop: &AtomicBool, tell: &(dyn Fn(&str) + Sync)) -> io::Result<process::Output> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    thread::scope(|threads| {
        let reading = threads.spawn(|| read(out, &|_| ()));
        let reading_errors = threads.spawn(|| read(err, tell));
        let status = wait(&mut child, stop);
        let read = |thread: thread::ScopedJoinHandle<'_, Vec<u8>>| thread.join().unwrap_or_default();
        Ok(process::Output { stdout: read(reading), stderr: read(reading_errors), status: status? })
    })
}

fn read(from: impl Read, tell: &dyn Fn(&str)) -> Vec<u8> {
    let (mut from, mut all, mut line) = (BufReader::new(from), Vec::new(), Vec::new());
    // What was read before a failure is kept.
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        tell(&String::from_utf8_lossy(&line));
        all.append(&mut line);
    }
    all
}

fn wait(child: &mut Child, stop: &AtomicBool) -> io::Result<process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("it was stopped"));
        }
        thread::sleep(LOOK);
    }
}

/// The near misses that break exactly what `report` breaks. What the broken twin breaks looks like the beginning.
fn looks_like(
    root: &Path,
    slug: &str,
    report: &Report,
    interleavings: Option<&Interleavings>,
) -> Result<Vec<LooksLike>, Refusal> {
    let broken = report.broken();
    let known = generated::verdicts(root, slug)?;
    let judged = report.kept() + broken.len() == report.promises.len();
    let laid_to_rest = broken.is_empty() && !matches!(interleavings, Some(Interleavings::Fail { .. }));
    if !judged || laid_to_rest || known.broken == broken {
        return Ok(Vec::new());
    }
    let alike: Vec<_> = known.near_misses.iter().filter(|near_miss| near_miss.broken == broken).collect();
    let case = case::read(root, slug)?;
    let told = case.near_misses.into_iter().filter(|told| {
        let by_model = broken.is_empty() == (told.breaks == MODEL);
        by_model && alike.iter().any(|near_miss| near_miss.name == told.name)
    });
    let page = format!("book/src/{slug}.md");
    let alike: Vec<LooksLike> =
        told.map(|told| LooksLike { name: told.name, tempts: told.tempts, page: page.clone() }).collect();
    Ok(if alike.len() <= MOST_ALIKE { alike } else { Vec::new() })
}

/// Judges, records and prints, with what crossed the wire if `wire` says so; writes JUnit XML to `junit` as well, if it is
/// given.
///
/// # Errors
/// As [`judge`]; and if the XML cannot be written.
pub fn run_once(root: &Path, ghost: &Ghost, junit: Option<&Path>, wire: bool, json: bool) -> Result<bool, Refusal> {
    let building = Building::default();
    let mut judged = judge_until(root, ghost, &AtomicBool::new(false), &|meanwhile| building.tell(meanwhile))?;
    drop(building);
    record(root, &judged);
    if let Some(path) = junit {
        let written = junit::document(&judged).and_then(|text| fs::write(path, text));
        written.map_err(|error| Refusal::new(format!("cannot write {}: {error}", path.display())))?;
    }
    if json {
        if let Outcome::DoesNotCompile { errors } = &mut judged.outcome {
            *errors = anstream::adapter::strip_str(errors).to_string();
        }
        print_json(&judged)?;
    } else {
        print(&render(root, &judged, wire))?;
    }
    Ok(judged.laid_to_rest())
}

/// Appends what came of a check to the learner's progress. What was not judged leaves no event.
pub fn record(root: &Path, judged: &Judged) {
    let Outcome::Judged { report, interleavings, .. } = &judged.outcome else { return };
    let model = interleavings.as_ref().map(|interleavings| match interleavings {
        Interleavings::Hold { .. } => Model::Holds,
        Interleavings::Fail { .. } => Model::Fails,
        Interleavings::NotApplicable { .. } => Model::NotApplicable,
    });
    exercise::recorded(root, judged.slug, Deed::Checked { promises: progress::verdicts(report), model });
    let before = progress::read(&exercise::exercises(root).join(progress::FILE)).unwrap_or_default();
    if judged.laid_to_rest() && progress::summary(&before.events, judged.slug).state != State::Solved {
        exercise::recorded(root, judged.slug, Deed::Solved);
    }
}

/// A page for the terminal: with `wire`, also what crossed the wire where a promise is broken.
pub fn render(root: &Path, judged: &Judged, wire: bool) -> String {
    let slug = judged.slug;
    let (bold, red) = (Style::new().bold(), AnsiColor::Red.on_default().bold());
    let mut text = String::new();
    // Writing to a String cannot fail.
    match &judged.outcome {
        Outcome::DoesNotCompile { errors } => {
            let _ =
                writeln!(text, "{errors}\n{red}{slug} does not compile{red:#} (the paths are below {FOLDER}/{slug})");
        }
        Outcome::EndedWithoutVerdict { how, said } => {
            let _ = writeln!(text, "{red}{slug} {how}{red:#}");
            let last: Vec<&str> = said.lines().rev().take(8).collect();
            if !last.is_empty() {
                text.push_str("\nIt said last:\n");
            }
            last.iter().rev().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        Outcome::Judged { report, looks_like, interleavings } => {
            if wire {
                text.push_str(&report.to_string());
            } else {
                promises(&mut text, report);
            }
            if let Some(interleavings) = interleavings {
                model_of(&mut text, interleavings);
            }
            for near_miss in looks_like {
                let _ = writeln!(text, "\n{bold}Looks like {}{bold:#}, a fix that tempts and fails:", near_miss.name);
                text.push_str(&wrapped(&near_miss.tempts, "  "));
                let _ = writeln!(text, "  {}", near_miss.page);
            }
            if judged.laid_to_rest() {
                rest(root, slug, interleavings.as_ref(), &mut text);
            }
        }
    }
    if !judged.laid_to_rest() {
        let _ = writeln!(text, "\nA hint: cargo ghosts hint {slug}");
    }
    text
}

fn promises(text: &mut String, report: &Report) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    let _ = writeln!(text, "{}: {} of {} promises kept\n", report.ghost, report.kept(), report.promises.len());
    for judged in &report.promises {
        let (style, word) = match judged.outcome {
            Verdict::Kept => (green, "kept"),
            Verdict::Broken => (red, "BROKEN"),
            Verdict::NotJudged => (dim, "not judged"),
        };
        let _ = writeln!(text, "  {style}{word:10}{style:#}  {}", judged.key);
        if judged.outcome != Verdict::Kept {
            text.push_str(&wrapped(&judged.promise, "              "));
            if let Some(observed) = &judged.observed {
                text.push_str(&wrapped(&format!("-> {observed}"), "              "));
            }
        }
    }
}

fn model_of(text: &mut String, interleavings: &Interleavings) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    let _ = match interleavings {
        Interleavings::Hold { explored } => writeln!(
            text,
            "\n  {green}holds{green:#}       in all {explored} interleavings of the threads in src/shared.rs"
        ),
        Interleavings::Fail { table } => {
            let _ = writeln!(text, "\n  {red}FAILS{red:#}       when the threads in src/shared.rs meet like this:\n");
            table.lines().try_for_each(|line| writeln!(text, "{}", format!("  {line}").trim_end()))
        }
        Interleavings::NotApplicable { why } => {
            text.push_str(&format!("\n  {dim}not judged{dim:#}  "));
            let told = format!("The interleavings do not apply to this fix: {why}.");
            text.write_str(wrapped(&told, "              ").trim_start())
        }
    };
}

/// The ghost is gone: what it cost, and what comes next.
fn rest(root: &Path, slug: &str, interleavings: Option<&Interleavings>, text: &mut String) {
    let green = AnsiColor::Green.on_default().bold();
    let progress = progress::read(&exercise::exercises(root).join(progress::FILE)).unwrap_or_default();
    let summary = progress::summary(&progress.events, slug);
    let _ = write!(text, "\n{green}Laid to rest{green:#}");
    if matches!(interleavings, Some(Interleavings::NotApplicable { .. })) {
        text.push_str(", as far as the promises go");
    }
    if let (Some(started), Some(solved)) = (summary.started_at, summary.solved_at) {
        let minutes = solved.saturating_sub(started).div_ceil(60);
        let _ = write!(text, " in {minutes} minutes, with {} checks and {} hints", summary.checks, summary.hints);
    }
    let _ =
        writeln!(text, ".\n\n  how we laid it   cargo ghosts solution {slug}\n  the chapter      book/src/{slug}.md");
    if let Ok(next) = exercise::next(root) {
        let _ = writeln!(text, "  the next one     cargo ghosts start {}", next.slug);
    }
}
