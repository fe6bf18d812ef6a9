//! A right gateway, and the ways in which it is spoilt.

use std::{
    any::Any,
    collections::HashMap,
    fmt::Write,
    panic::{self, AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, StreamExt, stream};
use http_body::{Frame, SizeHint};
use lab::{
    hammer::{Force, Hammered},
    lingering::linger,
    locked,
};
use swallowed_panic_spec::{Tenant, check, hammer};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::timeout,
};
use tower::ServiceBuilder;
use tower_http::cors::{self, CorsLayer};
use tracing::{Instrument, Span, debug, error, info_span};

type AccessLog = UnboundedSender<(String, StatusCode)>;

/// What is wrong with the gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    BodyFromItsData,
    LengthForgotten,
    ReadAheadInATask,
    CleanEndWhereNothingCame,
    BilledUntilAPanic,
    BilledAnewAfterAPanic,
    BilledForNobodysRequest,
    LastPanicOfTheProcess,
    PanickedBodyIsAnotherEntry,
    RoutesOnly,
    RefusedWithoutCors,
    PreflightNeedsAKey,
    TenantOfTheClient,
    EndsWithItsAccessLog,
    GivesRoutesTenSeconds,
    PoisonClearedTooEarly,
    /// On one thread all is well with these.
    LooksThenCounts,
    FirstRequestMakesTheCount,
    BillsIfItCan,
}

const ALL: [Fault; 16] = [
    Fault::BodyFromItsData,
    Fault::LengthForgotten,
    Fault::ReadAheadInATask,
    Fault::CleanEndWhereNothingCame,
    Fault::BilledUntilAPanic,
    Fault::BilledAnewAfterAPanic,
    Fault::BilledForNobodysRequest,
    Fault::LastPanicOfTheProcess,
    Fault::PanickedBodyIsAnotherEntry,
    Fault::RoutesOnly,
    Fault::RefusedWithoutCors,
    Fault::PreflightNeedsAKey,
    Fault::TenantOfTheClient,
    Fault::EndsWithItsAccessLog,
    Fault::GivesRoutesTenSeconds,
    Fault::PoisonClearedTooEarly,
];

