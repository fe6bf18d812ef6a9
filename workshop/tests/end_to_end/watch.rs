//! `ghosts watch` in a terminal of tmux, as a learner meets it: on every save a verdict, whatever was saved; and in a pipe.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use ghosts::catalogue::exercise_files::JUDGED;

use crate::copy::{of_the_workspace, target};

/// How long something may take that must come. Nothing is judged by it: it only ends a test that would hang. The first
/// verdict builds the laboratory.
const PATIENCE: Duration = Duration::from_secs(300);

/// One copy for all tests, so that the laboratory is built once; each test has an exercise of its own.
static COPY: LazyLock<PathBuf> = LazyLock::new(|| of_the_workspace("watch"));

/// A learner with one exercise, and a shell in a terminal.
struct Learner {
    slug: &'static str,
    /// Of the server of tmux: in the temporary folder, since its path must be short.
    socket: PathBuf,
}

impl Learner {
    fn sits_down(slug: &'static str, columns: &str) -> Self {
        let started = ghosts(&["start", slug]).output().expect("the runner starts");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let learner = Self { slug, socket: env::temp_dir().join(format!("ghosts-{slug}-{}", process::id())) };
        let opened = learner.tmux(&["new-session", "-d", "-x", columns, "-y", "80", "sh"]);
        assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
        learner
    }

