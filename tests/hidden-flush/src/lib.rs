//! The specification of `hidden-flush`: a build-log server that compresses, and must not hold back what it compresses.

use std::{
    convert::Infallible,
    io::Read,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use conform::{Contract, Subject, the_rest};
use flate2::bufread::GzDecoder;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinHandle, time::sleep};

use lab::{
    Answer, Arrival, Asked, Broken, Closed, Connection, Course, End, Feed, Ghost, Lab, Leaving, Limits, Listener,
    Pending, Proof, Protocol, Received, Report, Scene, Shown, Specification, control, locked,
};

/// Makes the app under test from the server of the logs.
pub type App = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// The types of a stream that somebody watches live.
const LIVE: [&str; 5] =
    ["text/event-stream", "application/x-ndjson", "text/plain", "application/json", "multipart/x-mixed-replace"];
/// What may be taken of an endless source while nobody reads.
const MOST_TAKEN: usize = 4 * 1024 * 1024;

const ANSWER_BEGINS_FIRST: Asked =
    Asked::new("answer-begins-first", "The head of an answer reaches the client before the first event is produced.");
const EVENT_BEFORE_CLOCK: Asked = Asked::new(
    "event-before-clock",
    "Each event reaches the client before the clock moves on from the moment it was produced, whatever the stream's \
     type.",
);
const SMALL_EVENT_WHEN_QUIET: Asked =
    Asked::new("small-event-when-quiet", "An event of one byte reaches the client even if the source then goes quiet.");
const BYTES_ONCE_IN_ORDER: Asked = Asked::new(
    "bytes-once-in-order",
    "All bytes arrive once and in order, and a finished log comes as gzip to any client that accepts it.",
);
const TRAILERS_SURVIVE: Asked = Asked::new(
    "trailers-survive",
    "Trailers arrive after the last byte, in whatever order the source yields data, trailers and end.",
);
const HEADERS_ARE_TRUE: Asked = Asked::new(
    "headers-are-true",
    "The headers are true of what follows them, and an answer that must not be compressed is left alone.",
);
const STOPPED_READER_STOPS_SOURCE: Asked = Asked::new(
    "stopped-reader-stops-source",
    "While the client isn't reading, at most 4 MiB are taken from an endless source.",
);
const SOURCE_DROPPED_WITH_CLIENT: Asked = Asked::new(
    "source-dropped-with-client",
    "When the client leaves while the source is quiet, the source is dropped.",
);
const SOURCE_ENDS_ONCE: Asked = Asked::new(
    "source-ends-once",
    "A source that has ended or failed isn't polled again, because many streams panic if they are.",
);
const ERROR_AFTER_ITS_BYTES: Asked = Asked::new(
    "error-after-its-bytes",
    "An error or a panic of the source reaches the client as an error, after every byte that was produced before it.",
);
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Everything else that passes through comes out as it went in: requests, answers that aren't compressed, and all \
     but the coding of those that are.",
);

const NO_TIMER: Asked = Asked::new("no-timer", "An event waits for no timer, however short.");
const ONE_GZIP_MEMBER: Asked = Asked::new(
    "one-gzip-member",
    "A body with `content-encoding: gzip` is one whole gzip member and nothing after it, because curl and browsers \
     read no further.",
);
const GZIP_OR_AS_IT_IS: Asked = Asked::new(
    "gzip-or-as-it-is",
    "A client that accepts gzip gets a live log either as gzip or as it is, and a finished log of 64 KiB as gzip.",
);
const WHO_ACCEPTS_GZIP: Asked = Asked::new(
    "who-accepts-gzip",
    "A client accepts gzip if any of its `accept-encoding` lines names it, in upper or lower case, with a weight \
     above zero.",
);
const ALL_OF_IT: Asked = Asked::new(
    "all-of-it",
    "An answer's bytes, once decoded, are those that the source produced, and end as the source ended. What the source \
     produced at the very instant at which it fails may be lost, as it may be without the layer.",
);
const LENGTH_TRUE_OR_ABSENT: Asked = Asked::new(
    "length-true-or-absent",
    "If there's a `content-length`, it's true of the coding that the answer names, even on a HEAD. It may be left \
     out.",
);
const VARY_NAMES_IT: Asked = Asked::new(
    "vary-names-it",
    "An answer that's compressed for some clients has `accept-encoding` in its `vary` for all of them, along with \
     what the source put there.",
);
const NOT_COMPRESSED: Asked = Asked::new(
    "not-compressed",
    "Without `gzip` in `accept-encoding`, or with `gzip;q=0`, nothing is compressed; nor is a 204, a 304, or an answer \
     that has a `content-encoding`.",
);
const TRAILERS_WHERE_NAMED: Asked = Asked::new(
    "trailers-where-named",
    "Trailers are looked for where the request has `te: trailers` and the source's answer has a `trailer` header, \
     with gzip and without.",
);
const DROPPED_WITHIN: Asked =
    Asked::new("dropped-within", "The source is dropped within 30 s after the client leaves.");
