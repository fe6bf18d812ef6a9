//! The pool on real threads: a place is given back while others come for it, or go, and the list of holders with it.

use std::{convert::Infallible, time::Duration};

use axum::{
    BoxError, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    response::Response,
};
use futures_util::future::join_all;
use lab::{
    Proof,
    hammer::{Aim, ByHand, Force, Hammer, Hammered, strike},
    require,
};
use tokio::time::timeout;
use tower::{
    ServiceExt, service_fn,
    util::{BoxCloneSyncService, BoxService},
};

use crate::{App, Connect};

/// The longest wait where nobody is to be refused for being slow.
const WAIT: Duration = Duration::from_secs(3600);
/// The longest wait of whoever is to be told who has the connections.
const TOLD_SOON: Duration = Duration::from_millis(1);
/// How long an answer may take. A try with one that takes longer shows nothing.
const TRY: Duration = Duration::from_secs(1);
/// How many pools are tried in one go, and how often they are used before there are new ones.
const POOLS: usize = 32;
const ROUNDS: u64 = 16;

/// Tries whether a place can get lost while it changes hands, and whether the list of those who have one can become untrue.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (mut round, mut pools, mut aim) = (0_u64, Vec::new(), Aim::default());
    strike(force, move |hammer| {
        let number = round;
        round += 1;
        if number % 4 == 3 {
            return who_has_them(&app, number / 4, hammer);
        }
        let of_this_round = std::mem::take(&mut pools);
        if number % ROUNDS != 0 {
            pools = of_this_round;
        }
        pools.resize_with(POOLS, || app(1, WAIT, connect()));
        one_place(&mut pools, number % 4, &mut aim, hammer)
    })
}

/// In each pool ada has the only place. She gives it back while others come for it, or stop waiting.
fn one_place(pools: &mut Vec<Router>, kind: u64, aim: &mut Aim, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(pools.len());
    let mut pairs = Vec::new();
    for pool in &pools[..tries] {
        // A client that does not read her rows keeps her place.
        let Some(rows) = served(hammer, asking(pool, "ada")) else {
            pools.clear();
            return Ok(());
        };
        let (mut ben, mut cem) = (asking(pool, "ben"), asking(pool, "cem"));
        if kind != 0 {
            ben.poll_while_woken();
        }
        let waits = (kind == 2).then(|| cem.poll_while_woken()).flatten();
        pairs.push(((ben, cem, waits), rows));
    }
    let later = if kind == 0 { aim.turns() } else { 0 };
    let at_once = pairs.into_iter().map(|((mut ben, mut cem, waits), rows)| {
        let here = move || match kind {
            0 => Waits::from((ben.poll_while_woken(), ben)),
            1 => {
                drop(ben);
                Waits::from((cem.poll_while_woken(), cem))
            }
            _ => {
                drop(ben);
                Waits::from((waits, cem))
            }
        };
        // It takes a newcomer long to come to the pool.
        let there = move || {
            Aim::wait(later);
            drop(rows);
        };
        (here, there)
    });
    let title = match kind {
        0 => "ben came for it",
        1 => "ben, who waited for it, went away, and cem came",
        _ => "ben, who waited for it, went away, and cem waited too",
    };
    let came: Vec<_> = hammer.each_at_once(at_once.collect());
    if kind == 0 {
        came.iter().take(4).for_each(|(ben, ())| aim.was_first(ben.answer.is_some()));
    }
    for (mut last, ()) in came {
        let lost = hammer.at_rest_before(|| last.is_served());
        require(
            !lost,
            format!("ada's place came back while {title}: all is at rest, the place is free, and nobody gets it"),
        )?;
        let observed = format!("ada's place came back while {title}, and the answer is 503");
        require(last.answer != Some(StatusCode::SERVICE_UNAVAILABLE), observed)?;
    }
    Ok(())
}

