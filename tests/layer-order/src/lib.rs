//! The specification of `layer-order`: a portal whose nine layers are all right, and must stand in an order that is right too.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use conform::{Contract, Subject, the_rest};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{UnboundedSender, unbounded_channel},
    },
    time::sleep,
};

use lab::{
    Arrival, Asked, Course, End, Ghost, Lab, Limits, Proof, Protocol, Report, Shown, Specification, control, locked,
};

use portal::{
    BUDGET_MS, Brings, Came, ENDINGS, GOOD, Heard, IN_LATIN_1, LIMIT, NOTE, ORIGIN, PERMITS, Portal, READ, REFUSED,
    Visit, WRONG, content, in_latin_1, preflight,
};

mod portal;

/// An entry of the access log: id, path, status.
pub type Logged = (String, String, StatusCode);

/// An entry of the audit trail: id, body.
pub type Audited = (String, Vec<u8>);

/// What makes an app: from its routes, identity, the quota, access log and audit trail, the budget and the limit.
pub type Make =
    fn(Router, Router, Arc<Semaphore>, UnboundedSender<Logged>, UnboundedSender<Audited>, Duration, usize) -> Router;

/// Makes the app under test.
pub type App = Arc<
    dyn Fn(Router, Router, Arc<Semaphore>, UnboundedSender<Logged>, UnboundedSender<Audited>, Duration, usize) -> Router
        + Send
        + Sync,
>;

const AUDIT_BEHIND_AUTHENTICATION: Asked = Asked::new(
    "audit-behind-authentication",
    "A request whose credentials are wrong or missing is answered with 401 without waiting for its body, reaches no route, \
             and leaves nothing in the audit trail.",
);
const EACH_ANSWER_LOGGED_ONCE: Asked = Asked::new(
    "each-answer-logged-once",
    "Each answer, be it a 200, 401, 404, 413, 429, 500 or 504, leaves one entry in the access log with its `x-request-id`, \
             its path without the query and its status; that to a preflight leaves one or none.",
);
const PREFLIGHT_NEEDS_NO_CREDENTIALS: Asked = Asked::new(
    "preflight-needs-no-credentials",
    "A preflight without credentials is answered with a 2xx and its CORS headers, also when the quota is used up; it takes no \
             permit, identity isn't asked, and no OPTIONS without credentials reaches a route.",
);
const EACH_ANSWER_HAS_CORS: Asked = Asked::new(
    "each-answer-has-cors",
    "Each answer to a request with an `origin`, be it a 200, 401, 404, 413, 429, 500 or 504, has `access-control-allow-origin` \
             once.",
);
const QUOTA_BEFORE_IDENTITY: Asked = Asked::new(
    "quota-before-identity",
    "With no permit left a request with right or wrong credentials is answered with 429, identity isn't asked, and refusals \
             take nothing from a permit that's added later: of three good requests, one after another or at once, one is \
             answered with 200 and identity is asked once.",
);
const ONE_DEADLINE_FOR_ALL: Asked = Asked::new(
    "one-deadline-for-all",
    "Identity, the body and the route share one budget: if it's spent in any of them, or in two together, the answer is a 504 \
             within the budget and not before nine tenths of it, and what was under way is dropped by then.",
);
const ONE_ID_EVERYWHERE: Asked = Asked::new(
    "one-id-everywhere",
    "Each request has one `x-request-id` of its own: its answer, its entries in access log and audit trail, and what identity \
             and the route were sent all have that one.",
);
const AUDIT_HAS_WHAT_WAS_LET_THROUGH: Asked = Asked::new(
    "audit-has-what-was-let-through",
    "A POST that reaches a route is in the audit trail once, with the bytes that the client sent and the route received, \
             whatever the route makes of it; one whose body is over the limit, announced or not, is answered with 413, reaches \
             no route and isn't in the trail.",
);
const PANIC_SPARES_THE_CONNECTION: Asked = Asked::new(
    "panic-spares-the-connection",
    "After a panic in a route the connection serves the next request, and one that's under way beside it on HTTP/2.",
);
const STREAM_OUTLASTS_THE_BUDGET: Asked = Asked::new(
    "stream-outlasts-the-budget",
    "A streamed answer begins when the route's does, each frame comes at once, also after the budget is spent, and its \
             trailers and its end are the route's.",
);
const REQUEST_ENDS_WITH_CLIENT: Asked = Asked::new(
    "request-ends-with-client",
    "When a client leaves, what identity or a route does for it is dropped at that instant, and no task is left.",
);
const PORTAL_AS_EVER: Asked = Asked::new(
    "portal-as-ever",
    "A good request reaches the route once, with its method, path, query, credentials and body, and gets the route's answer.",
);
const LEAVES_THE_REST_ALONE: Asked =
    Asked::new("leaves-the-rest-alone", "Beyond this the nine layers change nothing of requests and answers.");

