//! The specification of `extension-collision`: a letter box that must not take the owner of a mailbox for whoever asks.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, Weak},
    task::Context,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode},
    middleware::map_request,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};
use tower::ServiceExt;

use lab::{
    Arrival, Asked, Broken, Connection, Course, End, Ghost, Lab, Limits, Proof, Protocol, Report, Scene, Server,
    Specification, control,
    hammer::{Force, Hammered},
    locked,
};

mod hammer;

pub use hammer::hammer;

/// Says whether a caller, named first, may read a mailbox.
pub type MayRead = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// An entry of the audit trail: caller, mailbox, status.
pub type Entry = (String, String, StatusCode);

/// Makes the app under test from what says who may read, the store and the audit trail.
pub type App = Arc<dyn Fn(MayRead, Router, UnboundedSender<Entry>) -> Router + Send + Sync>;

const MAY_READ_ASKED_ABOUT_BOTH: Asked = Asked::new(
    "may-read-asked-about-both",
    "Whoever asks for somebody else's letters gets them only if `may_read` says so of the caller and of the mailbox that the \
             path names; otherwise the answer is 403 and the store is not asked.",
);
const STORE_TOLD_BOTH: Asked = Asked::new(
    "store-told-both",
    "The store is asked once for each request that is let through, with one `x-caller`, the user who asks, and one \
             `x-mailbox`, the one named, also where the two differ; on `/me/letters` both are the user who asks.",
);
const AUDIT_NAMES_BOTH: Asked = Asked::new(
    "audit-names-both",
    "Each answer to a user leaves one entry in the audit trail: the user who asked, the mailbox named and the status of the \
             answer; an answer to a stranger leaves none.",
);
const STRANGER_STAYS_A_STRANGER: Asked = Asked::new(
    "stranger-stays-a-stranger",
    "Without an identity the letters are answered with 401 and the store is not asked; the card is answered, and the store \
             gets no `x-caller`.",
);
const OTHERS_EXTENSIONS_ARE_OTHERS: Asked = Asked::new(
    "others-extensions-are-others",
    "All of this holds as well when layers outside the app have put values of common types into the extensions of the \
             request, and when the store's answer carries such values in its own.",
);
const CLIENT_NAMES_NOBODY: Asked =
    Asked::new("client-names-nobody", "An `x-caller` or an `x-mailbox` that the client sends never reaches the store.");
const REQUESTS_KEEP_APART: Asked = Asked::new(
    "requests-keep-apart",
    "Two slow requests are served at the same time, on one HTTP/2 connection or on two of HTTP/1.1, and each keeps its own \
             caller and mailbox up to the audit entry, also when each poll comes from another thread.",
);
const MOUNTED_ANYWHERE: Asked = Asked::new(
    "mounted-anywhere",
    "All of this holds as well when the app is nested under `/eu`, and when it is merged with another router.",
);
const REQUEST_ENDS_WITH_CLIENT: Asked = Asked::new(
    "request-ends-with-client",
    "When a client leaves, its question to the store is dropped at that instant, and no task is left.",
);
const ANSWER_PASSES_AS_IT_COMES: Asked = Asked::new(
    "answer-passes-as-it-comes",
    "The store's answer is passed on as it comes: status, headers, length, each frame at once, trailers and errors.",
);
const BOX_AS_EVER: Asked = Asked::new(
    "box-as-ever",
    "A user who asks for what is their own gets what the store has, whatever becomes of the audit trail.",
);

const BEARER: Asked = Asked::new(
    "bearer",
    "The user is the one that `authorization: Bearer <user>` names; whoever sends anything else in `authorization`, or \
             nothing, is a stranger.",
);
const PATHS: Asked = Asked::new(
    "paths",
    "The store is asked by GET for `/letters` or for `/card`, wherever the app is mounted. To a user any other path of the app \
             is a 404, and any other method but HEAD and OPTIONS a 405, without a question to the store.",
);
const NAMES: Asked =
    Asked::new("names", "Names are ASCII letters, and a path may escape them: `/users/a%64a/letters` are Ada's.");
const OWN: Asked = Asked::new(
    "own-letters",
    "`may_read` lets everybody read their own letters, so nobody needs to ask it about these; it may be asked about any caller \
             and the mailbox that their path names.",
);
const ASKED_EACH_TIME: Asked =
    Asked::new("asked-each-time", "`may_read` may say no where it said yes a request before, and is asked each time.");
const STATUS: Asked = Asked::new(
    "status",
    "What the store answers, be it a 200, a 404 or a 500, is the answer, and its status is that of the audit entry, which is \
             there when the answer has been read.",
);
const COMMON_TYPES: Asked = Asked::new(
    "common-types",
    "Common types are those of std and of `http`, such as `String`, `&'static str`, `Arc<str>`, `u64`, `HeaderValue`, tuples, \
             `Option`s, vectors and maps of them, and locks round them.",
);
const FRAMES: Asked = Asked::new(
    "frames",
    "The head is passed on before the first frame comes, and a body that breaks off ends with an error. Where the store states \
             a length, so does the answer.",
);
const TRAIL_MAY_STOP: Asked =
    Asked::new("trail-may-stop", "Requests are served as before when nobody reads the audit trail any more.");

