//! The specification of `hidden-flush`: a build-log server that compresses, and must not hold back what it compresses.

use std::{
    convert::Infallible,
    io::Read,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures_util::stream;
use tokio::time::sleep;

use lab::{
    Asked, Broken, Connection, End, Ghost, Lab, Limits, Proof, Protocol, Received, Report, Scene, Specification,
    control, require,
};

/// Makes the app under test from the server of the logs.
pub type App = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// The types of a stream that somebody watches live.
const LIVE: [&str; 3] = ["text/event-stream", "application/x-ndjson", "text/plain"];
/// What may be taken of an endless source while nobody reads.
const MOST_TAKEN: usize = 4 * 1024 * 1024;

const EVENT_BEFORE_CLOCK: Asked = Asked::new(
    "event-before-clock",
    "Each event reaches the client before the clock moves after it was produced, whatever the type of the \
             stream.",
);
const SMALL_EVENT_WHEN_QUIET: Asked = Asked::new(
    "small-event-when-quiet",
    "An event of one byte reaches the client even though the source then goes quiet.",
);
const BYTES_ONCE_IN_ORDER: Asked = Asked::new(
    "bytes-once-in-order",
    "All bytes arrive once and in order, and a finished log comes as gzip to whoever accepts it.",
);
const TRAILERS_SURVIVE: Asked = Asked::new("trailers-survive", "Trailers arrive after the last byte.");
const HEADERS_ARE_TRUE: Asked = Asked::new(
    "headers-are-true",
    "The headers are true of what follows them, and an answer that must not be compressed is left alone.",
);
const STOPPED_READER_STOPS_SOURCE: Asked = Asked::new(
    "stopped-reader-stops-source",
    "While the client does not read, at most 4 MiB of an endless source are taken.",
);
const SOURCE_DROPPED_WITH_CLIENT: Asked = Asked::new(
    "source-dropped-with-client",
    "When the client leaves while the source is quiet, the source is dropped.",
);
const ERROR_AFTER_ITS_BYTES: Asked = Asked::new(
    "error-after-its-bytes",
    "An error of the source reaches the client as an error, after every byte that was produced before it.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Router) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(EVENT_BEFORE_CLOCK, event_before_clock)
        .promise(SMALL_EVENT_WHEN_QUIET, small_event_when_quiet)
        .promise(BYTES_ONCE_IN_ORDER, bytes_once_in_order)
        .promise(TRAILERS_SURVIVE, trailers_survive)
        .promise(HEADERS_ARE_TRUE, headers_are_true)
        .promise(STOPPED_READER_STOPS_SOURCE, stopped_reader_stops_source)
        .promise(SOURCE_DROPPED_WITH_CLIENT, source_dropped_with_client)
        .promise(ERROR_AFTER_ITS_BYTES, error_after_its_bytes)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "hidden-flush";
    type App = fn(Router) -> Router;
    type StandIns = Router;

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

async fn event_before_clock(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for kind in LIVE {
            let scene = lab.scene(format!("{protocol}, {kind}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live(kind, body)).await?;
            let listener = client.send(asking(LIVE_LOG)).await?.listen();
            let events = ["event 1", "event 2", "event 3"].map(event);
            let mut produced = Vec::new();
            for event in &events {
                produced.push(Some(scene.now_ms()));
                feed.data(event.clone());
                sleep(Duration::from_secs(5)).await;
            }
            feed.end();
            sleep(Duration::from_secs(5)).await;
            let received = listener.so_far();
            let came: Vec<_> = events.iter().map(|event| received.came_at_ms(event)).collect();
            let seen = format!("events were produced at {}; they came at {}", times(&produced), times(&came));
            EVENT_BEFORE_CLOCK.require(came == produced, seen)?;
        }
    }
    Ok(())
}

fn times(at_ms: &[Option<u64>]) -> String {
    let times = at_ms.iter().map(|at| at.map_or("no time".to_owned(), |at| format!("{at} ms")));
    times.collect::<Vec<_>>().join(", ")
}

async fn small_event_when_quiet(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for kind in LIVE {
            let scene = lab.scene(format!("{protocol}, {kind}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live(kind, body)).await?;
            let listener = client.send(asking(LIVE_LOG)).await?.listen();
            for dots in [".", ".."] {
                let sent = scene.now_ms();
                feed.data(".");
                sleep(Duration::from_secs(20)).await;
                let came = listener.so_far().text();
                scene.note("client", format!("has {came:?} so far"));
                let seen = format!(
                    "a single byte was produced at {sent} ms; after 20 s without another the client had {came:?} and \
                     not {dots:?}"
                );
                SMALL_EVENT_WHEN_QUIET.require(came == dots, seen)?;
            }
            feed.end();
            listener.ended().await;
        }
    }
    Ok(())
}

async fn bytes_once_in_order(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(format!("{protocol}, a finished log"));
        let client = connected(&scene, &app, protocol, finished(TEXT.clone())).await?;
        for accepted in ["gzip", "identity;q=0.5, gzip;q=0.9"] {
            let answer = Whole::of(&client, accepting(accepted, FINISHED_LOG)).await?;
            let seen = format!("accept-encoding: {accepted} was answered with content-encoding: {}", answer.named());
            BYTES_ONCE_IN_ORDER.require(answer.is_gzip(), seen)?;
            same(&answer.decoded()?, &TEXT)?;
        }

        for accepts_gzip in [true, false] {
            let coding = if accepts_gzip { "with gzip" } else { "without gzip" };
            let scene = lab.scene(format!("{protocol}, a live log {coding}"));
            let (mut feed, body) = scene.feed("logs");
            let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
            let pending = client.begin(if accepts_gzip { asking(LIVE_LOG) } else { plainly(LIVE_LOG) });
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
            same(&Whole::from(pending.answer().await?).await.decoded()?, &sent)?;
        }
    }
    Ok(())
}

async fn trailers_survive(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let (mut feed, body) = scene.feed("logs");
        let logs = answering(LIVE_LOG, body, |body| {
            ([("content-type", "text/plain"), ("trailer", "x-build-result")], body).into_response()
        });
        let client = connected(&scene, &app, protocol, logs).await?;
        let mut request = asking(LIVE_LOG);
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let pending = client.begin(request);
        feed.data(event("event 1"));
        scene.settle().await;
        feed.trailers(HeaderMap::from_iter([(
            "x-build-result".parse().expect("a name"),
            HeaderValue::from_static("passed"),
        )]));
        feed.end();
        let answer = Whole::from(pending.answer().await?).await;
        same(&answer.decoded()?, event("event 1").as_bytes())?;
        let trailers = answer.received.trailers.unwrap_or_default();
        let result = trailers.get("x-build-result").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let seen = match &result {
            Some(result) => format!("the trailer x-build-result came as {result:?} and not as \"passed\""),
            None => "the log ended without the trailer x-build-result".to_owned(),
        };
        TRAILERS_SURVIVE.require(result.as_deref() == Some("passed"), seen)?;
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
            HEADERS_ARE_TRUE.require(plain.coding().is_none(), seen)?;
            same(&plain.received.raw, &text)?;
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
            HEADERS_ARE_TRUE.require(empty.coding().is_none(), seen)?;
            HEADERS_ARE_TRUE.require(empty.received.raw.is_empty(), format!("a {} got a body", status.as_u16()))?;
            empty.states(0)?;
        }

        let encoded = Whole::of(&client, asking(ENCODED)).await?;
        let seen = format!("content-encoding: zstd became {}", encoded.named());
        HEADERS_ARE_TRUE.require(encoded.coding().as_deref() == Some("zstd"), seen)?;
        same(&encoded.received.raw, &NOISE.slice(..4_096))?;
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
        sleep(Duration::from_secs(30)).await;
        let seen = format!("the client left at {left} ms; 30 s later the quiet source was still held");
        SOURCE_DROPPED_WITH_CLIENT.require(feed.dropped_at_ms().is_some(), seen)?;
    }
    Ok(())
}

async fn error_after_its_bytes(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let (feed, body) = scene.feed("logs");
        let client = connected(&scene, &app, protocol, live("text/plain", body)).await?;
        let listener = client.send(asking(LIVE_LOG)).await?.listen();
        for name in ["event 1", "event 2"] {
            feed.data(event(name));
            sleep(Duration::from_secs(5)).await;
        }
        feed.fail("the build was killed");
        let received = listener.ended().await;
        for name in ["event 1", "event 2"] {
            let came = received.came_at_ms(&event(name)).is_some();
            ERROR_AFTER_ITS_BYTES
                .require(came, format!("the source failed, and {name}, which it had produced before, never came"))?;
        }
        let broke_off = matches!(received.end, Some((_, End::Error)));
        ERROR_AFTER_ITS_BYTES
            .require(broke_off, "the source failed, and the client saw a body that ended as it should")?;
    }
    Ok(())
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
        let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
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

/// An event of an ordinary size.
fn event(name: &str) -> String {
    format!("{name}: {}\n", "rustc --crate-type lib --edition 2024; ".repeat(16))
}

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
        require(
            matches!(self.received.end, Some((_, End::Clean))),
            format!("the body broke off after {} bytes", raw.len()),
        )?;
        if self.coding().is_none() {
            return Ok(raw.clone());
        }
        require(self.is_gzip(), format!("a client that accepts gzip got content-encoding: {}", self.named()))?;
        let mut decoded = Vec::new();
        let whole = MultiGzDecoder::new(&raw[..]).read_to_end(&mut decoded);
        require(whole.is_ok(), format!("the {} bytes that came are not a whole gzip", raw.len()))?;
        Ok(decoded)
    }

    fn has_true_length(&self) -> Proof {
        let came = self.received.raw.len();
        let whole = matches!(self.received.end, Some((_, End::Clean)));
        let length =
            self.header("content-length").map_or(String::new(), |length| format!(" of content-length: {length}"));
        require(whole, format!("the body{length} broke off after {came} bytes"))?;
        self.states(came)
    }

    /// The length is left out or is this one.
    fn states(&self, expected: usize) -> Proof {
        let Some(length) = self.header("content-length") else { return Ok(()) };
        let seen =
            format!("content-length: {length}, but with content-encoding: {} it is {expected} bytes", self.named());
        require(length == expected.to_string(), seen)
    }

    /// Caches are told that the answer depends on what the client accepts, and what the source told them besides.
    fn varies(&self, by: &[&str]) -> Proof {
        let vary = self.header("vary").unwrap_or_default().to_lowercase();
        let names: Vec<_> = vary.split(',').map(str::trim).collect();
        for name in by {
            let seen =
                format!("the answer with content-encoding: {} has no {name} in its vary: {vary:?}", self.named());
            require(names.contains(name) || names.contains(&"*"), seen)?;
        }
        Ok(())
    }
}

fn same(came: &[u8], sent: &[u8]) -> Proof {
    if came == sent {
        return Ok(());
    }
    let differs = came.iter().zip(sent).position(|(came, sent)| came != sent).unwrap_or(came.len().min(sent.len()));
    Err(Broken::because(format!(
        "{} bytes were sent and {} came; they differ from byte {differs} on",
        sent.len(),
        came.len()
    )))
}
