//! Live boards on real threads: the last reader leaves as another comes, two leave at once, two come at once, one comes while the
//! service's tasks run.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{BoxError, Router, http::Method};
use http_body_util::BodyExt;
use lab::{
    Proof,
    hammer::{Aim, ByHand, Force, Hammer, Hammered, strike},
    locked, require,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc,
    task::yield_now,
    time::sleep,
};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::{App, asking, station};

/// In how many turns a service comes to rest, and for how many steps it is waited for that does not: half a second in all, of a
/// runtime that does nothing.
const TURNS: u32 = 20;
/// For as many turns tasks run while a newcomer comes to the board.
const LONG: u32 = 300;
const STEPS: u32 = 50;
const STEP: Duration = Duration::from_millis(10);
/// What a board says as soon as it's subscribed to.
const WELCOME: &str = "welcome";
/// How many boards are tried in one go.
const BOARDS: usize = 32;

/// Tries whether a reader can be left at a board without a subscription, or a subscription without a reader, and whether a message
/// can get lost.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (mut round, mut aims) = (0_usize, [Aim::default(), Aim::default()]);
    strike(force, move |hammer| {
        round += 1;
        match round % 6 {
            0 => both_leave(&app, hammer),
            1 => both_come(&app, hammer),
            2 => one_comes_while_tasks_run(&app, hammer),
            kind => one_leaves_as_one_comes(&app, kind > 3, &mut aims[kind % 2], hammer),
        }
    })
}

/// Ada, who is the only reader, leaves as ben comes. The task that fills the board may run at the same time.
fn one_leaves_as_one_comes(app: &App, tasks_run: bool, aim: &mut Aim, hammer: &mut Hammer) -> Proof {
    let desk = Desk::open(app);
    let boards = boards(hammer);
    let readers: Vec<_> = boards.iter().map(|board| desk.reader(board)).collect();
    desk.moves();
    // It takes a newcomer long to come to the board.
    let later = aim.turns();
    let at_once = boards.iter().zip(readers).map(|(board, ada)| {
        let mut ben = desk.asked(board);
        let runtime = desk.runtime.clone();
        let here = move || {
            ben.poll();
            ben
        };
        let there = move || {
            Aim::wait(later);
            ada.leaves();
            if tasks_run {
                runtime.block_on(turns(TURNS));
            }
        };
        (here, there)
    });
    let at_once = at_once.collect();
    for (board, (ben, ())) in boards.iter().zip(hammer.each_at_once(at_once)) {
        let mut readers = [ben];
        desk.serves(board, &mut readers, "ada, the only reader, left as ben came")?;
        aim.was_first(desk.subscriptions(board) > 1);
        desk.is_left(board, readers, "ada left as ben came, and ben left later")?;
    }
    Ok(())
}

/// Ada is the first reader of a board that has something to say as soon as it's subscribed to.
fn one_comes_while_tasks_run(app: &App, hammer: &mut Hammer) -> Proof {
    let desk = Desk::open(app);
    let boards = boards(hammer);
    let at_once = boards.iter().map(|board| {
        let mut ada = desk.asked(board);
        let runtime = desk.runtime.clone();
        let here = move || {
            ada.poll();
            ada
        };
        (here, move || runtime.block_on(turns(LONG)))
    });
    let at_once = at_once.collect();
    for (board, (ada, ())) in boards.iter().zip(hammer.each_at_once(at_once)) {
        let mut readers = [ada];
        desk.serves(board, &mut readers, "ada was the first reader")?;
        let welcome = station::render(WELCOME);
        let heard = locked(&readers[0].heard).contains(&welcome);
        require(heard, "ada was the first reader, and the board's first message never came to her")?;
        desk.is_left(board, readers, "ada came and left")?;
    }
    Ok(())
}

fn both_leave(app: &App, hammer: &mut Hammer) -> Proof {
    let desk = Desk::open(app);
    let boards = boards(hammer);
    let readers: Vec<_> = boards.iter().map(|board| (desk.reader(board), desk.reader(board))).collect();
    desk.moves();
    let at_once = readers.into_iter().map(|(ada, ben)| (move || ada.leaves(), move || ben.leaves()));
    let at_once = at_once.collect();
    hammer.each_at_once(at_once);
    for board in &boards {
        desk.is_left(board, [], "ada and ben left at once")?;
    }
    Ok(())
}

fn both_come(app: &App, hammer: &mut Hammer) -> Proof {
    let desk = Desk::open(app);
    let boards = boards(hammer);
    let at_once = boards.iter().map(|board| {
        let [here, there] = [desk.asked(board), desk.asked(board)].map(|mut reader| {
            move || {
                reader.poll();
                reader
            }
        });
        (here, there)
    });
    let at_once = at_once.collect();
    for (board, (ada, ben)) in boards.iter().zip(hammer.each_at_once(at_once)) {
        let mut readers = [ada, ben];
        desk.serves(board, &mut readers, "ada and ben, the first readers, came at once")?;
        desk.is_left(board, readers, "ada and ben came at once, and left later")?;
    }
    Ok(())
}

