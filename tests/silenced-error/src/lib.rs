//! The specification of `silenced-error`: an archive of invoices whose failures the log must tell, and nothing else.

use std::{
    error::Error,
    fmt, io, mem,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode},
};
use futures_util::{future::BoxFuture, stream};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};
use tower::{Service, util::BoxCloneSyncService};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::{self, DefaultGuard, get_default},
    span,
    subscriber::Interest,
};

use tracing_core::span::Current;

use lab::{
    Answer, Arrival, Asked, Broken, Connection, Course, End, Ghost, Lab, Limits, LogLine, Proof, Protocol, Report,
    Scene, Server, Specification, control, locked,
};

/// The archive: an invoice by its number.
pub type Archive = BoxCloneSyncService<String, Body, io::Error>;

/// Makes the service under test from its archive.
pub type App = Arc<dyn Fn(Archive) -> Router + Send + Sync>;

const FAILURE_IS_A_BARE_5XX: Asked = Asked::new(
    "failure-is-a-bare-5xx",
    "An archive that fails is answered with a 5xx, and nothing in the answer is from the error's texts.",
);
const ONE_EVENT_TELLS_ALL_CAUSES: Asked = Asked::new(
    "one-event-tells-all-causes",
    "Exactly one ERROR event carries any text of the archive's error, and it carries the text of every error in the chain, \
             whether the log's level is ERROR, INFO or TRACE.",
);
const EVENT_NAMES_ROUTE_AND_ID: Asked = Asked::new(
    "event-names-route-and-id",
    "That event, with the spans round it, names the route as the template `/invoices/{id}` and the `x-request-id` of the \
             answer, at each of these levels.",
);
const NO_FAILURE_NO_ERROR: Asked = Asked::new(
    "no-failure-no-error",
    "No ERROR event comes of a success, an unknown invoice, an unknown path, a 405 or a client that leaves.",
);
const FAILURES_KEEP_APART: Asked = Asked::new(
    "failures-keep-apart",
    "Where two requests fail that were under way at the same time, the event of each has the id of its own answer, and \
             nowhere that of the other.",
);
const BROKEN_BODY_IS_TOLD: Asked = Asked::new(
    "broken-body-is-told",
    "A body that fails after some frames has given each frame to the client at once, ends with an error and never cleanly, \
             and is told in one event like any other failure.",
);
const SECRETS_ARE_KEPT: Asked = Asked::new(
    "secrets-are-kept",
    "No event at any level, no span round one and no answer has the link's signature, the value of `authorization` or of \
             `cookie`, or what an error keeps out of its own text.",
);
const ANSWER_PASSES_AS_IT_COMES: Asked = Asked::new(
    "answer-passes-as-it-comes",
    "An invoice is passed on as the archive gives it: its length, each frame at once, its trailers and its end.",
);
const REQUEST_ENDS_WITH_CLIENT: Asked = Asked::new(
    "request-ends-with-client",
    "When a client leaves, the archive's work for it and its body are dropped at that instant, and no task is left.",
);
const ARCHIVE_AS_EVER: Asked = Asked::new(
    "archive-as-ever",
    "An invoice that is there is a 200, the archive is asked for it once, and each answer, whatever its status, has an id of \
             its own.",
);

