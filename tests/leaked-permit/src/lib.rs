//! The specification of `leaked-permit`: a stock query service over a pool of connections, which must have as many after
//! any number of bad ends as before.
//!
//! The specification is the database. A request can be held at each of its three steps (the dial, the first query, the
//! second) and ended there in each way; what the pool is worth afterwards is seen from what the next requests get.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use axum::{BoxError, Router, body::Body, extract::Request, http::StatusCode, response::Response};
use futures_util::poll;
use http_body_util::BodyExt;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::sleep};
use tower::{
    ServiceExt, service_fn,
    util::{BoxCloneSyncService, BoxService},
};

use lab::{
    Asked, Broken, Connection, End, Ghost, Lab, Leaving, Limits, Pending, Proof, Protocol, Report, Scene, Server,
    Specification, control,
    hammer::{Force, Hammered},
};

mod hammer;

pub use hammer::hammer;

/// A connection to the database: `stock {item}` fetches the first rows of an item and `more` the next, until there are none.
pub type Dialled = BoxService<String, Vec<String>, BoxError>;

/// Dials a connection.
pub type Connect = BoxCloneSyncService<(), Dialled, BoxError>;

/// Makes the app under test from the number of its connections, the longest wait for one, and how one is dialled.
pub type App = Arc<dyn Fn(usize, Duration, Connect) -> Router + Send + Sync>;

/// How long a request waits for a connection, unless a scene says otherwise.
const WAIT_MS: u64 = 1000;

const CAPACITY_IS_KEPT: Asked = Asked::new(
    "capacity-is-kept",
    "After ten times as many requests as there are places, however badly they ended, as many connections can be had \
     at once as before.",
);
const ONE_REQUEST_PER_CONNECTION: Asked =
    Asked::new("one-request-per-connection", "A connection serves one request at a time, however long that takes.");
const RELEASE_WAKES_A_WAITER: Asked =
    Asked::new("release-wakes-a-waiter", "However a request ends, its place goes at once to one that's waiting.");
const GRANT_IS_PASSED_ON: Asked = Asked::new(
    "grant-is-passed-on",
    "If a request is granted a place and then goes away, the place goes to the next one.",
);
const SPOILT_IS_NOT_USED_AGAIN: Asked =
    Asked::new("spoilt-is-not-used-again", "A connection that broke, or was left halfway, isn't used again.");
const WAIT_IS_BOUNDED: Asked = Asked::new(
    "wait-is-bounded",
    "A wait ends after `wait`, with a 503 that names the limit and the wait. `wait` bounds only the waiting, not a \
     dial or a query.",
);
const HELD_TO_THE_LAST_ROW: Asked =
    Asked::new("held-to-the-last-row", "A place is held until the answer has its last row.");
const NO_MORE_THAN_SIZE: Asked = Asked::new(
    "no-more-than-size",
    "There are never more connections than places, even after a day, and a clean connection is used again.",
);
const WHAT_HAPPENED_IS_TOLD: Asked = Asked::new(
    "what-happened-is-told",
    "A request that's served gets its own rows, all of them. A query or a dial that fails never becomes a 200 \
     without rows, or a list that looks complete.",
);
const ROWS_COME_AS_FETCHED: Asked = Asked::new(
    "rows-come-as-fetched",
    "The first rows reach the client before the next are fetched, and rows that the client doesn't read aren't \
     fetched.",
);
const HOLDERS_ARE_NAMED: Asked = Asked::new(
    "holders-are-named",
    "The 503 names each request that has a connection, by its `x-request-id`, and no other.",
);

const FAILURE_BEFORE_THE_ROWS: Asked = Asked::new(
    "failure-before-the-rows",
    "A dial or a query that fails before the first row is answered 502; one that panics gets a 5xx or no answer.",
);
const NINE_TENTHS: Asked =
    Asked::new("nine-tenths", "A request that's told 503 has waited for at least nine tenths of `wait`.");
const IN_DIGITS: Asked =
    Asked::new("in-digits", "The text of the 503 gives the number of places, and the wait in milliseconds, in digits.");
const ONE_MIB_AHEAD: Asked =
    Asked::new("one-mib-ahead", "At most one MiB of the rows that a client doesn't read is fetched ahead.");
const A_DIAL_MAY_END: Asked = Asked::new(
    "a-dial-may-end",
    "A dial may go on when its client no longer waits for it; its place counts as free when the dial is over.",
);
const REFUSED_IS_CLEAN: Asked = Asked::new(
    "refused-is-clean",
    "A connection whose first query was refused with another error than `broken` is clean; one whose later query was \
     refused may be used again, or closed.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(usize, Duration, Connect) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(CAPACITY_IS_KEPT, capacity_is_kept)
        .promise(ONE_REQUEST_PER_CONNECTION, one_request_per_connection)
        .promise(RELEASE_WAKES_A_WAITER, release_wakes_a_waiter)
        .promise(GRANT_IS_PASSED_ON, grant_is_passed_on)
        .promise(SPOILT_IS_NOT_USED_AGAIN, spoilt_is_not_used_again)
        .promise(WAIT_IS_BOUNDED, wait_is_bounded)
        .promise(HELD_TO_THE_LAST_ROW, held_to_the_last_row)
        .promise(NO_MORE_THAN_SIZE, no_more_than_size)
        .promise(WHAT_HAPPENED_IS_TOLD, what_happened_is_told)
        .promise(ROWS_COME_AS_FETCHED, rows_come_as_fetched)
        .promise(HOLDERS_ARE_NAMED, holders_are_named)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "leaked-permit";
    type App = fn(usize, Duration, Connect) -> Router;
    type StandIns = (usize, Duration, Connect);
    const ASKED: &'static [Asked] =
        &[FAILURE_BEFORE_THE_ROWS, NINE_TENTHS, IN_DIGITS, ONE_MIB_AHEAD, A_DIAL_MAY_END, REFUSED_IS_CLEAN];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// Two places, a wait of two seconds, and a database in memory that says on stderr what it is asked: a page of rows takes it
    /// 300 ms; `mugs` are refused, and `plates` break the connection.
    fn stand_ins() -> Self::StandIns {
        let dialled = Arc::new(Mutex::new(0));
        let connect = service_fn(move |()| {
            let number = {
                let mut dialled = locked(&dialled);
                *dialled += 1;
                *dialled
            };
            lab::say(format_args!("database: connection {number} is dialled"));
            let mut pages = 0;
            let connection = service_fn(move |query: String| {
                lab::say(format_args!("database: connection {number} is asked: {query}"));
                pages = if query == "more" { pages + 1 } else { 1 };
                let page = pages;
                async move {
                    sleep(Duration::from_millis(300)).await;
                    match query.as_str() {
                        "stock mugs" => Err(BoxError::from("refused")),
                        "stock plates" => Err(BoxError::from("broken")),
                        _ if page > 3 => Ok(Vec::new()),
                        _ => Ok(vec![format!("{page} on shelf {page}")]),
                    }
                }
            });
            async move { Ok::<_, BoxError>(BoxService::new(connection)) }
        });
        (2, Duration::from_secs(2), BoxCloneSyncService::new(connect))
    }

    fn serve(app: Self::App, (size, wait, connect): Self::StandIns) -> Router {
        app(size, wait, connect)
    }
}

