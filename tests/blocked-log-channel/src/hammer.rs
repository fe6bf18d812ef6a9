//! The log on real threads: a request leaves its lines while the door is closed, while lines are written, or beside another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::to_bytes, http::StatusCode};
use futures_util::FutureExt;
use lab::{
    Proof,
    hammer::{Aim, ByHand, Force, Hammer, Hammered, strike},
    require,
};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    runtime::{Builder, Runtime},
    sync::watch,
    task::yield_now,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::{App, get_order};

/// For how long lines are written after `stop`: nobody is cut off for being slow.
const FLUSH: Duration = Duration::from_secs(3600);
/// How long a log may take to its end. A try with one that takes longer shows nothing.
const TRY: Duration = Duration::from_secs(1);
/// What is not there yet is waited for, in so many steps. A desk whose log has ended has nothing left to do meanwhile.
const STEPS: u32 = 50;
const STEP: Duration = Duration::from_millis(10);
/// What the log holds: more than all the lines of a try.
const PIPE: usize = 4096;
/// How many desks are tried in one go, and how many requests come to each.
const DESKS: usize = 16;
const REQUESTS: usize = 8;
/// A capacity of twice the lines of a try: none is lost without need.
const ROOM: usize = 4 * (REQUESTS + 1);
/// For how many turns lines are written while requests come: for about as long as these take.
const TURNS: u32 = 200;

/// Tries whether a line can be neither in the log nor counted as lost, or both.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (mut round, mut aim) = (0_u64, Aim::default());
    strike(force, move |hammer| {
        round += 1;
        match round % 6 {
            0 => two_find_no_room(&app, hammer),
            1 => some_come_as_lines_are_written(&app, 1, hammer),
            2 => some_come_as_lines_are_written(&app, ROOM, hammer),
            _ => some_come_at_stop(&app, &mut aim, hammer),
        }
    })
}

/// Requests come one after the other, and in their midst the desk is told to stop, and writes what waits.
fn some_come_at_stop(app: &App, aim: &mut Aim, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(DESKS);
    let later = aim.turns();
    let at_once = (0..tries).map(|_| {
        let desk = Desk::open(app, ROOM);
        let mut requests: Vec<_> = (0..REQUESTS).map(|_| desk.request("ada")).collect();
        let here = move || {
            requests.iter_mut().for_each(Request::poll);
            requests
        };
        let there = move || {
            Aim::wait(later);
            desk.closed()
        };
        (here, there)
    });
    let at_once = at_once.collect();
    for (requests, closed) in hammer.each_at_once(at_once) {
        let Some(mut closed) = closed else { continue };
        aim.was_first(closed.lost() > REQUESTS);
        closed.knows_each_line(requests, "the desk was told to stop while requests came")?;
    }
    Ok(())
}

/// Requests come while lines are written: some where there is room for one line, and one, which nobody follows, where there is
/// room for all.
fn some_come_as_lines_are_written(app: &App, capacity: usize, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(DESKS);
    let mut waiting = Vec::new();
    let at_once = (0..tries).map(|_| {
        let desk = Desk::open(app, capacity);
        let mut first = desk.request("first");
        first.poll();
        let requests = if capacity < ROOM { REQUESTS } else { 1 };
        let mut requests: Vec<_> = (0..requests).map(|_| desk.request("ada")).collect();
        let runtime = desk.runtime.clone();
        waiting.push((desk, first));
        let here = move || {
            requests.iter_mut().for_each(Request::poll);
            requests
        };
        let there = move || {
            runtime.block_on(turns());
        };
        (here, there)
    });
    let at_once = at_once.collect();
    for ((mut desk, first), (requests, ())) in waiting.into_iter().zip(hammer.each_at_once(at_once)) {
        let when = "requests came while lines were written";
        let mut requests: Vec<_> = requests.into_iter().chain([first]).collect();
        let came = desk.in_time(|desk| {
            requests.iter_mut().for_each(Request::poll);
            desk.read();
            desk.lines() + desk.lost() == 2 * requests.len()
        });
        if requests.iter().all(|request| request.ok == Some(true)) {
            let (whole, lost, due) = (desk.lines(), desk.lost(), 2 * requests.len());
            let observed = format!(
                "{when}: all is at rest, and of {due} lines {whole} are in the log, {lost} were counted as lost"
            );
            require(came && (lost == 0 || capacity < ROOM), observed)?;
        }
        if let Some(mut closed) = desk.closed() {
            closed.knows_each_line(requests, when)?;
        }
    }
    Ok(())
}

