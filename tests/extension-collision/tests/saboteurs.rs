//! A right letter box, and the ways in which it is spoilt.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{MatchedPath, Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use extension_collision_spec::{Entry, MayRead, check};
use lab::abreast;
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

/// What is wrong with the letter box.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    CallerAndMailboxSwapped,
    NobodyAsked,
    AskedOnce,
    OwnWhateverTheCase,
    RefusedAfterTheStoreWasAsked,
    RefusedAsNotFound,
    StoreAskedAgainAfterA500,
    CallerLeftOutOnCards,
    TwoMailboxesNamed,
    EnteredTwice,
    EnteredBeforeTheAnswer,
    RefusalsNotEntered,
    StrangersEntered,
    StrangersCardsRefused,
    StrangersLettersNotFound,
    AnyCredentials,
    CallerInAString,
    CallerOnlyIfAbsent,
    OneAtATime,
    CallerInACell,
    CallerOfTheHost,
    TemplateCompared,
    AnswerInATask,
    AnswerCollected,
    AnswerAsPlainData,
    HeadersOnce,
    StatusFlattened,
    PathNotDecoded,
    AnyMethod,
    HeadPassedOn,
    FallbackOfItsOwn,
    EndsWithItsTrail,
}

const ALL: [Fault; 32] = [
    Fault::CallerAndMailboxSwapped,
    Fault::NobodyAsked,
    Fault::AskedOnce,
    Fault::OwnWhateverTheCase,
    Fault::RefusedAfterTheStoreWasAsked,
    Fault::RefusedAsNotFound,
    Fault::StoreAskedAgainAfterA500,
    Fault::CallerLeftOutOnCards,
    Fault::TwoMailboxesNamed,
    Fault::EnteredTwice,
    Fault::EnteredBeforeTheAnswer,
    Fault::RefusalsNotEntered,
    Fault::StrangersEntered,
    Fault::StrangersCardsRefused,
    Fault::StrangersLettersNotFound,
    Fault::AnyCredentials,
    Fault::CallerInAString,
    Fault::CallerOnlyIfAbsent,
    Fault::OneAtATime,
    Fault::CallerInACell,
    Fault::CallerOfTheHost,
    Fault::TemplateCompared,
    Fault::AnswerInATask,
    Fault::AnswerCollected,
    Fault::AnswerAsPlainData,
    Fault::HeadersOnce,
    Fault::StatusFlattened,
    Fault::PathNotDecoded,
    Fault::AnyMethod,
    Fault::HeadPassedOn,
    Fault::FallbackOfItsOwn,
    Fault::EndsWithItsTrail,
];

