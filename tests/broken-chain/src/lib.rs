//! The specification of `broken-chain`: a reading room that must know of each visit how it ended.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, request::Parts},
    routing::get,
};
use conform::{Contract, Subject, the_rest};
use futures_util::StreamExt;
use tokio::{
    sync::{
        Semaphore,
        mpsc::{UnboundedSender, unbounded_channel},
    },
    time::sleep,
};

use lab::{
    Answer, Arrival, Asked, Broken, Connection, Course, End, Feed, Ghost, Lab, Limits, Proof, Protocol, Report, Scene,
    Server, Shown, Specification, arranged_panic, control, locked,
};

/// What the register gets: the visit's id, what is to be written, and the status of an answer.
pub type Entry = (String, String, Option<StatusCode>);

/// Makes the reading room under test from the archive's routes and the partners', the register, the largest body and the
/// longest wait.
pub type App = Arc<dyn Fn(Router, Router, UnboundedSender<Entry>, usize, Duration) -> Router + Send + Sync>;

const EACH_EXIT_ENDS_ITS_VISIT: Asked = Asked::new(
    "each-exit-ends-its-visit",
    "Each request that is answered leaves one `opened` in the register, then one `closed` with the status that the client \
     got, and nothing more, whichever way it went: 200, HEAD, 401, 404, 405, 408, 413, 500, a panic in a handler, or the \
     partners' own routes and fallback.",
);
const CLIENT_THAT_LEAVES_ENDS_ITS_VISIT: Asked = Asked::new(
    "client-that-leaves-ends-its-visit",
    "A client that leaves while a handler works leaves one `opened` and one `abandoned`, and the `abandoned` is written at \
     the instant it leaves.",
);
const HEADERS_ON_EVERY_ANSWER: Asked = Asked::new(
    "headers-on-every-answer",
    "Each answer but a preflight's, whatever its status, carries `access-control-allow-origin` and the `x-request-id` of its \
     request, each once.",
);
const ROUTES_ANSWER_AS_EVER: Asked = Asked::new(
    "routes-answer-as-ever",
    "What `records` and `partners` answer reaches the client as it is: status, body, `content-length`, also of HEAD, \
     `allow` and other headers. A body of `limit` bytes and an answer in nine tenths of `budget` are as good as any.",
);
const VISITS_KEEP_APART: Asked = Asked::new(
    "visits-keep-apart",
    "Where several visits are under way at once, each end is written with the id of its own beginning, and no visit ends \
     before it is answered.",
);
const STREAMS_END_ONCE: Asked = Asked::new(
    "streams-end-once",
    "A visit with a streamed answer, or an upload that the client breaks off, has exactly one end, and has it by the time \
     the body is over: complete, failed, or given up by the client.",
);
const PREFLIGHT_NEEDS_NO_CREDENTIALS: Asked = Asked::new(
    "preflight-needs-no-credentials",
    "A CORS preflight without credentials is answered with a 2xx, whatever its path, and if it opened a visit, it has \
     closed it.",
);
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Everything else that passes through comes out as it went in: requests and answers, with their heads, bodies, \
     lengths, trailers and errors, each part as soon as it's there and not before it's wanted.",
);

const REGISTER: Asked = Asked::new(
    "register",
    "An entry is the request's `x-request-id`, the word `opened`, `closed` or `abandoned`, and with `closed` the status. \
     Each request has an `x-request-id`, and no two have the same. One that's no UTF-8 is carried as it came, and how the \
     register has it is up to you.",
);
const BEARER: Asked = Asked::new(
    "bearer",
    "A request without `authorization: Bearer …` gets a 401 and reaches no route, whatever its route and method, but for \
     OPTIONS: a preflight needs none, and nothing is promised of another OPTIONS. With it, any reader is welcome.",
);
const TOO_LARGE: Asked = Asked::new(
    "too-large",
    "A body whose `content-length` is above `limit` bytes gets a 413 and reaches no route. One without a length gets a 413 \
     when it's read with axum's `Bytes`; nothing is promised of a route that reads it in another way.",
);
const TOO_LONG: Asked = Asked::new(
    "too-long",
    "A request that has no answer when `budget` is over gets a 408: not later, and not earlier than at nine tenths of it. The \
     body of an answer may take any time.",
);
const PANICS: Asked =
    Asked::new("panics", "A panic in a handler is answered with a 500; nothing is promised of its body.");
const ORIGIN: Asked = Asked::new(
    "origin",
    "`access-control-allow-origin` is `*` or the request's `origin`. Other `access-control-` headers and `vary` may be \
     there as well. No route answers with these, or with `x-request-id`.",
);
const ONE_END: Asked = Asked::new(
    "one-end",
    "Where the answer's head has been sent, or the client leaves in its own upload, `closed` and `abandoned` are both true: \
     the one end may be either. A status with `closed` is the answer's, if it has one.",
);
const REGISTER_MAY_STOP: Asked = Asked::new(
    "register-may-stop",
    "Requests are answered as before when nobody takes the register's entries any more.",
);
const PASSES_THROUGH: Asked = Asked::new(
    "passes-through",
    "A body that knows its length still does, and keeps its trailers; it streams in both directions, no more than 64 KiB are \
     read ahead, and nothing is read before the route or the client asks. It's dropped with its client, and not polled after \
     its end. Requests run concurrently, and end with their client. Extensions, 100 Continue, upgrades and extended CONNECT \
     pass.",
);

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(Router, Router, UnboundedSender<Entry>, usize, Duration) -> Router + Send + Sync + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(EACH_EXIT_ENDS_ITS_VISIT, each_exit_ends_its_visit)
        .promise(CLIENT_THAT_LEAVES_ENDS_ITS_VISIT, client_that_leaves_ends_its_visit)
        .promise(HEADERS_ON_EVERY_ANSWER, headers_on_every_answer)
        .promise(ROUTES_ANSWER_AS_EVER, routes_answer_as_ever)
        .promise(VISITS_KEEP_APART, visits_keep_apart)
        .promise(STREAMS_END_ONCE, streams_end_once)
        .promise(PREFLIGHT_NEEDS_NO_CREDENTIALS, preflight_needs_no_credentials)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the reading room changes on purpose, and what its own promises judge.
