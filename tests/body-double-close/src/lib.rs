//! The specification of `body-double-close`: an upload spool that must not give back the same slot twice.

use std::{
    any::Any,
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_LENGTH, RETRY_AFTER, TRAILER},
    },
    response::{IntoResponse, Response},
    routing::{any, post},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedSender, unbounded_channel},
    },
    task::JoinHandle,
    time::sleep,
};
use tower::ServiceExt;

use conform::{Contract, Subject, the_rest};
use lab::{
    Arrival, Asked, Broken, Course, Feed, Ghost, Lab, Limits, Proof, Protocol, Report, Scene, Shown, Specification,
    control, escaped,
    hammer::{Force, Hammered},
    locked,
    wire::{Connection, Pending, Server},
};

mod hammer;

pub use hammer::hammer;

/// Makes the app under test from the number of its slots, its handlers and its audit.
pub type App = Arc<dyn Fn(usize, Router, UnboundedSender<Line>) -> Router + Send + Sync>;

/// A line of the audit: slot, bytes that the handler received, `complete`, `failed` or `abandoned`.
pub type Line = (usize, u64, String);

const SLOT_RELEASED_ONCE: Asked =
    Asked::new("slot-released-once", "A slot is given back exactly once, however the upload ends.");
const SLOT_HAS_ONE_UPLOAD: Asked =
    Asked::new("slot-has-one-upload", "No two uploads whose bodies can still yield something have the same `x-slot`.");
const NO_MORE_THAN_SLOTS: Asked = Asked::new(
    "no-more-than-slots",
    "There are never more live uploads than slots, and after any mix of endings every slot can be used again.",
);
const ENDED_STAYS_ENDED: Asked = Asked::new(
    "ended-stays-ended",
    "A body says that it has ended only when it has, and says so again if it's polled again. The body under it isn't \
     polled again.",
);
const AUDIT_IS_TRUE: Asked = Asked::new(
    "audit-is-true",
    "Each upload leaves exactly one line in the audit: its slot, the bytes that the handler received, and how the \
     upload ended.",
);
const NOBODY_WAITS: Asked = Asked::new(
    "nobody-waits",
    "Below the limit, no request waits for another's body or for the rest of its own: each is answered as soon as it \
     would be without the layer.",
);
const FREE_AT_LAST_BYTE: Asked = Asked::new(
    "free-at-last-byte",
    "A slot is free once the last byte has been read, even if the handler keeps the spent body and goes on working.",
);
const ARRIVES_AS_SENT: Asked = Asked::new(
    "arrives-as-sent",
    "What a client sends reaches its reader just as it would without the layer, in whatever order it comes, even \
     after the answer: the stated length, each byte, the trailers, and an error where the upload breaks \
     off.",
);
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Everything else that passes through comes out as it went in: requests except for `x-slot`, and answers, with \
     their heads, bodies, lengths, trailers and errors.",
);

const SLOT_NUMBERS: Asked = Asked::new(
    "slot-numbers",
    "A handler finds exactly one `x-slot`, whatever the client sends: a number from 0 to one less than the number of \
     slots.",
);
const WHEN_ALL_ARE_TAKEN: Asked = Asked::new(
    "when-all-are-taken",
    "An upload that finds no free slot either waits for one, or gets a 503 with `retry-after` without reaching its \
     handler.",
);
const ANSWER_AT_ONCE: Asked = Asked::new(
    "answer-at-once",
    "A handler's answer goes out as soon as the handler returns it, even to a client that's still sending what \
     nobody is going to read.",
);
const END_TOLD_AGAIN: Asked = Asked::new(
    "end-told-again",
    "A handler that polls again after the end sees the end again, even if the body under the layer must not be \
     polled after its end.",
);
const NOTHING_AFTER_RELEASE: Asked = Asked::new(
    "nothing-after-release",
    "Once an upload's slot has gone to another upload, a reader that still has the first one's body gets no byte \
     from it.",
);
const HOW_IT_ENDED: Asked = Asked::new(
    "how-it-ended",
    "In the audit, an upload is `complete` when its handler received all of it, even if the handler never asked for \
     the end; `failed` when the handler saw an error; and `abandoned` when nobody read it to its end.",
);
const LEFT_UNANSWERED: Asked = Asked::new(
    "left-unanswered",
    "If the client leaves without an answer while a task still has the body, `failed` and `abandoned` are both right.",
);
const BYTES_IN_HAND: Asked = Asked::new(
    "bytes-in-hand",
    "The bytes in the audit are those that the handler was given, not those that are still waiting.",
);
const READ_AHEAD: Asked = Asked::new(
    "read-ahead",
    "While a handler that hasn't answered isn't reading, at most 64 KiB of its upload are taken from the client \
     beyond what the handler has received.",
);
const PASSES_THROUGH: Asked = Asked::new(
    "passes-through",
    "Bodies that know their length still do, and keep their trailers; they stream in both directions, and no more \
     than 64 KiB of an answer are read ahead. Requests run concurrently. A cancelled request is dropped with \
     everything that belongs to it. Any method, extensions, upgrades and extended CONNECT pass.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(usize, Router, UnboundedSender<Line>) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(SLOT_RELEASED_ONCE, slot_released_once)
        .promise(SLOT_HAS_ONE_UPLOAD, slot_has_one_upload)
        .promise(NO_MORE_THAN_SLOTS, no_more_than_slots)
        .promise(ENDED_STAYS_ENDED, ended_stays_ended)
        .promise(AUDIT_IS_TRUE, audit_is_true)
        .promise(NOBODY_WAITS, nobody_waits)
        .promise(FREE_AT_LAST_BYTE, free_at_last_byte)
        .promise(ARRIVES_AS_SENT, arrives_as_sent)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the spool changes on purpose, and what its own promises judge.
pub fn contract() -> Contract {
    let drain = "what becomes of a body that nobody reads is the ghost";
    Contract::transparent()
        .touches("request header x-slot")
        .changes("not-polled-after-end", drain)
        .changes("request-body-released", drain)
        .changes("continue-when-read", drain)
        .changes("survives-a-panic", drain)
        .changes("request-body-untouched", drain)
        .changes("request-not-read-ahead", drain)
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
    const SLUG: &'static str = "body-double-close";
    type App = fn(usize, Router, UnboundedSender<Line>) -> Router;
    type StandIns = (usize, Router, UnboundedSender<Line>);
    const ASKED: &'static [Asked] = &[
        SLOT_NUMBERS,
        WHEN_ALL_ARE_TAKEN,
        ANSWER_AT_ONCE,
        END_TOLD_AGAIN,
        NOTHING_AFTER_RELEASE,
        HOW_IT_ENDED,
        LEFT_UNANSWERED,
        BYTES_IN_HAND,
        READ_AHEAD,
        PASSES_THROUGH,
    ];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// Three slots, an audit that is printed, and three handlers for POST: `/uploads` reads the upload, `/slow` reads it and
    /// works on for five seconds, `/refused` does not look at it. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let store = async |request: Request| {
            let slot = slot_of(&request);
            let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
            match body {
                Ok(bytes) => format!("{bytes} bytes in slot {slot}\n").into_response(),
                Err(_) => (StatusCode::BAD_REQUEST, format!("slot {slot}: the upload broke off\n")).into_response(),
            }
        };
        let refuse = async || (StatusCode::PAYLOAD_TOO_LARGE, "not that one\n");
        let work_on = async |request: Request| {
            let slot = slot_of(&request);
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            sleep(Duration::from_secs(5)).await;
            format!("worked on slot {slot}\n")
        };
        let (audit, mut lines) = unbounded_channel::<Line>();
        tokio::spawn(async move {
            while let Some((slot, bytes, outcome)) = lines.recv().await {
                lab::say(format_args!("audit: slot {slot}, {bytes} bytes, {outcome}"));
            }
        });
        let uploads =
            Router::new().route("/uploads", post(store)).route("/refused", post(refuse)).route("/slow", post(work_on));
        (3, uploads, audit)
    }

    fn serve(app: Self::App, (slots, uploads, audit): Self::StandIns) -> Router {
        app(slots, uploads, audit)
    }
}