/// Holds `app` against every promise.
pub fn check(app: impl Fn(MayRead, Router, UnboundedSender<Entry>) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(MAY_READ_ASKED_ABOUT_BOTH, may_read_asked_about_both)
        .promise(STORE_TOLD_BOTH, store_told_both)
        .promise(AUDIT_NAMES_BOTH, audit_names_both)
        .promise(STRANGER_STAYS_A_STRANGER, stranger_stays_a_stranger)
        .promise(OTHERS_EXTENSIONS_ARE_OTHERS, others_extensions_are_others)
        .promise(CLIENT_NAMES_NOBODY, client_names_nobody)
        .promise(REQUESTS_KEEP_APART, requests_keep_apart)
        .promise(MOUNTED_ANYWHERE, mounted_anywhere)
        .promise(REQUEST_ENDS_WITH_CLIENT, request_ends_with_client)
        .promise(ANSWER_PASSES_AS_IT_COMES, answer_passes_as_it_comes)
        .promise(BOX_AS_EVER, box_as_ever)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "extension-collision";
    type App = fn(MayRead, Router, UnboundedSender<Entry>) -> Router;
    type StandIns = (MayRead, Router, UnboundedSender<Entry>);
    const ASKED: &'static [Asked] =
        &[BEARER, PATHS, NAMES, OWN, ASKED_EACH_TIME, STATUS, COMMON_TYPES, FRAMES, TRAIL_MAY_STOP];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// Ada may read Bob's letters, and nobody else anybody's but their own; a card shows its telephone to its owner only; the
    /// audit trail is printed. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let may_read = |caller: &str, mailbox: &str| caller == mailbox || (caller, mailbox) == ("ada", "bob");
        let letters = async |request: Request| format!("the letters of {}\n", told(request.headers(), "x-mailbox"));
        let card = async |request: Request| {
            let (caller, mailbox) = (told(request.headers(), "x-caller"), told(request.headers(), "x-mailbox"));
            let telephone = if caller == mailbox { ", with the telephone that only they see" } else { "" };
            format!("the card of {mailbox}{telephone}\n")
        };
        let (audit, mut trail) = unbounded_channel::<Entry>();
        tokio::spawn(async move {
            while let Some((caller, mailbox, status)) = trail.recv().await {
                lab::say(format_args!("audit: {caller} asked about {mailbox}: {}", status.as_u16()));
            }
        });
        (Arc::new(may_read), Router::new().route("/letters", get(letters)).route("/card", get(card)), audit)
    }

    fn serve(app: Self::App, (may_read, store, audit): Self::StandIns) -> Router {
        app(may_read, store, audit)
    }
}

// ===== The promises =====

async fn may_read_asked_about_both(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let desk = Desk::open(&lab.scene(protocol.to_string()), &app);
        for visit in CALLERS {
            desk.comes(protocol, visit).await?.as_may_read_says(&visit)?;
        }

        let desk = Desk::open(&lab.scene(format!("{protocol}, Ada loses her leave")), &app);
        let client = desk.connect("ada", protocol).await;
        desk.receives(&client, BY_LEAVE).await?.as_may_read_says(&BY_LEAVE)?;
        locked(&desk.seen).leave_is_over = true;
        let after = Visit { status: 403, ..BY_LEAVE };
        let seen = desk.receives(&client, after).await?;
        let told = format!("{after} got {} after `may_read` had begun to say no, expected 403", seen.status.as_u16());
        ASKED_EACH_TIME.require(seen.status == StatusCode::FORBIDDEN, told)?;
    }
    Ok(())
}

async fn store_told_both(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let desk = Desk::open(&lab.scene(protocol.to_string()), &app);
        for visit in CALLERS {
            desk.comes(protocol, visit).await?.store_told(&visit)?;
        }
    }
    Ok(())
}

async fn audit_names_both(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let desk = Desk::open(&lab.scene(protocol.to_string()), &app);
        for visit in CALLERS.into_iter().chain(STRANGERS) {
            desk.comes(protocol, visit).await?.entered(&visit)?;
        }
    }
    Ok(())
}

async fn stranger_stays_a_stranger(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let desk = Desk::open(&lab.scene(protocol.to_string()), &app);
        let client = desk.connect("stranger", protocol).await;
        for visit in STRANGERS {
            desk.receives(&client, visit).await?.of_a_stranger(&visit)?;
        }
        for credentials in ["Basic carol", "carol"] {
            for visit in STRANGERS {
                let mut request = desk.asking(&visit);
                request.headers_mut().insert("authorization", HeaderValue::from_static(credentials));
                let seen = desk.receives_asked(&client, request).await?;
                seen.of_a_stranger(&visit).or_else(|broken| {
                    BEARER.require(false, format!("with `authorization: {credentials}`: {broken}"))
                })?;
            }
        }
    }
    Ok(())
}

async fn others_extensions_are_others(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let scene = lab.scene(format!("{protocol}, others' values in the request and in the store's answer"));
        let outside = |app: Router| {
            app.layer(map_request(async |mut request: Request| {
                strewn(request.extensions_mut());
                request
            }))
        };
        let desk = Desk::surrounded(&scene, &app, Store::Strewing, "", outside);
        desk.tour(protocol).await.or_else(|broken| COMMON_TYPES.require(false, broken.to_string()))?;
    }
    Ok(())
}