const REST_WHEN_COMPRESSED: Asked = Asked::new(
    "rest-when-compressed",
    "For a client that accepts gzip, only the body, `content-encoding`, `content-length`, `vary`, `etag` and \
     `accept-ranges` of an answer change. Requests of any method, their bodies, trailers and extensions, \
     upgrades, cancelled calls and panics pass as they would without the layer.",
);
const REST_WHEN_NOT: Asked = Asked::new(
    "rest-when-not-compressed",
    "For a client that doesn't accept gzip, nothing but `vary` changes: bodies keep their lengths, come as they are \
     produced and are read no further ahead than 64 KiB, and upgrades, cancelled calls and panics pass as \
     they would without the layer.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Router) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(ANSWER_BEGINS_FIRST, answer_begins_first)
        .promise(EVENT_BEFORE_CLOCK, event_before_clock)
        .promise(SMALL_EVENT_WHEN_QUIET, small_event_when_quiet)
        .promise(BYTES_ONCE_IN_ORDER, bytes_once_in_order)
        .promise(TRAILERS_SURVIVE, trailers_survive)
        .promise(HEADERS_ARE_TRUE, headers_are_true)
        .promise(STOPPED_READER_STOPS_SOURCE, stopped_reader_stops_source)
        .promise(SOURCE_DROPPED_WITH_CLIENT, source_dropped_with_client)
        .promise(SOURCE_ENDS_ONCE, source_ends_once)
        .promise(ERROR_AFTER_ITS_BYTES, error_after_its_bytes)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the app changes on purpose in an answer that it compresses, and what its own promises judge.
pub fn contract() -> Contract {
    Contract::transparent()
        .touches("response body")
        .touches("response header content-encoding")
        .touches("response header content-length")
        .touches("response header vary")
        // A validator of the bytes, and ranges of them, are no longer those of the source.
        .touches("response header etag")
        .touches("response header accept-ranges")
        .changes("lengths-are-kept", "how long a body is when it is compressed is known at its end")
        .changes("response-streams", "what is held back is the ghost")
        .changes("body-error-after-its-bytes", "what is held back is lost with an error: the ghost")
}

/// What the app changes where it does not compress.
fn plain_contract() -> Contract {
    Contract::transparent().touches("response header vary")
}

/// What is kept in any answer, beside what *must* be.
const SHOULD: [&str; 20] = [
    "lets-through",
    "methods-pass",
    "extensions-kept",
    "trailers-kept",
    "request-trailers-kept",
    "request-body-untouched",
    "request-streams",
    "request-not-read-ahead",
    "request-body-released",
    "cancel-reaches-inner",
    "cancelled-at-each-step",
    "nothing-left-running",
    "calls-overlap",
    "survives-a-panic",
    "upgrade-passes",
    "extended-connect-passes",
    "continue-when-read",
    "coded-trailers-kept",
    "coded-bodies-stream",
    "body-drop-reaches-inner",
];
/// What is kept beside it in an answer that is not compressed.
const SHOULD_WHEN_PLAIN: [&str; 4] =
    ["lengths-are-kept", "head-before-body", "response-streams", "response-not-read-ahead"];

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "hidden-flush";
    type App = fn(Router) -> Router;
    type StandIns = Router;
    const ASKED: &'static [Asked] = &[
        NO_TIMER,
        ONE_GZIP_MEMBER,
        GZIP_OR_AS_IT_IS,
        WHO_ACCEPTS_GZIP,
        ALL_OF_IT,
        LENGTH_TRUE_OR_ABSENT,
        VARY_NAMES_IT,
        NOT_COMPRESSED,
        TRAILERS_WHERE_NAMED,
        DROPPED_WITHIN,
        REST_WHEN_COMPRESSED,
        REST_WHEN_NOT,
    ];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// A build server for `serve`: the log of each build is five lines long, and a line takes a second.
    fn stand_ins() -> Self::StandIns {
        let log = || async {
            let lines = ["fetching 41 crates", "compiling", "linking", "running 118 tests", "build passed"];
            let lines = stream::unfold(lines.into_iter(), |mut lines| async {
                let line = lines.next()?;
                sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, Infallible>(format!("{line}\n")), lines))
            });
            ([("content-type", "text/plain")], Body::from_stream(lines))
        };
        Router::new().route("/builds/{build}/log", get(log))
    }

    fn serve(app: Self::App, logs: Self::StandIns) -> Router {
        app(logs)
    }
}

// ===== The promises =====