const VERIFY: Asked = Asked::new(
    "verify",
    "Identity is asked by `POST /verify` without a body, with the caller's `authorization` and the `x-request-id`, once for each \
             request. A 200 lets the request in; anything else is a 401. Whether it's asked about a request without \
             credentials is open.",
);
const PERMIT: Asked = Asked::new(
    "permit",
    "A request with credentials that the quota admits takes one permit for good, whatever becomes of it. With no permit left, a \
             request without credentials may get a 429 as well.",
);
const BODIES: Asked = Asked::new(
    "bodies",
    "A body of `limit` bytes is let through, and one byte more is too many. The portal may hold a body back until it has all of \
             it; trailers of requests aren't asked for.",
);
const CORS: Asked = Asked::new(
    "cors",
    "`access-control-allow-origin` is `*` or the client's origin. A preflight's answer names POST in \
             `access-control-allow-methods`, and `authorization` in `access-control-allow-headers`, for which `*` doesn't do.",
);
const IDS: Asked = Asked::new(
    "ids",
    "No client sends an `x-request-id`, and no route answers with one. An id is free; no two requests of an app share one. \
             Whether a preflight has one is open.",
);
const ENTRIES: Asked = Asked::new(
    "entries",
    "Entries are there when the answer has been read. What's sent by another method than POST may be in the audit trail or not. \
             Requests are served as before when nobody reads log and trail.",
);
const PASSES: Asked = Asked::new(
    "passes",
    "Status, headers, length, frames, trailers and errors of a route's answer pass as they come. Only `x-request-id` and the \
             CORS headers with `vary` are the portal's.",
);

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(
        Router,
        Router,
        Arc<Semaphore>,
        UnboundedSender<Logged>,
        UnboundedSender<Audited>,
        Duration,
        usize,
    ) -> Router
    + Send
    + Sync
    + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(AUDIT_BEHIND_AUTHENTICATION, audit_behind_authentication)
        .promise(EACH_ANSWER_LOGGED_ONCE, each_answer_logged_once)
        .promise(PREFLIGHT_NEEDS_NO_CREDENTIALS, preflight_needs_no_credentials)
        .promise(EACH_ANSWER_HAS_CORS, each_answer_has_cors)
        .promise(QUOTA_BEFORE_IDENTITY, quota_before_identity)
        .promise(ONE_DEADLINE_FOR_ALL, one_deadline_for_all)
        .promise(ONE_ID_EVERYWHERE, one_id_everywhere)
        .promise(AUDIT_HAS_WHAT_WAS_LET_THROUGH, audit_has_what_was_let_through)
        .promise(PANIC_SPARES_THE_CONNECTION, panic_spares_the_connection)
        .promise(STREAM_OUTLASTS_THE_BUDGET, stream_outlasts_the_budget)
        .promise(REQUEST_ENDS_WITH_CLIENT, request_ends_with_client)
        .promise(PORTAL_AS_EVER, portal_as_ever)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the portal changes on purpose, and what its own promises judge.
pub fn contract() -> Contract {
    let collected = "a body may be collected before it's let through, for the audit trail needs all of it";
    Contract::transparent()
        .touches("request header x-request-id")
        .touches("response header x-request-id")
        .touches("response header access-control-allow-origin")
        .touches("response header vary")
        .touches("request trailers")
        .changes("methods-pass", "CORS answers what could be a preflight")
        .changes("survives-a-panic", "a panic becomes a 500, and that's a promise")
        .changes("request-streams", collected)
        .changes("request-body-untouched", collected)
        .changes("request-not-read-ahead", collected)
        .changes("request-trailers-kept", collected)
        .changes("continue-when-read", collected)
}

/// What passes through as it was, beside what *must*: the clauses of [`PASSES`].
const SHOULD: [&str; 13] = [
    "lets-through",
    "calls-overlap",
    "body-drop-reaches-inner",
    "head-before-body",
    "response-streams",
    "response-not-read-ahead",
    "trailers-kept",
    "lengths-are-kept",
    "coded-trailers-kept",
    "coded-bodies-stream",
    "extensions-kept",
    "not-polled-after-end",
    "upgrade-passes",
];

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "layer-order";
    type App = Make;
    type StandIns =
        (Router, Router, Arc<Semaphore>, UnboundedSender<Logged>, UnboundedSender<Audited>, Duration, usize);
    const ASKED: &'static [Asked] = &[VERIFY, PERMIT, BODIES, CORS, IDS, ENTRIES, PASSES];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// Notes that a patient reads and writes, a route that hangs and one that panics; identity knows Ada, and needs a third of
    /// a second for it; access log and audit trail are printed. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let notes = get(async || "2 pills in the morning\n").post(async |note: String| format!("noted: {note}\n"));
        let routes = Router::new()
            .route("/notes", notes)
            .route(
                "/slow",
                get(async || {
                    sleep(Duration::from_secs(60)).await;
                    "at last\n"
                }),
            )
            .route("/torn", get(async || -> StatusCode { panic!("the page is torn") }));
        let verify = async |headers: HeaderMap| {
            let user = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("nobody");
            lab::say(format_args!("identity: is asked about {user:?}"));
            sleep(Duration::from_millis(300)).await;
            if user == "Bearer ada" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
        };
        let identity = Router::new().route("/verify", post(verify));
        let (access_log, mut logged) = unbounded_channel::<Logged>();
        tokio::spawn(async move {
            while let Some((id, path, status)) = logged.recv().await {
                lab::say(format_args!("access: {}, {path} {}", named(&id), status.as_u16()));
            }
        });
        let (audit, mut audited) = unbounded_channel::<Audited>();
        tokio::spawn(async move {
            while let Some((id, body)) = audited.recv().await {
                lab::say(format_args!("audit: {}, {:?}", named(&id), String::from_utf8_lossy(&body)));
            }
        });
        (routes, identity, Arc::new(Semaphore::new(10_000)), access_log, audit, Duration::from_secs(2), 1_024)
    }

    fn serve(app: Self::App, (routes, identity, quota, log, audit, budget, limit): Self::StandIns) -> Router {
        app(routes, identity, quota, log, audit, budget, limit)
    }
}

