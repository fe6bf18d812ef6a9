//! The specification of `closure-captured-state`: an order desk that must not mistake one customer for another.

use std::{
    collections::HashSet,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{StreamExt, stream};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};
use tower::ServiceExt;

use lab::{
    Asked, Broken, Ghost, Lab, Limits, Proof, Protocol, Report, Scene, Specification, control,
    hammer::{Force, Hammered},
    locked,
    wire::{Answer, Connection, Pending, Server},
};

mod hammer;

pub use hammer::hammer;

/// Makes the app under test from its warehouse and its access log.
pub type App = Arc<dyn Fn(Router, UnboundedSender<Entry>) -> Router + Send + Sync>;

/// A line of the access log: user, log id, status.
pub type Entry = (String, String, StatusCode);

/// How long the warehouse looks for anything of Ada's.
const SLOW: Duration = Duration::from_millis(3_000);
/// How long it looks for anything of Judy's.
const PATIENT: Duration = Duration::from_secs(20);
/// How long it looks for anything of anybody else's.
const QUICK: Duration = Duration::from_millis(200);

const ANSWER_NAMES_THE_CALLER: Asked = Asked::new(
    "answer-names-the-caller",
    "Each answer, and each question to the warehouse, names the user whose request it belongs to, even if another \
     request comes while this one is suspended.",
);
const ACCESS_LOG_NAMES_THE_CALLER: Asked = Asked::new(
    "access-log-names-the-caller",
    "Each answer leaves one entry in the access log: the user who sent the request, the `x-log-id` of the answer and \
     its status.",
);
const LOG_IDS_DIFFER: Asked = Asked::new(
    "log-ids-differ",
    "No two of 1200 requests get the same log id, whether they come one after another or at once, over several \
     connections, and whatever `x-log-id` the clients send.",
);
const ONLY_AUTHORIZATION_COUNTS: Asked = Asked::new(
    "only-authorization-counts",
    "A request without `authorization` gets a 401 and never reaches the warehouse, even while another is suspended; \
     an `x-user` that the client sends identifies nobody.",
);
const STREAMS_KEEP_APART: Asked = Asked::new(
    "streams-keep-apart",
    "Requests that overlap on one HTTP/2 connection are each answered and logged under their own user and id.",
);
const ANY_THREAD_MAY_POLL: Asked = Asked::new(
    "any-thread-may-poll",
    "A request keeps its user and its id even when each poll of its future comes from a different thread.",
);
const SLOW_REQUESTS_OVERLAP: Asked = Asked::new(
    "slow-requests-overlap",
    "A request that comes while another is suspended is served at once, even when both come from the same user.",
);
const FAILURE_LEAVES_NOTHING: Asked = Asked::new(
    "failure-leaves-nothing",
    "A request that fails or is cancelled changes nothing for the requests before, beside and after it, and is never \
     logged under another user's name.",
);
const LOG_LINES_NAME_THE_CALLER: Asked = Asked::new(
    "log-lines-name-the-caller",
    "Each question to the warehouse is logged under the user and the log id of the request that it's asked for.",
);
const REQUEST_ENDS_WITH_CLIENT: Asked = Asked::new(
    "request-ends-with-client",
    "When a client leaves, its question to the warehouse is dropped at that instant, and nothing more is done for it.",
);
const DESK_AS_EVER: Asked = Asked::new(
    "desk-as-ever",
    "A customer who's alone at the desk gets what the warehouse has, or is told why not, under their own name, at \
     any path.",
);

const PAGE: Asked = Asked::new(
    "page",
    "The page is the list of orders, then the list of parcels, byte for byte, as `text/plain; charset=utf-8`, \
     however long the warehouse takes.",
);
const REFUSALS: Asked = Asked::new(
    "refusals",
    "If the warehouse answers with anything but success, the desk answers with that status; if a list has more than \
     64 KiB or isn't UTF-8, the desk answers 502.",
);
const ANY_PATH: Asked = Asked::new(
    "any-path",
    "A 404 or 405 that the desk itself gives a known caller has `x-user`, `x-log-id` and an entry in the access log, \
     like any other answer.",
);
const BEARER_ONLY: Asked =
    Asked::new("bearer-only", "A request without `authorization: Bearer <user>` gets a 401, at any path.");
const LOG_MAY_STOP: Asked =
    Asked::new("log-may-stop", "Requests are still served as before when nobody reads the access log any more.");