// ===== The promises =====

async fn capacity_is_kept(lab: Lab, app: App) -> Proof {
    for end in QUERIES.iter().chain(DIALS) {
        let stage = Stage::open(&lab, &app, Protocol::Http1, 2, format!("20 requests: {}", end.title)).await;
        for round in 0..10 {
            let names = ["ada", "ben"].map(|name| format!("{name}-{round}"));
            stage.all_end(&names, end).await;
            control(round > 0 || stage.database.has_come_to(end.step), "no request came to the database")?;
        }
        stage.has_all_places().await?;
    }
    for (title, patience_ms) in [("20 leave while they wait", 1), ("20 wait in vain", 2 * WAIT_MS)] {
        let stage = Stage::open(&lab, &app, Protocol::Http1, 2, title).await;
        stage.works().await?;
        for name in ["ada", "ben"] {
            drop(stage.ask_in_process(name, Step::First, Fate::Rows));
        }
        let waiting: Vec<_> =
            (0..20).map(|number| stage.ask_in_process(&format!("cem-{number}"), Step::First, Fate::Rows)).collect();
        sleep(Duration::from_millis(patience_ms)).await;
        waiting.iter().for_each(JoinHandle::abort);
        stage.scene.settle().await;
        stage.open_gate("ada");
        stage.open_gate("ben");
        stage.scene.settle().await;
        stage.has_all_places().await?;
    }
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 2, "one bad end after another").await;
        for end in DIALS.iter().chain(QUERIES) {
            let ada = stage.hold("ada", end.step, end.fate).await;
            let ben = stage.hold("ben", end.step, end.fate).await;
            stage.end(ada, end).await;
            stage.end(ben, end).await;
        }
        stage.has_all_places().await?;
    }
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 2, "clients leave without reading their rows").await;
        for _ in 0..3 {
            let ada = stage.hold(ENDLESS, Step::None, Fate::Rows).await;
            sleep(Duration::from_millis(WAIT_MS)).await;
            stage.leave(ada);
            stage.scene.settle().await;
        }
        stage.has_all_places().await?;
        for who in ["ada", "ben"] {
            let (stage, moments) = one_leaves(&lab, &app, protocol, who, None).await?;
            stage.has_all_places().await?;
            for moment in moments {
                let (stage, _) = one_leaves(&lab, &app, protocol, who, Some(&moment)).await?;
                stage.has_all_places().await?;
            }
        }
    }
    Ok(())
}

/// Ada has the only connection, ben waits for it, and one of them leaves at that moment, if there is one. Tells the moments at
/// which they may.
async fn one_leaves(
    lab: &Lab,
    app: &App,
    protocol: Protocol,
    who: &str,
    moment: Option<&Leaving>,
) -> Result<(Stage, Vec<Leaving>), Broken> {
    let title = moment.map_or_else(|| format!("{who} stays"), |moment| format!("{who}: {moment}"));
    let stage = Stage::open_apart(lab, app, protocol, 1, WAIT_MS, title);
    let mut connections = Vec::new();
    for name in ["ada", "ben"] {
        let connection = stage.server.connect(name, protocol).await;
        if let Some(moment) = moment.filter(|_| name == who) {
            connection.leaves_at(moment);
        }
        connections.push(connection);
    }
    let mut answers = Vec::new();
    for (name, connection) in ["ada", "ben"].into_iter().zip(connections) {
        stage.database.plan(name, Step::Second, Fate::Rows);
        // Who leaves early has left before asking.
        let (pending, scene) = (connection.begin(get(name)), stage.scene.clone());
        answers.push((name, connection, stage.scene.spawn(async move { told(&scene, pending).await })));
        stage.scene.settle().await;
    }
    for name in ["ada", "ben"] {
        sleep(Duration::from_millis(WAIT_MS / 4)).await;
        stage.open_gate(name);
        stage.scene.settle().await;
    }
    let moments = stage.scene.moments_to_leave();
    for (name, connection, answer) in answers {
        match moment {
            None => {
                let told = outcome(answer).await?;
                let whole = told.status == StatusCode::OK && told.text == rows_of(name);
                control(whole, format!("{name} was told {}: {:?}", told.status.as_u16(), told.text))?;
            }
            Some(_) => answer.abort(),
        }
        connection.leave();
    }
    stage.scene.settle().await;
    Ok((stage, moments))
}

async fn one_request_per_connection(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 2, "six requests, two connections").await;
        stage.works().await?;
        let mut callers = Vec::new();
        for name in ["ada", "ben", "cem", "dora", "emil", "fay"] {
            callers.push(stage.hold(name, Step::Second, Fate::Rows).await);
        }
        while !callers.is_empty() {
            // Nobody has promised that who came first is served first.
            let served = callers.iter().position(|caller| stage.database.was_asked(&caller.name));
            stage.finish(callers.remove(served.unwrap_or_default())).await?;
        }
        stage.database.nothing_overlapped()?;

        let stage = Stage::open(&lab, &app, protocol, 2, "a client that does not read its rows").await;
        stage.works().await?;
        let slow = stage.hold(LARGE, Step::None, Fate::Rows).await;
        control(slow.pending.is_answered(), "a client was not told that its rows begin")?;
        let ben = stage.hold("ben", Step::First, Fate::Rows).await;
        stage.database.nothing_overlapped()?;
        stage.finish(ben).await?;
        stage.leave(slow);

        let stage = Stage::open(&lab, &app, protocol, 1, "an answer that takes an hour").await;
        stage.works().await?;
        stage.scene.patience(Duration::from_secs(7200));
        let ada = stage.hold("ada", Step::Second, Fate::Rows).await;
        sleep(Duration::from_secs(3600)).await;
        let ben = stage.hold("ben", Step::First, Fate::Rows).await;
        stage.open_gate("ada");
        stage.scene.settle().await;
        stage.database.nothing_overlapped()?;
        stage.finish(ada).await?;
        stage.finish(ben).await?;
    }
    Ok(())
}

async fn release_wakes_a_waiter(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        // What the client does not bring about is the same on both.
        let both = |end: &&BadEnd| protocol == Protocol::Http1 || [Fate::Rows, Fate::Left].contains(&end.fate);
        for end in [GOOD_END].iter().chain(QUERIES).chain(DIALS).filter(both) {
            let stage = Stage::open(&lab, &app, protocol, 1, format!("two wait: {}", end.title)).await;
            if end.step != Step::Dial {
                stage.works().await?;
            }
            let ada = stage.hold("ada", end.step, end.fate).await;
            let mut waiting = Vec::new();
            for name in ["ben", "cem"] {
                waiting.push(stage.hold(name, Step::First, Fate::Rows).await);
            }
            let at_ms = stage.end(ada, end).await;
            let passed_on = stage.one_is_served(&waiting, at_ms, "ada's request is over");
            if passed_on.is_err() {
                stage.tell_what_is_left().await;
            }
            passed_on?;
            let served = waiting.iter().position(|caller| stage.database.was_asked(&caller.name)).unwrap_or_default();
            let (first, second) = (waiting.remove(served), waiting.remove(0));
            let at_ms = stage.scene.now_ms();
            stage.finish(first).await?;
            stage.one_is_served(std::slice::from_ref(&second), at_ms, "the next request is over")?;
            stage.finish(second).await?;
        }
    }
    Ok(())
}

