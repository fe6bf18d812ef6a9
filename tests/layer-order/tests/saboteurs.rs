//! A right portal, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use lab::abreast;
use layer_order_spec::{Audited, Logged, check};
use tokio::{
    sync::{Semaphore, mpsc::UnboundedSender},
    time::timeout,
};
use tower::ServiceExt;

/// What is wrong with the portal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    StrangerReachesARoute,
    StrangerGetsA403,
    QueryInTheLog,
    RouteInTheLog,
    LogSays200,
    PreflightLoggedTwice,
    PreflightIsLookedUp,
    PreflightNeedsAPermit,
    PreflightAllowsNoMethod,
    PreflightAllowsStar,
    OptionsPass,
    CorsTwice,
    CorsOfNobody,
    CorsWhenGood,
    PermitComesBack,
    RefusalTakesALaterPermit,
    QuotaIsA503,
    DeadlineTooEarly,
    DeadlineTooLate,
    WorkGoesOn,
    BodyTakesItsTime,
    OneIdForAll,
    TwoIds,
    IdentityGetsAnother,
    TrailInText,
    TrailCut,
    TrailTwice,
    TrailOfLetters,
    LimitOneLess,
    LimitOneMore,
    LimitOfTheFramework,
    LimitForPostsOnly,
    PanicUnwinds,
    StreamCollected,
    StreamCut,
    LivesOn,
    LookedUpTwice,
    LookedUpByGet,
    Any2xxAdmits,
    RouteAskedTwice,
    LengthForgotten,
    HeaderForgotten,
    LogMustBeRead,
    EntryGoesWithTheExtensions,
    CredentialsInAscii,
}

const ALL: [Fault; 45] = [
    Fault::StrangerReachesARoute,
    Fault::StrangerGetsA403,
    Fault::QueryInTheLog,
    Fault::RouteInTheLog,
    Fault::LogSays200,
    Fault::PreflightLoggedTwice,
    Fault::PreflightIsLookedUp,
    Fault::PreflightNeedsAPermit,
    Fault::PreflightAllowsNoMethod,
    Fault::PreflightAllowsStar,
    Fault::OptionsPass,
    Fault::CorsTwice,
    Fault::CorsOfNobody,
    Fault::CorsWhenGood,
    Fault::PermitComesBack,
    Fault::RefusalTakesALaterPermit,
    Fault::QuotaIsA503,
    Fault::DeadlineTooEarly,
    Fault::DeadlineTooLate,
    Fault::WorkGoesOn,
    Fault::BodyTakesItsTime,
    Fault::OneIdForAll,
    Fault::TwoIds,
    Fault::IdentityGetsAnother,
    Fault::TrailInText,
    Fault::TrailCut,
    Fault::TrailTwice,
    Fault::TrailOfLetters,
    Fault::LimitOneLess,
    Fault::LimitOneMore,
    Fault::LimitOfTheFramework,
    Fault::LimitForPostsOnly,
    Fault::PanicUnwinds,
    Fault::StreamCollected,
    Fault::StreamCut,
    Fault::LivesOn,
    Fault::LookedUpTwice,
    Fault::LookedUpByGet,
    Fault::Any2xxAdmits,
    Fault::RouteAskedTwice,
    Fault::LengthForgotten,
    Fault::HeaderForgotten,
    Fault::LogMustBeRead,
    Fault::EntryGoesWithTheExtensions,
    Fault::CredentialsInAscii,
];