const STATUSES: Asked = Asked::new(
    "statuses",
    "An error of the kind `NotFound` is a 404, and any other one, also of the archive's `poll_ready`, a 5xx. Another path is a \
             404, and another method but HEAD and OPTIONS a 405.",
);
const IDS: Asked = Asked::new(
    "ids",
    "`x-request-id` is not empty, and differs from one answer to the next, whatever `x-request-id` the client sends.",
);
const CHAIN: Asked = Asked::new(
    "chain",
    "The chain is the error and what its `source` leads to, one after the other; a text is what `Display` writes.",
);
const NO_HEAD: Asked = Asked::new(
    "no-head",
    "A body that fails before its first frame, or at once after it, may cost the client the answer's head; the failure is told \
             with its route all the same.",
);
const OTHER_EVENTS: Asked = Asked::new(
    "other-events",
    "Whatever has none of these texts may be logged as well: more events at other levels, and ERROR events of a failure.",
);
const LINKS: Asked = Asked::new(
    "links",
    "A link is `/invoices/{id}?signature=…`. The signature has been verified; the archive is not told it.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Archive) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(FAILURE_IS_A_BARE_5XX, failure_is_a_bare_5xx)
        .promise(ONE_EVENT_TELLS_ALL_CAUSES, one_event_tells_all_causes)
        .promise(EVENT_NAMES_ROUTE_AND_ID, event_names_route_and_id)
        .promise(NO_FAILURE_NO_ERROR, no_failure_no_error)
        .promise(FAILURES_KEEP_APART, failures_keep_apart)
        .promise(BROKEN_BODY_IS_TOLD, broken_body_is_told)
        .promise(SECRETS_ARE_KEPT, secrets_are_kept)
        .promise(ANSWER_PASSES_AS_IT_COMES, answer_passes_as_it_comes)
        .promise(REQUEST_ENDS_WITH_CLIENT, request_ends_with_client)
        .promise(ARCHIVE_AS_EVER, archive_as_ever)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "silenced-error";
    type App = fn(Archive) -> Router;
    type StandIns = Archive;
    const ASKED: &'static [Asked] = &[STATUSES, IDS, CHAIN, NO_HEAD, OTHER_EVENTS, LINKS];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// An archive that has invoice 7, cannot read invoice 13, and breaks off in the middle of invoice 21. Call it inside a
    /// runtime.
    fn stand_ins() -> Self::StandIns {
        BoxCloneSyncService::new(tower::service_fn(|number: String| async move {
            match number.as_str() {
                "7" => Ok(Body::from("invoice 7: 1900\n")),
                "13" => Err(failure(io::ErrorKind::Other)),
                "21" => {
                    let lines = stream::unfold(0, |line| async move {
                        sleep(Duration::from_secs(line)).await;
                        let text = Bytes::from("invoice 21: 2150\n");
                        Some((if line == 0 { Ok(text) } else { Err(failure(io::ErrorKind::Other)) }, line + 1))
                    });
                    Ok(Body::from_stream(lines))
                }
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }))
    }

    fn serve(app: Self::App, archive: Self::StandIns) -> Router {
        app(archive)
    }
}

// ===== The promises =====

async fn failure_is_a_bare_5xx(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(protocol.to_string()), &app, Level::TRACE);
        let client = desk.healthy(protocol).await?;
        for number in ["13", "slow-500", "unready"] {
            let got = desk.got(client.send(desk.asking(number)).await?).await;
            let observed = format!("the archive failed, and invoice {number} got {got}");
            FAILURE_IS_A_BARE_5XX.require(got.status.is_server_error(), observed)?;
            let told = TEXTS.iter().find(|text| got.mentions(text));
            let observed = format!("the answer to invoice {number} has {:?} from the error", told.unwrap_or(&""));
            FAILURE_IS_A_BARE_5XX.require(told.is_none(), observed)?;
        }
    }
    Ok(())
}

async fn one_event_tells_all_causes(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for level in LEVELS {
            let desk = Desk::open(&lab.scene(format!("{protocol}, the log's level is {level}")), &app, level);
            let client = desk.healthy(protocol).await?;
            for number in ["13", "slow-500", "unready"] {
                desk.got(client.send(desk.asking(number)).await?).await;
                desk.scene.settle().await;
                desk.told_once(&format!("invoice {number} failed"))?;
            }
        }
    }
    Ok(())
}

async fn event_names_route_and_id(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for level in LEVELS {
            let desk = Desk::open(&lab.scene(format!("{protocol}, the log's level is {level}")), &app, level);
            let client = desk.healthy(protocol).await?;
            for number in ["13", "slow-500", "unready"] {
                let got = desk.got(client.send(desk.asking(number)).await?).await;
                desk.scene.settle().await;
                desk.named(&[&got], &format!("invoice {number} failed"))?;
            }
        }
    }
    Ok(())
}

