//! Judges in a process of its own what could end the process: an exit, an abort, a stack overflow, a loop without an end.

use std::{
    env, fmt, fs,
    io::{self, Read, Write},
    panic::Location,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Report, guard::receive_in_parts, hammer::Hammered, report::Judged};

/// The folder in which a child says what it has to say; set in children only.
const FOLDER: &str = "GHOST_CHILD_FOLDER";
/// The test that a child is started for; set in children only.
const TEST: &str = "GHOST_CHILD_TEST";
/// The key of the promise after which a child begins to judge; set in the child of a child only, see [`judge_the_rest`].
const REST: &str = "GHOST_CHILD_REST";
/// How long a child may take, by the wall clock.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the child of a child may take, so that its parent still ends in time.
const REST_LIMIT: Duration = Duration::from_secs(80);
/// Where this process is a child: its folder.
static CHILD: OnceLock<PathBuf> = OnceLock::new();
/// How much of what the child said last is kept, of each promise.
const SAID: usize = 4096;
/// Begins the line that a child writes among its own output before it judges a promise.
const MARK: char = '\u{1e}';

/// The child ended without a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    how: String,
    said: String,
}

impl Ended {
    /// The last lines that the child wrote to standard output and standard error. They may differ from run to run.
    pub fn said(&self) -> &str {
        &self.said
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended without a verdict: the app took its process down ({})", self.how)
    }
}

impl std::error::Error for Ended {}

/// Runs `check` in a child: this test binary, started again for the one test `test` that calls this function. What comes of
/// it is a [`Report`], or whatever else can be written as JSON.
///
/// The child writes its result to a file as the last thing that it does. No file means that the app ended the process,
/// whatever the exit code says. A child that has not ended after two minutes is killed. What a child prints is not shown.
///
/// `test` is the name as the test harness prints it, with its modules. A test calls this function once: the child begins at
/// the top of the test.
///
/// # Errors
/// If the child ends without a verdict.
///
/// # Panics
/// If the test binary cannot be started again, if it has no such test or that test does not come to this call, or if the
/// temporary folder cannot be written.
#[track_caller]
pub fn in_child<T>(test: &str, check: impl FnOnce() -> T) -> Result<T, Ended>
where
    T: Serialize + DeserializeOwned,
{
    in_child_within(LIMIT, test, check)
}

/// Like [`in_child`], with a limit of the caller's, by the wall clock.
///
/// # Errors
/// If the child ends without a verdict, or has not ended in time.
///
/// # Panics
/// As [`in_child`].
#[track_caller]
pub fn in_child_within<T>(limit: Duration, test: &str, check: impl FnOnce() -> T) -> Result<T, Ended>
where
    T: Serialize + DeserializeOwned,
{
    let call = Location::caller().to_string();
    if let Some(folder) = env::var_os(FOLDER) {
        be_the_child(Path::new(&folder), &call, check);
    }
    let mut binary = Command::new(env::current_exe().expect("the path of this test binary"));
    let child = run(&mut binary, test, limit, &tell_the_terminal).expect("this test binary started once already");
    match child.came_to {
        Some(came_to) => assert!(came_to == call, "`{test}` calls `in_child` twice: give each call a test"),
        // A child that had to be killed may have been on its way.
        None => {
            assert!(child.killed, "the child did not come to this call: has this test binary a test `{test}`?")
        }
    }
    child.result
}

/// Does from outside what [`in_child`] does from within: runs the one test `test` of the test binary `binary` in a child, and
/// tells what came of its call to `in_child`. `None` if the test did not come to one, or there is no such test.
///
/// # Errors
/// If the binary cannot be started.
pub fn child_of<T: DeserializeOwned>(binary: &mut Command, test: &str) -> io::Result<Option<Result<T, Ended>>> {
    child_of_telling(binary, test, &|_| ())
}

/// Like [`child_of`]. Meanwhile each line that the guard in the child has to tell is told: an app that does not yield so far.
///
/// # Errors
/// If the binary cannot be started.
pub fn child_of_telling<T: DeserializeOwned>(
    binary: &mut Command,
    test: &str,
    tell: &dyn Fn(&str),
) -> io::Result<Option<Result<T, Ended>>> {
    let child = run(binary, test, LIMIT, tell)?;
    Ok((child.killed || child.came_to.is_some()).then_some(child.result))
}

/// Like [`child_of_telling`], and hands over what the child said last while it judged each promise.
///
/// # Errors
/// If the binary cannot be started.
pub fn child_of_hearing<T: DeserializeOwned>(
    binary: &mut Command,
    test: &str,
    tell: &dyn Fn(&str),
) -> io::Result<Option<Heard<T>>> {
    let child = run(binary, test, LIMIT, tell)?;
    let heard = Heard { result: child.result, said: child.said };
    Ok((child.killed || child.came_to.is_some()).then_some(heard))
}

/// What came of a child, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard<T> {
    /// What it handed over.
    pub result: Result<T, Ended>,
    /// What it said, in order. It may differ from run to run.
    pub said: Vec<Said>,
}