async fn client_names_nobody(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let desk = Desk::open(&lab.scene(protocol.to_string()), &app);
        let client = desk.connect("client", protocol).await;
        for visit in [OWN_LETTERS, OWN_CARD, BY_LEAVE, STRANGERS[0]] {
            for claims in [&["x-caller"][..], &["x-mailbox"], &["x-caller", "x-caller", "x-mailbox", "x-mailbox"]] {
                let mut request = desk.asking(&visit);
                for name in claims {
                    request.headers_mut().append(*name, HeaderValue::from_static("eve"));
                }
                let seen = desk.receives_asked(&client, request).await?;
                let asked = seen.questions.len();
                let told = format!("{visit} with the client's {} led to {asked} questions", claims.join(", "));
                STORE_TOLD_BOTH.require(asked == 1, told)?;
                let question = &seen.questions[0];
                let repeated = question.callers.iter().chain(&question.mailboxes).any(|name| name.contains("eve"));
                let told = format!("{visit} came with the client's `{}: eve`, and the store got {question}", claims[0]);
                CLIENT_NAMES_NOBODY.require(!repeated, told)?;
            }
        }
    }
    Ok(())
}

async fn requests_keep_apart(lab: Lab, app: App) -> Proof {
    let (first, second) = (BY_LEAVE, Visit::to(Some("bob"), "/users/carol/letters", "carol", 200));
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        for (which, takes) in [("first", [2_000, 2_000]), ("second", [3_000, 1_000])] {
            for elsewhere in [false, true] {
                let how = if elsewhere { ", each poll from another thread" } else { "" };
                let scene = lab.scene(format!("{protocol}, the {which} is answered first{how}"));
                let moved = |app| if elsewhere { moved_between_threads(app, &scene) } else { app };
                let desk = Desk::surrounded(&scene, &app, Store::Taking(takes), "", moved);
                let one = desk.connect("ada", protocol).await;
                let other = if protocol == Protocol::Http1 { desk.connect("bob", protocol).await } else { one.clone() };
                let ada = one.begin(desk.asking(&first));
                sleep(Duration::from_millis(1_000)).await;
                let bob = other.begin(desk.asking(&second));
                sleep(Duration::from_millis(500)).await;
                let asked = locked(&desk.seen).questions.len();
                let told = format!(
                    "{second} came while the store was busy with {first}; 500 ms later it had been asked {asked} times"
                );
                REQUESTS_KEEP_APART.require(asked == 2, told)?;
                for (visit, pending) in [(first, ada), (second, bob)] {
                    let answer = pending.answer().await?;
                    let status = answer.status();
                    answer.read().await;
                    let told = format!("{visit} got {}, expected {}", status.as_u16(), visit.status);
                    REQUESTS_KEEP_APART.require(status == visit.status, told)?;
                }
                scene.settle().await;
                locked(&desk.seen).of_both(&[first, second])?;
            }
        }
    }
    Ok(())
}

async fn mounted_anywhere(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let scene = lab.scene(format!("{protocol}, nested under /eu"));
        let nested = |app| Router::new().nest("/eu", app);
        Desk::surrounded(&scene, &app, Store::Quick, "/eu", nested).tour(protocol).await?;

        let scene = lab.scene(format!("{protocol}, merged with another router"));
        let hours = || Router::new().route("/hours", get(async || "nine to five"));
        let merged = |app: Router| {
            let both = catch_unwind(AssertUnwindSafe(|| hours().fallback(StatusCode::NOT_FOUND).merge(app)));
            both.unwrap_or_else(|_| {
                scene.breach("the other router has a fallback, and so has the app: the two cannot be merged");
                hours()
            })
        };
        Desk::surrounded(&scene, &app, Store::Quick, "", merged).tour(protocol).await?;
    }
    Ok(())
}

async fn request_ends_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, resets) in [(Protocol::Http1, false), (Protocol::Http2, false), (Protocol::Http2, true)] {
        for visit in [OWN_LETTERS, OWN_CARD] {
            let how = if resets { "resets the stream" } else { "closes the connection" };
            let scene = lab.scene(format!("{protocol}, the client of {} {how}", visit.path));
            let desk = Desk::surrounded(&scene, &app, Store::Taking([3_000; 2]), "", |app| app);
            let client = desk.connect("client", protocol).await;
            let pending = client.begin(desk.asking(&visit));
            sleep(Duration::from_millis(1_000)).await;
            let open = locked(&desk.seen).open;
            control(open == 1, format!("{visit} came, and a second later the store had {open} open questions"))?;
            let left = scene.now_ms();
            pending.cancel();
            if !resets {
                client.leave();
            }
            scene.settle().await;
            let open = locked(&desk.seen).open;
            let told =
                format!("the client left at {left} ms, and at {} ms the store was still at work", scene.now_ms());
            REQUEST_ENDS_WITH_CLIENT.require(open == 0, told)?;
            let tasks = scene.app_tasks();
            let told =
                format!("the client left at {left} ms, and a millisecond later {tasks} tasks of the app were left");
            REQUEST_ENDS_WITH_CLIENT.require(tasks == 0, told)?;
        }
    }
    Ok(())
}