async fn no_failure_no_error(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(protocol.to_string()), &app, Level::TRACE);
        let client = desk.healthy(protocol).await?;
        for (what, method, path) in [
            ("a success", Method::GET, "/invoices/7"),
            ("an unknown invoice", Method::GET, "/invoices/404"),
            ("an unknown path", Method::GET, "/nowhere"),
            ("a 405", Method::POST, "/invoices/7"),
        ] {
            desk.got(client.send(desk.at(method, path)).await?).await;
            desk.scene.settle().await;
            desk.no_error(what)?;
        }
        for (what, number) in
            [("before the archive has answered", "slow-5000"), ("in the middle of the body", "stream")]
        {
            let desk = Desk::open(&lab.scene(format!("{protocol}, the client leaves {what}")), &app, Level::TRACE);
            let client = desk.healthy(protocol).await?;
            let lines = desk.stream();
            let pending = client.begin(desk.asking(number));
            sleep(Duration::from_secs(1)).await;
            let listener = if number == "stream" {
                lines.sends("one\n");
                let mut listener = pending.answer().await?.listen();
                listener.hears("one\n").await?;
                Some(listener)
            } else {
                pending.cancel();
                None
            };
            client.leave();
            drop(listener);
            desk.scene.settle().await;
            sleep(Duration::from_secs(10)).await;
            desk.no_error(&format!("a client that left {what}"))?;
        }
    }
    Ok(())
}

async fn failures_keep_apart(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (first, second) in [("slow-3000", "slow-1000"), ("slow-2000", "slow-2500")] {
            let desk = Desk::open(&lab.scene(format!("{protocol}, {first} and {second}")), &app, Level::TRACE);
            let one = desk.healthy(protocol).await?;
            let other = desk.beside(&one, protocol).await;
            let first = one.begin(desk.asking(first));
            sleep(Duration::from_millis(500)).await;
            let second = other.begin(desk.asking(second));
            let (first, second) = (desk.got(first.answer().await?).await, desk.got(second.answer().await?).await);
            desk.scene.settle().await;
            desk.named(&[&first, &second], "two invoices failed")?;
        }
        let desk = Desk::open(&lab.scene(format!("{protocol}, two bodies")), &app, Level::TRACE);
        let one = desk.healthy(protocol).await?;
        let other = desk.beside(&one, protocol).await;
        let (mut heads, mut bodies) = (Vec::new(), Vec::new());
        for client in [&one, &other] {
            let lines = desk.stream();
            let answer = client.send(desk.asking("stream")).await?;
            lines.sends("one\n");
            heads.push(desk.head(&answer));
            let mut listener = answer.listen();
            listener.hears("one\n").await?;
            bodies.push((lines, listener));
        }
        // The one that began last fails first.
        for (lines, listener) in bodies.into_iter().rev() {
            lines.fails();
            listener.ended().await;
            sleep(Duration::from_secs(1)).await;
        }
        desk.named(&heads.iter().collect::<Vec<_>>(), "two bodies failed")?;
    }
    Ok(())
}

async fn broken_body_is_told(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for level in LEVELS {
            let desk = Desk::open(&lab.scene(format!("{protocol}, the log's level is {level}")), &app, level);
            let client = desk.healthy(protocol).await?;
            let lines = desk.stream();
            let pending = client.begin(desk.asking("stream"));
            desk.scene.settle().await;
            let observed = "the archive gave an invoice whose lines were to come, and the client did not get the head";
            BROKEN_BODY_IS_TOLD.require(pending.is_answered(), observed)?;
            let answer = pending.answer().await?;
            let got = desk.head(&answer);
            let listener = answer.listen();
            for line in ["one\n", "two\n"] {
                sleep(Duration::from_secs(1)).await;
                let sent = desk.scene.now_ms();
                lines.sends(line);
                desk.scene.settle().await;
                let came = listener.so_far().came_at_ms(line);
                let observed = match came {
                    Some(came) => format!("a frame was sent at {sent} ms and came at {came} ms"),
                    None => format!("a frame was sent at {sent} ms and had not come at {} ms", desk.scene.now_ms()),
                };
                BROKEN_BODY_IS_TOLD.require(came == Some(sent), observed)?;
            }
            lines.fails();
            let ended = listener.ended().await.end.map(|(_, end)| end);
            let observed = "the body failed, and the client was told that it is whole";
            BROKEN_BODY_IS_TOLD.require(ended == Some(End::Error), observed)?;
            desk.scene.settle().await;
            desk.told_once("the body failed")?;
            desk.named(&[&got], "the body failed")?;
        }
        for (frames, kind) in [(0, io::ErrorKind::Other), (1, io::ErrorKind::NotFound)] {
            let scene = lab.scene(format!("{protocol}, the body fails at once after {frames} frames"));
            let desk = Desk::open(&scene, &app, Level::TRACE);
            let client = desk.healthy(protocol).await?;
            let lines = desk.stream();
            (0..frames).for_each(|_| lines.sends("one\n"));
            lines.fails_as(kind);
            if let Ok(answer) = client.send(desk.asking("stream")).await {
                let status = answer.status();
                let ended = answer.read().await.end.map(|(_, end)| end);
                let observed = format!("the body failed, and the client got a whole {}", status.as_u16());
                BROKEN_BODY_IS_TOLD.require(status.is_server_error() || ended == Some(End::Error), observed)?;
            }
            scene.settle().await;
            desk.told_once("the body failed at once").or_else(|broken| NO_HEAD.require(false, broken.to_string()))?;
            let observed = "the body failed at once, and its event has not `/invoices/{id}`";
            NO_HEAD.require(desk.telling().iter().all(|line| line.mentions(TEMPLATE)), observed)?;
        }
    }
    Ok(())
}