fn named(id: &str) -> String {
    if id.is_empty() { "no id".to_owned() } else { format!("id {id}") }
}

// ===== The promises =====

async fn audit_behind_authentication(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for user in [Some("eve"), None] {
            let visit = Visit { user, ..WRONG };
            let who = user.map_or("without credentials", |_| "with wrong credentials");
            let portal = Portal::open(&lab.scene(format!("{protocol}, a note {who}")), &app);
            for brings in [GOOD.brings, Brings::Chunked(LIMIT), Brings::Nothing] {
                let visit = Visit { brings, ..visit };
                turned_away(&portal.comes(protocol, visit).await?, &visit)?;
            }
            for (how, announced) in [("announced and held back", Some(LIMIT)), ("held back", None)] {
                let portal = Portal::open(&lab.scene(format!("{protocol}, a note {who}, its body {how}")), &app);
                let client = portal.server.connect("stranger", protocol).await;
                let (feed, request) = portal.held_back(visit, announced);
                let pending = client.begin(request);
                feed.data("two ");
                portal.scene.settle().await;
                let told = "a stranger's body is held back, and the stranger waits for the answer";
                AUDIT_BEHIND_AUTHENTICATION.require(pending.is_answered(), told)?;
                let came = portal.came(pending.answer().await?).await?;
                turned_away(&came, &visit)?;
            }
        }
    }
    Ok(())
}

/// Nothing but a 401 came of it.
fn turned_away(came: &Came, visit: &Visit) -> Proof {
    let entries = counted(came.seen.audited.len(), "entry", "entries");
    let who = visit.user.map_or("nobody", |_| "Eve");
    let told = format!("{who} isn't let in, and the audit trail has {entries} of the request");
    AUDIT_BEHIND_AUTHENTICATION.require(came.seen.audited.is_empty(), told)?;
    let told = format!("{who} isn't let in, and the request reached a route");
    AUDIT_BEHIND_AUTHENTICATION.require(came.seen.reached.is_empty(), told)?;
    let told = format!("a request of {who} got {}, expected 401", came.status.as_u16());
    AUDIT_BEHIND_AUTHENTICATION.require(came.status == StatusCode::UNAUTHORIZED, told)
}

async fn each_answer_logged_once(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for visit in ENDINGS.into_iter().chain([REFUSED]) {
            let came = ending(&lab, &app, protocol, visit).await?;
            let expected = format!("one entry: {} {} with the answer's id", visit.logged_path(), visit.status);
            let got = listed(&came);
            let told =
                format!("{} got {}, and the access log {got}; expected {expected}", visit.what, came.status.as_u16());
            let [(id, path, status)] = came.seen.logged.as_slice() else {
                return EACH_ANSWER_LOGGED_ONCE.require(false, told);
            };
            let right = path == visit.logged_path() && *status == came.status && came.id() == Some(id);
            EACH_ANSWER_LOGGED_ONCE.require(right, told)?;
            due(&came, &visit, EACH_ANSWER_LOGGED_ONCE)?;
        }
        let portal = Portal::open(&lab.scene(format!("{protocol}, a preflight")), &app);
        let came = portal.asked(protocol, preflight("/notes")).await?;
        let told = format!("a preflight left {} entries in the access log", came.seen.logged.len());
        EACH_ANSWER_LOGGED_ONCE.require(came.seen.logged.len() <= 1, told)?;
    }
    Ok(())
}

async fn preflight_needs_no_credentials(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for used_up in [false, true] {
            for path in ["/notes", "/nowhere"] {
                let how = if used_up { ", the quota is used up" } else { "" };
                let portal = Portal::open(&lab.scene(format!("{protocol}, a preflight of {path}{how}")), &app);
                if used_up {
                    portal.use_up();
                }
                let before = portal.quota.available_permits();
                let came = portal.asked(protocol, preflight(path)).await?;
                let told = format!("a preflight without credentials got {}", came.status.as_u16());
                PREFLIGHT_NEEDS_NO_CREDENTIALS.require(came.status.is_success(), told)?;
                allows(&came)?;
                let taken = before - portal.quota.available_permits();
                let told = format!("a preflight took {} of the quota", counted(taken, "permit", "permits"));
                PREFLIGHT_NEEDS_NO_CREDENTIALS.require(taken == 0, told)?;
                unseen(&came, "a preflight")?;
            }
        }
        let portal = Portal::open(&lab.scene(format!("{protocol}, OPTIONS that are no preflights")), &app);
        for origin in [None, Some(ORIGIN)] {
            let mut request = Request::builder().method(Method::OPTIONS).uri("/notes");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let came = portal.asked(protocol, request.body(Body::empty()).expect("a path")).await?;
            let told = "an OPTIONS without credentials reached a route";
            PREFLIGHT_NEEDS_NO_CREDENTIALS.require(came.seen.reached.is_empty(), told)?;
        }
    }
    Ok(())
}

