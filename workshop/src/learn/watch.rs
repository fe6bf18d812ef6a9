//! `ghosts watch`: judges an exercise on every save.
//!
//! Everything that happens comes through one channel: keys, file events, what the judgement says, signals. A judgement is a
//! process of its own, so that a save can call it off, whatever the learner's code does meanwhile.

mod judgement;
mod saves;
mod terminal;

use std::{
    fs::{File, TryLockError},
    mem,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anstyle::Style;
use notify::RecommendedWatcher;
use tokio::{runtime, signal};

use self::{
    judgement::{Judgement, Said},
    saves::{Burst, Change},
    terminal::{Input, Key, Manner, Terminal},
};
use super::{exercise::Exercise, start};
use crate::{
    Refusal,
    checkout::{Checkout, EXERCISES},
};

/// How often the screen says how long a judgement has taken so far.
const TICK: Duration = Duration::from_secs(1);

const KEYS: &str = "h hint · r reset · s show the wire · n next · c check · q quit";
const AGAIN: &str = "Press r once more to go back to the start. What you have is kept aside.\n";

/// Judges the exercise at once and on every save, until a key or a signal ends it. With `manual` no file event is waited
/// for: a key asks for each judgement.
///
/// # Errors
/// If there is no such exercise, or another watch judges it; and if JSON is asked for.
pub fn run(exercise: &Exercise<'_>, manual: bool, json: bool) -> Result<bool, Refusal> {
    if json {
        return Err(Refusal::new("watch is for people; `cargo ghosts check --json` judges once, as JSON"));
    }
    exercise.standing()?;
    let lock = lock(exercise)?;
    let (tell, told) = mpsc::channel();
    stop_on_signals(tell.clone());
    let terminal = Terminal::take(manual);
    let keys = tell.clone();
    terminal.listen(move |input| drop(keys.send(Event::Input(input))));
    // File events carry the true path.
    let checkout = exercise.checkout.root().canonicalize().map_or_else(|_| exercise.checkout.clone(), Checkout::at);
    let mut watch = Watch {
        exercise: Exercise::of(&checkout, exercise.ghost),
        manual,
        terminal,
        tell,
        number: 0,
        running: None,
        view: View::default(),
        drawn: String::new(),
        grown: String::new(),
        wire: false,
        resetting: false,
        watcher: None,
        _lock: lock,
    };
    watch.begin()?;
    watch.go_on(&told)?;
    Ok(true)
}

/// Something that concerns us. Whoever tells it may find that we have ended.
enum Event {
    Input(Input),
    Change(Change),
    /// What a judgement says, with its number.
    Said(usize, Said),
    /// The system asks us to end.
    Stop,
}

/// What a watch holds.
struct Watch<'a> {
    exercise: Exercise<'a>,
    manual: bool,
    terminal: Terminal,
    tell: Sender<Event>,
    /// The number of the judgement that runs, or ran last.
    number: usize,
    /// The judgement that runs, and since when.
    running: Option<(Judgement, Instant)>,
    view: View,
    /// What the screen shows now.
    drawn: String,
    /// What is to be written where the output only grows.
    grown: String,
    /// Whether what crossed the wire is shown, too.
    wire: bool,
    /// Whether the next `r` is the second one.
    resetting: bool,
    watcher: Option<RecommendedWatcher>,
    /// Held as long as we watch; the system lets it go when we end, however we do.
    _lock: File,
}