async fn grant_is_passed_on(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (fate, title) in [(Fate::Rows, "a good connection"), (Fate::Broken, "a broken connection")] {
            for (order, who) in [(["ben", "cem"], "the first waiter"), (["cem", "ben"], "the second waiter")] {
                let title = format!("{who} is granted the place of {title}, and goes away");
                let stage = Stage::open(&lab, &app, protocol, 1, title).await;
                stage.works().await?;
                let ada = stage.hold("ada", Step::First, fate).await;
                let (mut ben, mut cem) = (stage.by_hand("ben"), None);
                for name in order {
                    if name == "ben" {
                        // Nobody polls it again: granted or not, it has not fetched what it waits for when it is dropped.
                        let waits = poll!(&mut ben).is_pending();
                        control(waits, "a request was answered while the only connection was in use")?;
                    } else {
                        cem = Some(stage.hold("cem", Step::First, Fate::Rows).await);
                    }
                }
                stage.open_gate(&ada.name);
                stage.scene.settle().await;
                stage.scene.note("ben", "goes away");
                drop(ben);
                stage.scene.settle().await;
                GRANT_IS_PASSED_ON.require(
                    stage.database.was_asked("cem"),
                    "the place came back while ben and cem waited, ben went away, and cem did not get it",
                )?;
                if let Some(cem) = cem {
                    stage.finish(cem).await?;
                }
            }
        }
        let stage = Stage::open(&lab, &app, protocol, 1, "the only waiter goes away").await;
        stage.works().await?;
        let ada = stage.hold("ada", Step::First, Fate::Rows).await;
        let mut ben = stage.by_hand("ben");
        let waits = poll!(&mut ben).is_pending();
        control(waits, "a request was answered while the only connection was in use")?;
        stage.finish(ada).await?;
        stage.scene.note("ben", "goes away");
        drop(ben);
        let cem = stage.hold("cem", Step::First, Fate::Rows).await;
        GRANT_IS_PASSED_ON.require(
            stage.database.was_asked("cem"),
            "the place came back while ben waited, ben went away, and cem, who came after that, did not get it",
        )?;
        stage.finish(cem).await?;
    }
    Ok(())
}

async fn spoilt_is_not_used_again(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let spoils = |end: &&BadEnd| end.fate != Fate::Refused;
        // What the client does not bring about is the same on both.
        let both = |end: &&BadEnd| protocol == Protocol::Http1 || end.fate == Fate::Left;
        for end in QUERIES.iter().filter(spoils).filter(both) {
            let stage = Stage::open(&lab, &app, protocol, 1, end.title).await;
            stage.works().await?;
            let ada = stage.hold("ada", end.step, end.fate).await;
            control(stage.database.has_come_to(end.step), "ada's request did not come to the database")?;
            stage.end(ada, end).await;
            for name in ["ben", "cem"] {
                let caller = stage.ask(name, Step::None, Fate::Rows).await;
                sleep(Duration::from_millis(2 * WAIT_MS)).await;
                stage.database.nothing_spoilt_was_used()?;
                stage.leave(caller);
            }
        }
        for who in ["ada", "ben"] {
            let (_, moments) = one_leaves(&lab, &app, protocol, who, None).await?;
            for moment in moments {
                let (stage, _) = one_leaves(&lab, &app, protocol, who, Some(&moment)).await?;
                let cem = stage.hold("cem", Step::None, Fate::Rows).await;
                stage.database.nothing_of_another(SPOILT_IS_NOT_USED_AGAIN)?;
                stage.leave(cem);
            }
        }
        let stage = Stage::open(&lab, &app, protocol, 1, "the client leaves between two pages").await;
        stage.works().await?;
        let ada = stage.hold(ENDLESS, Step::None, Fate::Rows).await;
        control(ada.pending.is_answered(), "a client was not told that its rows begin")?;
        sleep(Duration::from_millis(WAIT_MS)).await;
        stage.leave(ada);
        stage.scene.settle().await;
        for name in ["ben", "cem"] {
            let caller = stage.hold(name, Step::None, Fate::Rows).await;
            stage.database.nothing_of_another(SPOILT_IS_NOT_USED_AGAIN)?;
            stage.leave(caller);
        }
    }
    Ok(())
}

async fn wait_is_bounded(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 1, "a query that takes longer than the wait").await;
        stage.works().await?;
        let ada = stage.hold("ada", Step::First, Fate::Rows).await;
        sleep(Duration::from_millis(5 * WAIT_MS)).await;
        stage.finish(ada).await?;

        let stage = Stage::open(&lab, &app, protocol, 1, "a dial that takes longer than the wait").await;
        let ada = stage.hold("ada", Step::Dial, Fate::Rows).await;
        control(stage.database.has_come_to(Step::Dial), "ada's request did not come to the dial")?;
        sleep(Duration::from_millis(5 * WAIT_MS)).await;
        let late = !ada.pending.is_answered();
        WAIT_IS_BOUNDED.require(
            late,
            "ada had a place, her dial took longer than the wait, and she was answered before it was over",
        )?;
        stage.database.open_dials();
        stage.finish(ada).await?;

        for at_ms in [WAIT_MS - 1, WAIT_MS, WAIT_MS + 1] {
            let title = format!("a place comes back {at_ms} ms after ben began to wait");
            let stage = Stage::open(&lab, &app, protocol, 1, title).await;
            stage.works().await?;
            let ada = stage.hold("ada", Step::First, Fate::Rows).await;
            let ben = stage.told("ben", Step::None).await;
            sleep(Duration::from_millis(at_ms)).await;
            stage.finish(ada).await?;
            let told = outcome(ben).await?;
            let (served, asked) = (told.status == StatusCode::OK, stage.database.was_asked("ben"));
            // At the very limit either is right.
            WAIT_IS_BOUNDED.require(
                served == asked && (served || at_ms >= WAIT_MS) && (!served || at_ms <= WAIT_MS),
                format!("ben was told {}, and the database was asked for his rows: {asked}", told.status.as_u16()),
            )?;
            stage.has_all_places().await?;
        }

        let stage = Stage::open_with(&lab, &app, protocol, 3, 700, "three places are taken").await;
        stage.works().await?;
        let mut holders = Vec::new();
        for name in ["ada", "ben", "cem"] {
            holders.push(stage.hold(name, Step::First, Fate::Rows).await);
        }
        for name in ["dora", "emil"] {
            let told = outcome(stage.told(name, Step::None).await).await?;
            told.waited_in_vain(name, 700)?;
            let words: Vec<&str> = told.text.split(|letter: char| !letter.is_ascii_digit()).collect();
            let named = words.contains(&"3") && words.contains(&"700");
            IN_DIGITS
                .require(named, format!("the 503 does not name both 3 places and a wait of 700 ms: {:?}", told.text))?;
        }
        drop(holders);

        let stage = Stage::open(&lab, &app, protocol, 1, "a place comes back while two wait").await;
        stage.works().await?;
        let ada = stage.hold("ada", Step::First, Fate::Rows).await;
        let ben = stage.told("ben", Step::First).await;
        sleep(Duration::from_millis(100)).await;
        let cem = stage.told("cem", Step::First).await;
        sleep(Duration::from_millis(500)).await;
        stage.finish(ada).await?;
        sleep(Duration::from_millis(5 * WAIT_MS)).await;
        for (name, told, other) in [("ben", ben, "cem"), ("cem", cem, "ben")] {
            if stage.database.was_asked(name) {
                stage.open_gate(name);
                stage.scene.settle().await;
                let told = outcome(told).await?;
                WAIT_IS_BOUNDED
                    .require(told.status == 200, format!("{name} had the connection and was told {}", told.status))?;
            } else {
                control(stage.database.was_asked(other), "the place came back, and nobody got it")?;
                WAIT_IS_BOUNDED.require(
                    told.is_finished(),
                    format!("{name} is still waiting after more than five times the wait"),
                )?;
                let told = outcome(told).await?;
                told.waited_in_vain(name, WAIT_MS)?;
            }
        }
    }

    // Who came first need not be served first, and waits no longer for it.
    let stage = Stage::open(&lab, &app, Protocol::Http1, 1, "cem comes when ben was woken and not polled yet").await;
    stage.works().await?;
    let ada = stage.rows_of_ada().await?;
    let ben = stage.told("ben", Step::First).await;
    sleep(Duration::from_millis(600)).await;
    stage.database.plan("cem", Step::First, Fate::Rows);
    let mut cem = stage.by_hand("cem");
    drop(ada);
    control(poll!(&mut cem).is_pending(), "cem was answered before the database was")?;
    stage.scene.settle().await;
    if !stage.database.was_asked("ben") {
        sleep(Duration::from_millis(5 * WAIT_MS)).await;
        WAIT_IS_BOUNDED.require(ben.is_finished(), "ben is still waiting after more than five times the wait")?;
        outcome(ben).await?.waited_in_vain("ben", WAIT_MS)?;
    }
    Ok(())
}