async fn answer_passes_as_it_comes(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        for visit in [OWN_LETTERS, OWN_CARD] {
            for arrival in Arrival::ALL {
                let scene = lab.scene(format!("{protocol}, {}, {arrival}", visit.path));
                let (feed, body) = scene.feed("store");
                let trailers =
                    HeaderMap::from_iter([("x-seal".parse().expect("a name"), HeaderValue::from_static("9"))]);
                let mut course = Course::new(&scene, feed, arrival, &["one\n", "two\n"], Some(trailers.clone()));
                let desk = Desk::surrounded(&scene, &app, Store::Giving(streamed(body)), "", |app| app);
                let client = desk.connect("client", protocol).await;
                let mut request = desk.asking(&visit);
                request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
                let pending = client.begin(request);
                scene.settle().await;
                let head_came = pending.is_answered();
                FRAMES.require(head_came, "the store gave the head of its answer, and the client did not get it")?;
                let answer = pending.answer().await?;
                let status = answer.status();
                let told = format!("the store answered 203, and the client got {}", status.as_u16());
                STATUS.require(status == StatusCode::NON_AUTHORITATIVE_INFORMATION, told)?;
                let stamps: Vec<&HeaderValue> = answer.headers().get_all("x-stamp").iter().collect();
                let told = format!("the store sent `x-stamp: a` and `x-stamp: b`, and the client got {stamps:?}");
                ANSWER_PASSES_AS_IT_COMES.require(stamps == ["a", "b"], told)?;
                course.run().await;
                let received = answer.read().await;
                let (due, text) = (course.text(), received.text());
                let told = format!("the store sent {due:?}, and the client got {text:?}");
                ANSWER_PASSES_AS_IT_COMES.require(text == due, told)?;
                let whole = matches!(received.end, Some((_, End::Clean)));
                ANSWER_PASSES_AS_IT_COMES.require(whole, "the store's body ended, and the client's broke off")?;
                let told =
                    format!("the store sent {trailers:?} as trailers, and the client got {:?}", received.trailers);
                ANSWER_PASSES_AS_IT_COMES.require(received.trailers == Some(trailers), told)?;
            }
            frames_at_once(&lab, &app, protocol, visit).await?;
        }
        let scene = lab.scene(format!("{protocol}, a length is stated"));
        let body = "x".repeat(200_000);
        let desk = Desk::surrounded(&scene, &app, Store::Giving(body.clone().into_response()), "", |app| app);
        let answer = desk.connect("client", protocol).await.send(desk.asking(&OWN_LETTERS)).await?;
        let length = answer.header("content-length").unwrap_or("no length").to_owned();
        FRAMES.require(length == "200000", format!("the store states a length of 200000, and the answer {length}"))?;
        let got = answer.read().await.text();
        let told = format!("the store sent 200000 bytes, and the client got {}", got.len());
        ANSWER_PASSES_AS_IT_COMES.require(got == body, told)?;
    }
    Ok(())
}

/// A frame reaches the client when the store has sent it; a body that breaks off, or is given up, does so on both sides.
async fn frames_at_once(lab: &Lab, app: &App, protocol: Protocol, visit: Visit) -> Proof {
    let scene = lab.scene(format!("{protocol}, {}, the store breaks off", visit.path));
    let (feed, body) = scene.feed("store");
    let desk = Desk::surrounded(&scene, app, Store::Giving(streamed(body)), "", |app| app);
    let listener = desk.connect("client", protocol).await.send(desk.asking(&visit)).await?.listen();
    sleep(Duration::from_secs(5)).await;
    let sent = scene.now_ms();
    feed.data("one\n");
    scene.settle().await;
    let came = listener.so_far().came_at_ms("one\n");
    let told = match came {
        Some(came) => format!("the store sent a frame at {sent} ms, and it came at {came} ms"),
        None => format!("the store sent a frame at {sent} ms, and it had not come at {} ms", scene.now_ms()),
    };
    ANSWER_PASSES_AS_IT_COMES.require(came == Some(sent), told)?;
    feed.fail("the cupboard is locked");
    let ended = listener.ended().await.end.map(|(_, end)| end);
    FRAMES
        .require(ended == Some(End::Error), "the store's body broke off, and the client was told that it is whole")?;

    let scene = lab.scene(format!("{protocol}, {}, the client gives the answer up", visit.path));
    let (feed, body) = scene.feed("store");
    let desk = Desk::surrounded(&scene, app, Store::Giving(streamed(body)), "", |app| app);
    let client = desk.connect("client", protocol).await;
    let mut listener = client.send(desk.asking(&visit)).await?.listen();
    feed.data("one\n");
    listener.hears("one\n").await?;
    listener.cancel();
    client.leave();
    scene.settle().await;
    let told = "the client left in the middle of the body, and the store still holds it";
    REQUEST_ENDS_WITH_CLIENT.require(feed.dropped_at_ms().is_some(), told)
}

