//! A right order desk, and the ways in which it is spoilt.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, HttpBody, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use closure_captured_state_spec::{Entry, check};
use lab::abreast;
use tokio::{sync::mpsc::UnboundedSender, time::timeout};
use tower::ServiceExt;
use tracing::info;

/// What is wrong with the desk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    LastUserStaysSignedIn,
    HeaderOnlyIfAbsent,
    SecondNameBesideTheClients,
    ClientChoosesTheId,
    IdKeptByUser,
    OneTurnForEachUser,
    EndedByWhoeverCameLast,
    LoggedTwice,
    LoggedAsFine,
    FailureWithoutName,
    AlwaysBusy,
    RoutesOnly,
    LiveOnInATask,
    SlotsInTurn,
    LoggedUnderTheLast,
    LoggedUnderNobody,
    LoggedWhenAnswered,
    LoggedWhenItWentWell,
    GivesTheWarehouseTenSeconds,
    FailureIsAnEmptyList,
    FailureIsABadGateway,
    ListsWithoutLimit,
    ListsThatSayNoLength,
    ListsMadeText,
    AnyCredentials,
    EndsWithItsAccessLog,
}

const ALL: [Fault; 26] = [
    Fault::LastUserStaysSignedIn,
    Fault::HeaderOnlyIfAbsent,
    Fault::SecondNameBesideTheClients,
    Fault::ClientChoosesTheId,
    Fault::IdKeptByUser,
    Fault::OneTurnForEachUser,
    Fault::EndedByWhoeverCameLast,
    Fault::LoggedTwice,
    Fault::LoggedAsFine,
    Fault::FailureWithoutName,
    Fault::AlwaysBusy,
    Fault::RoutesOnly,
    Fault::LiveOnInATask,
    Fault::SlotsInTurn,
    Fault::LoggedUnderTheLast,
    Fault::LoggedUnderNobody,
    Fault::LoggedWhenAnswered,
    Fault::LoggedWhenItWentWell,
    Fault::GivesTheWarehouseTenSeconds,
    Fault::FailureIsAnEmptyList,
    Fault::FailureIsABadGateway,
    Fault::ListsWithoutLimit,
    Fault::ListsThatSayNoLength,
    Fault::ListsMadeText,
    Fault::AnyCredentials,
    Fault::EndsWithItsAccessLog,
];

#[test]
fn the_desk_is_right_until_it_is_spoilt() {
    let report = check(desk(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_desk_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |fault| check(desk(fault)));
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
    access_log: UnboundedSender<Entry>,
    last_log_id: Arc<AtomicU64>,
    last_user: Arc<Mutex<Option<String>>>,
    ids: Arc<Mutex<HashMap<String, String>>>,
    turns: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
    slots: Arc<Mutex<Vec<String>>>,
}

/// How many slots there are where they are taken in turn.
const SLOTS: usize = 1_024;

/// Who asks, and under which id.
#[derive(Clone)]
struct Caller {
    desk: Desk,
    user: String,
    log_id: String,
}

fn desk(fault: Fault) -> impl Fn(Router, UnboundedSender<Entry>) -> Router {
    move |warehouse, access_log| {
        let desk = Desk {
            fault,
            access_log,
            last_log_id: Arc::default(),
            last_user: Arc::default(),
            ids: Arc::default(),
            turns: Arc::default(),
            slots: Arc::new(Mutex::new(vec![String::new(); SLOTS])),
        };
        let routes = Router::new().route("/orders", get(orders)).with_state(warehouse);
        let identify = from_fn_with_state(desk, identify);
        if fault == Fault::RoutesOnly { routes.route_layer(identify) } else { routes.layer(identify) }
    }
}

/// Writes into the access log that a request was given up, when it is dropped before its end.
struct GivenUp {
    desk: Desk,
    log_id: String,
    ended: bool,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if !self.ended {
            let user = self.desk.last_user.lock().unwrap().clone().unwrap_or_default();
            self.desk.log(&user, &self.log_id, StatusCode::REQUEST_TIMEOUT);
        }
    }
}

impl Desk {
    fn log(&self, user: &str, log_id: &str, status: StatusCode) {
        let _ = self.access_log.send((user.to_owned(), log_id.to_owned(), status));
    }
}