async fn held_to_the_last_row(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 1, "the second page takes a day").await;
        stage.works().await?;
        let ada = stage.hold("ada", Step::Second, Fate::Rows).await;
        control(stage.database.has_come_to(Step::Second), "nobody asked for the second page")?;
        stage.scene.patience(2 * A_DAY);
        sleep(A_DAY).await;
        let ben = stage.hold("ben", Step::First, Fate::Rows).await;
        sleep(Duration::from_millis(WAIT_MS / 4)).await;
        HELD_TO_THE_LAST_ROW.require(
            !stage.database.was_asked("ben"),
            "ada's rows were still being fetched, there is one place, and ben had a connection as well",
        )?;
        stage.finish(ada).await?;
        HELD_TO_THE_LAST_ROW
            .require(stage.database.was_asked("ben"), "ada's answer had its last row, and ben was still waiting")?;
        stage.finish(ben).await?;
    }
    Ok(())
}

async fn no_more_than_size(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 2, "one request after another").await;
        stage.works().await?;
        for name in ["ada", "ben", "cem", "dora", "emil"] {
            let caller = stage.ask(name, Step::None, Fate::Rows).await;
            stage.finish(caller).await?;
        }
        let dialled = stage.database.dialled();
        NO_MORE_THAN_SIZE.require(
            dialled <= 2,
            format!("six requests came one after another, and {dialled} connections were dialled"),
        )?;

        let stage = Stage::open(&lab, &app, protocol, 2, "one refused request after another").await;
        stage.works().await?;
        for name in ["ada", "ben", "cem", "dora", "emil"] {
            let caller = stage.hold(name, Step::First, Fate::Refused).await;
            stage.end(caller, &QUERIES[0]).await;
        }
        let dialled = stage.database.dialled();
        REFUSED_IS_CLEAN.require(
            dialled <= 2,
            format!(
                "the queries of five requests were refused one after another, and {dialled} connections were dialled"
            ),
        )?;

        let stage = Stage::open(&lab, &app, protocol, 2, "six requests while the dial is slow").await;
        let mut callers = Vec::new();
        for name in ["ada", "ben", "cem", "dora", "emil", "fay"] {
            callers.push(stage.ask(name, Step::Dial, Fate::Rows).await);
        }
        stage.scene.settle().await;
        stage.database.no_more_than(2)?;
        stage.database.open_dials();
        for caller in callers.drain(..) {
            stage.finish(caller).await?;
        }
        stage.database.no_more_than(2)?;

        let stage = Stage::open(&lab, &app, protocol, 2, "a crowd after bad ends").await;
        for end in DIALS.iter().chain(QUERIES) {
            stage.all_end(&["ada".to_owned()], end).await;
        }
        for name in ["ben", "cem", "dora", "emil"] {
            callers.push(stage.hold(name, Step::Second, Fate::Rows).await);
        }
        stage.database.no_more_than(2)?;
        drop(callers);

        for (title, end) in [
            ("a day goes by after good ends", &GOOD_END),
            ("a day goes by after clients left", &QUERIES[2]),
            ("a day goes by after refusals", &QUERIES[0]),
        ] {
            let stage = Stage::open(&lab, &app, protocol, 1, title).await;
            stage.scene.patience(3 * A_DAY);
            for name in ["ada", "ben", "cem"] {
                let caller = stage.hold(name, end.step, end.fate).await;
                stage.end(caller, end).await;
            }
            sleep(A_DAY).await;
            let dora = stage.hold("dora", Step::First, Fate::Rows).await;
            sleep(A_DAY).await;
            let emil = stage.hold("emil", Step::First, Fate::Rows).await;
            stage.database.no_more_than(1)?;
            NO_MORE_THAN_SIZE.require(
                !stage.database.was_asked("dora") || !stage.database.was_asked("emil"),
                "there is one place, dora has had it for a day, and emil had a connection as well",
            )?;
            stage.leave(dora);
            stage.leave(emil);
        }
    }
    match taken_at_once(&lab, &app, "ada's rows were left halfway").await? {
        Some((stage, _ben)) => stage.database.no_more_than(1),
        None => Ok(()),
    }
}

async fn what_happened_is_told(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for end in QUERIES.iter().chain(DIALS).filter(|end| end.fate != Fate::Left) {
            let stage = Stage::open(&lab, &app, protocol, 2, end.title).await;
            if end.step != Step::Dial {
                stage.works().await?;
            }
            let ada = stage.hold("ada", end.step, end.fate).await;
            control(stage.database.has_come_to(end.step), "ada's request did not come to the database")?;
            stage.bring_about("ada", end);
            let Ok(answer) = ada.pending.answer().await else {
                let panicked = end.fate == Fate::Panic;
                FAILURE_BEFORE_THE_ROWS.require(panicked, format!("{}, and ada had no answer", end.title))?;
                continue;
            };
            let status = answer.status();
            let received = answer.listen().ended().await;
            if end.step == Step::Second && status == StatusCode::OK {
                let broke_off = received.end.is_none_or(|(_, end)| end == End::Error);
                WHAT_HAPPENED_IS_TOLD
                    .require(broke_off, format!("{}, and ada was told a list that looks complete", end.title))?;
                let came = received.text();
                WHAT_HAPPENED_IS_TOLD.require(
                    came.is_empty() || came == row_of("ada", 1) + "\n",
                    format!("{}, and of her rows ada had {came:?}", end.title),
                )?;
            } else {
                let told = match end.fate {
                    Fate::Panic => status.is_server_error(),
                    _ => status == StatusCode::BAD_GATEWAY,
                };
                FAILURE_BEFORE_THE_ROWS.require(
                    told,
                    format!("{}, and ada was told {}: {:?}", end.title, status.as_u16(), received.text()),
                )?;
            }
        }
        let stage = Stage::open(&lab, &app, protocol, 1, "an answer of 160 pages").await;
        stage.works().await?;
        let ada = stage.ask(ENDLESS, Step::None, Fate::Rows).await;
        let told = told(&stage.scene, ada.pending).await?;
        WHAT_HAPPENED_IS_TOLD.require(
            told.text == rows_of(ENDLESS),
            format!("of an answer of {} bytes ada had {}", rows_of(ENDLESS).len(), told.text.len()),
        )?;
    }
    Ok(())
}