async fn box_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        own_letters(&lab, &app, protocol).await?;

        let desk = Desk::open(&lab.scene(protocol.to_string()), &app);
        let client = desk.connect("client", protocol).await;
        for path in [
            "/users/ada/letters",
            "/users/a%64a/letters",
            "/users/%61%64%61/card",
            "/users/ada/card?side=2",
            "/me/letters?page=2",
        ] {
            let visit = Visit::to(Some("ada"), path, "ada", 200);
            let seen = desk.receives(&client, visit).await?;
            seen.as_due(&visit).or_else(|broken| NAMES.require(false, broken.to_string()))?;
        }
        for (user, status) in [("grace", 404), ("dora", 500)] {
            let visit = Visit::to(Some(user), "/me/letters", user, status);
            let seen = desk.receives(&client, visit).await?;
            seen.as_due(&visit).or_else(|broken| STATUS.require(false, broken.to_string()))?;
            let (text, due) = (&seen.text, format!("/letters of {user}\n"));
            STATUS.require(*text == due, format!("the store sent {due:?}, and {visit} got {text:?}"))?;
        }
        for (method, path, status) in [
            (Method::GET, "/", 404),
            (Method::GET, "/letters", 404),
            (Method::GET, "/users/ada", 404),
            (Method::GET, "/users/ada/letters/1", 404),
            (Method::POST, "/me/letters", 405),
            (Method::DELETE, "/users/ada/letters", 405),
            (Method::PUT, "/users/ada/card", 405),
        ] {
            let mut request = desk.asking(&Visit { path, ..OWN_LETTERS });
            *request.method_mut() = method.clone();
            let seen = desk.receives_asked(&client, request).await?;
            let told = format!("Ada's {method} {path} got {}, expected {status}", seen.status.as_u16());
            PATHS.require(seen.status == status, told)?;
            let told = format!("Ada's {method} {path} made the app ask the store");
            PATHS.require(seen.questions.is_empty(), told)?;
        }
        let mut request = desk.asking(&OWN_LETTERS);
        *request.method_mut() = Method::HEAD;
        let seen = desk.receives_asked(&client, request).await?;
        let told = format!("Ada's HEAD {} got {}, expected 200", OWN_LETTERS.path, seen.status.as_u16());
        PATHS.require(seen.status == StatusCode::OK, told)?;

        let scene = lab.scene(format!("{protocol}, nobody reads the audit trail"));
        let desk = Desk::open(&scene, &app);
        locked(&desk.seen).trail.abort();
        scene.settle().await;
        let client = desk.connect("client", protocol).await;
        for visit in [OWN_LETTERS, OWN_CARD] {
            let status = desk.receives(&client, visit).await?.status;
            let told = format!("nobody reads the audit trail, and {visit} got {}", status.as_u16());
            TRAIL_MAY_STOP.require(status == StatusCode::OK, told)?;
        }
    }
    Ok(())
}

/// The control: Ada reads her own letters, where caller and mailbox are one.
async fn own_letters(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let desk = Desk::open(&lab.scene(format!("{protocol}, Ada's own letters")), app);
    let client = desk.connect("ada", protocol).await;
    let seen = desk.receives(&client, OWN_LETTERS).await?;
    let asked = seen.questions.len();
    let told = format!("{OWN_LETTERS} got {}, and the store was asked {asked} times", seen.status.as_u16());
    control(seen.status == StatusCode::OK && asked == 1, told)
}

// ===== Who asks for what =====

/// A request: who asks, for which path, whose mailbox that is, and the status that is due.
#[derive(Clone, Copy)]
struct Visit {
    caller: Option<&'static str>,
    path: &'static str,
    mailbox: &'static str,
    status: u16,
}

const OWN_LETTERS: Visit = Visit::to(Some("ada"), "/me/letters", "ada", 200);
const BY_LEAVE: Visit = Visit::to(Some("ada"), "/users/bob/letters", "bob", 200);
const OWN_CARD: Visit = Visit::to(Some("ada"), "/users/ada/card", "ada", 200);

/// Where the caller is one and the mailbox another's.
const CALLERS: [Visit; 11] = [
    Visit::to(Some("carol"), "/users/bob/letters", "bob", 403),
    Visit::to(Some("carol"), "/users/me/letters", "me", 403),
    BY_LEAVE,
    Visit::to(Some("bob"), "/users/ada/letters", "ada", 403),
    Visit::to(Some("carol"), "/users/bob/card", "bob", 200),
    Visit::to(Some("ada"), "/users/grace/letters", "grace", 404),
    Visit::to(Some("ada"), "/users/dora/letters", "dora", 500),
    Visit::to(Some("carol"), "/users/dora/letters", "dora", 403),
    Visit::to(Some("carol"), "/users/dora/card", "dora", 500),
    // Another user, whose name differs by a capital.
    Visit::to(Some("Ada"), "/users/ada/letters", "ada", 403),
    OWN_LETTERS,
];

const STRANGERS: [Visit; 4] = [
    Visit::to(None, "/users/bob/card", "bob", 200),
    Visit::to(None, "/users/bob/letters", "bob", 401),
    Visit::to(None, "/me/letters", "nobody", 401),
    Visit::to(None, "/users/dora/card", "dora", 500),
];

impl Visit {
    const fn to(caller: Option<&'static str>, path: &'static str, mailbox: &'static str, status: u16) -> Self {
        Self { caller, path, mailbox, status }
    }

    fn is_for_letters(&self) -> bool {
        self.path.contains("/letters")
    }

    /// Whether the store is to be asked.
    fn is_let_through(&self) -> bool {
        !matches!(self.status, 401 | 403)
    }

    /// The question that is due.
    fn question(&self) -> Question {
        Question {
            path: if self.is_for_letters() { "/letters" } else { "/card" }.to_owned(),
            callers: self.caller.into_iter().map(str::to_owned).collect(),
            mailboxes: vec![self.mailbox.to_owned()],
        }
    }

