//! A letter box that keeps every promise on one thread, and mistakes one mailbox for another on two: only the hammer tells.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use extension_collision_spec::{Entry, MayRead, check, hammer};
use lab::{hammer::Force, lingering::linger};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

#[derive(Clone)]
struct Desk {
    may_read: MayRead,
    store: Router,
    audit: UnboundedSender<Entry>,
    /// The mailbox goes in here, and is read before the first `.await`: nothing waits in between.
    mailbox: Arc<Mutex<String>>,
}

fn letter_box(may_read: MayRead, store: Router, audit: UnboundedSender<Entry>) -> Router {
    Router::new()
        .route("/me/letters", get(own))
        .route("/users/{user}/letters", get(letters))
        .route("/users/{user}/card", get(card))
        .with_state(Desk { may_read, store, audit, mailbox: Arc::default() })
}

async fn own(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let Some(caller) = bearer(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    desk.answer("/letters", Some(caller), caller.to_owned()).await
}

async fn letters(State(desk): State<Desk>, Path(user): Path<String>, headers: HeaderMap) -> Response {
    let Some(caller) = bearer(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    desk.begin(user);
    if (desk.may_read)(caller, &desk.mailbox()) {
        let mailbox = desk.mailbox();
        return desk.answer("/letters", Some(caller), mailbox).await;
    }
    let _ = desk.audit.send((caller.to_owned(), desk.mailbox(), StatusCode::FORBIDDEN));
    StatusCode::FORBIDDEN.into_response()
}

async fn card(State(desk): State<Desk>, Path(user): Path<String>, headers: HeaderMap) -> Response {
    desk.begin(user);
    let mailbox = desk.mailbox();
    desk.answer("/card", bearer(&headers), mailbox).await
}

impl Desk {
    fn begin(&self, user: String) {
        *self.mailbox.lock().expect("never poisoned") = user;
        linger();
    }

    fn mailbox(&self) -> String {
        self.mailbox.lock().expect("never poisoned").clone()
    }

    async fn answer(self, path: &str, caller: Option<&str>, mailbox: String) -> Response {
        let mut question = Request::get(path).header("x-mailbox", &mailbox);
        if let Some(caller) = caller {
            question = question.header("x-caller", caller);
        }
        let question = question.body(Body::empty()).expect("names are letters");
        let answer = self.store.oneshot(question).await.into_response();
        if let Some(caller) = caller {
            let _ = self.audit.send((caller.to_owned(), mailbox, answer.status()));
        }
        answer
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

#[test]
fn a_cell_that_is_read_before_the_first_await_names_anothers_mailbox() {
    let report = check(letter_box);
    assert!(report.all_kept(), "{report}");
    // Until it is found: a thread lingers where the other must come, and that takes a fraction of this.
    let hammered = hammer(Arc::new(letter_box), Force { time: Duration::from_secs(300), tries: u64::MAX });
    assert!(hammered.is_rejected(), "{hammered}");
}
