//! The specification of `blocked-log-channel`: a dispatch desk whose requests must not wait for its log, and whose log must
//! not lose a line without a word.
//!
//! The specification has the other end of the log, and reads it at its own pace: at once, a line every 100 ms, not at all, or it
//! goes away.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use conform::{Contract, Subject, the_rest};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    sync::watch,
    time::{sleep, timeout},
};

use lab::{
    Asked, Broken, Connection, Ghost, Lab, Limits, Pending, Proof, Protocol, Report, Scene, Server, Shown,
    Specification, control,
    hammer::{Force, Hammered},
    locked,
};

mod hammer;
pub mod interleavings;
mod stand_ins;

pub use hammer::hammer;
pub use stand_ins::{Log, StandIns};

/// Makes the app under test from its routes, the log, the metric of lost lines, the number of lines that may wait, what turns
/// true at shutdown, and the time for which the lines that wait are then still written.
pub type App =
    Arc<dyn Fn(Router, DuplexStream, Arc<AtomicU64>, usize, watch::Receiver<bool>, Duration) -> Router + Send + Sync>;

const NO_REQUEST_WAITS: Asked = Asked::new(
    "no-request-waits",
    "A request takes as long as it takes without the log: if the log is slow, if it has stopped, and if nobody reads it \
     any more.",
);
const WAITING_LINES_ARE_BOUNDED: Asked = Asked::new(
    "waiting-lines-are-bounded",
    "If the log has stopped, at least `capacity` and at most 500 lines of 1,000 requests come once it moves again.",
);
const WRITTEN_OR_COUNTED: Asked = Asked::new(
    "written-or-counted",
    "Each line is either in the log or counted in `lost`, and never both: if the log is fast, if it has stopped for a \
     while, and if its reader goes away.",
);
const NOTHING_LOST_NEEDLESSLY: Asked = Asked::new(
    "nothing-lost-needlessly",
    "A log that keeps up gets every line, and one that has stopped every line of a burst of half of `capacity`.",
);
const LINES_ARE_WHOLE: Asked = Asked::new(
    "lines-are-whole",
    "Each line comes whole and once, and a request's `begun` before its `ended`, even if the request fails or lines are \
     being lost.",
);
const STOP_WRITES_WHAT_WAITS: Asked = Asked::new(
    "stop-writes-what-waits",
    "After `stop`, a slow log gets all the lines that waited, whole and in their order, and then its end.",
);
const FLUSH_IS_BOUNDED: Asked = Asked::new(
    "flush-is-bounded",
    "The log is closed `flush` after `stop` at the latest, even if it has stopped, and each line that it didn't get by \
     then is counted.",
);
const STOP_IS_NO_END: Asked = Asked::new(
    "stop-is-no-end",
    "A request that is running at `stop`, or comes after it, is answered as ever, and its lines are in the log or \
     counted.",
);
const NO_TASK_IS_LEFT: Asked =
    Asked::new("no-task-is-left", "Once the log is closed after `stop`, no task of the app is left.");
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Everything that passes through comes out as it went in: requests and answers, with their heads, bodies, lengths, \
     trailers and errors.",
);

const LINES: Asked = Asked::new(
    "lines",
    "A request has two lines, `<x-request-id> begun` and `<x-request-id> ended <status>`, the status in digits. Each ends \
     with `\\n`, and the log gets nothing else.",
);
const WHEN_IT_HAS_ENDED: Asked = Asked::new(
    "when-it-has-ended",
    "Whether `ended` is left when `routes` have answered or when the body is over is up to you, and so is what a request \
     leaves that has no `x-request-id` or gets no answer.",
);
const WHICH_ARE_LOST: Asked =
    Asked::new("which-are-lost", "Which lines are lost when there are too many is up to you.");