const LOG_FIELDS: Asked = Asked::new(
    "log-fields",
    "For each question to the warehouse there's an event, at any level, that has the fields `user` and `log_id`, \
     itself or in a span round it.",
);
const MANY: Asked = Asked::new(
    "many",
    "Even when a thousand requests come and go while one is suspended, the names are right and the log ids differ.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Router, UnboundedSender<Entry>) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(ANSWER_NAMES_THE_CALLER, answer_names_the_caller)
        .promise(ACCESS_LOG_NAMES_THE_CALLER, access_log_names_the_caller)
        .promise(LOG_IDS_DIFFER, log_ids_differ)
        .promise(ONLY_AUTHORIZATION_COUNTS, only_authorization_counts)
        .promise(STREAMS_KEEP_APART, streams_keep_apart)
        .promise(ANY_THREAD_MAY_POLL, any_thread_may_poll)
        .promise(SLOW_REQUESTS_OVERLAP, slow_requests_overlap)
        .promise(FAILURE_LEAVES_NOTHING, failure_leaves_nothing)
        .promise(LOG_LINES_NAME_THE_CALLER, log_lines_name_the_caller)
        .promise(REQUEST_ENDS_WITH_CLIENT, request_ends_with_client)
        .promise(DESK_AS_EVER, desk_as_ever)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "closure-captured-state";
    type App = fn(Router, UnboundedSender<Entry>) -> Router;
    type StandIns = (Router, UnboundedSender<Entry>);
    const ASKED: &'static [Asked] = &[PAGE, REFUSALS, ANY_PATH, BEARER_ONLY, LOG_MAY_STOP, LOG_FIELDS, MANY];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// A warehouse that takes a second and a half for each list, and an access log that is printed. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let list = async |request: Request| {
            sleep(Duration::from_millis(1_500)).await;
            format!("{} of {}\n", request.uri().path().trim_start_matches('/'), users(request.headers()))
        };
        let (access_log, mut entries) = unbounded_channel::<Entry>();
        tokio::spawn(async move {
            while let Some((user, log_id, status)) = entries.recv().await {
                lab::say(format_args!("access log: {user} {log_id} {}", status.as_u16()));
            }
        });
        (Router::new().fallback(get(list)), access_log)
    }

    fn serve(app: Self::App, (warehouse, access_log): Self::StandIns) -> Router {
        app(warehouse, access_log)
    }
}

// ===== The promises =====

async fn answer_names_the_caller(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        in_turn(&lab, &app, protocol).await?;

        let scene = lab.scene(format!("{protocol}, two connections"));
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let (first, second) = desk.overlapping(&ada, &bob).await?;
        desk.names(&[&first, &second])?;
    }
    let scene = lab.scene("1100 of Eve's requests come and go while Ada's is suspended");
    let desk = Desk::open(&scene, &app);
    let ada = desk.connect("ada", Protocol::Http1).await;
    let first = desk.begin(&ada, "ada", asking(Some("ada")));
    sleep(Duration::from_millis(1_000)).await;
    desk.a_crowd_of_eves(|number, answer| {
        let name = users(answer.headers());
        MANY.require(name == "eve", format!("the answer to Eve's request {number} says `x-user: {name}`"))
    })
    .await?;
    let first = first.ended(&desk).await?;
    desk.names(&[&first])
}

async fn access_log_names_the_caller(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let (desk, answers) = in_turn(&lab, &app, protocol).await?;
        desk.logged(&answers, &[]).await.map_err(before_the_fault)?;

        let scene = lab.scene(format!("{protocol}, two connections"));
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let (first, second) = desk.overlapping(&ada, &bob).await?;
        desk.logged(&[first, second], &[]).await?;
    }
    Ok(())
}