// ===== The promises =====

async fn slot_released_once(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for ending in Ending::over(protocol) {
            let stage = Stage::open(&lab, &app, protocol, 2, ending.title());
            let aftermath = stage.end(ending, "ada").await?;
            stage.all_slots_are_free(ending.title()).await?;
            drop(aftermath);
        }
    }
    Ok(())
}

async fn slot_has_one_upload(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 4, "the first upload's body is kept, spent");
        let mut ada = stage.send("ada", Manner::Keep).await;
        ada.feed.end();
        stage.scene.settle().await;
        stage.desk.has_all_of("ada")?;
        let ben = stage.begin("ben").await?;
        stage.let_go("ada");
        stage.scene.settle().await;
        let cem = stage.begin("cem").await?;
        stage.desk.no_clash()?;
        stage.finish([ben, cem]).await?;

        let stage = Stage::open(&lab, &app, protocol, 4, "the first upload's client leaves while a task has the body");
        let ada = stage.send("ada", Manner::AwaitTask).await;
        let begun = stage.desk.upload("ada").is_some();
        control(begun, "ada's upload did not reach its handler")?;
        ada.connection.leave();
        stage.desk.has_left("ada");
        stage.scene.settle().await;
        let ben = stage.begin("ben").await?;
        stage.let_go("ada");
        stage.scene.settle().await;
        let cem = stage.begin("cem").await?;
        stage.desk.no_clash()?;
        stage.finish([ben, cem]).await?;

        let stage = Stage::open(&lab, &app, protocol, 3, "one upload goes on while others come and go");
        let ada = stage.send("ada", Manner::Read).await;
        for name in ["ben", "cem", "dora", "emil"] {
            let caller = stage.begin(name).await?;
            stage.finish([caller]).await?;
        }
        stage.desk.no_clash()?;
        drop(ada);
    }
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 2, "a client that names a slot itself");
        let connection = stage.server.connect("ada", protocol).await;
        let mut request = upload("ada", Manner::Read, Body::from("letters"));
        request.headers_mut().insert("x-slot", HeaderValue::from_static("7"));
        drop(connection.send(request).await?);
        stage.desk.has_all_of("ada")?;
        stage.desk.well_numbered()?;
    }
    let stage = Stage::open(&lab, &app, Protocol::Http2, 4, "all uploads on one connection");
    let connection = stage.server.connect("house", Protocol::Http2).await;
    let mut ada = stage.send_on(connection.clone(), "ada", Manner::Keep).await;
    ada.feed.end();
    stage.scene.settle().await;
    stage.desk.has_all_of("ada")?;
    let ben = stage.send_on(connection.clone(), "ben", Manner::Read).await;
    stage.let_go("ada");
    stage.scene.settle().await;
    let cem = stage.send_on(connection, "cem", Manner::Read).await;
    stage.desk.no_clash()?;
    for mut sending in [ben, cem] {
        sending.feed.end();
        let status = sending.pending.answer().await?.status().as_u16();
        SLOT_HAS_ONE_UPLOAD.require(status == 200, format!("an upload got {status} instead of 200"))?;
    }
    Ok(())
}

async fn no_more_than_slots(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 2, "a crowd");
        let mut ada = stage.send("ada", Manner::Keep).await;
        ada.feed.end();
        stage.scene.settle().await;
        stage.desk.has_all_of("ada")?;
        let mut crowd = vec![stage.begin("ben").await?, stage.ask("cem").await];
        stage.let_go("ada");
        stage.scene.settle().await;
        for name in ["dora", "emil"] {
            crowd.push(stage.ask(name).await);
        }
        stage.desk.no_crowd(2)?;
        stage.finish(crowd).await?;
        stage.all_slots_are_free("a crowd").await?;

        let stage = Stage::open(&lab, &app, protocol, 2, "one ending after another");
        let mut aftermaths = Vec::new();
        for ending in [Ending::Stream, Ending::PassedOn, Ending::NotRead, Ending::ClientGone] {
            aftermaths.push(stage.end(ending, "ada").await?);
        }
        stage.desk.no_crowd(2)?;
        stage.all_slots_are_free("one ending after another").await?;
    }
    Ok(())
}

