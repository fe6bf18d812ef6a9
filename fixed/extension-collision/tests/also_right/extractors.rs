//! Two extractors that read header and path each time, and store nothing; the handlers make the audit entry.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Path, Request, State},
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

type MayRead = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

#[derive(Clone)]
struct Desk {
    may_read: MayRead,
    store: Router,
    audit: UnboundedSender<(String, String, StatusCode)>,
}

pub fn app(may_read: MayRead, store: Router, audit: UnboundedSender<(String, String, StatusCode)>) -> Router {
    Router::new()
        .route("/me/letters", get(own_letters))
        .route("/users/{user}/letters", get(letters))
        .route("/users/{user}/card", get(card))
        .with_state(Desk { may_read, store, audit })
}

/// Who asks, if anybody.
struct Caller(Option<String>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        Ok(Self(value.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned)))
    }
}

/// Whose mailbox the path names.
struct Mailbox(String);

impl<S: Send + Sync> FromRequestParts<S> for Mailbox {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let Path(user) = Path::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self(user))
    }
}

async fn own_letters(State(desk): State<Desk>, Caller(caller): Caller) -> Response {
    let Some(caller) = caller else { return StatusCode::UNAUTHORIZED.into_response() };
    desk.answer("/letters", Some(&caller), &caller).await
}

async fn letters(State(desk): State<Desk>, Caller(caller): Caller, Mailbox(mailbox): Mailbox) -> Response {
    let Some(caller) = caller else { return StatusCode::UNAUTHORIZED.into_response() };
    if (desk.may_read)(&caller, &mailbox) {
        return desk.answer("/letters", Some(&caller), &mailbox).await;
    }
    desk.record(Some(&caller), &mailbox, StatusCode::FORBIDDEN);
    StatusCode::FORBIDDEN.into_response()
}

async fn card(State(desk): State<Desk>, Caller(caller): Caller, Mailbox(mailbox): Mailbox) -> Response {
    desk.answer("/card", caller.as_deref(), &mailbox).await
}

impl Desk {
    async fn answer(self, path: &str, caller: Option<&str>, mailbox: &str) -> Response {
        let mut question = Request::get(path).header("x-mailbox", mailbox);
        if let Some(caller) = caller {
            question = question.header("x-caller", caller);
        }
        let Ok(question) = question.body(Body::empty()) else { return StatusCode::BAD_REQUEST.into_response() };
        let answer = self.store.clone().oneshot(question).await.into_response();
        self.record(caller, mailbox, answer.status());
        answer
    }

    fn record(&self, caller: Option<&str>, mailbox: &str, status: StatusCode) {
        if let Some(caller) = caller {
            let _ = self.audit.send((caller.to_owned(), mailbox.to_owned(), status));
        }
    }
}