const AT_REST: Asked = Asked::new(
    "at-rest",
    "`lost` has to be right when nothing moves: once the log has caught up, or is closed. A line of which the log got \
     only a part is lost.",
);
const WRITTEN_TOGETHER: Asked = Asked::new(
    "written-together",
    "Lines that are written together may all be counted if `flush` ends while they are being written, even those that the \
     log got whole.",
);
const CLOSED: Asked = Asked::new(
    "closed",
    "To close the log is to drop its end. It's closed as soon as nothing waits after `stop`, or `flush` later to the \
     millisecond. What the end of the sender of `stop` means is up to you.",
);
const PASSES_THROUGH: Asked = Asked::new(
    "passes-through",
    "Bodies that know their length still do, and keep their trailers; they stream in both directions. Requests run \
     concurrently. A cancelled request is dropped with everything that belongs to it. Any method, extensions, upgrades \
     and extended CONNECT pass.",
);

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(Router, DuplexStream, Arc<AtomicU64>, usize, watch::Receiver<bool>, Duration) -> Router
    + Send
    + Sync
    + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(NO_REQUEST_WAITS, no_request_waits)
        .promise(WAITING_LINES_ARE_BOUNDED, waiting_lines_are_bounded)
        .promise(WRITTEN_OR_COUNTED, written_or_counted)
        .promise(NOTHING_LOST_NEEDLESSLY, nothing_lost_needlessly)
        .promise(LINES_ARE_WHOLE, lines_are_whole)
        .promise(STOP_WRITES_WHAT_WAITS, stop_writes_what_waits)
        .promise(FLUSH_IS_BOUNDED, flush_is_bounded)
        .promise(STOP_IS_NO_END, stop_is_no_end)
        .promise(NO_TASK_IS_LEFT, no_task_is_left)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// The log changes nothing that passes through.
pub fn contract() -> Contract {
    Contract::transparent()
}

/// What passes through as it was, beside what *must*: the clauses of [`PASSES_THROUGH`].
const SHOULD: [&str; 20] = [
    "lets-through",
    "methods-pass",
    "calls-overlap",
    "head-before-body",
    "response-streams",
    "response-not-read-ahead",
    "request-streams",
    "trailers-kept",
    "request-trailers-kept",
    "lengths-are-kept",
    "coded-trailers-kept",
    "coded-bodies-stream",
    "extensions-kept",
    "body-drop-reaches-inner",
    "cancel-reaches-inner",
    "cancelled-at-each-step",
    "nothing-left-reserved",
    "nothing-left-running",
    "upgrade-passes",
    "extended-connect-passes",
];

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "blocked-log-channel";
    type App = fn(Router, DuplexStream, Arc<AtomicU64>, usize, watch::Receiver<bool>, Duration) -> Router;
    type StandIns = StandIns;
    const ASKED: &'static [Asked] =
        &[LINES, WHEN_IT_HAS_ENDED, WHICH_ARE_LOST, AT_REST, WRITTEN_TOGETHER, CLOSED, PASSES_THROUGH];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// Orders, and a log in memory that can be stopped. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        StandIns::in_memory()
    }

    fn serve(app: Self::App, stand_ins: Self::StandIns) -> Router {
        stand_ins.serve(app)
    }
}

// ===== The promises =====

async fn no_request_waits(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(&lab, &app, "the log stops for two seconds", Room { capacity: 2, pipe: 16 });
    desk.is_well().await?;
    desk.log.stops();
    let clients = ["ada", "ben", "cem"];
    let mut told = Vec::new();
    for name in clients {
        let client = desk.server.connect(name, Protocol::Http1).await;
        told.push(desk.scene.spawn(timed(desk.scene.clone(), client.begin(get_order(name, "/orders/20")))));
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(1_700)).await;
    desk.log.moves();
    desk.at_rest().await;
    for (name, told) in clients.iter().zip(told) {
        let took = told.await.map_err(|_| Broken::because("the client failed"))??.took;
        let observed =
            format!("the log had stopped, and {name}'s request took {took} ms; without the log it takes 20 ms");
        NO_REQUEST_WAITS.require(took == 20, observed)?;
    }

    for protocol in Protocol::BOTH {
        let alone = lab.scene(format!("{protocol}, without the log"));
        let server = alone.serve(orders());
        let due = asked_by_many(&alone, &server, protocol).await?;
        for log in [Pace::Slow, Pace::Stopped, Pace::Gone] {
            let desk = Desk::open(&lab, &app, &format!("{protocol}, the log {}", log.told()), Room::default());
            desk.is_well().await?;
            desk.log.paced(log);
            let took = asked_by_many(&desk.scene, &desk.server, protocol).await?;
            for (number, (took, due)) in took.iter().zip(&due).enumerate() {
                let observed = format!(
                    "the log {}, and request {} of {} took {took} ms; without the log it takes {due} ms",
                    log.told(),
                    number + 1,
                    due_of(protocol)
                );
                NO_REQUEST_WAITS.require(took == due, observed)?;
            }
        }
    }
    Ok(())
}