/// What a child wrote to standard output and standard error in a part of its life, panics of the app among it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The key of the promise that was judged meanwhile, if one was.
    pub promise: Option<String>,
    /// The last lines.
    pub last: String,
}

/// What the test of an exercise does: judges in a child, as [`in_child`], and panics with the report unless every promise is
/// kept. It is compiled here once, and not in each exercise whenever that is edited.
///
/// # Panics
/// If a promise is not kept, or the child ends without a verdict; and as [`in_child`].
#[track_caller]
pub fn in_exercise(test: &str, check: &dyn Fn() -> Report) {
    match in_child(test, check) {
        Ok(report) => assert!(report.all_kept(), "{report}"),
        Err(ended) => panic!("{ended}\n{}", ended.said()),
    }
}

/// What the other test of an exercise does: tries the app's races in a child, as [`in_child`], and panics if a breach was seen.
///
/// # Panics
/// If a breach was seen; and as [`in_child`].
#[track_caller]
pub fn tried_in_exercise(test: &str, hammer: &dyn Fn() -> Hammered) {
    match in_child(test, hammer) {
        Ok(hammered) => assert!(!hammered.is_rejected(), "{hammered}"),
        Err(ended) => panic!("{ended}\n{}", ended.said()),
    }
}

/// A child that has ended.
struct Ran<T> {
    /// Which call of [`in_child`] it came to, if it came to one.
    came_to: Option<String>,
    killed: bool,
    result: Result<T, Ended>,
    said: Vec<Said>,
}

/// Not by `eprintln!`, which a test harness keeps to itself until the test has failed.
fn tell_the_terminal(line: &str) {
    // Whoever has closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "{line}");
}

fn run<T: DeserializeOwned>(
    binary: &mut Command,
    test: &str,
    limit: Duration,
    tell: &dyn Fn(&str),
) -> io::Result<Ran<T>> {
    let folder = Folder::new();
    let (status, came_to, said) = start(binary, test, limit, &folder, tell)?;
    let how = status.map_or_else(|| format!("killed: it had not ended after {limit:?}"), how);
    let result = fs::read(folder.0.join("result.json")).ok();
    let result = result.and_then(|result| serde_json::from_slice(&result).ok());
    let last = || said.last().map(|said| said.last.clone()).unwrap_or_default();
    let result = result.ok_or_else(|| Ended { how, said: last() });
    Ok(Ran { came_to, killed: status.is_none(), result, said })
}

/// Starts a child, and waits for its end. No status if it had to be killed; which call of `in_child` it came to, if to one;
/// and what it said.
fn start(
    binary: &mut Command,
    test: &str,
    limit: Duration,
    folder: &Folder,
    tell: &dyn Fn(&str),
) -> io::Result<(Option<ExitStatus>, Option<String>, Vec<Said>)> {
    // Both streams are one, so that they keep their order.
    let (output, input) = io::pipe()?;
    let child = binary
        // The same for cargo test and nextest, and for a test that is only run on demand.
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, &folder.0)
        .env(TEST, test)
        // It ends when this process does, see `end_with_the_parent`.
        .stdin(Stdio::piped())
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn();
    // As long as we hold an end of it, it does not end.
    binary.stdout(Stdio::null()).stderr(Stdio::null());
    let said = Arc::<Mutex<Saying>>::default();
    let heard = said.clone();
    let status = wait(child?, output, limit, heard, &mut Telling { file: folder.0.join(TOLD), told: 0, tell })?;
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).said(test);
    Ok((status, fs::read_to_string(folder.0.join("call")).ok(), said))
}

/// Says to whoever waits for this child what it has to know now. Nothing, if this process is no child.
pub(super) fn tell(line: &str) {
    if let Some(folder) = CHILD.get() {
        let told = fs::OpenOptions::new().create(true).append(true).open(folder.join(TOLD));
        // What cannot be told is in the report later.
        let _ = told.and_then(|mut told| writeln!(told, "{line}"));
    }
}

/// Marks in the output of this child which promise is judged from here on. Nothing, if this process is no child.
pub(super) fn mark(promise: &str) {
    if CHILD.get().is_some() {
        // Not by `println!`, which a test harness may keep. What cannot be marked is heard all the same.
        let _ = io::stdout().write_all(format!("\n{MARK}{promise}\n").as_bytes());
        let _ = io::stdout().flush();
    }
}

/// Says what the app panicked with, where there is someone who hears it. Nothing, if this process is no child.
pub(super) fn hear(panic: &dyn fmt::Display) {
    if CHILD.get().is_some() {
        let _ = writeln!(io::stderr(), "{panic}");
    }
}

/// The key of the promise after which this process begins to judge, if it is there for the rest of a judgement only: of the
/// first that it makes. One within that judgement is made whole.
pub(super) fn judges_after() -> Option<String> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    CHILD.get()?;
    let after = env::var(REST).ok()?;
    (!ASKED.swap(true, Ordering::SeqCst)).then_some(after)
}

/// Hands over the rest of a judgement, for which alone this process is there, and ends it.
pub(super) fn hand_over(judged: &[Judged]) -> ! {
    let folder = CHILD.get().expect("there is a rest in children only");
    let judged = serde_json::to_vec(judged).expect("a report is plain data");
    fs::write(folder.join("rest.json"), judged).expect("the parent made the folder");
    process::exit(0);
}