async fn secrets_are_kept(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(protocol.to_string()), &app, Level::TRACE);
        let client = desk.healthy(protocol).await?;
        for (method, path) in [
            (Method::GET, "/invoices/7"),
            (Method::GET, "/invoices/13"),
            (Method::GET, "/invoices/unready"),
            (Method::GET, "/invoices/404"),
            (Method::GET, "/nowhere"),
            (Method::POST, "/invoices/7"),
            (Method::GET, "/invoices/stream"),
        ] {
            let lines = desk.stream();
            *locked(&desk.unready) = path.ends_with("unready");
            let pending = client.begin(desk.at(method.clone(), path));
            desk.scene.settle().await;
            lines.sends("one\n");
            desk.scene.settle().await;
            lines.fails();
            let got = desk.got(pending.answer().await?).await;
            desk.scene.settle().await;
            for (what, secret) in SECRETS {
                let line = desk.scene.logs().into_iter().find(|line| line.mentions(secret));
                let observed = format!(
                    "{method} {path} led to an event with {what}: {}",
                    line.as_ref().map_or(String::new(), |line| desk.printed(line))
                );
                SECRETS_ARE_KEPT.require(line.is_none(), observed)?;
                SECRETS_ARE_KEPT.require(!got.mentions(secret), format!("the answer to {method} {path} has {what}"))?;
            }
        }
    }
    Ok(())
}

async fn answer_passes_as_it_comes(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for arrival in Arrival::ALL {
            let scene = lab.scene(format!("{protocol}, {arrival}"));
            let desk = Desk::open(&scene, &app, Level::TRACE);
            let client = desk.healthy(protocol).await?;
            let (feed, body) = scene.feed("archive");
            let trailers = HeaderMap::from_iter([("x-seal".parse().expect("a name"), HeaderValue::from_static("9"))]);
            // HTTP/1.1 sends trailers only where the answer names them, which an archive cannot do.
            let trailers = (protocol == Protocol::Http2).then_some(trailers);
            let mut course = Course::new(&scene, feed, arrival, &["one\n", "two\n"], trailers.clone());
            locked(&desk.shelf).given = Some(body);
            let mut request = desk.asking("given");
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            let answer = client.send(request).await?;
            course.run().await;
            let received = answer.read().await;
            let (due, text) = (course.text(), received.text());
            let observed = format!("the archive sent {due:?}, and the client got {text:?}");
            ANSWER_PASSES_AS_IT_COMES.require(text == due, observed)?;
            let observed =
                format!("the archive sent {trailers:?} as trailers, and the client got {:?}", received.trailers);
            ANSWER_PASSES_AS_IT_COMES.require(received.trailers == trailers, observed)?;
            let whole = matches!(received.end, Some((_, End::Clean)));
            ANSWER_PASSES_AS_IT_COMES.require(whole, "the archive's body ended, and the client's broke off")?;
        }
        let desk = Desk::open(&lab.scene(format!("{protocol}, a length is known")), &app, Level::TRACE);
        let client = desk.healthy(protocol).await?;
        let body = "x".repeat(200_000);
        locked(&desk.shelf).given = Some(body.clone().into());
        let answer = client.send(desk.asking("given")).await?;
        let length = answer.header("content-length").unwrap_or("(none)").to_owned();
        let observed = format!("the archive's body is known to have 200000 bytes, and the answer's length is {length}");
        ANSWER_PASSES_AS_IT_COMES.require(length == "200000", observed)?;
        let got = answer.read().await.text().len();
        let observed = format!("the archive sent 200000 bytes, and the client got {got}");
        ANSWER_PASSES_AS_IT_COMES.require(got == body.len(), observed)?;
    }
    Ok(())
}