async fn ended_stays_ended(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (length, title) in [(true, "a body of known length"), (false, "a body of unknown length")] {
            let stage = Stage::open(&lab, &app, protocol, 2, title);
            let connection = stage.server.connect("ada", protocol).await;
            let body = if length {
                Body::from("letters")
            } else {
                let (mut feed, body) = stage.scene.feed("ada's file");
                feed.data("letters");
                feed.end();
                body
            };
            let _answer = connection.send(upload("ada", Manner::PollOn, body)).await?;
            stage.desk.stayed_ended("ada")?;
        }
    }
    for manner in [Manner::Read, Manner::PollOn] {
        let title = match manner {
            Manner::PollOn => "a body that must not be polled after its end, and a handler that does",
            _ => "a body that must not be polled after its end",
        };
        let stage = Stage::open(&lab, &app, Protocol::Http1, 2, title);
        let source = Unfused { frames: 2, ended: false, polled_on: Arc::default() };
        let polled_on = source.polled_on.clone();
        let answering = stage.app.clone().oneshot(upload("ada", manner, Body::new(source)));
        // The router never fails.
        drop(answering.await);
        stage.scene.settle().await;
        stage.desk.stayed_ended("ada")?;
        let polled_on = *locked(&polled_on);
        END_TOLD_AGAIN.require(
            !polled_on,
            "the body under the layer had ended and was polled once more; a body made by `stream::unfold` panics then",
        )?;
    }
    Ok(())
}

async fn audit_is_true(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for ending in Ending::over(protocol) {
            let stage = Stage::open(&lab, &app, protocol, 2, ending.title());
            let aftermath = stage.end(ending, "ada").await?;
            stage.scene.settle().await;
            stage.audit_agrees(ending)?;
            drop(aftermath);
            stage.scene.settle().await;
            stage.audit_agrees(ending)?;
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let stage = Stage::open(&lab, &app, protocol, 2, &format!("an upload by {method}"));
            let connection = stage.server.connect("ada", protocol).await;
            let mut request = upload("ada", Manner::Read, Body::from("letters"));
            *request.method_mut() = method.clone();
            request.headers_mut().insert("x-slot", HeaderValue::from_static("99"));
            drop(connection.send(request).await?);
            stage.scene.settle().await;
            stage.desk.has_all_of("ada")?;
            stage.desk.well_numbered()?;
            stage.audit_agrees(Ending::Length)?;
        }
    }
    Ok(())
}

async fn nobody_waits(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let bare: App = Arc::new(|_, uploads, _| uploads);
        let without = a_slow_sender_among_others(&lab, &bare, protocol, "without the layer").await?;
        let with = a_slow_sender_among_others(&lab, &app, protocol, "a slow sender among others").await?;
        for ((name, bare), (_, with)) in without.into_iter().zip(with) {
            control(bare.is_some(), format!("without the layer {name} was not answered"))?;
            let asked = if name.starts_with("dora") { ANSWER_AT_ONCE } else { NOBODY_WAITS };
            asked.require(bare == with, later(name, bare.unwrap_or_default(), with))?;
        }
    }
    Ok(())
}

async fn free_at_last_byte(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (length, manner, title) in [
            (false, Manner::Keep, "a body of unknown length"),
            (true, Manner::Keep, "a body of known length, read to its end"),
            (true, Manner::KeepLength, "a body of known length, read to its last byte"),
        ] {
            let stage = Stage::open(&lab, &app, protocol, 1, title);
            let connection = stage.server.connect("ada", protocol).await;
            let (mut feed, fed) = stage.scene.feed("ada's file");
            let body = if length { Body::from("letters") } else { fed };
            let pending = connection.begin(upload("ada", manner, body));
            feed.data("letters");
            feed.end();
            stage.scene.settle().await;
            stage.desk.has_all_of("ada")?;
            let ben = stage.ask("ben").await;
            FREE_AT_LAST_BYTE.require(
                stage.desk.upload("ben").is_some(),
                "ada's upload was read to its last byte, and its handler goes on working with the spent body: the \
                 slot is not free, and ben's upload does not begin",
            )?;
            stage.let_go("ada");
            let status = pending.answer().await?.status().as_u16();
            FREE_AT_LAST_BYTE.require(status == 200, format!("ada got {status} instead of 200"))?;
            stage.finish([ben]).await?;
        }
    }
    Ok(())
}