async fn answer_begins_first(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for kind in LIVE {
            let scene = lab.scene(format!("{protocol}, {kind}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live(kind, body)).await?;
            let pending = client.begin(asking(LIVE_LOG));
            sleep(Duration::from_secs(5)).await;
            let seen = "the log was asked for; 5 s later, before its first event, the answer had not begun";
            ANSWER_BEGINS_FIRST.require(pending.is_answered(), seen)?;
            // The connection may have closed instead.
            pending.answer().await?;
            feed.end();
        }
    }
    Ok(())
}

async fn event_before_clock(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for kind in LIVE {
            let scene = lab.scene(format!("{protocol}, {kind}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live(kind, body)).await?;
            let follower = Follower::of(&scene, client.begin(asking(LIVE_LOG)));
            scene.settle().await;
            let events = ["event 1", "event 2", "event 3"].map(event);
            let mut produced = Vec::new();
            for event in &events {
                produced.push(Some(scene.now_ms()));
                feed.data(event.clone());
                sleep(Duration::from_secs(5)).await;
            }
            feed.end();
            sleep(Duration::from_secs(5)).await;
            let received = follower.so_far()?;
            let came: Vec<_> = events.iter().map(|event| received.came_at_ms(event)).collect();
            let seen = format!("events were produced at {}; they came at {}", times(&produced), times(&came));
            NO_TIMER.require(came == produced, seen)?;
        }

        let scene = lab.scene(format!("{protocol}, events of many sizes"));
        let (mut feed, body) = scene.feed("logs");
        let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
        let follower = Follower::of(&scene, client.begin(asking(LIVE_LOG)));
        let mut produced = 0;
        // Around what an encoder may take for a block, and far above; then two at once.
        for sizes in [&[4_095][..], &[8_191], &[8_192], &[8_193], &[32_768], &[65_536], &[60_000, 5_000]] {
            for size in sizes {
                feed.data(NOISE.slice(..*size));
                produced += size;
            }
            scene.settle().await;
            let came = decoded_so_far(&follower.so_far()?).len();
            let seen = format!("{produced} bytes were produced so far, and {came} had come when all was at rest");
            EVENT_BEFORE_CLOCK.require(came == produced, seen)?;
        }
        feed.end();
    }
    Ok(())
}

fn times(at_ms: &[Option<u64>]) -> String {
    let times = at_ms.iter().map(|at| at.map_or("no time".to_owned(), |at| format!("{at} ms")));
    times.collect::<Vec<_>>().join(", ")
}

async fn small_event_when_quiet(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (kind, is_first) in LIVE.map(|kind| (kind, false)).into_iter().chain([("text/plain", true)]) {
            let when = if is_first { ", the first event before the head" } else { "" };
            let scene = lab.scene(format!("{protocol}, {kind}{when}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live(kind, body)).await?;
            let mut follower = None;
            for dots in [".", ".."] {
                if !is_first {
                    follower.get_or_insert_with(|| Follower::of(&scene, client.begin(asking(LIVE_LOG))));
                    scene.settle().await;
                }
                let sent = scene.now_ms();
                feed.data(".");
                let follower = follower.get_or_insert_with(|| Follower::of(&scene, client.begin(asking(LIVE_LOG))));
                sleep(Duration::from_secs(20)).await;
                let came = follower.so_far()?.text();
                scene.note("client", format!("has {came:?} so far"));
                let seen = format!(
                    "a single byte was produced at {sent} ms; after 20 s without another the client had {came:?} and \
                     not {dots:?}"
                );
                SMALL_EVENT_WHEN_QUIET.require(came == dots, seen)?;
            }
            feed.end();
            scene.settle().await;
        }
    }
    Ok(())
}

async fn bytes_once_in_order(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(format!("{protocol}, a finished log"));
        let client = connected(&scene, &app, protocol, finished(TEXT.clone())).await?;
        for lines in [&["gzip"][..], &["identity;q=0.5, gzip;q=0.9"], &["GZip"], &["br", "gzip"]] {
            let mut request = plainly(FINISHED_LOG);
            for line in lines {
                request.headers_mut().append("accept-encoding", HeaderValue::from_static(line));
            }
            let answer = Whole::of(&client, request).await?;
            let accepted = lines.join(" and accept-encoding: ");
            let seen = format!("accept-encoding: {accepted} was answered with content-encoding: {}", answer.named());
            WHO_ACCEPTS_GZIP.require(answer.is_gzip(), seen)?;
            BYTES_ONCE_IN_ORDER.same(&answer.decoded()?, &TEXT)?;
        }

        for accepts_gzip in [true, false] {
            let coding = coding(accepts_gzip);
            let scene = lab.scene(format!("{protocol}, a live log {coding}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
            let pending = client.begin(asking_or_plainly(accepts_gzip));
            let mut sent = Vec::new();
            // Sometimes the source pauses, and sometimes it has more at once; some parts compress and some do not.
            for (part, length) in [20_000, 1, 900, 5, 0, 9_000, 17, 8_192, 1, 1].into_iter().enumerate() {
                let data = if part % 3 == 0 { NOISE.slice(..length) } else { TEXT.slice(..length) };
                sent.extend_from_slice(&data);
                feed.data(data);
                if part % 2 == 0 {
                    scene.settle().await;
                }
            }
            feed.end();
            BYTES_ONCE_IN_ORDER.same(&Whole::from(pending.answer().await?).await.decoded()?, &sent)?;

            for data in [&["event 1\n", "event 2\n"][..], &[]] {
                for arrival in Arrival::OF_DATA {
                    let what = if data.is_empty() { "no event" } else { "two events" };
                    let scene = lab.scene(format!("{protocol}, {coding}, {what}, {arrival}"));
                    let (feed, body) = scene.feed("logs");
                    let mut course = Course::new(&scene, feed, arrival, data, None);
                    let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
                    let pending = client.begin(asking_or_plainly(accepts_gzip));
                    scene.settle().await;
                    course.run().await;
                    let answer = Whole::from(pending.answer().await?).await;
                    BYTES_ONCE_IN_ORDER.same(&answer.decoded()?, course.text().as_bytes())?;
                }
            }
        }
    }
    Ok(())
}

async fn trailers_survive(lab: Lab, app: App) -> Proof {
    // Trailers without any data, all of them before the head, is an order of its own.
    let no_data = [(Arrival::BeforeTheHead, &[][..])];
    let orders = Arrival::ALL.map(|arrival| (arrival, &["event 1\n", "event 2\n"][..])).into_iter().chain(no_data);
    for (protocol, accepts_gzip) in [true, false].iter().flat_map(|gzip| Protocol::BOTH.map(|both| (both, *gzip))) {
        for (arrival, data) in orders.clone() {
            let what = if data.is_empty() { ", no event" } else { "" };
            let scene = lab.scene(format!("{protocol}, {}{what}, {arrival}", coding(accepts_gzip)));
            let (feed, body) = scene.feed("logs");
            let trailers = HeaderMap::from_iter([(BUILD_RESULT.clone(), HeaderValue::from_static("passed"))]);
            let mut course = Course::new(&scene, feed, arrival, data, Some(trailers));
            let logs = answering(LIVE_LOG, body, |body| {
                ([("content-type", "text/plain"), ("trailer", "x-build-result")], body).into_response()
            });
            let client = connected(&scene, &app, protocol, logs).await?;
            let mut request = asking_or_plainly(accepts_gzip);
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            let pending = client.begin(request);
            scene.settle().await;
            course.run().await;
            let answer = Whole::from(pending.answer().await?).await;
            TRAILERS_SURVIVE.same(&answer.decoded()?, course.text().as_bytes())?;
            answer.has_passed()?;
        }
    }
    for protocol in Protocol::BOTH {
        let scene = lab.scene(format!("{protocol}, a finished log that knows its length"));
        let passed = HeaderMap::from_iter([(BUILD_RESULT.clone(), HeaderValue::from_static("passed"))]);
        let body = Body::new(Full::new(TEXT.clone()).with_trailers(async { Some(Ok(passed)) }));
        let logs = answering(FINISHED_LOG, body, |body| {
            ([("content-type", "text/plain"), ("trailer", "x-build-result")], body).into_response()
        });
        let client = connected(&scene, &app, protocol, logs).await?;
        let mut request = asking(FINISHED_LOG);
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let answer = Whole::of(&client, request).await?;
        TRAILERS_SURVIVE.same(&answer.decoded()?, &TEXT)?;
        answer.has_passed()?;
    }
    Ok(())
}

async fn headers_are_true(lab: Lab, app: App) -> Proof {
    let text = TEXT.slice(..4_096);
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let client = connected(&scene, &app, protocol, finished(text.clone())).await?;

        let gzip = Whole::of(&client, asking(FINISHED_LOG)).await?;
        gzip.has_true_length()?;
        // A log that is never compressed is the same for everybody.
        let varies_by: &[&str] = if gzip.is_gzip() { &["accept-encoding", "origin"] } else { &["origin"] };
        gzip.varies(varies_by)?;

        for accepted in ["", "gzip;q=0", "br", "identity, gzip; q=0.000"] {
            let plain = Whole::of(&client, accepting(accepted, FINISHED_LOG)).await?;
            let seen = format!("accept-encoding: {accepted:?} was answered with content-encoding: {}", plain.named());
            NOT_COMPRESSED.require(plain.coding().is_none(), seen)?;
            HEADERS_ARE_TRUE.same(&plain.received.raw, &text)?;
            plain.has_true_length()?;
            plain.varies(varies_by)?;
        }

        for accepts_gzip in [true, false] {
            let mut request = if accepts_gzip { asking(FINISHED_LOG) } else { plainly(FINISHED_LOG) };
            *request.method_mut() = Method::HEAD;
            let head = Whole::of(&client, request).await?;
            HEADERS_ARE_TRUE.require(head.received.raw.is_empty(), "a HEAD was answered with a body")?;
            // The answer may leave the coding out, but if it states a length, it is that of the coding that it names.
            let length = if head.is_gzip() { gzip.received.raw.len() } else { text.len() };
            head.states(length)?;
        }

        for (path, status) in [(NO_CONTENT, StatusCode::NO_CONTENT), (NOT_MODIFIED, StatusCode::NOT_MODIFIED)] {
            let empty = Whole::of(&client, asking(path)).await?;
            HEADERS_ARE_TRUE
                .require(empty.status == status, format!("a {} became a {}", status.as_u16(), empty.status.as_u16()))?;
            let seen = format!("a {} got content-encoding: {}", status.as_u16(), empty.named());
            NOT_COMPRESSED.require(empty.coding().is_none(), seen)?;
            HEADERS_ARE_TRUE.require(empty.received.raw.is_empty(), format!("a {} got a body", status.as_u16()))?;
            empty.states(0)?;
        }

        let encoded = Whole::of(&client, asking(ENCODED)).await?;
        let seen = format!("content-encoding: zstd became {}", encoded.named());
        NOT_COMPRESSED.require(encoded.coding().as_deref() == Some("zstd"), seen)?;
        HEADERS_ARE_TRUE.same(&encoded.received.raw, &NOISE.slice(..4_096))?;
        encoded.has_true_length()?;
    }
    Ok(())
}

async fn stopped_reader_stops_source(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let taken = Arc::<AtomicUsize>::default();
        let client = connected(&scene, &app, protocol, live("text/plain", endless(taken.clone()))).await?;
        let pending = client.begin(asking(LIVE_LOG));
        sleep(Duration::from_secs(30)).await;
        let kib = taken.load(Ordering::SeqCst) / 1024;
        control(kib > 0, "the app did not read the log")?;
        scene.note("logs", format!("gave {kib} KiB so far"));
        let seen = format!("the client read nothing for 30 s, and {kib} KiB of the endless log were taken");
        STOPPED_READER_STOPS_SOURCE.require(kib <= MOST_TAKEN / 1024, seen)?;
        drop(pending);
    }
    Ok(())
}

async fn source_dropped_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, resets) in [(Protocol::Http1, false), (Protocol::Http2, false), (Protocol::Http2, true)] {
        let way = if resets { "the stream is reset" } else { "the connection closes" };
        let scene = lab.scene(format!("{protocol}, {way}"));
        let (feed, body) = scene.feed("logs");
        let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
        let pending = client.begin(asking(LIVE_LOG));
        feed.data(event("event 1"));
        sleep(Duration::from_secs(5)).await;
        control(feed.taken() > 0, "the app did not read the log")?;
        let left = scene.now_ms();
        if resets {
            scene.note("client", "resets the stream");
            drop(pending);
        } else {
            client.leave();
        }
        is_dropped(&feed, left).await?;
    }
    for protocol in Protocol::BOTH {
        let scene = lab.scene(format!("{protocol}, the client has stopped reading"));
        let (feed, body) = scene.feed("logs");
        let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
        let pending = client.begin(asking(LIVE_LOG));
        for _ in 0..100 {
            feed.data(NOISE.slice(..16 * 1024));
        }
        sleep(Duration::from_secs(5)).await;
        let left = scene.now_ms();
        client.leave();
        is_dropped(&feed, left).await?;
        drop(pending);

        for moment in followed(&lab.scene(format!("{protocol}, nobody leaves")), &app, protocol, None).await? {
            followed(&lab.scene(format!("{protocol}, {moment}")), &app, protocol, Some(&moment)).await?;
        }
    }
    Ok(())
}