async fn request_ends_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, resets) in [(Protocol::Http1, false), (Protocol::Http2, false), (Protocol::Http2, true)] {
        let how = if resets { "resets the stream" } else { "closes the connection" };
        let desk = Desk::open(&lab.scene(format!("{protocol}, the client {how}")), &app, Level::TRACE);
        let client = desk.healthy(protocol).await?;
        let pending = client.begin(desk.asking("slow-5000"));
        sleep(Duration::from_secs(1)).await;
        let open = locked(&desk.shelf).open;
        control(open == 1, format!("a second after an invoice was asked for, the archive had {open} questions"))?;
        let left = desk.scene.now_ms();
        pending.cancel();
        if !resets {
            client.leave();
        }
        desk.over(left).await?;

        let scene = lab.scene(format!("{protocol}, the client {how} in the middle of the body"));
        let desk = Desk::open(&scene, &app, Level::TRACE);
        let client = desk.healthy(protocol).await?;
        let (feed, body) = scene.feed("archive");
        locked(&desk.shelf).given = Some(body);
        let mut listener = client.send(desk.asking("given")).await?.listen();
        feed.data("one\n");
        listener.hears("one\n").await?;
        let left = scene.now_ms();
        listener.cancel();
        if !resets {
            client.leave();
        }
        desk.over(left).await?;
        let observed = format!("the client left at {left} ms, and a millisecond later the body was not dropped");
        REQUEST_ENDS_WITH_CLIENT.require(feed.dropped_at_ms().is_some(), observed)?;
    }
    Ok(())
}

async fn archive_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab.scene(protocol.to_string()), &app, Level::INFO);
        let client = desk.healthy(protocol).await?;
        let mut ids = Vec::new();
        for (method, path, due) in [
            (Method::GET, "/invoices/7", 200),
            (Method::GET, "/invoices/404", 404),
            (Method::GET, "/nowhere", 404),
            (Method::GET, "/invoices", 404),
            (Method::POST, "/invoices/7", 405),
            (Method::GET, "/invoices/7", 200),
            (Method::GET, "/invoices/13", 500),
            (Method::GET, "/invoices/7", 200),
        ] {
            locked(&desk.shelf).asked.clear();
            let mut asking = desk.at(method.clone(), path);
            asking.headers_mut().insert("x-request-id", HeaderValue::from_static("ada"));
            let got = desk.got(client.send(asking).await?).await;
            let right = got.status == due || due == 500 && got.status.is_server_error();
            STATUSES.require(right, format!("{method} {path} got {got}, expected {due}"))?;
            IDS.require(!got.id.is_empty(), format!("{method} {path} got no `x-request-id`"))?;
            IDS.require(!ids.contains(&got.id), format!("{method} {path} got the id of an answer before"))?;
            ids.push(got.id);
            let asked = mem::take(&mut locked(&desk.shelf).asked);
            let due = path.strip_prefix("/invoices/").filter(|_| method == Method::GET);
            let observed = format!("on {method} {path} the archive was asked for {asked:?}");
            ARCHIVE_AS_EVER.require(asked.iter().map(String::as_str).eq(due), observed)?;
            if due == Some("7") {
                let observed = format!("invoice 7 came as {:?}", got.text);
                ARCHIVE_AS_EVER.require(got.text == "invoice 7\n", observed)?;
            }
        }
    }
    Ok(())
}