async fn rows_come_as_fetched(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, 1, "the second page takes a while").await;
        stage.works().await?;
        let ada = stage.hold("ada", Step::Second, Fate::Rows).await;
        control(stage.database.was_asked("ada"), "ada's request did not come to the database")?;
        ROWS_COME_AS_FETCHED.require(
            ada.pending.is_answered(),
            "the first rows were fetched, and ada had no answer before the second page",
        )?;
        let listener = ada.pending.answer().await?.listen();
        stage.scene.settle().await;
        let came = listener.so_far().text();
        ROWS_COME_AS_FETCHED.require(
            came == row_of("ada", 1) + "\n",
            format!("the first rows were fetched, and before the second page ada had {came:?}"),
        )?;
        stage.open_gate("ada");
        let came = listener.ended().await.text();
        WHAT_HAPPENED_IS_TOLD.require(came == rows_of("ada"), format!("ada was told {came:?}"))?;

        let stage = Stage::open(&lab, &app, protocol, 2, "a client that does not read its rows").await;
        stage.works().await?;
        let ada = stage.hold(ENDLESS, Step::None, Fate::Rows).await;
        control(ada.pending.is_answered(), "a client was not told that its rows begin")?;
        sleep(Duration::from_millis(WAIT_MS)).await;
        let fetched = stage.database.pages();
        ONE_MIB_AHEAD.require(
            fetched <= 1024 / PAGE_KIB,
            format!("the client had read nothing, and {fetched} pages of {PAGE_KIB} KiB were fetched"),
        )?;
        stage.leave(ada);
        stage.scene.settle().await;
        let after = stage.database.pages();
        ONE_MIB_AHEAD.require(
            after <= fetched + 1,
            format!("the client had left, and {} more pages were fetched", after - fetched),
        )?;
    }
    Ok(())
}

async fn holders_are_named(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let ends = [&GOOD_END].into_iter().chain(QUERIES).chain(DIALS);
        // What the client does not bring about is the same on both.
        for end in ends.filter(|end| protocol == Protocol::Http1 || [Fate::Rows, Fate::Left].contains(&end.fate)) {
            let title = format!("two have the connections, and before that {}", end.title);
            let stage = Stage::open(&lab, &app, protocol, 2, title).await;
            if end.step != Step::Dial {
                stage.works().await?;
            }
            for name in ["past-1", "past-2"] {
                let past = stage.hold(name, end.step, end.fate).await;
                stage.end(past, end).await;
            }
            let ada = stage.hold("ada-7", Step::First, Fate::Rows).await;
            let ben = stage.hold("ben-8", Step::Second, Fate::Rows).await;
            if !stage.database.was_asked("ben-8") && end.fate != Fate::Rows {
                // Places were lost: that is another promise.
                continue;
            }
            control(stage.database.was_asked("ben-8"), "two of two connections could not be had")?;
            for name in ["cem-9", "dora-10"] {
                let told = outcome(stage.told(name, Step::None).await).await?;
                told.names(&["ada-7", "ben-8"], &["past-1", "past-2", "cem-9"])?;
            }
            stage.finish(ada).await?;
            let emil = stage.hold("emil-11", Step::First, Fate::Rows).await;
            let told = outcome(stage.told("fay-12", Step::None).await).await?;
            told.names(&["ben-8", "emil-11"], &["ada-7", "cem-9", "dora-10"])?;
            stage.finish(ben).await?;
            stage.finish(emil).await?;
        }

        let stage = Stage::open(&lab, &app, protocol, 2, "two have the same id").await;
        stage.works().await?;
        let ada = stage.hold("ada-7", Step::First, Fate::Rows).await;
        let again = stage.hold("ada-7", Step::First, Fate::Rows).await;
        stage.end(ada, &GOOD_END).await;
        let _ben = stage.hold("ben-8", Step::First, Fate::Rows).await;
        let told = outcome(stage.told("cem-9", Step::None).await).await?;
        told.names(&["ada-7", "ben-8"], &["cem-9"])?;
        drop(again);
    }
    let Some((stage, _ben)) = taken_at_once(&lab, &app, "the list of those who have a connection").await? else {
        return Ok(());
    };
    let told = outcome(stage.told("cem", Step::None).await).await?;
    told.names(&["ben"], &["ada", "cem"])
}

/// Ada leaves between two pages. Ben, who waits for her place, is polled on another thread the instant he is woken, while
/// whoever wakes him stands still. Nothing where he need not wait, or where the place is lost: those are other promises.
async fn taken_at_once(lab: &Lab, app: &App, title: &str) -> Result<Option<(Stage, Asking)>, Broken> {
    let title = format!("ben takes the place as it is given back: {title}");
    let stage = Stage::open(lab, app, Protocol::Http1, 1, title).await;
    stage.works().await?;
    let ada = stage.rows_of_ada().await?;
    stage.database.plan("ben", Step::First, Fate::Rows);
    let mut ben = stage.by_hand("ben");
    let eager = Arc::new(Eager { runtime: Handle::current(), waits: Mutex::default(), polled: Mutex::default() });
    if ben.as_mut().poll(&mut Context::from_waker(&Waker::from(eager.clone()))).is_ready() {
        return Ok(None);
    }
    *locked(&eager.waits) = Some(ben);
    stage.scene.note("ada", "leaves");
    drop(ada);
    stage.scene.settle().await;
    let polled = locked(&eager.polled).take().map(thread::JoinHandle::join);
    let waits = locked(&eager.waits).take();
    let mut ben = match (polled, waits) {
        (Some(Ok(ben)), _) | (None, Some(ben)) => ben,
        _ => return Err(Broken::because("ben was woken, and his request panicked")),
    };
    // A task may have had to run first.
    for _ in 0..2 {
        let _ = poll!(&mut ben);
        stage.scene.settle().await;
    }
    Ok(stage.database.was_asked("ben").then_some((stage, ben)))
}

/// A request that is polled by the specification only.
type Asking = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// How long whoever wakes a request stands still for it at most, by the wall clock: there may be a lock that both need, and
/// then the two cannot meet here.
const STANDS_STILL: Duration = Duration::from_millis(50);