async fn arrives_as_sent(lab: Lab, app: App) -> Proof {
    let bare: App = Arc::new(|_, uploads, _| uploads);
    for protocol in Protocol::BOTH {
        for arrival in Arrival::ALL {
            for (manner, length_is_told) in [(Manner::Read, false), (Manner::PassOn, false), (Manner::Read, true)] {
                let title = match (manner, length_is_told, protocol) {
                    // There a length and trailers exclude each other.
                    (_, true, Protocol::Http1) => continue,
                    (_, true, _) if arrival == Arrival::TrailersOnly => continue,
                    (_, true, Protocol::Http2) => format!("{arrival}, of a length that is told"),
                    (Manner::PassOn, ..) => format!("{arrival}, to a task that outlives the answer"),
                    _ => arrival.to_string(),
                };
                let untouched = format!("{title}, without the layer");
                let without =
                    seen_to_arrive(&lab, &bare, protocol, arrival, manner, length_is_told, &untouched).await?;
                let with = seen_to_arrive(&lab, &app, protocol, arrival, manner, length_is_told, &title).await?;
                ARRIVES_AS_SENT
                    .require(with == without, format!("the reader saw {with}; without the layer it sees {without}"))?;
            }
        }
        let fed = async |app: &App, title: &str| {
            let stage = Stage::open(&lab, app, protocol, 2, title);
            let connection = stage.server.connect("ada", protocol).await;
            drop(connection.send(upload("ada", Manner::Read, Body::from("letters"))).await?);
            Ok::<_, Broken>(stage.desk.upload("ada").map(|upload| upload.seen()).unwrap_or_default())
        };
        let without = fed(&bare, "a body of known length, without the layer").await?;
        let with = fed(&app, "a body of known length").await?;
        ARRIVES_AS_SENT
            .require(with == without, format!("the reader saw {with}; without the layer it sees {without}"))?;

        let stage = Stage::open(&lab, &app, protocol, 2, "the handler does not read on");
        let (feed, body) = stage.scene.feed("ada's file");
        let asking = stage.scene.spawn(stage.app.clone().oneshot(upload("ada", Manner::OneThenRest, body)));
        for _ in 0..FRAMES {
            feed.data([b'-'; FRAME].as_slice());
        }
        stage.scene.settle().await;
        let had = stage.desk.upload("ada").map_or(0, |upload| upload.bytes);
        control(had > 0, "the handler received nothing of ada's upload")?;
        let ahead = feed.taken() - had;
        READ_AHEAD.require(
            ahead <= MOST_AHEAD,
            "the handler read one frame and then stopped reading, and more than 64 KiB of the upload were taken",
        )?;
        drop(feed);
        stage.let_go("ada");
        drop(asking.await);

        for breach in Breach::over(protocol) {
            let title = format!("a task reads, and {}", breach.title());
            let without = Stage::open(&lab, &bare, protocol, 2, &format!("{title}, without the layer"));
            let failed = without.break_off(breach).await?.state == State::Failed;
            control(failed, "without the layer the task does not see the upload fail")?;
            let with = Stage::open(&lab, &app, protocol, 2, &title).break_off(breach).await?;
            let told = match with.state {
                State::Failed => continue,
                State::Live => "still waits",
                State::Complete => "was told the end",
                State::Abandoned => "was dropped",
            };
            return Err(Broken::because(format!("the upload broke off, and the task that reads it {told}")));
        }
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let spool = Subject::app(move |routes| {
        let (audit, _) = unbounded_channel();
        app(SLOTS_FOR_ALL, routes, audit)
    });
    let (proof, scenes) = the_rest(spool, &contract(), &SHOULD, limits);
    (proof.or_else(|broken| PASSES_THROUGH.require(false, broken.to_string())), scenes)
}

/// An upload of frames that is longer than what may be read ahead, in bytes.
const FRAMES: usize = 200;
const FRAME: usize = 1024;
const MOST_AHEAD: u64 = 64 * 1024;
/// More slots than the conformance suite has requests at a time.
const SLOTS_FOR_ALL: usize = 500;

/// What the reader of an upload sees that comes in some order.
async fn seen_to_arrive(
    lab: &Lab,
    app: &App,
    protocol: Protocol,
    arrival: Arrival,
    manner: Manner,
    length_is_told: bool,
    title: &str,
) -> Result<String, Broken> {
    let stage = Stage::open(lab, app, protocol, 2, title);
    let connection = stage.server.connect("ada", protocol).await;
    let (feed, body) = stage.scene.feed_that_ends_once("ada's file");
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-checksum"), HeaderValue::from_static("41"))]);
    let mut course = Course::new(&stage.scene, feed, arrival, &["let", "ters"], Some(trailers));
    let mut request = upload("ada", manner, body);
    request.headers_mut().insert(TRAILER, HeaderValue::from_static("x-checksum"));
    if length_is_told {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
    }
    let pending = connection.begin(request);
    course.run().await;
    drop(pending.answer().await?);
    stage.scene.settle().await;
    let ada = stage.desk.upload("ada");
    control(ada.is_some(), "ada's upload did not reach its handler")?;
    Ok(ada.map(|upload| upload.seen()).unwrap_or_default())
}

/// Tells when each client was answered: a slow sender whose upload is refused at its first bytes, and ordinary ones that
/// come while it goes on sending.
async fn a_slow_sender_among_others(
    lab: &Lab,
    app: &App,
    protocol: Protocol,
    title: &str,
) -> Result<Vec<(&'static str, Option<u64>)>, Broken> {
    let stage = Stage::open(lab, app, protocol, 8, title);
    let mut answered = vec![("ben, who came before that,", stage.timed("ben").await)];
    let Sending { mut feed, pending, .. } = stage.send("dora", Manner::OneFrame).await;
    let scene = stage.scene.clone();
    let sending = scene.spawn(async move {
        for _ in 0..10 {
            sleep(Duration::from_secs(1)).await;
            feed.data("more");
        }
        feed.end();
    });
    let began = scene.now_ms();
    let dora =
        scene.clone().spawn(async move { pending.answer().await.map(|answer| (answer, scene.now_ms() - began)) });
    sleep(Duration::from_millis(1_500)).await;
    for name in ["cem", "emil"] {
        answered.push((name, stage.timed(name).await));
    }
    // Neither task panics: they are the specification's own.
    let dora = dora.await.ok().and_then(Result::ok);
    answered.push(("dora, whose upload was refused at its first bytes,", dora.as_ref().map(|(_, after)| *after)));
    drop(sending.await);
    Ok(answered)
}

fn later(name: &str, bare: u64, with: Option<u64>) -> String {
    match with {
        Some(with) => format!("{name} is answered after {with} ms; without the layer it takes {bare} ms"),
        None => format!("{name} is not answered; without the layer it takes {bare} ms"),
    }
}

// ===== How an upload ends =====

/// The ways in which an upload ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Length,
    Stream,
    NoBody,
    BadChunk,
    ClientGone,
    Reset,
    NotRead,
    OneFrame,
    FramesLeft,
    Panic,
    PassedOn,
    ClientGoneFromTask,
}

impl Ending {
    fn over(protocol: Protocol) -> impl Iterator<Item = Self> {
        let all = [
            Self::Length,
            Self::Stream,
            Self::NoBody,
            Self::BadChunk,
            Self::ClientGone,
            Self::Reset,
            Self::NotRead,
            Self::OneFrame,
            Self::FramesLeft,
            Self::Panic,
            Self::PassedOn,
            Self::ClientGoneFromTask,
        ];
        all.into_iter().filter(move |ending| match ending {
            Self::BadChunk => protocol == Protocol::Http1,
            Self::Reset => protocol == Protocol::Http2,
            _ => true,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::Length => "an upload of known length",
            Self::Stream => "an upload of unknown length",
            Self::NoBody => "no body at all",
            Self::BadChunk => "a malformed chunk",
            Self::ClientGone => "the client leaves in mid-body",
            Self::Reset => "the client resets the stream in mid-body",
            Self::NotRead => "the handler answers without reading",
            Self::OneFrame => "the handler answers after one frame",
            Self::FramesLeft => "the handler answers after one frame, and more wait",
            Self::Panic => "the handler panics",
            Self::PassedOn => "the body moves to a task that outlives the answer",
            Self::ClientGoneFromTask => "the client leaves while a task reads",
        }
    }
}

/// How an upload breaks off while a task reads it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Breach {
    BadChunk,
    ClientGone,
    Reset,
    GoneAfterTheAnswer,
}

