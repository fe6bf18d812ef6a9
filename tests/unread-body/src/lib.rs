//! The specification of `unread-body`: a gate whose connections are used again or closed, whatever nobody has read.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::DuplexStream,
    time::{sleep, timeout},
};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

use lab::{
    Answer, Asked, Closed, Connection, Ghost, Lab, Limits, Proof, Protocol, RawConnection, Report, Scene, Server,
    Specification, control, require,
    wire::{CONNECTION_BUFFER, CONNECTION_WINDOW, STREAM_WINDOW},
};

/// Opens a connection to the store.
pub type Dial = BoxCloneSyncService<(), DuplexStream, io::Error>;

/// Makes the app under test from the way to its store.
pub type App = Arc<dyn Fn(Dial) -> Router + Send + Sync>;

/// How long a connection with an unread rest may stay open: five seconds, and a moment for who takes them to the last.
const IN_TIME: Duration = Duration::from_millis(5001);
/// The largest rest with which a connection must go on.
const SMALL: usize = 1024;
/// The smallest rest with which it must be closed.
const LARGE: usize = 1024 * 1024;
/// How often 4 KiB of an endless error come.
const PACE: Duration = Duration::from_millis(70);
/// What the store has under `/letters`.
const LETTERS: &str = "a bundle of letters";

const SMALL_REST_KEEPS_CONNECTION: Asked = Asked::new(
    "small-rest-keeps-connection",
    "After an early answer to an upload of at most 1 KiB that was sent whole, of known length or in one chunk, \
             the connection serves the next request.",
);
const USED_OR_CLOSED: Asked = Asked::new(
    "used-or-closed",
    "After an early answer to a larger upload that was sent whole, the connection serves the next request or is \
             closed within 5 s.",
);
const LARGE_REST_CLOSES_CONNECTION: Asked = Asked::new(
    "large-rest-closes-connection",
    "When an upload that was answered early has 1 MiB or more to come, or has stalled half-way, its HTTP/1.1 \
             connection is closed within 5 s.",
);
const ANSWER_BEFORE_BODY: Asked =
    Asked::new("answer-before-body", "An early answer comes before the body does, and is whole.");
const NEXT_REQUEST_AS_ITSELF: Asked = Asked::new(
    "next-request-as-itself",
    "What is pipelined behind a refused upload is answered as itself or not at all, and nothing in the upload \
             is taken for a request: a promise of hyper's.",
);
const STORE_CONNECTION_REUSED: Asked = Asked::new(
    "store-connection-reused",
    "Ten errors of the store in a row, of 1 KiB each, of known length or in one chunk, take one connection to it; \
             and no fetch waits for the body of another.",
);
const ENDLESS_ERROR_IS_CUT: Asked = Asked::new(
    "endless-error-is-cut",
    "When an error of the store does not end, its client has a 502 and its connection is closed within 5 s; in \
             the end only connections are open that can be used again.",
);
const NOTHING_LEFT: Asked = Asked::new(
    "nothing-left",
    "5 s after the last answer no task of a request is left, and no connection of a client that has gone.",
);
const EXPECT_GETS_FINAL_STATUS: Asked = Asked::new(
    "expect-gets-final-status",
    "Who asks with `expect: 100-continue` and is refused gets the final status without a 100, and then a \
             connection that is closed or can be used.",
);
const SIBLINGS_KEEP_THEIR_WINDOW: Asked = Asked::new(
    "siblings-keep-their-window",
    "Over HTTP/2 a refused upload takes nothing from the window of its siblings once it is answered.",
);
const INCIDENTS_ARE_TOLD: Asked = Asked::new(
    "incidents-are-told",
    "Each refused upload and each failed fetch has its line on the support page, with the status and the name.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Dial) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(SMALL_REST_KEEPS_CONNECTION, small_rest_keeps_connection)
        .promise(USED_OR_CLOSED, used_or_closed)
        .promise(LARGE_REST_CLOSES_CONNECTION, large_rest_closes_connection)
        .promise(ANSWER_BEFORE_BODY, answer_before_body)
        .promise(NEXT_REQUEST_AS_ITSELF, next_request_as_itself)
        .promise(STORE_CONNECTION_REUSED, store_connection_reused)
        .promise(ENDLESS_ERROR_IS_CUT, endless_error_is_cut)
        .promise(NOTHING_LEFT, nothing_left)
        .promise(EXPECT_GETS_FINAL_STATUS, expect_gets_final_status)
        .promise(SIBLINGS_KEEP_THEIR_WINDOW, siblings_keep_their_window)
        .promise(INCIDENTS_ARE_TOLD, incidents_are_told)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "unread-body";
    type App = fn(Dial) -> Router;
    type StandIns = Dial;

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// A store in memory that says on standard error how many connections to it are open. It takes every upload, and has
    /// `/letters`, and errors: `/failing` with 1 KiB of known length, `/breaking` with 1 KiB in one chunk, `/stalled` with
    /// half of it, and `/endless`. Dial inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let open = Arc::new(AtomicUsize::new(0));
        BoxCloneSyncService::new(service_fn(move |()| {
            let (near, far) = tokio::io::duplex(CONNECTION_BUFFER);
            let open = open.clone();
            eprintln!("store: connections open: {}", open.fetch_add(1, Ordering::SeqCst) + 1);
            let serving = http1::Builder::new().serve_connection(TokioIo::new(far), TowerToHyperService::new(routes()));
            tokio::spawn(async move {
                // A connection that breaks off is one that is closed.
                let _ = serving.await;
                eprintln!("store: connections open: {}", open.fetch_sub(1, Ordering::SeqCst) - 1);
            });
            future::ready(Ok(near))
        }))
    }

    fn serve(app: Self::App, dial: Self::StandIns) -> Router {
        app(dial)
    }
}