async fn log_ids_differ(lab: Lab, app: App) -> Proof {
    let numbered = |user| {
        let mut request = asking(Some(user));
        request.headers_mut().insert("x-log-id", "mine".parse().expect("a word is a header value"));
        request
    };
    for protocol in Protocol::BOTH {
        let (_, [first, second]) = in_turn(&lab, &app, protocol).await?;
        control(first.log_id.is_some(), "an answer carries no `x-log-id`")?;
        control(first.log_id != second.log_id, "two requests, one after the other, get the same log id")?;

        let scene = lab.scene(format!("{protocol}, two requests at once"));
        let desk = Desk::open(&scene, &app);
        let (bob, again) = (desk.connect("bob", protocol).await, desk.connect("bob again", protocol).await);
        let visits = [&bob, &again].map(|connection| desk.begin(connection, "bob", numbered("bob")));
        let mut ids = Vec::new();
        for visit in visits {
            ids.push(visit.ended(&desk).await?.log_id.unwrap_or_default());
        }
        LOG_IDS_DIFFER
            .require(ids[0] != ids[1], format!("two requests that come at once both get {}", scene.id(&ids[0])))?;
    }

    let scene = lab.scene("100 requests on four connections");
    let desk = Desk::open(&scene, &app);
    // One after another, in turn on three connections; then forty at once, on one.
    let mut ids: Vec<String> = Vec::new();
    let mut in_turn = Vec::new();
    for client in ["first", "second", "third"] {
        in_turn.push(desk.connect(client, Protocol::Http1).await);
    }
    for connection in in_turn.iter().cycle().take(60) {
        ids.extend(desk.send(connection, "eve", numbered("eve")).await?.log_id);
    }
    let at_once = desk.connect("fourth", Protocol::Http2).await;
    let visits: Vec<Visit> = (0..40).map(|_| desk.begin(&at_once, "eve", numbered("eve"))).collect();
    for visit in visits {
        ids.extend(visit.ended(&desk).await?.log_id);
    }
    LOG_IDS_DIFFER.require(ids.len() == 100, format!("of 100 answers only {} carry an `x-log-id`", ids.len()))?;
    let different = ids.iter().collect::<HashSet<_>>().len();
    let first_repeated = (1..).zip(&ids).find(|(number, id)| ids[*number..].contains(id));
    if let Some((number, _)) = first_repeated {
        let told =
            format!("100 answers carry only {different} different log ids; the id of request {number} comes again");
        return LOG_IDS_DIFFER.require(false, told);
    }
    let mut ids: HashSet<String> = ids.into_iter().collect();
    desk.a_crowd_of_eves(|number, answer| {
        let id = answer.headers().get("x-log-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        let told = format!("after the hundred, Eve's request {number} has the log id of an earlier one");
        MANY.require(ids.insert(id.unwrap_or_default()), told)
    })
    .await
}

async fn only_authorization_counts(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        in_turn(&lab, &app, protocol).await?;

        let scene = lab.scene(protocol.to_string());
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let stranger = desk.connect("stranger", protocol).await;
        let claiming = |user: Option<&str>| {
            let mut request = asking(user);
            request.headers_mut().insert("x-user", "carol".parse().expect("a name is a header value"));
            request
        };
        let turned_away = async |what: &str, request| {
            let asked = desk.questions();
            let got = answered(stranger.send(request).await?).await;
            ONLY_AUTHORIZATION_COUNTS.require(
                got.status == StatusCode::UNAUTHORIZED,
                format!("{what} without `authorization` gets {} instead of 401", got.status.as_u16()),
            )?;
            ONLY_AUTHORIZATION_COUNTS.require(
                desk.questions() == asked,
                format!("{what} without `authorization` makes the desk ask the warehouse"),
            )
        };
        turned_away("a request", asking(None)).await?;
        let first = desk.begin(&ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        turned_away("while Ada's is suspended, a request", asking(None)).await?;
        turned_away("a request that says `x-user: carol`", claiming(None)).await?;
        let second = desk.send(&bob, "bob", claiming(Some("bob"))).await?;
        let name = second.named();
        ONLY_AUTHORIZATION_COUNTS
            .require(second.user == name, format!("Bob's request that says `x-user: carol` is answered as {name}'s"))?;
        desk.names_in_questions()?;
        first.ended(&desk).await?;
    }
    Ok(())
}

async fn streams_keep_apart(lab: Lab, app: App) -> Proof {
    let (desk, answers) = in_turn(&lab, &app, Protocol::Http2).await?;
    desk.logged(&answers, &[]).await.map_err(before_the_fault)?;

    let scene = lab.scene("HTTP/2, one connection");
    let desk = Desk::open(&scene, &app);
    let proxy = desk.connect("proxy", Protocol::Http2).await;
    let (first, second) = desk.overlapping(&proxy, &proxy).await?;
    desk.names(&[&first, &second])?;
    desk.log_lines(&[&first, &second], 2)?;
    desk.logged(&[first, second], &[]).await
}

async fn any_thread_may_poll(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let (desk, answers) = in_turn(&lab, &app, protocol).await?;
        desk.logged(&answers, &[]).await.map_err(before_the_fault)?;

        let scene = lab.scene(format!("{protocol}, each poll from another thread, nobody else at the desk"));
        let desk = Desk::open(&scene, &moved_between_threads(&app, &scene));
        let bob = desk.connect("bob", protocol).await;
        let alone = desk.send(&bob, "bob", asking(Some("bob"))).await?;
        desk.names(&[&alone])?;
        desk.logged(&[alone], &[]).await?;

        let scene = lab.scene(format!("{protocol}, each poll from another thread, two connections"));
        let desk = Desk::open(&scene, &moved_between_threads(&app, &scene));
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let (first, second) = desk.overlapping(&ada, &bob).await?;
        desk.names(&[&first, &second])?;
        desk.logged(&[first, second], &[]).await?;
    }
    Ok(())
}

