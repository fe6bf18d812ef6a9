//! A right reading room, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH,
            ORIGIN,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use broken_chain_spec::{Entry, check};
use futures_util::StreamExt;
use http_body::Frame;
use lab::{abreast, locked};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{sleep, timeout},
};
use tower_http::catch_panic::CatchPanicLayer;

/// What is wrong with the room.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OpenedTwice,
    ClosedWith200,
    PanicsAreNotCaught,
    AbandonedIsClosed,
    AbandonedInATask,
    VisitHeldByItsRequest,
    OriginTwice,
    OriginForPagesOnly,
    IdOfItsOwn,
    NoIdOnA404,
    IdsAreText,
    LengthForgotten,
    CacheControlForgotten,
    LimitIsTooSmall,
    BudgetIsShort,
    OneIdForAll,
    StreamsEndTwice,
    CutAfterTheBudget,
    PreflightRefused,
    PreflightStaysOpen,
    PreflightByItsHeader,
    BodyIsADataStream,
    UploadCollected,
}

const ALL: [(Fault, &str); 23] = [
    (Fault::OpenedTwice, "each-exit-ends-its-visit"),
    (Fault::ClosedWith200, "each-exit-ends-its-visit"),
    (Fault::PanicsAreNotCaught, "each-exit-ends-its-visit"),
    (Fault::AbandonedIsClosed, "client-that-leaves-ends-its-visit"),
    (Fault::AbandonedInATask, "client-that-leaves-ends-its-visit"),
    (Fault::VisitHeldByItsRequest, "client-that-leaves-ends-its-visit"),
    (Fault::OriginTwice, "headers-on-every-answer"),
    (Fault::OriginForPagesOnly, "headers-on-every-answer"),
    (Fault::IdOfItsOwn, "headers-on-every-answer"),
    (Fault::NoIdOnA404, "headers-on-every-answer"),
    (Fault::IdsAreText, "headers-on-every-answer"),
    (Fault::LengthForgotten, "routes-answer-as-ever"),
    (Fault::CacheControlForgotten, "routes-answer-as-ever"),
    (Fault::LimitIsTooSmall, "routes-answer-as-ever"),
    (Fault::BudgetIsShort, "routes-answer-as-ever"),
    (Fault::OneIdForAll, "visits-keep-apart"),
    (Fault::StreamsEndTwice, "streams-end-once"),
    (Fault::CutAfterTheBudget, "streams-end-once"),
    (Fault::PreflightRefused, "preflight-needs-no-credentials"),
    (Fault::PreflightStaysOpen, "preflight-needs-no-credentials"),
    (Fault::PreflightByItsHeader, "preflight-needs-no-credentials"),
    (Fault::BodyIsADataStream, "leaves-the-rest-alone"),
    (Fault::UploadCollected, "leaves-the-rest-alone"),
];