async fn identify(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    let is = |fault| desk.fault == fault;
    let credentials = text(&request, "authorization");
    let any =
        credentials.as_deref().and_then(|value| Some(value.split_once(' ')?.1)).filter(|_| is(Fault::AnyCredentials));
    let bearer = credentials.as_deref().and_then(|value| value.strip_prefix("Bearer ")).or(any).map(str::to_owned);
    let last = desk.last_user.lock().unwrap().clone().filter(|_| is(Fault::LastUserStaysSignedIn));
    let Some(user) = bearer.or(last) else { return StatusCode::UNAUTHORIZED.into_response() };
    *desk.last_user.lock().unwrap() = Some(user.clone());

    let number = desk.last_log_id.fetch_add(1, Ordering::Relaxed) + 1;
    let slot = number as usize % SLOTS;
    desk.slots.lock().unwrap()[slot].clone_from(&user);
    let next_id = || format!("desk-{number}");
    let mut log_id = text(&request, "x-log-id").filter(|_| is(Fault::ClientChoosesTheId)).unwrap_or_else(next_id);
    desk.ids.lock().unwrap().insert(user.clone(), log_id.clone());

    let value = HeaderValue::from_str(&user).expect("the text of a header");
    let headers = request.headers_mut();
    if is(Fault::SecondNameBesideTheClients) {
        headers.append("x-user", value);
    } else if !is(Fault::HeaderOnlyIfAbsent) || !headers.contains_key("x-user") {
        headers.insert("x-user", value);
    }
    request.extensions_mut().insert(Caller { desk: desk.clone(), user: user.clone(), log_id: log_id.clone() });

    let turn = desk.turns.lock().unwrap().entry(user.clone()).or_default().clone();
    let _turn = if is(Fault::OneTurnForEachUser) { Some(turn.lock().await) } else { None };
    let ended = !is(Fault::EndedByWhoeverCameLast);
    let mut given_up = GivenUp { desk: desk.clone(), log_id: log_id.clone(), ended };
    let response =
        if is(Fault::LiveOnInATask) { tokio::spawn(next.run(request)).await.unwrap() } else { next.run(request).await };
    given_up.ended = true;
    let user = if is(Fault::SlotsInTurn) { desk.slots.lock().unwrap()[slot].clone() } else { user };

    if is(Fault::IdKeptByUser) {
        log_id = desk.ids.lock().unwrap()[&user].clone();
    }
    let status = if is(Fault::LoggedAsFine) { StatusCode::OK } else { response.status() };
    if is(Fault::EndsWithItsAccessLog) && desk.access_log.is_closed() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    desk.log(&user, &log_id, status);
    if is(Fault::LoggedTwice) {
        desk.log(&user, &log_id, status);
    }
    if is(Fault::FailureWithoutName) && response.status().is_server_error() {
        return ([("x-log-id", log_id)], response).into_response();
    }
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}

fn text(request: &Request, header: &str) -> Option<String> {
    request.headers().get(header)?.to_str().ok().map(str::to_owned)
}

async fn orders(
    State(warehouse): State<Router>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<String, StatusCode> {
    let Caller { desk, user, log_id } = caller;
    let is = |fault| desk.fault == fault;
    if is(Fault::AlwaysBusy) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    let mut page = String::new();
    for path in ["/orders", "/parcels"] {
        let named =
            if is(Fault::LoggedUnderTheLast) { desk.last_user.lock().unwrap().clone() } else { Some(user.clone()) };
        let log = || info!(user = named, log_id, "asking for {path}");
        let later = is(Fault::LoggedWhenAnswered) || is(Fault::LoggedWhenItWentWell);
        if !is(Fault::LoggedUnderNobody) && !later {
            log();
        }
        let mut question = Request::get(path).body(Body::empty()).expect("a request that never changes");
        for user in headers.get_all("x-user") {
            question.headers_mut().append("x-user", user.clone());
        }
        let limit = if is(Fault::GivesTheWarehouseTenSeconds) { 10 } else { 3_600 };
        let answer = timeout(Duration::from_secs(limit), warehouse.clone().oneshot(question)).await;
        let Ok(Ok(answer)) = answer else { return Err(StatusCode::GATEWAY_TIMEOUT) };
        if later && (is(Fault::LoggedWhenAnswered) || answer.status().is_success()) {
            log();
        }
        if !answer.status().is_success() {
            if is(Fault::FailureIsAnEmptyList) && answer.status() == StatusCode::NOT_FOUND {
                continue;
            }
            let passed_on = !is(Fault::FailureIsABadGateway) || answer.status() == StatusCode::SERVICE_UNAVAILABLE;
            return Err(if passed_on { answer.status() } else { StatusCode::BAD_GATEWAY });
        }
        let unlimited = is(Fault::ListsThatSayNoLength) && answer.body().size_hint().upper().is_none();
        let limit = if is(Fault::ListsWithoutLimit) || unlimited { usize::MAX } else { 64 * 1024 };
        let list = to_bytes(answer.into_body(), limit).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let list = match String::from_utf8(list.into()) {
            Err(bytes) if is(Fault::ListsMadeText) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
            text => text.map_err(|_| StatusCode::BAD_GATEWAY)?,
        };
        page.push_str(&list);
    }
    Ok(page)
}
