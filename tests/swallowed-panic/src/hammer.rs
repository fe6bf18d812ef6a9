//! The gateway on real threads: two requests are billed at once, and others panic meanwhile.

use std::{
    collections::BTreeSet,
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
};
use lab::{
    Proof,
    hammer::{Force, Hammer, Hammered, strike_hearing},
    locked, require,
};
use tokio::{runtime::Handle, sync::mpsc::unbounded_channel};
use tower::ServiceExt;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::App;

/// How many tenants have two requests each, one tenant after the other.
const TENANTS: usize = 32;
/// The key whose look-up panics.
const UNREADABLE: &str = "unreadable";

/// Tries whether two requests of one tenant that come at once are billed as one, or not at all.
pub fn hammer(app: App, force: Force) -> Hammered {
    let bills = Bills::default();
    let heard = Dispatch::new(bills.clone());
    // Where there is only one, tracing asks whichever thread is the first to log something, and that may be one that has none.
    let other = Dispatch::new(Bills::default());
    let mut round = 0_u64;
    strike_hearing(&heard, force, move |hammer| {
        let _other = &other;
        round += 1;
        a_day_at_the_gate(&app, &bills, round, hammer)
    })
}

fn a_day_at_the_gate(app: &App, bills: &Bills, round: u64, hammer: &mut Hammer) -> Proof {
    let tenants = hammer.tries_at_once(TENANTS);
    let gauge = Arc::<AtomicI64>::default();
    let (log, _entries) = unbounded_channel();
    let gateway = app(routes(), Arc::new(look_up), gauge.clone(), log);
    bills.taken();
    // Before everything, in between, or not at all.
    if round % 3 == 1 {
        ask(gateway.clone(), UNREADABLE.to_owned());
    }
    let named = |place: usize| format!("tenant-{place}");
    let mut asked = vec![0; tenants];
    for panics_meanwhile in [round % 3 == 2, false] {
        let pairs = (0..tenants).map(|place| {
            let (here, there) = (gateway.clone(), gateway.clone());
            let one = if panics_meanwhile { UNREADABLE.to_owned() } else { named(place) };
            (move || ask(here, one), move || ask(there, named(place)))
        });
        for (place, (one, other)) in hammer.each_at_once(pairs.collect()).into_iter().enumerate() {
            let ours = [Some(other), (!panics_meanwhile).then_some(one)];
            for (status, told) in ours.into_iter().flatten() {
                let right = status == StatusCode::OK && told == named(place);
                let observed = format!(
                    "a request of {}, while another came, was answered {}: {told:?}",
                    named(place),
                    status.as_u16()
                );
                require(right, observed)?;
                asked[place] += 1;
            }
        }
    }
    let billed = bills.taken();
    // What is billed on a thread of the app's own is not heard.
    for (place, asked) in asked.into_iter().enumerate().filter(|_| !billed.is_empty()) {
        let tenant = named(place);
        let numbers: Vec<_> = billed.iter().filter(|bill| bill.0 == tenant).map(|bill| bill.1.as_str()).collect();
        let distinct: BTreeSet<_> = numbers.iter().collect();
        let observed = format!(
            "a tenant had {asked} requests, of which two came at once each time, and was billed for requests {}",
            numbers.join(", ")
        );
        require(numbers.len() == asked && distinct.len() == asked, observed)?;
    }
    let waits = hammer.at_rest_before(|| gauge.load(Ordering::SeqCst) == 0);
    let observed = format!("every request is over, and the gauge is {}", gauge.load(Ordering::SeqCst));
    require(!waits, observed)
}

/// Asks as a tenant does, and says what it was told.
fn ask(gateway: Router, tenant: String) -> (StatusCode, String) {
    Handle::current().block_on(async {
        let request = Request::get("/").header("x-api-key", tenant).body(Body::empty());
        let Ok(answer) = gateway.oneshot(request.expect("a key without surprises")).await;
        let status = answer.status();
        // A body that breaks off names nobody.
        let told = to_bytes(answer.into_body(), 1024).await.unwrap_or_default();
        (status, String::from_utf8_lossy(&told).into_owned())
    })
}

/// Each route says whom it serves.
fn routes() -> Router {
    let echo = async |headers: HeaderMap| {
        let tenant = headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok());
        tenant.unwrap_or("nobody").to_owned()
    };
    Router::new().route("/", axum::routing::get(echo))
}

fn look_up(headers: &HeaderMap) -> Option<String> {
    let key = headers.get("x-api-key")?.to_str().ok()?;
    if key == UNREADABLE {
        // A panic like any other, except that std says nothing of it on standard error, thousands of times.
        resume_unwind(Box::new("this key cannot be read"));
    }
    Some(key.to_owned())
}

/// What was billed: a tenant and the number of its request.
#[derive(Clone, Default)]
struct Bills(Arc<Mutex<Vec<(String, String)>>>);

impl Bills {
    fn taken(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *locked(&self.0))
    }
}

impl Subscriber for Bills {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.fields().field("requests").is_some()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut bill = Bill::default();
        event.record(&mut bill);
        if let Bill { tenant: Some(tenant), requests: Some(requests) } = bill {
            locked(&self.0).push((tenant, requests));
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Bill {
    tenant: Option<String>,
    requests: Option<String>,
}

impl Bill {
    fn set(&mut self, field: &Field, value: String) {
        match field.name() {
            "tenant" => self.tenant = Some(value),
            "requests" => self.requests = Some(value),
            _ => {}
        }
    }
}

impl Visit for Bill {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }
}