#[test]
fn the_room_is_right_until_it_is_spoilt() {
    let report = check(room(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_room_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |(fault, _)| check(room(fault)));
    let mut rejections = String::new();
    for ((fault, promise), report) in ALL.into_iter().zip(reports) {
        assert!(report.broken().contains(&promise), "{fault:?}\n{report}");
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

fn room(fault: Fault) -> impl Fn(Router, Router, UnboundedSender<Entry>, usize, Duration) -> Router {
    move |records, partners, register, limit, budget| {
        let limit = if fault == Fault::LimitIsTooSmall { limit - 1 } else { limit };
        let mut routes = records.nest("/partners", partners).layer(DefaultBodyLimit::max(limit));
        if fault != Fault::PanicsAreNotCaught {
            routes = routes.layer(CatchPanicLayer::new());
        }
        routes.layer(from_fn_with_state(Room { fault, register, limit, budget }, attend))
    }
}

#[derive(Clone)]
struct Room {
    fault: Fault,
    register: UnboundedSender<Entry>,
    limit: usize,
    budget: Duration,
}

/// Writes the end of a visit when it is dropped.
struct Visit {
    room: Room,
    id: String,
    status: Option<StatusCode>,
}

impl Visit {
    fn open(room: &Room, id: &HeaderValue) -> Self {
        let id = match room.fault {
            Fault::OneIdForAll => "visit".to_owned(),
            _ => String::from_utf8_lossy(id.as_bytes()).into_owned(),
        };
        for _ in 0..if room.fault == Fault::OpenedTwice { 2 } else { 1 } {
            let _ = room.register.send((id.clone(), "opened".to_owned(), None));
        }
        Self { room: room.clone(), id, status: None }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let fault = self.room.fault;
        if fault == Fault::ClosedWith200 && self.status.is_some() {
            self.status = Some(StatusCode::OK);
        }
        let closed = self.status.is_some() || fault == Fault::AbandonedIsClosed;
        let what = if closed { "closed" } else { "abandoned" }.to_owned();
        let (register, id, status) = (self.room.register.clone(), mem::take(&mut self.id), self.status);
        if fault == Fault::AbandonedInATask && !closed {
            tokio::spawn(async move {
                sleep(Duration::from_millis(10)).await;
                let _ = register.send((id, what, status));
            });
        } else {
            let _ = register.send((id, what, status));
        }
    }
}

async fn attend(State(room): State<Room>, mut request: Request, next: Next) -> Response {
    let fault = room.fault;
    let id = request.headers().get("x-request-id").cloned().unwrap_or(HeaderValue::from_static("unknown"));
    let is_preflight = (request.method() == Method::OPTIONS || fault == Fault::PreflightByItsHeader)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if is_preflight && fault != Fault::PreflightRefused {
        if fault == Fault::PreflightStaysOpen {
            mem::forget(Visit::open(&room, &id));
        }
        return (StatusCode::NO_CONTENT, [(ACCESS_CONTROL_ALLOW_ORIGIN, "*")]).into_response();
    }
    let is_a_page = request.headers().contains_key(ORIGIN);
    let under_way = Arc::new(Mutex::new(Some(Visit::open(&room, &id))));
    if fault == Fault::VisitHeldByItsRequest {
        request.extensions_mut().insert(under_way.clone());
    }
    let response = admit(&room, request, next).await.into_response();
    let mut visit = locked(&under_way).take().expect("it ends here");
    visit.status = Some(response.status());
    let mut response = spoilt(&room, &visit, response).await;
    let headers = response.headers_mut();
    if is_a_page || fault != Fault::OriginForPagesOnly {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if fault == Fault::OriginTwice {
        headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    match (fault, visit.status) {
        (Fault::IdOfItsOwn, _) => drop(headers.insert("x-request-id", HeaderValue::from_static("1"))),
        (Fault::NoIdOnA404, Some(StatusCode::NOT_FOUND)) => {}
        (Fault::IdsAreText, _) if id.to_str().is_err() => {}
        _ => drop(headers.insert("x-request-id", id)),
    }
    response
}

async fn admit(room: &Room, mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let bearer = |value: &HeaderValue| value.as_bytes().starts_with(b"Bearer ");
    if !request.headers().get(AUTHORIZATION).is_some_and(bearer) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > room.limit) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    if room.fault == Fault::UploadCollected {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, room.limit).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        request = Request::from_parts(parts, bytes.into());
    }
    let budget = if room.fault == Fault::BudgetIsShort { room.budget * 4 / 5 } else { room.budget };
    timeout(budget, next.run(request)).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)
}

/// What some of the faults make of an answer.
async fn spoilt(room: &Room, visit: &Visit, mut response: Response) -> Response {
    match room.fault {
        Fault::CacheControlForgotten => drop(response.headers_mut().remove(CACHE_CONTROL)),
        Fault::LengthForgotten => {
            return response.map(|body| Body::new(Unsized(body)));
        }
        Fault::BodyIsADataStream => return response.map(|body| Body::from_stream(body.into_data_stream())),
        Fault::StreamsEndTwice if !response.headers().contains_key(CONTENT_LENGTH) => {
            let _ = room.register.send((visit.id.clone(), "closed".to_owned(), visit.status));
        }
        Fault::CutAfterTheBudget => {
            let deadline = sleep(room.budget);
            return response.map(|body| Body::from_stream(body.into_data_stream().take_until(deadline)));
        }
        _ => {}
    }
    response
}

/// A body that says nothing of its length.
struct Unsized(Body);

impl HttpBody for Unsized {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}