impl Breach {
    fn over(protocol: Protocol) -> impl Iterator<Item = Self> {
        let all = [Self::BadChunk, Self::ClientGone, Self::Reset, Self::GoneAfterTheAnswer];
        all.into_iter().filter(move |breach| match breach {
            Self::BadChunk => protocol == Protocol::Http1,
            Self::Reset => protocol == Protocol::Http2,
            _ => true,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadChunk => "a chunk is malformed",
            Self::ClientGone => "the client leaves",
            Self::Reset => "the client resets the stream",
            Self::GoneAfterTheAnswer => "the client leaves after its answer",
        }
    }
}

/// What a handler does with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Reads it to its end.
    Read,
    /// Reads it to its end and keeps it until it is let go.
    Keep,
    /// Reads as many bytes as `content-length` says and keeps it until it is let go.
    KeepLength,
    /// Reads it to its end and polls it again.
    PollOn,
    /// Does not look at it.
    NotRead,
    /// Reads one frame.
    OneFrame,
    /// Reads one frame and panics.
    Panic,
    /// Hands it to a task that reads it to its end, and answers.
    PassOn,
    /// Hands it to a task that waits to be let go and then reads it to its end; answers when the task has ended.
    AwaitTask,
    /// Hands it to a task that reads it to its end; answers when the task has ended.
    ReadInTask,
    /// Reads one frame, waits to be let go, and reads the rest.
    OneThenRest,
}

impl Manner {
    fn path(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Keep => "keep",
            Self::KeepLength => "keep-at-last-byte",
            Self::PollOn => "poll-on",
            Self::NotRead => "not-read",
            Self::OneFrame => "one-frame",
            Self::Panic => "panic",
            Self::PassOn => "pass-on",
            Self::AwaitTask => "await-task",
            Self::ReadInTask => "read-in-task",
            Self::OneThenRest => "one-then-rest",
        }
    }
}

const MANNERS: [Manner; 11] = [
    Manner::Read,
    Manner::Keep,
    Manner::KeepLength,
    Manner::PollOn,
    Manner::NotRead,
    Manner::OneFrame,
    Manner::Panic,
    Manner::PassOn,
    Manner::AwaitTask,
    Manner::ReadInTask,
    Manner::OneThenRest,
];

fn upload(name: &str, manner: Manner, body: Body) -> Request {
    Request::post(format!("/{}/{name}", manner.path())).body(body).expect("a request that never changes")
}

// ===== The stage =====

/// The app, served, with its handlers and its audit.
struct Stage {
    scene: Scene,
    app: Router,
    server: Server,
    desk: Desk,
    audit: Arc<Mutex<Vec<Line>>>,
    protocol: Protocol,
    slots: usize,
}

/// An upload on the wire.
struct Sending {
    connection: Connection,
    feed: Feed,
    pending: Pending,
}

/// An upload that comes to the app without a wire, to see whether there is a slot for it.
struct Caller {
    name: &'static str,
    feed: Feed,
    answer: JoinHandle<Response>,
}

/// What an ending leaves behind: a client that is still there, and says nothing.
type Aftermath = Box<dyn Any>;

impl Stage {
    fn open(lab: &Lab, app: &App, protocol: Protocol, slots: usize, title: &str) -> Self {
        let scene = lab.scene(format!("{protocol}, {title}"));
        let desk = Desk { scene: scene.clone(), slots, state: Arc::default() };
        let handlers = desk.clone();
        let uploads = Router::new().fallback(any(move |request| handlers.handle(request)));
        let (sender, mut lines) = unbounded_channel::<Line>();
        let audit: Arc<Mutex<Vec<Line>>> = Arc::default();
        let (written, noting) = (audit.clone(), scene.clone());
        scene.spawn(async move {
            while let Some(line) = lines.recv().await {
                noting.note("audit", told(&line));
                locked(&written).push(line);
            }
        });
        let app = app(slots, uploads, sender);
        let server = scene.serve(app.clone());
        Self { scene, app, server, desk, audit, protocol, slots }
    }

    /// A new client begins an upload on the wire and sends the first bytes.
    async fn send(&self, name: &'static str, manner: Manner) -> Sending {
        let connection = self.server.connect(name, self.protocol).await;
        self.send_on(connection, name, manner).await
    }

    async fn send_on(&self, connection: Connection, name: &'static str, manner: Manner) -> Sending {
        let (feed, body) = self.scene.feed(&format!("{name}'s file"));
        let pending = connection.begin(upload(name, manner, body));
        feed.data("letters");
        self.scene.settle().await;
        Sending { connection, feed, pending }
    }

    /// Begins an upload without a wire, sends the first bytes and does not expect anything.
    async fn ask(&self, name: &'static str) -> Caller {
        self.desk.forget(name);
        self.scene.note(name, "sends an upload, in process");
        let (feed, body) = self.scene.feed(&format!("{name}'s file"));
        let answering = self.app.clone().oneshot(upload(name, Manner::Read, body));
        let scene = self.scene.clone();
        let answer = self.scene.spawn(async move {
            let answer = answering.await.unwrap_or_else(|never| match never {});
            scene.note(name, format!("gets {}", answer.status().as_u16()));
            answer
        });
        feed.data("letters");
        self.scene.settle().await;
        Caller { name, feed, answer }
    }

    /// Like [`ask`](Self::ask), where there must be a slot.
    async fn begin(&self, name: &'static str) -> Result<Caller, Broken> {
        let caller = self.ask(name).await;
        let begun = self.desk.upload(name).is_some();
        SLOT_RELEASED_ONCE.require(begun, format!("{name}'s upload did not begin even though a slot was free"))?;
        Ok(caller)
    }

    /// Ends the bodies and expects 200, or 503 with `retry-after` where the handler never heard of the upload.
    async fn finish(&self, callers: impl IntoIterator<Item = Caller>) -> Proof {
        for Caller { name, mut feed, answer } in callers {
            feed.end();
            let Ok(answer) = answer.await else { return Err(Broken::because(format!("{name} got no answer"))) };
            let status = answer.status().as_u16();
            if self.desk.upload(name).is_some() {
                LEAVES_THE_REST_ALONE.require(status == 200, format!("{name} got {status} instead of 200"))?;
                continue;
            }
            WHEN_ALL_ARE_TAKEN.require(
                status == 503 && answer.headers().contains_key(RETRY_AFTER),
                format!("{name} was not let in and got {status}; expected a 503 with `retry-after`"),
            )?;
        }
        Ok(())
    }