/// Polls a request on another thread when it is woken for the first time.
struct Eager {
    runtime: Handle,
    waits: Mutex<Option<Asking>>,
    polled: Mutex<Option<thread::JoinHandle<Asking>>>,
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        let Some(mut waits) = locked(&self.waits).take() else { return };
        let runtime = self.runtime.clone();
        let (polls, polled) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let _entered = runtime.enter();
            // It is held up at the database, and has no answer.
            let _ = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(polls);
            waits
        });
        let _ = polled.recv_timeout(STANDS_STILL);
        *locked(&self.polled) = Some(thread);
    }
}

// ===== How a request goes =====

/// Where a request is held up, until its gate is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nowhere.
    None,
    /// At the dial of a connection.
    Dial,
    /// At its first query.
    First,
    /// At its second query, when the head of the answer is with the client.
    Second,
}

/// What the database does when the gate is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Rows,
    /// It refuses; the connection is as good as before.
    Refused,
    /// The connection breaks.
    Broken,
    /// It panics.
    Panic,
    /// The client leaves before that.
    Left,
}

/// Where and how a request ends.
#[derive(Clone, Copy)]
struct BadEnd {
    step: Step,
    fate: Fate,
    title: &'static str,
}

const GOOD_END: BadEnd = BadEnd { step: Step::First, fate: Fate::Rows, title: "the answer is complete" };

/// The bad ends of a request that has its connection.
const QUERIES: &[BadEnd] = &[
    BadEnd { step: Step::First, fate: Fate::Refused, title: "the query is refused" },
    BadEnd { step: Step::First, fate: Fate::Broken, title: "the connection breaks" },
    BadEnd { step: Step::First, fate: Fate::Left, title: "the client leaves during the query" },
    BadEnd { step: Step::First, fate: Fate::Panic, title: "the query panics" },
    BadEnd { step: Step::Second, fate: Fate::Refused, title: "the second page is refused" },
    BadEnd { step: Step::Second, fate: Fate::Broken, title: "the connection breaks at the second page" },
    BadEnd { step: Step::Second, fate: Fate::Left, title: "the client leaves before the second page" },
    BadEnd { step: Step::Second, fate: Fate::Panic, title: "the second page panics" },
];

/// The bad ends of a request that has a place, and no connection yet.
const DIALS: &[BadEnd] = &[
    BadEnd { step: Step::Dial, fate: Fate::Refused, title: "the dial fails" },
    BadEnd { step: Step::Dial, fate: Fate::Left, title: "the client leaves during the dial" },
    BadEnd { step: Step::Dial, fate: Fate::Panic, title: "the dial panics" },
];

/// An app in front of the database.
struct Stage {
    scene: Scene,
    server: Server,
    app: Router,
    database: Database,
    protocol: Protocol,
    size: usize,
    /// Where all clients of HTTP/2 are.
    shared: Option<Connection>,
}

/// A request that is on its way. On HTTP/1.1 it has a connection of its own.
struct Caller {
    name: String,
    connection: Connection,
    pending: Pending,
}

/// What a client was told, and when.
struct Told {
    status: StatusCode,
    text: String,
    after_ms: u64,
}

impl Stage {
    async fn open(lab: &Lab, app: &App, protocol: Protocol, size: usize, title: impl Into<String>) -> Self {
        Self::open_with(lab, app, protocol, size, WAIT_MS, title).await
    }

    async fn open_with(
        lab: &Lab,
        app: &App,
        protocol: Protocol,
        size: usize,
        wait_ms: u64,
        title: impl Into<String>,
    ) -> Self {
        let mut stage = Self::open_apart(lab, app, protocol, size, wait_ms, title);
        if protocol == Protocol::Http2 {
            stage.shared = Some(stage.server.connect("clients", protocol).await);
        }
        stage
    }

    /// A stage on which nobody has a connection yet.
    fn open_apart(
        lab: &Lab,
        app: &App,
        protocol: Protocol,
        size: usize,
        wait_ms: u64,
        title: impl Into<String>,
    ) -> Self {
        let scene = lab.scene(format!("{protocol}, {}", title.into()));
        let database = Database { scene: scene.clone(), books: Arc::default() };
        let app = app(size, Duration::from_millis(wait_ms), database.connect());
        let server = scene.serve(app.clone());
        Self { scene, server, app, database, protocol, size, shared: None }
    }

    /// Sees that a request has its rows. One that is to be held at its dial must be the first.
    async fn works(&self) -> Proof {
        let caller = self.ask("zoe", Step::None, Fate::Rows).await;
        let told = told(&self.scene, caller.pending).await?;
        let whole = told.status == StatusCode::OK && told.text == rows_of("zoe");
        control(whole, format!("zoe was told {}: {:?}", told.status.as_u16(), told.text))
    }

    /// Asks for the item of that name, which goes as it is said here.
    async fn ask(&self, name: &str, step: Step, fate: Fate) -> Caller {
        self.database.plan(name, step, fate);
        let connection = match &self.shared {
            Some(shared) => shared.clone(),
            None => self.server.connect(name, self.protocol).await,
        };
        let pending = connection.begin(get(name));
        Caller { name: name.to_owned(), connection, pending }
    }

    /// Like [`ask`](Self::ask), until nothing more happens by itself.
    async fn hold(&self, name: &str, step: Step, fate: Fate) -> Caller {
        let caller = self.ask(name, step, fate).await;
        self.scene.settle().await;
        caller
    }

    /// A request without a connection, which is polled by the specification only.
    fn by_hand(&self, name: &str) -> Asking {
        self.scene.note(name, "asks, and is polled by hand");
        Box::pin(self.app.clone().oneshot(get(name)))
    }

    /// The rest of ada's answer, of which the first row has come. She has no connection to the app.
    async fn rows_of_ada(&self) -> Result<Body, Broken> {
        self.scene.note("ada", "asks, without a connection");
        let Ok(answer) = self.app.clone().oneshot(get("ada")).await;
        let mut rows = answer.into_body();
        let first = rows.frame().await.is_some_and(|row| row.is_ok());
        control(first, "ada did not get her first row")?;
        Ok(rows)
    }

    /// Asks, and tells in the background what comes of it.
    async fn told(&self, name: &str, step: Step) -> JoinHandle<Result<Told, Broken>> {
        let caller = self.ask(name, step, Fate::Rows).await;
        let scene = self.scene.clone();
        self.scene.spawn(async move { told(&scene, caller.pending).await })
    }

    fn open_gate(&self, name: &str) {
        self.database.gate(name).notify_one();
    }

    /// Like [`ask`](Self::ask), without a connection, and tells whether all rows came. Who aborts the task leaves.
    fn ask_in_process(&self, name: &str, step: Step, fate: Fate) -> JoinHandle<bool> {
        self.database.plan(name, step, fate);
        let (answer, rows) = (self.app.clone().oneshot(get(name)), rows_of(name));
        self.scene.spawn(async move {
            let Ok(answer) = answer.await;
            answer.into_body().collect().await.is_ok_and(|body| body.to_bytes() == rows)
        })
    }

    /// Has as many requests as there are names, all without a connection, end as it is said there.
    async fn all_end(&self, names: &[String], end: &BadEnd) {
        let requests: Vec<_> = names.iter().map(|name| self.ask_in_process(name, end.step, end.fate)).collect();
        self.scene.settle().await;
        for (name, request) in names.iter().zip(requests) {
            if end.fate == Fate::Left {
                request.abort();
            }
            self.bring_about(name, end);
        }
        self.scene.settle().await;
        self.let_dials_end(end).await;
    }

