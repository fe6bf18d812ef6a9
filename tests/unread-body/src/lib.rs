//! The specification of `unread-body`: a gate whose connections are used again or closed, whatever nobody has read.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request},
    http::{
        StatusCode,
        header::{CONTENT_LENGTH, LOCATION},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::DuplexStream,
    sync::Notify,
    time::{sleep, timeout},
};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

use lab::{
    Answer, Asked, Closed, Connection, End, Ghost, Lab, Limits, Proof, Protocol, RawConnection, Report, Scene, Server,
    Specification, control, locked,
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
/// A rest with which it must be closed: a step more than 1 MiB.
const LARGE: usize = 1280 * 1024;
/// An upload that may pass, and that does not fit what stands between a client and the store.
const ADMITTED: usize = 200_000;
/// How many incidents the support page shows.
const LATEST: usize = 100;
/// How often 4 KiB of an endless error come.
const PACE: Duration = Duration::from_millis(70);
/// How long after its head the body of an error may come.
const A_MOMENT: Duration = Duration::from_millis(20);
/// How long the store waits between the pieces of what is slow.
const SLOW: Duration = Duration::from_millis(2500);
/// How many bytes of an answer may be taken from the store while its client does not read.
const AHEAD: usize = 1024 * 1024;
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
    "When an upload that was answered early has more than 1 MiB to come, or has stalled halfway, its HTTP/1.1 \
     connection is closed within 5 s, however many there are.",
);
const ANSWER_BEFORE_BODY: Asked =
    Asked::new("answer-before-body", "An early answer comes before the body does, and is whole.");
const NEXT_REQUEST_AS_ITSELF: Asked = Asked::new(
    "next-request-as-itself",
    "A request that's pipelined behind a refused upload is answered as itself or not at all, and nothing in the \
     upload is taken for a request: hyper promises that.",
);
const STORE_CONNECTION_REUSED: Asked = Asked::new(
    "store-connection-reused",
    "Ten errors from the store in a row, of 1 KiB each, of known length or in one chunk, with their heads or 20 ms \
     later, take one connection to the store, and no fetch waits for another's body.",
);
const ENDLESS_ERROR_IS_CUT: Asked = Asked::new(
    "endless-error-is-cut",
    "When an error from the store doesn't end, its client has a whole 502 and its connection is closed within 5 s. \
     In the end, the only connections still open are those that can be used again.",
);
const REFUSED_RELAY_LETS_GO: Asked = Asked::new(
    "refused-relay-lets-go",
    "When the store refuses an upload that's still coming, its client has a whole 502 within 5 s. The client's \
     connection and the store's are used again or closed within 5 s, and closed if the upload has stalled.",
);
const NOTHING_LEFT: Asked = Asked::new(
    "nothing-left",
    "5 s after the last answer, no request has a task left, and no connection is waiting for a client that has gone.",
);
const EXPECT_GETS_FINAL_STATUS: Asked = Asked::new(
    "expect-gets-final-status",
    "A client that asks with `expect: 100-continue` and is refused gets the final status without a 100, and then its \
     connection is closed or can be used.",
);
const SIBLINGS_KEEP_THEIR_WINDOW: Asked = Asked::new(
    "siblings-keep-their-window",
    "Over HTTP/2, once a refused upload is answered, it takes nothing from the window of its siblings.",
);
const INCIDENTS_ARE_TOLD: Asked = Asked::new(
    "incidents-are-told",
    "Each upload that's refused, by the gate or by the store, and each failed fetch has its line on the support \
     page, with the status and the name.",
);
const GOOD_ANSWERS_WHOLE: Asked = Asked::new(
    "good-answers-whole",
    "A good answer from the store reaches its client as it comes, whole, with its status and headers, however slow \
     and however large it is.",
);
const UPLOADS_WHOLE: Asked = Asked::new(
    "uploads-whole",
    "An upload that may pass reaches the store as it comes, whole and once, however slow it is and however early the \
     store says yes.",
);
const GOOD_ANSWERS_SHARE: Asked = Asked::new(
    "good-answers-share-a-connection",
    "Ten good answers in a row take one connection to the store and one from their client. If the store has closed \
     its connection meanwhile, the next request takes a new one.",
);
const FAILURES_ARE_TOLD: Asked = Asked::new(
    "failures-are-told",
    "If the store answers with anything but success, or doesn't answer, that client alone gets a 502. An answer that \
     breaks off ends with an error. The next request is served.",
);

const STATUSES: Asked = Asked::new(
    "statuses",
    "An upload without `x-user` gets a 403, and one whose `content-length` says 256 KiB or more gets a 413. A \
     request that may pass gets the store's answer if that's a success (2xx), and a 502 if not.",
);
const EITHER_REFUSAL: Asked =
    Asked::new("either-refusal", "An upload that has no user and is too large gets 403 or 413; either is right.");
