//! The specification of `unready-clone`: a layer that stamps request ids, and calls the service behind it only where that
//! has said that it is ready.

use std::{
    error::Error,
    fmt,
    future::ready,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::Response,
    routing::get,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinError,
    time::{sleep, timeout},
};
use tokio_util::sync::PollSemaphore;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt,
    layer::layer_fn,
    service_fn,
    util::{BoxCloneSyncService, BoxCloneSyncServiceLayer},
};

use conform::{Contract, Subject, the_rest};
use lab::{
    Asked, Broken, Ghost, Lab, Limits, LogLine, Proof, Report, Scene, Shown, Specification, control, locked,
    ready_twice,
};

/// The service behind the layer: boxed, and each clone of it with a readiness of its own.
pub type Inner = BoxCloneSyncService<Request, Response, BoxError>;

/// The layer under test, boxed, so that each fix may have types of its own.
pub type BoxedLayer = BoxCloneSyncServiceLayer<Inner, Request, Response, BoxError>;

/// Makes the layer under test.
pub type App = Arc<dyn Fn() -> BoxedLayer + Send + Sync>;

const CALLED_WHERE_READY: Asked = Asked::new(
    "called-where-ready",
    "The inner service is called only on an instance that has said it's ready, once for each time it has said so.",
);
const NOT_READY_AT_THE_LIMIT: Asked = Asked::new(
    "not-ready-at-the-limit",
    "While every place is taken, the layer isn't ready, neither for the same caller nor for a clone; it's ready the \
     instant a call ends.",
);
const READY_KEEPS_ITS_PLACE: Asked = Asked::new(
    "ready-keeps-its-place",
    "A caller that was told the layer is ready is told so again if it asks again, and its call reaches the service \
     before those that are still waiting.",
);
const CALLS_OVERLAP: Asked = Asked::new("calls-overlap", "As many calls as there are places run at the same time.");
const NOTHING_LEFT_RESERVED: Asked = Asked::new(
    "nothing-left-reserved",
    "No place stays reserved after a call has ended, after its future was dropped, polled or not, or after a service \
     that was ready was dropped.",
);
const ERRORS_UNCHANGED: Asked = Asked::new(
    "errors-unchanged",
    "An error of the inner service reaches the caller unchanged: an error of `poll_ready` from `poll_ready`, an \
     error of `call` from the call.",
);
const ID_OF_ITS_OWN: Asked = Asked::new(
    "id-of-its-own",
    "Each request reaches the service with one id that no other request has, and its answer carries the same id.",
);
const ID_IN_THE_LOG: Asked = Asked::new(
    "id-in-the-log",
    "Whatever the service logs for a request, when it's called, in its future and when the future is dropped, is \
     logged in a span that has this request's id and no other's.",
);
const LIVES_WITH_A_LIMIT: Asked = Asked::new(
    "lives-with-a-limit",
    "In one stack with tower's `ConcurrencyLimit`, every call is answered, as many run at a time as the limit says, \
     and errors come through.",
);
const LIVES_WITH_A_BUFFER: Asked = Asked::new(
    "lives-with-a-buffer",
    "In one stack with tower's `Buffer`, alone and before a limit, every call is answered.",
);

const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Everything else that passes through comes out as it went in: requests, answers and bodies, in both directions, \
     except for the id.",
);

const HEADER_OF_THE_ID: Asked = Asked::new(
    "header-of-the-id",
    "The id is the only value of the `x-request-id` header, on the request and on its answer.",
);
const OTHER_IDS_REPLACED: Asked = Asked::new(
    "other-ids-replaced",
    "The layer's id replaces any id that the client has sent or that the service's answer has.",
);
const FIELD_OF_THE_SPAN: Asked = Asked::new(
    "field-of-the-span",
    "A span has an id if one of its fields has it; names, levels and further spans are up to you.",
);
const THE_ERROR_ITSELF: Asked =
    Asked::new("the-error-itself", "The caller can downcast the error to the type that the inner service gave it.");
const ALL_PLACES_FREE: Asked = Asked::new(
    "all-places-free",
    "When nothing is under way and nobody has been told that the layer is ready, every place is free at once.",
);
const THE_REST: Asked = Asked::new(
    "the-rest",
    "Methods, heads, extensions, bodies and trailers pass as they are; bodies stream, keep their lengths and are \
     read no further ahead than 64 KiB; upgrades, cancelled calls and panics pass as they would without the \
     layer, and no task is left.",
);