async fn waiting_lines_are_bounded(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(&lab, &app, "the log stops while 1,000 requests come", Room::default());
    desk.is_well().await?;
    let before = desk.log.lines().len();
    desk.log.stops();
    desk.asked_in_turn(Protocol::Http1, 1_000).await?;
    desk.log.moves();
    desk.at_rest().await;
    let came = desk.log.lines().len() - before;
    let observed = format!("the log had stopped, {CAPACITY} lines may wait, and {came} lines of 1,000 requests came");
    WAITING_LINES_ARE_BOUNDED.require((CAPACITY..=500).contains(&came), observed)
}

async fn written_or_counted(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for capacity in [16, 1] {
            let room = Room { capacity, ..Room::default() };
            let desk = Desk::open(&lab, &app, &format!("{protocol}, {capacity} may wait, the log is fast"), room);
            desk.is_well().await?;
            desk.asked_in_turn(protocol, 20).await?;
            desk.at_rest().await;
            desk.all_are_known("the log was fast")?;

            let title = format!("{protocol}, {capacity} may wait, the log stops and moves again");
            let desk = Desk::open(&lab, &app, &title, room);
            desk.is_well().await?;
            desk.log.stops();
            desk.asked_in_turn(protocol, 20).await?;
            desk.log.moves();
            desk.at_rest().await;
            desk.asked_in_turn(protocol, 10).await?;
            desk.at_rest().await;
            desk.all_are_known("the log had stopped and moved again")?;

            let title = format!("{protocol}, {capacity} may wait, the reader of the log goes away");
            let desk = Desk::open(&lab, &app, &title, room);
            desk.is_well().await?;
            desk.asked_in_turn(protocol, 5).await?;
            desk.at_rest().await;
            desk.log.goes();
            desk.scene.settle().await;
            desk.asked_in_turn(protocol, 20).await?;
            desk.stops();
            sleep(FLUSH).await;
            desk.at_rest().await;
            desk.all_are_known("the reader of the log had gone away")?;
        }
    }
    Ok(())
}

async fn nothing_lost_needlessly(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab, &app, &format!("{protocol}, the log is fast"), Room::default());
        desk.is_well().await?;
        desk.asked_in_turn(protocol, 100).await?;
        desk.at_rest().await;
        desk.none_is_lost("the log was fast")?;

        let desk = Desk::open(&lab, &app, &format!("{protocol}, a burst while the log has stopped"), Room::default());
        desk.is_well().await?;
        desk.log.stops();
        desk.asked_at_once(protocol, CAPACITY / 4).await?;
        desk.scene.settle().await;
        desk.log.moves();
        desk.at_rest().await;
        desk.none_is_lost("there was room for twice the lines of the burst")?;
    }
    Ok(())
}

async fn lines_are_whole(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for log in [Pace::Fast, Pace::Slow, Pace::Stopped] {
            let title = format!("{protocol}, the log {}, requests fail", log.told());
            let desk = Desk::open(&lab, &app, &title, Room { capacity: 6, ..Room::default() });
            desk.is_well().await?;
            desk.log.paced(log);
            // In turns, as many as are sure to be too many, and then at once.
            for number in 0..20 {
                let path = if number % 3 == 1 { "/fails" } else { "/orders/30" };
                let client = desk.server.connect("client", protocol).await;
                desk.answered(&client, &format!("r-{number}"), path).await?;
                desk.lines_are_right()?;
            }
            desk.asked_at_once(protocol, 20).await?;
            desk.log.moves();
            desk.at_rest().await;
            desk.lines_are_right()?;
            desk.all_are_known("some requests had failed")?;
        }
    }
    Ok(())
}

