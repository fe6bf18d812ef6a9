//! A right service in front of the archive, and the ways in which it is spoilt.

use std::{
    error::Error,
    fmt::Write,
    io::{self, ErrorKind},
    iter::successors,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Path, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http_body::{Frame, SizeHint};
use lab::abreast;
use silenced_error_spec::{Archive, check};
use tower::ServiceExt;
use tracing::{debug, error};

/// What is wrong with the service.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    TextToTheClient,
    TextInAHeader,
    FailureIsA404,
    OneCauseOnly,
    OneEventForEachText,
    OncePerService,
    NoRoute,
    NoId,
    IdOfTheLast,
    NotFoundIsTold,
    NotFoundIsNeverTold,
    BrokenPipeIsNotTold,
    MethodIsTold,
    ClientIsTold,
    BodyToldTwice,
    BodyEndsCleanly,
    BodyHeldBack,
    LinkAtDebug,
    SessionAtDebug,
    LinkInTheAnswer,
    LengthForgotten,
    TrailersForgotten,
    LiveOnInATask,
    AskedAgain,
    IdsRepeated,
    IdOfTheClient,
    IdsOfSuccessesOnly,
    NotFoundIsA502,
    AnyMethod,
}

const ALL: [Fault; 29] = [
    Fault::TextToTheClient,
    Fault::TextInAHeader,
    Fault::FailureIsA404,
    Fault::OneCauseOnly,
    Fault::OneEventForEachText,
    Fault::OncePerService,
    Fault::NoRoute,
    Fault::NoId,
    Fault::IdOfTheLast,
    Fault::NotFoundIsTold,
    Fault::NotFoundIsNeverTold,
    Fault::BrokenPipeIsNotTold,
    Fault::MethodIsTold,
    Fault::ClientIsTold,
    Fault::BodyToldTwice,
    Fault::BodyEndsCleanly,
    Fault::BodyHeldBack,
    Fault::LinkAtDebug,
    Fault::SessionAtDebug,
    Fault::LinkInTheAnswer,
    Fault::LengthForgotten,
    Fault::TrailersForgotten,
    Fault::LiveOnInATask,
    Fault::AskedAgain,
    Fault::IdsRepeated,
    Fault::IdOfTheClient,
    Fault::IdsOfSuccessesOnly,
    Fault::NotFoundIsA502,
    Fault::AnyMethod,
];

#[test]
fn the_service_is_right_until_it_is_spoilt() {
    let report = check(service(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_service_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |fault| check(service(fault)));
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
    archive: Archive,
    last_number: Arc<AtomicU64>,
    last_id: Arc<Mutex<String>>,
    told: Arc<Mutex<bool>>,
}

/// What is known of a request where something may be told of it.
#[derive(Clone)]
struct Known {
    desk: Desk,
    id: String,
    route: String,
}

fn service(fault: Fault) -> impl Fn(Archive) -> Router {
    move |archive| {
        let (last_number, last_id, told) = (Arc::default(), Arc::default(), Arc::default());
        let desk = Desk { fault, archive, last_number, last_id, told };
        let route = if fault == Fault::AnyMethod { any(invoice) } else { get(invoice) };
        Router::new().route("/invoices/{id}", route).layer(from_fn_with_state(desk, identify))
    }
}

async fn identify(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    let is = |fault| desk.fault == fault;
    let number = desk.last_number.fetch_add(1, Ordering::Relaxed);
    let id = format!("desk-{}", if is(Fault::IdsRepeated) { number % 5 } else { number });
    let theirs = request.headers().get("x-request-id").filter(|_| is(Fault::IdOfTheClient));
    let id = theirs.and_then(|id| id.to_str().ok()).map_or(id, str::to_owned);
    *desk.last_id.lock().unwrap() = id.clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let uri = request.uri().to_string();
    if is(Fault::LinkAtDebug) {
        debug!(uri, "asked");
    }
    if is(Fault::SessionAtDebug) {
        debug!(cookie = ?request.headers().get("cookie"), "asked");
    }
    request.extensions_mut().insert(Known { desk: desk.clone(), id: id.clone(), route });
    let mut answer =
        if is(Fault::LiveOnInATask) { tokio::spawn(next.run(request)).await.unwrap() } else { next.run(request).await };
    if is(Fault::MethodIsTold) && answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        error!(id, "a method that nobody knows");
    }
    if is(Fault::LinkInTheAnswer) {
        answer.headers_mut().insert("x-link", uri.parse().unwrap());
    }
    if answer.status().is_success() || !is(Fault::IdsOfSuccessesOnly) {
        answer.headers_mut().insert("x-request-id", id.parse().unwrap());
    }
    answer
}