/// A client follows a log of two events, and leaves at this moment. Returned are the moments at which it may.
async fn followed(
    scene: &Scene,
    app: &App,
    protocol: Protocol,
    moment: Option<&Leaving>,
) -> Result<Vec<Leaving>, Broken> {
    let (feed, body) = scene.feed("logs");
    let begun = Arc::<AtomicBool>::default();
    let begins = begun.clone();
    let logs = answering(LIVE_LOG, body, move |body| {
        begins.store(true, Ordering::SeqCst);
        ([("content-type", "text/plain")], body).into_response()
    });
    let client = connected(scene, app, protocol, logs).await?;
    // The moments of what comes now begin after all that came before.
    scene.settle().await;
    let before = scene.moments_to_leave().len();
    if let Some(moment) = moment {
        client.leaves_at(moment);
    }
    let pending = client.begin(asking(LIVE_LOG));
    for name in ["event 1", "event 2"] {
        sleep(Duration::from_secs(5)).await;
        feed.data(event(name));
    }
    let listener = scene.spawn(async move { Some(pending.answer().await.ok()?.read().await) });
    sleep(Duration::from_secs(5)).await;
    let moments = scene.moments_to_leave().split_off(before);
    // A log that was never asked for is not the app's to drop.
    if moment.is_some() && begun.load(Ordering::SeqCst) {
        is_dropped(&feed, scene.now_ms()).await?;
    }
    listener.abort();
    Ok(moments)
}