    /// How many milliseconds an upload takes that is sent in two parts, the second 100 ms after the first.
    async fn timed(&self, name: &'static str) -> Option<u64> {
        let began = self.scene.now_ms();
        let mut caller = self.ask(name).await;
        sleep(Duration::from_millis(99)).await;
        caller.feed.data("more");
        caller.feed.end();
        caller.answer.await.is_ok().then(|| self.scene.now_ms() - began)
    }

    fn let_go(&self, name: &'static str) {
        self.scene.note("handler", format!("of {name} goes on"));
        self.desk.gate(name).notify_one();
    }

    /// Lets as many uploads begin as there are slots, and one more, which must not.
    async fn all_slots_are_free(&self, after: &str) -> Proof {
        let live = self.desk.live();
        SLOT_RELEASED_ONCE.require(live == 0, format!("after \"{after}\" {live} uploads still go on"))?;
        let mut callers = Vec::new();
        for name in ["ben", "cem", "dora"].into_iter().take(self.slots + 1) {
            callers.push(self.ask(name).await);
        }
        let (live, slots) = (self.desk.live(), self.slots);
        SLOT_RELEASED_ONCE.require(
            live >= slots,
            format!("after \"{after}\" only {live} of {slots} slots can be had: one was not given back"),
        )?;
        SLOT_RELEASED_ONCE.require(
            live <= slots,
            format!("after \"{after}\" {live} uploads go on at once in {slots} slots: one was given back twice"),
        )?;
        self.desk.no_clash()?;
        self.finish(callers).await
    }

    /// Stages one ending, to the point where nobody has the body any more.
    async fn end(&self, ending: Ending, name: &'static str) -> Result<Aftermath, Broken> {
        self.desk.forget(name);
        let aftermath: Aftermath = match ending {
            Ending::Length | Ending::NoBody => {
                let body = if ending == Ending::Length { Body::from("letters") } else { Body::empty() };
                let connection = self.server.connect(name, self.protocol).await;
                Box::new(connection.send(upload(name, Manner::Read, body)).await?)
            }
            Ending::Stream => {
                let mut ada = self.send(name, Manner::Read).await;
                ada.feed.data("and more");
                ada.feed.end();
                Box::new(ada.pending.answer().await?)
            }
            Ending::BadChunk => {
                let mut raw = self.server.connect_raw(name, self.protocol);
                let head =
                    format!("POST /read/{name} HTTP/1.1\r\nhost: ghost.test\r\ntransfer-encoding: chunked\r\n\r\n");
                raw.write(head.as_bytes()).await;
                raw.write(b"7\r\nletters\r\n").await;
                self.scene.settle().await;
                raw.write(b"no length\r\n").await;
                Box::new(raw)
            }
            Ending::ClientGone => {
                let Sending { connection, feed, pending } = self.send(name, Manner::Read).await;
                connection.leave();
                Box::new((feed, pending))
            }
            Ending::Reset => {
                let ada = self.send(name, Manner::Read).await;
                self.scene.note(name, "resets the stream");
                Box::new(ada.connection)
            }
            Ending::NotRead => Box::new(self.send(name, Manner::NotRead).await),
            Ending::OneFrame => Box::new(self.send(name, Manner::OneFrame).await),
            Ending::FramesLeft => {
                let (feed, body) = self.scene.feed(&format!("{name}'s file"));
                ["letters", "and more", "and the last"].into_iter().for_each(|frame| feed.data(frame));
                let connection = self.server.connect(name, self.protocol).await;
                let pending = connection.begin(upload(name, Manner::OneFrame, body));
                self.scene.settle().await;
                Box::new((connection, feed, pending))
            }
            Ending::Panic => Box::new(self.send(name, Manner::Panic).await),
            Ending::PassedOn => {
                let mut ada = self.send(name, Manner::PassOn).await;
                ada.feed.data("and more");
                ada.feed.end();
                Box::new(ada.pending.answer().await?)
            }
            Ending::ClientGoneFromTask => {
                let Sending { connection, feed, pending } = self.send(name, Manner::AwaitTask).await;
                connection.leave();
                self.scene.settle().await;
                self.let_go(name);
                Box::new((feed, pending))
            }
        };
        self.scene.settle().await;
        let begun = self.desk.upload(name).is_some();
        control(begun, format!("{name}'s upload did not reach its handler"))?;
        Ok(aftermath)
    }

    /// An upload that a task reads breaks off. What the task saw.
    async fn break_off(&self, breach: Breach) -> Result<Upload, Broken> {
        let aftermath: Aftermath = match breach {
            Breach::BadChunk => {
                let mut raw = self.server.connect_raw("ada", self.protocol);
                let head = "POST /pass-on/ada HTTP/1.1\r\nhost: ghost.test\r\ntransfer-encoding: chunked\r\n\r\n";
                raw.write(head.as_bytes()).await;
                raw.write(b"7\r\nletters\r\n").await;
                self.scene.settle().await;
                raw.write(b"no length\r\n").await;
                Box::new(raw)
            }
            Breach::ClientGone => {
                let ada = self.send("ada", Manner::ReadInTask).await;
                ada.connection.leave();
                Box::new((ada.feed, ada.pending))
            }
            Breach::Reset => {
                let ada = self.send("ada", Manner::ReadInTask).await;
                ada.pending.cancel();
                Box::new((ada.connection, ada.feed))
            }
            Breach::GoneAfterTheAnswer => {
                let ada = self.send("ada", Manner::PassOn).await;
                let answer = ada.pending.answer().await?;
                self.scene.settle().await;
                ada.connection.leave();
                Box::new((ada.feed, answer))
            }
        };
        self.scene.settle().await;
        drop(aftermath);
        let Some(ada) = self.desk.upload("ada") else {
            return Err(Broken::because("even before the fault: ada's upload did not reach its handler"));
        };
        Ok(ada)
    }