/// Holds the layer that `layer` makes against every promise.
pub fn check<L>(layer: impl Fn() -> L + Send + Sync + 'static) -> Report
where
    L: Layer<Inner> + Send + Sync + 'static,
    L::Service: Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static,
{
    judge(Arc::new(move || BoxedLayer::new(layer())), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(CALLED_WHERE_READY, called_where_ready)
        .promise(NOT_READY_AT_THE_LIMIT, not_ready_at_the_limit)
        .promise(READY_KEEPS_ITS_PLACE, ready_keeps_its_place)
        .promise(CALLS_OVERLAP, calls_overlap)
        .promise(NOTHING_LEFT_RESERVED, nothing_left_reserved)
        .promise(ERRORS_UNCHANGED, errors_unchanged)
        .promise(ID_OF_ITS_OWN, id_of_its_own)
        .promise(ID_IN_THE_LOG, id_in_the_log)
        .promise(LIVES_WITH_A_LIMIT, lives_with_a_limit)
        .promise(LIVES_WITH_A_BUFFER, lives_with_a_buffer)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the layer changes on purpose, and what its own promises judge.
pub fn contract() -> Contract {
    let ghost = "a place that is reserved for nobody is the ghost";
    let contract = Contract::transparent()
        .touches("request header x-request-id")
        .touches("response header x-request-id")
        // Where libraries keep the id too.
        .touches("request extensions")
        .touches("response extensions");
    [
        "called-where-ready",
        "ready-is-kept",
        "backpressure-passed-on",
        "nothing-left-reserved",
        "unpolled-future-releases",
        "ready-service-releases",
        "late-readiness-error-told",
    ]
    .into_iter()
    .fold(contract, |contract, key| contract.changes(key, ghost))
}

/// What is kept beside what *must* be.
const SHOULD: [&str; 27] = [
    "lets-through",
    "methods-pass",
    "extensions-kept",
    "trailers-kept",
    "request-trailers-kept",
    "lengths-are-kept",
    "head-before-body",
    "response-streams",
    "response-not-read-ahead",
    "request-body-untouched",
    "request-streams",
    "request-not-read-ahead",
    "request-body-released",
    "cancel-reaches-inner",
    "cancelled-at-each-step",
    "body-drop-reaches-inner",
    "nothing-left-running",
    "calls-overlap",
    "service-error-unchanged",
    "readiness-error-passed",
    "not-polled-after-end",
    "survives-a-panic",
    "upgrade-passes",
    "extended-connect-passes",
    "continue-when-read",
    "coded-trailers-kept",
    "coded-bodies-stream",
];

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let subject = Subject::boxed(move || {
        let layer = app();
        layer_fn(move |probe| layer.layer(Inner::new(probe)))
    });
    let (proof, scenes) = the_rest(subject, &contract(), &SHOULD, limits);
    (proof.or_else(|broken| THE_REST.require(false, broken.to_string())), scenes)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "unready-clone";
    type App = fn() -> BoxedLayer;
    type StandIns = PrintShop;
    const ASKED: &'static [Asked] =
        &[HEADER_OF_THE_ID, OTHER_IDS_REPLACED, FIELD_OF_THE_SPAN, THE_ERROR_ITSELF, ALL_PLACES_FREE, THE_REST];

    fn judge(layer: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(layer), limits)
    }

    /// Believable surroundings for a layer.
    fn stand_ins() -> Self::StandIns {
        PrintShop
    }

    fn serve(layer: Self::App, shop: Self::StandIns) -> Router {
        shop.behind(layer())
    }
}

/// A print shop that takes a second for each page of a report and prints two at a time. Whether it is well can be asked
/// through the same layer, with no limit behind.
#[derive(Debug)]
pub struct PrintShop;

impl PrintShop {
    /// The routes of the shop behind `layer`.
    pub fn behind<L>(self, layer: L) -> Router
    where
        L: Layer<Inner>,
        L::Service:
            Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static,
    {
        let report = |Path(pages): Path<u64>| async move {
            lab::say(format_args!("printer: begins a report of {pages} pages"));
            sleep(Duration::from_secs(pages)).await;
            format!("a report of {pages} pages\n")
        };
        let failed = |error: BoxError| async move { (StatusCode::BAD_GATEWAY, error.to_string()) };
        let unlimited = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(failed))
            .layer(&layer)
            .layer_fn(Inner::new)
            .map_err(BoxError::from)
            .service(get(|| async { "well\n" }));
        let limited = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(failed))
            .layer(&layer)
            .layer_fn(Inner::new)
            .concurrency_limit(2)
            .map_err(BoxError::from)
            .service(get(report));
        Router::new().route_service("/health", unlimited).route_service("/reports/{pages}", limited)
    }
}