// ===== What the specification supplies =====

/// The levels of the log.
const LEVELS: [Level; 3] = [Level::ERROR, Level::INFO, Level::TRACE];

/// The template of the one route.
const TEMPLATE: &str = "/invoices/{id}";

/// What the archive's error and its causes say.
const TEXTS: [&str; 3] = ["the invoice cannot be read", "the bucket of 2026 is closed", "the vault turned us away"];

const SIGNATURE: &str = "s1gned-f0r-ada";
const CREDENTIAL: &str = "sw0rdfish";

/// What nobody may read, and what it is.
const SECRETS: [(&str, &str); 4] = [
    ("the link's signature", SIGNATURE),
    ("the value of `authorization`", "t0ken-0f-ada"),
    ("the value of `cookie`", "sess10n-0f-ada"),
    ("what an error keeps to itself", CREDENTIAL),
];

/// An error of the archive's, or one of its causes.
#[derive(Debug)]
struct Failure {
    text: &'static str,
    /// What its `Display` leaves out, and a derived `Debug` shows.
    #[expect(dead_code, reason = "only `Debug` reads it")]
    credential: Option<&'static str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error with two causes. The first of them is that something was not found: that says nothing about the invoice.
fn failure(kind: io::ErrorKind) -> io::Error {
    let [text, cause, root] = TEXTS;
    let root = Failure { text: root, credential: Some(CREDENTIAL), source: None };
    let cause = Failure { text: cause, credential: None, source: Some(Box::new(root)) };
    let cause = io::Error::new(io::ErrorKind::NotFound, cause);
    io::Error::new(kind, Failure { text, credential: None, source: Some(Box::new(cause)) })
}

/// What the archive is to give, and what it saw.
#[derive(Default)]
struct Shelf {
    given: Option<Body>,
    asked: Vec<String>,
    /// How many questions have no answer yet, and were not dropped.
    open: usize,
    /// The ids that answers had.
    ids: Vec<String>,
    /// How many events have told of failures already.
    told: usize,
}

/// The archive of a scene.
#[derive(Clone)]
struct Vault {
    scene: Scene,
    shelf: Arc<Mutex<Shelf>>,
    /// The invoice that it was asked for last cannot even be asked for.
    unready: Arc<Mutex<bool>>,
}

/// A question that has no answer yet.
struct Open(Arc<Mutex<Shelf>>);

impl Drop for Open {
    fn drop(&mut self) {
        locked(&self.0).open -= 1;
    }
}

impl Service<String> for Vault {
    type Response = Body;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if mem::take(&mut *locked(&self.unready)) {
            self.scene.note("archive", "is not ready: an error with two causes");
            return Poll::Ready(Err(failure(io::ErrorKind::TimedOut)));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, number: String) -> Self::Future {
        let (scene, shelf) = (self.scene.clone(), self.shelf.clone());
        scene.note("archive", format!("is asked for invoice {number}"));
        locked(&shelf).asked.push(number.clone());
        locked(&shelf).open += 1;
        let open = Open(shelf.clone());
        Box::pin(async move {
            let _open = open;
            let fails = |kind| {
                scene.note("archive", "fails: an error with two causes");
                Err(failure(kind))
            };
            if let Some(ms) = number.strip_prefix("slow-").and_then(|ms| ms.parse().ok()) {
                sleep(Duration::from_millis(ms)).await;
                return fails(io::ErrorKind::ConnectionReset);
            }
            match number.as_str() {
                "7" => Ok(Body::from("invoice 7\n")),
                "404" => Err(failure(io::ErrorKind::NotFound)),
                "given" | "stream" => Ok(locked(&shelf).given.take().unwrap_or_default()),
                _ => fails(io::ErrorKind::Other),
            }
        })
    }
}

/// A body of the archive's that comes line by line, and may fail.
struct Lines {
    scene: Scene,
    sender: UnboundedSender<io::Result<Bytes>>,
}

impl Lines {
    fn sends(&self, line: &'static str) {
        self.scene.note("archive", format!("sends {line:?}"));
        // The body may be gone; what the client sees says so.
        let _ = self.sender.send(Ok(Bytes::from_static(line.as_bytes())));
    }