/// The answer to a preflight lets a note with credentials follow.
fn allows(came: &Came) -> Proof {
    allowed_once(came, "a preflight", CORS)?;
    for (name, wanted) in [("access-control-allow-methods", "POST"), ("access-control-allow-headers", "authorization")]
    {
        let values =
            came.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let all = values.collect::<Vec<_>>().join(",");
        let any = wanted == "POST" && all.trim() == "*";
        let named = any || all.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted));
        CORS.require(named, format!("the answer to a preflight has `{name}: {all}`, which doesn't allow {wanted}"))?;
    }
    Ok(())
}

/// Neither identity nor a route heard of it.
fn unseen(came: &Came, what: &str) -> Proof {
    let told = format!("identity was asked about {what}");
    PREFLIGHT_NEEDS_NO_CREDENTIALS.require(came.seen.verified.is_empty(), told)?;
    PREFLIGHT_NEEDS_NO_CREDENTIALS.require(came.seen.reached.is_empty(), format!("{what} reached a route"))
}

fn allowed_once(came: &Came, what: &str, asked: Asked) -> Proof {
    let origins: Vec<&HeaderValue> = came.headers.get_all("access-control-allow-origin").iter().collect();
    let told = format!("{what} got {} with {} `access-control-allow-origin`", came.status.as_u16(), origins.len());
    asked.require(origins.len() == 1, told)?;
    let told = format!("{what} got `access-control-allow-origin: {:?}`", origins[0]);
    CORS.require(origins[0] == "*" || origins[0] == ORIGIN, told)
}

async fn each_answer_has_cors(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for visit in ENDINGS.into_iter().chain([REFUSED]) {
            let came = ending(&lab, &app, protocol, visit).await?;
            allowed_once(&came, visit.what, EACH_ANSWER_HAS_CORS)?;
            due(&came, &visit, EACH_ANSWER_HAS_CORS)?;
        }
    }
    Ok(())
}

/// One way in which the portal answers, in a scene of its own.
async fn ending(lab: &Lab, app: &App, protocol: Protocol, visit: Visit) -> Result<Came, lab::Broken> {
    let portal = Portal::open(&lab.scene(format!("{protocol}, {}", visit.what)), app);
    if visit.status == 429 {
        portal.use_up();
    }
    portal.comes(protocol, visit).await
}

fn due(came: &Came, visit: &Visit, asked: Asked) -> Proof {
    let told = format!("{} got {}, expected {}", visit.what, came.status.as_u16(), visit.status);
    asked.require(came.status == visit.status, told)
}

/// So many of them.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The entries that the access log got, without their ids.
fn listed(came: &Came) -> String {
    let id = came.id();
    let entry = |(own, path, status): &Logged| {
        let whose = match own.as_str() {
            "" => "without an id",
            own if Some(own) == id => "with the answer's id",
            _ => "with another id",
        };
        format!("{path} {} {whose}", status.as_u16())
    };
    let entries: Vec<String> = came.seen.logged.iter().map(entry).collect();
    if entries.is_empty() { "has nothing of it".to_owned() } else { format!("has {}", entries.join(" and ")) }
}

async fn quota_before_identity(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for at_once in [false, true] {
            let how = if at_once { "at once" } else { "one after another" };
            let portal = Portal::open(&lab.scene(format!("{protocol}, three for one permit, {how}")), &app);
            portal.use_up();
            for round in 0..10 {
                let visit = if round % 2 == 0 { Visit { user: Some("eve"), ..REFUSED } } else { REFUSED };
                let came = portal.comes(protocol, visit).await?;
                let who = if round % 2 == 0 { "wrong" } else { "right" };
                let told =
                    format!("no permit is left, and a request with {who} credentials got {}", came.status.as_u16());
                QUOTA_BEFORE_IDENTITY.require(came.status == StatusCode::TOO_MANY_REQUESTS, told)?;
                let told = format!("no permit is left, and identity was asked about {who} credentials");
                QUOTA_BEFORE_IDENTITY.require(came.seen.verified.is_empty(), told)?;
            }
            portal.quota.add_permits(1);
            portal.scene.note("quota", "gets one permit");
            let mut statuses = Vec::new();
            let mut asked = 0;
            if at_once {
                // Identity takes its time: all three are there before it has answered about the first.
                let slow = Visit { user: Some("slow-300"), ..GOOD };
                let pendings = portal.server.crowd(protocol, [slow; 3].map(|visit| visit.request())).await;
                for (_client, pending) in pendings {
                    let came = portal.came(pending.answer().await?).await?;
                    statuses.push(came.status.as_u16());
                    asked += came.seen.verified.len();
                }
            } else {
                for _ in 0..3 {
                    let came = portal.comes(protocol, GOOD).await?;
                    statuses.push(came.status.as_u16());
                    asked += came.seen.verified.len();
                }
            }
            statuses.sort_unstable();
            let told = format!("one permit was added, and three good requests {how} got {statuses:?}");
            QUOTA_BEFORE_IDENTITY.require(statuses == [200, 429, 429], told)?;
            let told =
                format!("one permit was added, three good requests came {how}, and identity was asked {asked} times");
            QUOTA_BEFORE_IDENTITY.require(asked == 1, told)?;
        }
        let scene = lab.scene(format!("{protocol}, two permits"));
        let portal = Portal::with(&scene, &app, 2, BUDGET_MS);
        for visit in [WRONG, GOOD, REFUSED] {
            let came = portal.comes(protocol, visit).await?;
            let told = format!(
                "of two permits one was taken by wrong credentials, and {} got {}",
                visit.what,
                came.status.as_u16()
            );
            PERMIT.require(came.status == visit.status, told)?;
        }
    }
    Ok(())
}