async fn is_dropped(feed: &Feed, left: u64) -> Proof {
    sleep(Duration::from_secs(30)).await;
    let seen = format!("the client left at {left} ms; 30 s later the quiet source was still held");
    DROPPED_WITHIN.require(feed.dropped_at_ms().is_some(), seen)
}

/// The source itself says when it is polled again. What of it does not come is a breach of other promises.
async fn source_ends_once(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for arrival in Arrival::OF_DATA {
            let scene = lab.scene(format!("{protocol}, {arrival}"));
            let (feed, body) = scene.feed_that_ends_once("logs");
            let mut course = Course::new(&scene, feed, arrival, &["event 1\n", "event 2\n"], None);
            let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
            let _follower = Follower::of(&scene, client.begin(asking(LIVE_LOG)));
            scene.settle().await;
            course.run().await;
            sleep(Duration::from_secs(5)).await;
        }
        for (at_once, title) in [(false, "the source fails"), (true, "the source fails at once after an event")] {
            let scene = lab.scene(format!("{protocol}, {title}"));
            let (feed, body) = scene.feed_that_ends_once("logs");
            let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
            let _follower = Follower::of(&scene, client.begin(asking(LIVE_LOG)));
            scene.settle().await;
            feed.data(event("event 1"));
            if !at_once {
                scene.settle().await;
            }
            feed.fail("the build was killed");
            sleep(Duration::from_secs(5)).await;
        }
    }
    Ok(())
}