    /// Has the request end as it is said there, and tells when that was.
    async fn end(&self, caller: Caller, end: &BadEnd) -> u64 {
        self.bring_about(&caller.name, end);
        let mut at_ms = self.scene.now_ms();
        if end.fate == Fate::Left {
            self.leave(caller);
            self.scene.settle().await;
            at_ms = self.let_dials_end(end).await.unwrap_or(at_ms);
        } else {
            self.scene.settle().await;
            drop(caller);
        }
        at_ms
    }

    /// A dial that nobody waits for any more has succeeded, if it was not given up; tells when that was. Nothing for the ends
    /// of other steps.
    async fn let_dials_end(&self, end: &BadEnd) -> Option<u64> {
        if end.step != Step::Dial || end.fate != Fate::Left {
            return None;
        }
        let at_ms = self.scene.now_ms();
        self.database.open_dials();
        self.scene.settle().await;
        Some(at_ms)
    }

    /// Opens the gate at which the request is held. One whose client leaves is left there.
    fn bring_about(&self, name: &str, end: &BadEnd) {
        match (end.fate, end.step) {
            (Fate::Left, _) => self.database.plan_dials(None),
            (_, Step::Dial) => self.database.open_dials(),
            _ => self.open_gate(name),
        }
    }

    fn leave(&self, caller: Caller) {
        match self.protocol {
            Protocol::Http1 => caller.connection.leave(),
            Protocol::Http2 => caller.pending.cancel(),
        }
    }

    /// Lets the request go on to its good end.
    async fn finish(&self, caller: Caller) -> Proof {
        self.open_gate(&caller.name);
        let (name, told) = (caller.name, told(&self.scene, caller.pending).await?);
        let whole = told.status == StatusCode::OK && told.text == rows_of(&name);
        WHAT_HAPPENED_IS_TOLD.require(whole, format!("{name} was told {}: {:?}", told.status.as_u16(), told.text))
    }

    /// Sees that as many requests as there are places have a connection at the same time, and one more after them.
    async fn has_all_places(&self) -> Proof {
        let names = ["xaver", "yann", "zita"];
        let mut requests = Vec::new();
        for name in names {
            requests.push(self.ask_in_process(name, Step::First, Fate::Rows));
        }
        self.scene.settle().await;
        let had = names.iter().filter(|name| self.database.was_asked(name)).count();
        let size = self.size;
        CAPACITY_IS_KEPT.require(had == size, format!("afterwards {had} of {size} connections can be had at once"))?;
        names.iter().for_each(|name| self.open_gate(name));
        for request in requests {
            let whole = request.await.is_ok_and(|whole| whole);
            WHAT_HAPPENED_IS_TOLD.require(whole, "afterwards a request does not get its rows")?;
        }
        Ok(())
    }

    /// Sees that one of those who wait has come to the database at this moment.
    /// Lets the wait of those who wait go by, and that of one who comes later: the transcript then says whether the place is
    /// late or lost.
    async fn tell_what_is_left(&self) {
        sleep(Duration::from_millis(2 * WAIT_MS)).await;
        let _dora = self.hold("dora", Step::First, Fate::Rows).await;
        sleep(Duration::from_millis(2 * WAIT_MS)).await;
    }

    fn one_is_served(&self, waiting: &[Caller], at_ms: u64, what: &str) -> Proof {
        let by_then =
            |caller: &Caller| self.database.asked_at_ms(&caller.name).is_some_and(|asked_ms| asked_ms <= at_ms);
        let served = waiting.iter().any(by_then);
        RELEASE_WAKES_A_WAITER.require(served, format!("{what}, and no waiter gets the place at once"))
    }
}

impl Told {
    fn waited_in_vain(&self, name: &str, wait_ms: u64) -> Proof {
        let (status, after_ms) = (self.status.as_u16(), self.after_ms);
        let observed =
            format!("{name} waited for a place and was told {status} after {after_ms} ms; the wait is {wait_ms} ms");
        let right = self.status == StatusCode::SERVICE_UNAVAILABLE && after_ms <= wait_ms;
        WAIT_IS_BOUNDED.require(right, observed.clone())?;
        NINE_TENTHS.require(after_ms * 10 >= wait_ms * 9, observed)
    }

    /// Sees that it is a 503 which names those who have a connection and nobody else.
    fn names(&self, holders: &[&str], others: &[&str]) -> Proof {
        let named = |id: &&&str| self.text.contains(**id);
        let right = holders.iter().all(|id| named(&id)) && !others.iter().any(|id| named(&id));
        HOLDERS_ARE_NAMED.require(
            self.status == StatusCode::SERVICE_UNAVAILABLE && right,
            format!(
                "{} have the connections, and a request that waited in vain was told {}: {:?}",
                holders.join(" and "),
                self.status.as_u16(),
                self.text
            ),
        )
    }
}

async fn told(scene: &Scene, pending: Pending) -> Result<Told, Broken> {
    let sent_ms = scene.now_ms();
    let answer = pending.answer().await?;
    let (status, after_ms) = (answer.status(), scene.now_ms() - sent_ms);
    Ok(Told { status, text: answer.read().await.text(), after_ms })
}

async fn outcome(told: JoinHandle<Result<Told, Broken>>) -> Result<Told, Broken> {
    told.await.unwrap_or_else(|_| Err(Broken::because("the client got no answer")))
}

fn get(name: &str) -> Request {
    Request::get(format!("/stock/{name}"))
        .header("x-request-id", name)
        .body(Body::empty())
        .expect("a path without spaces")
}

// ===== The database =====

/// What the app dials.
#[derive(Clone)]
struct Database {
    scene: Scene,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    plans: HashMap<String, (Step, Fate)>,
    gates: HashMap<String, Arc<Notify>>,
    /// What becomes of dials; `None` if they succeed at once.
    dials: Option<Fate>,
    dial_gate: Arc<Notify>,
    steps: Vec<Step>,
    asked: HashMap<String, u64>,
    connections: Vec<Known>,
    dialling: usize,
    live: usize,
    most: usize,
    overlap: Option<String>,
    misuse: Option<String>,
    /// How many pages of an endless item were asked for.
    pages: usize,
}

/// What the database knows of a connection.
#[derive(Default)]
struct Known {
    /// Whose rows it is about to fetch, and how many pages were asked for.
    open: Option<(String, usize)>,
    spoilt: Option<String>,
}

/// A connection that is open, until it is dropped.
struct OpenConnection {
    database: Database,
    number: usize,
}

/// A dial that goes on, until it is dropped.
struct OpenDial(Database);

/// A query that is being answered.
struct OpenQuery {
    database: Database,
    connection: usize,
    name: String,
    page: usize,
    answered: bool,
}

impl Database {
    fn connect(&self) -> Connect {
        let database = self.clone();
        BoxCloneSyncService::new(service_fn(move |()| database.clone().dial()))
    }