    /// The audit entry that is due.
    fn entry(&self) -> Option<Entry> {
        let status = StatusCode::from_u16(self.status).expect("a status");
        Some((self.caller?.to_owned(), self.mailbox.to_owned(), status))
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} GET {}", self.caller.map_or("a stranger's".to_owned(), |user| person(user) + "'s"), self.path)
    }
}

// ===== The desk and what surrounds it =====

/// The app under test in its surroundings.
struct Desk {
    scene: Scene,
    server: Server,
    prefix: &'static str,
    seen: Arc<Mutex<Surroundings>>,
}

/// What the supplied parts saw since the last request began, and what they are to do.
struct Surroundings {
    asked: Vec<(String, String)>,
    questions: Vec<Question>,
    entries: Vec<Entry>,
    /// How many questions have no answer yet, and were not dropped.
    open: usize,
    /// Whether Ada may not read Bob's letters any more.
    leave_is_over: bool,
    trail: tokio::task::AbortHandle,
}

/// What the store was asked.
#[derive(Clone, PartialEq, Eq)]
struct Question {
    path: String,
    callers: Vec<String>,
    mailboxes: Vec<String>,
}

/// What came of one request.
struct Seen {
    status: StatusCode,
    text: String,
    asked: Vec<(String, String)>,
    questions: Vec<Question>,
    entries: Vec<Entry>,
}

/// How the store answers.
#[derive(Debug)]
enum Store {
    /// At once.
    Quick,
    /// At once, with others' values in the answer's extensions.
    Strewing,
    /// The first question after so many milliseconds, and any later one after so many.
    Taking([u64; 2]),
    /// The first question with this.
    Giving(Response),
}

impl Desk {
    fn open(scene: &Scene, app: &App) -> Self {
        Self::surrounded(scene, app, Store::Quick, "", |app| app)
    }

    /// The app with this store, mounted under `prefix` by `surround`.
    fn surrounded(
        scene: &Scene,
        app: &App,
        store: Store,
        prefix: &'static str,
        surround: impl FnOnce(Router) -> Router,
    ) -> Self {
        let (audit, mut entries) = unbounded_channel::<Entry>();
        let seen = Arc::new_cyclic(|seen: &Weak<Mutex<Surroundings>>| {
            let (clock, seen) = (scene.clone(), seen.clone());
            let trail = scene.spawn(async move {
                while let Some((caller, mailbox, status)) = entries.recv().await {
                    clock.note("audit", format!("gets {caller:?}, {mailbox:?}, {}", status.as_u16()));
                    if let Some(seen) = seen.upgrade() {
                        locked(&seen).entries.push((caller, mailbox, status));
                    }
                }
            });
            Mutex::new(Surroundings {
                asked: Vec::new(),
                questions: Vec::new(),
                entries: Vec::new(),
                open: 0,
                leave_is_over: false,
                trail: trail.abort_handle(),
            })
        });
        let router = surround(app(may_read(scene, &seen), store_of(scene, &seen, store), audit));
        Self { scene: scene.clone(), server: scene.serve(router), prefix, seen }
    }

    async fn connect(&self, client: &str, protocol: Protocol) -> Connection {
        self.server.connect(client, protocol).await
    }

    fn asking(&self, visit: &Visit) -> Request {
        let mut request = Request::get(format!("{}{}", self.prefix, visit.path));
        if let Some(user) = visit.caller {
            request = request.header("authorization", format!("Bearer {user}"));
        }
        request.body(Body::empty()).expect("a path and a name")
    }

    /// A visit on a connection of its own.
    async fn comes(&self, protocol: Protocol, visit: Visit) -> Result<Seen, Broken> {
        let client = self.connect(visit.caller.unwrap_or("stranger"), protocol).await;
        self.receives(&client, visit).await
    }

    async fn receives(&self, client: &Connection, visit: Visit) -> Result<Seen, Broken> {
        self.receives_asked(client, self.asking(&visit)).await
    }

    async fn receives_asked(&self, client: &Connection, request: Request) -> Result<Seen, Broken> {
        locked(&self.seen).forget();
        let answer = client.send(request).await?;
        let (status, text) = (answer.status(), answer.read().await.text());
        // An entry may be made when the answer's body is gone.
        self.scene.settle().await;
        let (asked, questions, entries) = locked(&self.seen).forget();
        Ok(Seen { status, text, asked, questions, entries })
    }

    /// All that may come, one after another on one connection.
    async fn tour(&self, protocol: Protocol) -> Proof {
        let client = self.connect("proxy", protocol).await;
        for visit in STRANGERS.into_iter().chain(CALLERS) {
            self.receives(&client, visit).await?.as_due(&visit)?;
        }
        Ok(())
    }
}

impl Surroundings {
    fn forget(&mut self) -> (Vec<(String, String)>, Vec<Question>, Vec<Entry>) {
        (std::mem::take(&mut self.asked), std::mem::take(&mut self.questions), std::mem::take(&mut self.entries))
    }