async fn one_deadline_for_all(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for budget in [BUDGET_MS, 500] {
            let (slow, route) = (budget * 6 / 10, format!("/slow/{}", budget * 6 / 10));
            let user = format!("slow-{slow}");
            for (what, user, path) in [
                ("identity hangs", "hangs", "/notes"),
                ("the route hangs", "ada", "/hangs"),
                ("identity and the route take three fifths of it each", user.as_str(), route.as_str()),
            ] {
                let scene = lab.scene(format!("{protocol}, a budget of {budget} ms, {what}"));
                let portal = Portal::with(&scene, &app, PERMITS, budget);
                let began = scene.now_ms();
                let came = portal.asked(protocol, of_user(user, path)).await?;
                in_time(&came, began, budget, what)?;
                let told = format!("{what}, the answer came at {} ms, and the work went on", came.at_ms);
                let dropped = came.seen.dropped.iter().all(|at| *at <= came.at_ms);
                ONE_DEADLINE_FOR_ALL.require(came.seen.open == 0 && dropped, told)?;
            }
            for announced in [Some(LIMIT), None] {
                let what = "the rest of the body is held back";
                let scene = lab.scene(format!("{protocol}, a budget of {budget} ms, {what}"));
                let portal = Portal::with(&scene, &app, PERMITS, budget);
                let client = portal.server.connect("client", protocol).await;
                let began = scene.now_ms();
                let (feed, request) = portal.held_back(GOOD, announced);
                let pending = client.begin(request);
                feed.data("two ");
                let came = portal.came(pending.answer().await?).await?;
                in_time(&came, began, budget, what)?;
            }
            let scene = lab.scene(format!("{protocol}, a budget of {budget} ms, and four fifths of it are taken"));
            let portal = Portal::with(&scene, &app, PERMITS, budget);
            let (user, path) = (format!("slow-{}", budget * 4 / 10), format!("/slow/{}", budget * 4 / 10));
            let came = portal.asked(protocol, of_user(&user, &path)).await?;
            let told = format!(
                "identity and the route took four fifths of the budget, and the answer is {}",
                came.status.as_u16()
            );
            ONE_DEADLINE_FOR_ALL.require(came.status == StatusCode::OK, told)?;
        }
    }
    Ok(())
}

/// A look at `path` by somebody with a name of their own.
fn of_user(user: &str, path: &str) -> Request {
    let request = Request::get(path).header("origin", ORIGIN).header("authorization", format!("Bearer {user}"));
    request.body(Body::empty()).expect("a path and a name")
}

fn in_time(came: &Came, began: u64, budget: u64, what: &str) -> Proof {
    let took = came.at_ms - began;
    let told = format!("{what}, and the answer is {} after {took} ms of a budget of {budget}", came.status.as_u16());
    let in_time = took <= budget && took * 10 >= budget * 9;
    ONE_DEADLINE_FOR_ALL.require(came.status == StatusCode::GATEWAY_TIMEOUT && in_time, told)
}

async fn one_id_everywhere(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        let portal = Portal::open(&lab.scene(format!("{protocol}, all that may come, twice")), &app);
        let mut ids: Vec<String> = Vec::new();
        for visit in ENDINGS.into_iter().chain(ENDINGS) {
            let came = portal.comes(protocol, visit).await?;
            of_one_id(&came, &visit)?;
            let id = came.id().unwrap_or_default().to_owned();
            IDS.require(!ids.contains(&id), format!("{} got the id of a request before", visit.what))?;
            ids.push(id);
        }
        portal.use_up();
        of_one_id(&portal.comes(protocol, REFUSED).await?, &REFUSED)?;

        let portal = Portal::open(&lab.scene(format!("{protocol}, two at once")), &app);
        let slow = [Visit { user: Some("slow-500"), ..GOOD }, Visit { user: Some("slow-200"), ..GOOD }];
        let pendings = portal.server.crowd(protocol, slow.map(|visit| visit.request())).await;
        let (mut own, mut seen) = (Vec::new(), [const { Vec::new() }; 4]);
        for ((_client, pending), visit) in pendings.into_iter().zip(slow) {
            let came = portal.came(pending.answer().await?).await?;
            due(&came, &visit, ONE_ID_EVERYWHERE)?;
            own.push(came.id().unwrap_or_default().to_owned());
            for (all, (_, new)) in seen.iter_mut().zip(places(&came)) {
                all.extend(new);
            }
        }
        IDS.require(own[0] != own[1], "two requests at once share an id")?;
        // Which of the two came first to which part is open.
        for all in &mut seen {
            all.sort();
        }
        own.sort();
        let due = own.into_iter().map(|id| vec![id]).collect::<Vec<_>>();
        let told = "two requests were under way, and one of the parts was not told the id of each once";
        ONE_ID_EVERYWHERE.require(seen.iter().all(|all| *all == due), told)?;
    }
    Ok(())
}