pub fn contract() -> Contract {
    Contract::transparent()
        .touches("response header access-control-allow-origin")
        .touches("response header vary")
        .touches("response header x-request-id")
        .changes("methods-pass", "CORS may answer whatever has the method of a preflight")
        .changes("survives-a-panic", "a panic in a handler is a promise, and none is made of a body's")
        .changes("same-task", "a request may run in a task of its own, if it ends with its client")
}

/// What passes through as it was, beside what *must*: the clauses of [`PASSES_THROUGH`].
const SHOULD: [&str; 23] = [
    "lets-through",
    "calls-overlap",
    "cancel-reaches-inner",
    "cancelled-at-each-step",
    "body-drop-reaches-inner",
    "request-body-released",
    "nothing-left-running",
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
    const SLUG: &'static str = "broken-chain";
    type App = fn(Router, Router, UnboundedSender<Entry>, usize, Duration) -> Router;
    type StandIns = (Router, Router, UnboundedSender<Entry>, usize, Duration);
    const ASKED: &'static [Asked] =
        &[REGISTER, BEARER, TOO_LARGE, TOO_LONG, PANICS, ORIGIN, ONE_END, REGISTER_MAY_STOP, PASSES_THROUGH];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// A small archive, whose maps take five seconds to fetch, and a partner who lends one thing; bodies of at most 1,024 bytes,
    /// and two seconds for an answer. The register is printed. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let (register, mut entries) = unbounded_channel::<Entry>();
        tokio::spawn(async move {
            while let Some((id, what, status)) = entries.recv().await {
                let status = status.map_or(String::new(), |status| format!(" {}", status.as_u16()));
                lab::say(format_args!("register: {id} {what}{status}"));
            }
        });
        let record = |Path(id): Path<u64>| async move { format!("record {id}: a deed of sale\n") };
        let file =
            |Path(id): Path<u64>, deed: Bytes| async move { format!("record {id}: {} bytes filed\n", deed.len()) };
        let map = |Path(id): Path<u64>| async move {
            sleep(Duration::from_secs(5)).await;
            format!("map {id}\n")
        };
        let records = Router::new().route("/records/{id}", get(record).put(file)).route("/maps/{id}", get(map));
        let partners = Router::new().route("/loans", get(|| async { "a globe, until May\n" }));
        let partners = partners.fallback(|| async { (StatusCode::NOT_FOUND, "the partners do not lend that\n") });
        (records, partners, register, 1024, Duration::from_secs(2))
    }

    fn serve(app: Self::App, (records, partners, register, limit, budget): Self::StandIns) -> Router {
        app(records, partners, register, limit, budget)
    }
}

// ===== The promises =====

async fn each_exit_ends_its_visit(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for exit in EXITS {
            let room = Room::open(lab.scene(format!("{protocol}, {exit}")), &app);
            let client = room.healthy(protocol).await?;
            let visit = room.visits(&client, &exit).await?;
            visit.is_told(&exit)?;
            room.scene.settle().await;
            let observed = format!("{exit} got {visit}, and the register has {}", room.has(&visit.id));
            let due = [("opened", None), ("closed", Some(visit.status))];
            EACH_EXIT_ENDS_ITS_VISIT.require(room.entries(&visit.id) == due, observed)?;
            room.only_visitors()?;
        }
    }
    Ok(())
}

async fn client_that_leaves_ends_its_visit(lab: Lab, app: App) -> Proof {
    for (protocol, leaving) in WAYS_TO_LEAVE {
        for path in ["/waiting/a", "/partners/waiting/a", "/kept/a"] {
            let room = Room::open(lab.scene(format!("{protocol}, the client {leaving} at {path}")), &app);
            let client = room.healthy(protocol).await?;
            let (id, waiting) = room.begins(&client, "a", Method::GET, path, Body::empty());
            sleep(Duration::from_secs(1)).await;
            let works = locked(&room.seen).waiting == 1;
            control(works, format!("a second after GET {path} was sent, no handler was at work"))?;
            control(
                room.entries(&id) == OPENED,
                format!("while GET {path} waits, the register has {}", room.has(&id)),
            )?;
            let left = room.scene.now_ms();
            leaving.leaves(client, waiting);
            room.scene.settle().await;
            room.is_abandoned(&id, left)?;
            sleep(2 * BUDGET).await;
            room.is_abandoned(&id, left)?;
        }
        let room = Room::open(lab.scene(format!("{protocol}, ten clients, each {leaving}")), &app);
        let shared = room.healthy(protocol).await?;
        let mut visits = Vec::new();
        for _ in 0..10 {
            // A reset takes back one of ten requests, and a connection is gone with all of them.
            let client = match leaving {
                Leaving::Resets => shared.clone(),
                Leaving::Closes => room.server.connect("client", protocol).await,
            };
            let (id, waiting) = room.begins(&client, "", Method::GET, "/waiting/a", Body::empty());
            visits.push((id, client, waiting));
        }
        sleep(Duration::from_secs(1)).await;
        let left = room.scene.now_ms();
        let ids: Vec<String> = visits.iter().map(|(id, ..)| id.clone()).collect();
        visits.into_iter().for_each(|(_, client, waiting)| leaving.leaves(client, waiting));
        room.scene.settle().await;
        ids.iter().try_for_each(|id| room.is_abandoned(id, left))?;
    }
    for (protocol, leaving) in WAYS_TO_LEAVE {
        if (protocol, leaving) == (Protocol::Http2, Leaving::Closes) {
            // The other visit would be over as well.
            continue;
        }
        let room = Room::open(lab.scene(format!("{protocol}, two wait, and the first {leaving}")), &app);
        let client = room.healthy(protocol).await?;
        let other = room.beside(&client, protocol).await;
        let (first, pending) = room.begins(&client, "a", Method::GET, "/waiting/a", Body::empty());
        sleep(Duration::from_secs(1)).await;
        let (second, waiting) = room.begins(&other, "b", Method::GET, "/waiting/b", Body::empty());
        sleep(Duration::from_secs(1)).await;
        let left = room.scene.now_ms();
        leaving.leaves(client, pending);
        room.scene.settle().await;
        room.is_abandoned(&first, left)?;
        let observed = format!("{first} left, and {second} waited; the register has {}", room.all());
        CLIENT_THAT_LEAVES_ENDS_ITS_VISIT.require(room.entries(&second) == OPENED, observed)?;
        room.answered("b", waiting, &second).await?;
    }
    for protocol in Protocol::BOTH {
        // Once to its end, and once for each moment at which the client may leave.
        let room = Room::open(lab.scene(format!("{protocol}, a client that stays")), &app);
        let before = room.scene.moments_to_leave().len();
        room.asks_slowly(protocol, None).await?;
        let moments = room.scene.moments_to_leave().split_off(before);
        for moment in moments {
            let room = Room::open(lab.scene(format!("{protocol}, {moment}")), &app);
            room.asks_slowly(protocol, Some(&moment)).await?;
        }
    }
    Ok(())
}