// ===== The promises =====

async fn small_rest_keeps_connection(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    for (what, framing, body) in [
        ("nothing", known(0), Vec::new()),
        ("1 KiB of known length", known(SMALL), vec![b'x'; SMALL]),
        ("1 KiB in one chunk", CHUNKED.to_owned(), [chunk(SMALL), chunk(0)].concat()),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        for requests in [2, 4] {
            client.send(&upload(NOBODY, &framing, &body)).await;
            client.is_answered(403)?;
            client.send(FETCH_LETTERS).await;
            SMALL_REST_KEEPS_CONNECTION.require(
                client.has_letters(),
                format!("the upload was sent whole, and {}", client.what_became(requests)),
            )?;
        }
    }
    let stage = Stage::open(&lab, &app, "HTTP/2, an upload of 1024 bytes");
    let client = stage.server.connect("client", Protocol::Http2).await;
    let answer = client.send(post_upload(None, vec![b'x'; SMALL])).await?;
    is(&answer, 403)?;
    answer.read().await;
    letters(&client).await
}

async fn used_or_closed(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    for (what, framing, body) in [
        ("16 KiB of known length", known(16 * SMALL), vec![b'x'; 16 * SMALL]),
        ("1 KiB in two chunks", CHUNKED.to_owned(), [chunk(SMALL / 2), chunk(SMALL / 2), chunk(0)].concat()),
        ("256 KiB of known length", known(256 * SMALL), vec![b'x'; 256 * SMALL]),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        let sending = async {
            client.raw.write(&upload(NOBODY, &framing, &body)).await;
            client.raw.write(FETCH_LETTERS).await;
        };
        let (_, ()) = tokio::join!(timeout(IN_TIME, sending), sleep(IN_TIME));
        let used = client.statuses() == [403, 200] && client.has_letters();
        let closed = client.statuses() == [403] && client.raw.is_closed();
        USED_OR_CLOSED.require(used || closed, format!("5 s after the upload {}", client.what_became(2)))?;
    }
    Ok(())
}