/// Where ids were seen, and which.
fn places(came: &Came) -> [(&'static str, Vec<Vec<String>>); 4] {
    [
        ("identity", came.seen.verified.iter().map(|heard| heard.ids.clone()).collect()),
        ("the route", came.seen.reached.iter().map(|heard| heard.ids.clone()).collect()),
        ("the access log", came.seen.logged.iter().map(|(id, ..)| vec![id.clone()]).collect()),
        ("the audit trail", came.seen.audited.iter().map(|(id, _)| vec![id.clone()]).collect()),
    ]
}

/// Wherever the request has left an id, it's the answer's.
fn of_one_id(came: &Came, visit: &Visit) -> Proof {
    let what = visit.what;
    let Some(id) = came.id() else {
        let number = came.headers.get_all("x-request-id").iter().count();
        let told = format!("the answer to {what} has {number} `x-request-id`, expected one that isn't empty");
        return ONE_ID_EVERYWHERE.require(false, told);
    };
    for (place, all) in places(came) {
        for ids in all {
            let got = match ids.as_slice() {
                [] => "no id",
                [one] if one.is_empty() => "no id",
                [_] => "another id",
                _ => "several ids",
            };
            let told = format!("{what} got an answer with an id, and {place} {got}");
            ONE_ID_EVERYWHERE.require(ids == [id], told)?;
        }
    }
    Ok(())
}

/// A limit that is a byte above what axum's `Bytes` takes by itself.
const LARGE: usize = (2 << 20) + 1;

async fn audit_has_what_was_let_through(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        let portal = Portal::open(&lab.scene(format!("{protocol}, bodies within the limit")), &app);
        for length in [0, 1, NOTE.len(), LIMIT - 1, LIMIT] {
            for brings in [Brings::Announced(length), Brings::Chunked(length)] {
                let visit = Visit { brings, ..GOOD };
                let came = portal.comes(protocol, visit).await?;
                trailed(&came, &content(length), "a note")?;
                let told = format!("a body of {length} bytes got {}, the limit is {LIMIT}", came.status.as_u16());
                BODIES.require(came.status == StatusCode::OK, told)?;
            }
        }
        for path in ["/panics", "/fails", "/hangs", "/slow/400"] {
            let came = portal.comes(protocol, Visit { path, ..GOOD }).await?;
            trailed(&came, NOTE.as_bytes(), &format!("POST {path}"))?;
        }
        for arrival in Arrival::OF_DATA {
            let scene = lab.scene(format!("{protocol}, {arrival}"));
            let portal = Portal::with(&scene, &app, PERMITS, 20_000);
            let client = portal.server.connect("client", protocol).await;
            let (feed, body) = scene.feed("upload");
            let mut course = Course::new(&scene, feed, arrival, &["\u{0}two ", "pills\u{7f}\n"], None);
            let pending = client.begin(GOOD.bringing(body));
            course.run().await;
            let came = portal.came(pending.answer().await?).await?;
            trailed(&came, course.text().as_bytes(), "a note")?;
        }
        for length in [LIMIT + 1, 3 * LIMIT] {
            for brings in [Brings::Announced(length), Brings::Chunked(length)] {
                let how = if brings == Brings::Announced(length) { "announced" } else { "unannounced" };
                let portal = Portal::open(&lab.scene(format!("{protocol}, {length} bytes, {how}")), &app);
                let came = portal.comes(protocol, Visit { brings, ..GOOD }).await?;
                let entries = counted(came.seen.audited.len(), "entry", "entries");
                let told = format!("a body of {length} bytes, {how}, left {entries} in the audit trail");
                AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(came.seen.audited.is_empty(), told)?;
                let told = format!("a body of {length} bytes, {how}, reached a route");
                AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(came.seen.reached.is_empty(), told)?;
                let told = format!("a body of {length} bytes, {how}, got {}, expected 413", came.status.as_u16());
                AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(came.status == StatusCode::PAYLOAD_TOO_LARGE, told)?;
            }
        }
        let portal = Portal::open(&lab.scene(format!("{protocol}, another method than POST")), &app);
        // One without a length may stream to its route.
        let brings = Brings::Announced(LIMIT + 1);
        let came = portal.comes(protocol, Visit { method: "PUT", brings, ..GOOD }).await?;
        let told = format!("a PUT of a byte too many got {}, expected 413", came.status.as_u16());
        BODIES.require(came.status == StatusCode::PAYLOAD_TOO_LARGE, told)?;
        BODIES.require(came.seen.reached.is_empty(), "a PUT of a byte too many reached a route")?;
        let portal = Portal::open(&lab.scene(format!("{protocol}, no permit is left")), &app);
        portal.use_up();
        let came = portal.comes(protocol, REFUSED).await?;
        let told = "a request beyond the quota left an entry in the audit trail";
        AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(came.seen.audited.is_empty(), told)?;
    }
    // Once is enough: it takes time, and how much is too much is no matter of the protocol.
    let portal = Portal::limited(&lab.scene("a large limit"), &app, PERMITS, BUDGET_MS, LARGE);
    let note = vec![0xff; LARGE];
    let came = portal.asked(Protocol::Http1, GOOD.bringing(note.clone().into())).await?;
    let told = format!("a body of {LARGE} bytes got {}, and the limit is as much", came.status.as_u16());
    BODIES.require(came.status == StatusCode::OK, told)?;
    trailed(&came, &note, "a large note")
}