async fn headers_on_every_answer(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for exit in EXITS {
            let room = Room::open(lab.scene(format!("{protocol}, {exit}")), &app);
            let client = room.healthy(protocol).await?;
            let visit = room.visits(&client, &exit).await?;
            visit.is_told(&exit)?;
            let origins = visit.all("access-control-allow-origin");
            let observed = format!("{exit} got {visit}, and {}", listed("access-control-allow-origin", &origins));
            HEADERS_ON_EVERY_ANSWER.require(origins.len() == 1, observed.clone())?;
            ORIGIN.require(origins[0] == "*" || (exit.from_a_page && origins[0] == READER), observed)?;
            let ids = visit.all("x-request-id");
            let observed = format!("{exit} of {} got {visit}, and {}", visit.id, listed("x-request-id", &ids));
            HEADERS_ON_EVERY_ANSWER.require(ids == [visit.id.as_str()], observed)?;
        }
        let room = Room::open(lab.scene(format!("{protocol}, an id and credentials in Latin-1")), &app);
        let client = room.healthy(protocol).await?;
        let (_, mut request) = room.request(Method::GET, HELD.path, Body::empty());
        for (name, value) in [("x-request-id", &b"visite-\xe9"[..]), ("authorization", b"Bearer ren\xe9")] {
            request.headers_mut().insert(name, HeaderValue::from_bytes(value).expect("obs-text"));
        }
        let answer = client.send(request).await?;
        let ids: Vec<_> = answer.headers().get_all("x-request-id").iter().map(HeaderValue::as_bytes).collect();
        let status = answer.status();
        HEADERS_ON_EVERY_ANSWER.require(
            status == StatusCode::OK && ids == [b"visite-\xe9"],
            format!("a reader whose id and name are in Latin-1 got {}, and the ids {ids:?}", status.as_u16()),
        )?;
    }
    Ok(())
}

/// A limit that is a byte above what axum's `Bytes` takes by itself.
const LARGE: usize = (2 << 20) + 1;

async fn routes_answer_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let room = Room::open(lab.scene(protocol.to_string()), &app);
        room.healthy(protocol).await?.leave();
        // The same routes, with nothing round them.
        let (records, partners) = routes(&room.scene, &room.seen);
        let bare = room.scene.serve(records.nest("/partners", partners));
        for exit in EXITS.iter().filter(|exit| exit.is_the_routes()) {
            let client = room.server.connect("client", protocol).await;
            let got = room.visits(&client, exit).await?;
            let client = bare.connect("nobody", protocol).await;
            let due = room.visits(&client, exit).await?;
            let observed =
                format!("{exit} got {got} with {:?}, and the routes gave {due} with {:?}", got.text, due.text);
            ROUTES_ANSWER_AS_EVER.require((got.status, &got.text) == (due.status, &due.text), observed)?;
            let (has, asked) = (got.others(), due.others());
            let observed = format!("{exit} got the headers {}, and the routes gave {}", all(&has), all(&asked));
            ROUTES_ANSWER_AS_EVER.require(has == asked, observed)?;
        }

        for length in [0, LIMIT - 1, LIMIT] {
            for chunked in [false, true] {
                let exit = Exit { upload: Upload::of(length, chunked), ..FILED };
                let client = room.server.connect("client", protocol).await;
                let got = room.visits(&client, &exit).await?;
                let due = format!("{length} bytes filed");
                let observed = format!("{exit} got {got}, where the limit is {LIMIT} bytes");
                ROUTES_ANSWER_AS_EVER.require(got.status == StatusCode::OK && got.text == due, observed)?;
            }
        }
        for exit in EXITS.iter().filter(|exit| [401, 413].contains(&exit.status) && !exit.upload.is_chunked()) {
            let before = locked(&room.seen).reached;
            let client = room.server.connect("client", protocol).await;
            let got = room.visits(&client, exit).await?;
            let reached = locked(&room.seen).reached != before;
            let asked = if exit.status == 401 { BEARER } else { TOO_LARGE };
            asked.require(!reached, format!("{exit} got {got}, and a route was reached"))?;
        }
        let client = room.server.connect("client", protocol).await;
        let began = room.scene.now_ms();
        let got = room.visits(&client, &Exit { path: "/minutes/9000", status: 200, ..HELD }).await?;
        let observed = format!("an answer that was there after 9000 of 10000 ms got {got}");
        ROUTES_ANSWER_AS_EVER.require(got.status == StatusCode::OK, observed)?;
        control(room.scene.now_ms() - began >= 9000, "the handler did not take its time")?;
        let began = room.scene.now_ms();
        let pending = room.begins(&client, "late", Method::GET, "/waiting/late", Body::empty()).1;
        let answer = pending.answer().await?;
        let took = room.scene.now_ms() - began;
        let observed =
            format!("a handler that hangs was answered with {} after {took} of 10000 ms", answer.status().as_u16());
        TOO_LONG.require(answer.status() == StatusCode::REQUEST_TIMEOUT, observed.clone())?;
        // A timer may be late by the millisecond that it is rounded up to.
        TOO_LONG.require((9000..=10_001).contains(&took), observed)?;

        let room = Room::closed(lab.scene(format!("{protocol}, nobody keeps the register")), &app);
        for exit in EXITS {
            let client = room.server.connect("client", protocol).await;
            let got = room.visits(&client, &exit).await?;
            let observed = format!("nobody kept the register, and {exit} got {got}, expected {}", exit.status);
            REGISTER_MAY_STOP.require(got.status == exit.status, observed)?;
        }
    }
    // Once is enough: it takes time, and how much is too much is no matter of the protocol.
    let room = Room::limited(lab.scene("a large limit"), &app, unbounded_channel().0, LARGE);
    let client = room.server.connect("client", Protocol::Http1).await;
    let got = room.visits(&client, &Exit { upload: Upload::Sized(LARGE), ..FILED }).await?;
    let observed = format!("a PUT of {LARGE} bytes got {got}, where the limit is as much");
    ROUTES_ANSWER_AS_EVER.require(got.status == StatusCode::OK && got.text == format!("{LARGE} bytes filed"), observed)
}