async fn called_where_ready(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(lab.scene("one call after the other"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    for _ in 0..2 {
        ada.send(10).await?;
        desk.called_where_ready()?;
    }

    let desk = Desk::open(lab.scene("two calls at a time"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    ada.ready().await?;
    let call = desk.scene.spawn(ada.call(20));
    ada.send(10).await?;
    answered(call.await)?;
    desk.called_where_ready()?;

    let desk = Desk::open(lab.scene("a clone of a service that is ready"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    ada.ready().await?;
    ada.twin("ben").send(10).await?;
    ada.call(10).await?;
    desk.called_where_ready()?;

    let desk = Desk::open(lab.scene("a call after one that fails"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    desk.behind.state().fails = Some(Failure::InCall);
    // What comes of it is another promise.
    let _ = ada.send(10).await;
    desk.behind.state().fails = None;
    ada.send(10).await?;
    desk.called_where_ready()
}

async fn not_ready_at_the_limit(lab: Lab, app: App) -> Proof {
    for who in ["the same caller", "a clone"] {
        let desk = Desk::open(lab.scene(format!("one place, {who} asks for it again")), &app, 1).await?;
        let mut ada = desk.caller("ada");
        let mut ben = ada.twin("ben");
        ada.ready().await?;
        let call = desk.scene.spawn(ada.call(20));
        desk.scene.settle().await;
        let running = desk.behind.state().running;
        NOT_READY_AT_THE_LIMIT
            .require(running == 1, "the layer said that it was ready, and a call did not reach the service")?;

        let next = if who == "a clone" { &mut ben } else { &mut ada };
        next.ready().await?;
        let at = desk.scene.now_ms();
        NOT_READY_AT_THE_LIMIT
            .require(at == 20, format!("the only place was taken until 20 ms, and the layer was ready at {at} ms"))?;
        next.call(10).await?;
        answered(call.await)?;
    }
    Ok(())
}

async fn ready_keeps_its_place(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(lab.scene("one place"), &app, 1).await?;
    let mut ada = desk.caller("ada");
    let mut ben = ada.twin("ben");
    ada.ready().await?;
    let waits = desk.scene.spawn(async move {
        ben.ready().await?;
        // He takes his time, as a caller may.
        sleep(Duration::from_millis(10)).await;
        ben.call(10).await
    });
    sleep(Duration::from_millis(5)).await;
    ada.call(20).await?;
    waits.abort();
    let reached = desk.behind.state().calls.iter().find(|call| call.path == "/reports/20").map(|call| call.at_ms);
    let at = reached.map_or("never".to_owned(), |at| format!("at {at} ms"));
    READY_KEEPS_ITS_PLACE.require(
        reached == Some(5),
        format!("the layer was ready for ada, and her call of 5 ms reached the service {at}"),
    )?;

    for (places, title) in [(1, "one place, asked twice"), (2, "two places, asked twice")] {
        let desk = Desk::open(lab.scene(title), &app, places).await?;
        let mut ada = desk.caller("ada");
        for _ in 0..2 {
            ada.ready_twice().await?;
            let free = desk.behind.places.available_permits();
            let seen = format!("ada asked twice whether the layer is ready, and {free} of {places} places were left");
            READY_KEEPS_ITS_PLACE.require(free + 1 >= places, seen)?;
            ada.call(10).await?;
        }
    }
    Ok(())
}

async fn calls_overlap(lab: Lab, app: App) -> Proof {
    for through in ["one service", "clones"] {
        let desk = Desk::open(lab.scene(format!("three places, three calls through {through}")), &app, 3).await?;
        let mut caller = desk.caller("ada");
        let mut calls = Vec::new();
        for (lane, length) in [("ada", 30), ("ben", 40), ("cem", 50)] {
            if through == "clones" {
                caller = caller.twin(lane);
            }
            caller.ready().await?;
            calls.push((length, desk.scene.spawn(caller.call(length))));
        }
        for (length, call) in calls {
            let at = answered(call.await)?.at_ms;
            let observed = format!(
                "three calls were made at 0 ms, with a place for each; the one of {length} ms was answered at {at} ms"
            );
            CALLS_OVERLAP.require(at == length, observed)?;
        }
    }
    Ok(())
}

async fn nothing_left_reserved(lab: Lab, app: App) -> Proof {
    // A clone lives on in each scene, as the service does of which a server makes a clone for each connection.
    let begin = async |what: &str| {
        let desk = Desk::open(lab.scene(format!("two places, {what}")), &app, 2).await?;
        let ada = desk.caller("ada");
        let ben = ada.twin("ben");
        Ok::<_, Broken>((desk, ada, ben))
    };

    let (desk, mut ada, _ben) = begin("a call was answered").await?;
    ada.send(10).await?;
    desk.all_free("a call was answered").await?;

    let (desk, mut ada, _ben) = begin("a future was dropped before it was polled").await?;
    ada.ready().await?;
    drop(ada.call(10));
    desk.all_free("a future was dropped before it was polled").await?;

    let (desk, mut ada, _ben) = begin("a future was dropped halfway").await?;
    ada.ready().await?;
    // What comes of it is of no interest: it has no time.
    let _ = timeout(Duration::from_millis(5), ada.call(10)).await;
    desk.all_free("a future was dropped halfway").await?;

    let (desk, mut ada, _ben) = begin("a ready service was dropped").await?;
    ada.ready().await?;
    desk.scene.note("ada", "drops its service");
    drop(ada);
    desk.all_free("a ready service was dropped").await
}

async fn errors_unchanged(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(lab.scene("a call fails"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    desk.behind.state().fails = Some(Failure::InCall);
    ada.ready().await?;
    is_unchanged(ada.call(10).await.err(), Failure::InCall)?;
    desk.behind.state().fails = None;
    ada.send(10).await?;

    let desk = Desk::open(lab.scene("the service is never ready again"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    desk.behind.state().fails = Some(Failure::InPollReady);
    is_unchanged(ada.ready().await.err(), Failure::InPollReady)
}

/// What was logged for each request is in a span with its id, and in none with another's.
fn is_logged_with_its_id(desk: &Desk, at_least: usize) -> Proof {
    let calls = desk.behind.state().calls.clone();
    for call in &calls {
        let own = call.ids.first().cloned().unwrap_or_default();
        let lines: Vec<LogLine> = desk
            .scene
            .logs()
            .into_iter()
            .filter(|line| line.fields.contains(&("path".to_owned(), call.path.clone())))
            .collect();
        let seen = format!("{} lines were logged for GET {}, and {at_least} are expected", lines.len(), call.path);
        control(lines.len() >= at_least, seen)?;
        for line in lines {
            let what = format!("\"{}\" of GET {}", line.message, call.path);
            let seen = format!("{what} was logged in no span that has its id");
            FIELD_OF_THE_SPAN.require(has_id(&line, &own), seen)?;
            let other = calls.iter().find(|other| other.ids != call.ids && has_id(&line, &other.ids.concat()));
            let seen =
                format!("{what} was logged in a span that has the id of GET {}", other.map_or("", |other| &other.path));
            ID_IN_THE_LOG.require(other.is_none(), seen)?;
        }
    }
    Ok(())
}

/// Whether a span round the line has the id in a field.
fn has_id(line: &LogLine, id: &str) -> bool {
    let fields = line.spans.iter().flat_map(|span| &span.fields);
    // An id may be a part of a longer one.
    let is_apart = |rest: Option<char>| !rest.is_some_and(char::is_alphanumeric);
    let has = |value: &str| {
        value
            .match_indices(id)
            .any(|(at, _)| is_apart(value[..at].chars().next_back()) && is_apart(value[at + id.len()..].chars().next()))
    };
    !id.is_empty() && fields.into_iter().any(|(_, value)| has(value))
}

async fn id_in_the_log(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(lab.scene("three calls at a time"), &app, PLENTY).await?;
    desk.behind.state().logs = true;
    let ada = desk.caller("ada");
    let mut callers = [ada.twin("ben"), desk.caller("cem"), ada];
    for round in 0..2 {
        let mut calls = Vec::new();
        for (place, caller) in callers.iter_mut().enumerate() {
            caller.ready().await?;
            calls.push(desk.scene.spawn(caller.call(50 - 10 * place as u64 + round)));
        }
        for call in calls {
            answered(call.await)?;
        }
    }
    is_logged_with_its_id(&desk, 3)?;

    let desk = Desk::open(lab.scene("two calls in one task"), &app, PLENTY).await?;
    desk.behind.state().logs = true;
    let (mut ada, mut ben) = (desk.caller("ada"), desk.caller("ben"));
    ada.ready().await?;
    ben.ready().await?;
    let (first, second) = (ada.call(20), ben.call(10));
    tracing::info!(path = "outside", "between the calls");
    let (first, second) = tokio::join!(first, second);
    first?;
    second?;
    is_logged_with_its_id(&desk, 3)?;
    let calls = desk.behind.state().calls.clone();
    let outside = desk.scene.logs().into_iter().find(|line| line.message == "between the calls");
    let other = calls.iter().find(|call| outside.as_ref().is_some_and(|line| has_id(line, &call.ids.concat())));
    let seen = format!(
        "what the caller logged between two calls was in a span that has the id of GET {}",
        other.map_or("", |call| &call.path)
    );
    ID_IN_THE_LOG.require(other.is_none(), seen)?;

    for (fails, how) in [(true, "fails"), (false, "is given up halfway")] {
        let desk = Desk::open(lab.scene(format!("a call that {how}")), &app, PLENTY).await?;
        desk.behind.state().logs = true;
        desk.behind.state().fails = fails.then_some(Failure::InCall);
        let mut ada = desk.caller("ada");
        ada.ready().await?;
        // What comes of it is another promise.
        let _ = timeout(Duration::from_millis(if fails { 60 } else { 5 }), ada.call(10)).await;
        desk.scene.settle().await;
        // Whether a future that is given up is dropped is another promise.
        is_logged_with_its_id(&desk, if fails { 3 } else { 2 })?;
    }

    let desk = Desk::open(lab.scene("a call that is given up before it is polled"), &app, PLENTY).await?;
    desk.behind.state().logs = true;
    let mut ada = desk.caller("ada");
    ada.ready().await?;
    drop(ada.call(10));
    // The service is asked in the call, or in the future, and then not at all.
    is_logged_with_its_id(&desk, 0)
}

async fn id_of_its_own(lab: Lab, app: App) -> Proof {
    each_has_one(Desk::open(lab.scene("three callers, nine calls"), &app, PLENTY).await?).await?;
    let desk = Desk::open(lab.scene("the service answers with ids of its own"), &app, PLENTY).await?;
    desk.behind.state().stamps = true;
    each_has_one(desk).await?;

    let desk = Desk::open(lab.scene("a clone of a service that is ready"), &app, PLENTY).await?;
    let mut ada = desk.caller("ada");
    ada.ready().await?;
    let first = ("/reports/20".to_owned(), ada.twin("ben").send(20).await?.ids);
    let answers = [first, ("/reports/10".to_owned(), ada.call(10).await?.ids)];
    ids_are_their_own(&desk, &answers)
}

async fn each_has_one(desk: Desk) -> Proof {
    let ada = desk.caller("ada");
    // The layer has wrapped two services: one for ada and ben, another for cem.
    let mut callers = [ada.twin("ben"), desk.caller("cem"), ada];
    let mut answers = Vec::new();
    for round in 0..3 {
        let mut calls = Vec::new();
        for (place, caller) in callers.iter_mut().enumerate() {
            caller.ready().await?;
            // Those that were sent last are answered first.
            let length = 50 - 10 * place as u64 + round;
            calls.push((format!("/reports/{length}"), desk.scene.spawn(caller.call(length))));
        }
        for (path, call) in calls {
            answers.push((path, answered(call.await)?.ids));
        }
    }
    ids_are_their_own(&desk, &answers)
}

/// Sees that each request reached the service with one id that no other had, and that its answer has the same.
fn ids_are_their_own(desk: &Desk, answers: &[(String, Vec<String>)]) -> Proof {
    let calls = desk.behind.state().calls.clone();
    for (number, call) in calls.iter().enumerate() {
        let got = named(&desk.scene, &call.ids);
        HEADER_OF_THE_ID.require(call.ids.len() == 1, format!("the service got GET {} with {got}", call.path))?;
        let kept = call.ids.iter().find(|id| CHOSEN.contains(&id.as_str()));
        let observed = format!("the service got GET {} with {got}, which the client had sent", call.path);
        OTHER_IDS_REPLACED.require(kept.is_none(), observed)?;
        let other = calls[..number].iter().find(|other| other.ids == call.ids).map(|other| other.path.as_str());
        let observed = format!("the service got GET {} and GET {} with {got}", other.unwrap_or_default(), call.path);
        ID_OF_ITS_OWN.require(other.is_none(), observed)?;
        let answer = answers.iter().find(|(path, _)| *path == call.path).map(|(_, ids)| ids.as_slice());
        let answer = answer.unwrap_or_default();
        let answered = named(&desk.scene, answer);
        let observed = format!("the service got GET {} with {got}, and its answer has {answered}", call.path);
        ID_OF_ITS_OWN.require(call.ids == answer, observed)?;
    }
    Ok(())
}

async fn lives_with_a_limit(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(lab.scene("a limit of one, three calls in a row"), &app, 1).await?;
    let mut ada = desk.behind_a_limit("ada", 1);
    for _ in 0..3 {
        ada.send(10).await?;
    }
    ada.ready().await?;
    drop(ada.call(10));
    ada.send(10).await?;

    let desk = Desk::open(lab.scene("a limit of two, three calls at once"), &app, 2).await?;
    let mut ada = desk.behind_a_limit("ada", 2);
    let mut calls = Vec::new();
    for (length, expected) in [(20, 20), (30, 30), (15, 35)] {
        ada.ready().await?;
        calls.push((expected, desk.scene.spawn(ada.call(length))));
    }
    for (expected, call) in calls {
        let at = answered(call.await)?.at_ms;
        LIVES_WITH_A_LIMIT
            .require(at == expected, format!("a call that has to end at {expected} ms was answered at {at} ms"))?;
    }
    let most = desk.behind.state().most_running;
    LIVES_WITH_A_LIMIT.require(most == 2, format!("with a limit of two, {most} calls ran at a time"))?;

    let desk = Desk::open(lab.scene("a limit of one, a call fails"), &app, 1).await?;
    let mut ada = desk.behind_a_limit("ada", 1);
    desk.behind.state().fails = Some(Failure::InCall);
    ada.ready().await?;
    is_unchanged(ada.call(10).await.err(), Failure::InCall)?;
    desk.behind.state().fails = None;
    ada.send(10).await?;

    let desk = Desk::open(lab.scene("a limit of one, asked twice"), &app, 1).await?;
    let mut ada = desk.behind_a_limit("ada", 1);
    for _ in 0..2 {
        ada.ready_twice().await?;
        ada.call(10).await?;
    }

    let desk = Desk::open(lab.scene("a limit of two, eight callers at once"), &app, 2).await?;
    let first = desk.behind_a_limit("caller 1", 2);
    let mut calls = Vec::new();
    for number in 1..=8 {
        let mut caller = first.twin(&format!("caller {number}"));
        calls.push(desk.scene.spawn(async move { caller.send(10).await }));
    }
    let mut at = Vec::new();
    for call in calls {
        at.push(answered(call.await)?.at_ms);
    }
    at.sort_unstable();
    let seen = format!("eight calls of 10 ms, two at a time, were answered at {at:?} ms");
    LIVES_WITH_A_LIMIT.require(at == [10, 10, 20, 20, 30, 30, 40, 40], seen)
}

async fn lives_with_a_buffer(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(lab.scene("a buffer of one, three calls in a row"), &app, 1).await?;
    let mut ada = desk.behind_a_buffer("ada");
    for _ in 0..3 {
        ada.send(10).await?;
    }

    let desk = Desk::open(lab.scene("a buffer of one before a limit of one, three calls at once"), &app, 1).await?;
    let mut caller = desk.behind_a_buffered_limit("ada");
    let mut calls = Vec::new();
    for (lane, length, expected) in [("ada", 10, 10), ("ben", 20, 30), ("cem", 30, 60)] {
        caller = caller.twin(lane);
        caller.ready().await?;
        calls.push((expected, desk.scene.spawn(caller.call(length))));
    }
    for (expected, call) in calls {
        let at = answered(call.await)?.at_ms;
        LIVES_WITH_A_BUFFER
            .require(at == expected, format!("a call that has to end at {expected} ms was answered at {at} ms"))?;
    }
    Ok(())
}

// ===== What the specification supplies =====

/// More places than are taken, also where each caller leaves one reserved.
const PLENTY: usize = 16;

/// A layer with its surroundings, in one scene.
struct Desk {
    scene: Scene,
    layer: BoxedLayer,
    behind: Arc<Behind>,
}

impl Desk {
    /// A layer that has been seen to work where nobody has to wait.
    async fn open(scene: Scene, app: &App, places: usize) -> Result<Self, Broken> {
        let behind = Arc::new(Behind {
            scene: scene.clone(),
            places: Arc::new(Semaphore::new(places)),
            state: Mutex::default(),
        });
        let desk = Self { scene, layer: app(), behind };
        let reached = Arc::new(AtomicBool::new(false));
        let here = reached.clone();
        let always_ready = service_fn(move |_: Request| {
            here.store(true, Ordering::Relaxed);
            ready(Ok(Response::default()))
        });
        let before = desk.layer.layer(Inner::new(always_ready)).oneshot(asking(0)).await;
        control(
            before.is_ok() && reached.load(Ordering::Relaxed),
            "a service that is always ready was not reached, or its answer was lost",
        )?;
        Ok(desk)
    }

    /// A caller of a service of its own, which the layer has wrapped round a probe.
    fn caller(&self, lane: &str) -> Caller {
        let probe = Probe::new(self.behind.clone());
        self.calling(lane, self.layer.layer(Inner::new(probe)))
    }

    fn behind_a_limit(&self, lane: &str, limit: usize) -> Caller {
        let stack = ServiceBuilder::new().layer(&self.layer).layer_fn(Inner::new).concurrency_limit(limit);
        self.calling(lane, stack.service(self.behind.always_ready()))
    }

    fn behind_a_buffer(&self, lane: &str) -> Caller {
        let stack = ServiceBuilder::new().layer(&self.layer).layer_fn(Inner::new).buffer(1);
        self.calling(lane, stack.service(self.behind.always_ready()))
    }

    fn behind_a_buffered_limit(&self, lane: &str) -> Caller {
        let stack = ServiceBuilder::new().layer(&self.layer).layer_fn(Inner::new).buffer(1).concurrency_limit(1);
        self.calling(lane, stack.service(self.behind.always_ready()))
    }

    fn calling(&self, lane: &str, service: Inner) -> Caller {
        Caller { scene: self.scene.clone(), lane: lane.to_owned(), service }
    }

    fn called_where_ready(&self) -> Proof {
        let unready = self.behind.state().unready.clone();
        CALLED_WHERE_READY.require(unready.is_none(), unready.unwrap_or_default())
    }

    /// Nothing is under way and nobody is ready, so that every place must be free.
    async fn all_free(&self, since: &str) -> Proof {
        self.scene.settle().await;
        let free = self.behind.places.available_permits();
        ALL_PLACES_FREE.require(free == 2, format!("{since}, and afterwards the free places were {free} of 2"))
    }
}

/// Somebody with an instance of the service under test.
struct Caller {
    scene: Scene,
    lane: String,
    service: Inner,
}

/// An answer that has come.
struct Answer {
    at_ms: u64,
    ids: Vec<String>,
}

impl Caller {
    /// Another caller, with a clone of the service.
    fn twin(&self, lane: &str) -> Self {
        Self { scene: self.scene.clone(), lane: lane.to_owned(), service: self.service.clone() }
    }

    async fn ready(&mut self) -> Result<(), Failed> {
        self.scene.note(&self.lane, "asks whether the layer is ready");
        match self.service.ready().await {
            Ok(_) => self.scene.note(&self.lane, "is told that it is"),
            Err(error) => {
                self.scene.note(&self.lane, format!("is told an error: {error}"));
                return Err(Failed(error));
            }
        }
        Ok(())
    }

    /// Asks twice, as a caller may.
    async fn ready_twice(&mut self) -> Result<(), Broken> {
        self.scene.note(&self.lane, "asks twice whether the layer is ready");
        ready_twice(&mut self.service).await?.map_err(|error| Failed(error).into())
    }

    /// Calls the service, which must have said that it is ready, with a request that takes so many milliseconds.
    fn call(&mut self, length: u64) -> impl Future<Output = Result<Answer, Failed>> + Send + use<> {
        let (scene, lane) = (self.scene.clone(), self.lane.clone());
        scene.note(&lane, format!("sends GET /reports/{length}"));
        let answer = self.service.call(asking(length));
        async move {
            let answer = answer.await.map_err(|error| {
                scene.note(&lane, format!("gets no answer, but an error: {error}"));
                Failed(error)
            })?;
            let ids = ids(answer.headers());
            scene.note(&lane, format!("gets {} ({})", answer.status().as_u16(), named(&scene, &ids)));
            Ok(Answer { at_ms: scene.now_ms(), ids })
        }
    }

    async fn send(&mut self, length: u64) -> Result<Answer, Failed> {
        self.ready().await?;
        self.call(length).await
    }
}

/// An error that came to a caller.
struct Failed(BoxError);

impl From<Failed> for Broken {
    fn from(Failed(error): Failed) -> Self {
        Self::because(format!("nothing should have failed, and a caller got the error \"{error}\""))
    }
}

/// The answer to a call that was made in a task.
fn answered(call: Result<Result<Answer, Failed>, JoinError>) -> Result<Answer, Broken> {
    Ok(call.map_err(|_| Broken::because("a call was not answered"))??)
}

fn is_unchanged(error: Option<Failed>, expected: Failure) -> Proof {
    let Some(Failed(error)) = error else {
        let seen = format!("the service said \"{expected}\", and the caller got no error");
        return ERRORS_UNCHANGED.require(false, seen);
    };
    let unchanged = error.downcast_ref() == Some(&expected);
    THE_ERROR_ITSELF
        .require(unchanged, format!("the service said \"{expected}\", and the caller got another error, \"{error}\""))
}

fn asking(length: u64) -> Request {
    let mut request = Request::get(format!("/reports/{length}"));
    // Some send an id, some two, and some none.
    for chosen in CHOSEN.iter().take(length as usize % 3) {
        request = request.header("x-request-id", *chosen);
    }
    request.body(Body::empty()).expect("a request of known parts")
}

const CHOSEN: [&str; 2] = ["chosen-by-the-client", "chosen-as-well"];

fn ids(headers: &HeaderMap) -> Vec<String> {
    let ids = headers.get_all("x-request-id").iter();
    ids.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()).collect()
}

fn named(scene: &Scene, ids: &[String]) -> String {
    match ids {
        [] => "no id".to_owned(),
        ids => ids.iter().map(|id| scene.id(id)).collect::<Vec<_>>().join(" and "),
    }
}

/// The service behind the layer, which all its instances are doors to.
struct Behind {
    scene: Scene,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    instances: usize,
    running: usize,
    most_running: usize,
    calls: Vec<Call>,
    /// The first call that was made where nothing was reserved.
    unready: Option<String>,
    fails: Option<Failure>,
    /// Whether the service logs what it does.
    logs: bool,
    /// Whether its answers have an id.
    stamps: bool,
}

/// A call as the service got it.
#[derive(Clone)]
struct Call {
    path: String,
    at_ms: u64,
    ids: Vec<String>,
}

/// Where the service is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    InPollReady,
    InCall,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InPollReady => "never ready again",
            Self::InCall => "out of paper",
        })
    }
}

impl Error for Failure {}

type Serving = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

impl Behind {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Serves a request for as many milliseconds as its path says. The place is free when that is over, or given up.
    fn serve(self: &Arc<Self>, request: &Request, place: Option<OwnedSemaphorePermit>) -> Serving {
        let (path, at_ms) = (request.uri().path().to_owned(), self.scene.now_ms());
        // A layer may have changed the path; its request then takes no time.
        let length = path.rsplit('/').next().and_then(|length| length.parse().ok()).unwrap_or_default();
        let ids = ids(request.headers());
        // The names are given out in this order, whoever is answered first.
        named(&self.scene, &ids);
        let mut state = self.state();
        state.calls.push(Call { path: path.clone(), at_ms, ids });
        state.running += 1;
        state.most_running = state.most_running.max(state.running);
        let (fails, logs) = (state.fails == Some(Failure::InCall), state.logs);
        drop(state);
        let visit = Visit { behind: self.clone(), path, over: false, logs, _place: place };
        visit.log("is asked");
        Box::pin(async move {
            visit.log("begins");
            sleep(Duration::from_millis(length)).await;
            visit.ends(fails)
        })
    }

    /// The service where an instance needs no place: for stacks in which tower's own parts keep the places.
    fn always_ready(
        self: &Arc<Self>,
    ) -> impl Service<Request, Response = Response, Error = BoxError, Future = Serving> + Clone + Send + Sync + 'static
    {
        let behind = self.clone();
        service_fn(move |request: Request| {
            behind.scene.note("service", format!("is asked for GET {}", request.uri().path()));
            behind.serve(&request, None)
        })
    }
}

/// A call that is under way.
struct Visit {
    behind: Arc<Behind>,
    path: String,
    over: bool,
    logs: bool,
    /// It is free again when the visit is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

impl Visit {
    /// A line of the service's own log, where the promise is about that.
    fn log(&self, what: &str) {
        if self.logs {
            tracing::info!(path = self.path, "{what}");
        }
    }

    fn ends(mut self, fails: bool) -> Result<Response, BoxError> {
        self.over = true;
        if fails {
            self.behind.scene.note("service", format!("fails: {}", Failure::InCall));
            return Err(Failure::InCall.into());
        }
        self.behind.scene.note("service", format!("answers 200 to GET {}", self.path));
        let mut response = Response::default();
        if self.behind.state().stamps {
            response.headers_mut().insert("x-request-id", HeaderValue::from_static("chosen-by-the-service"));
        }
        Ok(response)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.behind.state().running -= 1;
        self.log(if self.over { "is done" } else { "is given up" });
        if !self.over {
            self.behind.scene.note("service", format!("GET {} is given up", self.path));
        }
    }
}

/// An instance of the service: what it has reserved is its own, and a clone of it has reserved nothing.
struct Probe {
    behind: Arc<Behind>,
    /// The instances are numbered in the order in which they are first asked or called.
    number: Option<usize>,
    places: PollSemaphore,
    place: Option<OwnedSemaphorePermit>,
}

impl Probe {
    fn new(behind: Arc<Behind>) -> Self {
        let places = PollSemaphore::new(behind.places.clone());
        Self { behind, number: None, places, place: None }
    }

    fn number(&mut self) -> usize {
        let behind = &self.behind;
        *self.number.get_or_insert_with(|| {
            let mut state = behind.state();
            state.instances += 1;
            state.instances
        })
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self::new(self.behind.clone())
    }
}

impl Service<Request> for Probe {
    type Response = Response;
    type Error = BoxError;
    type Future = Serving;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let number = self.number();
        if self.behind.state().fails == Some(Failure::InPollReady) {
            return Poll::Ready(Err(Failure::InPollReady.into()));
        }
        if self.place.is_none() {
            self.place = task::ready!(self.places.poll_acquire(cx));
            self.behind.scene.note("service", format!("instance {number} reserves a place"));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Serving {
        let (number, place, path) = (self.number(), self.place.take(), request.uri().path());
        let asked = format!("GET {path} at instance {number}");
        if place.is_some() {
            self.behind.scene.note("service", format!("is asked for {asked}"));
        } else {
            self.behind.scene.note("service", format!("is asked for {asked}, with no place"));
            let unready = format!("the service was called for {asked}, which had reserved no place");
            self.behind.state().unready.get_or_insert(unready);
        }
        self.behind.serve(&request, place)
    }
}