#[test]
fn the_gateway_is_right_until_it_is_spoilt() {
    let report = check(gateway(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_gateway_is_rejected_for_its_own_reason() {
    let mut rejections = String::new();
    for fault in ALL {
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in check(gateway(fault)).promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

/// Every promise is kept on one thread, and two show what is wrong. A thread lingers where the other must come, so that it
/// takes a fraction of this time.
fn falls_on_real_threads(fault: Fault) {
    let report = check(gateway(fault));
    assert!(report.all_kept(), "{report}");
    let hammered = hammer(Arc::new(gateway(fault)), Force { time: Duration::from_secs(300), tries: u64::MAX });
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}

#[test]
fn a_count_that_is_looked_at_and_then_raised_loses_one_of_two() {
    falls_on_real_threads(Fault::LooksThenCounts);
}

#[test]
fn two_first_requests_both_begin_the_count() {
    falls_on_real_threads(Fault::FirstRequestMakesTheCount);
}

#[test]
fn who_finds_the_lock_taken_is_not_billed() {
    falls_on_real_threads(Fault::BillsIfItCan);
}

#[test]
fn nothing_is_seen_of_the_right_one_on_real_threads() {
    let hammered = hammer(Arc::new(gateway(Fault::None)), Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

fn gateway(fault: Fault) -> impl Fn(Router, Tenant, Arc<AtomicI64>, AccessLog) -> Router {
    move |routes, tenant, in_flight, access_log| {
        let desk = Arc::new(Desk { fault, tenant, served: Mutex::default(), access_log });
        let cors = CorsLayer::new().allow_origin(cors::Any);
        let recovered = ServiceBuilder::new()
            .layer(from_fn_with_state(in_flight, count_in_flight))
            .layer(from_fn_with_state(desk.clone(), recover));
        let look_up = from_fn_with_state(desk.clone(), look_up_tenant);
        let log = from_fn_with_state(desk, log_access);
        let inner_look_up = ServiceBuilder::new().layer(recovered.clone()).layer(look_up.clone());
        match fault {
            Fault::RoutesOnly => routes.route_layer(ServiceBuilder::new().layer(log).layer(cors).layer(inner_look_up)),
            Fault::RefusedWithoutCors | Fault::PreflightNeedsAKey => {
                let refused = ServiceBuilder::new().layer(log).layer(recovered).layer(look_up).layer(cors);
                if fault == Fault::RefusedWithoutCors {
                    routes.layer(refused)
                } else {
                    let marked = from_fn(async |request: Request, next: Next| {
                        let mut answer = next.run(request).await;
                        let anybody = HeaderValue::from_static("*");
                        answer.headers_mut().insert("access-control-allow-origin", anybody);
                        answer.headers_mut().insert("access-control-allow-methods", HeaderValue::from_static("*"));
                        answer
                    });
                    routes.layer(ServiceBuilder::new().layer(marked).layer(refused))
                }
            }
            _ => routes.layer(ServiceBuilder::new().layer(log).layer(cors).layer(inner_look_up)),
        }
    }
}

struct Desk {
    fault: Fault,
    tenant: Tenant,
    served: Mutex<HashMap<String, u64>>,
    access_log: AccessLog,
}

impl Desk {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn find(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let tenant = match self.fault {
            Fault::BilledUntilAPanic => {
                let served = self.served.lock();
                let tenant = (self.tenant)(headers)?;
                if let Ok(mut served) = served {
                    bill(&mut served, &tenant);
                }
                tenant
            }
            Fault::PoisonClearedTooEarly => {
                self.served.clear_poison();
                let mut served = self.served.lock().expect("the poison was cleared");
                let tenant = (self.tenant)(headers)?;
                bill(&mut served, &tenant);
                tenant
            }
            Fault::BilledAnewAfterAPanic => {
                let mut served = self.served.lock().unwrap_or_else(|poisoned| {
                    self.served.clear_poison();
                    let mut served = poisoned.into_inner();
                    served.clear();
                    served
                });
                let tenant = (self.tenant)(headers)?;
                bill(&mut served, &tenant);
                tenant
            }
            Fault::LooksThenCounts => {
                let tenant = (self.tenant)(headers)?;
                let before = locked(&self.served).get(&tenant).copied().unwrap_or_default();
                linger();
                debug!(tenant, requests = before + 1, "tenant found");
                locked(&self.served).insert(tenant.clone(), before + 1);
                tenant
            }
            Fault::FirstRequestMakesTheCount => {
                let tenant = (self.tenant)(headers)?;
                if !locked(&self.served).contains_key(&tenant) {
                    linger();
                    locked(&self.served).insert(tenant.clone(), 0);
                }
                bill(&mut locked(&self.served), &tenant);
                tenant
            }
            Fault::BillsIfItCan => {
                let tenant = (self.tenant)(headers)?;
                if let Ok(mut served) = self.served.try_lock() {
                    linger();
                    bill(&mut served, &tenant);
                }
                tenant
            }
            _ => {
                if self.is(Fault::BilledForNobodysRequest) && headers.get("x-api-key").is_some_and(|key| key == "acme")
                {
                    bill(&mut locked(&self.served), "acme");
                }
                let tenant = (self.tenant)(headers)?;
                bill(&mut locked(&self.served), &tenant);
                tenant
            }
        };
        HeaderValue::try_from(tenant).ok()
    }
}

fn bill(served: &mut HashMap<String, u64>, tenant: &str) {
    let requests = served.entry(tenant.to_owned()).or_default();
    *requests += 1;
    debug!(tenant, requests, "tenant found");
}

struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn log_access(
    State(desk): State<Arc<Desk>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = route.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("none");
    let span = info_span!("request", id, route);
    let response = next.run(request).instrument(span).await;
    let sent = desk.access_log.send((route, response.status()));
    if desk.is(Fault::EndsWithItsAccessLog) && sent.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    response
}

async fn count_in_flight(State(gauge): State<Arc<AtomicI64>>, request: Request, next: Next) -> Response {
    gauge.fetch_add(1, Ordering::Relaxed);
    let _in_flight = InFlight(gauge);
    next.run(request).await
}

async fn recover(State(desk): State<Arc<Desk>>, route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    if desk.is(Fault::LastPanicOfTheProcess) {
        remember_panics();
    }
    let span = Span::current();
    let limit = Duration::from_secs(if desk.is(Fault::GivesRoutesTenSeconds) { 10 } else { 3_600 });
    let answer = async { timeout(limit, next.run(request)).await };
    let outcome = AssertUnwindSafe(answer).catch_unwind().await;
    let outcome = outcome.map(|answer| answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response()));
    let response = outcome.unwrap_or_else(|payload| {
        log_panic(&desk, &span, &*payload);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    let route = route.map(|route| route.as_str().to_owned()).unwrap_or_default();
    match desk.fault {
        Fault::BodyFromItsData => response.map(|body| {
            let data = AssertUnwindSafe(body.into_data_stream()).catch_unwind();
            Body::from_stream(data.map(move |data| {
                data.unwrap_or_else(|payload| {
                    log_panic(&desk, &span, &*payload);
                    Err(axum::Error::new("the body panicked"))
                })
            }))
        }),
        Fault::ReadAheadInATask => response.map(|inner| {
            let mut inner = Recovered { inner, span, desk, route, started: false };
            let (frames, ahead) = unbounded_channel();
            let hint = inner.size_hint();
            tokio::spawn(async move {
                while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut inner).poll_frame(cx)).await {
                    let failed = frame.is_err();
                    let _ = frames.send(frame);
                    if failed {
                        break;
                    }
                }
            });
            let ahead = stream::unfold(ahead, async |mut ahead| ahead.recv().await.map(|frame| (frame, ahead)));
            Body::new(Ahead { frames: Box::pin(ahead), hint })
        }),
        _ => response.map(|inner| Body::new(Recovered { inner, span, desk, route, started: false })),
    }
}

type Frames = Pin<Box<dyn stream::Stream<Item = Result<Frame<Bytes>, axum::Error>> + Send>>;

/// What a task has read ahead. Its length is that of the whole.
struct Ahead {
    frames: Frames,
    hint: SizeHint,
}

impl HttpBody for Ahead {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = self.frames.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(frame))) = &next
            && let (Some(length), Some(data)) = (self.hint.exact(), frame.data_ref())
        {
            self.hint = SizeHint::with_exact(length - data.len() as u64);
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.hint.exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

struct Recovered {
    inner: Body,
    span: Span,
    desk: Arc<Desk>,
    route: String,
    started: bool,
}

impl HttpBody for Recovered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.inner).poll_frame(cx)));
        if let Ok(Poll::Ready(Some(_))) = &polled {
            self.started = true;
        }
        polled.unwrap_or_else(|payload| {
            log_panic(&self.desk, &self.span, &*payload);
            if self.desk.is(Fault::PanickedBodyIsAnotherEntry) {
                let _ = self.desk.access_log.send((self.route.clone(), StatusCode::INTERNAL_SERVER_ERROR));
            }
            if self.desk.is(Fault::CleanEndWhereNothingCame) && !self.started {
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(axum::Error::new("the body panicked"))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && !self.desk.is(Fault::LengthForgotten)
    }

    fn size_hint(&self) -> SizeHint {
        if self.desk.is(Fault::LengthForgotten) { SizeHint::default() } else { self.inner.size_hint() }
    }
}

/// What the last panic said, wherever it was.
static LAST: Mutex<String> = Mutex::new(String::new());

fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) =
                info.payload_as_str().unwrap_or("no text").to_owned();
            before(info);
        }));
    });
}

fn log_panic(desk: &Desk, span: &Span, payload: &(dyn Any + Send)) {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let last = locked(&LAST).clone();
    let text = if desk.is(Fault::LastPanicOfTheProcess) { Some(last.as_str()) } else { text };
    error!(parent: span, panic = text, "the request panicked");
}

async fn look_up_tenant(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let Some(tenant) = desk.find(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if !desk.is(Fault::TenantOfTheClient) || !request.headers().contains_key("x-tenant") {
        request.headers_mut().insert("x-tenant", tenant);
    }
    next.run(request).await
}