async fn large_rest_closes_connection(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let all = |length: usize| vec![vec![b'x'; length]];
    for (what, user, framing, pieces, status) in [
        ("1 MiB of known length", NOBODY, known(LARGE), all(LARGE), 403),
        ("1 MiB in chunks", NOBODY, CHUNKED.to_owned(), vec![chunk(16 * SMALL); 64], 403),
        ("1 MiB that is too large", ADA, known(LARGE), all(LARGE), 413),
        ("1 MiB of which nothing comes", NOBODY, known(LARGE), Vec::new(), 403),
        ("1 MiB at 1 KiB a second", NOBODY, known(LARGE), vec![vec![b'x'; SMALL]; 8], 403),
        ("1 KiB that stalls before its last byte", NOBODY, known(SMALL), all(SMALL - 1), 403),
        ("chunks that stall half-way", NOBODY, CHUNKED.to_owned(), vec![chunk(SMALL)], 403),
        ("chunks at 1 KiB a second", NOBODY, CHUNKED.to_owned(), vec![chunk(SMALL); 8], 403),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        let pause = if what.ends_with("a second") { Duration::from_millis(990) } else { Duration::ZERO };
        let sending = async {
            client.raw.write(&upload(user, &framing, b"")).await;
            for piece in pieces {
                client.raw.write(&piece).await;
                sleep(pause).await;
            }
        };
        let (_, ()) = tokio::join!(timeout(IN_TIME, sending), sleep(IN_TIME));
        client.is_answered(status)?;
        LARGE_REST_CLOSES_CONNECTION
            .require(client.raw.is_closed(), format!("5 s after the head of {what} the connection is open"))?;
    }
    Ok(())
}

async fn answer_before_body(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    for (what, user, framing, sent, status) in [
        ("nothing of 1 KiB is sent", NOBODY, known(SMALL), Vec::new(), 403),
        ("nothing of 1 MiB is sent", NOBODY, known(LARGE), Vec::new(), 403),
        ("no chunk is sent", NOBODY, CHUNKED.to_owned(), Vec::new(), 403),
        ("a chunk is sent", NOBODY, CHUNKED.to_owned(), chunk(SMALL), 403),
        ("nothing of what is too large is sent", ADA, known(LARGE), Vec::new(), 413),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        client.send(&upload(user, &framing, &sent)).await;
        client.is_answered(status)?;
    }
    let stage = Stage::open(&lab, &app, "HTTP/1.1, 1 MiB is sent without a look at the answer");
    let mut client = stage.raw("client");
    // The answer must survive whatever becomes of the connection meanwhile.
    let _ = timeout(IN_TIME, client.raw.write(&upload(NOBODY, &known(LARGE), &vec![b'x'; LARGE]))).await;
    client.is_answered(403)?;
    for (what, user, length, status) in
        [("an upload without a user", None, SMALL, 403), ("an upload that is too large", Some("ada"), LARGE, 413)]
    {
        let stage = Stage::open(&lab, &app, format!("HTTP/2, nothing of {what} is sent"));
        let client = stage.server.connect("client", Protocol::Http2).await;
        let (_feed, body) = stage.scene.feed("client's file");
        let mut request = post_upload(user, body);
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        let pending = client.begin(request);
        stage.scene.settle().await;
        ANSWER_BEFORE_BODY.require(pending.is_answered(), "the upload is not answered while its body is awaited")?;
        let answer = pending.answer().await?;
        is(&answer, status)?;
        let body = answer.listen();
        stage.scene.settle().await;
        ANSWER_BEFORE_BODY
            .require(body.so_far().end.is_some(), "the answer does not end while the body of the upload is awaited")?;
    }
    Ok(())
}

async fn next_request_as_itself(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let smuggled = "GET /fetch/secret HTTP/1.1\r\nhost: ghost.test\r\n\r\n";
    for times in [2, 1000] {
        let (length, text) = (times * smuggled.len(), smuggled.repeat(times));
        let chunks = format!("{length:x}\r\n{text}\r\n0\r\n\r\n");
        for (framing, body) in [(known(length), text), (CHUNKED.to_owned(), chunks)] {
            let stage = Stage::open(&lab, &app, format!("HTTP/1.1, behind {length} bytes, {}", framing.trim_end()));
            let mut client = stage.raw("client");
            let bytes = [&upload(NOBODY, &framing, body.as_bytes()), FETCH_LETTERS].concat();
            let _ = timeout(IN_TIME, client.raw.write(&bytes)).await;
            stage.scene.settle().await;
            let asked = stage.store.asked();
            NEXT_REQUEST_AS_ITSELF.require(
                !asked.iter().any(|path| path == "/secret"),
                "the store was asked for what the upload contains",
            )?;
            let statuses = client.statuses();
            let itself = statuses == [403, 200] && client.has_letters();
            let told = format!("the refused upload and the fetch behind it are answered with {statuses:?}");
            NEXT_REQUEST_AS_ITSELF.require(itself || statuses == [403], told)?;
        }
    }
    Ok(())
}