const PAGE: Asked = Asked::new(
    "page",
    "`GET /incidents` has one line for each of the latest 100 incidents, the latest first: the status that the \
     client got, and the path that the store was asked for, or `/upload`.",
);
const ONCE: Asked = Asked::new("once", "The store is asked once for each request, even when it breaks off.");
const AS_FAST_AS_READ: Asked = Asked::new(
    "as-fast-as-read",
    "While a client isn't reading its good answer, at most 1 MiB of it is taken from the store.",
);
const OUTLIVES_THE_APP: Asked = Asked::new(
    "outlives-the-app",
    "A good answer that has begun goes on even if the app is dropped, as `oneshot` drops the `Router`.",
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
        .promise(REFUSED_RELAY_LETS_GO, refused_relay_lets_go)
        .promise(NOTHING_LEFT, nothing_left)
        .promise(EXPECT_GETS_FINAL_STATUS, expect_gets_final_status)
        .promise(SIBLINGS_KEEP_THEIR_WINDOW, siblings_keep_their_window)
        .promise(INCIDENTS_ARE_TOLD, incidents_are_told)
        .promise(GOOD_ANSWERS_WHOLE, good_answers_whole)
        .promise(UPLOADS_WHOLE, uploads_whole)
        .promise(GOOD_ANSWERS_SHARE, good_answers_share)
        .promise(FAILURES_ARE_TOLD, failures_are_told)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "unread-body";
    type App = fn(Dial) -> Router;
    type StandIns = Dial;
    const ASKED: &'static [Asked] = &[STATUSES, EITHER_REFUSAL, PAGE, ONCE, AS_FAST_AS_READ, OUTLIVES_THE_APP];

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
            lab::say(format_args!("store: connections open: {}", open.fetch_add(1, Ordering::SeqCst) + 1));
            let taken = async |body: Bytes| (StatusCode::CREATED, format!("{} bytes\n", body.len()));
            let routes = routes().route("/upload", post(taken));
            let serving = http1::Builder::new().serve_connection(TokioIo::new(far), TowerToHyperService::new(routes));
            tokio::spawn(async move {
                // A connection that breaks off is one that is closed.
                let _ = serving.await;
                lab::say(format_args!("store: connections open: {}", open.fetch_sub(1, Ordering::SeqCst) - 1));
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
        ("an empty body", known(0), Vec::new()),
        ("1 KiB of known length", known(SMALL), vec![b'x'; SMALL]),
        ("1 KiB in one chunk", CHUNKED.to_owned(), [chunk(SMALL), chunk(0)].concat()),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        for requests in [2, 4] {
            client.send(&upload(NOBODY, &framing, &body)).await;
            client.is_answered(&[403])?;
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
    let now = Duration::ZERO;
    let later = Duration::from_millis(300);
    for (what, framing, pieces, pause) in [
        ("16 KiB of known length", known(16 * SMALL), vec![vec![b'x'; 16 * SMALL]], now),
        ("1 KiB in two chunks", CHUNKED.to_owned(), vec![chunk(SMALL / 2), chunk(SMALL / 2), chunk(0)], now),
        ("256 KiB of known length", known(256 * SMALL), vec![vec![b'x'; 256 * SMALL]], now),
        ("1 KiB of known length after its head", known(SMALL), vec![vec![], vec![b'x'; SMALL]], later),
        ("16 KiB bit by bit", known(16 * SMALL), vec![vec![b'x'; 2 * SMALL]; 8], later),
        ("chunks one by one", CHUNKED.to_owned(), vec![chunk(SMALL), chunk(SMALL), chunk(0)], later),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        let sending = async {
            let (first, others) = pieces.split_first().expect("each has one");
            client.raw.write(&upload(NOBODY, &framing, first)).await;
            for piece in others {
                sleep(pause).await;
                client.raw.write(piece).await;
            }
            client.raw.write(FETCH_LETTERS).await;
        };
        let (_, ()) = tokio::join!(timeout(IN_TIME, sending), sleep(IN_TIME));
        let refusals: &[u16] = if framing == known(256 * SMALL) { EITHER } else { &[403] };
        client.is_refused_first(refusals)?;
        let used = client.statuses().len() == 2 && client.has_letters();
        let closed = client.statuses().len() == 1 && client.raw.is_closed();
        USED_OR_CLOSED.require(used || closed, format!("5 s after the upload {}", client.what_became(2)))?;
    }
    Ok(())
}

async fn large_rest_closes_connection(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let all = |length: usize| vec![vec![b'x'; length]];
    let scenes: [(_, _, _, _, &[u16]); 8] = [
        ("1.25 MiB of known length", NOBODY, known(LARGE), all(LARGE), EITHER),
        ("1.25 MiB in chunks", NOBODY, CHUNKED.to_owned(), vec![chunk(16 * SMALL); 80], &[403]),
        ("1.25 MiB that is too large", ADA, known(LARGE), all(LARGE), &[413]),
        ("1.25 MiB of which nothing comes", NOBODY, known(LARGE), Vec::new(), EITHER),
        ("1.25 MiB at 1 KiB a second", NOBODY, known(LARGE), vec![vec![b'x'; SMALL]; 8], EITHER),
        ("1 KiB that stalls before its last byte", NOBODY, known(SMALL), all(SMALL - 1), &[403]),
        ("chunks that stall halfway", NOBODY, CHUNKED.to_owned(), vec![chunk(SMALL)], &[403]),
        ("chunks at 1 KiB a second", NOBODY, CHUNKED.to_owned(), vec![chunk(SMALL); 8], &[403]),
    ];
    for (what, user, framing, pieces, refusals) in scenes {
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
        client.is_answered(refusals)?;
        LARGE_REST_CLOSES_CONNECTION
            .require(client.raw.is_closed(), format!("5 s after the head of {what} the connection is still open"))?;
    }
    let stage = Stage::open(&lab, &app, "HTTP/1.1, two hundred uploads that stall at once");
    let mut clients = Vec::new();
    for number in 1..=200 {
        let mut client = stage.raw(&format!("client-{number}"));
        client.raw.write(&upload(NOBODY, &known(ADMITTED), &[b'x'; 100])).await;
        clients.push(client);
    }
    sleep(IN_TIME).await;
    clients.iter().try_for_each(|client| client.is_answered(&[403]))?;
    let open = clients.iter().filter(|client| !client.raw.is_closed()).count();
    LARGE_REST_CLOSES_CONNECTION
        .require(open == 0, format!("5 s after the heads of two hundred uploads that stall, connections open: {open}"))
}

async fn answer_before_body(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let scenes: [(_, _, _, _, &[u16]); 6] = [
        ("nothing of 1 KiB is sent", NOBODY, known(SMALL), Vec::new(), &[403]),
        ("nothing of 1.25 MiB is sent", NOBODY, known(LARGE), Vec::new(), EITHER),
        ("no chunk is sent", NOBODY, CHUNKED.to_owned(), Vec::new(), &[403]),
        ("a chunk is sent", NOBODY, CHUNKED.to_owned(), chunk(SMALL), &[403]),
        ("nothing of what is too large is sent", ADA, known(LARGE), Vec::new(), &[413]),
        ("nothing of 257 KiB is sent", ADA, known(257 * SMALL), Vec::new(), &[413]),
    ];
    for (what, user, framing, sent, refusals) in scenes {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {what}"));
        let mut client = stage.raw("client");
        client.send(&upload(user, &framing, &sent)).await;
        client.is_answered(refusals)?;
    }
    let stage = Stage::open(&lab, &app, "HTTP/1.1, 1.25 MiB is sent without a look at the answer");
    let mut client = stage.raw("client");
    // The answer must survive whatever becomes of the connection meanwhile.
    let _ = timeout(IN_TIME, client.raw.write(&upload(NOBODY, &known(LARGE), &vec![b'x'; LARGE]))).await;
    client.is_answered(EITHER)?;
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
        ANSWER_BEFORE_BODY.require(pending.is_answered(), "the upload is not answered before its body comes")?;
        let answer = pending.answer().await?;
        is(&answer, status)?;
        let body = answer.listen();
        stage.scene.settle().await;
        ANSWER_BEFORE_BODY.require(body.end().is_some(), "the answer does not end before the upload's body comes")?;
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
    for (title, names) in [
        ("ten errors, every other of known length", ["breaking", "failing"]),
        ("ten errors whose bodies come 20 ms after their heads", ["breaking-late", "failing-late"]),
    ] {
        let stage = Stage::open(&lab, &app, format!("HTTP/1.1, {title}"));
        for name in names.into_iter().cycle().take(10) {
            is(&stage.fetch(Protocol::Http1, name).await?, 502)?;
        }
        let dialled = stage.store.dialled();
        STORE_CONNECTION_REUSED
            .require(dialled == 1, format!("ten errors of 1 KiB took {dialled} connections to the store"))?;
    }
    let stage = Stage::open(&lab, &app, "HTTP/1.1, a fetch while the body of another is coming");
    let growing = stage.fetch(Protocol::Http1, "growing").await?;
    is(&growing, 200)?;
    let other = stage.server.connect("other", Protocol::Http1).await;
    let fetching = timeout(IN_TIME, letters(&other)).await;
    fetching.unwrap_or_else(|_| STORE_CONNECTION_REUSED.require(false, "5 s later the other fetch still has no answer"))
}

async fn endless_error_is_cut(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    for (protocol, name) in [
        (Protocol::Http1, "endless"),
        (Protocol::Http2, "endless"),
        (Protocol::Http1, "stalled"),
        (Protocol::Http2, "stalled"),
        (Protocol::Http1, "large-failing"),
    ] {
        let stage = Stage::open(&lab, &app, format!("{protocol}, an error that is {name}"));
        let asked = async { Ok::<_, Closed>(stage.fetch(protocol, name).await?.read().await) };
        let (answered, ()) = tokio::join!(timeout(IN_TIME, asked), sleep(IN_TIME));
        let Ok(answer) = answered else {
            return ENDLESS_ERROR_IS_CUT
                .require(false, "5 s after the store answered with an error, the client has no whole answer");
        };
        let answer = answer?;
        STATUSES.require(answer.status == 502, format!("the answer is {} instead of 502", answer.status.as_u16()))?;
        let whole = answer.end.is_some_and(|(_, end)| end == End::Clean);
        ENDLESS_ERROR_IS_CUT.require(whole, "the 502 breaks off")?;
        stage.scene.settle().await;
        let told = format!("5 s after the head of an error that is {name}, connections open but of no use: ");
        stage.store_is_let_go(protocol, ENDLESS_ERROR_IS_CUT, &told).await?;
    }
    Ok(())
}

async fn refused_relay_lets_go(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let a_little = || vec![vec![b'x'; 100]];
    let (known, chunked) = (known(ADMITTED), CHUNKED.to_owned());
    for (what, manner, framing, pieces, clients) in [
        ("stalls", Manner::Refuses, known.clone(), a_little(), 1),
        ("stalls, three at once", Manner::Refuses, known.clone(), a_little(), 3),
        ("stalls between its chunks", Manner::Refuses, chunked.clone(), vec![chunk(SMALL)], 1),
        ("stalls, and the store would take more", Manner::RefusesAndReads, known.clone(), a_little(), 1),
        ("stalls, and the refusal does not end", Manner::RefusesWithoutEnd, known.clone(), a_little(), 1),
        ("comes at 1 KiB a second", Manner::Refuses, known.clone(), vec![vec![b'x'; SMALL]; 8], 1),
    ] {
        let stage = Stage::with(&lab, &app, format!("HTTP/1.1, a refused upload that {what}"), manner);
        let mut clients: Vec<_> = (1..=clients).map(|number| stage.raw(&format!("client-{number}"))).collect();
        for client in &mut clients {
            client.raw.write(&upload(ADA, &framing, b"")).await;
        }
        let sending = async {
            for piece in pieces {
                for client in &mut clients {
                    client.raw.write(&piece).await;
                }
                sleep(Duration::from_millis(990)).await;
            }
        };
        let (_, ()) = tokio::join!(timeout(IN_TIME, sending), sleep(IN_TIME));
        clients.iter().try_for_each(|client| client.is_answered(&[502]))?;
        let (all, at_client) = (clients.len(), clients.iter().filter(|client| !client.raw.is_closed()).count());
        let at_store = stage.store.open();
        REFUSED_RELAY_LETS_GO.require(
            at_client == 0 && at_store == 0,
            format!(
                "5 s after the store's 413, still open of {all}: connections of clients {at_client}, to the store \
                 {at_store}"
            ),
        )?;
    }
    for (manner, takes) in [(Manner::Refuses, "a piece a second"), (Manner::RefusesAndReads, "it")] {
        let title = format!("HTTP/1.1, a refused upload of 32 KiB comes anyway, and the store takes {takes}");
        let stage = Stage::with(&lab, &app, title, manner);
        let mut client = stage.raw("client");
        let bytes = upload(ADA, &self::known(32 * SMALL), &vec![b'x'; 32 * SMALL]);
        let sending = async {
            client.raw.write(&bytes).await;
            client.raw.write(FETCH_LETTERS).await;
        };
        let (_, ()) = tokio::join!(timeout(IN_TIME, sending), sleep(IN_TIME));
        client.is_refused_first(&[502])?;
        let used = client.statuses().len() == 2 && client.has_letters();
        let closed = client.statuses().len() == 1 && client.raw.is_closed();
        REFUSED_RELAY_LETS_GO.require(used || closed, format!("5 s after the upload {}", client.what_became(2)))?;
        let told = "5 s after the store's 413, connections open but of no use: ";
        stage.store_is_let_go(Protocol::Http1, REFUSED_RELAY_LETS_GO, told).await?;
    }
    let stage = Stage::with(&lab, &app, "HTTP/2, a refused upload that stalls", Manner::Refuses);
    let client = stage.server.connect("client", Protocol::Http2).await;
    let (feed, body) = stage.scene.feed("client's file");
    feed.data(vec![b'x'; 100]);
    let asked = async { Ok::<_, Closed>(client.send(post_upload(Some("ada"), body)).await?.read().await.status) };
    let (answered, ()) = tokio::join!(timeout(IN_TIME, asked), sleep(IN_TIME));
    let Ok(status) = answered else {
        return REFUSED_RELAY_LETS_GO.require(false, "5 s after the store's 413 the client has no whole answer");
    };
    let status = status?;
    STATUSES.require(status == 502, format!("the answer is {} instead of 502", status.as_u16()))?;
    letters(&client).await?;
    let told = "5 s after the store's 413, connections open but of no use: ";
    stage.store_is_let_go(Protocol::Http2, REFUSED_RELAY_LETS_GO, told).await
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
    all_have_ended(&stage).await?;
    for (protocol, what) in Protocol::BOTH.into_iter().flat_map(|protocol| {
        ["a good answer", "an error that is endless", "an error that is stalled", "an upload"]
            .map(|what| (protocol, what))
    }) {
        let stage = Stage::open(&lab, &app, format!("{protocol}, a client leaves in the middle of {what}"));
        let client = stage.server.connect("client", protocol).await;
        let (feed, body) = stage.scene.feed("client's file");
        feed.data(vec![b'x'; 100]);
        let pending = client.begin(match what {
            "a good answer" => get_request("/fetch/growing"),
            "an error that is endless" => get_request("/fetch/endless"),
            "an error that is stalled" => get_request("/fetch/stalled"),
            _ => post_upload(Some("ada"), body),
        });
        stage.scene.settle().await;
        if what != "an upload" {
            let asked = stage.store.asked().len();
            control(asked == 1, format!("the store is asked {asked} times"))?;
        }
        client.leave();
        drop((pending, feed));
        sleep(IN_TIME).await;
        all_have_ended(&stage).await?;
        let open = stage.store.open();
        NOTHING_LEFT.require(open == 0, format!("5 s after the client has left, connections to the store: {open}"))?;
    }
    Ok(())
}

/// After the clients have left.
async fn all_have_ended(stage: &Stage) -> Proof {
    stage.scene.settle().await;
    let connections = stage.server.connections();
    let open = connections.iter().filter(|connection| connection.ended.is_none()).count();
    NOTHING_LEFT.require(open == 0, format!("all clients have left, and {open} of their connections are open"))
}

async fn expect_gets_final_status(lab: Lab, app: App) -> Proof {
    works(&lab, &app, Protocol::Http1).await?;
    let expecting = |framing: String| framing + "expect: 100-continue\r\n";
    let stage = Stage::open(&lab, &app, "HTTP/1.1, an upload that is let in");
    let mut client = stage.raw("client");
    client.send(&upload(ADA, &expecting(known(SMALL)), b"")).await;
    control(client.last_status() == Some(100), "an upload that may pass does not get a 100")?;
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
            .require(statuses == [status], format!("the answer is {statuses:?} instead of {status}"))?;
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
        let stage = Stage::with(&lab, &app, protocol.to_string(), Manner::RefusesAndReads);
        let (_feed, body) = stage.scene.feed("client's file");
        let mut too_large = post_upload(Some("ada"), body);
        too_large.headers_mut().insert(CONTENT_LENGTH, LARGE.into());
        let support = stage.server.connect("support", protocol).await;
        let incidents = [
            (post_upload(None, "x"), 403, "/upload"),
            (too_large, 413, "/upload"),
            (get_request("/fetch/failing"), 502, "/failing"),
            (get_request("/fetch/missing"), 502, "/missing"),
            (get_request("/fetch/stalled"), 502, "/stalled"),
            (post_upload(Some("ada"), "x"), 502, "/upload"),
        ];
        for (number, (request, status, name)) in (1..).zip(incidents) {
            let client = match protocol {
                Protocol::Http1 => stage.server.connect("client", protocol).await,
                Protocol::Http2 => support.clone(),
            };
            // Whether it is answered in time is another promise's.
            if let Ok(answer) = timeout(IN_TIME, client.send(request)).await {
                is(&answer?, status)?;
            }
            // An incident may be told when its body is done with.
            sleep(IN_TIME).await;
            let page = page(&support).await?;
            let told = |line: &String| line.contains(&status.to_string()) && line.contains(name);
            INCIDENTS_ARE_TOLD
                .require(page.iter().any(told), format!("no line of the support page has {status} and {name}"))?;
            PAGE.require(page.first().is_some_and(told), format!("{status} {name} is not the first line of the page"))?;
            let lines = page.len();
            PAGE.require(lines == number, format!("after incident {number} the support page has lines: {lines}"))?;
        }
    }
    let stage = Stage::open(&lab, &app, "HTTP/2, a hundred incidents");
    let client = stage.server.connect("client", Protocol::Http2).await;
    is(&client.send(get_request("/fetch/failing")).await?, 502)?;
    for (refused, oldest) in [(LATEST - 1, "/failing"), (1, "/upload")] {
        for _ in 0..refused {
            let answer = client.send(post_upload(None, Body::empty())).await?;
            is(&answer, 403)?;
            answer.read().await;
        }
        let page = page(&client).await?;
        let (lines, last) = (page.len(), page.last().cloned().unwrap_or_default());
        PAGE.require(lines == LATEST, format!("of a hundred incidents and more the support page has lines: {lines}"))?;
        PAGE.require(last.contains(oldest), format!("the last of a hundred lines is {last:?}, and not of {oldest}"))?;
    }
    Ok(())
}

/// The lines of the support page.
async fn page(support: &Connection) -> Result<Vec<String>, Closed> {
    let page = support.send(get_request("/incidents")).await?.read().await.text();
    Ok(page.lines().map(str::to_owned).collect())
}

async fn good_answers_whole(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        works(&lab, &app, protocol).await?;
        for (what, name, length) in [
            ("that takes 10 s", "slow", 5 * SMALL),
            ("whose head takes 10 s", "thoughtful", LETTERS.len()),
            ("of 512 KiB", "large", 512 * SMALL),
            ("of 512 KiB in chunks", "large-chunks", 512 * SMALL),
            ("of nothing", "nothing", 0),
        ] {
            let stage = Stage::open(&lab, &app, format!("{protocol}, an answer {what}"));
            let asked = stage.scene.now_ms();
            let answer = stage.fetch(protocol, name).await?;
            is(&answer, if name == "nothing" { 204 } else { 200 })?;
            let body = answer.listen();
            stage.scene.settle().await;
            if name == "slow" {
                let (waited, first) = (stage.scene.now_ms() - asked, body.so_far().bytes().len());
                let told = format!(
                    "{waited} ms after a fetch, the client has {first} of the 1024 bytes that the store has sent"
                );
                GOOD_ANSWERS_WHOLE.require(first == SMALL && waited < 1000, told)?;
            }
            let body = body.ended().await;
            let got = body.bytes().len();
            let clean = body.end.is_some_and(|(_, end)| end == End::Clean);
            let end = if clean { "and the end" } else { "and it breaks off" };
            GOOD_ANSWERS_WHOLE.require(clean && got == length, format!("{got} of {length} bytes come, {end}"))?;
        }
        let stage = Stage::open(&lab, &app, format!("{protocol}, status and headers"));
        let answer = stage.fetch(protocol, "shelf").await?;
        is(&answer, 203)?;
        for (name, value) in [("x-shelf", "7"), ("content-type", "text/x-letters")] {
            let got = answer.header(name);
            GOOD_ANSWERS_WHOLE.require(got == Some(value), format!("{name} is {got:?} instead of {value:?}"))?;
        }
        let stage = Stage::open(&lab, &app, format!("{protocol}, a client that does not read"));
        let answer = stage.fetch(protocol, "plenty").await?;
        is(&answer, 200)?;
        sleep(IN_TIME).await;
        let taken = stage.store.seen().produced;
        AS_FAST_AS_READ.require(taken <= AHEAD, format!("the gate has taken {taken} bytes that nobody reads"))?;
    }
    let stage = Stage::open(&lab, &app, "an answer that outlives its app");
    let mut asked = get_request("/fetch/slow");
    asked.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
    let answer = app(stage.store.dial()).oneshot(asked).await.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    STATUSES.require(status == 200, format!("the answer is {status} instead of 200"))?;
    let body = to_bytes(answer.into_body(), usize::MAX).await;
    let whole = body.is_ok_and(|body| body.len() == 5 * SMALL);
    OUTLIVES_THE_APP.require(whole, "the answer breaks off when the app is dropped")
}

async fn uploads_whole(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        works(&lab, &app, protocol).await?;
        let whole: Vec<u8> = (0..ADMITTED).map(|at| b'a' + u8::try_from(at / 1000 % 26).unwrap_or_default()).collect();
        let stage = Stage::open(&lab, &app, format!("{protocol}, 200000 bytes of known length"));
        let client = stage.server.connect("client", protocol).await;
        let answer = client.send(post_upload(Some("ada"), whole.clone())).await?;
        is(&answer, 201)?;
        let said = answer.read().await.text();
        UPLOADS_WHOLE.require(said == "200000 bytes\n", format!("the store's answer comes as {said:?}"))?;
        stage.store.has(&whole)?;
        for (manner, says) in [(Manner::Takes, "when it has it"), (Manner::AcceptsFirst, "at its head")] {
            let stage =
                Stage::with(&lab, &app, format!("{protocol}, 10 s long, and the store says yes {says}"), manner);
            let client = stage.server.connect("client", protocol).await;
            let (mut feed, body) = stage.scene.feed("client's file");
            let pieces: Vec<_> = whole.chunks(SMALL).take(5).collect();
            feed.data(pieces[0].to_vec());
            let pending = client.begin(post_upload(Some("ada"), body));
            stage.scene.settle().await;
            let has = stage.store.seen().uploaded.len();
            UPLOADS_WHOLE
                .require(has == SMALL, format!("{has} of the first 1024 bytes have come before the others"))?;
            if manner == Manner::AcceptsFirst {
                GOOD_ANSWERS_WHOLE
                    .require(pending.is_answered(), "the store has said yes, and its client has not been told")?;
            }
            for piece in &pieces[1..] {
                sleep(SLOW).await;
                feed.data(piece.to_vec());
            }
            feed.end();
            let answer = pending.answer().await?;
            is(&answer, 201)?;
            answer.read().await;
            stage.scene.settle().await;
            stage.store.has(&pieces.concat())?;
        }
    }
    Ok(())
}