#[test]
fn the_letter_box_is_right_until_it_is_spoilt() {
    let report = check(letter_box(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_letter_box_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |fault| check(letter_box(fault)));
    let mut rejections = String::new();
    for (fault, report) in ALL.into_iter().zip(reports) {
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

#[derive(Clone)]
struct Desk {
    fault: Fault,
    may_read: MayRead,
    store: Router,
    audit: UnboundedSender<Entry>,
    given: Arc<Mutex<HashSet<(String, String)>>>,
    last_caller: Arc<Mutex<Option<String>>>,
    callers: Arc<Mutex<HashMap<String, Option<String>>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

fn letter_box(fault: Fault) -> impl Fn(MayRead, Router, UnboundedSender<Entry>) -> Router {
    move |may_read, store, audit| {
        let desk = Desk {
            fault,
            may_read,
            store,
            audit,
            given: Arc::default(),
            last_caller: Arc::default(),
            callers: Arc::default(),
            turn: Arc::default(),
        };
        let routed = || if fault == Fault::AnyMethod { any(serve) } else { get(serve) };
        let routes = Router::new()
            .route("/me/letters", routed())
            .route("/users/{user}/letters", routed())
            .route("/users/{user}/card", routed());
        let routes = if fault == Fault::FallbackOfItsOwn { routes.fallback(StatusCode::NOT_FOUND) } else { routes };
        routes.with_state(desk)
    }
}

async fn serve(
    State(desk): State<Desk>,
    template: MatchedPath,
    user: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Response {
    let is = |fault| desk.fault == fault;
    let (caller, headers) = (desk.caller(&request), request.headers().clone());
    let method = if is(Fault::HeadPassedOn) { request.method().clone() } else { Method::GET };
    let is_card = if is(Fault::TemplateCompared) {
        template.as_str() == "/users/{user}/card"
    } else {
        template.as_str().ends_with("/card")
    };
    let mailbox = match user {
        Ok(_) if is(Fault::PathNotDecoded) => request.uri().path().split('/').nth(2).map(str::to_owned),
        Ok(Path(user)) => Some(user),
        Err(_) => caller.clone(),
    };
    drop(request);
    let _turn = if is(Fault::OneAtATime) { Some(desk.turn.lock().await) } else { None };
    let mut answer = desk.answer(&method, is_card, caller.as_deref(), mailbox.as_deref(), headers).await;
    let caller = if is(Fault::CallerInACell) { desk.last_caller.lock().unwrap().clone() } else { caller };
    let caller = caller.or_else(|| is(Fault::StrangersEntered).then(|| "stranger".to_owned()));
    let refusals_left_out = is(Fault::RefusalsNotEntered) && answer.status() == StatusCode::FORBIDDEN;
    if let (Some(caller), Some(mailbox)) = (caller, mailbox) {
        let status = if is(Fault::EnteredBeforeTheAnswer) { StatusCode::OK } else { answer.status() };
        for _ in 0..if refusals_left_out { 0 } else { 1 + usize::from(is(Fault::EnteredTwice)) } {
            let sent = desk.audit.send((caller.clone(), mailbox.clone(), status));
            if sent.is_err() && is(Fault::EndsWithItsTrail) {
                answer = StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
        }
    }
    answer
}

impl Desk {
    fn caller(&self, request: &Request) -> Option<String> {
        let value = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let bearer = value.and_then(|value| value.strip_prefix("Bearer "));
        let any = value.and_then(|value| value.rsplit(' ').next()).filter(|_| self.fault == Fault::AnyCredentials);
        let strewn = request.extensions().get::<String>().filter(|_| self.fault == Fault::CallerInAString);
        let caller = bearer.or(any).map(str::to_owned).or(strewn.cloned());
        *self.last_caller.lock().unwrap() = caller.clone();
        if self.fault != Fault::CallerOfTheHost {
            return caller;
        }
        // Whoever comes first to a host stays signed in there.
        let host = request.headers().get("host").map_or("h2", |host| host.to_str().unwrap()).to_owned();
        self.callers.lock().unwrap().entry(host).or_insert(caller).clone()
    }

    fn says(&self, caller: &str, mailbox: &str) -> bool {
        let pair = (caller.to_owned(), mailbox.to_owned());
        match self.fault {
            Fault::NobodyAsked => caller == mailbox || caller == "ada",
            Fault::OwnWhateverTheCase if caller.eq_ignore_ascii_case(mailbox) => true,
            Fault::AskedOnce if self.given.lock().unwrap().contains(&pair) => true,
            Fault::CallerAndMailboxSwapped => (self.may_read)(mailbox, caller),
            _ => {
                let says = (self.may_read)(caller, mailbox);
                if says {
                    self.given.lock().unwrap().insert(pair);
                }
                says
            }
        }
    }

    async fn answer(
        &self,
        method: &Method,
        is_card: bool,
        caller: Option<&str>,
        mailbox: Option<&str>,
        headers: HeaderMap,
    ) -> Response {
        let is = |fault| self.fault == fault;
        let refused = match caller {
            None if is_card && is(Fault::StrangersCardsRefused) => Some(StatusCode::UNAUTHORIZED),
            None if !is_card && is(Fault::StrangersLettersNotFound) => Some(StatusCode::NOT_FOUND),
            None if !is_card => Some(StatusCode::UNAUTHORIZED),
            Some(caller) if !is_card && !self.says(caller, mailbox.unwrap_or_default()) => Some(StatusCode::FORBIDDEN),
            _ => None,
        };
        let refused =
            refused.map(
                |status| if is(Fault::RefusedAsNotFound) && caller.is_some() { StatusCode::NOT_FOUND } else { status },
            );
        let asked_all_the_same = is(Fault::RefusedAfterTheStoreWasAsked) && caller.is_some();
        if let (Some(status), false) = (refused, asked_all_the_same) {
            return status.into_response();
        }
        let caller = caller.filter(|_| !(is_card && is(Fault::CallerLeftOutOnCards)));
        let mut answer = self.ask(method, is_card, caller, mailbox.unwrap_or_default(), &headers).await;
        if is(Fault::StoreAskedAgainAfterA500) && answer.status().is_server_error() {
            answer = self.ask(method, is_card, caller, mailbox.unwrap_or_default(), &headers).await;
        }
        refused.map_or(answer, IntoResponse::into_response)
    }

    async fn ask(
        &self,
        method: &Method,
        is_card: bool,
        caller: Option<&str>,
        mailbox: &str,
        headers: &HeaderMap,
    ) -> Response {
        let is = |fault| self.fault == fault;
        let path = if is_card { "/card" } else { "/letters" };
        let mut question = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let told = question.headers_mut();
        let claimed = headers.get("x-caller").filter(|_| is(Fault::CallerOnlyIfAbsent)).cloned();
        if let Some(caller) = claimed.or_else(|| HeaderValue::from_str(caller?).ok()) {
            told.insert("x-caller", caller);
        }
        let mailbox = HeaderValue::from_str(mailbox).unwrap();
        told.insert("x-mailbox", mailbox.clone());
        if is(Fault::TwoMailboxesNamed) {
            told.append("x-mailbox", mailbox);
        }
        let asked = self.store.clone().oneshot(question);
        let Ok(mut answer) = if is(Fault::AnswerInATask) { tokio::spawn(asked).await.unwrap() } else { asked.await };
        if is(Fault::HeadersOnce) {
            let last: HashMap<_, _> =
                answer.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            *answer.headers_mut() = last.into_iter().collect();
        }
        if is(Fault::StatusFlattened) && answer.status().is_server_error() {
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
        }
        let (head, body) = answer.into_parts();
        let body = match self.fault {
            Fault::AnswerCollected => Body::from(to_bytes(body, usize::MAX).await.unwrap_or_default()),
            Fault::AnswerAsPlainData => Body::from_stream(body.into_data_stream()),
            _ => body,
        };
        Response::from_parts(head, body)
    }
}
