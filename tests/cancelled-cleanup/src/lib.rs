//! The specification of `cancelled-cleanup`: a document editor whose writes hold a lease, however they end.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, request::Parts},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{any, get, put},
};
use conform::{Contract, Subject, the_rest};
use futures_util::future::join_all;
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{sleep, timeout},
};
use tower::ServiceExt;
use tracing::Level;

use lab::{
    Asked, Connection, End, Feed, Ghost, Lab, Limits, Pending, Proof, Protocol, Report, Scene, Server, Shown,
    Specification, control, locked,
};

/// Makes the editor under test from its routes, the lock service, the patience for a clean-up, and what it keeps a clone of
/// as long as it has something to clean up.
pub type App = Arc<dyn Fn(Router, Router, Duration, mpsc::Sender<Infallible>) -> Router + Send + Sync>;

const NEXT_WRITE_SUCCEEDS: Asked = Asked::new(
    "next-write-succeeds",
    "Whichever way a write has ended, the next one to its document is handled; one that was told 423, or left before it was \
     told, frees nothing.",
);
const FREE_AFTER_EVERY_ENDING: Asked = Asked::new(
    "free-after-every-ending",
    "The document is locked as long as the handler works and free afterwards: after an answer, a panic, a timeout round the \
     app, a client that leaves, a future that is dropped before or after any poll, and a hundred that are dropped at once. Each \
     granted lease is given back by one `DELETE`; another follows only where the one before was refused or broken off.",
);
const LEAVING_WHILE_TAKEN: Asked = Asked::new(
    "leaving-while-taken",
    "A client that leaves while the lease is being taken leaves nothing locked, although the lock service grants the lease \
     when it's asked and answers a second later.",
);
const LEAVING_WHILE_GIVEN_BACK: Asked = Asked::new(
    "leaving-while-given-back",
    "A client that leaves while the lease is being given back leaves nothing locked, although a `DELETE` takes effect a second \
     after it came, and never if it's broken off before.",
);
const DRAIN_WAITS: Asked = Asked::new(
    "drain-waits-for-the-clean-up",
    "When requests are broken off and the router is dropped, `drain` ends within 1.1 times the patience, and every granted \
     lease has been given back by then; as long as the router lives it doesn't end.",
);
const GIVEN_UP_IN_TIME: Asked = Asked::new(
    "given-up-in-time",
    "A `DELETE` that hangs, or is refused each time, is given up within 1.1 times the patience of the handler's end, or of its \
     client's leaving if that's later: by then a WARN or ERROR event names the document, the client has its answer, and `drain` \
     ends if the router is gone. No other document is given back later than it would be alone.",
);
const CANCEL_REACHES_HANDLER: Asked = Asked::new(
    "cancel-reaches-handler",
    "The handler is dropped at the instant at which its client leaves, a timeout fires or its future is dropped, and no two \
     handlers ever work on one document.",
);
const WORK_NEEDS_A_LEASE: Asked = Asked::new(
    "work-needs-a-lease",
    "The handler is called once, and only under a granted lease: 423 from the lock service is a 423, and another refusal a \
     5xx. What is no `PUT /documents/{document}` needs no lease and asks for none.",
);
const WRITE_PASSES_AS_IT_COMES: Asked = Asked::new(
    "write-passes-as-it-comes",
    "A write's headers and body reach the handler as they were sent, and its answer the client: status, headers, length, each \
     frame at once, trailers and end.",
);
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Whatever needs no lease comes out as it went in: requests and answers, with heads, bodies, lengths, trailers and errors, \
     each part as soon as it's there and not before it's wanted.",
);

const LEASES: Asked = Asked::new(
    "x-lease",
    "The app asks the lock service `PUT /locks/{document}` with one `x-lease` that it has chosen itself: not empty, and never \
     used before. It gives the lease back by `DELETE /locks/{document}` with the same `x-lease`.",
);
const LOCK_SERVICE: Asked = Asked::new(
    "lock-service",
    "A `PUT` is answered 201, or 423 where the document is locked. A `DELETE` is answered 204, or 404 where that lease doesn't \
     hold the document, which does no harm; any other answer is a refusal. One that was refused once may be accepted the \
     next time, and frees the document then.",
);
const NAMES: Asked =
    Asked::new("names", "A document's name is one segment of a path: small letters, digits and hyphens.");
const BEFORE_OR_AFTER: Asked = Asked::new(
    "before-or-after",
    "The lease may be given back before the client has its answer, after it, or when the answer's body is over, however long \
     that takes. From then on it takes 1.1 times the patience at most.",
);
const SMALL_WRITES: Asked = Asked::new(
    "small-writes",
    "A write is at most 1,000 bytes, sent whole. While more stands unread, hyper doesn't see that an HTTP/1.1 client has left.",
);
const DRAIN: Asked = Asked::new(
    "drain",
    "Whoever has something to clean up keeps a clone of `drain`, and so does the router. The process ends when the last is gone.",
);
const NO_EXPIRY: Asked = Asked::new(
    "no-expiry",
    "A lease doesn't expire. Nothing is promised about a `PUT` that the lock service never answers.",
);

/// What a clean-up may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// By when it is over, 1.1 times the patience.
const OVER: Duration = Duration::from_millis(4400);
/// How long a handler works: longer than giving back takes, or a lease given back too early would not be seen.
const WORK: Duration = Duration::from_secs(4);
/// How long it takes until a `DELETE` has its effect, and until a slow `PUT` is answered.
const A_SECOND: Duration = Duration::from_secs(1);

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(Router, Router, Duration, mpsc::Sender<Infallible>) -> Router + Send + Sync + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(NEXT_WRITE_SUCCEEDS, next_write_succeeds)
        .promise(FREE_AFTER_EVERY_ENDING, free_after_every_ending)
        .promise(LEAVING_WHILE_TAKEN, leaving_while_taken)
        .promise(LEAVING_WHILE_GIVEN_BACK, leaving_while_given_back)
        .promise(DRAIN_WAITS, drain_waits)
        .promise(GIVEN_UP_IN_TIME, given_up_in_time)
        .promise(CANCEL_REACHES_HANDLER, cancel_reaches_handler)
        .promise(WORK_NEEDS_A_LEASE, work_needs_a_lease)
        .promise(WRITE_PASSES_AS_IT_COMES, write_passes_as_it_comes)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the editor changes on purpose of what needs no lease.
