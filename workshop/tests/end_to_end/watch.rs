//! `ghosts watch` in a terminal of tmux, as a learner meets it: on every save a verdict, whatever was saved; and in a pipe.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{self, Command, Output, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use crate::copy;

/// How long something may take that must come. Nothing is judged by it: it only ends a test that would hang. The first
/// verdict builds the laboratory.
const PATIENCE: Duration = Duration::from_secs(300);

/// One copy for all tests, so that the laboratory is built once; each test has an exercise of its own.
static COPY: LazyLock<PathBuf> = LazyLock::new(|| copy::of_the_workspace("watch"));

/// A learner with one exercise, and a shell in a terminal.
struct Learner {
    slug: &'static str,
    socket: String,
}

impl Learner {
    fn sits_down(slug: &'static str, columns: &str) -> Self {
        let started = ghosts(&["start", slug]).output().expect("the runner starts");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let learner = Self { slug, socket: format!("ghosts-{slug}-{}", process::id()) };
        let opened = learner.tmux(&["new-session", "-d", "-x", columns, "-y", "80", "sh"]);
        assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
        learner
    }

    fn watches(&self) {
        let ghosts = env!("CARGO_BIN_EXE_ghosts");
        self.types(&[&format!("{ghosts} watch {}; echo it ended with $?; stty -a", self.slug), "Enter"]);
    }