impl Watch<'_> {
    fn begin(&mut self) -> Result<(), Refusal> {
        self.attach();
        self.grown = match self.terminal.manner() {
            Manner::Screen => String::new(),
            Manner::Lines => format!("Standard input is no terminal: say a key and Enter.\n{KEYS}\n"),
            Manner::Silent => {
                "Standard input or output is no terminal, so there are no keys. Ctrl-C ends it.\n".to_owned()
            }
        };
        self.judge()
    }

    fn go_on(&mut self, told: &Receiver<Event>) -> Result<(), Refusal> {
        let mut burst = Burst::default();
        while self.draw() {
            let tick = self.running.as_ref().filter(|_| self.terminal.manner() == Manner::Screen).map(|_| TICK);
            let pause = burst.over_at().map(|at| at.saturating_duration_since(Instant::now()));
            let event = match pause.or(tick) {
                Some(wait) => told.recv_timeout(wait),
                None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Stop | Event::Input(Input::Key(Key::Quit))) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Event::Input(Input::Key(key))) => self.pressed(key)?,
                Ok(Event::Input(Input::Resized)) => self.drawn.clear(),
                Ok(Event::Change(change)) => {
                    if change == Change::Folder {
                        self.attach();
                    }
                    burst.saved(Instant::now());
                }
                Ok(Event::Said(number, said)) => {
                    // One that was called off may still have said something.
                    if number == self.number {
                        self.heard(said);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if burst.take(Instant::now()) {
                self.judge()?;
            }
        }
        Ok(())
    }

    /// Watches the folders of the exercise, anew if they were watched before.
    fn attach(&mut self) {
        let tell = self.tell.clone();
        let watcher = match self.manual {
            true => None,
            false => saves::watcher(&self.exercise, move |change| drop(tell.send(Event::Change(change)))).ok(),
        };
        self.watcher = watcher;
        self.view.deaf = self.watcher.is_none();
    }

    /// Begins a judgement, and calls off the one that runs.
    fn judge(&mut self) -> Result<(), Refusal> {
        self.running = None;
        self.number += 1;
        let (number, tell) = (self.number, self.tell.clone());
        let judgement =
            Judgement::begin(&self.exercise, self.wire, move |said| drop(tell.send(Event::Said(number, said))))?;
        self.running = Some((judgement, Instant::now()));
        self.view.body.clear();
        self.view.whole =
            format!("cargo ghosts check {}{}", self.exercise.slug(), if self.wire { " --wire" } else { "" });
        self.view.doing = "";
        self.grown.push_str(&format!("\n== {}, judgement {number}\n", self.exercise.slug()));
        Ok(())
    }

    fn heard(&mut self, said: Said) {
        match said {
            Said::Doing(doing) => {
                self.view.doing = doing;
                self.grown.push_str(&format!("{doing}\n"));
            }
            Said::Ended(text) => {
                self.view.took = self.running.take().map(|(_, since)| since.elapsed());
                let text = if text.trim().is_empty() { "The judgement was ended from outside.\n" } else { &text };
                self.view.body = text.to_owned();
                self.grown.push_str(text);
            }
        }
    }

    fn pressed(&mut self, key: Key) -> Result<(), Refusal> {
        let again = mem::take(&mut self.resetting);
        self.view.note.clear();
        match key {
            Key::Hint => self.note(&judgement::told(self.exercise.checkout, ["hint", self.exercise.slug()])?),
            Key::Show => {
                self.wire = !self.wire;
                self.judge()?;
            }
            Key::Check => self.judge()?,
            Key::Reset if again => {
                let told = judgement::told(self.exercise.checkout, ["reset", self.exercise.slug()])?;
                self.note(&told);
                // A watcher sees the new files by itself.
                if self.watcher.is_none() {
                    self.judge()?;
                }
            }
            Key::Reset => {
                self.resetting = true;
                self.note(AGAIN);
            }
            Key::Next => self.next()?,
            Key::Quit | Key::Other => {}
        }
        Ok(())
    }

    /// Starts the next ghost and goes over to it. If that cannot be, all stays as it is and the note says why.
    fn next(&mut self) -> Result<(), Refusal> {
        let checkout = self.exercise.checkout;
        let begun = start::next(checkout).and_then(|ghost| {
            let exercise = Exercise::of(checkout, ghost);
            let lock = lock(&exercise)?;
            Ok((exercise, lock, judgement::told(checkout, ["start", exercise.slug()])?))
        });
        match begun {
            Ok((exercise, lock, told)) => {
                (self.exercise, self._lock, self.wire) = (exercise, lock, false);
                self.note(&told);
                self.attach();
                self.judge()
            }
            Err(refusal) => {
                self.note(&format!("{refusal}\n"));
                Ok(())
            }
        }
    }

    fn note(&mut self, text: &str) {
        self.view.note = text.to_owned();
        self.grown.push_str(text);
    }

    /// False if nobody reads any more.
    fn draw(&mut self) -> bool {
        let grown = mem::take(&mut self.grown);
        if self.terminal.manner() == Manner::Screen {
            let since = self.running.as_ref().map(|(_, since)| since.elapsed());
            let frame = self.view.frame(self.exercise.slug(), self.number, since, terminal::size());
            let same = frame == self.drawn;
            self.drawn = frame;
            same || self.terminal.write(&self.drawn)
        } else {
            grown.is_empty() || self.terminal.write(&grown)
        }
    }
}

/// What the screen shows.
#[derive(Debug, Default)]
struct View {
    /// What the last judgement printed, or what was asked for since.
    body: String,
    /// What prints all of it, where there is no room for it.
    whole: String,
    /// A few lines under the body, until the next key.
    note: String,
    /// What cargo does while a judgement runs.
    doing: &'static str,
    /// How long the last judgement took.
    took: Option<Duration>,
    /// Whether no file event is waited for.
    deaf: bool,
}

impl View {
    /// The whole screen, of so many columns and rows; `since` is how long a judgement has been running.
    fn frame(&self, slug: &str, number: usize, since: Option<Duration>, (columns, rows): (usize, usize)) -> String {
        let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
        let state = match (since, self.took) {
            (Some(since), _) => format!("judging, {} s", since.as_secs()),
            (None, Some(took)) => format!("judgement {number}, {:.1} s", took.as_secs_f64()),
            (None, None) => String::new(),
        };
        let doing = if since.is_some() { self.doing } else { "" };
        let waits = if self.deaf { "No file events are waited for: press c after each save.\n" } else { "" };
        let part = |text: &str| {
            let lines: Vec<String> = text.trim_matches('\n').lines().map(|line| folded(line, columns)).collect();
            if lines.is_empty() { String::new() } else { lines.join("\n") + "\n\n" }
        };
        let below = part(&self.note)
            + &format!("{bold}{slug}{bold:#}  {state}\n{dim}{}{dim:#}", folded(&format!("{waits}{KEYS}"), columns));
        let (doing, body) = (part(doing), part(&self.body));
        let room = rows.saturating_sub(doing.lines().count() + below.lines().count());
        doing + &shortened(&body, room, &self.whole) + &below
    }
}