    fn watches(&self) {
        let ghosts = env!("CARGO_BIN_EXE_ghosts");
        self.types(&[&format!("'{ghosts}' watch {}; echo it ended with $?; stty -a", self.slug), "Enter"]);
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

    /// Saves the fixed twin, as editors do it: beside the file first, and then in its place.
    fn mends(&self) {
        for name in ["shared.rs", "lib.rs"] {
            let (beside, place) = (self.folder().join("src/.saved"), self.folder().join("src").join(name));
            if place.exists() {
                let fixed = COPY.join("fixed").join(self.slug).join("src").join(name);
                let end = if name == "lib.rs" { JUDGED } else { "" };
                let fixed = fs::read_to_string(fixed).expect("the fixed twin") + end;
                fs::write(&beside, fixed).and_then(|()| fs::rename(&beside, &place)).expect("a file of our own");
            }
        }
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
        self.waits(text, || self.screen().contains(text));
        self.screen()
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p", "-J"]).stdout).into_owned()
    }

    fn waits(&self, what: &str, came: impl Fn() -> bool) {
        let begun = Instant::now();
        while !came() {
            assert!(begun.elapsed() < PATIENCE, "waited for {what:?}, and the screen is:\n{}", self.screen());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The shell has its terminal back as it was.
    fn is_back_in_the_shell(&self) {
        self.sees("it ended with 0");
        let screen = self.sees("-echoprt");
        for raw in ["-icanon", "-isig", "-echo ", "-opost"] {
            assert!(!screen.contains(raw), "{raw}: {screen}");
        }
    }

    fn tmux(&self, words: &[&str]) -> Output {
        surrounded(
            Command::new("tmux").arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(words).env("PS1", "$ "),
        )
        .output()
        .expect("tmux starts: it is in Debian's package `tmux`")
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
        let _ = fs::remove_file(&self.socket);
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
    command.current_dir(&*COPY).env("CARGO_TARGET_DIR", target()).env("TERM", "xterm-256color")
}

#[test]
fn each_save_is_judged_on_a_clean_screen_until_the_ghost_is_laid_to_rest() {
    let learner = Learner::sits_down("hidden-flush", "80");
    learner.watches();
    learner.sees("8 of 11 promises kept");
    learner.mends();
    let screen = learner.sees("Laid to rest");
    assert!(!screen.contains("8 of 11") && !screen.contains("$ "), "{screen}");
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
    learner.waits("the test to run", || running_in(&learner.folder()) > 0);
    learner.saves(&begin);
    learner.sees("promises kept");
    assert_eq!(running_in(&learner.folder()), 0);

    learner.saves(&learner.with("std::process::exit(0);"));
    learner.sees("ended without a verdict");

    let aside = COPY.join("exercises/aside");
    fs::rename(learner.folder(), &aside).expect("a folder of our own");
    learner.sees("there is no exercises/swallowed-panic");
    fs::rename(&aside, learner.folder()).expect("a folder of our own");
    learner.mends();
    learner.sees("no race was seen");

    learner.types(&["C-c"]);
    learner.is_back_in_the_shell();
}

#[test]
fn keys_ask_for_hints_and_for_the_start_again() {
    let learner = Learner::sits_down("ignored-deadline", "60");
    let begin = fs::read_to_string(learner.source()).expect("a file of our own");
    learner.watches();
    learner.sees("promises kept");
    learner.types(&["h"]);
    learner.sees("1 of 4, where to look");
    learner.mends();
    learner.sees("Laid to rest");
    learner.types(&["r"]);
    learner.sees("Press r again");
    learner.types(&["h"]);
    learner.types(&["r"]);
    learner.sees("Press r again");
    learner.types(&["r"]);
    learner.sees("as it was at the start");
    assert_eq!(fs::read_to_string(learner.source()).expect("a file of our own"), begin);
    learner.types(&["q"]);
    learner.is_back_in_the_shell();
}

#[test]
fn whoever_is_stopped_goes_on_and_the_next_ghost_is_asked_for_twice() {
    let learner = Learner::sits_down("unread-body", "40");
    learner.watches();
    learner.sees("promises kept");
    learner.types(&["C-z"]);
    learner.types(&["stty -a", "Enter"]);
    // The shell has its own terminal while we are stopped.
    learner.sees(" icanon");
    learner.types(&["fg", "Enter"]);
    learner.waits("the screen again", || {
        learner.screen().contains("promises kept") && !learner.screen().contains("icanon")
    });
    learner.types(&["n"]);
    learner.sees("isn't laid to rest yet");
    learner.types(&["l"]);
    learner.sees("> unread-body");
    learner.types(&["l"]);
    learner.waits("the page", || !learner.screen().contains("> unread-body"));
    learner.types(&["q"]);
    // The rest of the shell's line was done when we were stopped, so that it says nothing when we end.
    let lock = COPY.join("exercises/.watch-unread-body");
    learner.waits("the end of the watch", || File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok()));
    learner.types(&["echo back with $?; stty -a", "Enter"]);
    learner.sees("back with 0");
    learner.sees(" icanon");
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let learner = Learner::sits_down("lying-health-check", "80");
    learner.types(&["export TERM=dumb", "Enter"]);
    learner.watches();
    learner.sees("This terminal can't move its cursor: type a key, then Enter.");
    learner.sees("promises kept");
    learner.types(&["h", "Enter"]);
    learner.sees("1 of 4, where to look");
    learner.types(&["q", "Enter"]);
    learner.is_back_in_the_shell();
}

#[test]
fn who_waits_for_another_cargo_is_told_and_a_second_watch_is_refused() {
    let learner = Learner::sits_down("closure-captured-state", "80");
    learner.watches();
    learner.sees("promises kept");
    let refused = ghosts(&["watch", learner.slug]).output().expect("the runner starts");
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).starts_with("ghosts: another watch is already judging"),
        "{refused:?}"
    );

    let lock = File::open(target().join("debug/.cargo-lock")).expect("cargo's own lock");
    lock.lock().expect("nothing else fails");
    learner.mends();
    learner.sees("waiting for another cargo");
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
    assert!(said.starts_with("Standard input isn't a terminal: type a key, then Enter."), "{said}");
    assert!(said.contains("1 of 4, where to look") && !said.contains('\u{1b}'), "{said}");
    fs::remove_dir_all(COPY.join("exercises").join(slug)).expect("a folder of our own");
}

/// How many processes run the test of the exercise in this folder.
fn running_in(folder: &Path) -> usize {
    let processes = fs::read_dir("/proc").expect("the suite runs on Linux").flatten().map(|process| process.path());
    let links = processes.filter_map(|process| {
        Some((fs::read_link(process.join("cwd")).ok()?, fs::read_link(process.join("exe")).ok()?))
    });
    let runs = |exe: &Path| exe.file_name().is_some_and(|name| name.to_string_lossy().contains("_exercise-"));
    links.filter(|(cwd, exe)| cwd == folder && runs(exe)).count()
}