async fn good_answers_share(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        works(&lab, &app, protocol).await?;
        let stage = Stage::open(&lab, &app, format!("{protocol}, ten good answers"));
        let client = stage.server.connect("client", protocol).await;
        let requests = [get_request as fn(&str) -> Request, |_| post_upload(Some("ada"), "x")];
        for (number, name) in
            ["letters", "large-chunks", "shelf", "nothing", "large"].into_iter().cycle().take(10).enumerate()
        {
            let request = requests[usize::from(number % 5 == 3)](&format!("/fetch/{name}"));
            let answer = client.send(request).await?;
            let status = answer.status().as_u16();
            STATUSES.require((200..300).contains(&status), format!("instead of a success the answer is {status}"))?;
            answer.read().await;
        }
        let (asked, dialled) = (stage.store.asked().len(), stage.store.dialled());
        ONCE.require(asked == 10, format!("for ten requests the store is asked {asked} times"))?;
        GOOD_ANSWERS_SHARE
            .require(dialled == 1, format!("ten good answers took {dialled} connections to the store"))?;
        stage.store.hang_up.notify_waiters();
        stage.scene.settle().await;
        letters(&client).await?;
    }
    Ok(())
}

async fn failures_are_told(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        works(&lab, &app, protocol).await?;
        let stage = Stage::open(&lab, &app, format!("{protocol}, answers that are not a success, and no answer"));
        for name in ["failing", "missing", "moved", "gone"] {
            let answer = stage.fetch(protocol, name).await?;
            let status = answer.status().as_u16();
            FAILURES_ARE_TOLD
                .require(status == 502, format!("a fetch of {name} is answered with {status}, not with 502"))?;
            answer.read().await;
            let asked = stage.store.asked().iter().filter(|path| path.strip_prefix('/') == Some(name)).count();
            ONCE.require(asked == 1, format!("for one fetch of {name} the store is asked {asked} times"))?;
            letters(&stage.server.connect("other", protocol).await).await?;
        }
        let stage =
            Stage::with(&lab, &app, format!("{protocol}, an upload at which the store breaks off"), Manner::BreaksOff);
        let client = stage.server.connect("client", protocol).await;
        let answer = client.send(post_upload(Some("ada"), "x")).await?;
        is(&answer, 502)?;
        let asked = stage.store.asked().len();
        ONCE.require(asked == 1, format!("for one upload the store is asked {asked} times"))?;
        answer.read().await;
        letters(&stage.server.connect("other", protocol).await).await?;
        let stage = Stage::open(&lab, &app, format!("{protocol}, an answer that breaks off"));
        let answer = stage.fetch(protocol, "torn").await?;
        is(&answer, 200)?;
        let end = answer.read().await.end;
        let error = end.is_some_and(|(_, end)| end == End::Error);
        FAILURES_ARE_TOLD.require(error, "half of an answer ends as if it were whole")?;
        letters(&stage.server.connect("other", protocol).await).await?;
        let scene = lab.scene(format!("{protocol}, a store that cannot be reached"));
        let refused = service_fn(|()| future::ready(Err(io::ErrorKind::ConnectionRefused.into())));
        let client = scene.serve(app(BoxCloneSyncService::new(refused))).connect("client", protocol).await;
        is(&client.send(get_request("/fetch/letters")).await?, 502)?;
    }
    Ok(())
}

