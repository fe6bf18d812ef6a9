//! A right order service, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use lying_health_check_spec::check;
use tokio::{
    sync::Semaphore,
    time::{Instant, interval, timeout},
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
}

#[test]
fn the_service_is_right_until_it_is_spoilt() {
    let report = check(service(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_service_is_rejected_for_its_own_reason() {
    let mut rejections = String::new();
    for (fault, promise) in [
        (Fault::ShortOfPatience, "busy-is-not-sick"),
        (Fault::ThreeStrikes, "sick-within-two-periods"),
        (Fault::HangsUpWithoutThePermit, "check-gives-permit-back"),
        (Fault::AsksAgainWhenDown, "one-ping-a-period"),
        (Fault::LivesByTheDatabase, "alive-throughout"),
        (Fault::OrdersWaitForTheDatabase, "orders-refused-while-sick"),
        (Fault::OrdersNeedAProbe, "learning-proxy-goes-round"),
        (Fault::RedirectsProbes, "sick-within-two-periods"),
    ] {
        let report = check(service(fault));
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
        let shop =
            Shop { database, pool, period, fault, ready: Arc::new(Mutex::new(long_ago)), probed: Arc::default() };
        tokio::spawn(shop.clone().check_each_period());
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/orders", get(orders).post(orders))
            .with_state(shop)
    }
}

#[derive(Clone)]
struct Shop {
    database: Router,
    pool: Arc<Semaphore>,
    period: Duration,
    fault: Fault,
    /// Until when it is ready without another ping.
    ready: Arc<Mutex<Instant>>,
    probed: Arc<Mutex<Option<Instant>>>,
}

impl Shop {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn is_ready(&self) -> bool {
        Instant::now() < *self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, question: Request) -> Response {
        let connection = self.pool.acquire().await.expect("never closed");
        if self.is(Fault::HangsUpWithoutThePermit) && question.uri().path() == "/ping" {
            connection.forget();
            let Ok(answer) = self.database.clone().oneshot(question).await;
            self.pool.add_permits(1);
            return answer;
        }
        let Ok(answer) = self.database.clone().oneshot(question).await;
        answer
    }

    async fn ping(&self, patience: Duration) -> bool {
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        timeout(patience, self.ask(ping)).await.is_ok_and(|answer| answer.status().is_success())
    }

    async fn check_each_period(self) {
        let patience = if self.is(Fault::ShortOfPatience) { self.period / 5 } else { self.period / 2 };
        let lease = if self.is(Fault::ThreeStrikes) { self.period * 3 } else { self.period };
        let mut ticks = interval(self.period);
        // The other half of the lease is the service's.
        while Arc::strong_count(&self.ready) > 1 {
            ticks.tick().await;
            if self.ping(patience).await {
                *self.ready.lock().unwrap_or_else(PoisonError::into_inner) =
                    Instant::now() + lease + self.period * 3 / 5;
            }
        }
    }
}

async fn livez(State(shop): State<Shop>) -> StatusCode {
    let dead = shop.is(Fault::LivesByTheDatabase) && !shop.ping(shop.period / 2).await;
    if dead { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn readyz(State(shop): State<Shop>) -> StatusCode {
    *shop.probed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    let again = shop.is(Fault::AsksAgainWhenDown) && !shop.is_ready();
    match shop.is_ready() || again && shop.ping(shop.period / 2).await {
        true => StatusCode::OK,
        false if shop.is(Fault::RedirectsProbes) => StatusCode::FOUND,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    let probed = *shop.probed.lock().unwrap_or_else(PoisonError::into_inner);
    let forgotten = shop.is(Fault::OrdersNeedAProbe) && probed.is_none_or(|at| at.elapsed() > 2 * shop.period);
    if forgotten || !shop.is_ready() && !shop.is(Fault::OrdersWaitForTheDatabase) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    shop.ask(order).await
}