async fn slow_requests_overlap(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let desk = Desk::open(&scene, &app);
        let mut clients = Vec::new();
        for client in ["ada", "bob", "ada again"] {
            clients.push(desk.connect(client, protocol).await);
        }
        let began = scene.now_ms();
        desk.send(&clients[1], "bob", asking(Some("bob"))).await?;
        let took = scene.now_ms() - began;
        control(desk.questions() > 0, "the warehouse is not asked for Bob, alone at the desk")?;
        control(took < 1_000, format!("Bob, alone at the desk, waits {took} ms"))?;

        let _first = desk.begin(&clients[0], "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        let asked = desk.questions();
        let second = desk.begin(&clients[1], "bob", asking(Some("bob")));
        sleep(Duration::from_millis(1_000)).await;
        SLOW_REQUESTS_OVERLAP.require(
            desk.questions() > asked,
            "Bob came while Ada's request was suspended, and 1000 ms later the warehouse had not been asked for his \
             orders",
        )?;
        SLOW_REQUESTS_OVERLAP.require(
            second.pending.is_answered(),
            format!(
                "Bob came while Ada's request was suspended, and had no answer 1000 ms later, though he waits only \
                 {took} ms when he is alone"
            ),
        )?;
        let asked = desk.questions();
        let _third = desk.begin(&clients[2], "ada", asking(Some("ada")));
        sleep(Duration::from_millis(500)).await;
        SLOW_REQUESTS_OVERLAP.require(
            desk.questions() > asked,
            "Ada's second request came while her first was suspended, and 500 ms later the warehouse had not been asked",
        )?;
    }
    Ok(())
}