async fn stop_writes_what_waits(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (log, paused_ms) in [(Pace::Slow, 0), (Pace::Slow, 150), (Pace::Stopped, 150)] {
            let title = format!("{protocol}, the log {}, `stop` after {paused_ms} ms", log.told());
            let desk = Desk::open(&lab, &app, &title, Room::default());
            desk.is_well().await?;
            let client = desk.server.connect("client", protocol).await;
            desk.at_rest().await;
            let before = desk.log.lines().len();
            desk.log.paced(log);
            let mut due = Vec::new();
            for number in 0..CAPACITY / 2 - 1 {
                let id = format!("r-{number}");
                desk.answered(&client, &id, "/orders/0").await?;
                due.extend([format!("{id} begun"), format!("{id} ended 200")]);
            }
            sleep(Duration::from_millis(paused_ms)).await;
            desk.stops();
            if log == Pace::Stopped {
                sleep(Duration::from_millis(1_050)).await;
                desk.log.paced(Pace::Slow);
            }
            sleep(FLUSH).await;
            desk.at_rest().await;
            let came = desk.log.lines().split_off(before);
            let first = due.iter().zip(&came).position(|(due, came)| due != came).unwrap_or(came.len().min(due.len()));
            let observed = format!(
                "{} lines waited at `stop`, and {} came; line {} is {:?}, expected {:?}",
                due.len(),
                came.len(),
                first + 1,
                came.get(first),
                due.get(first)
            );
            STOP_WRITES_WHAT_WAITS.require(came == due, observed)?;
            let torn = desk.log.torn();
            STOP_WRITES_WHAT_WAITS.require(torn.is_empty(), format!("the log ends with {torn:?}"))?;
            let observed = "all lines had come, and the log was not closed";
            CLOSED.require(desk.log.ended_ms().is_some(), observed)?;
            desk.all_are_known("`stop` came while lines waited")?;
        }
        let desk = Desk::open(&lab, &app, &format!("{protocol}, nothing waits at `stop`"), Room::default());
        desk.is_well().await?;
        desk.at_rest().await;
        let stopped_ms = desk.stops();
        desk.at_rest().await;
        let observed = format!("nothing waited at `stop`, and the log was closed at {:?}", desk.log.ended_ms());
        CLOSED.require(desk.log.ended_ms().is_some_and(|at_ms| at_ms <= stopped_ms + 1), observed)?;
    }
    Ok(())
}

async fn flush_is_bounded(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (requests, log) in [(7, Pace::Stopped), (40, Pace::Stopped), (40, Pace::Slow)] {
            let title = format!("{protocol}, {requests} requests, the log {}", log.told());
            let room = Room { capacity: 100, ..Room::default() };
            let desk = Desk::with_flush(&lab, &app, &title, room, SHORT_FLUSH);
            desk.is_well().await?;
            desk.at_rest().await;
            desk.log.paced(log);
            desk.asked_in_turn(protocol, requests).await?;
            desk.stops();
            sleep(SHORT_FLUSH).await;
            desk.scene.settle().await;
            let before = desk.log.bytes();
            let now_ms = desk.scene.now_ms();
            // Whatever is in the pipe comes at once, and then the end.
            desk.log.moves();
            desk.scene.settle().await;
            let more = desk.log.bytes() - before;
            let observed = format!(
                "`flush` was over, and {} ms later {more} more bytes had come and the log was still open",
                desk.scene.now_ms() - now_ms
            );
            FLUSH_IS_BOUNDED.require(desk.log.ended_ms().is_some() && more <= PIPE, observed)?;
            desk.at_rest().await;
            let (whole, lost, due) = desk.counted();
            let observed = format!("the log was closed with {whole} of {due} lines, and {lost} were counted as lost");
            FLUSH_IS_BOUNDED.require(whole + lost >= due, observed)?;
        }
    }
    Ok(())
}