async fn error_after_its_bytes(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (panics, how) in [(false, "fails"), (true, "panics")] {
            for events in [&["event 1", "event 2"][..], &["event 1"], &[]] {
                let after = match events.len() {
                    0 => "before its first event".to_owned(),
                    number => format!("after {number} events").replace("1 events", "one event"),
                };
                let scene = lab.scene(format!("{protocol}, the source {how} {after}"));
                let (feed, body) = scene.feed("logs");
                let client = connected(&scene, &app, protocol, live("text/plain", panicking(body))).await?;
                let follower = Follower::of(&scene, client.begin(asking(LIVE_LOG)));
                scene.settle().await;
                for name in events {
                    feed.data(event(name));
                    sleep(Duration::from_secs(5)).await;
                }
                if panics {
                    feed.data(PANIC);
                } else {
                    feed.fail("the build was killed");
                }
                sleep(Duration::from_secs(5)).await;
                let received = match follower.so_far() {
                    // A client that gets no answer at all sees an error too.
                    Err(_) if events.is_empty() => continue,
                    received => received?,
                };
                for name in events {
                    let came = received.came_at_ms(&event(name)).is_some();
                    let seen = format!("the source {how}, and {name}, which it had produced before, never came");
                    ERROR_AFTER_ITS_BYTES.require(came, seen)?;
                }
                let saw = match received.end {
                    Some((_, End::Clean)) => "saw a body that ended as it should",
                    Some((_, End::Error)) => "saw an error",
                    None => "saw no end in 5 s",
                };
                let broke_off = matches!(received.end, Some((_, End::Error)));
                ERROR_AFTER_ITS_BYTES.require(broke_off, format!("the source {how}, and the client {saw}"))?;
            }
        }
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let layer = app.clone();
    let compressed = Subject::app(move |routes| layer(routes))
        .asking(|request| drop(request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"))))
        .decoding(|raw| decode(&raw).unwrap_or(raw));
    let (proof, scenes) = the_rest(compressed, &contract(), &SHOULD, limits);
    if let Err(broken) = proof {
        return (REST_WHEN_COMPRESSED.require(false, format!("with gzip: {broken}")), scenes);
    }
    let plain = Subject::app(move |routes| app(routes));
    let should = [&SHOULD[..], &SHOULD_WHEN_PLAIN].concat();
    let (proof, scenes) = the_rest(plain, &plain_contract(), &should, limits);
    let proof = proof.or_else(|broken| REST_WHEN_NOT.require(false, format!("without gzip: {broken}")));
    (proof, scenes)
}

// ===== The logs =====

const SHORT_LOG: &str = "/builds/5/log";
const FINISHED_LOG: &str = "/builds/6/log";
const LIVE_LOG: &str = "/builds/7/log";
const NO_CONTENT: &str = "/builds/8/log";
const NOT_MODIFIED: &str = "/builds/9/log";
const ENCODED: &str = "/builds/6/log.zst";

/// Serves the app over `logs` and a short log, and reads the short one without compression: the control of each promise.
async fn connected(scene: &Scene, app: &App, protocol: Protocol, logs: Router) -> Result<Connection, Broken> {
    let logs = logs.route(SHORT_LOG, get(|| async { "build 5 passed\n" }));
    let client = scene.serve(app(logs)).connect("client", protocol).await;
    let short = Whole::of(&client, plainly(SHORT_LOG)).await?;
    let text = short.received.text();
    control(text == "build 5 passed\n", format!("the log of build 5 came as {text:?}"))?;
    Ok(client)
}

/// A live log that is `body`.
fn live(kind: &'static str, body: Body) -> Router {
    answering(LIVE_LOG, body, move |body| ([("content-type", kind)], body).into_response())
}

/// Answers the first request for `path` with what `answer` makes of `body`.
fn answering(
    path: &str,
    body: Body,
    answer: impl Fn(Body) -> axum::response::Response + Clone + Send + Sync + 'static,
) -> Router {
    let body = Arc::new(Mutex::new(Some(body)));
    let answer = move || async move {
        let body = locked(&body).take();
        answer(body.unwrap_or_default())
    };
    Router::new().route(path, get(answer))
}

/// A finished log, and answers that are empty or compressed already.
fn finished(text: Bytes) -> Router {
    let finished = || async move {
        let length = text.len().to_string();
        ([("content-type", "text/plain"), ("content-length", &length), ("vary", "origin")], text).into_response()
    };
    let encoded = || async { ([("content-type", "text/plain"), ("content-encoding", "zstd")], NOISE.slice(..4_096)) };
    Router::new()
        .route(FINISHED_LOG, get(finished))
        .route(NO_CONTENT, get(|| async { StatusCode::NO_CONTENT }))
        .route(NOT_MODIFIED, get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"9\"")]) }))
        .route(ENCODED, get(encoded))
}

