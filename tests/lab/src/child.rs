//! Judges in a process of its own what could end the process: an exit, an abort, a stack overflow, a loop without an end.

use std::{
    env, fmt, fs, io,
    panic::Location,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Report, receive_within};

/// The folder in which a child says what it has to say; set in children only.
const FOLDER: &str = "GHOST_CHILD_FOLDER";
/// How long a child may take, by the wall clock.
const LIMIT: Duration = Duration::from_secs(120);
/// How much of what the child said last is kept.
const SAID: usize = 4096;

/// The child ended without a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    how: String,
    said: String,
}

impl Ended {
    /// The last lines that the child wrote to its standard error. They may differ from run to run.
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
    let child = run(&mut binary, test, limit).expect("this test binary started once already");
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
    let child = run(binary, test, LIMIT)?;
    Ok((child.killed || child.came_to.is_some()).then_some(child.result))
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

/// A child that has ended.
struct Ran<T> {
    /// Which call of [`in_child`] it came to, if it came to one.
    came_to: Option<String>,
    killed: bool,
    result: Result<T, Ended>,
}

fn run<T: DeserializeOwned>(binary: &mut Command, test: &str, limit: Duration) -> io::Result<Ran<T>> {
    let folder = Folder::new();
    let child = binary
        // The same for cargo test and nextest, and for a test that is only run on demand.
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, &folder.0)
        // It ends when this process does, see `end_with_the_parent`.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(folder.0.join("said"))?)
        .spawn()?;
    let status = wait(child, limit)?;
    let came_to = fs::read_to_string(folder.0.join("call")).ok();
    let how = status.map_or_else(|| format!("killed: it had not ended after {limit:?}"), how);
    let result = fs::read(folder.0.join("result.json")).ok();
    let result = result.and_then(|result| serde_json::from_slice(&result).ok());
    let result = result.ok_or_else(|| Ended { how, said: folder.said() });
    Ok(Ran { came_to, killed: status.is_none(), result })
}

fn be_the_child<T: Serialize>(folder: &Path, call: &str, check: impl FnOnce() -> T) -> ! {
    // A test may come here on two threads; the first one speaks for the child, and ends it.
    static SPEAKING: Mutex<()> = Mutex::new(());
    let _speaking = SPEAKING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::write(folder.join("call"), call).expect("the parent made the folder");
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

/// `None` if the child had to be killed.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let mut output = child.stdout.take().expect("it was piped");
    let (end, ended) = mpsc::channel::<()>();
    // The output ends when the child does.
    thread::spawn(move || {
        // What it says is not wanted, but a full pipe would stop it.
        let _ = io::copy(&mut output, &mut io::sink());
        drop(end);
    });
    if receive_within(&ended, limit) == Err(RecvTimeoutError::Timeout) && child.try_wait()?.is_none() {
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

    fn said(&self) -> String {
        let said = fs::read(self.0.join("said")).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(SAID)..]).into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a folder in the temporary one.
        let _ = fs::remove_dir_all(&self.0);
    }
}