async fn stop_is_no_end(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for log in [Pace::Fast, Pace::Slow] {
            let title = format!("{protocol}, the log {}, `stop` while requests run", log.told());
            let desk = Desk::open(&lab, &app, &title, Room::default());
            desk.is_well().await?;
            let client = desk.server.connect("client", protocol).await;
            desk.at_rest().await;
            desk.log.paced(log);
            let other = desk.server.connect("other", protocol).await;
            desk.count(1);
            let running = client.begin(get_order("running", "/orders/3000"));
            let running = desk.scene.spawn(timed(desk.scene.clone(), running));
            desk.answered(&other, "before", "/orders/40").await?;
            sleep(Duration::from_millis(30)).await;
            desk.stops();
            for number in 0..10 {
                desk.as_ever(&other, &format!("later-{number}"), 70).await?;
            }
            let told = running.await.map_err(|_| Broken::because("the client failed"))??;
            let observed = format!("a request that ran at `stop` got {} after {} ms", told.status.as_u16(), told.took);
            STOP_IS_NO_END.require(told.status == StatusCode::OK && told.took == 3_000, observed)?;
            sleep(FLUSH).await;
            desk.as_ever(&other, "last", 20).await?;
            desk.at_rest().await;
            desk.all_are_known("requests ran at `stop`")?;
        }
        let desk = Desk::open(&lab, &app, &format!("{protocol}, `stop` is false once more"), Room::default());
        desk.is_well().await?;
        desk.stop.send_replace(false);
        let client = desk.server.connect("client", protocol).await;
        desk.as_ever(&client, "later", 20).await?;
        desk.at_rest().await;
        let observed = "`stop` was set, and had not turned true, and the log was closed";
        STOP_IS_NO_END.require(desk.log.ended_ms().is_none(), observed)?;
        desk.none_is_lost("`stop` had not turned true")?;
        for capacity in [16, 1] {
            let title = format!("{protocol}, {capacity} may wait, `stop` before the first request");
            let desk = Desk::open(&lab, &app, &title, Room { capacity, ..Room::default() });
            desk.stops();
            desk.scene.settle().await;
            let client = desk.server.connect("client", protocol).await;
            for number in 0..20 {
                desk.as_ever(&client, &format!("r-{number}"), 20).await?;
            }
            sleep(FLUSH).await;
            desk.at_rest().await;
            desk.all_are_known("`stop` had come first")?;

            let title = format!("{protocol}, {capacity} may wait, many requests and `stop` at once");
            let desk = Desk::open(&lab, &app, &title, Room { capacity, ..Room::default() });
            desk.is_well().await?;
            desk.log.paced(Pace::Slow);
            let mut many = Vec::new();
            for number in 0..20 {
                let client = desk.server.connect("client", protocol).await;
                desk.count(1);
                many.push(timed(desk.scene.clone(), client.begin(get_order(&format!("r-{number}"), "/orders/50"))));
            }
            let many = many.into_iter().map(|told| desk.scene.spawn(told)).collect::<Vec<_>>();
            sleep(Duration::from_millis(20)).await;
            desk.stops();
            for told in many {
                let told = told.await.map_err(|_| Broken::because("the client failed"))??;
                let observed =
                    format!("a request that ran at `stop` got {} after {} ms", told.status.as_u16(), told.took);
                STOP_IS_NO_END.require(told.status == StatusCode::OK && told.took == 50, observed)?;
            }
            sleep(FLUSH).await;
            desk.at_rest().await;
            desk.all_are_known("twenty requests ran at `stop`")?;
        }
    }
    Ok(())
}

async fn no_task_is_left(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for log in [Pace::Fast, Pace::Slow, Pace::Stopped, Pace::Gone] {
            let desk = Desk::open(&lab, &app, &format!("{protocol}, the log {}", log.told()), Room::default());
            desk.is_well().await?;
            desk.at_rest().await;
            desk.log.paced(log);
            desk.asked_in_turn(protocol, 20).await?;
            desk.stops();
            sleep(FLUSH).await;
            desk.scene.settle().await;
            desk.log.moves();
            desk.at_rest().await;
            let tasks = desk.scene.app_tasks();
            let observed = format!("the log {}, `flush` is over, and {tasks} tasks of the app are left", log.told());
            NO_TASK_IS_LEFT.require(tasks == 0, observed)?;
        }
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    // The other ends are kept: the log is a pipe that has room for all, and never stops.
    let kept = Arc::new(Mutex::new(Vec::new()));
    let logged = Subject::app(move |routes| {
        let (log, other_end) = tokio::io::duplex(64 * 1024);
        let (stop, stopping) = watch::channel(false);
        locked(&kept).push((other_end, stop));
        app(routes, log, Arc::default(), ROOM_FOR_ALL, stopping, FLUSH)
    });
    let (proof, scenes) = the_rest(logged, &contract(), &SHOULD, limits);
    (proof.or_else(|broken| PASSES_THROUGH.require(false, broken.to_string())), scenes)
}

// ===== What the specification supplies =====