async fn visits_keep_apart(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let room = Room::open(lab.scene(format!("{protocol}, one waits, and others are turned away")), &app);
        let client = room.healthy(protocol).await?;
        let (a, waiting) = room.begins(&client, "a", Method::GET, "/waiting/a", Body::empty());
        sleep(Duration::from_secs(1)).await;
        for exit in [NO_CREDENTIALS, UNKNOWN, TOO_MUCH] {
            let other = room.beside(&client, protocol).await;
            let visit = room.visits(&other, &exit).await?;
            visit.is_told(&exit)?;
            room.scene.settle().await;
            let observed = format!("while {a} waited, {exit} got {visit}, and the register has {}", room.all());
            let due = [("opened", None), ("closed", Some(visit.status))];
            VISITS_KEEP_APART.require(room.entries(&visit.id) == due, observed.clone())?;
            VISITS_KEEP_APART.require(room.entries(&a) == OPENED, observed)?;
        }
        room.answered("a", waiting, &a).await?;

        for (title, first, last) in [("the first is answered first", 0, 1), ("the last is answered first", 1, 0)] {
            let room = Room::open(lab.scene(format!("{protocol}, two wait, and {title}")), &app);
            let client = room.healthy(protocol).await?;
            let other = room.beside(&client, protocol).await;
            let d = room.begins(&client, "d", Method::GET, "/waiting/d", Body::empty());
            sleep(Duration::from_secs(1)).await;
            let e = room.begins(&other, "e", Method::GET, "/waiting/e", Body::empty());
            sleep(Duration::from_secs(1)).await;
            let mut visits = [("d", Some(d)), ("e", Some(e))];
            for (at, still) in [(first, Some(last)), (last, None)] {
                let (name, visit) = &mut visits[at];
                let (name, (id, waiting)) = (*name, visit.take().expect("each is answered once"));
                room.answered(name, waiting, &id).await?;
                if let Some((_, Some((waits, _)))) = still.map(|at| &visits[at]) {
                    let observed =
                        format!("{id} was answered and {waits} was not, and the register has {}", room.all());
                    VISITS_KEEP_APART.require(room.entries(waits) == OPENED, observed)?;
                }
            }
        }
    }
    Ok(())
}

