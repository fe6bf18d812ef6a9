//! `ghosts watch`: judges an exercise on every save.
//!
//! Everything that happens comes through one channel: keys, file events, what the judgement says, signals. A judgement is a
//! process of its own, so that a save can call it off, whatever the learner's code does meanwhile.

mod judgement;
mod saves;
mod terminal;
mod view;

use std::{
    fs::{File, TryLockError},
    mem,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use notify::RecommendedWatcher;
use tokio::{runtime, signal};

use self::{
    judgement::{Came, Judgement, Said},
    saves::{Burst, Change},
    terminal::{Input, Key, Manner, Terminal},
    view::{KEYS, Over, View},
};
use super::{
    check::{Detail, Page, page},
    exercise::Exercise,
    list,
};
use crate::{
    Refusal,
    catalogue::{
        case,
        ghosts::{ALL, Ghost},
    },
    checkout::{Checkout, EXERCISES},
    progress::{self, State},
};

/// How often the screen says how long a judgement has taken so far.
const TICK: Duration = Duration::from_secs(1);

const AGAIN: &str = "Press r again to go back to the start. What you have is kept aside.\n";

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
    listen_to_signals(tell.clone());
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
        came: None,
        view: View::default(),
        drawn: String::new(),
        grown: String::new(),
        wire: false,
        asked: None,
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
    /// We were stopped, and go on.
    Continued,
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
    /// What came of the last one.
    came: Option<Came>,
    view: View,
    /// What the screen shows now.
    drawn: String,
    /// What is to be written where the output only grows.
    grown: String,
    /// Whether what crossed the wire is shown, too.
    wire: bool,
    /// The key that asked whether it is meant, and does it when it comes once more.
    asked: Option<Key>,
    watcher: Option<RecommendedWatcher>,
    /// Held as long as we watch; the system lets it go when we end, however we do.
    _lock: File,
}

