//! The log on real threads: a request leaves its lines while the door is closed, or beside another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::to_bytes, http::StatusCode};
use lab::{
    Proof,
    hammer::{Aim, ByHand, Force, Hammer, Hammered, strike},
    require,
};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    runtime::{Builder, Runtime},
    sync::watch,
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

/// Tries whether a line can be neither in the log nor counted as lost, or both.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (mut round, mut aim) = (0_u64, Aim::default());
    strike(force, move |hammer| {
        round += 1;
        if round.is_multiple_of(4) { two_find_no_room(&app, hammer) } else { some_come_at_stop(&app, &mut aim, hammer) }
    })
}

/// Requests come one after the other, and in their midst the desk is told to stop, and writes what waits.
fn some_come_at_stop(app: &App, aim: &mut Aim, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(DESKS);
    let later = aim.turns();
    let at_once = (0..tries).map(|_| {
        let desk = Desk::open(app, 2 * REQUESTS);
        let mut requests = [(); REQUESTS].map(|()| desk.request("ada"));
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
        let Some(closed) = closed else { continue };
        aim.was_first(closed.desk.lost() > REQUESTS as u64);
        closed.knows_each_line(requests, "the desk was told to stop while requests came")?;
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
        let Some(closed) = desk.closed() else { continue };
        closed.knows_each_line([first, ada, ben], "the lines of two requests found no room at once")?;
    }
    Ok(())
}

/// The app in a runtime of its own, which moves only while somebody waits in it.
struct Desk {
    runtime: Runtime,
    app: Router,
    log: DuplexStream,
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
        let desk = Self { runtime, app, log, lost, stop };
        // The shipper waits for its first line.
        desk.runtime.block_on(tokio::task::yield_now());
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

    fn lost(&self) -> u64 {
        self.lost.load(SeqCst)
    }

    /// What the log got to its end, once it is time to stop.
    fn closed(mut self) -> Option<Closed> {
        self.stop.send_replace(true);
        let mut written = String::new();
        let read = self.runtime.block_on(async { timeout(TRY, self.log.read_to_string(&mut written)).await });
        read.is_ok_and(|read| read.is_ok()).then_some(Closed { desk: self, written })
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

/// A desk whose log has ended.
struct Closed {
    desk: Desk,
    written: String,
}

impl Closed {
    /// A try in which a request had no answer, or another one, shows nothing.
    fn knows_each_line<const N: usize>(&self, mut requests: [Request; N], when: &str) -> Proof {
        let answered = self.in_time(|| {
            requests.iter_mut().for_each(Request::poll);
            requests.iter().all(|request| request.ok.is_some())
        });
        if !answered || requests.iter().any(|request| request.ok != Some(true)) {
            return Ok(());
        }
        let (whole, due) = (self.written.matches('\n').count() as u64, 2 * N as u64);
        let known = self.in_time(|| whole + self.desk.lost() == due);
        let lost = self.desk.lost();
        let observed = format!("{when}: of {due} lines {whole} came whole to the log, and {lost} were counted as lost");
        require(known, observed)
    }

    /// Whether it becomes true while the desk does what is left to do.
    fn in_time(&self, mut done: impl FnMut() -> bool) -> bool {
        (0..STEPS).any(|_| {
            done() || {
                self.desk.runtime.block_on(sleep(STEP));
                false
            }
        })
    }
}