async fn streams_end_once(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for arrival in Arrival::OF_DATA {
            let room = Room::open(lab.scene(format!("{protocol}, {arrival}")), &app);
            let client = room.healthy(protocol).await?;
            let mut course = room.scroll(arrival);
            let (id, pending) = room.begins(&client, "s", Method::GET, "/scrolls/1", Body::empty());
            let answer = pending.answer().await?;
            course.run().await;
            let received = answer.read().await;
            let whole = received.text() == course.text() && matches!(received.end, Some((_, End::Clean)));
            STREAMS_END_ONCE.require(whole, format!("a scroll came as {:?}", received.text()))?;
            room.has_one_end(&id, "a scroll was read to its end").await?;
        }
        let room = Room::open(lab.scene(format!("{protocol}, a scroll that takes an hour")), &app);
        room.scene.patience(Duration::from_secs(7200));
        let client = room.healthy(protocol).await?;
        let mut feed = room.feeds();
        let (id, pending) = room.begins(&client, "s", Method::GET, "/scrolls/1", Body::empty());
        let listener = pending.answer().await?.listen();
        for _ in 0..4 {
            sleep(Duration::from_secs(900)).await;
            feed.data("a line\n");
        }
        room.scene.settle().await;
        feed.end();
        let received = listener.ended().await;
        let whole = received.text() == "a line\n".repeat(4) && matches!(received.end, Some((_, End::Clean)));
        TOO_LONG.require(whole, format!("a scroll that takes an hour came as {:?}", received.text()))?;
        room.has_one_end(&id, "a scroll was read for an hour").await?;

        for frames in [0, 1] {
            let room = Room::open(lab.scene(format!("{protocol}, a scroll fails after {frames} lines")), &app);
            let client = room.healthy(protocol).await?;
            let feed = room.feeds();
            let (id, pending) = room.begins(&client, "s", Method::GET, "/scrolls/1", Body::empty());
            let listener = pending.answer().await?.listen();
            room.scene.settle().await;
            (0..frames).for_each(|_| feed.data("a line\n"));
            room.scene.settle().await;
            feed.fail("the scroll is torn");
            let ended = listener.ended().await.end.map(|(_, end)| end);
            STREAMS_END_ONCE
                .require(ended == Some(End::Error), "a scroll failed, and the client was told it was whole")?;
            room.has_one_end(&id, "a scroll failed").await?;
        }
    }
    for (protocol, leaving) in WAYS_TO_LEAVE {
        for frames in [0, 1] {
            let title = format!("{protocol}, the client {leaving} after {frames} lines of a scroll");
            let room = Room::open(lab.scene(title), &app);
            let client = room.healthy(protocol).await?;
            let feed = room.feeds();
            let (id, pending) = room.begins(&client, "s", Method::GET, "/scrolls/1", Body::empty());
            let mut listener = pending.answer().await?.listen();
            for _ in 0..frames {
                feed.data("a line\n");
                listener.hears("a line\n").await?;
            }
            match leaving {
                Leaving::Closes => client.leave(),
                Leaving::Resets => listener.cancel(),
            }
            room.has_one_end(&id, "the client left a scroll").await?;
        }
        for sent in ["", "half of a deed"] {
            let title = format!("{protocol}, the client {leaving} after {} bytes of its upload", sent.len());
            let room = Room::open(lab.scene(title), &app);
            let client = room.healthy(protocol).await?;
            let (upload, body) = room.scene.feed("upload");
            let (id, pending) = room.begins(&client, "u", Method::PUT, "/records/7", body);
            if !sent.is_empty() {
                upload.data(sent);
            }
            sleep(Duration::from_secs(1)).await;
            leaving.leaves(client, pending);
            room.has_one_end(&id, "the client left its upload").await?;
        }
    }
    Ok(())
}

async fn preflight_needs_no_credentials(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let room = Room::open(lab.scene(protocol.to_string()), &app);
        let client = room.healthy(protocol).await?;
        for path in ["/records/7", "/partners/loans", "/nowhere", "/partners/nowhere"] {
            let (id, mut request) = room.request(Method::OPTIONS, path, Body::empty());
            request.headers_mut().remove("authorization");
            for (name, value) in
                [("access-control-request-method", "PUT"), ("access-control-request-headers", "authorization")]
            {
                request.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let visit = Visit::of(&room.scene, id, client.send(request).await?).await;
            room.scene.settle().await;
            let observed = format!("a preflight of {path} without credentials got {visit}");
            PREFLIGHT_NEEDS_NO_CREDENTIALS.require(visit.status.is_success(), observed)?;
            let origins = visit.all("access-control-allow-origin");
            let observed = format!("a preflight of {path} got {}", listed("access-control-allow-origin", &origins));
            ORIGIN.require(origins.len() == 1 && ["*", READER].contains(&origins[0].as_str()), observed)?;
            let entries = room.entries(&visit.id);
            let told = format!("a preflight of {path} got {visit}, and the register has {}", room.has(&visit.id));
            let due = [("opened", None), ("closed", Some(visit.status))];
            PREFLIGHT_NEEDS_NO_CREDENTIALS.require(entries.is_empty() || entries == due, told)?;
        }
        let (id, mut request) = room.request(Method::GET, "/records/7", Body::empty());
        request.headers_mut().remove("authorization");
        request.headers_mut().insert("access-control-request-method", HeaderValue::from_static("PUT"));
        let visit = Visit::of(&room.scene, id, client.send(request).await?).await;
        let observed = format!("a GET with the header of a preflight, and without credentials, got {visit}");
        BEARER.require(visit.status == StatusCode::UNAUTHORIZED, observed)?;
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let (register, _entries) = unbounded_channel();
    let room = Subject::app(move |records| {
        app(records, Router::new(), register.clone(), 1 << 30, Duration::from_secs(24 * 60 * 60))
    });
    let numbers = AtomicU64::new(1);
    let room = room.asking(move |request| {
        let id = format!("visit-{}", numbers.fetch_add(1, Ordering::Relaxed));
        request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer ada"));
        request.headers_mut().insert("x-request-id", id.parse().expect("a number"));
    });
    let (proof, scenes) = the_rest(room, &contract(), &SHOULD, limits);
    (proof.or_else(|broken| PASSES_THROUGH.require(false, broken.to_string())), scenes)
}

// ===== What the specification supplies =====

const LIMIT: usize = 1000;
const BUDGET: Duration = Duration::from_secs(10);
/// Where a browser's reader comes from.
const READER: &str = "https://reader.test";
/// The entries of a visit that is under way.
const OPENED: [(&str, Option<StatusCode>); 1] = [("opened", None)];

/// How a client leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Closes,
    Resets,
}

const WAYS_TO_LEAVE: [(Protocol, Leaving); 3] =
    [(Protocol::Http1, Leaving::Closes), (Protocol::Http2, Leaving::Resets), (Protocol::Http2, Leaving::Closes)];

impl Leaving {
    fn leaves(self, client: Connection, pending: lab::Pending) {
        match self {
            Self::Closes => client.leave(),
            Self::Resets => pending.cancel(),
        }
    }
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closes => "closes the connection",
            Self::Resets => "resets the stream",
        })
    }
}

/// What a request brings with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    None,
    Sized(usize),
    Chunked(usize),
}

impl Upload {
    fn of(length: usize, chunked: bool) -> Self {
        if chunked { Self::Chunked(length) } else { Self::Sized(length) }
    }

    fn is_chunked(self) -> bool {
        matches!(self, Self::Chunked(_))
    }
}

/// A way through the reading room, and the status at its end.
#[derive(Clone, Copy)]
struct Exit {
    method: &'static str,
    path: &'static str,
    credentials: &'static str,
    upload: Upload,
    /// Whether it has an `origin`.
    from_a_page: bool,
    status: u16,
}