#[test]
fn the_portal_is_right_until_it_is_spoilt() {
    let report = check(portal(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_portal_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |fault| check(portal(fault)));
    let mut rejections = String::new();
    for (fault, report) in ALL.into_iter().zip(reports) {
        assert!(!report.all_kept(), "{fault:?}");
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

/// What the steps need.
struct Desk {
    fault: Fault,
    last_id: AtomicU64,
    identity: Router,
    quota: Arc<Semaphore>,
    owed: AtomicU64,
    access_log: UnboundedSender<Logged>,
    audit: UnboundedSender<Audited>,
    budget: Duration,
    limit: usize,
}

type Making = (Router, Router, Arc<Semaphore>, UnboundedSender<Logged>, UnboundedSender<Audited>, Duration, usize);

fn portal(
    fault: Fault,
) -> impl Fn(Router, Router, Arc<Semaphore>, UnboundedSender<Logged>, UnboundedSender<Audited>, Duration, usize) -> Router
+ Send
+ Sync
+ 'static {
    move |routes, identity, quota, access_log, audit, budget, limit| {
        made(fault, (routes, identity, quota, access_log, audit, budget, limit))
    }
}

fn made(fault: Fault, (routes, identity, quota, access_log, audit, budget, limit): Making) -> Router {
    let budget = match fault {
        Fault::DeadlineTooEarly => budget * 4 / 5,
        Fault::DeadlineTooLate => budget + Duration::from_millis(1),
        _ => budget,
    };
    let limit = match fault {
        Fault::LimitOneLess => limit - 1,
        Fault::LimitOneMore => limit + 1,
        Fault::LimitOfTheFramework => limit.min(2 << 20),
        _ => limit,
    };
    let (last_id, owed) = (AtomicU64::new(0), AtomicU64::new(0));
    let desk = Desk { fault, last_id, identity, quota, owed, access_log, audit, budget, limit };
    routes.layer(from_fn_with_state(Arc::new(desk), receive))
}

/// Gives a request its id, and answers it in time, whatever happens.
async fn receive(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let number = desk.last_id.fetch_add(1, Ordering::Relaxed) + 1;
    let id = if desk.fault == Fault::OneIdForAll { "req-1".to_owned() } else { format!("req-{number}") };
    let path = request.uri().path().to_owned();
    let path = match (desk.fault, request.extensions().get::<MatchedPath>()) {
        (Fault::QueryInTheLog, _) => request.uri().to_string(),
        (Fault::RouteInTheLog, Some(route)) => route.as_str().to_owned(),
        _ => path,
    };
    request.headers_mut().insert("x-request-id", HeaderValue::try_from(&id).expect("digits"));
    let entry = (desk.fault == Fault::EntryGoesWithTheExtensions).then(|| Arc::new(Entry::new(&desk, &id, &path)));
    if let Some(entry) = &entry {
        request.extensions_mut().insert(entry.clone());
    }
    let is_options = request.method() == Method::OPTIONS;
    let mut answer = if is_options && desk.fault != Fault::OptionsPass {
        preflight(&desk, &id).await
    } else {
        in_time(&desk, &id, request, next).await
    };
    let status = if desk.fault == Fault::LogSays200 { StatusCode::OK } else { answer.status() };
    let times = match (desk.fault, &entry) {
        (_, Some(entry)) => {
            let _ = entry.status.set(status);
            0
        }
        (Fault::PreflightLoggedTwice, None) if is_options => 2,
        _ => 1,
    };
    for _ in 0..times {
        let sent = desk.access_log.send((id.clone(), path.clone(), status));
        if sent.is_err() && desk.fault == Fault::LogMustBeRead {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    let headers = answer.headers_mut();
    let id = HeaderValue::try_from(id).expect("digits");
    if desk.fault == Fault::TwoIds {
        headers.append("x-request-id", id.clone());
    }
    headers.append("x-request-id", id);
    let origin = if desk.fault == Fault::CorsOfNobody { "null" } else { "*" };
    let name = "access-control-allow-origin";
    if desk.fault == Fault::CorsTwice {
        headers.append(name, HeaderValue::from_static(origin));
    }
    if desk.fault != Fault::CorsWhenGood || status.is_success() {
        headers.append(name, HeaderValue::from_static(origin));
    }
    answer
}

/// An entry of the access log, which is sent when nobody has it any more.
struct Entry {
    access_log: UnboundedSender<Logged>,
    id: String,
    path: String,
    status: OnceLock<StatusCode>,
}

impl Entry {
    fn new(desk: &Desk, id: &str, path: &str) -> Self {
        let (id, path) = (id.to_owned(), path.to_owned());
        Self { access_log: desk.access_log.clone(), id, path, status: OnceLock::new() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(status) = self.status.get() {
            let _ = self.access_log.send((self.id.clone(), self.path.clone(), *status));
        }
    }
}

async fn preflight(desk: &Desk, id: &str) -> Response {
    if desk.fault == Fault::PreflightIsLookedUp {
        look_up(desk, &HeaderMap::new(), id).await;
    }
    if desk.fault == Fault::PreflightNeedsAPermit && desk.quota.available_permits() == 0 {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let headers = if desk.fault == Fault::PreflightAllowsStar { "*" } else { "authorization,content-type" };
    let methods = if desk.fault == Fault::PreflightAllowsNoMethod { "GET" } else { "GET,POST" };
    [("access-control-allow-headers", headers), ("access-control-allow-methods", methods)].into_response()
}

async fn in_time(desk: &Arc<Desk>, id: &str, request: Request, next: Next) -> Response {
    let (all, own) = (desk.clone(), id.to_owned());
    let passed = async move { AssertUnwindSafe(let_pass(&all, &own, request, next)).catch_unwind().await };
    let passed = match desk.fault {
        Fault::WorkGoesOn | Fault::LivesOn => {
            let mut task = tokio::spawn(passed);
            let ended = timeout(desk.budget, &mut task).await.map(|joined| joined.expect("it panics nowhere"));
            if desk.fault == Fault::LivesOn {
                task.abort();
            }
            ended
        }
        Fault::BodyTakesItsTime => Ok(passed.await),
        _ => timeout(desk.budget, passed).await,
    };
    match passed {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(panic)) if desk.fault == Fault::PanicUnwinds => std::panic::resume_unwind(panic),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

/// What a request has to pass, in this order.
async fn let_pass(desk: &Desk, id: &str, request: Request, next: Next) -> Result<Response, StatusCode> {
    let fault = desk.fault;
    if fault == Fault::RefusalTakesALaterPermit {
        // Whoever was refused is served first when there are permits again.
        let owed = desk.owed.swap(0, Ordering::Relaxed);
        let taken = desk.quota.forget_permits(usize::try_from(owed).unwrap_or(0));
        desk.owed.store(owed - taken as u64, Ordering::Relaxed);
    }
    let Ok(permit) = desk.quota.clone().try_acquire_owned() else {
        desk.owed.fetch_add(1, Ordering::Relaxed);
        let busy = fault == Fault::QuotaIsA503;
        return Err(if busy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::TOO_MANY_REQUESTS });
    };
    if fault != Fault::PermitComesBack {
        permit.forget();
    }
    let headers = request.headers().clone();
    let in_ascii = headers.get("authorization").is_none_or(|credentials| credentials.to_str().is_ok());
    if fault == Fault::CredentialsInAscii && !in_ascii {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let status = match fault {
        Fault::BodyTakesItsTime => timeout(desk.budget, look_up(desk, &headers, id)).await.map_err(|_| LATE)?,
        _ => look_up(desk, &headers, id).await,
    };
    if fault == Fault::LookedUpTwice {
        look_up(desk, &headers, id).await;
    }
    let admitted = status == StatusCode::OK || fault == Fault::Any2xxAdmits && status.is_success();
    if !admitted {
        if fault == Fault::StrangerReachesARoute {
            next.run(request).await;
        }
        return Err(if fault == Fault::StrangerGetsA403 { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED });
    }
    let (parts, body) = request.into_parts();
    let limit = match fault {
        Fault::LimitForPostsOnly if parts.method != Method::POST => usize::MAX,
        _ => desk.limit,
    };
    let body = to_bytes(body, limit).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let entry = match fault {
        Fault::TrailOfLetters => String::from_utf8_lossy(&body).into_owned().into_bytes(),
        Fault::TrailInText => body.iter().filter(|byte| **byte != 0).copied().collect(),
        Fault::TrailCut => body.slice(..body.len().min(1_000)).to_vec(),
        _ => body.to_vec(),
    };
    for _ in 0..if fault == Fault::TrailTwice { 2 } else { 1 } {
        let _ = desk.audit.send((id.to_owned(), entry.clone()));
    }
    if fault == Fault::RouteAskedTwice {
        let mut again = Request::new(Body::from(body.clone()));
        (*again.method_mut(), *again.uri_mut()) = (parts.method.clone(), parts.uri.clone());
        *again.headers_mut() = parts.headers.clone();
        next.clone().run(again).await;
    }
    let route = next.run(Request::from_parts(parts, body.into()));
    let mut answer = match fault {
        Fault::BodyTakesItsTime => timeout(desk.budget, route).await.map_err(|_| LATE)?,
        _ => route.await,
    };
    let budget = desk.budget;
    match fault {
        Fault::StreamCollected => {
            let (parts, body) = answer.into_parts();
            answer = Response::from_parts(parts, to_bytes(body, usize::MAX).await.unwrap_or_default().into());
        }
        Fault::StreamCut => {
            let until = tokio::time::Instant::now() + budget;
            answer = answer.map(|body| {
                let frames = body.into_data_stream();
                Body::from_stream(futures_util::stream::unfold(frames, move |mut frames| async move {
                    let next = futures_util::StreamExt::next(&mut frames);
                    tokio::time::timeout_at(until, next).await.ok()?.map(|frame| (frame, frames))
                }))
            });
        }
        Fault::LengthForgotten => answer = answer.map(|body| Body::from_stream(body.into_data_stream())),
        Fault::HeaderForgotten => {
            answer.headers_mut().remove("content-type");
        }
        _ => {}
    }
    Ok(answer)
}

const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;

async fn look_up(desk: &Desk, headers: &HeaderMap, id: &str) -> StatusCode {
    let id = if desk.fault == Fault::IdentityGetsAnother { "another" } else { id };
    let method = if desk.fault == Fault::LookedUpByGet { Method::GET } else { Method::POST };
    let mut question = Request::builder().method(method).uri("/verify").header("x-request-id", id);
    if let Some(credentials) = headers.get("authorization") {
        question = question.header("authorization", credentials);
    }
    let question = question.body(Body::empty()).expect("a path");
    desk.identity.clone().oneshot(question).await.into_response().status()
}
