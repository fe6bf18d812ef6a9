//! A right order service, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http_body_util::{BodyExt, channel::Channel};
use lab::abreast;
use lying_health_check_spec::check;
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, interval, sleep_until, timeout},
};
use tower::ServiceExt;

/// What is wrong with the service.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    ShortOfPatience,
    ThreeStrikes,
    HangsUpWithoutThePermit,
    AsksAgainWhenDown,
    LivesByTheDatabase,
    OrdersWaitForTheDatabase,
    OrdersNeedAProbe,
    RedirectsProbes,
    TurnsAfterTwoPointFour,
    QueuesTheCheck,
    PoisonTurns,
    LetsOrdersWait,
    CarriesOutWhatItRefused,
    SendsTwice,
    TakesNotFoundForAnOutage,
    GivesEachOrderFivePeriods,
    NeedsNoConnection,
    HoldsItsConnectionToTheEnd,
    GathersTheAnswer,
    PumpsTheAnswer,
    TakesEveryMethod,
    ChecksForEver,
    CountsThoseWhoLeft,
}

#[test]
fn the_service_is_right_until_it_is_spoilt() {
    let report = check(service(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_service_is_rejected_for_its_own_reason() {
    let spoilt = [
        (Fault::ShortOfPatience, "busy-is-not-sick"),
        (Fault::ThreeStrikes, "sick-within-two-periods"),
        (Fault::HangsUpWithoutThePermit, "check-gives-permit-back"),
        (Fault::AsksAgainWhenDown, "one-ping-a-period"),
        (Fault::LivesByTheDatabase, "alive-throughout"),
        (Fault::OrdersWaitForTheDatabase, "orders-refused-while-sick"),
        (Fault::OrdersNeedAProbe, "learning-proxy-goes-round"),
        (Fault::RedirectsProbes, "sick-within-two-periods"),
        (Fault::TurnsAfterTwoPointFour, "sick-within-two-periods"),
        (Fault::QueuesTheCheck, "crowd-is-served"),
        (Fault::PoisonTurns, "bad-order-is-no-outage"),
        (Fault::LetsOrdersWait, "waiting-order-is-refused"),
        (Fault::CarriesOutWhatItRefused, "refused-order-stays-undone"),
        (Fault::SendsTwice, "refused-order-stays-undone"),
        (Fault::TakesNotFoundForAnOutage, "orders-pass-as-they-are"),
        (Fault::GivesEachOrderFivePeriods, "orders-pass-as-they-are"),
        (Fault::NeedsNoConnection, "crowd-is-served"),
        (Fault::HoldsItsConnectionToTheEnd, "orders-pass-as-they-are"),
        (Fault::GathersTheAnswer, "orders-pass-as-they-are"),
        (Fault::PumpsTheAnswer, "orders-pass-as-they-are"),
        (Fault::TakesEveryMethod, "orders-pass-as-they-are"),
        (Fault::ChecksForEver, "checks-end-with-the-service"),
        (Fault::CountsThoseWhoLeft, "well-within-two-periods"),
    ];
    let reports = abreast(spoilt, |(fault, _)| check(service(fault)));
    let mut rejections = String::new();
    for ((fault, promise), report) in spoilt.into_iter().zip(reports) {
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

fn service(fault: Fault) -> impl Fn(Router, Arc<Semaphore>, Duration) -> Router {
    move |database, pool, period| {
        let long_ago = Instant::now();
        let shop = Shop {
            database,
            pool,
            next: Arc::new(Semaphore::new(1)),
            period,
            fault,
            ready: Arc::new(Mutex::new(long_ago)),
            probed: Arc::default(),
            waiting: Arc::default(),
        };
        tokio::spawn(shop.clone().check_each_period());
        let orders = if shop.is(Fault::TakesEveryMethod) { any(orders) } else { get(orders).post(orders) };
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/orders", orders)
            .with_state(shop)
    }
}

#[derive(Clone)]
struct Shop {
    database: Router,
    pool: Arc<Semaphore>,
    /// The one order that waits for a connection.
    next: Arc<Semaphore>,
    period: Duration,
    fault: Fault,
    /// Until when it is ready without another ping.
    ready: Arc<Mutex<Instant>>,
    probed: Arc<Mutex<Option<Instant>>>,
    /// How many orders wait for a connection.
    waiting: Arc<AtomicUsize>,
}

impl Shop {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn ready_until(&self) -> Instant {
        *locked(&self.ready)
    }

    fn is_ready(&self) -> bool {
        Instant::now() < self.ready_until()
    }

    async fn turns(&self) {
        while self.is_ready() || self.is(Fault::LetsOrdersWait) {
            sleep_until(self.ready_until().max(Instant::now() + self.period / 100)).await;
        }
    }

    /// A connection for an order.
    async fn connect(&self) -> Option<OwnedSemaphorePermit> {
        let _next = match self.is(Fault::QueuesTheCheck) {
            true => None,
            false => self.next.acquire().await.ok(),
        };
        self.pool.clone().acquire_owned().await.ok()
    }

    async fn ask(&self, question: Request) -> Response {
        let Ok(answer) = self.database.clone().oneshot(question).await;
        answer
    }

    async fn ping(&self, patience: Duration) -> bool {
        // While they wait, an order that is served would be as good a sign; here none ever is.
        if self.is(Fault::CountsThoseWhoLeft) && self.waiting.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        let asking = async {
            let connection = self.pool.acquire().await.expect("never closed");
            if self.is(Fault::HangsUpWithoutThePermit) {
                connection.forget();
                let answer = self.ask(ping).await;
                self.pool.add_permits(1);
                return answer;
            }
            self.ask(ping).await
        };
        timeout(patience, asking).await.is_ok_and(|answer| answer.status().is_success())
    }

    async fn check_each_period(self) {
        let patience = if self.is(Fault::ShortOfPatience) { self.period / 5 } else { self.period / 2 };
        let lease = match self.fault {
            Fault::ThreeStrikes => self.period * 3,
            Fault::TurnsAfterTwoPointFour => self.period * 9 / 5,
            _ => self.period,
        };
        let mut ticks = interval(self.period);
        // The other half of the lease is the service's.
        while Arc::strong_count(&self.ready) > 1 || self.is(Fault::ChecksForEver) {
            ticks.tick().await;
            if self.ping(patience).await {
                *locked(&self.ready) = Instant::now() + lease + self.period * 3 / 5;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn livez(State(shop): State<Shop>) -> StatusCode {
    let dead = shop.is(Fault::LivesByTheDatabase) && !shop.ping(shop.period / 2).await;
    if dead { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn readyz(State(shop): State<Shop>) -> StatusCode {
    *locked(&shop.probed) = Some(Instant::now());
    let again = shop.is(Fault::AsksAgainWhenDown) && !shop.is_ready();
    match shop.is_ready() || again && shop.ping(shop.period / 2).await {
        true => StatusCode::OK,
        false if shop.is(Fault::RedirectsProbes) => StatusCode::FOUND,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    let refused = StatusCode::SERVICE_UNAVAILABLE.into_response();
    let forgotten =
        shop.is(Fault::OrdersNeedAProbe) && locked(&shop.probed).is_none_or(|at| at.elapsed() > 2 * shop.period);
    if forgotten || !shop.is_ready() && !shop.is(Fault::OrdersWaitForTheDatabase) {
        return refused;
    }
    if shop.is(Fault::CarriesOutWhatItRefused) {
        let (orders, patience) = (shop.clone(), shop.period * 3 / 2);
        let served = tokio::spawn(async move { orders.serve(order).await });
        return timeout(patience, served).await.ok().and_then(Result::ok).unwrap_or(refused);
    }
    shop.waiting.fetch_add(1, Ordering::Relaxed);
    let connection = select! {
        biased;
        connection = shop.connect() => connection,
        () = shop.turns() => None,
    };
    shop.waiting.fetch_sub(1, Ordering::Relaxed);
    let Some(connection) = connection else {
        return refused;
    };
    shop.serve_on(connection, order).await
}

impl Shop {
    async fn serve(self, order: Request) -> Response {
        match self.connect().await {
            Some(connection) => self.serve_on(connection, order).await,
            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }

    async fn serve_on(&self, connection: OwnedSemaphorePermit, order: Request) -> Response {
        let connection = Some(connection).filter(|_| !self.is(Fault::NeedsNoConnection));
        let refused = StatusCode::SERVICE_UNAVAILABLE.into_response();
        let again = Request::builder().method(order.method()).uri(order.uri()).body(Body::empty()).expect("as it was");
        let answer = match self.fault {
            Fault::GivesEachOrderFivePeriods => {
                timeout(self.period * 5, self.ask(order)).await.unwrap_or(refused.into_response())
            }
            _ => self.ask(order).await,
        };
        let failed = answer.status().is_server_error();
        match self.fault {
            Fault::SendsTwice if failed => self.ask(again).await,
            Fault::PoisonTurns if failed => {
                *locked(&self.ready) = Instant::now();
                answer
            }
            Fault::TakesNotFoundForAnOutage if !answer.status().is_success() => {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            Fault::GathersTheAnswer => {
                let (head, body) = answer.into_parts();
                let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
                Response::from_parts(head, Body::from(whole))
            }
            Fault::HoldsItsConnectionToTheEnd => answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _held = &connection;
                    frame
                }))
            }),
            Fault::PumpsTheAnswer => answer.map(|mut body| {
                let (mut sender, pumped) = Channel::<Bytes, axum::Error>::new(100_000);
                tokio::spawn(async move {
                    while let Some(Ok(frame)) = body.frame().await {
                        if sender.send(frame).await.is_err() {
                            break;
                        }
                    }
                });
                Body::new(pumped)
            }),
            _ => answer,
        }
    }
}