async fn store_connection_reused(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let stage = Stage::open(&lab, &app, "HTTP/1.1, ten errors, every other of known length");
    for name in ["breaking", "failing"].into_iter().cycle().take(10) {
        is(&stage.fetch(Protocol::Http1, name).await?, 502)?;
    }
    let dialled = stage.store.dialled();
    STORE_CONNECTION_REUSED
        .require(dialled == 1, format!("ten errors of 1 KiB took {dialled} connections to the store"))?;
    let stage = Stage::open(&lab, &app, "HTTP/1.1, a fetch while the body of another is coming");
    let growing = stage.fetch(Protocol::Http1, "growing").await?;
    is(&growing, 200)?;
    let other = stage.server.connect("other", Protocol::Http1).await;
    let fetching = timeout(IN_TIME, letters(&other)).await;
    fetching.unwrap_or_else(|_| STORE_CONNECTION_REUSED.require(false, "5 s later the other fetch has no answer"))
}

async fn endless_error_is_cut(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    for (protocol, name) in [(Protocol::Http1, "endless"), (Protocol::Http2, "stalled")] {
        let stage = Stage::open(&lab, &app, format!("{protocol}, an error that is {name}"));
        let (answered, ()) = tokio::join!(timeout(IN_TIME, stage.fetch(protocol, name)), sleep(IN_TIME));
        let Ok(answer) = answered else {
            return ENDLESS_ERROR_IS_CUT
                .require(false, "5 s after the store said that it failed the client has no answer");
        };
        is(&answer?, 502)?;
        stage.scene.settle().await;
        let (open, dialled) = (stage.store.open(), stage.store.dialled());
        is(&stage.fetch(protocol, "letters").await?, 200)?;
        let used_again = open == 1 && stage.store.dialled() == dialled;
        let told = format!("5 s after the head of an error that is {name}, connections open to no use: {open}");
        ENDLESS_ERROR_IS_CUT.require(open == 0 || used_again, told)?;
    }
    Ok(())
}

async fn nothing_left(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let stage = Stage::open(&lab, &app, "HTTP/1.1, fetches");
    // An app may begin what it needs for all incidents with the first.
    is(&stage.fetch(Protocol::Http1, "failing").await?, 502)?;
    letters(&stage.server.connect("client", Protocol::Http1).await).await?;
    let before = stage.scene.app_tasks();
    for name in ["breaking", "endless", "stalled"] {
        // Whether it is answered is another promise's.
        let _ = timeout(IN_TIME, stage.fetch(Protocol::Http1, name)).await;
    }
    sleep(IN_TIME).await;
    stage.scene.settle().await;
    let left = stage.scene.app_tasks().saturating_sub(before);
    NOTHING_LEFT.require(left == 0, format!("tasks left 5 s after the last answer to a fetch that failed: {left}"))?;
    let stage = Stage::open(&lab, &app, "HTTP/1.1, uploads");
    let mut dora = stage.raw("dora");
    dora.send(&upload(NOBODY, &known(1), b"x")).await;
    let mut clients = vec![dora];
    let before = stage.scene.app_tasks();
    for (name, length, sent) in [("ada", SMALL, SMALL), ("ben", LARGE, LARGE), ("cem", SMALL, SMALL / 2)] {
        let mut client = stage.raw(name);
        let bytes = upload(NOBODY, &known(length), &vec![b'x'; sent]);
        let _ = timeout(Duration::from_millis(1), client.raw.write(&bytes)).await;
        clients.push(client);
    }
    sleep(IN_TIME).await;
    stage.scene.settle().await;
    let left = stage.scene.app_tasks().saturating_sub(before);
    NOTHING_LEFT.require(left == 0, format!("tasks left 5 s after the refusal of uploads: {left}"))?;
    drop(clients);
    all_have_ended(&stage).await?;
    let stage = Stage::open(&lab, &app, "HTTP/2, uploads");
    let client = stage.server.connect("client", Protocol::Http2).await;
    let (feed, body) = stage.scene.feed("client's file");
    let answer = client.send(post_upload(None, body)).await?;
    is(&answer, 403)?;
    drop(answer);
    sleep(IN_TIME).await;
    client.leave();
    drop(feed);
    all_have_ended(&stage).await
}