/// In each pool two come, or go, at once. Whoever then waits in vain is told who is there.
fn who_has_them(app: &App, number: u64, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(POOLS);
    // One place that goes from hand to hand; one of two goes as another comes; both go; both come.
    let (size, gone, come): (_, &[&str], &[&str]) = match number % 4 {
        0 => (1, &["ada-1"], &["cem-3"]),
        1 => (2, &["ada-1"], &["cem-3"]),
        2 => (2, &["ada-1", "ben-2"], &[]),
        _ => (2, &[], &["cem-3", "dora-4"]),
    };
    let pools: Vec<_> = (0..tries).map(|_| app(size, TOLD_SOON, connect())).collect();
    let mut pairs = Vec::new();
    for pool in &pools {
        let mut acts = Vec::new();
        for name in gone {
            let Some(rows) = served(hammer, asking(pool, name)) else { return Ok(()) };
            acts.push(Act::Goes(rows));
        }
        acts.extend(come.iter().map(|name| Act::Comes(name, asking(pool, name))));
        let there = acts.pop().expect("there are two");
        let here = acts.pop().expect("there are two");
        pairs.push((move || here.done(), move || there.done()));
    }
    let mut tried = Vec::new();
    for (pool, (here, there)) in pools.into_iter().zip(hammer.each_at_once(pairs)) {
        let mut holders = Vec::new();
        for (name, answered, request) in [here, there].into_iter().flatten() {
            let rows = match answered {
                Some(answer) => Some(answer).filter(is_ok).and_then(Result::ok),
                None => served(hammer, request),
            };
            holders.extend(rows.map(|rows| (name, rows)));
        }
        // Whoever waited in vain for a place that was not free yet may have it now.
        for name in ["emil-5", "fay-6"] {
            if holders.len() < size {
                holders.extend(served(hammer, asking(&pool, name)).map(|rows| (name, rows)));
            }
        }
        if holders.len() == size {
            tried.push((pool, holders));
        }
    }
    // All at once: each takes as long as the wait is.
    let told = |(pool, _): &(Router, Vec<_>)| text_of_503(pool.clone());
    let told = hammer.block_on(join_all(tried.iter().map(told)));
    for ((pool, holders), told) in tried.into_iter().zip(told) {
        let untrue = |told: &str| {
            let unnamed = holders.iter().find(|(name, _)| !told.contains(name)).map(|(name, _)| (*name, "has one"));
            unnamed.or_else(|| gone.iter().find(|name| told.contains(**name)).map(|name| (*name, "has left")))
        };
        // A name may go a little later than its place does.
        if told.is_some_and(|told| untrue(&told).is_some())
            && hammer.at_rest_before(|| false)
            && let Some(told) = hammer.block_on(text_of_503(pool))
            && let Some((name, what)) = untrue(&told)
        {
            let observed = format!(
                "connections changed hands at once; all is at rest, {name} {what}, and a request that waits in vain \
                 is told {told:?}"
            );
            require(false, observed)?;
        }
    }
    Ok(())
}

/// What one of two does at once with the other.
enum Act {
    Goes(Response),
    Comes(&'static str, ByHand<Answered>),
}

impl Act {
    /// Who came, and what has come of it.
    fn done(self) -> Option<(&'static str, Option<Answered>, ByHand<Answered>)> {
        match self {
            Self::Goes(rows) => {
                drop(rows);
                None
            }
            Self::Comes(name, mut request) => Some((name, request.poll_while_woken(), request)),
        }
    }
}

type Answered = Result<Response, Infallible>;

/// One who waits, and what came of it.
struct Waits {
    answer: Option<StatusCode>,
    request: ByHand<Answered>,
}

impl From<(Option<Answered>, ByHand<Answered>)> for Waits {
    fn from((answer, request): (Option<Answered>, ByHand<Answered>)) -> Self {
        Self { answer: answer.map(status), request }
    }
}

impl Waits {
    fn is_served(&mut self) -> bool {
        if self.answer.is_none() {
            self.answer = self.request.poll_while_woken().map(status);
        }
        self.answer.is_some()
    }
}

fn status(answer: Answered) -> StatusCode {
    let Ok(answer) = answer;
    answer.status()
}

fn is_ok(answer: &Answered) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status().is_success())
}

/// The rows of one who is served as soon as the app, and what it has running, is at rest.
fn served(hammer: &Hammer, mut request: ByHand<Answered>) -> Option<Response> {
    let mut answer = None;
    hammer.at_rest_before(|| {
        answer = request.poll_while_woken();
        answer.is_some()
    });
    answer.filter(is_ok).and_then(Result::ok)
}

/// What one is told who waits in vain.
async fn text_of_503(pool: Router) -> Option<String> {
    let Ok(answer) = timeout(TRY, pool.oneshot(question("gus-7"))).await.ok()?;
    if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let text = timeout(TRY, to_bytes(answer.into_body(), 1 << 20)).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn asking(app: &Router, who: &str) -> ByHand<Answered> {
    ByHand::new(app.clone().oneshot(question(who)))
}

fn question(who: &str) -> Request {
    let request = Request::get("/stock/cups").header("x-request-id", who).body(Body::empty());
    request.expect("a request that never changes")
}

/// A database that dials at once, and has a row for each question.
fn connect() -> Connect {
    let connection = || service_fn(async |_: String| Ok::<_, BoxError>(vec!["a cup".to_owned()]));
    BoxCloneSyncService::new(service_fn(move |()| async move { Ok::<_, BoxError>(BoxService::new(connection())) }))
}