    fn audit_agrees(&self, ending: Ending) -> Proof {
        let Some(ada) = self.desk.upload("ada") else { return Ok(()) };
        let lines = locked(&self.audit).clone();
        let received = format!("its handler received {} bytes in slot {}", ada.bytes, ada.slot);
        let told = match lines.as_slice() {
            [line] => told(line),
            [] => return Err(Broken::because(format!("{received}, and the audit has no line"))),
            lines => {
                let all: Vec<String> = lines.iter().map(told).collect();
                let (count, all) = (lines.len(), all.join("; "));
                return Err(Broken::because(format!("one upload has {count} lines in the audit: {all}")));
            }
        };
        let true_line = |outcome: &str| format!("slot {}, {} bytes, {outcome}", ada.slot, ada.bytes);
        let outcome = match ada.state {
            State::Complete => "complete",
            State::Failed => "failed",
            State::Abandoned | State::Live => "abandoned",
        };
        let says = |true_line: String| format!("the audit says \"{told}\", but \"{true_line}\" is true");
        // The task saw the body fail, but only after the request had been abandoned.
        if ending == Ending::ClientGoneFromTask {
            let right = ["abandoned", "failed"].into_iter().any(|outcome| told == true_line(outcome));
            return LEFT_UNANSWERED.require(right, says(true_line("abandoned")));
        }
        let asked = if ending == Ending::FramesLeft { BYTES_IN_HAND } else { HOW_IT_ENDED };
        asked.require(told == true_line(outcome), says(true_line(outcome)))
    }
}

fn told((slot, bytes, outcome): &Line) -> String {
    format!("slot {slot}, {bytes} bytes, {outcome}")
}

fn slot_of(request: &Request) -> String {
    let slots: Vec<String> = request
        .headers()
        .get_all("x-slot")
        .iter()
        .map(|slot| String::from_utf8_lossy(slot.as_bytes()).into())
        .collect();
    slots.join(", ")
}

// ===== The handlers =====

/// The handlers behind the spool, and what they saw.
#[derive(Clone)]
struct Desk {
    scene: Scene,
    slots: usize,
    state: Arc<Mutex<DeskState>>,
}

#[derive(Default)]
struct DeskState {
    uploads: Vec<Upload>,
    gates: HashMap<String, Arc<Notify>>,
    clash: Option<(Asked, String)>,
    /// An `x-slot` that is none.
    misnumbered: Option<String>,
    most: Vec<String>,
}

/// An upload as its handler saw it.
#[derive(Clone)]
struct Upload {
    name: String,
    slot: String,
    /// The length that its body stated at first.
    stated: Option<u64>,
    received: Vec<u8>,
    trailers: Vec<String>,
    bytes: u64,
    state: State,
    /// Its client has gone; who still has the body is to receive nothing more once the slot is another's.
    left: bool,
    polled_on: Option<&'static str>,
    /// It said that it had ended, and a frame came.
    false_end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its body can still yield something.
    Live,
    /// The handler saw its end, or received as many bytes as it was to have.
    Complete,
    /// The handler saw an error.
    Failed,
    /// Its body was dropped before.
    Abandoned,
}

impl Upload {
    /// What its reader saw of it, in words.
    fn seen(&self) -> String {
        let stated = self.stated.map_or("an unknown length".to_owned(), |length| format!("a length of {length}"));
        let trailers = if self.trailers.is_empty() { "no trailers".to_owned() } else { self.trailers.join(", ") };
        let end = match self.state {
            State::Live => "no end",
            State::Complete => "the end",
            State::Failed => "an error",
            State::Abandoned => "no more",
        };
        format!("{stated}, {:?}, {trailers} and {end}", String::from_utf8_lossy(&self.received))
    }
}

impl Desk {
    async fn handle(self, request: Request) -> Response {
        let slot = slot_of(&request);
        let path = request.uri().path().to_owned();
        let (manner, name) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let manner = MANNERS.into_iter().find(|known| known.path() == manner).unwrap_or(Manner::Read);
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.scene.note("handler", format!("of {name} begins in slot {slot}"));
        let (parts, body) = request.into_parts();
        // What somebody put into the extensions lives as long as a handler that keeps them.
        let _parts = matches!(manner, Manner::Keep | Manner::KeepLength).then_some(parts);
        let mut reading = self.begins(name, slot, length, body);
        match manner {
            Manner::Read => while reading.frame().await {},
            Manner::Keep => {
                while reading.frame().await {}
                self.gate(name).notified().await;
            }
            Manner::KeepLength => {
                while !reading.has_all() && reading.frame().await {}
                self.gate(name).notified().await;
            }
            Manner::PollOn => {
                while reading.frame().await {}
                reading.poll_on();
            }
            Manner::NotRead => {}
            Manner::OneFrame => drop(reading.frame().await),
            Manner::Panic => {
                reading.frame().await;
                panic!("the handler of {name} panics");
            }
            Manner::PassOn => {
                self.scene.clone().spawn(async move { while reading.frame().await {} });
                return StatusCode::OK.into_response();
            }
            Manner::OneThenRest => {
                reading.frame().await;
                self.gate(name).notified().await;
                while reading.frame().await {}
            }
            Manner::ReadInTask => {
                let task = self.scene.spawn(async move { while reading.frame().await {} });
                // The task does not panic.
                drop(task.await);
                return StatusCode::OK.into_response();
            }
            Manner::AwaitTask => {
                let gate = self.gate(name);
                let task = self.scene.spawn(async move {
                    gate.notified().await;
                    while reading.frame().await {}
                });
                // The task does not panic.
                drop(task.await);
                return StatusCode::OK.into_response();
            }
        }
        drop(reading);
        StatusCode::OK.into_response()
    }

    fn begins(&self, name: &str, slot: String, length: Option<u64>, body: Body) -> Reading {
        let mut state = locked(&self.state);
        let other = state.live().find(|other| other.slot == slot).map(|other| other.name.clone());
        if let Some(other) = other {
            let clash = format!("{name}'s upload began in slot {slot} while {other}'s was still in it");
            state.clash.get_or_insert((SLOT_HAS_ONE_UPLOAD, clash));
        }
        if !slot.parse().is_ok_and(|number: usize| number < self.slots) {
            let slots = self.slots;
            state.misnumbered.get_or_insert(format!("{name}'s upload was told slot {slot:?}, with {slots} slots"));
        }
        let upload = Upload {
            name: name.to_owned(),
            slot,
            stated: body.size_hint().exact(),
            received: Vec::new(),
            trailers: Vec::new(),
            bytes: 0,
            state: State::Live,
            left: false,
            polled_on: None,
            false_end: false,
        };
        state.uploads.push(upload);
        let live: Vec<String> = state.live().map(|upload| upload.name.clone()).collect();
        if live.len() > state.most.len() {
            state.most = live;
        }
        let index = state.uploads.len() - 1;
        Reading { desk: self.clone(), index, length, body }
    }