/// How many lines may wait, unless a scene says otherwise.
const CAPACITY: usize = 16;
/// More lines than the conformance suite's requests have.
const ROOM_FOR_ALL: usize = 1_000;
/// What the pipe holds, in bytes.
const PIPE: usize = 64;
/// For how long lines are written after `stop`: enough for all that wait, at 100 ms a line.
const FLUSH: Duration = Duration::from_secs(10);
const SHORT_FLUSH: Duration = Duration::from_millis(1_990);
/// What a line takes a slow log.
const PER_LINE: Duration = Duration::from_millis(100);
/// How long a client waits for an answer that it would have within 3 s without the log.
const LONGEST: Duration = Duration::from_secs(30);

/// How many lines and bytes have room.
#[derive(Clone, Copy)]
struct Room {
    capacity: usize,
    pipe: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { capacity: CAPACITY, pipe: PIPE }
    }
}

/// The app under test with its clients' side, its log and its metric.
struct Desk {
    scene: Scene,
    server: Server,
    log: Reader,
    lost: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    /// How many requests were answered, or will be.
    requests: AtomicU64,
    /// The ids of those that failed.
    failed: Mutex<HashSet<String>>,
}

impl Desk {
    fn open(lab: &Lab, app: &App, title: &str, room: Room) -> Self {
        Self::with_flush(lab, app, title, room, FLUSH)
    }

    fn with_flush(lab: &Lab, app: &App, title: &str, room: Room, flush: Duration) -> Self {
        let scene = lab.scene(title);
        scene.patience(Duration::from_secs(3_600));
        let (log, other_end) = tokio::io::duplex(room.pipe);
        let reader = Reader::begin(&scene, other_end);
        let (stop, stopping) = watch::channel(false);
        let lost = Arc::new(AtomicU64::new(0));
        let server = scene.serve(app(orders(), log, lost.clone(), room.capacity, stopping, flush));
        Self { scene, server, log: reader, lost, stop, requests: AtomicU64::new(0), failed: Mutex::default() }
    }

    /// The desk works, and the lines come.
    async fn is_well(&self) -> Proof {
        let client = self.server.connect("zoe", Protocol::Http1).await;
        let told = self.asked(&client, "zoe", "/orders/10").await?;
        let observed = format!("an order got {} after {} ms", told.status.as_u16(), told.took);
        control(told.status == StatusCode::OK && told.took == 10, observed)?;
        self.scene.settle().await;
        let lines = self.log.lines();
        control(lines == ["zoe begun", "zoe ended 200"], format!("a fast log had the lines {lines:?}"))
    }

    fn count(&self, requests: u64) {
        self.requests.fetch_add(requests, SeqCst);
    }

    async fn asked(&self, client: &Connection, id: &str, path: &str) -> Result<Told, Broken> {
        self.count(1);
        if path == "/fails" {
            locked(&self.failed).insert(id.to_owned());
        }
        timed(self.scene.clone(), client.begin(get_order(id, path))).await
    }

    /// A request that is answered with what its route says.
    async fn answered(&self, client: &Connection, id: &str, path: &str) -> Proof {
        let told = self.asked(client, id, path).await?;
        let due = if path == "/fails" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        PASSES_THROUGH.require(told.status == due, format!("{path} got {}", told.status.as_u16()))
    }

    /// A request that takes as long as without the log, in milliseconds.
    async fn as_ever(&self, client: &Connection, id: &str, due_ms: u64) -> Proof {
        let told = self.asked(client, id, &format!("/orders/{due_ms}")).await?;
        let observed = format!("a request after `stop` got {} after {} ms", told.status.as_u16(), told.took);
        STOP_IS_NO_END.require(told.status == StatusCode::OK && told.took == due_ms, observed)
    }

    /// So many requests, one after the other.
    async fn asked_in_turn(&self, protocol: Protocol, requests: usize) -> Proof {
        let client = self.server.connect("client", protocol).await;
        for number in 0..requests {
            self.answered(&client, &format!("q-{number}"), "/orders/0").await?;
        }
        Ok(())
    }