pub fn contract() -> Contract {
    Contract::transparent().changes("nothing-left-running", "a task that cleans up may live as long as the app")
}

/// What passes through as it was, beside what *must*.
const SHOULD: [&str; 23] = [
    "lets-through",
    "methods-pass",
    "calls-overlap",
    "cancel-reaches-inner",
    "cancelled-at-each-step",
    "body-drop-reaches-inner",
    "request-body-released",
    "head-before-body",
    "response-streams",
    "response-not-read-ahead",
    "request-body-untouched",
    "request-streams",
    "request-not-read-ahead",
    "trailers-kept",
    "request-trailers-kept",
    "lengths-are-kept",
    "coded-trailers-kept",
    "coded-bodies-stream",
    "extensions-kept",
    "not-polled-after-end",
    "upgrade-passes",
    "extended-connect-passes",
    "continue-when-read",
];

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "cancelled-cleanup";
    type App = fn(Router, Router, Duration, mpsc::Sender<Infallible>) -> Router;
    type StandIns = (Router, Router, Duration, mpsc::Sender<Infallible>);
    const ASKED: &'static [Asked] = &[LEASES, LOCK_SERVICE, NAMES, BEFORE_OR_AFTER, SMALL_WRITES, DRAIN, NO_EXPIRY];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// An editor that takes three seconds to save a document, and a lock service whose locks `GET /locks` lists. Call it inside
    /// a runtime.
    fn stand_ins() -> Self::StandIns {
        let held = Arc::new(Mutex::new(BTreeMap::<String, String>::new()));
        let shown = held.clone();
        let list = || async move {
            let held = locked(&shown);
            let lines: String = held.keys().map(|document| format!("{document} is locked\n")).collect();
            if lines.is_empty() { "nothing is locked\n".to_owned() } else { lines }
        };
        let save = |Path(document): Path<String>, text: String| async move {
            sleep(Duration::from_secs(3)).await;
            lab::say(format_args!("editor: {document} is saved"));
            format!("{document} is saved, {} bytes\n", text.len())
        };
        let routes = Router::new().route("/documents/{document}", put(save)).route("/locks", get(list));
        let locks = async move |Path(document): Path<String>, method: Method, headers: HeaderMap| {
            let lease = lease_of(&headers);
            let mut held = locked(&held);
            let holds = held.get(&document) == Some(&lease);
            let (told, status) = match method {
                Method::PUT if held.contains_key(&document) => ("is locked", StatusCode::LOCKED),
                Method::PUT => {
                    held.insert(document.clone(), lease);
                    ("is locked now", StatusCode::CREATED)
                }
                Method::DELETE if holds => {
                    held.remove(&document);
                    ("is free", StatusCode::NO_CONTENT)
                }
                Method::DELETE => ("is not held by that lease", StatusCode::NOT_FOUND),
                _ => ("stays as it is", StatusCode::METHOD_NOT_ALLOWED),
            };
            lab::say(format_args!("locks: {method} {document}: {told}"));
            status
        };
        let locks = Router::new().route("/locks/{document}", any(locks));
        let (drain, drained) = mpsc::channel(1);
        // The process of `serve` ends with Ctrl-C, whoever still cleans up.
        tokio::spawn(async move {
            let mut drained: mpsc::Receiver<Infallible> = drained;
            drained.recv().await
        });
        (routes, locks, PATIENCE, drain)
    }

    fn serve(app: Self::App, (routes, locks, patience, drain): Self::StandIns) -> Router {
        app(routes, locks, patience, drain)
    }
}

// ===== The promises =====

/// The document whose handler keeps the head of its request, as one does that hands it on to a task.
const HANDED_ON: &str = "handed-on";

/// The ways in which a client leaves.
const LEAVES: [(Protocol, How); 3] =
    [(Protocol::Http1, How::Leaves), (Protocol::Http2, How::Leaves), (Protocol::Http2, How::TakesBack)];