/// The beginning and the end of a text that has more lines than there is room for; `whole` is the command that prints all.
fn shortened(text: &str, room: usize, whole: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= room || room < 6 {
        return text.to_owned();
    }
    let (end, left_out) = (room / 2, lines.len() - room + 1);
    let begin = &lines[..room - end - 1];
    let end = &lines[lines.len() - end..];
    format!("{}\n  … {left_out} lines more in `{whole}`\n{}\n", begin.join("\n"), end.join("\n"))
}

/// A line that is too long for the screen, in several; if it is indented, the others are more so.
fn folded(line: &str, columns: usize) -> String {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let rest = if indent == 0 || indent * 2 > columns { String::new() } else { " ".repeat(indent + 4) };
    textwrap::fill(line, textwrap::Options::new(columns).subsequent_indent(&rest))
}

/// Makes sure that no other watch judges this exercise.
fn lock(exercise: &Exercise<'_>) -> Result<File, Refusal> {
    let name = format!("{EXERCISES}/.watch-{}", exercise.slug());
    let cannot = |error| Refusal::new(format!("cannot write {name}: {error}; is the clone writable?"));
    let file = File::create(exercise.checkout.path(&name)).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Refusal::new(format!(
            "another watch judges {} already; go on there, or end it with q and start again",
            exercise.place()
        ))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Tells of the signals that ask a program to end, so that it ends in order.
fn stop_on_signals(tell: Sender<Event>) {
    thread::spawn(move || {
        let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(signalled());
        drop(tell.send(Event::Stop));
    });
}

#[cfg(unix)]
async fn signalled() {
    use signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return drop(signal::ctrl_c().await);
    };
    tokio::select! {
        _ = signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signalled() {
    drop(signal::ctrl_c().await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue::ghosts, learn::building};

    fn text(view: &View, since: Option<Duration>, columns: usize) -> String {
        anstream::adapter::strip_str(&view.frame("hidden-flush", 3, since, (columns, 24))).to_string()
    }

    #[test]
    fn the_screen_shows_the_verdict_the_note_and_the_keys() {
        let view = View {
            body: "\n5 of 8 promises kept\n".to_owned(),
            note: "Hint 1 of 4\n".to_owned(),
            took: Some(Duration::from_millis(1240)),
            ..View::default()
        };
        let expected = format!("5 of 8 promises kept\n\nHint 1 of 4\n\nhidden-flush  judgement 3, 1.2 s\n{KEYS}");
        assert_eq!(text(&view, None, 80), expected);
    }

    #[test]
    fn while_it_judges_the_screen_says_what_cargo_does() {
        let view = View { doing: building::BUILDS, ..View::default() };
        let expected = format!("{}\n\nhidden-flush  judging, 7 s\n{KEYS}", building::BUILDS);
        assert_eq!(text(&view, Some(Duration::from_millis(7900)), 80), expected);
    }

    #[test]
    fn our_own_lines_fit_into_40_columns() {
        let view = View { doing: building::BUILDS, deaf: true, ..View::default() };
        for line in text(&view, Some(Duration::ZERO), 40).lines() {
            assert!(line.chars().count() <= 40, "{line:?}");
        }
    }

    #[test]
    fn a_long_report_keeps_its_beginning_and_its_end() {
        let body: String = (1..=40).map(|line| format!("line {line}\n")).collect();
        let view = View { body, whole: "cargo ghosts check hidden-flush".to_owned(), ..View::default() };
        let text = text(&view, None, 80);
        assert_eq!(text.lines().count(), 24, "{text}");
        for shown in ["line 1\n", "lines more in `cargo ghosts check hidden-flush`", "line 40\n", KEYS] {
            assert!(text.contains(shown), "{shown:?} in {text}");
        }
    }

    #[test]
    fn two_watches_do_not_judge_one_exercise() {
        let checkout = Checkout::at(std::env::temp_dir().join(format!("ghosts-watch-{}", std::process::id())));
        let [one, other] = ["hidden-flush", "swallowed-panic"]
            .map(|slug| Exercise::of(&checkout, ghosts::find(slug).expect("a ghost")));
        std::fs::create_dir_all(checkout.exercises()).expect("a folder of our own");
        let first = lock(&one).expect("nobody watches");
        let refused = lock(&one).expect_err("the first one watches").to_string();
        assert!(refused.starts_with("another watch judges exercises/hidden-flush already"), "{refused}");
        lock(&other).expect("another exercise");
        drop(first);
        lock(&one).expect("the first one has ended, and its file is still there");
        std::fs::remove_dir_all(checkout.root()).expect("a folder of our own");
    }
}