/// The tasks of the service run for a while.
async fn turns(number: u32) {
    for _ in 0..number {
        yield_now().await;
    }
}

/// A board for each try.
fn boards(hammer: &mut Hammer) -> Vec<String> {
    (0..hammer.tries_at_once(BOARDS)).map(|number| format!("board-{number}")).collect()
}

/// The app in a runtime of its own, which moves only while somebody waits in it.
struct Desk {
    runtime: Arc<Runtime>,
    app: Router,
    /// Each subscription that was ever asked for.
    asked_for: Subscriptions,
}

type Subscriptions = Arc<Mutex<Vec<(String, mpsc::Sender<String>)>>>;

impl Desk {
    fn open(app: &App) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let asked_for = Subscriptions::default();
        let known = asked_for.clone();
        let upstream = service_fn(move |board: String| {
            let (says, messages) = mpsc::channel(16);
            let _ = says.try_send(WELCOME.to_owned());
            locked(&known).push((board, says));
            async move { Ok::<_, BoxError>(messages) }
        });
        let entered = runtime.enter();
        let app = app(BoxCloneSyncService::new(upstream), Arc::new(station::render));
        drop(entered);
        Self { runtime: Arc::new(runtime), app, asked_for }
    }

    /// Somebody who has asked for a board; nobody has looked at the request yet.
    fn asked(&self, board: &str) -> Reader {
        let answer = self.app.clone().oneshot(asking(Method::GET, board));
        let heard = Arc::<Mutex<String>>::default();
        let hears = heard.clone();
        let reading = async move {
            let Ok(answer) = answer.await;
            let mut body = answer.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(data) = frame.data_ref() {
                    locked(&hears).push_str(&String::from_utf8_lossy(data));
                }
            }
        };
        Reader { runtime: self.runtime.handle().clone(), reading: ByHand::new(reading), over: false, heard }
    }

    /// Somebody who reads a board.
    fn reader(&self, board: &str) -> Reader {
        let mut reader = self.asked(board);
        reader.poll();
        reader
    }

    fn moves(&self) {
        self.runtime.block_on(turns(TURNS));
    }

    fn subscriptions(&self, board: &str) -> usize {
        locked(&self.asked_for).iter().filter(|(name, _)| name == board).count()
    }

    fn living(&self, board: &str) -> Vec<mpsc::Sender<String>> {
        let all = locked(&self.asked_for);
        let living = all.iter().filter(|(name, says)| name == board && !says.is_closed());
        living.map(|(_, says)| says.clone()).collect()
    }

    /// At rest the readers have one subscription, and hear what it says.
    fn serves(&self, board: &str, readers: &mut [Reader], when: &str) -> Proof {
        let told = station::render("one");
        let served = self.in_time(|| {
            readers.iter_mut().for_each(Reader::poll);
            let living = self.living(board);
            // One that is about to end is told too, and nobody hears it.
            living.iter().for_each(|says| drop(says.try_send("one".to_owned())));
            living.len() == 1 && readers.iter().all(|reader| locked(&reader.heard).contains(&told))
        });
        let living = self.living(board).len();
        let ended = if readers.iter().any(|reader| reader.over) { ", and the stream of one has ended" } else { "" };
        let observed = format!(
            "{when}: all is at rest, subscriptions to the board: {living}; {} of {} readers heard what it said{ended}",
            readers.iter().filter(|reader| locked(&reader.heard).contains(&told)).count(),
            readers.len()
        );
        require(served, observed)
    }

    /// When these have left too, no subscription is left.
    fn is_left<const N: usize>(&self, board: &str, readers: [Reader; N], when: &str) -> Proof {
        readers.into_iter().for_each(Reader::leaves);
        let none = self.in_time(|| self.living(board).is_empty());
        require(none, format!("{when}: all is at rest, nobody reads the board, and a subscription to it lives"))
    }

    /// Whether it becomes true while the service does what is left to do.
    fn in_time(&self, mut done: impl FnMut() -> bool) -> bool {
        (0..STEPS).any(|_| {
            self.moves();
            done() || {
                self.moves();
                done() || {
                    self.runtime.block_on(sleep(STEP));
                    false
                }
            }
        })
    }
}

/// A reader who is polled by hand, in the runtime of the desk.
struct Reader {
    runtime: Handle,
    reading: ByHand<()>,
    /// The answer has ended.
    over: bool,
    heard: Arc<Mutex<String>>,
}

impl Reader {
    fn poll(&mut self) {
        let _entered = self.runtime.enter();
        self.over |= self.reading.poll_while_woken().is_some();
    }

    fn leaves(self) {
        let Self { runtime, reading, .. } = self;
        let _entered = runtime.enter();
        drop(reading);
    }
}
