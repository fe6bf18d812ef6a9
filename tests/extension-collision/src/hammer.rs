//! The letter box on real threads: two users at once.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
};
use lab::{
    Proof,
    hammer::{Force, Hammer, Hammered, strike},
    locked, require,
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use tower::ServiceExt;

use crate::{App, Entry, told};

/// Who asks for whose letters. Both may.
const VISITS: [(&str, &str); 2] = [("ada", "bob"), ("bob", "carol")];

type Pairs = Arc<Mutex<Vec<(String, String)>>>;

/// Tries whether one of two users, or one of two mailboxes, is taken for the other.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (audit, mut trail) = unbounded_channel();
    let asked = Pairs::default();
    let pairs = asked.clone();
    let may_read = move |caller: &str, mailbox: &str| {
        locked(&pairs).push((caller.to_owned(), mailbox.to_owned()));
        true
    };
    let desk = app(Arc::new(may_read), store(), audit);
    strike(force, move |hammer| two_at_once(&desk, &asked, &mut trail, hammer))
}

/// Says what it was told.
fn store() -> Router {
    let echo = async |headers: HeaderMap| {
        format!("the letters of {} for {}", told(&headers, "x-mailbox"), told(&headers, "x-caller"))
    };
    Router::new().fallback(echo)
}

fn two_at_once(desk: &Router, asked: &Pairs, trail: &mut UnboundedReceiver<Entry>, hammer: &mut Hammer) -> Proof {
    let [here, there] = VISITS;
    let (one, other) = (desk.clone(), desk.clone());
    let (one, other) = hammer.at_once(move || letters(one, here), move || letters(other, there));
    for ((caller, mailbox), (status, text)) in [(here, one), (there, other)] {
        let due = format!("the letters of {mailbox} for {caller}");
        let observed = format!("{caller}, who asked for the letters of {mailbox}, got {text:?}");
        require(status != StatusCode::OK || text == due, observed)?;
    }
    let known = |caller: &str, mailbox: &str| VISITS.contains(&(caller, mailbox));
    for (caller, mailbox) in std::mem::take(&mut *locked(asked)) {
        let observed = format!("`may_read` was asked about {caller:?} and {mailbox:?}, and nobody had asked for that");
        require(known(&caller, &mailbox), observed)?;
    }
    // An entry may come later than the answer; where it is there, it is true.
    while let Ok((caller, mailbox, status)) = trail.try_recv() {
        let observed =
            format!("the audit got ({caller:?}, {mailbox:?}, {}), and nobody had asked for that", status.as_u16());
        require(known(&caller, &mailbox), observed)?;
    }
    Ok(())
}

/// The answer to a user who asks for letters.
fn letters(desk: Router, (caller, mailbox): (&str, &str)) -> (StatusCode, String) {
    Handle::current().block_on(async {
        let asked =
            Request::get(format!("/users/{mailbox}/letters")).header("authorization", format!("Bearer {caller}"));
        let Ok(answer) = desk.oneshot(asked.body(Body::empty()).expect("a path and a name")).await;
        let status = answer.status();
        // A body that breaks off says nothing.
        let text = to_bytes(answer.into_body(), 1024).await.unwrap_or_default();
        (status, String::from_utf8_lossy(&text).into_owned())
    })
}