// ===== Requests =====

/// A user who may upload.
const ADA: &str = "x-user: ada\r\n";
/// A client without a user.
const NOBODY: &str = "";
/// What may be said to an upload that has no user and is too large.
const EITHER: &[u16] = &[403, 413];
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
    STATUSES.require(got == status, format!("the answer is {got} instead of {status}"))
}

async fn letters(client: &Connection) -> Proof {
    let answer = client.send(get_request("/fetch/letters")).await?;
    is(&answer, 200)?;
    let text = answer.read().await.text();
    GOOD_ANSWERS_WHOLE.require(text == LETTERS, format!("instead of the letters, {text:?} came"))
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
        Self::with(lab, app, title, Manner::Takes)
    }

    /// With a store that meets uploads in this manner.
    fn with(lab: &Lab, app: &App, title: impl Into<String>, manner: Manner) -> Self {
        let scene = lab.scene(title);
        let store = Store { scene: scene.clone(), manner, seen: Arc::default(), hang_up: Arc::default() };
        let server = scene.serve(app(store.dial()));
        Self { scene, server, store }
    }

    /// Fetches on a connection of its own.
    async fn fetch(&self, protocol: Protocol, name: &str) -> Result<Answer, Closed> {
        let client = self.server.connect("client", protocol).await;
        client.send(get_request(&format!("/fetch/{name}"))).await
    }

    /// Whether each connection to the store that is open can be used: so many fetches at once need no other.
    async fn store_is_let_go(&self, protocol: Protocol, asked: Asked, told: &str) -> Proof {
        let (open, dialled) = (self.store.open(), self.store.dialled());
        let mut answers = Vec::new();
        for _ in 0..open {
            let answer = self.fetch(protocol, "growing").await?;
            is(&answer, 200)?;
            answers.push(answer);
        }
        let of_no_use = self.store.dialled() - dialled;
        asked.require(of_no_use == 0, format!("{told}{of_no_use}"))
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
    control(text == LETTERS, format!("instead of the letters, {text:?} came"))
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

    /// Whether the last answer has one of these statuses.
    fn is_answered(&self, statuses: &[u16]) -> Proof {
        Self::is_one_of(self.last_status(), statuses)
    }

    /// Whether the first answer has one of these statuses.
    fn is_refused_first(&self, statuses: &[u16]) -> Proof {
        Self::is_one_of(self.statuses().first().copied(), statuses)
    }

    fn is_one_of(got: Option<u16>, statuses: &[u16]) -> Proof {
        let asked = if statuses == EITHER { EITHER_REFUSAL } else { STATUSES };
        let wanted = statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
        match got {
            Some(got) => asked.require(statuses.contains(&got), format!("the answer is {got} instead of {wanted}")),
            None => ANSWER_BEFORE_BODY.require(false, format!("there is no whole answer, and no {wanted}")),
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
            format!("the connection is closed after {statuses:?}")
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
    manner: Manner,
    seen: Arc<Mutex<Seen>>,
    /// Closes all connections that are open.
    hang_up: Arc<Notify>,
}

/// How a store meets an upload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// It takes it, and says then how much it was.
    Takes,
    /// It says yes at the head, and takes it.
    AcceptsFirst,
    /// It says no at the head, keeps the connection, and takes a piece a second: enough to see whether it is still there.
    Refuses,
    /// It says no at the head, and takes it all the same.
    RefusesAndReads,
    /// It says no at the head, with a reason that does not end.
    RefusesWithoutEnd,
    /// It closes the connection without an answer.
    BreaksOff,
}

#[derive(Default)]
struct Seen {
    /// Whether each connection, in the order in which they were dialled, is open.
    connections: Vec<bool>,
    /// What it was asked for.
    asked: Vec<String>,
    /// What it has taken of uploads.
    uploaded: Vec<u8>,
    /// Whether the last upload came to its end.
    ended: bool,
    /// How many bytes of plenty were taken from it.
    produced: usize,
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
        let (store, routes) = (self.clone(), self.routes());
        let answer = service_fn(move |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            store.scene.note("store", format!("is asked {} {path} on connection {number}", request.method()));
            store.seen().asked.push(path);
            routes.clone().oneshot(request.map(Body::new))
        });
        let mut http1 = http1::Builder::new();
        http1.auto_date_header(false).max_buf_size(CONNECTION_BUFFER);
        let serving = http1.serve_connection(TokioIo::new(far), TowerToHyperService::new(answer));
        let store = self.clone();
        self.scene.spawn(async move {
            // A connection that breaks off is one that is closed.
            tokio::select! {
                biased;
                () = store.hang_up.notified() => {}
                _ = serving => {}
            }
            store.seen().connections[number - 1] = false;
            store.scene.note("store", format!("finds connection {number} closed"));
        });
        near
    }

    /// What it serves.
    fn routes(&self) -> Router {
        let (taker, plenty, torn, gone) = (self.clone(), self.clone(), self.clone(), self.clone());
        let produced = move |data: &Bytes| plenty.seen().produced += data.len();
        let plenty = move || {
            let produced = produced.clone();
            stream::iter(vec![Bytes::from(vec![b'x'; 4 * SMALL]); 1024]).inspect(produced)
        };
        let half = move || {
            let torn = torn.clone();
            let hang_up = stream::once(sleep(A_MOMENT)).then(move |()| {
                torn.hang_up.notify_waiters();
                future::pending()
            });
            stream::iter([Bytes::from(vec![b'x'; SMALL / 2])]).chain(hang_up)
        };
        routes()
            .route("/upload", post(async move |body: Body| taker.take(body).await))
            .route("/plenty", get(async move || in_chunks(StatusCode::OK, plenty())))
            .route("/torn", get(async move || in_chunks(StatusCode::OK, half())))
            .route("/gone", get(async move || gone.hangs_up().await))
    }

    async fn take(self, body: Body) -> Response {
        let no = StatusCode::PAYLOAD_TOO_LARGE;
        match self.manner {
            Manner::Takes => {
                self.read(body).await;
                (StatusCode::CREATED, format!("{} bytes\n", self.seen().uploaded.len())).into_response()
            }
            Manner::AcceptsFirst => {
                let reader = self.clone();
                self.scene.spawn(async move { reader.read(body).await });
                (StatusCode::CREATED, "go on\n").into_response()
            }
            Manner::Refuses => {
                self.scene.spawn(self.clone().read_slowly(body));
                (no, "x".repeat(SMALL)).into_response()
            }
            Manner::RefusesAndReads => {
                let reader = self.clone();
                self.scene.spawn(async move { reader.read(body).await });
                (no, "x".repeat(SMALL)).into_response()
            }
            Manner::RefusesWithoutEnd => {
                self.scene.spawn(self.clone().read_slowly(body));
                in_chunks(no, endless())
            }
            Manner::BreaksOff => self.hangs_up().await,
        }
    }

    async fn read(&self, body: Body) {
        let mut data = body.into_data_stream();
        while let Some(Ok(piece)) = data.next().await {
            self.seen().uploaded.extend_from_slice(&piece);
        }
        self.seen().ended = true;
    }

    async fn read_slowly(self, body: Body) {
        let mut data = body.into_data_stream();
        while let Some(Ok(_)) = data.next().await {
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn hangs_up(&self) -> Response {
        self.hang_up.notify_waiters();
        future::pending().await
    }

    /// Whether this is what was uploaded, no less and no more.
    fn has(&self, all: &[u8]) -> Proof {
        let seen = self.seen();
        let (got, length) = (seen.uploaded.len(), all.len());
        UPLOADS_WHOLE.require(seen.ended && seen.uploaded == all, format!("the store has {got} of {length} bytes"))?;
        let asked = seen.asked.len();
        ONCE.require(asked == 1, format!("for one upload the store is asked {asked} times"))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
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

/// What a store serves beside uploads.
fn routes() -> Router {
    let error = StatusCode::SERVICE_UNAVAILABLE;
    let piece = |length: usize| Bytes::from(vec![b'x'; length]);
    let half = move || stream::iter([piece(SMALL / 2)]).chain(stream::pending());
    let one = move || stream::iter([piece(SMALL)]);
    let late = move || stream::once(sleep(A_MOMENT)).map(move |()| piece(SMALL));
    let slow = move || one().chain(stream::iter(0..4).then(move |_| sleep(SLOW)).map(move |()| piece(SMALL)));
    let thoughtful = async || {
        sleep(4 * SLOW).await;
        LETTERS
    };
    // What is large is made when it is asked for: a store of its own answers each request.
    Router::new()
        .route("/letters", get(LETTERS))
        .route("/shelf", get((StatusCode::NON_AUTHORITATIVE_INFORMATION, LABELS, LETTERS)))
        .route("/nothing", get(StatusCode::NO_CONTENT))
        .route("/growing", get(async move || in_chunks(StatusCode::OK, half())))
        .route("/slow", get(async move || in_chunks(StatusCode::OK, slow())))
        .route("/thoughtful", get(thoughtful))
        .route("/large", get(async || "x".repeat(512 * SMALL)))
        .route("/large-chunks", get(async move || in_chunks(StatusCode::OK, stream::iter(vec![piece(4 * SMALL); 128]))))
        .route("/failing", get((error, "x".repeat(SMALL))))
        .route("/failing-late", get(async move || ([(CONTENT_LENGTH, SMALL)], in_chunks(error, late()))))
        .route("/breaking", get(async move || in_chunks(error, one())))
        .route("/breaking-late", get(async move || in_chunks(error, late())))
        .route("/endless", get(async move || in_chunks(error, endless())))
        .route("/stalled", get(async move || in_chunks(error, half())))
        .route("/large-failing", get(async move || (error, "x".repeat(LARGE))))
        .route("/moved", get((StatusCode::FOUND, [(LOCATION, "/letters")])))
}

/// What stands on a shelf.
const LABELS: [(&str, &str); 2] = [("x-shelf", "7"), ("content-type", "text/x-letters")];

fn endless() -> impl Stream<Item = Bytes> + Send + 'static {
    stream::repeat(Bytes::from(vec![b'x'; 4 * SMALL])).then(|data| sleep(PACE).map(|()| data))
}

fn in_chunks(status: StatusCode, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    (status, Body::from_stream(chunks.map(Ok::<_, Infallible>))).into_response()
}