/// After the clients have left.
async fn all_have_ended(stage: &Stage) -> Proof {
    stage.scene.settle().await;
    let connections = stage.server.connections();
    let open = connections.iter().filter(|connection| connection.ended.is_none()).count();
    require(open == 0, format!("all clients have left, and {open} of their connections are open"))
}

async fn expect_gets_final_status(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let expecting = |framing: String| framing + "expect: 100-continue\r\n";
    let stage = Stage::open(&lab, &app, "HTTP/1.1, an upload that is let in");
    let mut client = stage.raw("client");
    client.send(&upload(ADA, &expecting(known(SMALL)), b"")).await;
    control(client.last_status() == Some(100), "who may send does not get a 100")?;
    client.send(&[b'x'; SMALL]).await;
    control(client.last_status() == Some(201), "an upload after a 100 does not get a 201")?;
    for (user, framing, status) in
        [(NOBODY, known(SMALL), 403), (NOBODY, CHUNKED.to_owned(), 403), (ADA, known(LARGE), 413)]
    {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {status}, {}", framing.trim_end()));
        let mut client = stage.raw("client");
        client.send(&upload(user, &expecting(framing.clone()), b"")).await;
        let statuses = client.statuses();
        EXPECT_GETS_FINAL_STATUS
            .require(statuses == [status], format!("the answer is {statuses:?} in place of {status}"))?;
        sleep(IN_TIME).await;
        EXPECT_GETS_FINAL_STATUS.require(client.statuses().len() == 1, "a 100 follows the final status")?;
        if client.raw.is_closed() {
            continue;
        }
        // A client may send its body all the same.
        let rest = if framing == CHUNKED { b"0\r\n\r\n".to_vec() } else { vec![b'x'; SMALL] };
        client.send(&[rest, FETCH_LETTERS.to_vec()].concat()).await;
        let told = format!("5 s after the {status} the body is sent after all, and {}", client.what_became(2));
        EXPECT_GETS_FINAL_STATUS.require(client.last_status() == Some(200), told)?;
    }
    Ok(())
}

async fn siblings_keep_their_window(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http2).await?;
    let stage = Stage::open(&lab, &app, "HTTP/2");
    let client = stage.server.connect("client", Protocol::Http2).await;
    let mut feeds = Vec::new();
    for number in 0..=CONNECTION_WINDOW / STREAM_WINDOW {
        let (feed, body) = stage.scene.feed(&format!("file {}", number + 1));
        feed.data(vec![b'x'; STREAM_WINDOW as usize]);
        let answer = client.send(post_upload(None, body)).await?;
        is(&answer, 403)?;
        answer.read().await;
        feeds.push(feed);
    }
    let sibling = client.begin(post_upload(Some("ada"), vec![b'x'; 3 * STREAM_WINDOW as usize]));
    stage.scene.settle().await;
    let refused = feeds.len();
    SIBLINGS_KEEP_THEIR_WINDOW.require(
        sibling.is_answered(),
        format!("after {refused} refused uploads one that is let in does not get through"),
    )?;
    is(&sibling.answer().await?, 201)
}

async fn incidents_are_told(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        works(&lab, &app, protocol).await?;
        let stage = Stage::open(&lab, &app, protocol.to_string());
        let (_feed, body) = stage.scene.feed("client's file");
        let mut too_large = post_upload(Some("ada"), body);
        too_large.headers_mut().insert(CONTENT_LENGTH, LARGE.into());
        let support = stage.server.connect("support", protocol).await;
        for (request, status, name) in [
            (post_upload(None, "x"), 403, "/upload"),
            (too_large, 413, "/upload"),
            (get_request("/fetch/failing"), 502, "/failing"),
        ] {
            let client = match protocol {
                Protocol::Http1 => stage.server.connect("client", protocol).await,
                Protocol::Http2 => support.clone(),
            };
            is(&client.send(request).await?, status)?;
            let page = support.send(get_request("/incidents")).await?.read().await.text();
            let told = page.lines().any(|line| line.contains(&status.to_string()) && line.contains(name));
            INCIDENTS_ARE_TOLD.require(told, format!("no line of the support page has {status} and {name}"))?;
        }
    }
    Ok(())
}

// ===== Requests =====