/// What the client sent has reached a route, and the audit trail.
fn trailed(came: &Came, sent: &[u8], what: &str) -> Proof {
    let entries = counted(came.seen.audited.len(), "entry", "entries");
    let told = format!("{what} was let through, and the audit trail has {entries} of it");
    AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(came.seen.audited.len() == 1, told)?;
    let (audited, length) = (&came.seen.audited[0].1, sent.len());
    let told = format!("{what} has {length} bytes, and its entry in the audit trail {} or others", audited.len());
    AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(audited == sent, told)?;
    let [Heard { body, .. }] = came.seen.reached.as_slice() else {
        let told = format!("{what} reached a route {} times", came.seen.reached.len());
        return AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(false, told);
    };
    let told = format!("{what} has {length} bytes, and the route got {} or others", body.len());
    AUDIT_HAS_WHAT_WAS_LET_THROUGH.require(body == sent, told)
}

async fn panic_spares_the_connection(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for path in ["/panics", "/panics/number"] {
            for visit in [READ, GOOD] {
                let scene = lab.scene(format!("{protocol}, {} {path}", visit.method));
                let portal = Portal::open(&scene, &app);
                let client = portal.server.connect("client", protocol).await;
                let beside = match protocol {
                    Protocol::Http1 => portal.server.connect("another", protocol).await,
                    Protocol::Http2 => client.clone(),
                };
                let neighbour = beside.begin(of_user("ada", "/slow/1000"));
                sleep(Duration::from_millis(500)).await;
                let came = portal.asked_on(&client, Visit { path, ..visit }.request()).await;
                let status = came.as_ref().map_or("nothing".to_owned(), |came| came.status.as_u16().to_string());
                let told = format!("a route panicked, and the client got {status}, expected 500");
                PANIC_SPARES_THE_CONNECTION.require(status == "500", told)?;
                let status = neighbour.answer().await.map_or(0, |answer| answer.status().as_u16());
                let told = "a route panicked, and the request beside it was not answered with 200";
                PANIC_SPARES_THE_CONNECTION.require(status == 200, told)?;
                let next = portal.asked_on(&client, GOOD.request()).await.map(|came| came.status == 200);
                let told = "a route panicked, and the connection did not serve the next request";
                PANIC_SPARES_THE_CONNECTION.require(next == Ok(true), told)?;
            }
        }
    }
    Ok(())
}

async fn stream_outlasts_the_budget(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        for arrival in Arrival::ALL {
            let scene = lab.scene(format!("{protocol}, {arrival}"));
            let portal = Portal::with(&scene, &app, PERMITS, 500);
            let (feed, body) = scene.feed("route");
            let trailers = HeaderMap::from_iter([("x-seal".parse().expect("a name"), HeaderValue::from_static("9"))]);
            let mut course = Course::new(&scene, feed, arrival, &["one\n", "two\n"], Some(trailers.clone()));
            locked(&portal.seen).given = Some(streamed(body));
            let client = portal.server.connect("client", protocol).await;
            let mut request = of_user("ada", "/given");
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            let pending = client.begin(request);
            scene.settle().await;
            let told = "the route gave the head of its answer, and the client did not get it";
            STREAM_OUTLASTS_THE_BUDGET.require(pending.is_answered(), told)?;
            let listener = pending.answer().await?.listen();
            course.run().await;
            let received = listener.ended().await;
            let (due, text) = (course.text(), received.text());
            let told = format!("the route sent {due:?}, and the client got {text:?}");
            STREAM_OUTLASTS_THE_BUDGET.require(text == due, told)?;
            let whole = matches!(received.end, Some((_, End::Clean)));
            STREAM_OUTLASTS_THE_BUDGET.require(whole, "the route's answer ended, and the client's broke off")?;
            let told = format!("the route sent {trailers:?} as trailers, and the client got {:?}", received.trailers);
            STREAM_OUTLASTS_THE_BUDGET.require(received.trailers == Some(trailers), told)?;
        }
        let scene = lab.scene(format!("{protocol}, a frame after the budget"));
        let portal = Portal::with(&scene, &app, PERMITS, 500);
        let (feed, body) = scene.feed("route");
        locked(&portal.seen).given = Some(streamed(body));
        let client = portal.server.connect("client", protocol).await;
        let listener = client.send(of_user("ada", "/given")).await?.listen();
        for line in ["one\n", "two\n"] {
            sleep(Duration::from_secs(3)).await;
            let sent = scene.now_ms();
            feed.data(line);
            scene.settle().await;
            let came = listener.so_far().came_at_ms(line);
            let told = match came {
                Some(came) => format!("the route sent a frame at {sent} ms, and it came at {came} ms"),
                None => format!("the route sent a frame at {sent} ms, and it had not come at {} ms", scene.now_ms()),
            };
            STREAM_OUTLASTS_THE_BUDGET.require(came == Some(sent), told)?;
        }
        feed.fail("the cupboard is locked");
        let ended = listener.ended().await.end.map(|(_, end)| end);
        let told = "the route's answer broke off, and the client was told that it is whole";
        STREAM_OUTLASTS_THE_BUDGET.require(ended == Some(End::Error), told)?;
    }
    Ok(())
}

/// An answer of a route's whose body comes piece by piece.
fn streamed(body: Body) -> Response {
    ([("trailer", "x-seal")], body).into_response()
}