const HELD: Exit = Exit {
    method: "GET",
    path: "/records/7",
    credentials: "Bearer ada",
    upload: Upload::None,
    from_a_page: true,
    status: 200,
};
const NO_CREDENTIALS: Exit = Exit { credentials: "", status: 401, ..HELD };
const UNKNOWN: Exit = Exit { path: "/nowhere", status: 404, ..HELD };
const FILED: Exit = Exit { method: "PUT", upload: Upload::Sized(LIMIT), ..HELD };
const TOO_MUCH: Exit = Exit { upload: Upload::Sized(LIMIT + 1), status: 413, ..FILED };

/// Every way out with an answer.
const EXITS: [Exit; 22] = [
    HELD,
    NO_CREDENTIALS,
    Exit { method: "HEAD", ..HELD },
    FILED,
    Exit { credentials: "Basic ada", ..NO_CREDENTIALS },
    Exit { path: "/partners/loans", ..NO_CREDENTIALS },
    UNKNOWN,
    Exit { path: "/partners/nowhere", ..UNKNOWN },
    Exit { path: "/partners", ..UNKNOWN },
    Exit { path: "/partners/loans", ..HELD },
    Exit { method: "DELETE", status: 405, ..HELD },
    Exit { method: "DELETE", path: "/partners/loans", status: 405, ..HELD },
    Exit { path: "/waiting/for-ever", status: 408, ..HELD },
    TOO_MUCH,
    Exit { path: "/unread", ..TOO_MUCH },
    Exit { upload: Upload::Chunked(LIMIT + 1), ..TOO_MUCH },
    Exit { path: "/closed", status: 500, ..HELD },
    Exit { path: "/torn", status: 500, ..HELD },
    Exit { path: "/partners/torn", status: 500, ..HELD },
    Exit { path: "/bound", ..HELD },
    Exit { from_a_page: false, ..HELD },
    Exit { from_a_page: false, ..NO_CREDENTIALS },
];

impl Exit {
    /// Whether one of the routes answers, or their fallback, and nothing else.
    fn is_the_routes(&self) -> bool {
        let stopped = [401, 408, 413].contains(&self.status);
        !stopped && !self.path.ends_with("/torn")
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, credentials, upload, from_a_page, .. } = self;
        write!(f, "{method} {path}")?;
        if !from_a_page {
            f.write_str(" without an origin")?;
        }
        match *credentials {
            "" => f.write_str(" without credentials")?,
            "Bearer ada" => {}
            other => write!(f, " with `authorization: {other}`")?,
        }
        match upload {
            Upload::None => Ok(()),
            Upload::Sized(length) => write!(f, " of {length} bytes"),
            Upload::Chunked(length) => write!(f, " of {length} bytes without a length"),
        }
    }
}

/// What the supplied parts saw.
#[derive(Default)]
struct Seen {
    written: Vec<Written>,
    /// How often a route was reached, and how many handlers wait.
    reached: usize,
    waiting: usize,
    gates: HashMap<String, Arc<Semaphore>>,
    scroll: Option<Body>,
    /// What a route kept of its requests, as one does that goes on with them after it has answered.
    kept: Vec<Parts>,
}

/// An entry of the register.
struct Written {
    at_ms: u64,
    id: String,
    what: String,
    status: Option<StatusCode>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.status.map_or(Ok(()), |status| write!(f, " {}", status.as_u16()))
    }
}

/// A handler that waits, until it is dropped.
struct Waiting(Arc<Mutex<Seen>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        locked(&self.0).waiting -= 1;
    }
}

/// The reading room under test in its surroundings.
struct Room {
    scene: Scene,
    server: Server,
    seen: Arc<Mutex<Seen>>,
    /// How many requests were made.
    asked: AtomicU64,
}

impl Room {
    fn open(scene: Scene, app: &App) -> Self {
        let (register, mut entries) = unbounded_channel::<Entry>();
        let room = Self::with(scene, app, register);
        let (scene, seen) = (room.scene.clone(), room.seen.clone());
        room.scene.spawn(async move {
            while let Some((id, what, status)) = entries.recv().await {
                let written = Written { at_ms: scene.now_ms(), id, what, status };
                scene.note("register", format!("gets {written} of {}", written.id));
                locked(&seen).written.push(written);
            }
        });
        room
    }

    /// One whose register nobody keeps.
    fn closed(scene: Scene, app: &App) -> Self {
        Self::with(scene, app, unbounded_channel().0)
    }

    fn with(scene: Scene, app: &App, register: UnboundedSender<Entry>) -> Self {
        Self::limited(scene, app, register, LIMIT)
    }

