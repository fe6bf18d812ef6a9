//! The pool on real threads: a place is given back while others come for it, or go.

use std::{convert::Infallible, time::Duration};

use axum::{BoxError, Router, body::Body, extract::Request, http::StatusCode, response::Response};
use lab::{
    Proof,
    hammer::{ByHand, Force, Hammer, Hammered, strike},
    require,
};
use tower::{
    ServiceExt, service_fn,
    util::{BoxCloneSyncService, BoxService},
};

use crate::{App, Connect};

/// The longest wait: nobody is refused for being slow.
const WAIT: Duration = Duration::from_secs(3600);

/// Tries whether the only place can get lost while it changes hands.
pub fn hammer(app: App, force: Force) -> Hammered {
    strike(force, move |hammer| one_place(&app, hammer))
}

fn one_place(app: &App, hammer: &mut Hammer) -> Proof {
    let app = app(1, WAIT, connect());
    let ask = |who: &str| asking(&app, who);
    // A client that does not read her rows keeps her place.
    let Some(Ok(rows)) = ask("ada").poll_while_woken() else { return Ok(()) };
    let (title, mut last) = match hammer.number() % 3 {
        0 => {
            let mut ben = ask("ben");
            let (served, ()) = hammer.at_once(move || (ben.poll_while_woken(), ben), move || drop(rows));
            ("ben came for it", Waits::from(served))
        }
        1 => {
            let mut ben = ask("ben");
            ben.poll_while_woken();
            hammer.at_once(move || drop(ben), move || drop(rows));
            let mut cem = ask("cem");
            ("ben, who waited for it, went away, and cem came later", Waits::from((cem.poll_while_woken(), cem)))
        }
        _ => {
            let (mut ben, mut cem) = (ask("ben"), ask("cem"));
            ben.poll_while_woken();
            let served = cem.poll_while_woken();
            hammer.at_once(move || drop(ben), move || drop(rows));
            ("ben, who waited for it, went away, and cem waited too", Waits::from((served, cem)))
        }
    };
    let lost = hammer.at_rest_before(|| last.is_served());
    require(
        !lost,
        format!("ada's place came back while {title}: all is at rest, the place is free, and nobody gets it"),
    )?;
    let observed = format!("ada's place came back while {title}, and the answer is 503");
    require(last.answer != Some(StatusCode::SERVICE_UNAVAILABLE), observed)
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

fn asking(app: &Router, who: &str) -> ByHand<Answered> {
    let request = Request::get("/stock/cups").header("x-request-id", who).body(Body::empty());
    ByHand::new(app.clone().oneshot(request.expect("a request that never changes")))
}

/// A database that dials at once, and has a row for each question.
fn connect() -> Connect {
    let connection = || service_fn(async |_: String| Ok::<_, BoxError>(vec!["a cup".to_owned()]));
    BoxCloneSyncService::new(service_fn(move |()| async move { Ok::<_, BoxError>(BoxService::new(connection())) }))
}