async fn invoice(Path(number): Path<String>, request: Request) -> Response {
    let known = request.extensions().get::<Known>().unwrap().clone();
    drop(request);
    let Desk { fault, archive, .. } = known.desk.clone();
    let is = |other| fault == other;
    let mut given = archive.clone().oneshot(number.clone()).await;
    if is(Fault::AskedAgain) && given.is_err() {
        given = archive.oneshot(number).await;
    }
    match given {
        Ok(body) => {
            let body = Body::new(Told { body, known, held: None, ended: false });
            match fault {
                Fault::LengthForgotten => Body::from_stream(body.into_data_stream()).into_response(),
                _ => body.into_response(),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if is(Fault::NotFoundIsTold) {
                error!(id = known.id, "no such invoice");
            }
            let status = if is(Fault::NotFoundIsA502) { StatusCode::BAD_GATEWAY } else { StatusCode::NOT_FOUND };
            status.into_response()
        }
        Err(error) => {
            known.tell(&error);
            let mut headers = HeaderMap::new();
            if is(Fault::TextInAHeader) {
                headers.insert("x-why", error.to_string().parse().unwrap());
            }
            let text = if is(Fault::TextToTheClient) { error.to_string() } else { String::new() };
            let status = if is(Fault::FailureIsA404) { StatusCode::NOT_FOUND } else { StatusCode::BAD_GATEWAY };
            (status, headers, text).into_response()
        }
    }
}

impl Known {
    fn tell(&self, error: &(dyn Error + 'static)) {
        let is = |fault| self.desk.fault == fault;
        if is(Fault::OncePerService) && mem::replace(&mut *self.desk.told.lock().unwrap(), true) {
            return;
        }
        let of_kind = |kind| {
            let chain = successors(Some(error), |&error| error.source());
            chain.filter_map(|error| error.downcast_ref::<io::Error>()).any(|error| error.kind() == kind)
        };
        let quiet = match self.desk.fault {
            Fault::NotFoundIsNeverTold => of_kind(ErrorKind::NotFound),
            Fault::BrokenPipeIsNotTold => of_kind(ErrorKind::BrokenPipe),
            _ => false,
        };
        if quiet {
            return;
        }
        let last = self.desk.last_id.lock().unwrap().clone();
        let id = if is(Fault::IdOfTheLast) { &last } else { &self.id };
        let id = if is(Fault::NoId) { "" } else { id };
        let route = if is(Fault::NoRoute) { "" } else { &self.route };
        match self.desk.fault {
            Fault::OneCauseOnly => {
                let cause = error.source().map(ToString::to_string);
                error!(id, route, error = error.to_string(), cause, "the archive failed");
            }
            Fault::OneEventForEachText => {
                let mut next = Some(error as &dyn Error);
                while let Some(error) = next {
                    error!(id, route, error = error.to_string(), "the archive failed");
                    next = error.source();
                }
            }
            _ => error!(id, route, error, "the archive failed"),
        }
    }
}

struct Told {
    body: Body,
    known: Known,
    held: Option<Frame<Bytes>>,
    ended: bool,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let fault = self.known.desk.fault;
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.ended |= !matches!(frame, Some(Ok(_)));
            match frame {
                Some(Err(error)) => {
                    self.known.tell(&error);
                    if fault == Fault::BodyToldTwice {
                        self.known.tell(&error);
                    }
                    let clean = fault == Fault::BodyEndsCleanly;
                    return Poll::Ready(if clean { None } else { Some(Err(error)) });
                }
                Some(Ok(frame)) if fault == Fault::TrailersForgotten && frame.is_trailers() => {}
                Some(Ok(frame)) if fault == Fault::BodyHeldBack && frame.is_data() => {
                    if let Some(before) = self.held.replace(frame) {
                        return Poll::Ready(Some(Ok(before)));
                    }
                }
                None if self.held.is_some() => return Poll::Ready(self.held.take().map(Ok)),
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.known.desk.fault == Fault::BodyHeldBack { SizeHint::default() } else { self.body.size_hint() }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.known.desk.fault == Fault::ClientIsTold && !self.ended && !self.body.is_end_stream() {
            error!(id = self.known.id, "the client left");
        }
    }
}