    fn limited(scene: Scene, app: &App, register: UnboundedSender<Entry>, limit: usize) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (records, partners) = routes(&scene, &seen);
        let server = scene.serve(app(records, partners, register, limit, BUDGET));
        Self { scene, server, seen, asked: AtomicU64::new(0) }
    }

    /// A client that has seen the reading room work.
    async fn healthy(&self, protocol: Protocol) -> Result<Connection, Broken> {
        let client = self.server.connect("client", protocol).await;
        let visit = self.visits(&client, &HELD).await?;
        control(visit.status == StatusCode::OK && visit.text == "record 7", format!("{HELD} got {visit}"))?;
        Ok(client)
    }

    /// The same connection where it carries two requests at once, and else another.
    async fn beside(&self, client: &Connection, protocol: Protocol) -> Connection {
        match protocol {
            Protocol::Http1 => self.server.connect("another", protocol).await,
            Protocol::Http2 => client.clone(),
        }
    }

    /// A request of a reader's, and its id.
    fn request(&self, method: Method, path: &str, body: Body) -> (String, Request<Body>) {
        let id = format!("visit-{}", self.asked.fetch_add(1, Ordering::Relaxed) + 1);
        let request = Request::builder().method(method).uri(path);
        let request =
            request.header("x-request-id", &id).header("origin", READER).header("authorization", "Bearer ada");
        (id, request.body(body).expect("a request of known parts"))
    }

    /// Begins a visit; its handler waits for `name`, if it waits at all.
    fn begins(
        &self,
        client: &Connection,
        name: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> (String, lab::Pending) {
        locked(&self.seen).gates.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0)));
        let (id, request) = self.request(method, path, body);
        (id, client.begin(request))
    }

    /// A visit from its beginning to the end of its answer.
    async fn visits(&self, client: &Connection, exit: &Exit) -> Result<Visit, Broken> {
        let (length, chunked) = match exit.upload {
            Upload::None => (0, false),
            Upload::Sized(length) => (length, false),
            Upload::Chunked(length) => (length, true),
        };
        let deed = "x".repeat(length);
        let body = if chunked {
            let (mut feed, body) = self.scene.feed("upload");
            feed.data(deed);
            feed.end();
            body
        } else {
            Body::from(deed)
        };
        let (id, mut request) = self.request(exit.method.parse().expect("a method"), exit.path, body);
        match exit.credentials {
            "" => drop(request.headers_mut().remove("authorization")),
            credentials => drop(request.headers_mut().insert("authorization", HeaderValue::from_static(credentials))),
        }
        if !exit.from_a_page {
            request.headers_mut().remove("origin");
        }
        Ok(Visit::of(&self.scene, id, client.send(request).await?).await)
    }

    /// What the register has of a visit.
    fn entries(&self, id: &str) -> Vec<(&'static str, Option<StatusCode>)> {
        let known = |what: &str| ["opened", "closed", "abandoned"].into_iter().find(|known| *known == what);
        let seen = locked(&self.seen);
        let own = seen.written.iter().filter(|written| written.id == id);
        own.map(|written| (known(&written.what).unwrap_or("another word"), written.status)).collect()
    }

    /// The same in words.
    fn has(&self, id: &str) -> String {
        let seen = locked(&self.seen);
        all(&seen.written.iter().filter(|written| written.id == id).map(ToString::to_string).collect::<Vec<_>>())
    }

    /// All that the register has.
    fn all(&self) -> String {
        let seen = locked(&self.seen);
        all(&seen.written.iter().map(|written| format!("{written} of {}", written.id)).collect::<Vec<_>>())
    }

    /// Nobody is in the register who has not come.
    fn only_visitors(&self) -> Proof {
        let came = self.asked.load(Ordering::Relaxed);
        let known = |id: &str| (1..=came).any(|number| id == format!("visit-{number}"));
        let seen = locked(&self.seen);
        let stranger = seen.written.iter().find(|written| !known(&written.id));
        let observed = format!(
            "the register has {} of a request that nobody made",
            all(&stranger.into_iter().map(ToString::to_string).collect::<Vec<_>>())
        );
        REGISTER.require(stranger.is_none(), observed)
    }

    /// The visit was abandoned when its client left.
    fn is_abandoned(&self, id: &str, left: u64) -> Proof {
        let observed =
            format!("{id} left at {left} ms, and at {} ms the register has {}", self.scene.now_ms(), self.has(id));
        let due = [("opened", None), ("abandoned", None)];
        CLIENT_THAT_LEAVES_ENDS_ITS_VISIT.require(self.entries(id) == due, observed)?;
        let at = locked(&self.seen)
            .written
            .iter()
            .filter(|written| written.id == id)
            .map(|written| written.at_ms)
            .next_back();
        let observed = format!("{id} left at {left} ms, and was abandoned at {} ms", at.unwrap_or_default());
        CLIENT_THAT_LEAVES_ENDS_ITS_VISIT.require(at == Some(left), observed)
    }

    /// The visit was opened and has one end.
    async fn has_one_end(&self, id: &str, when: &str) -> Proof {
        self.scene.settle().await;
        let entries = self.entries(id);
        let ends = |status: Option<StatusCode>| {
            status.is_none_or(|status| status == StatusCode::OK || status.is_client_error())
        };
        let right = match entries.as_slice() {
            [("opened", None), ("closed", Some(status))] => ends(Some(*status)),
            [("opened", None), ("abandoned", None)] => true,
            _ => false,
        };
        STREAMS_END_ONCE.require(right, format!("{when}, and the register has {}", self.has(id)))
    }

    /// The handler that waits for `name` goes on, and its visit is closed.
    async fn answered(&self, name: &str, waiting: lab::Pending, id: &str) -> Proof {
        let gate = locked(&self.seen).gates.get(name).cloned();
        gate.iter().for_each(|gate| gate.add_permits(1));
        let visit = Visit::of(&self.scene, id.to_owned(), waiting.answer().await?).await;
        self.scene.settle().await;
        let observed = format!("{id} got {visit}, and the register has {}", self.all());
        VISITS_KEEP_APART.require(visit.status == StatusCode::OK, observed.clone())?;
        let due = [("opened", None), ("closed", Some(StatusCode::OK))];
        VISITS_KEEP_APART.require(self.entries(id) == due, observed)
    }

    /// A visit that takes its time, of a client that leaves at a moment, or not at all.
    async fn asks_slowly(&self, protocol: Protocol, moment: Option<&lab::Leaving>) -> Proof {
        let client = self.server.connect("client", protocol).await;
        if let Some(moment) = moment {
            client.leaves_at(moment);
        }
        let (id, pending) = self.begins(&client, "", Method::GET, "/minutes/2000", Body::empty());
        if let Ok(answer) = pending.answer().await {
            answer.read().await;
        }
        self.scene.settle().await;
        let observed = format!("the register has {}", self.has(&id));
        let right = match self.entries(&id).as_slice() {
            [] => moment.is_some(),
            [("opened", None), ("closed", Some(StatusCode::OK))] => true,
            [("opened", None), ("abandoned", None)] => moment.is_some(),
            _ => false,
        };
        CLIENT_THAT_LEAVES_ENDS_ITS_VISIT.require(right, observed)
    }

    /// The next scroll, which comes as it is fed.
    fn feeds(&self) -> Feed {
        let (feed, body) = self.scene.feed("scroll");
        locked(&self.seen).scroll = Some(body);
        feed
    }

    /// The next scroll, which comes in this order.
    fn scroll(&self, arrival: Arrival) -> Course {
        let (feed, body) = self.scene.feed_that_ends_once("scroll");
        locked(&self.seen).scroll = Some(body);
        Course::new(&self.scene, feed, arrival, &["one\n", "two\n"], None)
    }
}