async fn failure_leaves_nothing(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let (desk, answers) = in_turn(&lab, &app, protocol).await?;
        desk.logged(&answers, &[]).await.map_err(before_the_fault)?;

        let scene = lab.scene(format!("{protocol}, a stranger is turned away while Ada waits"));
        let desk = Desk::open(&scene, &app);
        let (ada, stranger) = (desk.connect("ada", protocol).await, desk.connect("stranger", protocol).await);
        let first = desk.begin(&ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        answered(stranger.send(asking(None)).await?).await;
        let beside = first.ended(&desk).await?;
        desk.names(&[&beside])?;

        let scene = lab.scene(format!("{protocol}, the warehouse fails for Dora"));
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let dora = desk.connect("dora", protocol).await;
        let first = desk.begin(&ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        let failed = desk.send(&dora, "dora", asking(Some("dora"))).await?;
        let after = desk.send(&bob, "bob", asking(Some("bob"))).await?;
        let beside = first.ended(&desk).await?;
        desk.names(&[&failed, &after, &beside])?;
        desk.logged(&[failed, after, beside], &[]).await?;

        let scene = lab.scene(format!("{protocol}, Bob gives up while Ada waits"));
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let first = desk.begin(&ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        let given_up = desk.begin(&bob, "bob", asking(Some("bob")));
        sleep(Duration::from_millis(100)).await;
        drop(given_up);
        bob.leave();
        let beside = first.ended(&desk).await?;
        let next = desk.connect("bob again", protocol).await;
        let after = desk.send(&next, "bob", asking(Some("bob"))).await?;
        desk.names(&[&beside, &after])?;
        desk.logged(&[beside, after], &["bob"]).await?;

        let scene = lab.scene(format!("{protocol}, Ada gives up while Bob waits"));
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let given_up = desk.begin(&ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        let second = desk.begin(&bob, "bob", asking(Some("bob")));
        sleep(Duration::from_millis(100)).await;
        drop(given_up);
        ada.leave();
        let beside = second.ended(&desk).await?;
        desk.names(&[&beside])?;
        desk.logged(&[beside], &["ada"]).await?;
    }
    Ok(())
}

async fn log_lines_name_the_caller(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let (desk, [first, second]) = in_turn(&lab, &app, protocol).await?;
        desk.log_lines(&[&first, &second], 2).map_err(before_the_fault)?;

        let scene = lab.scene(format!("{protocol}, two connections"));
        let desk = Desk::open(&scene, &app);
        let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
        let (first, second) = desk.overlapping(&ada, &bob).await?;
        desk.log_lines(&[&first, &second], 2)?;

        let scene = lab.scene(format!("{protocol}, the warehouse fails for Dora"));
        let desk = Desk::open(&scene, &app);
        let dora = desk.connect("dora", protocol).await;
        let failed = desk.send(&dora, "dora", asking(Some("dora"))).await?;
        desk.log_lines(&[&failed], 1)?;

        let scene = lab.scene(format!("{protocol}, Ada leaves before the warehouse has answered"));
        let desk = Desk::open(&scene, &app);
        let ada = desk.connect("ada", protocol).await;
        let given_up = desk.begin(&ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        drop(given_up);
        ada.leave();
        scene.settle().await;
        let lines = desk.users_and_ids();
        LOG_FIELDS.require(
            lines.iter().any(|(user, id)| user == "ada" && !id.is_empty()),
            "Ada left before the warehouse had answered, and no line of the log has her name and an id",
        )?;
    }
    Ok(())
}

async fn request_ends_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, resets) in [(Protocol::Http1, false), (Protocol::Http2, false), (Protocol::Http2, true)] {
        for (which, after) in [(1, 1_000), (2, 4_000)] {
            let how = if resets { "resets the stream" } else { "closes the connection" };
            let scene = lab.scene(format!("{protocol}, Ada {how} during question {which}"));
            let desk = Desk::open(&scene, &app);
            let ada = desk.connect("ada", protocol).await;
            let visit = desk.begin(&ada, "ada", asking(Some("ada")));
            sleep(Duration::from_millis(after)).await;
            let open = locked(&desk.seen).open;
            control(open > 0, format!("{after} ms after Ada had asked, the warehouse was not looking for her"))?;
            let left = scene.now_ms();
            visit.pending.cancel();
            if !resets {
                ada.leave();
            }
            scene.settle().await;
            let open = locked(&desk.seen).open;
            let asked = desk.questions();
            let observed =
                format!("Ada left at {left} ms, and at {} ms the warehouse was still looking for her", scene.now_ms());
            REQUEST_ENDS_WITH_CLIENT.require(open == 0, observed)?;
            sleep(Duration::from_secs(10)).await;
            let observed = format!("Ada left at {left} ms, and the warehouse was asked for her again");
            REQUEST_ENDS_WITH_CLIENT.require(desk.questions() == asked, observed)?;
            let observed = format!("Ada left at {left} ms, and ten seconds later a task of her request lives on");
            REQUEST_ENDS_WITH_CLIENT.require(scene.app_tasks() == 0, observed)?;
        }
    }
    Ok(())
}

async fn desk_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let desk = Desk::open(&scene, &app);
        let client = desk.connect("client", protocol).await;

        for user in ["bob", "judy", "heidi"] {
            let answer = desk.begin(&client, user, asking(Some(user))).pending.answer().await?;
            let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
            let page = answer.read().await.text();
            let due = page_of(user);
            let told =
                format!("{} gets {} with {} bytes, expected {}", person(user), status.as_u16(), page.len(), due.len());
            PAGE.require(status == StatusCode::OK && page == due, told)?;
            let plain = kind.as_ref().is_some_and(|kind| kind == "text/plain; charset=utf-8");
            PAGE.require(
                plain,
                format!("the page is {}", kind.map_or("of no type".to_owned(), |kind| format!("{kind:?}"))),
            )?;
        }
        desk.scene.settle().await;
        locked(&desk.seen).entries.clear();

        for (user, status) in [("frank", 404), ("mallory", 409), ("grace", 502), ("olga", 502), ("ivan", 502)] {
            let got = desk.send(&client, user, asking(Some(user))).await?;
            let told =
                format!("the warehouse has {} for {}, who gets {}", refusal(user), person(user), got.status.as_u16());
            REFUSALS.require(got.status == status, told)?;
            desk.names_the_caller(&got)?;
            desk.logged(&[got], &[]).await?;
        }

        for (method, path, status) in [(Method::GET, "/nowhere", 404), (Method::POST, "/orders", 405)] {
            let to = |user| {
                let mut request = asking(user);
                *request.method_mut() = method.clone();
                *request.uri_mut() = path.parse().expect("a path");
                request
            };
            let got = desk.send(&client, "bob", to(Some("bob"))).await?;
            let told = format!("Bob's {method} {path} gets {}, expected {status}", got.status.as_u16());
            DESK_AS_EVER.require(got.status == status, told)?;
            desk.names_the_caller(&got)
                .and(desk.logged(&[got], &[]).await)
                .map_err(|broken| Broken::because(format!("{method} {path}: {broken}")))?;
            let got = desk.send(&client, "bob", to(None)).await?;
            let told = format!("{method} {path} of nobody gets {}, expected 401", got.status.as_u16());
            BEARER_ONLY.require(got.status == StatusCode::UNAUTHORIZED, told)?;
        }
        let mut basic = asking(None);
        basic.headers_mut().insert("authorization", HeaderValue::from_static("Basic bob"));
        let got = desk.send(&client, "bob", basic).await?;
        let told = format!("`authorization: Basic bob` gets {}, expected 401", got.status.as_u16());
        BEARER_ONLY.require(got.status == StatusCode::UNAUTHORIZED, told)?;

        let scene = lab.scene(format!("{protocol}, nobody reads the access log"));
        let seen = Arc::<Mutex<Seen>>::default();
        let (access_log, _) = unbounded_channel::<Entry>();
        let client = scene.serve(app(warehouse(&scene, &seen), access_log)).connect("bob", protocol).await;
        let status = client.send(asking(Some("bob"))).await?.status();
        LOG_MAY_STOP.require(
            status == StatusCode::OK,
            format!("nobody reads the access log, and Bob gets {}", status.as_u16()),
        )?;
    }
    Ok(())
}