/// A log that does not compress and always has more, until it has given more than may be taken: then all is known.
fn endless(taken: Arc<AtomicUsize>) -> Body {
    Body::from_stream(stream::poll_fn(move |_| {
        let so_far = taken.load(Ordering::SeqCst);
        if so_far > MOST_TAKEN {
            return Poll::Pending;
        }
        // Noise comes again after 64 KiB, and deflate looks back no further than 32 KiB.
        let start = so_far % NOISE.len();
        let frame = NOISE.slice(start..start + 16 * 1024);
        taken.fetch_add(frame.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok::<_, Infallible>(frame)))
    }))
}

/// What the source says last, before it panics.
const PANIC: &str = "panic";

/// A body that panics where it says so.
fn panicking(body: Body) -> Body {
    Body::from_stream(body.into_data_stream().map(|data| {
        assert!(data.as_ref().is_ok_and(|data| data != PANIC) || data.is_err(), "the build's log is gone");
        data
    }))
}

/// An event of an ordinary size.
fn event(name: &str) -> String {
    format!("{name}: {}\n", "rustc --crate-type lib --edition 2024; ".repeat(16))
}

/// The trailer of a log.
static BUILD_RESULT: HeaderName = HeaderName::from_static("x-build-result");

/// 64 KiB of text.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
    let lines = (1..).map(|step| format!("step {step}: compiling crate {}\n", step * 7919 % 1000));
    let mut text: String = lines.take(3_000).collect();
    text.truncate(64 * 1024);
    text.into()
});

/// 64 KiB that do not compress, the same on each run.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    (0..16 * 1024).flat_map(|_| next()).collect()
});

// ===== The client =====

fn asking(path: &str) -> Request<Body> {
    accepting("gzip", path)
}

fn accepting(codings: &'static str, path: &str) -> Request<Body> {
    let mut request = plainly(path);
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static(codings));
    request
}

fn plainly(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request that never changes")
}

fn asking_or_plainly(accepts_gzip: bool) -> Request<Body> {
    if accepts_gzip { asking(LIVE_LOG) } else { plainly(LIVE_LOG) }
}

/// What distinguishes a scene.
fn coding(accepts_gzip: bool) -> &'static str {
    if accepts_gzip { "with gzip" } else { "without gzip" }
}

/// Somebody who reads an answer from the instant at which it begins.
struct Follower {
    listener: Arc<Mutex<Option<Result<Listener, Closed>>>>,
    waits: JoinHandle<()>,
}

impl Follower {
    fn of(scene: &Scene, pending: Pending) -> Self {
        let listener = Arc::<Mutex<Option<Result<Listener, Closed>>>>::default();
        let follows = listener.clone();
        let waits = scene.spawn(async move {
            let answer = pending.answer().await;
            *locked(&follows) = Some(answer.map(Answer::listen));
        });
        Self { listener, waits }
    }

    /// What has come so far: nothing, while the answer has not begun.
    fn so_far(&self) -> Result<Received, Broken> {
        match &*locked(&self.listener) {
            None => Ok(Received::default()),
            Some(Ok(listener)) => Ok(listener.so_far()),
            Some(Err(closed)) => Err(Broken::because(closed.to_string())),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.waits.abort();
    }
}

/// An answer, read to its end.
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    received: Received,
}