/// The archive's routes, and the partners'.
fn routes(scene: &Scene, seen: &Arc<Mutex<Seen>>) -> (Router, Router) {
    let reached = {
        let seen = seen.clone();
        move || locked(&seen).reached += 1
    };
    let record = {
        let reached = reached.clone();
        move |Path(id): Path<u64>| {
            reached();
            async move { ([("x-shelf", "4"), ("cache-control", "no-store")], format!("record {id}")) }
        }
    };
    let file = {
        let reached = reached.clone();
        move |deed: Bytes| {
            reached();
            async move { format!("{} bytes filed", deed.len()) }
        }
    };
    let waits = {
        let (scene, seen) = (scene.clone(), seen.clone());
        move |Path(name): Path<String>| {
            let (scene, seen) = (scene.clone(), seen.clone());
            async move {
                scene.note("handler", format!("waits for {name}"));
                let gate =
                    locked(&seen).gates.entry(name.clone()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone();
                locked(&seen).waiting += 1;
                let _waiting = Waiting(seen);
                gate.acquire().await.expect("never closed").forget();
                format!("{name} came")
            }
        }
    };
    let kept = {
        let (seen, waits) = (seen.clone(), waits.clone());
        move |name: Path<String>, request: Request<Body>| {
            locked(&seen).kept.push(request.into_parts().0);
            waits(name)
        }
    };
    let minutes = |Path(ms): Path<u64>| async move {
        sleep(Duration::from_millis(ms)).await;
        "the minutes of a meeting"
    };
    let scroll = {
        let seen = seen.clone();
        move || {
            let scroll = locked(&seen).scroll.take();
            async move { scroll.unwrap_or_default() }
        }
    };
    let unread = {
        let reached = reached.clone();
        move || {
            reached();
            async { "nobody has read it" }
        }
    };
    let closed = || async { (StatusCode::INTERNAL_SERVER_ERROR, [("x-shelf", "none")], "the archive is closed") };
    let bound = || async { (StatusCode::OK, [("etag", "\"7\"")], Body::from_stream(pages())) };
    let loans = {
        let reached = reached.clone();
        move || {
            reached();
            async { "a globe, until May" }
        }
    };
    let unknown =
        || async { (StatusCode::NOT_FOUND, [("x-partner", "the map house")], "the partners do not lend that") };
    let records = Router::new()
        .route("/records/{id}", get(record).put(file))
        .route("/waiting/{name}", get(waits.clone()))
        .route("/kept/{name}", get(kept))
        .route("/minutes/{ms}", get(minutes))
        .route("/scrolls/{id}", get(scroll))
        .route("/unread", axum::routing::put(unread))
        .route("/closed", get(closed))
        .route("/bound", get(bound))
        .route("/torn", get(torn));
    let partners = Router::new()
        .route("/loans", get(loans))
        .route("/waiting/{name}", get(waits))
        .route("/torn", get(torn))
        .fallback(unknown);
    (records, partners)
}

/// Panics.
async fn torn() {
    arranged_panic("the deed is torn")
}

/// A body that does not know its length.
fn pages() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    futures_util::stream::iter(["page one, ", "page two"]).map(|page| Ok(Bytes::from(page)))
}

/// What came of a visit, as its client sees it.
struct Visit {
    id: String,
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Visit {
    async fn of(scene: &Scene, id: String, answer: Answer) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let visit = Self { id, status, headers, text: answer.read().await.text() };
        let allowed = visit.all("access-control-allow-origin");
        scene.note(
            "browser",
            match allowed.as_slice() {
                [origin] if ["*", READER].contains(&origin.as_str()) => format!("lets the page read the {visit}"),
                allowed => {
                    format!("keeps the {visit} from the page: {}", listed("access-control-allow-origin", allowed))
                }
            },
        );
        visit
    }

    /// The status is the one that this way out has.
    fn is_told(&self, exit: &Exit) -> Proof {
        let observed = format!("{exit} got {self}, expected {}", exit.status);
        let asked = match (exit.status, exit.path) {
            (401, _) => BEARER,
            (408, _) => TOO_LONG,
            (413, _) => TOO_LARGE,
            (500, path) if path.ends_with("/torn") => PANICS,
            _ => ROUTES_ANSWER_AS_EVER,
        };
        asked.require(self.status == exit.status, observed)
    }

    /// The values of a header.
    fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// The headers that are not the reading room's own.
    fn others(&self) -> Vec<String> {
        let own = |name: &str| name.starts_with("access-control-") || ["vary", "x-request-id"].contains(&name);
        let others = self.headers.iter().filter(|(name, _)| !own(name.as_str()));
        let mut lines: Vec<String> =
            others.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
        lines.sort();
        lines
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())
    }
}

/// A header and its values, in words.
fn listed(name: &str, values: &[String]) -> String {
    match values {
        [] => format!("no `{name}`"),
        values => format!("`{name}`: {}", values.join(" and ")),
    }
}

/// The things, or that there are none.
fn all(things: &[String]) -> String {
    if things.is_empty() { "nothing".to_owned() } else { things.join(", ") }
}