    /// Of two requests at once each was told and entered as its own, in whatever order.
    fn of_both(&self, visits: &[Visit; 2]) -> Proof {
        for (caller, mailbox) in &self.asked {
            let due = visits.iter().any(|visit| visit.caller == Some(caller) && visit.mailbox == mailbox);
            REQUESTS_KEEP_APART.require(due, format!("`may_read` was asked about {caller:?} and {mailbox:?}"))?;
        }
        for visit in visits {
            let told =
                format!("for {visit} the store is to get {}, and it got {}", visit.question(), list(&self.questions));
            REQUESTS_KEEP_APART.require(self.questions.contains(&visit.question()), told)?;
        }
        for visit in visits {
            let due = visit.entry().into_iter().collect::<Vec<_>>();
            let told = format!("for {visit} the audit is to get {}, and it got {}", trail(&due), trail(&self.entries));
            REQUESTS_KEEP_APART.require(due.iter().all(|due| self.entries.contains(due)), told)?;
        }
        let told = format!("for two requests the audit got {}", trail(&self.entries));
        REQUESTS_KEEP_APART.require(self.entries.len() == 2, told)
    }
}

impl Seen {
    /// All of it is as it is due.
    fn as_due(&self, visit: &Visit) -> Proof {
        self.of_a_stranger(visit)?;
        self.as_may_read_says(visit)?;
        self.store_told(visit)?;
        self.entered(visit)
    }

    fn has_status(&self, visit: &Visit) -> Proof {
        let told = format!("{visit} got {}, expected {}", self.status.as_u16(), visit.status);
        STATUS.require(self.status == visit.status, told)
    }

    fn as_may_read_says(&self, visit: &Visit) -> Proof {
        for (caller, mailbox) in &self.asked {
            let told =
                format!("on {visit} `may_read` was asked about the caller {caller:?} and the mailbox {mailbox:?}");
            let due = visit.caller == Some(caller) && visit.mailbox == mailbox;
            let asked = if visit.caller == Some(visit.mailbox) { OWN } else { MAY_READ_ASKED_ABOUT_BOTH };
            asked.require(due, told)?;
        }
        if visit.status == 403 {
            let told = format!("`may_read` says no, and the store was asked: {}", list(&self.questions));
            MAY_READ_ASKED_ABOUT_BOTH.require(self.questions.is_empty(), told)?;
        }
        if visit.is_for_letters() && visit.caller.is_some_and(|caller| caller != visit.mailbox) {
            let told = format!("{visit} got {} and `may_read` was not asked", self.status.as_u16());
            MAY_READ_ASKED_ABOUT_BOTH.require(!self.asked.is_empty(), told)?;
            self.has_status(visit)?;
        }
        Ok(())
    }

    fn store_told(&self, visit: &Visit) -> Proof {
        if visit.caller.is_none() || !visit.is_let_through() {
            return Ok(());
        }
        let due = visit.question();
        let got = list(&self.questions);
        let told = format!("on {visit} the store got {got}, expected {due}");
        STORE_TOLD_BOTH.require(self.questions == [due], told)?;
        self.has_status(visit)
    }

    fn entered(&self, visit: &Visit) -> Proof {
        let due: Vec<Entry> = visit.entry().into_iter().collect();
        let told = format!("on {visit} the audit got {}, expected {}", trail(&self.entries), trail(&due));
        AUDIT_NAMES_BOTH.require(self.entries == due, told)?;
        let told = format!("the audit got {}, and {visit} got {}", trail(&due), self.status.as_u16());
        STATUS.require(due.is_empty() || self.status == visit.status, told)
    }

    fn of_a_stranger(&self, visit: &Visit) -> Proof {
        if visit.caller.is_some() {
            return Ok(());
        }
        let told = match self.asked.first() {
            Some((caller, mailbox)) => format!("on {visit} `may_read` was asked about {caller:?} and {mailbox:?}"),
            None => String::new(),
        };
        STRANGER_STAYS_A_STRANGER.require(self.asked.is_empty(), told)?;
        let due: Vec<Question> = visit.is_let_through().then(|| visit.question()).into_iter().collect();
        let told = format!("on {visit} the store got {}, expected {}", list(&self.questions), list(&due));
        STRANGER_STAYS_A_STRANGER.require(self.questions == due, told)?;
        let told = format!("{visit} got {}, expected {}", self.status.as_u16(), visit.status);
        STRANGER_STAYS_A_STRANGER.require(self.status == visit.status, told)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = |values: &[String]| if values.is_empty() { "(none)".to_owned() } else { values.join(", ") };
        write!(f, "{} (x-caller: {}, x-mailbox: {})", self.path, values(&self.callers), values(&self.mailboxes))
    }
}

fn list(questions: &[Question]) -> String {
    let told: Vec<String> = questions.iter().map(Question::to_string).collect();
    if told.is_empty() { "no question".to_owned() } else { told.join("; ") }
}

fn trail(entries: &[Entry]) -> String {
    let told: Vec<String> = entries
        .iter()
        .map(|(caller, mailbox, status)| format!("({caller:?}, {mailbox:?}, {})", status.as_u16()))
        .collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}

/// Everybody may read their own letters, Ada those of Bob, Grace and Dora, and Bob those of Carol.
fn may_read(scene: &Scene, seen: &Arc<Mutex<Surroundings>>) -> MayRead {
    let (scene, seen) = (scene.clone(), seen.clone());
    Arc::new(move |caller, mailbox| {
        let mut seen = locked(&seen);
        let given = match caller {
            "ada" => mailbox == "bob" && !seen.leave_is_over || matches!(mailbox, "grace" | "dora"),
            "bob" => mailbox == "carol",
            _ => false,
        };
        let says = caller == mailbox || given;
        scene.note(
            "may_read",
            format!("is asked about {caller:?} and {mailbox:?}: {}", if says { "yes" } else { "no" }),
        );
        seen.asked.push((caller.to_owned(), mailbox.to_owned()));
        says
    })
}