    fn fails(&self) {
        self.fails_as(io::ErrorKind::BrokenPipe);
    }

    fn fails_as(&self, kind: io::ErrorKind) {
        self.scene.note("archive", "breaks off: an error with two causes");
        let _ = self.sender.send(Err(failure(kind)));
    }
}

/// The service under test in its surroundings, with the log at some level.
struct Desk {
    scene: Scene,
    server: Server,
    shelf: Arc<Mutex<Shelf>>,
    unready: Arc<Mutex<bool>>,
    _log: DefaultGuard,
}

impl Desk {
    fn open(scene: &Scene, app: &App, level: Level) -> Self {
        let (shelf, unready) = (Arc::<Mutex<Shelf>>::default(), Arc::<Mutex<bool>>::default());
        let log = dispatcher::set_default(&Dispatch::new(Leveled { level, inner: get_default(Dispatch::clone) }));
        let vault = Vault { scene: scene.clone(), shelf: shelf.clone(), unready: unready.clone() };
        let server = scene.serve(app(BoxCloneSyncService::new(vault)));
        Self { scene: scene.clone(), server, shelf, unready, _log: log }
    }
    /// A client that has seen the archive work.
    async fn healthy(&self, protocol: Protocol) -> Result<Connection, Broken> {
        let client = self.server.connect("client", protocol).await;
        let got = self.got(client.send(self.asking("7")).await?).await;
        control(got.status == StatusCode::OK && got.text == "invoice 7\n", format!("invoice 7 got {got}"))?;
        Ok(client)
    }

    /// The head of an answer.
    fn head(&self, answer: &Answer) -> Got {
        let id = answer.header("x-request-id").unwrap_or_default().to_owned();
        if !id.is_empty() {
            self.scene.id(&id);
            locked(&self.shelf).ids.push(id.clone());
        }
        Got { status: answer.status(), id, headers: answer.headers().clone(), text: String::new() }
    }

    /// An answer with its body.
    async fn got(&self, answer: Answer) -> Got {
        let head = self.head(&answer);
        Got { text: answer.read().await.text(), ..head }
    }

    /// The same connection where it carries two requests at once, and else another.
    async fn beside(&self, client: &Connection, protocol: Protocol) -> Connection {
        match protocol {
            Protocol::Http1 => self.server.connect("another", protocol).await,
            Protocol::Http2 => client.clone(),
        }
    }

    /// A request for this invoice, on which the archive does as the number says.
    fn asking(&self, number: &str) -> Request<Body> {
        *locked(&self.unready) = number == "unready";
        self.at(Method::GET, &format!("/invoices/{number}"))
    }