async fn request_ends_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, resets) in [(Protocol::Http1, false), (Protocol::Http2, false), (Protocol::Http2, true)] {
        let how = if resets { "resets the stream" } else { "closes the connection" };
        for (part, user, path) in [("identity", "slow-1500", "/notes"), ("a route", "ada", "/slow/1500")] {
            let scene = lab.scene(format!("{protocol}, {part} is at work, the client {how}"));
            let portal = Portal::open(&scene, &app);
            let client = portal.server.connect("client", protocol).await;
            let pending = client.begin(of_user(user, path));
            sleep(Duration::from_millis(1_000)).await;
            let open = locked(&portal.seen).open;
            control(open == 1, format!("a request came, and a second later {open} calls were under way"))?;
            let left = scene.now_ms();
            pending.cancel();
            if !resets {
                client.leave();
            }
            scene.settle().await;
            let open = locked(&portal.seen).open;
            let told = format!("the client left at {left} ms, and at {} ms {part} was still at work", scene.now_ms());
            REQUEST_ENDS_WITH_CLIENT.require(open == 0, told)?;
            let tasks = scene.app_tasks();
            let told =
                format!("the client left at {left} ms, and a millisecond later {tasks} tasks of the app were left");
            REQUEST_ENDS_WITH_CLIENT.require(tasks == 0, told)?;
        }
    }
    Ok(())
}

async fn portal_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        Portal::healthy(&lab, &app, protocol).await?;

        let portal = Portal::open(&lab.scene(format!("{protocol}, good requests")), &app);
        for visit in [GOOD, READ, Visit { user: Some("bob"), ..GOOD }] {
            let came = portal.comes(protocol, visit).await?;
            due(&came, &visit, PORTAL_AS_EVER)?;
            PORTAL_AS_EVER.require(came.text == "noted\n", format!("{} got {:?}", visit.what, came.text))?;
            let length = came.headers.get("content-length").map(HeaderValue::as_bytes);
            let told = format!("the route states a length, and the answer to {} does not", visit.what);
            PASSES.require(length == Some(b"6"), told)?;
            let credentials = vec![format!("Bearer {}", visit.user.unwrap_or_default())];
            asked_well(&came, &credentials, visit.what)?;
            let [heard] = came.seen.reached.as_slice() else {
                let told = format!("{} reached a route {} times", visit.what, came.seen.reached.len());
                return PORTAL_AS_EVER.require(false, told);
            };
            let asked = format!("{} {}", visit.method, visit.path);
            let told = format!("{asked} reached the route as {} by {:?}", heard.asked, heard.credentials);
            PORTAL_AS_EVER.require(heard.asked == asked && heard.credentials == credentials, told)?;
        }
        let mut request = GOOD.request();
        request.headers_mut().insert("authorization", HeaderValue::from_bytes(IN_LATIN_1).expect("obs-text"));
        let came = portal.asked(protocol, request).await?;
        let credentials = [in_latin_1(IN_LATIN_1)];
        asked_well(&came, &credentials, "a note with credentials in Latin-1")?;
        let told = format!("a note with good credentials in Latin-1 got {}", came.status.as_u16());
        PORTAL_AS_EVER.require(came.status == StatusCode::OK, told)?;
        for user in ["barred", "moved", "broken"] {
            let visit = Visit { user: Some(user), what: "a note with credentials of no use", ..WRONG };
            let came = portal.comes(protocol, visit).await?;
            asked_well(&came, &[format!("Bearer {user}")], visit.what)?;
            due(&came, &visit, VERIFY)?;
            VERIFY.require(came.seen.reached.is_empty(), "identity did not say 200, and a route was reached")?;
        }
        let portal = Portal::open(&lab.scene(format!("{protocol}, nobody reads log and trail")), &app);
        portal.close_the_sinks().await;
        for visit in [GOOD, READ] {
            let came = portal.comes(protocol, visit).await?;
            let told =
                format!("nobody reads access log and audit trail, and {} got {}", visit.what, came.status.as_u16());
            ENTRIES.require(came.status == StatusCode::OK, told)?;
        }
    }
    Ok(())
}

/// Identity was asked once, as it's to be asked.
fn asked_well(came: &Came, credentials: &[String], what: &str) -> Proof {
    let [Heard { asked, credentials: told_of, body, .. }] = came.seen.verified.as_slice() else {
        let told = format!("for {what} identity was asked {} times", came.seen.verified.len());
        return VERIFY.require(false, told);
    };
    let told = format!("for {what} identity was asked {asked} by {told_of:?}, with {} bytes", body.len());
    VERIFY.require(asked == "POST /verify" && told_of == credentials && body.is_empty(), told)
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let (access_log, _logged) = unbounded_channel();
    let (audit, _audited) = unbounded_channel();
    let portal = Subject::app(move |routes| {
        let identity = Router::new().fallback(async || StatusCode::OK);
        // axum refuses a `route_layer` where there is no route, and what the suite brings is a fallback.
        let routes = Router::new().route("/of-no-interest", get(async || ())).merge(routes);
        let quota = Arc::new(Semaphore::new(10_000));
        app(routes, identity, quota, access_log.clone(), audit.clone(), Duration::from_secs(60), 64 << 20)
    });
    let portal = portal.asking(|request| {
        request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer ada"));
    });
    let (proof, scenes) = the_rest(portal, &contract(), &SHOULD, limits);
    (proof.or_else(|broken| PASSES.require(false, broken.to_string())), scenes)
}