/// A question that has no answer yet.
struct Open(Arc<Mutex<Surroundings>>);

impl Open {
    fn of(seen: &Arc<Mutex<Surroundings>>) -> Self {
        locked(seen).open += 1;
        Self(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        locked(&self.0).open -= 1;
    }
}

fn store_of(scene: &Scene, seen: &Arc<Mutex<Surroundings>>, store: Store) -> Router {
    let (scene, seen, store) = (scene.clone(), seen.clone(), Arc::new(Mutex::new(store)));
    Router::new().fallback(move |request: Request| {
        let (scene, seen, store) = (scene.clone(), seen.clone(), store.clone());
        async move {
            let (path, method, headers) = (request.uri().path().to_owned(), request.method(), request.headers());
            let (is_get, mailbox) = (method == Method::GET, told(headers, "x-mailbox"));
            let question = Question {
                path: path.clone(),
                callers: all(headers, "x-caller"),
                mailboxes: all(headers, "x-mailbox"),
            };
            scene.note("store", format!("is asked for {question}"));
            let number = locked(&seen).questions.len();
            locked(&seen).questions.push(question);
            let _open = Open::of(&seen);
            let (takes, given, strews) = match &mut *locked(&store) {
                Store::Quick => (0, None, false),
                Store::Strewing => (0, None, true),
                Store::Taking(takes) => (takes[number.min(1)], None, false),
                Store::Giving(answer) => (0, Some(std::mem::take(answer)), false),
            };
            if takes > 0 {
                sleep(Duration::from_millis(takes)).await;
            }
            if let Some(given) = given {
                return given;
            }
            let status = match mailbox.as_str() {
                "grace" => StatusCode::NOT_FOUND,
                "dora" => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::OK,
            };
            let status = if is_get { status } else { StatusCode::METHOD_NOT_ALLOWED };
            let mut answer = (status, format!("{path} of {mailbox}\n")).into_response();
            if strews {
                strewn(answer.extensions_mut());
            }
            answer
        }
    })
}

/// An answer of the store's whose body comes piece by piece.
fn streamed(body: Body) -> Response {
    let stamps = [("x-stamp", "a"), ("trailer", "x-seal")];
    let mut answer = (StatusCode::NON_AUTHORITATIVE_INFORMATION, stamps, body).into_response();
    answer.headers_mut().append("x-stamp", HeaderValue::from_static("b"));
    answer
}

/// Others' values, each of a type that anybody may use.
fn strewn(extensions: &mut Extensions) {
    let text = || "req-7".to_owned();
    let value = || HeaderValue::from_static("req-7");
    extensions.insert(text());
    extensions.insert(Some(text()));
    extensions.insert("req-7");
    extensions.insert(Some("req-7"));
    extensions.insert(Arc::<str>::from("req-7"));
    extensions.insert(Some(Arc::<str>::from("req-7")));
    extensions.insert(Box::<str>::from("req-7"));
    extensions.insert(Arc::new(text()));
    extensions.insert(Some(Arc::new(text())));
    extensions.insert(Arc::new(Mutex::new(text())));
    extensions.insert(Arc::new(Mutex::new(Some(text()))));
    extensions.insert(7_u64);
    extensions.insert((text(), text()));
    extensions.insert((Some(text()), Some(text())));
    extensions.insert(Some((text(), text())));
    extensions.insert([text(), text()]);
    extensions.insert(vec![text(), text()]);
    let names = ["caller", "mailbox", "user", "user_id", "x-caller", "x-mailbox"];
    extensions.insert(HashMap::from(names.map(|name| (name, text()))));
    extensions.insert(HashMap::from(names.map(|name| (name.to_owned(), text()))));
    extensions.insert(BTreeMap::from(names.map(|name| (name, text()))));
    extensions.insert(BTreeMap::from(names.map(|name| (name.to_owned(), text()))));
    extensions.insert(value());
    extensions.insert(Some(value()));
    extensions.insert((value(), value()));
    extensions.insert(HeaderMap::from_iter([("x-caller".parse().expect("a name"), value())]));
    extensions.insert(StatusCode::IM_A_TEAPOT);
    extensions.insert(Method::TRACE);
}

/// What a header says, each time that it is there.
fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// What a header says; a second one is not hidden behind the first.
fn told(headers: &HeaderMap, name: &str) -> String {
    all(headers, name).join(", ")
}

/// The name as it is written in a sentence.
fn person(user: &str) -> String {
    let (first, rest) = user.split_at(1.min(user.len()));
    first.to_uppercase() + rest
}

/// The app, each of whose polls happens on a new thread, one after another.
fn moved_between_threads(app: Router, scene: &Scene) -> Router {
    let scene = scene.clone();
    Router::new().fallback(move |request: Request| {
        let (mut inner, scene) = (Box::pin(app.clone().oneshot(request)), scene.clone());
        async move {
            let polled = poll_fn(move |cx| {
                let waker = cx.waker().clone();
                scene.on_another_thread(|| inner.as_mut().poll(&mut Context::from_waker(&waker)))
            });
            let Ok(answer) = polled.await;
            answer
        }
    })
}