async fn next_write_succeeds(lab: Lab, app: App) -> Proof {
    for (protocol, how) in LEAVES {
        let desk = Desk::open(&lab.scene(format!("{protocol}, ada {how}")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        let writing = ada.begin(desk.write("minutes", "200"));
        sleep(Duration::from_secs(2)).await;
        how.away(ada, writing);
        desk.rest().await;
        let ben = desk.server().connect("ben", protocol).await;
        desk.is_handled(&ben, "ada has left, and the next write").await?;
    }
    for protocol in Protocol::BOTH {
        for text in ["200", "404", "500", "panic"] {
            let desk = Desk::open(&lab.scene(format!("{protocol}, {text}")), &app);
            let ada = desk.healthy("ada", protocol).await?;
            if let Ok(answer) = ada.send(desk.write("minutes", text)).await {
                answer.read().await;
            }
            desk.rest().await;
            let ben = desk.server().connect("ben", protocol).await;
            desk.is_handled(&ben, &format!("after {text}, the next write")).await?;
        }
        let desk = Desk::open(&lab.scene(format!("{protocol}, a timeout")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        let _ = desk.impatient().connect("ada-2", protocol).await.send(desk.write("minutes", "200")).await;
        desk.rest().await;
        desk.is_handled(&ada, "after a timeout, the next write").await?;

        let scene = lab.scene(format!("{protocol}, two come while ada writes, and one of them leaves"));
        let desk = Desk::open(&scene, &app);
        let ada = desk.healthy("ada", protocol).await?;
        desk.slowly_taken();
        let writing = ada.begin(desk.write("minutes", "200"));
        sleep(Duration::from_millis(1500)).await;
        let server = desk.server();
        let (ben, cem) = (server.connect("ben", protocol).await, server.connect("cem", protocol).await);
        let bens = ben.begin(desk.write("minutes", "200"));
        let cems = cem.begin(desk.write("minutes", "200"));
        sleep(Duration::from_millis(500)).await;
        How::Leaves.away(cem, cems);
        let status = bens.answer().await?.status();
        let observed = format!("ada was writing, and ben got {}", status.as_u16());
        NEXT_WRITE_SUCCEEDS.require(status == StatusCode::LOCKED, observed)?;
        sleep(Duration::from_millis(1700)).await;
        let observed = "ada was writing, ben was told 423, cem left, and her document was free";
        NEXT_WRITE_SUCCEEDS.require(desk.is_locked("minutes"), observed)?;
        let status = writing.answer().await?.status();
        NEXT_WRITE_SUCCEEDS.require(status == 200, format!("ada got {}", status.as_u16()))?;
        desk.rest().await;
        desk.is_handled(&ben, "all were gone, and the next write").await?;
        desk.leases_are_right()?;
    }
    Ok(())
}

async fn free_after_every_ending(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for text in ["200", "404", "500"] {
            let desk = Desk::open(&lab.scene(format!("{protocol}, {text}")), &app);
            let ada = desk.healthy("ada", protocol).await?;
            ada.send(desk.write("minutes", text)).await?.read().await;
            desk.is_free(&format!("the handler answered {text}")).await?;
        }
        let desk = Desk::open(&lab.scene(format!("{protocol}, the first `DELETE` is refused")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        desk.manner("minutes", Manner::RefusesOnce);
        ada.send(desk.write("minutes", "200")).await?.read().await;
        desk.is_free("the first `DELETE` was refused")
            .await
            .or_else(|broken| LOCK_SERVICE.require(false, broken.to_string()))?;
    }
    for (protocol, how) in LEAVES {
        let desk = Desk::open(&lab.scene(format!("{protocol}, the client {how}")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        let writing = ada.begin(desk.write("minutes", "200"));
        sleep(Duration::from_secs(2)).await;
        how.away(ada, writing);
        desk.is_free("the client left").await?;

        let desk = Desk::open(&lab.scene(format!("{protocol}, the client {how}, and its request was handed on")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        let writing = ada.begin(desk.write(HANDED_ON, "200"));
        sleep(Duration::from_secs(2)).await;
        how.away(ada, writing);
        desk.is_free("the client left, and what the handler had handed on of its request was still there").await?;
    }
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(format!("{protocol}, a timeout round the app")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        drop(ada);
        let status = desk.impatient().connect("ben", protocol).await.send(desk.write("minutes", "200")).await?.status();
        control(status == StatusCode::GATEWAY_TIMEOUT, format!("expected 504, got {}", status.as_u16()))?;
        desk.is_free("the timeout had fired").await?;

        let desk = Desk::open(&lab.scene(format!("{protocol}, the handler panics")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        // Whether there is an answer is not the subject.
        let _ = ada.send(desk.write("minutes", "panic")).await;
        desk.is_free("the handler had panicked").await?;

        let desk = Desk::open(&lab.scene(format!("{protocol}, the client leaves in the middle of the answer")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        let feed = desk.feed();
        let writing = ada.begin(desk.write("minutes", "stream"));
        sleep(WORK + Duration::from_millis(1500)).await;
        feed.data("saved\n");
        desk.scene.settle().await;
        How::Leaves.away(ada, writing);
        desk.is_free("the client left in the middle of the answer").await?;
    }
    at_each_moment(&lab, &app).await?;
    for slow in [false, true] {
        let scene =
            lab.scene(format!("dropped before its first poll, or half a second later each time, {}", taken(slow)));
        scene.patience(Duration::from_secs(600));
        let desk = Desk::open(&scene, &app);
        drop(desk.healthy("ada", Protocol::Http1).await?);
        if slow {
            desk.slowly_taken();
        }
        drop(desk.router().oneshot(desk.write("unpolled", "200")));
        desk.is_free("a future was dropped before its first poll").await?;
        for half in 0..14_u64 {
            let after = 250 + 500 * half;
            let call = desk.router().oneshot(desk.write(&format!("after-{after}"), "200"));
            let _ = timeout(Duration::from_millis(after), call).await;
            desk.is_free(&format!("a future was dropped after {after} ms")).await?;
        }
    }
    let desk = Desk::open(&lab.scene("a hundred are dropped at once"), &app);
    drop(desk.healthy("ada", Protocol::Http1).await?);
    let writes = (1..=100).map(|n| desk.router().oneshot(desk.write(&format!("page-{n}"), "200")));
    let _ = timeout(Duration::from_secs(2), join_all(writes)).await;
    let began = desk.at_work();
    control(began == 100, format!("{began} of 100 writes were handled"))?;
    desk.is_free("a hundred futures were dropped at once").await
}

/// The client leaves at each step of a write, and between two.
async fn at_each_moment(lab: &Lab, app: &App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(format!("{protocol}, nobody leaves")), app);
        let server = desk.server();
        let ada = server.connect("ada", protocol).await;
        desk.slowly_taken();
        ada.send(desk.write("minutes", "200")).await?.read().await;
        desk.is_free("nobody left").await?;
        for moment in desk.scene.moments_to_leave() {
            let desk = Desk::open(&lab.scene(format!("{protocol}, {moment}")), app);
            let server = desk.server();
            let ada = server.connect("ada", protocol).await;
            desk.slowly_taken();
            ada.leaves_at(&moment);
            let written = async {
                let Ok(answer) = ada.send(desk.write("minutes", "200")).await else { return };
                answer.read().await;
            };
            written.await;
            drop(ada);
            desk.is_free("the client left").await?;
        }
    }
    Ok(())
}

async fn leaving_while_taken(lab: Lab, app: App) -> Proof {
    for (protocol, how) in LEAVES {
        let desk = Desk::open(&lab.scene(format!("{protocol}, the client {how}")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        desk.slowly_taken();
        let writing = ada.begin(desk.write("minutes", "200"));
        sleep(Duration::from_millis(500)).await;
        control(desk.is_locked("minutes"), "the lock service had not been asked after half a second")?;
        how.away(ada, writing);
        desk.rest().await;
        let observed = "the client left while the lease was being taken, and the document stayed locked";
        LEAVING_WHILE_TAKEN.require(!desk.is_locked("minutes"), observed)?;
    }
    Ok(())
}

async fn leaving_while_given_back(lab: Lab, app: App) -> Proof {
    for (protocol, how) in LEAVES {
        for late in [500, 950] {
            let scene = lab.scene(format!("{protocol}, the client {how} {late} ms after the handler's end"));
            let desk = Desk::open(&scene, &app);
            let ada = desk.healthy("ada", protocol).await?;
            let writing = ada.begin(desk.write("minutes", "200"));
            sleep(WORK + Duration::from_millis(late)).await;
            how.away(ada, writing);
            desk.rest().await;
            let observed = "the client left while the lease was being given back, and the document stayed locked";
            LEAVING_WHILE_GIVEN_BACK.require(!desk.is_locked("minutes"), observed)?;
        }
    }
    Ok(())
}

async fn drain_waits(lab: Lab, app: App) -> Proof {
    for slow in [false, true] {
        for (when, after) in
            [("while they are taken", 500), ("in the handler", 2500), ("while they are given back", 4500)]
        {
            let after = if slow && after == 4500 { 5500 } else { after };
            let scene = lab.scene(format!("three are broken off {when}, {}", taken(slow)));
            let mut desk = Desk::open(&scene, &app);
            drop(desk.healthy("ada", Protocol::Http1).await?);
            desk.rest().await;
            control(!desk.has_drained(), "`drain` ended while the router lived")?;
            if slow {
                desk.slowly_taken();
            }
            let writes = ["minutes", "budget", "roster"].map(|name| desk.router().oneshot(desk.write(name, "200")));
            let _ = timeout(Duration::from_millis(after), join_all(writes)).await;
            desk.drains("three were broken off").await?;
        }
    }
    for (protocol, how) in LEAVES {
        let mut desk = Desk::open(&lab.scene(format!("{protocol}, the client {how}, and the process ends")), &app);
        let server = desk.server();
        let ada = server.connect("ada", protocol).await;
        desk.is_handled(&ada, "the first write").await?;
        desk.rest().await;
        let writing = ada.begin(desk.write("minutes", "200"));
        sleep(Duration::from_secs(2)).await;
        let other = ada.clone();
        how.away(ada, writing);
        drop(server);
        if !matches!(how, How::Leaves) {
            other.leave();
        }
        desk.drains("the client left").await?;
    }
    Ok(())
}

async fn given_up_in_time(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(format!("{protocol}, alone")), &app);
        let server = desk.server();
        let ada = server.connect("ada", protocol).await;
        ada.send(desk.write("minutes", "200")).await?.read().await;
        desk.rest().await;
        let alone = desk.freed_after("minutes");
        control(alone.is_some(), "a document whose write was answered was not given back")?;
        for (manner, told) in [(Manner::Hangs, "hangs"), (Manner::Refuses, "is refused each time")] {
            for leaves in [false, true] {
                let ended = if leaves { "the client leaves" } else { "the client stays" };
                let scene = lab.scene(format!("{protocol}, a `DELETE` {told}, {ended}"));
                let mut desk = Desk::open(&scene, &app);
                let server = desk.server();
                let ada = server.connect("ada", protocol).await;
                desk.manner("budget", manner);
                desk.manner("roster", manner);
                let (ben, cem) = (server.connect("ben", protocol).await, server.connect("cem", protocol).await);
                let stuck = ada.begin(desk.write("budget", "200"));
                let also = cem.begin(desk.write("roster", "200"));
                sleep(Duration::from_millis(100)).await;
                let beside = ben.begin(desk.write("minutes", "200"));
                sleep(if leaves { Duration::from_secs(2) } else { WORK }).await;
                if leaves {
                    // The handler ends when its client leaves.
                    How::Leaves.away(ada.clone(), stuck);
                    drop(also);
                    sleep(Duration::from_millis(4300)).await;
                } else {
                    sleep(Duration::from_millis(4350)).await;
                    let observed = "the client had no answer 1.1 times the patience after the handler's end";
                    GIVEN_UP_IN_TIME.require(stuck.is_answered(), observed)?;
                    drop((stuck.answer().await?, also));
                }
                for document in desk.asked_for(["budget", "roster"]) {
                    let told =
                        desk.scene.logs().into_iter().any(|line| line.level <= Level::WARN && line.mentions(document));
                    let observed =
                        format!("1.1 times the patience after the handler's end, no WARN or ERROR names {document:?}");
                    GIVEN_UP_IN_TIME.require(told, observed)?;
                }
                if let Ok(answer) = beside.answer().await {
                    answer.read().await;
                }
                desk.rest().await;
                let freed = desk.freed_after("minutes");
                let observed = format!(
                    "{} ms after its handler's end a document is given back if it's alone, and beside one whose `DELETE` {} it was {}",
                    alone.unwrap_or_default(),
                    manner,
                    freed.map_or("not given back".to_owned(), |ms| format!("{ms} ms")),
                );
                GIVEN_UP_IN_TIME.require(freed.is_some_and(|ms| Some(ms) <= alone), observed)?;
                drop((ada, ben, cem, server));
                desk.scene.settle().await;
                desk.close();
                let observed = "every clean-up had been given up, the router was gone, and `drain` had not ended";
                let ended = timeout(Duration::from_secs(1), desk.drained.recv()).await.is_ok();
                GIVEN_UP_IN_TIME.require(ended, observed)?;
            }
        }
    }
    for manner in [Manner::Hangs, Manner::Refuses] {
        let mut desk = Desk::open(&lab.scene(format!("a `DELETE` {manner}, and the process ends")), &app);
        drop(desk.healthy("ada", Protocol::Http1).await?);
        desk.rest().await;
        desk.manner("budget", manner);
        let _ = timeout(Duration::from_secs(2), desk.router().oneshot(desk.write("budget", "200"))).await;
        desk.close();
        let ended = timeout(OVER, desk.drained.recv()).await.is_ok();
        let observed = format!("the `DELETE` {manner}, and `drain` had not ended 1.1 times the patience later");
        GIVEN_UP_IN_TIME.require(ended, observed)?;
    }
    Ok(())
}

async fn cancel_reaches_handler(lab: Lab, app: App) -> Proof {
    for (protocol, how) in LEAVES {
        let desk = Desk::open(&lab.scene(format!("{protocol}, the client {how}")), &app);
        let server = desk.server();
        let ada = desk.healthy("ada", protocol).await?;
        let ben = server.connect("ben", protocol).await;
        let writing = ada.begin(desk.write("minutes", "200"));
        sleep(Duration::from_secs(2)).await;
        let left = desk.scene.now_ms();
        how.away(ada, writing);
        // Another one wants the document meanwhile, again and again.
        for _ in 0..12 {
            let asked = ben.begin(desk.write("minutes", "200"));
            sleep(Duration::from_millis(400)).await;
            if !asked.is_answered() {
                asked.answer().await?.read().await;
                break;
            }
            asked.answer().await?.read().await;
        }
        desk.was_dropped_at(left, "the client left")?;
        desk.one_at_a_time()?;
    }
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(format!("{protocol}, a timeout round the app")), &app);
        drop(desk.healthy("ada", protocol).await?);
        let ben = desk.impatient().connect("ben", protocol).await;
        let fires = desk.scene.now_ms() + 2000;
        let _ = ben.send(desk.write("minutes", "200")).await;
        desk.scene.settle().await;
        desk.was_dropped_at(fires, "the timeout fired")?;
    }
    let desk = Desk::open(&lab.scene("the future is dropped"), &app);
    drop(desk.healthy("ada", Protocol::Http1).await?);
    let dropped = desk.scene.now_ms() + 2250;
    let _ = timeout(Duration::from_millis(2250), desk.router().oneshot(desk.write("minutes", "200"))).await;
    desk.scene.settle().await;
    desk.was_dropped_at(dropped, "the future was dropped")
}

async fn work_needs_a_lease(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(format!("{protocol}, the lock service")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        desk.rest().await;
        locked(&desk.ledger).held.insert("minutes".to_owned(), "somebody's".to_owned());
        let handled = desk.handled();
        let status = ada.send(desk.write("minutes", "200")).await?.status();
        let observed = format!("the lock service said 423, and the client got {}", status.as_u16());
        WORK_NEEDS_A_LEASE.require(status == StatusCode::LOCKED, observed)?;
        locked(&desk.ledger).held.clear();
        for refusal in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::NOT_FOUND] {
            locked(&desk.ledger).out_of_order = Some(refusal);
            let status = ada.send(desk.write("minutes", "200")).await?.status();
            let observed =
                format!("the lock service said {}, and the client got {}", refusal.as_u16(), status.as_u16());
            WORK_NEEDS_A_LEASE.require(status.is_server_error(), observed)?;
        }
        locked(&desk.ledger).out_of_order = None;
        let observed = "the handler was called without a lease";
        WORK_NEEDS_A_LEASE.require(desk.handled() == handled, observed)?;
        desk.rest().await;
        ada.send(desk.write("minutes", "200")).await?.read().await;
        let calls = desk.handled() - handled;
        WORK_NEEDS_A_LEASE.require(calls == 1, format!("the handler was called {calls} times for one write"))?;
        desk.rest().await;
        desk.leases_are_right()?;

        // As many processes as there are, and each after it has been restarted.
        let desk = Desk::open(&lab.scene(format!("{protocol}, two editors at one lock service")), &app);
        let other = Desk::at(&desk.scene, &app, desk.ledger.clone());
        for (editor, name) in [(&desk, "ada"), (&other, "bob")] {
            editor.healthy(name, protocol).await?.leave();
            editor.rest().await;
        }
        desk.leases_are_right()?;

        let desk = Desk::open(&lab.scene(format!("{protocol}, what is no write")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        desk.rest().await;
        let asked = locked(&desk.ledger).asked;
        for (method, path, due) in [
            (Method::GET, "/documents/minutes", 200),
            (Method::POST, "/documents/minutes", 405),
            (Method::DELETE, "/documents/minutes", 405),
            (Method::PUT, "/covers/minutes", 200),
            (Method::PUT, "/documents/minutes/cover", 200),
            (Method::GET, "/nowhere", 404),
            (Method::PUT, "/nowhere", 404),
        ] {
            let request = Request::builder().method(method.clone()).uri(path).body(Body::empty()).expect("a path");
            let status = ada.send(request).await?.status();
            let observed = format!("{method} {path} got {}, expected {due}", status.as_u16());
            WORK_NEEDS_A_LEASE.require(status == due, observed)?;
            let observed = format!("the lock service was asked for {method} {path}");
            WORK_NEEDS_A_LEASE.require(locked(&desk.ledger).asked == asked, observed)?;
        }
    }
    Ok(())
}

async fn write_passes_as_it_comes(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(format!("{protocol}, a length is known")), &app);
        let ada = desk.healthy("ada", protocol).await?;
        let text = format!("201{}", ".".repeat(997));
        let mut request = desk.write("minutes", &text);
        request.headers_mut().append("x-author", HeaderValue::from_static("ada"));
        request.headers_mut().append("x-author", HeaderValue::from_static("ben"));
        let answer = ada.send(request).await?;
        let (headers, got) = locked(&desk.ledger).got.clone().unwrap_or_default();
        let authors: Vec<_> = headers.get_all("x-author").iter().collect();
        let observed = format!("the client sent x-author ada and ben, and the handler got {authors:?}");
        WRITE_PASSES_AS_IT_COMES.require(authors == ["ada", "ben"], observed)?;
        let observed = format!("the client sent 1000 bytes, and the handler got {}", got.len());
        WRITE_PASSES_AS_IT_COMES.require(got == text, observed)?;
        let status = answer.status();
        let observed = format!("the handler answered 201, and the client got {}", status.as_u16());
        WRITE_PASSES_AS_IT_COMES.require(status == 201, observed)?;
        let versions: Vec<_> = answer.headers().get_all("x-version").iter().collect();
        let observed = format!("the handler sent x-version 7 and 8, and the client got {versions:?}");
        WRITE_PASSES_AS_IT_COMES.require(versions == ["7", "8"], observed)?;
        let length = answer.header("content-length").map(str::to_owned);
        let observed = format!("the answer has 6 bytes, and states a length of {length:?}");
        WRITE_PASSES_AS_IT_COMES.require(length.as_deref() == Some("6"), observed)?;
        let text = answer.read().await.text();
        WRITE_PASSES_AS_IT_COMES.require(text == "saved\n", format!("expected \"saved\\n\", got {text:?}"))?;

        for fails in [false, true] {
            let scene = lab.scene(format!("{protocol}, a body {}", if fails { "that fails" } else { "of two frames" }));
            let desk = Desk::open(&scene, &app);
            let ada = desk.healthy("ada", protocol).await?;
            let mut feed = desk.feed();
            let mut request = desk.write("minutes", "stream");
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            let writing = ada.begin(request);
            sleep(WORK + OVER).await;
            let observed = "the handler gave an answer whose frames were to come, and the client did not get the head";
            WRITE_PASSES_AS_IT_COMES.require(writing.is_answered(), observed)?;
            let listener = writing.answer().await?.listen();
            for frame in ["one\n", "two\n"] {
                sleep(A_SECOND).await;
                let sent = desk.scene.now_ms();
                feed.data(frame);
                desk.scene.settle().await;
                let came = listener.so_far().came_at_ms(frame);
                let observed = format!("a frame was sent at {sent} ms and came at {came:?} ms");
                WRITE_PASSES_AS_IT_COMES.require(came == Some(sent), observed)?;
            }
            // HTTP/1.1 sends trailers only where the answer names them, which this one does not.
            let trailers = HeaderMap::from_iter([("x-seal".parse().expect("a name"), HeaderValue::from_static("9"))]);
            let sent = (protocol == Protocol::Http2 && !fails).then_some(trailers);
            if fails {
                feed.fail("the disk is full");
            } else {
                sent.iter().for_each(|trailers| feed.trailers(trailers.clone()));
                feed.end();
            }
            let received = listener.ended().await;
            let due = if fails { End::Error } else { End::Clean };
            let end = received.end.map(|(_, end)| end);
            let observed = format!("the answer's body ended with {due:?}, and the client's with {end:?}");
            WRITE_PASSES_AS_IT_COMES.require(end == Some(due), observed)?;
            let observed = format!("the trailers were {sent:?}, and the client got {:?}", received.trailers);
            WRITE_PASSES_AS_IT_COMES.require(received.trailers == sent, observed)?;
        }
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let (drain, _drained) = mpsc::channel(1);
    let editor = Subject::app(move |routes| app(routes, Router::new(), PATIENCE, drain.clone()));
    the_rest(editor, &contract(), &SHOULD, limits)
}

// ===== The desk =====

/// How a client leaves.
#[derive(Clone, Copy)]
enum How {
    Leaves,
    TakesBack,
}

impl How {
    fn away(self, client: Connection, writing: Pending) {
        match self {
            Self::Leaves => {
                client.leave();
                drop(writing);
            }
            Self::TakesBack => writing.cancel(),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaves => "leaves",
            Self::TakesBack => "takes the write back",
        })
    }
}

/// How the lock service answers a `DELETE`.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Hangs,
    Refuses,
    RefusesOnce,
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangs => "hangs",
            Self::Refuses => "is refused each time",
            Self::RefusesOnce => "is refused once",
        })
    }
}

fn taken(slow: bool) -> &'static str {
    if slow { "leases taken in a second" } else { "leases taken at once" }
}

/// The app in its surroundings.
struct Desk {
    scene: Scene,
    ledger: Arc<Mutex<Ledger>>,
    router: Option<Router>,
    drained: mpsc::Receiver<Infallible>,
}

/// What the lock service and the handler have seen.
#[derive(Default)]
struct Ledger {
    /// How long a `PUT` takes to be answered.
    taking: Duration,
    manners: BTreeMap<String, Manner>,
    /// With what a `PUT` is refused.
    out_of_order: Option<StatusCode>,
    /// Which lease holds a document.
    held: BTreeMap<String, String>,
    leases: BTreeMap<String, Lease>,
    /// How often the lock service was asked.
    asked: usize,
    works: Vec<Work>,
    /// When a document was given back last.
    freed: BTreeMap<String, u64>,
    /// What the handler got last: headers and body.
    got: Option<(HeaderMap, String)>,
    /// What the handler kept of its requests, as one does that hands them on.
    kept: Vec<Parts>,
    /// The body of the next streamed answer.
    given: Option<Body>,
    /// What must not be, and was seen.
    wrongs: Vec<(Asked, String)>,
}

struct Lease {
    document: String,
    granted: bool,
    returns: Vec<Return>,
}

/// What became of a `DELETE`.
#[derive(Clone, Copy, PartialEq)]
enum Return {
    UnderWay,
    Answered,
    Refused,
    BrokenOff,
}

/// A handler's work on a document.
struct Work {
    document: String,
    /// When it ended, and whether it came to its end.
    ended: Option<(u64, bool)>,
}

impl Ledger {
    fn wrong(&mut self, asked: Asked, observed: impl Into<String>) {
        self.wrongs.push((asked, observed.into()));
    }

    fn is_at_work(&self, document: &str) -> bool {
        self.works.iter().any(|work| work.document == document && work.ended.is_none())
    }
}

impl Desk {
    fn open(scene: &Scene, app: &App) -> Self {
        Self::at(scene, app, Arc::default())
    }

    /// An editor whose lock service has this ledger.
    fn at(scene: &Scene, app: &App, ledger: Arc<Mutex<Ledger>>) -> Self {
        let (drain, drained) = mpsc::channel(1);
        let stand = Stand { scene: scene.clone(), ledger: ledger.clone() };
        let (writing, asked) = (stand.clone(), stand);
        let write = async move |Path(document): Path<String>, parts: Parts, text: String| {
            let headers = parts.headers.clone();
            if document == HANDED_ON {
                locked(&writing.ledger).kept.push(parts);
            } else {
                drop(parts);
            }
            writing.write(document, headers, text).await
        };
        let other = || async { "as ever\n" };
        let routes = Router::new()
            .route("/documents/{document}", put(write).get(other))
            .route("/documents/{document}/cover", put(other))
            .route("/covers/{document}", put(other));
        let lock = async move |Path(document): Path<String>, method: Method, headers: HeaderMap| {
            let lease = lease_of(&headers);
            match method {
                Method::PUT => asked.take(document, lease).await,
                Method::DELETE => asked.give_back(document, lease).await,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            }
        };
        let locks = Router::new().route("/locks/{document}", any(lock));
        let router = Some(app(routes, locks, PATIENCE, drain));
        Self { scene: scene.clone(), ledger, router, drained }
    }

    fn router(&self) -> Router {
        self.router.clone().expect("it is dropped at the end")
    }

    /// The last of the app, as far as it is ours.
    fn close(&mut self) {
        self.scene.note("process", "drops the router");
        self.router = None;
    }

    fn server(&self) -> Server {
        self.scene.serve(self.router())
    }

    /// The app under a timeout of two seconds.
    fn impatient(&self) -> Server {
        let within = async |request: axum::extract::Request, next: Next| {
            let answer = timeout(Duration::from_secs(2), next.run(request)).await;
            answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
        };
        self.scene.serve(self.router().layer(from_fn(within)))
    }

    fn write(&self, document: &str, text: &str) -> Request<Body> {
        Request::put(format!("/documents/{document}")).body(Body::from(text.to_owned())).expect("a path")
    }

    /// A client whose first write, to another document, went well.
    async fn healthy(&self, name: &str, protocol: Protocol) -> Result<Connection, lab::Broken> {
        let client = self.server().connect(name, protocol).await;
        let writing = client.begin(self.write("agenda", "200"));
        sleep(Duration::from_millis(500)).await;
        control(self.is_locked("agenda"), "a document was not locked while its handler worked")?;
        let status = writing.answer().await?.status();
        control(status == 200, format!("a write got {}, expected 200", status.as_u16()))?;
        sleep(Duration::from_millis(1500)).await;
        control(!self.is_locked("agenda"), "a document whose write was answered stayed locked")?;
        Ok(client)
    }

    fn slowly_taken(&self) {
        locked(&self.ledger).taking = A_SECOND;
    }

    fn manner(&self, document: &str, manner: Manner) {
        locked(&self.ledger).manners.insert(document.to_owned(), manner);
    }

    /// The body of the next answer.
    fn feed(&self) -> Feed {
        let (feed, body) = self.scene.feed("handler");
        locked(&self.ledger).given = Some(body);
        feed
    }

    /// Waits until every clean-up is over, or should be.
    async fn rest(&self) {
        sleep(OVER).await;
    }

    fn is_locked(&self, document: &str) -> bool {
        locked(&self.ledger).held.contains_key(document)
    }

    fn handled(&self) -> usize {
        locked(&self.ledger).works.len()
    }

    /// How many handlers were at work on pages.
    fn at_work(&self) -> usize {
        locked(&self.ledger).works.iter().filter(|work| work.document.starts_with("page")).count()
    }

    /// Those of the documents that the lock service was asked to free.
    fn asked_for(&self, documents: [&'static str; 2]) -> Vec<&'static str> {
        let ledger = locked(&self.ledger);
        let asked = |document: &&str| {
            ledger.leases.values().any(|lease| lease.document == **document && !lease.returns.is_empty())
        };
        documents.into_iter().filter(asked).collect()
    }

    /// How long after its handler's end a document was given back, in milliseconds.
    fn freed_after(&self, document: &str) -> Option<u64> {
        let ledger = locked(&self.ledger);
        let (ended, _) = ledger.works.iter().rfind(|work| work.document == document)?.ended?;
        ledger.freed.get(document)?.checked_sub(ended)
    }

    fn no_wrong(&self, asked: Asked) -> Proof {
        let ledger = locked(&self.ledger);
        let wrong = ledger.wrongs.iter().find(|(about, _)| about.key == asked.key);
        wrong.map_or(Ok(()), |(_, observed)| asked.require(false, observed.clone()))
    }

    fn leases_are_right(&self) -> Proof {
        self.no_wrong(LEASES)
    }

    fn one_at_a_time(&self) -> Proof {
        self.no_wrong(CANCEL_REACHES_HANDLER)
    }

    /// At rest nothing is locked, and nothing was asked once too often.
    async fn is_free(&self, what: &str) -> Proof {
        self.rest().await;
        let held: Vec<String> = locked(&self.ledger).held.keys().cloned().collect();
        let observed = match &held[..] {
            [one] => format!("{what}, and at rest {one:?} is still locked"),
            _ => format!("{what}, and at rest {} documents are still locked", held.len()),
        };
        FREE_AFTER_EVERY_ENDING.require(held.is_empty(), observed)?;
        self.no_wrong(FREE_AFTER_EVERY_ENDING)?;
        self.leases_are_right()
    }

    /// The next write of minutes is handled.
    async fn is_handled(&self, client: &Connection, what: &str) -> Proof {
        let handled = self.handled();
        let answer = client.send(self.write("minutes", "200")).await?;
        let status = answer.status();
        answer.read().await;
        let handled = self.handled() - handled;
        let observed = format!("{what} got {}; expected 200", status.as_u16());
        NEXT_WRITE_SUCCEEDS.require(status == 200 && handled == 1, observed)
    }

    fn was_dropped_at(&self, due: u64, what: &str) -> Proof {
        let ledger = locked(&self.ledger);
        // The control's is the first.
        let ended = ledger.works.iter().filter(|work| work.document == "minutes").map(|work| work.ended).next();
        let observed = match ended.flatten() {
            Some((at, true)) => format!("{what} at {due} ms, and the handler worked on to its end, at {at} ms"),
            Some((at, false)) => format!("{what} at {due} ms, and the handler was dropped at {at} ms"),
            None => format!("{what} at {due} ms, and the handler worked on"),
        };
        CANCEL_REACHES_HANDLER.require(ended.flatten() == Some((due, false)), observed)
    }

    fn has_drained(&mut self) -> bool {
        !matches!(self.drained.try_recv(), Err(TryRecvError::Empty))
    }

    /// The requests are over, and the process waits until it may end.
    async fn drains(&mut self, what: &str) -> Proof {
        let over = self.scene.now_ms();
        self.close();
        let ended = timeout(OVER, self.drained.recv()).await.is_ok();
        let observed =
            format!("{what}, the router was dropped, and `drain` had not ended 1.1 times the patience later");
        DRAIN_WAITS.require(ended, observed)?;
        let took = self.scene.now_ms() - over;
        self.scene.note("process", "ends");
        let held = locked(&self.ledger).held.len();
        let observed = format!(
            "{what}, the router was dropped, and when `drain` ended, {took} ms later, {held} of the documents were locked"
        );
        DRAIN_WAITS.require(held == 0, observed)
    }
}

fn lease_of(headers: &HeaderMap) -> String {
    let leases: Vec<_> = headers.get_all("x-lease").iter().filter_map(|lease| lease.to_str().ok()).collect();
    leases.join(", ")
}

/// What the specification supplies: the handler and the lock service.
#[derive(Clone)]
struct Stand {
    scene: Scene,
    ledger: Arc<Mutex<Ledger>>,
}

impl Stand {
    /// Grants a lease at once, and says so after a while.
    async fn take(&self, document: String, lease: String) -> StatusCode {
        let (granted, taking, refusal) = {
            let mut ledger = locked(&self.ledger);
            ledger.asked += 1;
            let refusal = ledger.out_of_order;
            if lease.is_empty() {
                ledger.wrong(LEASES, "a `PUT` came without `x-lease`");
            } else if ledger.leases.contains_key(&lease) {
                ledger.wrong(LEASES, "two `PUT`s had the same `x-lease`");
            }
            let granted = refusal.is_none() && !ledger.held.contains_key(&document);
            if granted {
                ledger.held.insert(document.clone(), lease.clone());
            }
            ledger.leases.insert(lease, Lease { document: document.clone(), granted, returns: Vec::new() });
            (granted, ledger.taking, refusal)
        };
        let status = refusal.unwrap_or(if granted { StatusCode::CREATED } else { StatusCode::LOCKED });
        self.scene.note("locks", if granted { format!("lock {document}") } else { format!("do not lock {document}") });
        sleep(taking).await;
        status
    }

    /// Frees the document after a second, unless the call is broken off before.
    async fn give_back(&self, document: String, lease: String) -> StatusCode {
        let manner = {
            let mut ledger = locked(&self.ledger);
            ledger.asked += 1;
            let mut wrongs = Vec::new();
            let granted = match ledger.leases.get_mut(&lease) {
                None => {
                    wrongs.push((LEASES, "a `DELETE` names a lease that no `PUT` has named".to_owned()));
                    false
                }
                Some(known) if known.document != document => {
                    wrongs.push((LEASES, "a `DELETE` names the lease of another document".to_owned()));
                    false
                }
                Some(known) => {
                    let goes_on = known.returns.iter().any(|back| matches!(back, Return::UnderWay | Return::Answered));
                    if known.granted && goes_on {
                        let observed = format!("the lease of {document:?} was given back by more than one `DELETE`");
                        wrongs.push((FREE_AFTER_EVERY_ENDING, observed));
                    }
                    known.returns.push(Return::UnderWay);
                    known.granted
                }
            };
            ledger.wrongs.extend(wrongs);
            let manner = ledger.manners.get(&document).copied().filter(|_| granted);
            if manner == Some(Manner::RefusesOnce) {
                ledger.manners.remove(&document);
            }
            manner
        };
        let mut visit = Visit { stand: self.clone(), document, lease, became: Return::BrokenOff };
        self.scene.note("locks", format!("are to free {}", visit.document));
        match manner {
            Some(Manner::Hangs) => pending().await,
            Some(Manner::Refuses | Manner::RefusesOnce) => {
                sleep(Duration::from_millis(20)).await;
                visit.became = Return::Refused;
                StatusCode::SERVICE_UNAVAILABLE
            }
            None => {
                sleep(A_SECOND).await;
                visit.became = Return::Answered;
                self.free(&visit.document, &visit.lease)
            }
        }
    }

    fn free(&self, document: &str, lease: &str) -> StatusCode {
        let now = self.scene.now_ms();
        let mut ledger = locked(&self.ledger);
        if ledger.held.get(document).is_none_or(|holder| holder != lease) {
            return StatusCode::NOT_FOUND;
        }
        ledger.held.remove(document);
        ledger.freed.insert(document.to_owned(), now);
        if ledger.is_at_work(document) {
            let observed = format!("{document:?} was given back at {now} ms, and its handler was at work");
            ledger.wrong(FREE_AFTER_EVERY_ENDING, observed);
        }
        drop(ledger);
        self.scene.note("locks", format!("free {document}"));
        StatusCode::NO_CONTENT
    }

    /// Writes a document; the text says what comes of it.
    async fn write(&self, document: String, headers: HeaderMap, text: String) -> Response {
        let number = {
            let mut ledger = locked(&self.ledger);
            if ledger.is_at_work(&document) {
                let observed = format!("two handlers were at work on {document:?}");
                ledger.wrong(CANCEL_REACHES_HANDLER, observed);
            }
            if !ledger.held.contains_key(&document) {
                let observed = format!("a handler began with {document:?}, which was not locked");
                ledger.wrong(FREE_AFTER_EVERY_ENDING, observed);
            }
            ledger.got = Some((headers, text.clone()));
            ledger.works.push(Work { document: document.clone(), ended: None });
            ledger.works.len() - 1
        };
        let mut at_work = AtWork { stand: self.clone(), number, document, whole: false };
        self.scene.note("handler", format!("writes {}", at_work.document));
        sleep(WORK).await;
        if text == "panic" {
            lab::arranged_panic("the disk is full");
        }
        at_work.whole = true;
        drop(at_work);
        let given = if text == "stream" { locked(&self.ledger).given.take() } else { None };
        if let Some(body) = given {
            return body.into_response();
        }
        let status = text.get(..3).and_then(|status| status.parse().ok()).unwrap_or(StatusCode::OK);
        let versions = axum::response::AppendHeaders([("x-version", "7"), ("x-version", "8")]);
        (status, versions, "saved\n").into_response()
    }
}

/// A `DELETE` on its way.
struct Visit {
    stand: Stand,
    document: String,
    lease: String,
    became: Return,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(lease) = locked(&self.stand.ledger).leases.get_mut(&self.lease)
            && let Some(back) = lease.returns.iter_mut().find(|back| **back == Return::UnderWay)
        {
            *back = self.became;
        }
        match self.became {
            Return::Refused => self.stand.scene.note("locks", format!("refuse to free {}", self.document)),
            Return::BrokenOff => {
                self.stand.scene.note("locks", format!("are hung up on: {} stays locked", self.document))
            }
            _ => {}
        }
    }
}

/// A handler at work.
struct AtWork {
    stand: Stand,
    number: usize,
    document: String,
    whole: bool,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let now = self.stand.scene.now_ms();
        locked(&self.stand.ledger).works[self.number].ended = Some((now, self.whole));
        let told = if self.whole { "is done with" } else { "is dropped in the middle of" };
        self.stand.scene.note("handler", format!("{told} {}", self.document));
    }
}