/// A user who may upload.
const ADA: &str = "x-user: ada\r\n";
/// A client without a user.
const NOBODY: &str = "";
const CHUNKED: &str = "transfer-encoding: chunked\r\n";
const FETCH_LETTERS: &[u8] = b"GET /fetch/letters HTTP/1.1\r\nhost: ghost.test\r\n\r\n";

fn known(length: usize) -> String {
    format!("content-length: {length}\r\n")
}

fn chunk(length: usize) -> Vec<u8> {
    format!("{length:x}\r\n{}\r\n", "x".repeat(length)).into_bytes()
}

fn upload(user: &str, framing: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /upload HTTP/1.1\r\nhost: ghost.test\r\n{user}{framing}\r\n");
    [head.as_bytes(), body].concat()
}

fn post_upload(user: Option<&str>, body: impl Into<Body>) -> Request {
    let request = user.into_iter().fold(Request::post("/upload"), |request, user| request.header("x-user", user));
    request.body(body.into()).expect("a request that never changes")
}

fn get_request(path: &str) -> Request {
    Request::get(path).body(Body::empty()).expect("a path")
}

fn is(answer: &Answer, status: u16) -> Proof {
    let got = answer.status().as_u16();
    require(got == status, format!("the answer is {got} in place of {status}"))
}

async fn letters(client: &Connection) -> Proof {
    let answer = client.send(get_request("/fetch/letters")).await?;
    is(&answer, 200)?;
    let text = answer.read().await.text();
    require(text == LETTERS, format!("in place of the letters there came {text:?}"))
}

// ===== Stage =====

/// The app between its clients and its store.
struct Stage {
    scene: Scene,
    server: Server,
    store: Store,
}

impl Stage {
    fn open(lab: &Lab, app: &App, title: impl Into<String>) -> Self {
        let scene = lab.scene(title);
        let store = Store { scene: scene.clone(), routes: routes(), seen: Arc::default() };
        let server = scene.serve(app(store.dial()));
        Self { scene, server, store }
    }

    /// Fetches on a connection of its own.
    async fn fetch(&self, protocol: Protocol, name: &str) -> Result<Answer, Closed> {
        let client = self.server.connect("client", protocol).await;
        client.send(get_request(&format!("/fetch/{name}"))).await
    }

    fn raw(&self, client: &str) -> Raw {
        Raw { raw: self.server.connect_raw(client, Protocol::Http1), scene: self.scene.clone() }
    }
}

/// An upload that may pass and a fetch, before anything goes wrong.
async fn works(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let stage = Stage::open(lab, app, format!("{protocol}, before anything goes wrong"));
    let client = stage.server.connect("client", protocol).await;
    let answer = client.send(post_upload(Some("ada"), "x")).await?;
    control(answer.status() == 201, format!("an upload that may pass gets {}", answer.status()))?;
    answer.read().await;
    let answer = client.send(get_request("/fetch/letters")).await?;
    control(answer.status() == 200, format!("a fetch gets {}", answer.status()))?;
    let text = answer.read().await.text();
    control(text == LETTERS, format!("in place of the letters there came {text:?}"))
}

/// A client that writes and reads bytes.
struct Raw {
    raw: RawConnection,
    scene: Scene,
}

impl Raw {
    /// Writes what fits the connection, and lets everything run that can run without time passing.
    async fn send(&mut self, bytes: &[u8]) {
        self.raw.write(bytes).await;
        self.scene.settle().await;
    }

    /// Status and body of each answer that is whole.
    fn answers(&self) -> Vec<(u16, String)> {
        let text = self.raw.text();
        let mut rest = text.as_str();
        let mut answers = Vec::new();
        while let Some((answer, after)) = first_answer(rest) {
            answers.push(answer);
            rest = after;
        }
        answers
    }

    fn statuses(&self) -> Vec<u16> {
        self.answers().into_iter().map(|(status, _)| status).collect()
    }

    fn last_status(&self) -> Option<u16> {
        self.statuses().pop()
    }

    /// Whether the last answer has this status.
    fn is_answered(&self, status: u16) -> Proof {
        match self.last_status() {
            Some(last) if last == status => Ok(()),
            Some(last) => require(false, format!("the last answer is {last}, and there is no {status}")),
            None => require(false, format!("there is no whole answer, and no {status}")),
        }
    }