/// The control of nearly all: Ada and Bob, one after the other, are served as one would expect.
async fn in_turn(lab: &Lab, app: &App, protocol: Protocol) -> Result<(Desk, [Got; 2]), Broken> {
    let scene = lab.scene(format!("{protocol}, one after the other"));
    let desk = Desk::open(&scene, app);
    let (ada, bob) = (desk.connect("ada", protocol).await, desk.connect("bob", protocol).await);
    let first = desk.send(&ada, "ada", asking(Some("ada"))).await.map_err(before_the_fault)?;
    let asked = desk.questions();
    let second = desk.send(&bob, "bob", asking(Some("bob"))).await.map_err(before_the_fault)?;
    control(asked > 0 && desk.questions() > asked, "the warehouse is not asked for each of two requests")?;
    desk.names(&[&first, &second]).map_err(before_the_fault)?;
    Ok((desk, [first, second]))
}

// ===== The desk and what surrounds it =====

/// The app under test, with its warehouse and its access log.
struct Desk {
    scene: Scene,
    router: Router,
    server: Server,
    seen: Arc<Mutex<Seen>>,
}

/// What the supplied parts saw.
#[derive(Default)]
struct Seen {
    /// The users of the requests that have no answer yet.
    waiting: Vec<&'static str>,
    questions: usize,
    /// How many questions have no answer yet, and were not dropped.
    open: usize,
    /// The questions that were asked in the name of somebody who was not waiting, each told in a clause.
    misnamed: Vec<String>,
    entries: Vec<Entry>,
}

/// A request on its way, and the user that it carries.
struct Visit {
    user: &'static str,
    pending: Pending,
}

/// What came of a request.
struct Got {
    user: &'static str,
    status: StatusCode,
    name: Option<String>,
    log_id: Option<String>,
}

impl Desk {
    fn open(scene: &Scene, app: &App) -> Self {
        scene.ids_are_logged_as("log_id");
        let seen = Arc::<Mutex<Seen>>::default();
        let (access_log, mut entries) = unbounded_channel::<Entry>();
        let (clock, shelf) = (scene.clone(), seen.clone());
        scene.spawn(async move {
            while let Some((user, log_id, status)) = entries.recv().await {
                let id = clock.id(&log_id);
                clock.note("access log", format!("gets {user:?}, {id}, {}", status.as_u16()));
                locked(&shelf).entries.push((user, log_id, status));
            }
        });
        let router = app(warehouse(scene, &seen), access_log);
        let server = scene.serve(router.clone());
        Self { scene: scene.clone(), router, server, seen }
    }

    async fn connect(&self, client: &str, protocol: Protocol) -> Connection {
        self.server.connect(client, protocol).await
    }

    fn begin(&self, connection: &Connection, user: &'static str, request: Request) -> Visit {
        locked(&self.seen).waiting.push(user);
        Visit { user, pending: connection.begin(request) }
    }

    async fn send(&self, connection: &Connection, user: &'static str, request: Request) -> Result<Got, Broken> {
        self.begin(connection, user, request).ended(self).await
    }

    /// Ada's request, which the warehouse keeps for long, and Bob's, which comes and goes meanwhile if it may.
    async fn overlapping(&self, ada: &Connection, bob: &Connection) -> Result<(Got, Got), Broken> {
        let first = self.begin(ada, "ada", asking(Some("ada")));
        sleep(Duration::from_millis(1_000)).await;
        let second = self.send(bob, "bob", asking(Some("bob"))).await?;
        Ok((first.ended(self).await?, second))
    }

    /// Eleven hundred requests of Eve's, one after another and without a wire, each of which is judged.
    async fn a_crowd_of_eves(&self, mut judge: impl FnMut(usize, &Response) -> Proof) -> Proof {
        locked(&self.seen).waiting.push("eve");
        for number in 1..=1_100 {
            let Ok(answer) = self.router.clone().oneshot(asking(Some("eve"))).await;
            judge(number, &answer)?;
        }
        Ok(())
    }

    fn questions(&self) -> usize {
        locked(&self.seen).questions
    }

    fn names_in_questions(&self) -> Proof {
        let misnamed = locked(&self.seen).misnamed.join("; ");
        ANSWER_NAMES_THE_CALLER.require(misnamed.is_empty(), misnamed.clone())
    }

    /// This answer names the right user, whatever its status.
    fn names_the_caller(&self, got: &Got) -> Proof {
        let (named, has_id) = (got.name.as_deref() == Some(got.user), got.log_id.is_some());
        let id = if has_id { "" } else { " and no `x-log-id`" };
        let told = format!("the {} of {} has `x-user: {}`{id}", got.status.as_u16(), person(got.user), got.named());
        ANY_PATH.require(named && has_id, told)
    }