/// Two requests come at once, and their lines find no room.
fn two_find_no_room(app: &App, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(DESKS);
    let mut waiting = Vec::new();
    let at_once = (0..tries).map(|_| {
        let desk = Desk::open(app, 1);
        let mut first = desk.request("first");
        first.poll();
        let (mut ada, mut ben) = (desk.request("ada"), desk.request("ben"));
        waiting.push((desk, first));
        let here = move || {
            ada.poll();
            ada
        };
        let there = move || {
            ben.poll();
            ben
        };
        (here, there)
    });
    let at_once = at_once.collect();
    for ((desk, first), (ada, ben)) in waiting.into_iter().zip(hammer.each_at_once(at_once)) {
        let Some(mut closed) = desk.closed() else { continue };
        closed.knows_each_line(vec![first, ada, ben], "the lines of two requests found no room at once")?;
    }
    Ok(())
}

/// The app in a runtime of its own, which moves only while somebody waits in it.
struct Desk {
    runtime: Arc<Runtime>,
    app: Router,
    log: DuplexStream,
    /// What has come.
    written: Vec<u8>,
    lost: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
}

impl Desk {
    fn open(app: &App, capacity: usize) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (written, log) = tokio::io::duplex(PIPE);
        let (stop, stopping) = watch::channel(false);
        let lost = Arc::new(AtomicU64::new(0));
        let entered = runtime.enter();
        let routes = Router::new().fallback(async || "on its way\n");
        let app = app(routes, written, lost.clone(), capacity, stopping, FLUSH);
        drop(entered);
        let desk = Self { runtime: Arc::new(runtime), app, log, written: Vec::new(), lost, stop };
        // The shipper waits for its first line.
        desk.runtime.block_on(yield_now());
        desk
    }

    fn request(&self, id: &str) -> Request {
        let answer = self.app.clone().oneshot(get_order(id, "/orders/1"));
        let answered = async {
            let Ok(answer) = answer.await;
            let status = answer.status();
            to_bytes(answer.into_body(), 1024).await.is_ok_and(|_| status == StatusCode::OK)
        };
        Request { runtime: self.runtime.handle().clone(), answered: ByHand::new(answered), ok: None }
    }

    fn lost(&self) -> usize {
        self.lost.load(SeqCst) as usize
    }

    /// The whole lines that have come.
    fn lines(&self) -> usize {
        self.written.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Reads what is there.
    fn read(&mut self) {
        let _entered = self.runtime.enter();
        while let Some(Ok(1..)) = self.log.read_buf(&mut self.written).now_or_never() {}
    }

    /// Whether the log comes to its end, once it is time to stop.
    fn closed(mut self) -> Option<Self> {
        self.stop.send_replace(true);
        let to_the_end = async { timeout(TRY, self.log.read_to_end(&mut self.written)).await };
        let read = self.runtime.block_on(to_the_end);
        read.is_ok_and(|read| read.is_ok()).then_some(self)
    }

    /// Whether each line is in the log, which has ended, or counted. A try in which a request had no answer, or another one, shows
    /// nothing.
    fn knows_each_line(&mut self, mut requests: Vec<Request>, when: &str) -> Proof {
        let answered = self.in_time(|_| {
            requests.iter_mut().for_each(Request::poll);
            requests.iter().all(|request| request.ok.is_some())
        });
        if !answered || requests.iter().any(|request| request.ok != Some(true)) {
            return Ok(());
        }
        let due = 2 * requests.len();
        let known = self.in_time(|desk| desk.lines() + desk.lost() == due);
        let (whole, lost) = (self.lines(), self.lost());
        let observed = format!("{when}: of {due} lines {whole} came whole to the log, and {lost} were counted as lost");
        require(known, observed)
    }

    /// Whether it becomes true while the desk does what is left to do.
    fn in_time(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        (0..STEPS).any(|_| {
            done(self) || {
                self.runtime.block_on(turns());
                done(self) || {
                    self.runtime.block_on(sleep(STEP));
                    false
                }
            }
        })
    }
}

/// The desk's tasks run for a while.
async fn turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

/// A request that is polled by hand, in the runtime of its desk.
struct Request {
    runtime: tokio::runtime::Handle,
    answered: ByHand<bool>,
    /// Whether the answer was the right one, once it is there.
    ok: Option<bool>,
}

impl Request {
    fn poll(&mut self) {
        let _entered = self.runtime.enter();
        self.ok = self.ok.or_else(|| self.answered.poll_while_woken());
    }
}
