//! The desk on real threads: two customers at once.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
};
use lab::{
    Broken, Proof,
    hammer::{Force, Hammer, Hammered, strike},
    require,
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use tower::ServiceExt;

use crate::{App, Entry};

const CUSTOMERS: [&str; 2] = ["ada", "bob"];

/// Tries whether one of two customers is taken for the other, or both get the same log id.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (log, mut entries) = unbounded_channel();
    let desk = app(warehouse(), log);
    strike(force, move |hammer| two_at_once(&desk, &mut entries, hammer))
}

/// Says in whose name it was asked.
fn warehouse() -> Router {
    let echo = async |headers: HeaderMap| {
        let user = headers.get("x-user").and_then(|user| user.to_str().ok()).unwrap_or("nobody");
        format!("<{user}>")
    };
    Router::new().fallback(echo)
}

fn two_at_once(desk: &Router, entries: &mut UnboundedReceiver<Entry>, hammer: &mut Hammer) -> Proof {
    let [here, there] = CUSTOMERS;
    let (one, other) = (desk.clone(), desk.clone());
    let (one, other) = hammer.at_once(move || Told::to(one, here), move || Told::to(other, there));
    let mut logged: Vec<Entry> = std::iter::from_fn(|| entries.try_recv().ok()).collect();
    for told in [&one, &other] {
        told.is_the_customers_own()?;
        // The entry may come later than the answer; where it is there, it is true.
        let place = logged.iter().position(|(_, id, _)| *id == told.log_id);
        let Some((user, _, status)) = place.map(|place| logged.remove(place)) else { continue };
        let observed = format!("{}'s answer was logged for {user} with {}", told.customer, status.as_u16());
        require(user == told.customer && status == told.status, observed)?;
    }
    require(one.log_id != other.log_id, "two requests that came at once got the same log id")
}

/// What a customer was told.
struct Told {
    customer: &'static str,
    status: StatusCode,
    user: String,
    log_id: String,
    text: String,
}

impl Told {
    fn to(desk: Router, customer: &'static str) -> Self {
        Handle::current().block_on(async {
            let asked = Request::get("/orders").header("authorization", format!("Bearer {customer}"));
            let Ok(answer) = desk.oneshot(asked.body(Body::empty()).expect("a request that never changes")).await;
            let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let (user, log_id) = (header("x-user").to_owned(), header("x-log-id").to_owned());
            let status = answer.status();
            // A body that breaks off names nobody.
            let text = to_bytes(answer.into_body(), 1024).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            Self { customer, status, user, log_id, text }
        })
    }

    fn is_the_customers_own(&self) -> Result<(), Broken> {
        let Self { customer, user, text, .. } = self;
        let others = CUSTOMERS.iter().find(|other| *other != customer && (user == *other || text.contains(*other)));
        require(
            others.is_none(),
            format!("{customer}'s answer says that it is {user}'s, and the warehouse was asked for {text}"),
        )
    }
}