    async fn dial(self) -> Result<Dialled, BoxError> {
        let fate = {
            let mut books = locked(&self.books);
            books.dialling += 1;
            books.most = books.most.max(books.dialling + books.live);
            books.dials
        };
        let dialling = OpenDial(self.clone());
        self.scene.note("database", "is dialled");
        if let Some(fate) = fate {
            let gate = locked(&self.books).dial_gate.clone();
            locked(&self.books).steps.push(Step::Dial);
            gate.notified().await;
            match fate {
                Fate::Refused | Fate::Broken => return Err("the dial failed".into()),
                Fate::Panic => panic!("the dial panics"),
                Fate::Rows | Fate::Left => {}
            }
        }
        drop(dialling);
        let number = {
            let mut books = locked(&self.books);
            books.live += 1;
            books.connections.push(Known::default());
            books.connections.len()
        };
        let connection = OpenConnection { database: self, number };
        Ok(BoxService::new(service_fn(move |query: String| connection.begin(&query).answer())))
    }

    fn plan(&self, name: &str, step: Step, fate: Fate) {
        if step == Step::Dial {
            self.plan_dials(Some(fate));
        }
        locked(&self.books).plans.insert(name.to_owned(), (step, fate));
    }

    fn plan_dials(&self, fate: Option<Fate>) {
        locked(&self.books).dials = fate;
    }

    /// Lets go on what is being dialled; later dials succeed at once.
    fn open_dials(&self) {
        self.plan_dials(None);
        locked(&self.books).dial_gate.notify_waiters();
    }

    fn gate(&self, name: &str) -> Arc<Notify> {
        locked(&self.books).gates.entry(name.to_owned()).or_default().clone()
    }

    fn has_come_to(&self, step: Step) -> bool {
        locked(&self.books).steps.contains(&step)
    }

    fn asked_at_ms(&self, name: &str) -> Option<u64> {
        locked(&self.books).asked.get(name).copied()
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked_at_ms(name).is_some()
    }

    fn dialled(&self) -> usize {
        locked(&self.books).connections.len()
    }

    fn nothing_overlapped(&self) -> Proof {
        let overlap = locked(&self.books).overlap.clone();
        ONE_REQUEST_PER_CONNECTION.require(overlap.is_none(), overlap.unwrap_or_default())
    }

    fn nothing_spoilt_was_used(&self) -> Proof {
        let misuse = locked(&self.books).misuse.clone();
        SPOILT_IS_NOT_USED_AGAIN.require(misuse.is_none(), misuse.unwrap_or_default())
    }

    /// Neither broken connections nor such that still had somebody else's rows.
    fn nothing_of_another(&self, asked: Asked) -> Proof {
        let books = locked(&self.books);
        let seen = books.misuse.clone().or(books.overlap.clone());
        asked.require(seen.is_none(), seen.unwrap_or_default())
    }

    /// How many pages of [`ENDLESS`] were asked for.
    fn pages(&self) -> usize {
        locked(&self.books).pages
    }

    fn no_more_than(&self, size: usize) -> Proof {
        let most = locked(&self.books).most;
        NO_MORE_THAN_SIZE.require(
            most <= size,
            format!("the limit is {size}, and {most} connections were open or being dialled at once"),
        )
    }
}

impl Drop for OpenDial {
    fn drop(&mut self) {
        locked(&self.0.books).dialling -= 1;
    }
}

impl OpenConnection {
    /// Begins a query, and takes down what must not be.
    fn begin(&self, query: &str) -> OpenQuery {
        let Self { database, number } = self;
        database.scene.note("database", format!("connection {number} is asked: {query}"));
        let now_ms = database.scene.now_ms();
        let mut books = locked(&database.books);
        let Books { connections, asked, overlap, misuse, pages, .. } = &mut *books;
        let known = &mut connections[number - 1];
        let (name, page) = match (query.strip_prefix("stock "), known.open.take()) {
            (Some(name), before) => {
                if let Some(why) = &known.spoilt {
                    misuse.get_or_insert(format!("{why}, and then {name}'s request had the same connection"));
                } else if let Some((other, _)) = before {
                    let other =
                        format!("{name}'s request had connection {number} while {other}'s rows were being fetched");
                    overlap.get_or_insert(other);
                }
                asked.entry(name.to_owned()).or_insert(now_ms);
                (name.to_owned(), 1)
            }
            (None, Some((name, page))) => (name, page + 1),
            (None, None) => ("nobody".to_owned(), 0),
        };
        *pages += usize::from(name == ENDLESS);
        known.open = Some((name.clone(), page));
        OpenQuery { database: database.clone(), connection: *number, name, page, answered: false }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.database.scene.note("database", format!("connection {} is closed", self.number));
        locked(&self.database.books).live -= 1;
    }
}

impl OpenQuery {
    async fn answer(mut self) -> Result<Vec<String>, BoxError> {
        let (step, fate) =
            locked(&self.database.books).plans.get(&self.name).copied().unwrap_or((Step::None, Fate::Rows));
        let here = [Step::None, Step::First, Step::Second].get(self.page).copied();
        if here == Some(step) && step != Step::None {
            locked(&self.database.books).steps.push(step);
            self.database.gate(&self.name).notified().await;
        }
        let ends_here = here == Some(if step == Step::Second { step } else { Step::First });
        if ends_here && fate == Fate::Panic {
            panic!("the query panics");
        }
        self.answered = true;
        let mut books = locked(&self.database.books);
        let known = &mut books.connections[self.connection - 1];
        match fate {
            Fate::Refused if ends_here => {
                known.open = None;
                self.database.scene.note("database", format!("connection {} refuses", self.connection));
                Err("refused: an item with a broken name".into())
            }
            Fate::Broken if ends_here => {
                known.open = None;
                self.database.scene.note("database", format!("connection {} breaks", self.connection));
                known.spoilt = Some(format!("the connection broke under {}'s request", self.name));
                Err("broken".into())
            }
            _ if (1..=pages_of(&self.name)).contains(&self.page) => Ok(vec![row_of(&self.name, self.page)]),
            _ => {
                known.open = None;
                Ok(Vec::new())
            }
        }
    }
}

impl Drop for OpenQuery {
    fn drop(&mut self) {
        if !self.answered {
            self.database.scene.note("database", format!("the query for {} is left halfway", self.name));
            let spoilt = format!("the query of {}'s request was left halfway", self.name);
            locked(&self.database.books).connections[self.connection - 1].spoilt = Some(spoilt);
        }
    }
}

/// Longer than any reaper has patience.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
const PAGES: usize = 2;
/// An item of which a page is more than the connection and the buffers at its ends hold.
const LARGE: &str = "ada-who-has-everything";

/// An item of many pages, which together are more than may be fetched ahead.
const ENDLESS: &str = "ada-who-never-ends";
const PAGE_KIB: usize = 8;

fn pages_of(name: &str) -> usize {
    if name == ENDLESS { 160 } else { PAGES }
}

fn row_of(name: &str, page: usize) -> String {
    let length = match name {
        LARGE => 64 * 1024,
        ENDLESS => PAGE_KIB * 1024,
        _ => 0,
    };
    format!("{page} of {name} on shelf {page}{}", " ".repeat(length))
}

fn rows_of(name: &str) -> String {
    (1..=pages_of(name)).map(|page| row_of(name, page) + "\n").collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