    /// The latest upload of that name.
    fn upload(&self, name: &str) -> Option<Upload> {
        locked(&self.state).uploads.iter().rev().find(|upload| upload.name == name).cloned()
    }

    /// The next upload of that name is looked up as if it were the first.
    fn forget(&self, name: &str) {
        let mut state = locked(&self.state);
        for upload in state.uploads.iter_mut().filter(|upload| upload.name == name) {
            upload.name = format!("an earlier {name}");
        }
    }

    fn has_left(&self, name: &str) {
        for upload in locked(&self.state).uploads.iter_mut().filter(|upload| upload.name == name) {
            upload.left = true;
        }
    }

    fn live(&self) -> usize {
        locked(&self.state).live().count()
    }

    fn no_clash(&self) -> Proof {
        match locked(&self.state).clash.clone() {
            Some((asked, clash)) => asked.require(false, clash),
            None => Ok(()),
        }
    }

    fn well_numbered(&self) -> Proof {
        let misnumbered = locked(&self.state).misnumbered.clone();
        SLOT_NUMBERS.require(misnumbered.is_none(), misnumbered.unwrap_or_default())
    }

    fn no_crowd(&self, slots: usize) -> Proof {
        let most = locked(&self.state).most.clone();
        let (count, names) = (most.len(), most.join(", "));
        NO_MORE_THAN_SLOTS.require(count <= slots, format!("{count} uploads went on at once in {slots} slots: {names}"))
    }

    fn has_all_of(&self, name: &str) -> Proof {
        let whole = self.upload(name).is_some_and(|upload| upload.state == State::Complete);
        control(whole, format!("the handler did not receive the whole of {name}'s upload"))
    }

    fn stayed_ended(&self, name: &str) -> Proof {
        self.has_all_of(name)?;
        let upload = self.upload(name);
        if let Some(what) = upload.as_ref().and_then(|upload| upload.polled_on) {
            return Err(Broken::because(format!("{name}'s body had ended, was polled again and {what}")));
        }
        let false_end = upload.is_some_and(|upload| upload.false_end);
        ENDED_STAYS_ENDED.require(!false_end, format!("{name}'s body said that it had ended, and then yielded a frame"))
    }

    fn gate(&self, name: &str) -> Arc<Notify> {
        locked(&self.state).gates.entry(name.to_owned()).or_default().clone()
    }
}

impl DeskState {
    fn live(&self) -> impl Iterator<Item = &Upload> {
        self.uploads.iter().filter(|upload| upload.state == State::Live && !upload.left)
    }
}

/// A body in a handler's hands.
struct Reading {
    desk: Desk,
    index: usize,
    length: Option<u64>,
    body: Body,
}

impl Reading {
    /// Waits for the next frame; false when there is none.
    async fn frame(&mut self) -> bool {
        let ended = http_body::Body::is_end_stream(&self.body);
        match self.body.frame().await {
            Some(Ok(frame)) => {
                self.change(|upload| upload.false_end |= ended);
                if let Some(data) = frame.data_ref() {
                    self.change(|upload| upload.received.extend_from_slice(data));
                }
                if let Some(trailers) = frame.trailers_ref() {
                    let told = trailers.iter().map(|(name, value)| format!("{name}: {}", escaped(value.as_bytes())));
                    self.change(|upload| upload.trailers.extend(told));
                }
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let all = self.change(|upload| upload.bytes += bytes);
                self.must_be_alone(bytes);
                self.note(format!("receives {bytes} bytes"));
                if self.length == Some(all) {
                    self.change(|upload| upload.state = State::Complete);
                }
                true
            }
            Some(Err(_)) => {
                self.note("sees the body fail");
                self.change(|upload| upload.state = State::Failed);
                false
            }
            None => {
                self.note("sees the end");
                self.change(|upload| upload.state = State::Complete);
                false
            }
        }
    }

    /// Whoever began later in this slot must not be there while this upload still receives something.
    fn must_be_alone(&self, bytes: u64) {
        let mut state = locked(&self.desk.state);
        let (mine, later) = state.uploads.split_at(self.index + 1);
        let me = &mine[self.index];
        let other = later.iter().find(|other| other.state == State::Live && other.slot == me.slot);
        if let (Some(other), 1..) = (other, bytes) {
            let (me, other, slot) = (&me.name, &other.name, &me.slot);
            let clash = format!("{me}'s upload received {bytes} bytes in slot {slot} after {other}'s had begun in it");
            state.clash.get_or_insert((NOTHING_AFTER_RELEASE, clash));
        }
    }

    fn has_all(&self) -> bool {
        self.length == Some(self.change(|_| ()))
    }

    /// Polls the body three times more.
    fn poll_on(&mut self) {
        for _ in 0..3 {
            let what = match self.body.frame().now_or_never() {
                Some(None) => continue,
                Some(Some(Ok(_))) => "yielded a frame",
                Some(Some(Err(_))) => "yielded an error",
                None => "was pending",
            };
            self.change(|upload| upload.polled_on = Some(what));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Upload)) -> u64 {
        let mut state = locked(&self.desk.state);
        let upload = &mut state.uploads[self.index];
        change(upload);
        upload.bytes
    }

    fn note(&self, what: impl Into<String>) {
        let name = locked(&self.desk.state).uploads[self.index].name.clone();
        self.desk.scene.note("handler", format!("of {name} {}", what.into()));
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = locked(&self.desk.state);
        let upload = &mut state.uploads[self.index];
        if upload.state == State::Live {
            upload.state = State::Abandoned;
        }
    }
}

/// A body of frames that must not be polled after its end, as those made by `stream::unfold`.
struct Unfused {
    frames: usize,
    ended: bool,
    polled_on: Arc<Mutex<bool>>,
}

impl http_body::Body for Unfused {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            *locked(&self.polled_on) = true;
        }
        if self.frames == 0 {
            self.ended = true;
            return Poll::Ready(None);
        }
        self.frames -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"letters")))))
    }
}