    /// Of each line of the log that has both.
    fn users_and_ids(&self) -> Vec<(String, String)> {
        let lines = self.scene.logs();
        let field = |line: &lab::LogLine, name: &str| {
            let around = line.spans.iter().rev().flat_map(|span| &span.fields);
            let value = line.fields.iter().chain(around).find(|(key, _)| key == name);
            value.map(|(_, value)| value.trim_matches('"').to_owned())
        };
        lines.iter().filter_map(|line| Some((field(line, "user")?, field(line, "log_id")?))).collect()
    }

    /// The log has a line for each of the questions that belong to each answer, and none that mixes two requests.
    fn log_lines(&self, answers: &[&Got], questions: usize) -> Proof {
        let lines = self.users_and_ids();
        let owner = |id: &str| answers.iter().find(|got| got.log_id.as_deref() == Some(id));
        for (user, id) in &lines {
            let told = format!("a line of the log has the user {user:?} and {}", self.scene.id(id));
            let told = match owner(id) {
                Some(got) => format!("{told}, which is the id of {}'s answer", person(got.user)),
                None => format!("{told}, which is the id of no answer"),
            };
            LOG_FIELDS.require(owner(id).is_some_and(|got| got.user == user), told)?;
        }
        for got in answers {
            let count = lines.iter().filter(|(_, id)| got.log_id.as_ref() == Some(id)).count();
            let asked = if questions == 1 { "once" } else { "twice" };
            let told = format!(
                "the log has {count} lines with user and log id of {}'s request, which asked {asked}",
                person(got.user)
            );
            LOG_FIELDS.require(count >= questions, told)?;
        }
        Ok(())
    }

    /// All that was said about a user, in questions and in answers, named the right one.
    fn names(&self, all: &[&Got]) -> Proof {
        let mut wrong = locked(&self.seen).misnamed.clone();
        for got in all {
            let due = if got.user == "dora" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            if got.status != due {
                wrong.push(format!("the answer to {} is {}", person(got.user), got.status.as_u16()));
            } else if got.name.as_deref() != Some(got.user) {
                wrong.push(format!("the answer to {} says `x-user: {}`", person(got.user), got.named()));
            }
        }
        ANSWER_NAMES_THE_CALLER.require(wrong.is_empty(), wrong.join("; "))
    }

    /// The access log has one entry for each of `answers`, and nothing else but entries of those who got none.
    async fn logged(&self, answers: &[Got], given_up: &[&str]) -> Proof {
        // An entry may be written when the answer's body is gone.
        self.scene.settle().await;
        let entries = std::mem::take(&mut locked(&self.seen).entries);
        let mut left: Vec<&Entry> = entries.iter().collect();
        let told = |entries: &[&Entry]| -> String {
            let told = entries
                .iter()
                .map(|(user, id, status)| format!("({user:?}, {}, {})", self.scene.id(id), status.as_u16()));
            let told: Vec<String> = told.collect();
            if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
        };
        for got in answers {
            let id = got.log_id.as_deref().unwrap_or_default();
            let fits = |entry: &&Entry| entry.0 == got.user && entry.1 == id && entry.2 == got.status;
            let Some(place) = left.iter().position(fits) else {
                return Err(Broken::because(format!(
                    "the answer to {} is {} and carries {}, but the access log has {}",
                    person(got.user),
                    got.status.as_u16(),
                    got.log_id.as_deref().map_or("no log id".to_owned(), |id| self.scene.id(id)),
                    told(&entries.iter().collect::<Vec<_>>()),
                )));
            };
            left.remove(place);
        }
        left.retain(|(user, ..)| !given_up.contains(&user.as_str()));
        let observed = format!("the access log has {} for which there was no answer", told(&left));
        ACCESS_LOG_NAMES_THE_CALLER.require(left.is_empty(), observed)
    }
}

impl Visit {
    /// Waits for the answer, with its body.
    async fn ended(self, desk: &Desk) -> Result<Got, Broken> {
        let head = self.pending.answer().await?;
        let mut got = answered(head).await;
        got.user = self.user;
        if let Some(id) = &got.log_id {
            desk.scene.id(id);
        }
        let waiting = &mut locked(&desk.seen).waiting;
        if let Some(place) = waiting.iter().position(|user| *user == self.user) {
            waiting.remove(place);
        }
        Ok(got)
    }
}

impl Got {
    fn named(&self) -> &str {
        self.name.as_deref().map_or("(missing)", |name| if name.is_empty() { "(empty)" } else { name })
    }
}

async fn answered(answer: Answer) -> Got {
    let name = answer.headers().contains_key("x-user").then(|| users(answer.headers()));
    let log_id = answer.header("x-log-id").map(str::to_owned);
    let got = Got { user: "", status: answer.status(), name, log_id };
    answer.read().await;
    got
}