impl Whole {
    async fn of(client: &Connection, request: Request<Body>) -> Result<Self, Broken> {
        Ok(Self::from(client.send(request).await?).await)
    }

    async fn from(answer: lab::Answer) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, received: answer.read().await }
    }

    fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    fn coding(&self) -> Option<String> {
        self.header("content-encoding")
    }

    /// The coding, for a sentence.
    fn named(&self) -> String {
        self.coding().unwrap_or_else(|| "none".to_owned())
    }

    fn is_gzip(&self) -> bool {
        self.coding().as_deref() == Some("gzip")
    }

    /// The body without its coding, if it is whole.
    fn decoded(&self) -> Result<Vec<u8>, Broken> {
        let raw = &self.received.raw;
        let whole = matches!(self.received.end, Some((_, End::Clean)));
        ALL_OF_IT.require(whole, format!("the body broke off after {} bytes", raw.len()))?;
        if self.coding().is_none() {
            return Ok(raw.clone());
        }
        let seen = format!("a client that accepts gzip got content-encoding: {}", self.named());
        GZIP_OR_AS_IT_IS.require(self.is_gzip(), seen)?;
        let decoded = decode(raw);
        ONE_GZIP_MEMBER.require(decoded.is_ok(), decoded.as_ref().err().cloned().unwrap_or_default())?;
        Ok(decoded.unwrap_or_default())
    }

    /// The trailer is there.
    fn has_passed(&self) -> Proof {
        let trailer = self.received.trailers.as_ref().and_then(|trailers| trailers.get(&BUILD_RESULT));
        let result = trailer.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let seen = match &result {
            Some(result) => format!("the trailer x-build-result came as {result:?} and not as \"passed\""),
            None => "the log ended without the trailer x-build-result".to_owned(),
        };
        TRAILERS_WHERE_NAMED.require(result.as_deref() == Some("passed"), seen)
    }

    fn has_true_length(&self) -> Proof {
        let came = self.received.raw.len();
        let whole = matches!(self.received.end, Some((_, End::Clean)));
        let length =
            self.header("content-length").map_or(String::new(), |length| format!(" of content-length: {length}"));
        LENGTH_TRUE_OR_ABSENT.require(whole, format!("the body{length} broke off after {came} bytes"))?;
        self.states(came)
    }

    /// The length is left out or is this one.
    fn states(&self, expected: usize) -> Proof {
        let Some(length) = self.header("content-length") else { return Ok(()) };
        let seen =
            format!("content-length: {length}, but with content-encoding: {} it is {expected} bytes", self.named());
        LENGTH_TRUE_OR_ABSENT.require(length == expected.to_string(), seen)
    }

    /// Caches are told that the answer depends on what the client accepts, and what the source told them besides.
    fn varies(&self, by: &[&str]) -> Proof {
        let vary = self.header("vary").unwrap_or_default().to_lowercase();
        let names: Vec<_> = vary.split(',').map(str::trim).collect();
        for name in by {
            let seen =
                format!("the answer with content-encoding: {} has no {name} in its vary: {vary:?}", self.named());
            VARY_NAMES_IT.require(names.contains(name) || names.contains(&"*"), seen)?;
        }
        Ok(())
    }
}

/// How each gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Decodes as curl and browsers do: one member, and no byte after it.
fn decode(raw: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoder = GzDecoder::new(raw);
    let mut decoded = Vec::new();
    let whole = decoder.read_to_end(&mut decoded);
    let rest = decoder.into_inner().len();
    match whole {
        Err(_) => Err(format!("the {} bytes that came are not a whole gzip", raw.len())),
        Ok(_) if rest > 0 => Err(format!(
            "{rest} of the {} bytes that came follow the end of the gzip, where a client has stopped reading",
            raw.len()
        )),
        Ok(_) => Ok(decoded),
    }
}

/// What a client can show of a body that has not ended.
fn decoded_so_far(received: &Received) -> Vec<u8> {
    if received.raw.starts_with(&GZIP) {
        let mut decoded = Vec::new();
        // The end is missing, which is told when everything before it is decoded.
        let _ = GzDecoder::new(&received.raw[..]).read_to_end(&mut decoded);
        decoded
    } else {
        received.raw.clone()
    }
}

/// Bytes that must be the same, for whatever is asked.
trait Same {
    fn same(self, came: &[u8], sent: &[u8]) -> Proof;
}

impl Same for Asked {
    fn same(self, came: &[u8], sent: &[u8]) -> Proof {
        if came == sent {
            return Ok(());
        }
        let differs = came.iter().zip(sent).position(|(came, sent)| came != sent).unwrap_or(came.len().min(sent.len()));
        let seen =
            format!("{} bytes were sent and {} came; they differ from byte {differs} on", sent.len(), came.len());
        self.require(false, seen)
    }
}