/// Has the promises after the one with this key judged in a process of its own, which is ended. `None` if this process is no
/// child, and does not know how to start itself again; if it is there for a rest itself, or has asked for one already; and if
/// the other ended without a verdict.
pub(super) fn judge_the_rest(after: &str) -> Option<Vec<Judged>> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    CHILD.get()?;
    if env::var_os(REST).is_some() || ASKED.swap(true, Ordering::SeqCst) {
        return None;
    }
    let test = env::var(TEST).ok()?;
    let folder = Folder::new();
    let mut binary = Command::new(env::current_exe().ok()?);
    start(binary.env(REST, after), &test, REST_LIMIT, &folder, &tell).ok()?;
    serde_json::from_slice(&fs::read(folder.0.join("rest.json")).ok()?).ok()
}

/// The file in a child's folder that [`tell`] adds to.
const TOLD: &str = "told";

/// Passes on what a child tells, line by line.
struct Telling<'a> {
    file: PathBuf,
    told: usize,
    tell: &'a dyn Fn(&str),
}

impl Telling<'_> {
    fn news(&mut self) {
        let all = fs::read_to_string(&self.file).unwrap_or_default();
        let new = all.get(self.told..).unwrap_or_default();
        // A line is whole when its end is there.
        let Some(end) = new.rfind('\n') else { return };
        new[..end].lines().for_each(self.tell);
        self.told += end + 1;
    }
}

fn be_the_child<T: Serialize>(folder: &Path, call: &str, check: impl FnOnce() -> T) -> ! {
    // A test may come here on two threads; the first one speaks for the child, and ends it.
    static SPEAKING: Mutex<()> = Mutex::new(());
    let _speaking = SPEAKING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::write(folder.join("call"), call).expect("the parent made the folder");
    CHILD.get_or_init(|| folder.to_owned());
    thread::spawn(end_with_the_parent);
    let result = serde_json::to_vec(&check()).expect("a result is plain data");
    fs::write(folder.join("result.json"), result).expect("the parent made the folder");
    process::exit(0);
}

/// Ends this process when its standard input does: whoever kills the parent of an app that spins has ended both.
fn end_with_the_parent() {
    // Nothing is ever written to it.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    process::exit(1);
}

/// What a child has said so far.
#[derive(Default)]
struct Saying {
    before: Vec<(Option<String>, Vec<u8>)>,
    promise: Option<String>,
    last: Vec<u8>,
    /// A line that has no end yet.
    line: Vec<u8>,
}

impl Saying {
    fn heard(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") || self.line.len() > SAID {
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        if let Some(promise) = text.strip_prefix(MARK) {
            let promise = self.promise.replace(promise.trim_end().to_owned());
            self.before.push((promise, std::mem::take(&mut self.last)));
        } else {
            self.last.extend_from_slice(&line);
            if self.last.len() > 2 * SAID {
                self.last.drain(..self.last.len() - SAID);
            }
        }
    }

    /// Without the words of the test harness.
    fn said(&mut self, test: &str) -> Vec<Said> {
        self.end_of_line();
        let harness = format!("test {test} ... ");
        let parts = self.before.iter().cloned().chain([(self.promise.clone(), self.last.clone())]);
        let plain = |(promise, last): (Option<String>, Vec<u8>)| {
            let last = String::from_utf8_lossy(&last[last.len().saturating_sub(SAID)..]).into_owned();
            let lines = last.lines().map(|line| line.strip_prefix(&harness).unwrap_or(line));
            let lines: Vec<&str> = lines.filter(|line| !["", "running 1 test"].contains(&line.trim())).collect();
            Said { promise, last: lines.iter().map(|line| format!("{line}\n")).collect() }
        };
        parts.map(plain).collect()
    }
}

/// `None` if the child had to be killed.
fn wait(
    mut child: Child,
    mut output: io::PipeReader,
    limit: Duration,
    said: Arc<Mutex<Saying>>,
    telling: &mut Telling<'_>,
) -> io::Result<Option<ExitStatus>> {
    let (end, ended) = mpsc::channel::<()>();
    // The output ends when the child does.
    thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(read @ 1..) = output.read(&mut bytes) {
            said.lock().unwrap_or_else(PoisonError::into_inner).heard(&bytes[..read]);
        }
        drop(end);
    });
    let news = || {
        telling.news();
        false
    };
    let told = receive_in_parts(&ended, limit, news);
    telling.news();
    if told == Err(RecvTimeoutError::Timeout) && child.try_wait()?.is_none() {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}

/// The code or the signal, in words that are the same on every system where they can be.
fn how(status: ExitStatus) -> String {
    status.code().map_or_else(|| "killed by a signal".to_owned(), |code| format!("exit code {code}"))
}

/// A folder of one call's own in the temporary one.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("ghost-{}-{call}", process::id()));
        // One of this name was left behind by another process, long ago.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder in the temporary one");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a folder in the temporary one.
        let _ = fs::remove_dir_all(&self.0);
    }
}