    /// Whether the last answer brings the letters.
    fn has_letters(&self) -> bool {
        self.answers().last().is_some_and(|(status, body)| *status == 200 && body == LETTERS)
    }

    /// What has become of the connection, on which so many requests were sent.
    fn what_became(&self, requests: usize) -> String {
        let statuses = self.statuses();
        if let Some(last) = statuses.get(requests - 1) {
            format!("the next request is answered with {last}")
        } else if self.raw.is_closed() {
            "the connection is closed".to_owned()
        } else {
            "the connection is neither used nor closed: the next request is not answered".to_owned()
        }
    }
}

/// The first answer in a text, and what follows it; none that is not whole.
fn first_answer(text: &str) -> Option<((u16, String), &str)> {
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let head = head.to_ascii_lowercase();
    if status < 200 {
        return Some(((status, String::new()), rest));
    }
    if head.contains("transfer-encoding: chunked") {
        let mut body = String::new();
        let mut rest = rest;
        loop {
            let (length, after) = rest.split_once("\r\n")?;
            let length = usize::from_str_radix(length, 16).ok()?;
            body.push_str(after.get(..length)?);
            rest = after.get(length..)?.strip_prefix("\r\n")?;
            if length == 0 {
                return Some(((status, body), rest));
            }
        }
    }
    let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    Some(((status, rest.get(..length)?.to_owned()), &rest[length..]))
}

// ===== Store =====

/// A store at the far end of each connection that is dialled.
#[derive(Clone)]
struct Store {
    scene: Scene,
    routes: Router,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Whether each connection, in the order in which they were dialled, is open.
    connections: Vec<bool>,
    /// What it was asked for.
    asked: Vec<String>,
}

impl Store {
    fn dial(&self) -> Dial {
        let store = self.clone();
        BoxCloneSyncService::new(service_fn(move |()| future::ready(Ok(store.accept()))))
    }

    fn accept(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(CONNECTION_BUFFER);
        let number = {
            let mut seen = self.seen();
            seen.connections.push(true);
            seen.connections.len()
        };
        self.scene.note("store", format!("accepts connection {number}"));
        let store = self.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            store.scene.note("store", format!("is asked {} {path} on connection {number}", request.method()));
            store.seen().asked.push(path);
            store.routes.clone().oneshot(request.map(Body::new))
        });
        let mut http1 = http1::Builder::new();
        http1.auto_date_header(false).max_buf_size(CONNECTION_BUFFER);
        let serving = http1.serve_connection(TokioIo::new(far), TowerToHyperService::new(answer));
        let store = self.clone();
        self.scene.spawn(async move {
            // A connection that breaks off is one that is closed.
            let _ = serving.await;
            store.seen().connections[number - 1] = false;
            store.scene.note("store", format!("finds connection {number} closed"));
        });
        near
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections it has accepted.
    fn dialled(&self) -> usize {
        self.seen().connections.len()
    }

    /// How many of them are open.
    fn open(&self) -> usize {
        self.seen().connections.iter().filter(|open| **open).count()
    }

    fn asked(&self) -> Vec<String> {
        self.seen().asked.clone()
    }
}

/// What a store serves.
fn routes() -> Router {
    let half = || stream::iter([Bytes::from(vec![b'x'; SMALL / 2])]).chain(stream::pending());
    let endless = || stream::repeat(Bytes::from(vec![b'x'; 4 * SMALL])).then(|data| sleep(PACE).map(|()| data));
    let one = || stream::iter([Bytes::from(vec![b'x'; SMALL])]);
    let error = StatusCode::SERVICE_UNAVAILABLE;
    Router::new()
        .route("/letters", get(LETTERS))
        .route("/growing", get(async move || in_chunks(StatusCode::OK, half())))
        .route("/failing", get((error, "x".repeat(SMALL))))
        .route("/breaking", get(async move || in_chunks(error, one())))
        .route("/endless", get(async move || in_chunks(error, endless())))
        .route("/stalled", get(async move || in_chunks(error, half())))
        .route("/upload", post(async |body: Bytes| (StatusCode::CREATED, format!("{} bytes\n", body.len()))))
}

fn in_chunks(status: StatusCode, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    (status, Body::from_stream(chunks.map(Ok::<_, Infallible>))).into_response()
}