    /// So many requests at once, each on a connection of its own.
    async fn asked_at_once(&self, protocol: Protocol, requests: usize) -> Proof {
        let all = (0..requests).map(|number| get_order(&format!("c-{number}"), "/orders/10"));
        let crowd = self.server.crowd(protocol, all).await;
        self.count(requests as u64);
        let told = crowd.into_iter().map(|(client, pending)| {
            let timed = timed(self.scene.clone(), pending);
            self.scene.spawn(async move {
                let told = timed.await;
                drop(client);
                told
            })
        });
        for told in told.collect::<Vec<_>>() {
            told.await.map_err(|_| Broken::because("the client failed"))??;
        }
        Ok(())
    }

    /// It is time to stop; tells when that was.
    fn stops(&self) -> u64 {
        self.scene.note("desk", "is told to stop");
        self.stop.send_replace(true);
        self.scene.now_ms()
    }

    /// Waits until no line has come for a while.
    async fn at_rest(&self) {
        loop {
            let before = self.log.bytes();
            sleep(Duration::from_millis(550)).await;
            if self.log.bytes() == before {
                break;
            }
        }
        self.scene.note("metric", format!("says {} lost", self.lost.load(SeqCst)));
    }

    /// The whole lines, those that were counted as lost, and those that there must be.
    fn counted(&self) -> (u64, u64, u64) {
        (self.log.lines().len() as u64, self.lost.load(SeqCst), 2 * self.requests.load(SeqCst))
    }

    fn all_are_known(&self, when: &str) -> Proof {
        let (whole, lost, due) = self.counted();
        let observed = format!("{when}: of {due} lines {whole} came whole, and {lost} were counted as lost");
        WRITTEN_OR_COUNTED.require(whole + lost == due, observed)
    }

    fn none_is_lost(&self, when: &str) -> Proof {
        let (whole, lost, due) = self.counted();
        let observed = format!("{when}: of {due} lines {whole} came, and {lost} were counted as lost");
        NOTHING_LOST_NEEDLESSLY.require(whole == due && lost == 0, observed)
    }

    /// Each line is one of those that there must be, came once, and after those that belong before it.
    fn lines_are_right(&self) -> Proof {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let lines = self.log.lines();
        for (place, line) in lines.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let right = match words[..] {
                [_, "begun"] => true,
                [id, "ended", status] => status == if locked(&self.failed).contains(id) { "500" } else { "200" },
                _ => false,
            };
            LINES.require(right, format!("the log has a line {line:?}"))?;
            let id = words[0];
            let observed = format!("the log has the line {line:?} twice");
            LINES_ARE_WHOLE.require(seen.insert(line.clone(), place).is_none(), observed)?;
            let overtaken = words[1] == "begun" && seen.keys().any(|other| other.starts_with(&format!("{id} ended")));
            LINES_ARE_WHOLE.require(!overtaken, format!("{line:?} came after the `ended` of the same request"))?;
        }
        Ok(())
    }
}

/// What a client was told, and after how many milliseconds.
struct Told {
    status: StatusCode,
    took: u64,
}

async fn timed(scene: Scene, pending: Pending) -> Result<Told, Broken> {
    let asked_ms = scene.now_ms();
    let answered = async {
        let answer = pending.answer().await?;
        let status = answer.status();
        answer.read().await;
        Ok::<_, Broken>(status)
    };
    match timeout(LONGEST, answered).await {
        Ok(status) => Ok(Told { status: status?, took: scene.now_ms() - asked_ms }),
        Err(_) => {
            let observed = format!("a request has no answer after {} s", LONGEST.as_secs());
            Err(NO_REQUEST_WAITS.require(false, observed).err().unwrap_or_else(|| Broken::because("")))
        }
    }
}

/// How many requests are compared with those without the log.
fn due_of(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Http1 => 60,
        Protocol::Http2 => 50,
    }
}

/// How long each takes: one after the other over HTTP/1.1, all at once over HTTP/2.
async fn asked_by_many(scene: &Scene, server: &Server, protocol: Protocol) -> Result<Vec<u64>, Broken> {
    let client = server.connect("client", protocol).await;
    let mut took = Vec::new();
    let request = |number: usize| get_order(&format!("m-{number}"), &format!("/orders/{}", number % 7 * 10));
    match protocol {
        Protocol::Http1 => {
            for number in 0..due_of(protocol) {
                took.push(timed(scene.clone(), client.begin(request(number))).await?.took);
            }
        }
        Protocol::Http2 => {
            let all: Vec<_> = (0..due_of(protocol))
                .map(|number| scene.spawn(timed(scene.clone(), client.begin(request(number)))))
                .collect();
            for told in all {
                took.push(told.await.map_err(|_| Broken::because("the client failed"))??.took);
            }
        }
    }
    Ok(took)
}