    fn at(&self, method: Method, path: &str) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("{path}?signature={SIGNATURE}"))
            .header("authorization", "Bearer t0ken-0f-ada")
            .header("cookie", "session=sess10n-0f-ada")
            .body(Body::empty())
            .expect("a path")
    }

    /// The lines of the next invoice `stream`.
    fn stream(&self) -> Lines {
        let (sender, receiver) = unbounded_channel();
        let lines = stream::unfold(receiver, |mut lines| async { lines.recv().await.map(|line| (line, lines)) });
        locked(&self.shelf).given = Some(Body::from_stream(lines));
        Lines { scene: self.scene.clone(), sender }
    }

    /// The ERROR events that tell of the archive's error.
    fn telling(&self) -> Vec<LogLine> {
        let lines = self.scene.logs().into_iter();
        lines.filter(|line| line.level == Level::ERROR && TEXTS.iter().any(|text| line.carries(text))).collect()
    }

    /// The line as the report may have it, with ids by their names.
    fn printed(&self, line: &LogLine) -> String {
        let mut printed = line.to_string();
        for (_, secret) in SECRETS {
            printed = printed.replace(secret, "\u{2026}");
        }
        for id in &locked(&self.shelf).ids {
            printed = printed.replace(id, &self.scene.id(id));
        }
        printed
    }

    /// Since it was asked last, one event has told of the whole chain.
    fn told_once(&self, what: &str) -> Proof {
        let before = locked(&self.shelf).told;
        let telling = self.telling();
        locked(&self.shelf).told = telling.len();
        let new = &telling[before.min(telling.len())..];
        let observed = format!("{what}, and {} ERROR events have a text of the error; expected one", new.len());
        ONE_EVENT_TELLS_ALL_CAUSES.require(new.len() == 1, observed)?;
        let missing = TEXTS.iter().find(|text| !new[0].carries(text));
        let observed =
            format!("{what}, and its event says nothing of {:?}: {}", missing.unwrap_or(&""), self.printed(&new[0]));
        CHAIN.require(missing.is_none(), observed)
    }

    /// Each of these answers has an event that names it and no other, and the route.
    fn named(&self, answers: &[&Got], what: &str) -> Proof {
        let telling = self.telling();
        for got in answers {
            let own: Vec<&LogLine> = telling.iter().filter(|line| names(line, &got.id)).collect();
            let has = if got.id.is_empty() { 0 } else { own.len() };
            let observed =
                format!("{what}, and {has} of the ERROR events that say why have the id of the answer; expected one");
            EVENT_NAMES_ROUTE_AND_ID.require(has == 1, observed)?;
            let observed = format!("{what}, and the event has not `{TEMPLATE}`: {}", self.printed(own[0]));
            EVENT_NAMES_ROUTE_AND_ID.require(own[0].mentions(TEMPLATE), observed)?;
            let other = answers.iter().find(|other| other.id != got.id && names(own[0], &other.id));
            let observed = "the event of one failure has the id of another answer as well";
            FAILURES_KEEP_APART.require(other.is_none(), observed)?;
        }
        Ok(())
    }

    fn no_error(&self, what: &str) -> Proof {
        let line = self.scene.logs().into_iter().find(|line| line.level == Level::ERROR);
        let message = line.as_ref().map_or("", |line| &line.message);
        let observed = format!("{what} led to an ERROR event: {message:?}");
        NO_FAILURE_NO_ERROR.require(line.is_none(), observed)
    }

    /// Nothing is left of a request whose client left at this time.
    async fn over(&self, left: u64) -> Proof {
        self.scene.settle().await;
        let open = locked(&self.shelf).open;
        let observed =
            format!("the client left at {left} ms, and at {} ms the archive was at work", self.scene.now_ms());
        REQUEST_ENDS_WITH_CLIENT.require(open == 0, observed)?;
        let tasks = self.scene.app_tasks();
        let observed =
            format!("the client left at {left} ms, and a millisecond later {tasks} tasks of the app were left");
        REQUEST_ENDS_WITH_CLIENT.require(tasks == 0, observed)
    }
}

/// Whether the line, or a span round it, has this id, and not only as a part of something longer.
fn names(line: &LogLine, id: &str) -> bool {
    let in_spans = line.spans.iter().flat_map(|span| &span.fields);
    let mut values = line.fields.iter().chain(in_spans).map(|(_, value)| value).chain([&line.message]);
    let whole = |text: &str, at: usize| {
        let (before, after) = (&text[..at], &text[at + id.len()..]);
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
    };
    values.any(|value| value.match_indices(id).any(|(at, _)| whole(value, at)))
}

/// What a client got.
struct Got {
    status: StatusCode,
    id: String,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn mentions(&self, text: &str) -> bool {
        let in_headers = self.headers.values().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(text));
        self.text.contains(text) || in_headers
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())
    }
}

// ===== The level of the log =====

/// The laboratory's collector, for events and spans up to a level: what is beyond is not even made.
struct Leveled {
    level: Level,
    inner: Dispatch,
}

impl Subscriber for Leveled {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Another scene has another level.
        if self.inner.register_callsite(metadata).is_never() { Interest::never() } else { Interest::sometimes() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && self.inner.enabled(metadata)
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.inner.new_span(attributes)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.inner.event(event);
    }

    fn enter(&self, span: &span::Id) {
        self.inner.enter(span);
    }

    fn exit(&self, span: &span::Id) {
        self.inner.exit(span);
    }

    fn clone_span(&self, span: &span::Id) -> span::Id {
        self.inner.clone_span(span)
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.inner.try_close(span)
    }

    fn current_span(&self) -> Current {
        self.inner.current_span()
    }
}