    fn types(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn saves(&self, text: &str) {
        fs::write(self.source(), text).expect("a file of our own");
    }

    fn folder(&self) -> PathBuf {
        COPY.join("exercises").join(self.slug)
    }

    fn source(&self) -> PathBuf {
        self.folder().join("src/lib.rs")
    }

    fn fixed(&self) -> String {
        fs::read_to_string(COPY.join(format!("fixed/{}/src/lib.rs", self.slug))).expect("the fixed twin")
    }

    /// The exercise as it is now, with `statement` as the first thing that its app does.
    fn with(&self, statement: &str) -> String {
        let text = fs::read_to_string(self.source()).expect("a file of our own");
        let (before, app) = text.split_at(text.find("pub fn app(").expect("an app"));
        let (signature, body) = app.split_once("{\n").expect("a body");
        format!("{before}{signature}{{\n    {statement}\n{body}")
    }

    /// The screen, once it shows the text.
    fn sees(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let screen = String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p", "-J"]).stdout).into_owned();
            if screen.contains(text) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "no {text:?} on the screen:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The shell has its terminal back as it was.
    fn is_back_in_the_shell(&self) {
        self.sees("it ended with 0");
        let screen = self.sees("-echoprt");
        assert!(screen.contains(" icanon") && screen.contains(" echo ") && screen.contains(" opost"), "{screen}");
    }

    fn tmux(&self, words: &[&str]) -> Output {
        surrounded(Command::new("tmux").args(["-L", &self.socket, "-f", "/dev/null"]).args(words).env("PS1", "$ "))
            .output()
            .expect("tmux starts: it is in Debian's package `tmux`")
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
        let _ = fs::remove_dir_all(self.folder());
    }
}

fn ghosts(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghosts"));
    surrounded(command.args(words));
    command
}

/// The runner works in the copy; every crate from outside is built in our own target directory already.
fn surrounded(command: &mut Command) -> &mut Command {
    command.current_dir(&*COPY).env("CARGO_TARGET_DIR", copy::target()).env("TERM", "xterm-256color")
}

#[test]
fn each_save_is_judged_on_a_clean_screen_until_the_ghost_is_laid_to_rest() {
    let learner = Learner::sits_down("hidden-flush", "80");
    learner.watches();
    learner.sees("5 of 8 promises kept");
    // As editors do it: beside the file first, and then in its place.
    fs::write(learner.folder().join("src/lib.rs.new"), learner.fixed()).expect("a file of our own");
    fs::rename(learner.folder().join("src/lib.rs.new"), learner.source()).expect("a file of our own");
    let screen = learner.sees("Laid to rest");
    assert!(!screen.contains("5 of 8") && !screen.contains("$ "), "{screen}");
    learner.types(&["q"]);
    learner.is_back_in_the_shell();
}

#[test]
fn whatever_is_saved_the_next_save_is_judged() {
    let learner = Learner::sits_down("swallowed-panic", "80");
    let begin = fs::read_to_string(learner.source()).expect("a file of our own");
    learner.watches();
    learner.sees("promises kept");

    // Half of a file.
    learner.saves(&begin[..begin.len() / 2]);
    learner.sees("does not compile");

    // It would spin for half a minute; a save calls it off, with all that it started.
    learner.saves(&begin);
    learner.saves(&learner.with("loop { std::hint::spin_loop() }"));
    learner.sees("judging, 5 s");
    learner.saves(&begin);
    learner.sees("promises kept");
    assert_eq!(processes_in(&learner.folder()), 0);

    learner.saves(&learner.with("std::process::exit(0);"));
    learner.sees("ended without a verdict");

    let aside = COPY.join("exercises/aside");
    fs::rename(learner.folder(), &aside).expect("a folder of our own");
    learner.sees("there is no exercises/swallowed-panic");
    fs::rename(&aside, learner.folder()).expect("a folder of our own");
    learner.saves(&learner.fixed());
    learner.sees("Laid to rest");

    learner.types(&["C-c"]);
    learner.is_back_in_the_shell();
}

#[test]
fn keys_ask_for_hints_and_for_the_start_again() {
    let learner = Learner::sits_down("ignored-deadline", "60");
    learner.watches();
    learner.sees("promises kept");
    learner.types(&["h"]);
    learner.sees("hint 1 of 4");
    learner.saves(&(learner.fixed() + "// mine\n"));
    learner.sees("Laid to rest");
    learner.types(&["r"]);
    learner.sees("Press r once more");
    learner.types(&["h"]);
    learner.types(&["r"]);
    learner.sees("Press r once more");
    learner.types(&["r"]);
    learner.sees("promises kept");
    let now = fs::read_to_string(learner.source()).expect("a file of our own");
    assert!(!now.contains("// mine"), "it is the start again");
    learner.types(&["q"]);
    learner.is_back_in_the_shell();
}

#[test]
fn who_waits_for_another_cargo_is_told_and_a_second_watch_is_refused() {
    let learner = Learner::sits_down("closure-captured-state", "80");
    learner.watches();
    learner.sees("promises kept");
    let refused = ghosts(&["watch", learner.slug]).output().expect("the runner starts");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("ghosts: another watch judges"), "{refused:?}");

    let lock = File::open(copy::target().join("debug/.cargo-lock")).expect("cargo's own lock");
    lock.lock().expect("nothing else fails");
    learner.saves(&learner.fixed());
    learner.sees("another cargo is at work");
    lock.unlock().expect("it is ours");
    learner.sees("Laid to rest");
    learner.types(&["q"]);
    learner.is_back_in_the_shell();
}

#[test]
fn in_a_pipe_each_line_is_a_key() {
    let slug = "body-double-close";
    let started = ghosts(&["start", slug]).output().expect("the runner starts");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let mut watch = ghosts(&["watch", slug, "--manual-run"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    watch.stdin.take().expect("it is piped").write_all(b"h\nq\n").expect("it listens");
    let output = watch.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("Standard input is no terminal: say a key and Enter."), "{said}");
    assert!(said.contains("hint 1 of 4") && !said.contains('\u{1b}'), "{said}");
    fs::remove_dir_all(COPY.join("exercises").join(slug)).expect("a folder of our own");
}

/// How many processes have this folder as their current one.
fn processes_in(folder: &std::path::Path) -> usize {
    let all = fs::read_dir("/proc").expect("the suite runs on Linux").flatten();
    all.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder)).count()
}