fn get_order(id: &str, path: &str) -> Request<Body> {
    let request = Request::get(path).header("x-request-id", id).body(Body::empty());
    request.expect("a path")
}

/// An order takes as many milliseconds as its number says.
fn orders() -> Router {
    let order = async |Path(ms): Path<u64>| -> Response {
        sleep(Duration::from_millis(ms)).await;
        format!("order {ms}\n").into_response()
    };
    let fails = async || StatusCode::INTERNAL_SERVER_ERROR;
    Router::new().route("/orders/{ms}", get(order)).route("/fails", get(fails))
}

// ===== The reader of the log =====

/// At which pace the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Fast,
    Slow,
    Stopped,
    Gone,
}

impl Pace {
    fn told(self) -> &'static str {
        match self {
            Self::Fast => "is fast",
            Self::Slow => "takes 100 ms a line",
            Self::Stopped => "has stopped",
            Self::Gone => "has no reader any more",
        }
    }
}

/// The other end of the log.
struct Reader {
    scene: Scene,
    pace: watch::Sender<Pace>,
    had: Arc<Mutex<Had>>,
}

/// What has come.
#[derive(Default)]
struct Had {
    lines: Vec<String>,
    /// The beginning of a line.
    part: Vec<u8>,
    bytes: usize,
    ended_ms: Option<u64>,
}

impl Reader {
    fn begin(scene: &Scene, end: DuplexStream) -> Self {
        let (pace, paced) = watch::channel(Pace::Fast);
        let had = Arc::<Mutex<Had>>::default();
        scene.spawn(read(scene.clone(), end, paced, had.clone()));
        Self { scene: scene.clone(), pace, had }
    }

    fn stops(&self) {
        self.paced(Pace::Stopped);
    }

    /// It is fast again, unless it is gone.
    fn moves(&self) {
        if *self.pace.borrow() != Pace::Gone {
            self.paced(Pace::Fast);
        }
    }

    fn goes(&self) {
        self.paced(Pace::Gone);
    }

    fn paced(&self, pace: Pace) {
        let was = self.pace.send_replace(pace);
        let what = match pace {
            _ if pace == was => return,
            Pace::Fast => "moves again",
            Pace::Slow => "takes 100 ms a line",
            Pace::Stopped => "stops",
            Pace::Gone => "goes away",
        };
        self.scene.note("log", what);
    }

    fn lines(&self) -> Vec<String> {
        locked(&self.had).lines.clone()
    }

    /// The beginning of a line that never came whole.
    fn torn(&self) -> String {
        String::from_utf8_lossy(&locked(&self.had).part).into_owned()
    }

    fn bytes(&self) -> usize {
        locked(&self.had).bytes
    }

    fn ended_ms(&self) -> Option<u64> {
        locked(&self.had).ended_ms
    }
}

async fn read(scene: Scene, mut end: DuplexStream, mut pace: watch::Receiver<Pace>, had: Arc<Mutex<Had>>) {
    loop {
        let now = *pace.borrow_and_update();
        if now == Pace::Gone {
            return;
        }
        let pause = if now == Pace::Slow && locked(&had).part.is_empty() { PER_LINE } else { Duration::ZERO };
        if timeout(pause, pace.changed()).await.is_ok_and(|changed| changed.is_ok()) {
            continue;
        }
        let mut byte = [0];
        tokio::select! {
            biased;
            changed = pace.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            got = end.read(&mut byte), if now != Pace::Stopped => {
                let mut had = locked(&had);
                if !got.is_ok_and(|bytes| bytes == 1) {
                    had.ended_ms = Some(scene.now_ms());
                    scene.note("log", "gets the end");
                    return;
                }
                had.bytes += 1;
                if byte == *b"\n" {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut had.part)).into_owned();
                    scene.note("log", format!("gets {line:?}"));
                    had.lines.push(line);
                } else {
                    had.part.push(byte[0]);
                }
            }
        }
    }
}