/// What the warehouse has for those to whom the desk cannot show it.
fn refusal(user: &str) -> &'static str {
    match user {
        "frank" => "a 404",
        "mallory" => "a 409",
        "grace" => "a list of one byte more than 64 KiB",
        "olga" => "a list of a MiB, and does not say how long it is,",
        _ => "a list that is not UTF-8",
    }
}

/// A list of a byte less than 64 KiB.
fn long_list() -> String {
    "x".repeat(64 * 1024 - 1)
}

/// The page of a user whom the warehouse has something for.
fn page_of(user: &str) -> String {
    if user == "heidi" { long_list().repeat(2) } else { format!("orders of {user}\nparcels of {user}\n") }
}

/// A question that has no answer yet.
struct Open(Arc<Mutex<Seen>>);

impl Open {
    fn of(seen: &Arc<Mutex<Seen>>) -> Self {
        locked(seen).open += 1;
        Self(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        locked(&self.0).open -= 1;
    }
}

/// Takes its time for Ada, more for Judy and none for Eve, fails for Dora and others, and notes who is asked about.
fn warehouse(scene: &Scene, seen: &Arc<Mutex<Seen>>) -> Router {
    let (scene, seen) = (scene.clone(), seen.clone());
    Router::new().fallback(move |request: Request| {
        let (scene, seen) = (scene.clone(), seen.clone());
        async move {
            let (path, user) = (request.uri().path().to_owned(), users(request.headers()));
            scene.note("warehouse", format!("is asked for {path} of {user:?}"));
            locked(&seen).asked(&path, &user, scene.now_ms());
            let _open = Open::of(&seen);
            match user.as_str() {
                "ada" => sleep(SLOW).await,
                "judy" => sleep(PATIENT).await,
                "eve" => {}
                _ => sleep(QUICK).await,
            }
            match user.as_str() {
                "dora" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                "frank" => StatusCode::NOT_FOUND.into_response(),
                "mallory" => StatusCode::CONFLICT.into_response(),
                "heidi" => long_list().into_response(),
                "grace" => (long_list() + "xx").into_response(),
                "olga" => {
                    let pieces = stream::repeat_with(|| Ok::<_, Infallible>(long_list()));
                    Body::from_stream(pieces.take(16)).into_response()
                }
                "ivan" => vec![0xff, 0xfe].into_response(),
                _ => format!("{} of {user}\n", path.trim_start_matches('/')).into_response(),
            }
        }
    })
}

impl Seen {
    fn asked(&mut self, path: &str, user: &str, at_ms: u64) {
        self.questions += 1;
        if !self.waiting.contains(&user) {
            let waiting: Vec<String> = self.waiting.iter().map(|user| person(user)).collect();
            let waiting =
                if waiting.is_empty() { "nobody".to_owned() } else { format!("only {}", waiting.join(" and ")) };
            self.misnamed
                .push(format!("at {at_ms} ms, when {waiting} waited, the warehouse was asked for {path} of {user:?}"));
        }
    }
}

/// What `x-user` says; a second one is not hidden behind the first.
fn users(headers: &HeaderMap) -> String {
    let users = headers.get_all("x-user").iter().map(|user| String::from_utf8_lossy(user.as_bytes()));
    users.collect::<Vec<_>>().join(", ")
}

fn asking(user: Option<&str>) -> Request {
    let mut request = Request::get("/orders");
    if let Some(user) = user {
        request = request.header("authorization", format!("Bearer {user}"));
    }
    request.body(Body::empty()).expect("a request that never changes")
}

/// The name as it is written in a sentence.
fn person(user: &str) -> String {
    let (first, rest) = user.split_at(1.min(user.len()));
    first.to_uppercase() + rest
}

fn before_the_fault(broken: Broken) -> Broken {
    Broken::because(format!("even before the fault: {broken}"))
}

// ===== Polls from other threads =====

/// The app, each of whose polls happens on a new thread, one after another.
fn moved_between_threads(app: &App, scene: &Scene) -> App {
    let (app, scene) = (app.clone(), scene.clone());
    Arc::new(move |warehouse, access_log| {
        let (app, scene) = (app(warehouse, access_log), scene.clone());
        Router::new().fallback(move |request: Request| {
            let inner = Box::pin(app.clone().oneshot(request));
            let moved = Moved { inner, scene: scene.clone() };
            async move {
                let Ok(answer) = moved.await;
                answer
            }
        })
    })
}

struct Moved<F> {
    inner: Pin<Box<F>>,
    scene: Scene,
}

impl<F> Future for Moved<F>
where
    F: Future<Output = Result<Response, std::convert::Infallible>> + Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let waker = cx.waker().clone();
        let scene = self.scene.clone();
        let inner = self.inner.as_mut();
        scene.on_another_thread(|| inner.poll(&mut Context::from_waker(&waker)))
    }
}