impl Watch<'_> {
    fn begin(&mut self) -> Result<(), Refusal> {
        self.attach();
        self.grown = match self.terminal.manner() {
            Manner::Screen => String::new(),
            Manner::Lines(why) => format!("{why}: type a key, then Enter.\n{KEYS}\n"),
            Manner::Silent => {
                "Standard input or output isn't a terminal, so keys are off. Ctrl-C stops it.\n".to_owned()
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
                Ok(Event::Input(Input::Resized)) => {
                    self.drawn.clear();
                    self.lay_out();
                }
                Ok(Event::Continued) => {
                    self.terminal.take_again();
                    self.drawn.clear();
                }
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
        let judgement = Judgement::begin(&self.exercise, move |said| drop(tell.send(Event::Said(number, said))))?;
        self.running = Some((judgement, Instant::now()));
        self.came = None;
        self.view.page = Page::default();
        self.view.over = None;
        self.view.doing.clear();
        self.grown.push_str(&format!("\n== {}, judgement {number}\n", self.exercise.slug()));
        Ok(())
    }

    fn heard(&mut self, said: Said) {
        match said {
            Said::Doing(doing) => {
                self.grown.push_str(&format!("{doing}\n"));
                self.view.doing = doing;
            }
            Said::Ended(came) => {
                self.view.took = self.running.take().map(|(_, since)| since.elapsed());
                self.came = Some(came);
                self.lay_out();
                let all = match &self.came {
                    Some(Came::Judged(judged)) => page(&self.exercise, judged, self.detail(Detail::All)).text(),
                    Some(Came::Refused(text)) => text.clone(),
                    None => String::new(),
                };
                self.grown.push_str(&self.in_keys(&all));
            }
        }
    }

    fn detail(&self, otherwise: Detail) -> Detail {
        if self.wire { Detail::Wire } else { otherwise }
    }

    /// Makes the page of what came of the last judgement, for the screen as it is now.
    fn lay_out(&mut self) {
        let mut page = match &self.came {
            None => return,
            Some(Came::Judged(judged)) => page(&self.exercise, judged, self.detail(Detail::Brief)),
            Some(Came::Refused(text)) => {
                let (head, body) = text.split_once('\n').unwrap_or((text, ""));
                Page { head: head.to_owned(), body: body.to_owned(), ..Page::default() }
            }
        };
        (page.head, page.body) = (self.in_keys(&page.head), self.in_keys(&page.body));
        self.view.page = page;
        self.view.show_the_reason();
    }

    /// What a text says of commands for which there is a key here.
    fn in_keys(&self, text: &str) -> String {
        in_keys(text, self.exercise.slug())
    }

    fn pressed(&mut self, key: Key) -> Result<(), Refusal> {
        let again = self.asked.take() == Some(key);
        self.view.note.clear();
        match key {
            Key::Hint => self.hint()?,
            Key::Show => {
                self.wire = !self.wire;
                self.view.over = None;
                self.lay_out();
                if self.terminal.manner() != Manner::Screen
                    && let Some(Came::Judged(judged)) = &self.came
                {
                    self.grown.push_str(&page(&self.exercise, judged, self.detail(Detail::All)).text());
                }
            }
            Key::Check if matches!(self.view.over, Some(Over::List { .. })) => self.go_to_the_chosen()?,
            Key::Check | Key::Judge => self.judge()?,
            Key::Reset if again => {
                let told = judgement::told(self.exercise.checkout, ["reset", self.exercise.slug()])?;
                self.note(&told);
                // A watcher sees the new files by itself.
                if self.watcher.is_none() {
                    self.judge()?;
                }
            }
            Key::Reset => self.ask(key, AGAIN),
            Key::Next => self.next(again)?,
            Key::List => self.list()?,
            Key::Number(number) => match ALL.get(number.wrapping_sub(1)) {
                Some(ghost) => self.go(ghost)?,
                None => self.note(&format!("there is no ghost {number}; l lists them\n")),
            },
            Key::Scroll(by) => self.view.scroll(by),
            Key::Back => {
                self.view.over = None;
                self.view.show_the_reason();
            }
            Key::Suspend => {
                self.terminal.suspend();
                self.drawn.clear();
            }
            Key::Quit | Key::Other => {}
        }
        Ok(())
    }

    /// Asks whether this key is meant; it is, if it comes once more.
    fn ask(&mut self, key: Key, question: &str) {
        self.asked = Some(key);
        self.note(question);
    }

    /// First those that were taken, to be read again, and the next one if `h` comes once more.
    fn hint(&mut self) -> Result<(), Refusal> {
        let (checkout, slug) = (self.exercise.checkout, self.exercise.slug());
        let summary = self.exercise.progress().unwrap_or_default();
        let shown = matches!(self.view.over, Some(Over::Text { hints: true, .. }));
        let text = if summary.hints > 0 && !shown {
            judgement::told(checkout, ["hint", slug, "--again"])?
        } else {
            judgement::told(checkout, ["hint", slug])?
        };
        self.show(&text, true);
        Ok(())
    }

    /// Shows a text in the place of the page.
    fn show(&mut self, text: &str, hints: bool) {
        let text = self.in_keys(text);
        self.grown.push_str(&text);
        self.view.over = Some(Over::Text { text, hints });
        self.view.show_the_reason();
    }

    fn list(&mut self) -> Result<(), Refusal> {
        if matches!(self.view.over, Some(Over::List { .. })) {
            self.view.over = None;
            return Ok(());
        }
        let ghosts = match list::list(self.exercise.checkout) {
            Ok(list) => list.ghosts,
            Err(refusal) => {
                self.note(&format!("{refusal}\n"));
                return Ok(());
            }
        };
        let widest = ghosts.iter().map(|row| row.slug.len()).max().unwrap_or(0);
        let row = |row: &list::Row| {
            let beside = row.summary.beside().filter(|_| row.summary.state != State::Solved);
            let beside = beside.and_then(|beside| beside.split(':').next());
            let beside = beside.map(|beside| format!(", {beside}")).unwrap_or_default();
            format!("{:widest$}  {}{beside}", row.slug, row.summary.state)
        };
        let rows: Vec<String> = ghosts.iter().map(row).collect();
        let chosen = ghosts.iter().position(|row| row.slug == self.exercise.slug()).unwrap_or(0);
        for (index, row) in rows.iter().enumerate() {
            self.grown.push_str(&format!("{:2}  {row}\n", index + 1));
        }
        self.grown.push_str("Type a number to go there.\n");
        self.view.over = Some(Over::List { rows, chosen });
        Ok(())
    }

    fn go_to_the_chosen(&mut self) -> Result<(), Refusal> {
        match self.view.over.take() {
            Some(Over::List { chosen, .. }) => ALL.get(chosen).map_or(Ok(()), |ghost| self.go(ghost)),
            _ => Ok(()),
        }
    }

    /// Goes on to the next ghost that is not laid to rest; from one that is not, only if it is asked `again`.
    fn next(&mut self, again: bool) -> Result<(), Refusal> {
        let here = self.exercise.progress().unwrap_or_default();
        if here.state != State::Solved && !again {
            let slug = self.exercise.slug();
            self.ask(
                Key::Next,
                &format!("{slug} isn't laid to rest yet. Press n again to leave it; l brings you back.\n"),
            );
            return Ok(());
        }
        match next_unsolved(&self.exercise) {
            Ok(Some(ghost)) => self.go(ghost),
            Ok(None) if here.state == State::Solved => {
                self.note("Every ghost is laid to rest. Press l to see them.\n");
                Ok(())
            }
            Ok(None) => {
                self.note("Every other ghost is laid to rest.\n");
                Ok(())
            }
            Err(refusal) => {
                self.note(&format!("{refusal}\n"));
                Ok(())
            }
        }
    }

    /// Goes over to this ghost, and starts it if that was not done. If that cannot be, all stays as it is and the note says why.
    fn go(&mut self, ghost: &'static Ghost) -> Result<(), Refusal> {
        if ghost.slug == self.exercise.slug() {
            self.view.over = None;
            return Ok(());
        }
        let checkout = self.exercise.checkout;
        let exercise = Exercise::of(checkout, ghost);
        let begun = lock(&exercise).and_then(|lock| {
            let told = match exercise.is_there() {
                true => format!("Now {}; l brings you back.\n", exercise.slug()),
                false => {
                    judgement::told(checkout, ["start", exercise.slug()])?;
                    format!("{} is started: read {}/README.md\n", exercise.slug(), exercise.place())
                }
            };
            exercise.standing()?;
            Ok((lock, told))
        });
        match begun {
            Ok((lock, told)) => {
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
        let text = self.in_keys(text);
        self.grown.push_str(&text);
        self.view.note = text;
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

/// The next ghost after this one that is not laid to rest, in the order of difficulty and then of the tour, round and round.
fn next_unsolved(exercise: &Exercise<'_>) -> Result<Option<&'static Ghost>, Refusal> {
    let progress = progress::read(exercise.checkout)?;
    let mut all = Vec::new();
    for ghost in ALL.iter() {
        all.push((case::read(exercise.checkout, ghost.slug)?.difficulty, ghost));
    }
    all.sort_by_key(|(difficulty, _)| *difficulty);
    let here = all.iter().position(|(_, ghost)| ghost.slug == exercise.slug()).unwrap_or(0);
    all.rotate_left(here);
    let unsolved = |ghost: &&Ghost| progress.summary(ghost.slug).state != State::Solved;
    Ok(all.into_iter().skip(1).map(|(_, ghost)| ghost).find(unsolved))
}

/// A text with keys in the place of the commands that they stand for.
fn in_keys(text: &str, slug: &str) -> String {
    let mut text = text.to_owned();
    for (command, key) in [
        (format!("cargo ghosts hint {slug}"), "h"),
        (format!("cargo ghosts check {slug}"), "c"),
        (format!("cargo ghosts reset {slug}"), "r"),
        ("cargo ghosts list".to_owned(), "l"),
    ] {
        text = text.replace(&format!("`{command}`"), &format!("the key {key}"));
        text = text.replace(&command, &format!("the key {key}"));
    }
    // Which one is next is for the key to say.
    text.split('\n')
        .map(|line| {
            line.split_once("cargo ghosts start ").map_or(line.to_owned(), |(before, _)| format!("{before}the key n"))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Makes sure that no other watch judges this exercise.
fn lock(exercise: &Exercise<'_>) -> Result<File, Refusal> {
    let name = format!("{EXERCISES}/.watch-{}", exercise.slug());
    let cannot = |error| Refusal::new(format!("cannot write {name}: {error}; is the clone writable?"));
    let file = File::create(exercise.checkout.path(&name)).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Refusal::new(format!(
            "another watch is already judging {}; go on there, or quit it with q and start again",
            exercise.place()
        ))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Tells of the signals that ask a program to end, so that it ends in order, and of the one that says that it goes on.
fn listen_to_signals(tell: Sender<Event>) {
    thread::spawn(move || {
        let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(signalled(&tell));
        drop(tell.send(Event::Stop));
    });
}

#[cfg(unix)]
async fn signalled(tell: &Sender<Event>) {
    use rustix::process::Signal;
    use signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return drop(signal::ctrl_c().await);
    };
    let Ok(mut go_on) = signal(SignalKind::from_raw(Signal::CONT.as_raw())) else {
        return drop(signal::ctrl_c().await);
    };
    loop {
        tokio::select! {
            _ = signal::ctrl_c() => return,
            _ = terminate.recv() => return,
            _ = hang_up.recv() => return,
            Some(()) = go_on.recv() => drop(tell.send(Event::Continued)),
        }
    }
}

#[cfg(not(unix))]
async fn signalled(_: &Sender<Event>) {
    drop(signal::ctrl_c().await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue::ghosts, progress::Deed};

    #[test]
    fn texts_name_keys_where_there_are_some() {
        for (text, here) in [
            ("A hint: cargo ghosts hint hidden-flush\n", "A hint: the key h\n"),
            ("`cargo ghosts reset hidden-flush` makes it anew", "the key r makes it anew"),
            ("  the next one     cargo ghosts start unread-body\n", "  the next one     the key n\n"),
            (
                "  how we laid it   cargo ghosts solution hidden-flush\n",
                "  how we laid it   cargo ghosts solution hidden-flush\n",
            ),
        ] {
            assert_eq!(in_keys(text, "hidden-flush"), here);
        }
    }

    #[test]
    fn the_next_ghost_is_one_that_is_not_laid_to_rest() {
        let here = Checkout::here();
        let checkout = Checkout::at(std::env::temp_dir().join(format!("ghosts-next-{}", std::process::id())));
        for ghost in ALL.iter() {
            let name = format!("cases/{}/case.toml", ghost.slug);
            checkout.write(&name, &here.text(&name).expect("a case")).expect("a file of our own");
        }
        let of = |slug| Exercise::of(&checkout, ghosts::find(slug).expect("a ghost"));
        let mut exercise = of("hidden-flush");
        let mut been = Vec::new();
        while let Some(next) = next_unsolved(&exercise).expect("progress") {
            assert!(!been.contains(&next.slug), "{been:?} and {}", next.slug);
            been.push(next.slug);
            exercise.record(Deed::Solved);
            exercise = Exercise::of(&checkout, next);
        }
        assert_eq!(been.len(), ALL.len() - 1);
        // Each is left as it is, and comes round again.
        assert_eq!(exercise.progress().expect("progress").state, State::NotStarted);
        std::fs::remove_dir_all(checkout.root()).expect("a folder of our own");
    }

    #[test]
    fn two_watches_do_not_judge_one_exercise() {
        let checkout = Checkout::at(std::env::temp_dir().join(format!("ghosts-watch-{}", std::process::id())));
        let [one, other] = ["hidden-flush", "swallowed-panic"]
            .map(|slug| Exercise::of(&checkout, ghosts::find(slug).expect("a ghost")));
        std::fs::create_dir_all(checkout.exercises()).expect("a folder of our own");
        let first = lock(&one).expect("nobody watches");
        let refused = lock(&one).expect_err("the first one watches").to_string();
        assert!(refused.starts_with("another watch is already judging exercises/hidden-flush"), "{refused}");
        lock(&other).expect("another exercise");
        drop(first);
        lock(&one).expect("the first one has ended, and its file is still there");
        std::fs::remove_dir_all(checkout.root()).expect("a folder of our own");
    }
}
