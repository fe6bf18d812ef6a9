//! The specification of `lying-health-check`: an order service that must say with a *status* when it cannot serve, so that
//! a proxy which reads nothing else can go round it.
//!
//! A period is one second. In each scene the service first becomes ready before a database that is well, so that a promise is
//! never kept by an app that does nothing. Only then comes the fault. A prober comes once a period, and never when one begins.
//!
//! Each promise is proven over HTTP/1.1 and HTTP/2; where it speaks of several faults, over the one and the other in turn. The
//! proxy that learns from orders is nginx's rule, and speaks HTTP/1.1 as nginx does.
//!
//! A fault begins and ends at several moments of a period, so that no phase of the check is favoured, and what is promised
//! within two periods is looked at one step after them.

use std::{
    fmt,
    future::pending,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use lab::{
    Asked, Broken, Connection, Ghost, Lab, Limits, Pending, Proof, Protocol, Report, Scene, Server, Specification,
    control, escaped, locked,
};

/// Makes the app under test from the database, the pool of connections to it and the period of the check.
pub type App = Arc<dyn Fn(Router, Arc<Semaphore>, Duration) -> Router + Send + Sync>;

/// One period, in milliseconds.
const PERIOD: u64 = 1000;
/// How many connections the pool has.
const CONNECTIONS: usize = 3;
/// What the database answers to an order.
const SERVED: &str = "order served";
/// When a prober comes first, in milliseconds of the scene.
const FIRST_PROBE: u64 = 130;
/// How long after a probe the fault begins, and how long after another one it is over.
const LATER: u64 = 240;
/// How long after a probe a fault begins, or ends, where the moment may matter: no check begins or gives up then.
const PHASES: [u64; 4] = [10, 240, 500, 880];
/// Two periods and a step.
const TWO_PERIODS: u64 = 2 * PERIOD + 10;
/// How many clients order at once.
const CROWD: usize = 20;
/// How long a prober or a client waits. Longer than what it is promised, so that nobody leaves at the moment of the answer.
const PATIENCE: u64 = PERIOD + 50;

const SICK_WITHIN_TWO_PERIODS: Asked = Asked::new(
    "sick-within-two-periods",
    "`/readyz` is 503 two periods after the database began to fail, answer slowly, hang or panic, or the pool was \
     used up.",
);
const WELL_WITHIN_TWO_PERIODS: Asked = Asked::new(
    "well-within-two-periods",
    "`/readyz` is 200 again two periods after such a fault is over, without a restart.",
);
const BUSY_IS_NOT_SICK: Asked = Asked::new(
    "busy-is-not-sick",
    "`/readyz` stays 200 while a ping takes a little less than half a period, or the pool is always in use but each \
     connection comes back within two fifths of a period.",
);
const CROWD_IS_SERVED: Asked = Asked::new(
    "crowd-is-served",
    "When twenty clients order at once, again and again, and each order takes the database a fifth of a period, all \
     of them are served and `/readyz` stays 200.",
);
const BAD_ORDER_IS_NO_OUTAGE: Asked = Asked::new(
    "bad-order-is-no-outage",
    "An order that the database refuses or fails leaves `/readyz` at 200, and the next order is served.",
);
const ALIVE_THROUGHOUT: Asked =
    Asked::new("alive-throughout", "`/livez` is 200 throughout, whatever the database does.");
const NOT_READY_BEFORE_A_CHECK: Asked =
    Asked::new("not-ready-before-a-check", "`/readyz` is 503 until a check has passed.");
const ONE_PING_A_PERIOD: Asked = Asked::new(
    "one-ping-a-period",
    "However many probes come, even all at once, the database is pinged at most once a period, whether it's well or \
     not.",
);
const PROBE_ANSWERED_IN_A_PERIOD: Asked = Asked::new(
    "probe-answered-in-a-period",
    "A probe is answered within a period, even when the database hangs or the pool is used up.",
);
const CHECK_GIVES_PERMIT_BACK: Asked = Asked::new(
    "check-gives-permit-back",
    "A check that gets no answer holds at most one connection of the pool, and gives it back within a period.",
);
const ORDERS_REFUSED_WHILE_SICK: Asked = Asked::new(
    "orders-refused-while-sick",
    "From two periods after such a fault began, an order is answered 503 within a period. Two periods after the \
     fault is over, an order is served. An order that the database fails is a 5xx.",
);
const WAITING_ORDER_IS_REFUSED: Asked = Asked::new(
    "waiting-order-is-refused",
    "An order that came before the fault was known, and is waiting for a connection, is answered 503 two periods \
     after the database began to hang or the pool was used up.",
);
const REFUSED_ORDER_STAYS_UNDONE: Asked = Asked::new(
    "refused-order-stays-undone",
    "An order is sent to the database at most once. If it's answered 200, it's carried out; if it's answered 5xx, it \
     isn't carried out afterwards.",
);
const CHECK_OUTLIVES_ITS_PROBER: Asked =
    Asked::new("check-outlives-its-prober", "A prober that hangs up doesn't stop the check.");
const PROBING_PROXY_GOES_ROUND: Asked = Asked::new(
    "probing-proxy-goes-round",
    "Behind a proxy that probes the status once a period, no order reaches a sick instance after three periods.",
);
const LEARNING_PROXY_GOES_ROUND: Asked = Asked::new(
    "learning-proxy-goes-round",
    "Behind a proxy that only learns from failed orders, each client is served, and a sick instance gets no more \
     orders than the proxy needs to learn that it's sick.",
);
const ORDERS_PASS_AS_THEY_ARE: Asked = Asked::new(
    "orders-pass-as-they-are",
    "While the database is well, an order reaches it once and as it came, and the answer goes back as it is, frame \
     by frame, even if it's a 404, comes after several periods, or is large.",
);
const CHECKS_END_WITH_THE_SERVICE: Asked = Asked::new(
    "checks-end-with-the-service",
    "Two periods after the service was shut down, nobody pings the database any more.",
);

const HALF_A_PERIOD: Asked = Asked::new(
    "half-a-period",
    "A check passes if `GET /ping` is answered 2xx in less than half a period, and fails if that takes longer.",
);
const PANIC_ENDS_A_PROBE: Asked = Asked::new(
    "panic-ends-a-probe",
    "While the database's driver panics, a probe of `/readyz` may also get no answer, and the instance may stay out \
     until it's restarted. Only a 200 is wrong then.",
);
const CONNECTIONS_COME_BACK: Asked = Asked::new(
    "connections-come-back",
    "When no order and no check is under way, every connection of the pool is free, even after clients have left.",
);
const A_CONNECTION_FOR_EACH: Asked = Asked::new(
    "a-connection-for-each",
    "An order has a connection of the pool until the database has begun to answer it. One whose client has left may go \
     on until then, or end at once.",
);
const ORDERS_ONLY: Asked = Asked::new(
    "orders-only",
    "Orders are GET and POST: any other method is answered 405, any other address 404, and neither reaches the \
     database.",
);
const BACK_IN_ROTATION: Asked = Asked::new(
    "back-in-rotation",
    "An instance that's well serves all orders once a check has passed, and one that was sick does so again three \
     periods after it's well.",
);
const NOT_READ_AHEAD: Asked = Asked::new(
    "not-read-ahead",
    "At most one MiB of an answer is read ahead of its client, and the answer's source ends when the client leaves.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Router, Arc<Semaphore>, Duration) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(SICK_WITHIN_TWO_PERIODS, sick_within_two_periods)
        .promise(WELL_WITHIN_TWO_PERIODS, well_within_two_periods)
        .promise(BUSY_IS_NOT_SICK, busy_is_not_sick)
        .promise(CROWD_IS_SERVED, crowd_is_served)
        .promise(BAD_ORDER_IS_NO_OUTAGE, bad_order_is_no_outage)
        .promise(ALIVE_THROUGHOUT, alive_throughout)
        .promise(NOT_READY_BEFORE_A_CHECK, not_ready_before_a_check)
        .promise(ONE_PING_A_PERIOD, one_ping_a_period)
        .promise(PROBE_ANSWERED_IN_A_PERIOD, probe_answered_in_a_period)
        .promise(CHECK_GIVES_PERMIT_BACK, check_gives_permit_back)
        .promise(ORDERS_REFUSED_WHILE_SICK, orders_refused_while_sick)
        .promise(WAITING_ORDER_IS_REFUSED, waiting_order_is_refused)
        .promise(REFUSED_ORDER_STAYS_UNDONE, refused_order_stays_undone)
        .promise(CHECK_OUTLIVES_ITS_PROBER, check_outlives_its_prober)
        .promise(PROBING_PROXY_GOES_ROUND, probing_proxy_goes_round)
        .promise(LEARNING_PROXY_GOES_ROUND, learning_proxy_goes_round)
        .promise(ORDERS_PASS_AS_THEY_ARE, orders_pass_as_they_are)
        .promise(CHECKS_END_WITH_THE_SERVICE, checks_end_with_the_service)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "lying-health-check";
    type App = fn(Router, Arc<Semaphore>, Duration) -> Router;
    type StandIns = (Router, Arc<Semaphore>, Duration);
    const ASKED: &'static [Asked] = &[
        HALF_A_PERIOD,
        PANIC_ENDS_A_PROBE,
        A_CONNECTION_FOR_EACH,
        CONNECTIONS_COME_BACK,
        BACK_IN_ROTATION,
        ORDERS_ONLY,
        NOT_READ_AHEAD,
    ];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// A database, a pool and a period to try the app with on a real socket. An order with `?then=fail` or `?then=hang` in its
    /// address is served, and for ten seconds after it the database fails or hangs; on stderr it says what it is asked.
    fn stand_ins() -> Self::StandIns {
        let until = Arc::new(Mutex::new((Outcome::Serves, tokio::time::Instant::now())));
        let database = async move |request: Request| {
            let now = tokio::time::Instant::now();
            let outcome = match *locked(&until) {
                (outcome, end) if now < end => outcome,
                _ => Outcome::Serves,
            };
            lab::say(format_args!("database: {} {} {outcome}", request.method(), request.uri()));
            let then = match request.uri().query() {
                Some("then=fail") => Some(Outcome::Fails),
                Some("then=hang") => Some(Outcome::Hangs),
                _ => None,
            };
            if let (Outcome::Serves, Some(then)) = (outcome, then) {
                *locked(&until) = (then, now + Duration::from_secs(10));
            }
            match outcome {
                Outcome::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                Outcome::Hangs => pending().await,
                _ => format!("{SERVED}\n").into_response(),
            }
        };
        (Router::new().fallback(database), Arc::new(Semaphore::new(CONNECTIONS)), Duration::from_secs(1))
    }

    fn serve(app: Self::App, (database, pool, period): Self::StandIns) -> Router {
        app(database, pool, period)
    }
}

async fn sick_within_two_periods(lab: Lab, app: App) -> Proof {
    for (protocol, (phase, fault)) in each_at_each(PHASES, Fault::ALL) {
        let service =
            Service::open(&lab, &app, format!("{protocol}, {phase} ms after a probe {fault}"), protocol).await?;
        let began = service.suffer_after(phase, fault).await;
        let told = service.told_at(began + TWO_PERIODS).await;
        let observed = format!("{} ms after {fault}, {told}", told.sent_ms - began);
        let refused = told.status == Some(StatusCode::SERVICE_UNAVAILABLE);
        match fault {
            // Some checks are made by the task that answers the probe, which the panic ends.
            Fault::Panics => PANIC_ENDS_A_PROBE.require(refused || told.status.is_none(), observed)?,
            Fault::Slow => HALF_A_PERIOD.require(refused, observed)?,
            _ => SICK_WITHIN_TWO_PERIODS.require(refused, observed)?,
        }
    }
    Ok(())
}

async fn well_within_two_periods(lab: Lab, app: App) -> Proof {
    for (protocol, (phase, fault)) in each_at_each(PHASES, Fault::THAT_PASS) {
        let title = format!("{protocol}, {fault} until {phase} ms after a probe");
        let service = Service::open(&lab, &app, title, protocol).await?;
        service.suffer(fault).await;
        service.probe_each_period(1..=3).await;
        let over = service.recover_after(phase).await;
        service.is_well(over, &fault.to_string()).await?;
    }
    for (protocol, fault) in in_turn([Fault::Hangs, Fault::PoolUsedUp, Fault::PoolUsedUp, Fault::Hangs]) {
        let title = format!("{protocol}, {fault} for a while, and clients leave while they wait");
        let service = Service::open(&lab, &app, title, protocol).await?;
        service.suffer(fault).await;
        let leave_after = |patience| service.ask("client", Method::POST, "/orders", patience);
        // The last ones come when it is known, and are refused.
        let leaving = async {
            tokio::join!(leave_after(1), leave_after(90), leave_after(250), leave_after(640), leave_after(1210));
        };
        tokio::join!(leaving, service.told_at(service.ready_ms + 3 * PERIOD + 10));
        let over = service.recover().await;
        service.is_well(over, &format!("{fault}, and clients left while they waited")).await?;
        let told = service.order().await;
        ORDERS_REFUSED_WHILE_SICK
            .require(told.is_served(), format!("{fault} for a while, clients left while they waited, and {told}"))?;
        service.all_connections_are_free().await?;
    }
    Ok(())
}

async fn busy_is_not_sick(lab: Lab, app: App) -> Proof {
    let [one, other] = Protocol::BOTH;
    for protocol in Protocol::BOTH {
        let service = Service::open(&lab, &app, format!("{protocol}, each ping takes 490 ms"), protocol).await?;
        service.database.will(490, Outcome::Serves);
        service.stays_ready(HALF_A_PERIOD, "each ping took 490 ms").await?;
    }
    for (protocol, milliseconds) in [(other, 300), (one, 390)] {
        let title = format!("{protocol}, a pool in use, for {milliseconds} ms at a time");
        let service = Service::open(&lab, &app, title, protocol).await?;
        let reports = service.run_reports_of(milliseconds);
        let because = format!("each connection was given back after {milliseconds} ms");
        let ready = service.stays_ready(BUSY_IS_NOT_SICK, &because).await;
        reports.abort();
        ready?;
    }
    Ok(())
}

async fn crowd_is_served(lab: Lab, app: App) -> Proof {
    const ORDERS_EACH: usize = 4;
    for protocol in Protocol::BOTH {
        let title = format!("{protocol}, {CROWD} clients order at once, and again when they are served");
        let service = Service::open(&lab, &app, title, protocol).await?;
        sleep(Duration::from_millis(LATER)).await;
        let order = || Request::post("/orders?takes=200").body(Body::empty()).expect("a path");
        let crowd = service.server.crowd(protocol, (0..CROWD).map(|_| order())).await;
        let clients: Vec<_> = crowd
            .into_iter()
            .map(|(connection, mut pending)| {
                let scene = service.scene.clone();
                service.scene.spawn(async move {
                    for _ in 0..ORDERS_EACH {
                        let told = Told::of("client", &scene, pending).await;
                        if !told.is_served() {
                            return Some(told.to_string());
                        }
                        pending = connection.begin(order());
                    }
                    pending.cancel();
                    None
                })
            })
            .collect();
        // The crowd is there for five periods.
        for quarter in 1..=20 {
            let told = service.probe_at(service.ready_ms + LATER + quarter * PERIOD / 4).await;
            CROWD_IS_SERVED.require(
                told.status == Some(StatusCode::OK),
                format!("{CROWD} clients had ordered, the database was well, and {told}"),
            )?;
        }
        for client in clients {
            let refused = client.await.map_err(|ended| Broken::because(ended.to_string()))?;
            CROWD_IS_SERVED.require(
                refused.is_none(),
                format!("{CROWD} clients ordered, the database was well, and {}", refused.unwrap_or_default()),
            )?;
        }
        let crowded = service.database.crowded.load(Ordering::Relaxed);
        A_CONNECTION_FOR_EACH.require(
            !crowded,
            format!("more than {CONNECTIONS} orders were at the database at once, for {CONNECTIONS} connections"),
        )?;
        sleep(Duration::from_millis(PERIOD)).await;
        service.all_connections_are_free().await?;
    }
    Ok(())
}

async fn bad_order_is_no_outage(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let title = format!("{protocol}, bad orders, one after the other");
        let service = Service::open(&lab, &app, title, protocol).await?;
        for (bad, what) in [
            ("/orders?says=404", "an order that the database answers 404"),
            ("/orders?says=409", "an order that the database answers 409"),
            ("/orders?says=500", "an order that the database answers 500"),
            ("/orders?says=503", "an order that the database answers 503"),
            ("/orders?panics", "an order at which the driver panics"),
        ] {
            sleep(Duration::from_millis(LATER)).await;
            service.ask("client", Method::POST, bad, PATIENCE).await;
            let (sent, _) = service.database.times(bad);
            REFUSED_ORDER_STAYS_UNDONE.require(sent == 1, format!("{what} was sent to it {sent} times"))?;
            for later in [10, 600] {
                sleep(Duration::from_millis(later)).await;
                let told = service.ask("prober", Method::GET, "/readyz", PATIENCE).await;
                BAD_ORDER_IS_NO_OUTAGE.require(
                    told.status == Some(StatusCode::OK),
                    format!("after {what}, with the database well, {told}"),
                )?;
                let told = service.ask("next client", Method::POST, "/orders", PATIENCE).await;
                BAD_ORDER_IS_NO_OUTAGE
                    .require(told.is_served(), format!("after {what}, with the database well, {told}"))?;
            }
        }
    }
    Ok(())
}

async fn alive_throughout(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let service = Service::open(&lab, &app, format!("{protocol}, one fault after the other"), protocol).await?;
        let told = service.ask("prober", Method::GET, "/livez", PATIENCE).await;
        control(told.status == Some(StatusCode::OK), told.to_string())?;
        for fault in Fault::ALL {
            service.suffer(fault).await;
            sleep(Duration::from_millis(2 * PERIOD)).await;
            let told = service.ask("prober", Method::GET, "/livez", PATIENCE).await;
            ALIVE_THROUGHOUT.require(told.status == Some(StatusCode::OK), format!("{fault}, and {told} at /livez"))?;
            service.recover().await;
        }
    }
    Ok(())
}

async fn not_ready_before_a_check(lab: Lab, app: App) -> Proof {
    for (protocol, (title, delay, outcome)) in in_turn([
        ("a database that hangs at first", 0, Outcome::Hangs),
        ("a database whose first answer takes 300 ms", 300, Outcome::Serves),
    ]) {
        let service = Service::start(lab.scene(format!("{protocol}, {title}")), &app, protocol, "");
        service.database.will(delay, outcome);
        for moment in [FIRST_PROBE, FIRST_PROBE + PERIOD] {
            let told = service.probe_at(moment).await;
            let passed = service.database.pings().contains(&Ping::Passed);
            let ready = told.status == Some(StatusCode::OK);
            NOT_READY_BEFORE_A_CHECK.require(
                passed || !ready,
                format!("{title}: no check had passed at {} ms, and {told}", told.sent_ms),
            )?;
        }
        service.database.will(0, Outcome::Serves);
        service.probe_at(FIRST_PROBE + 2 * PERIOD).await;
        let told = service.probe_at(FIRST_PROBE + 3 * PERIOD).await;
        WELL_WITHIN_TWO_PERIODS.require(
            told.status == Some(StatusCode::OK),
            format!("the database was well for two periods, and {told}"),
        )?;
    }
    Ok(())
}

async fn one_ping_a_period(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let title = format!("{protocol}, two probes every half period, and a database that begins to hang");
        let service = Service::open(&lab, &app, title, protocol).await?;
        service.database.forget();
        let began = service.scene.now_ms();
        for outcome in [Outcome::Serves, Outcome::Hangs] {
            service.database.will(0, outcome);
            for _ in 0..3 {
                let probe = || service.ask("prober", Method::GET, "/readyz", PATIENCE);
                tokio::join!(probe(), probe());
                sleep(Duration::from_millis(PERIOD / 2)).await;
            }
        }
        service.was_pinged_once_a_period(began)?;
    }
    for (protocol, (after_ms, outcome)) in in_turn([
        (0, Outcome::Serves),
        (0, Outcome::Fails),
        (100, Outcome::Fails),
        (100, Outcome::Serves),
        (0, Outcome::Panics),
        (0, Outcome::Hangs),
    ]) {
        let title = format!("{protocol}, ten probes at once of a database that {outcome} after {after_ms} ms");
        let service = Service::open(&lab, &app, title, protocol).await?;
        sleep(Duration::from_millis(LATER)).await;
        service.database.forget();
        let began = service.scene.now_ms();
        service.database.will(after_ms, outcome);
        for _ in 0..3 {
            let probes = (0..10).map(|_| Request::get("/readyz").body(Body::empty()).expect("a path"));
            let crowd = service.server.crowd(protocol, probes).await;
            sleep(Duration::from_millis(PERIOD * 7 / 10)).await;
            drop(crowd);
        }
        service.was_pinged_once_a_period(began)?;
    }
    Ok(())
}

async fn probe_answered_in_a_period(lab: Lab, app: App) -> Proof {
    for (protocol, fault) in in_turn([Fault::Hangs, Fault::PoolUsedUp]) {
        let service = Service::open(&lab, &app, format!("{protocol}, {fault}"), protocol).await?;
        service.suffer(fault).await;
        service.sleep_until(service.ready_ms + PERIOD).await;
        let probe = |path| service.ask("prober", Method::GET, path, PATIENCE);
        let (one, other, alive) = tokio::join!(probe("/readyz"), probe("/readyz"), probe("/livez"));
        for told in [one, other, alive] {
            let in_time = told.status.is_some() && told.after_ms <= PERIOD;
            PROBE_ANSWERED_IN_A_PERIOD.require(in_time, format!("{fault}, and {told} after {} ms", told.after_ms))?;
        }
    }
    Ok(())
}

async fn check_gives_permit_back(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let service = Service::open(&lab, &app, format!("{protocol}, {}", Fault::Hangs), protocol).await?;
        let began = service.suffer(Fault::Hangs).await;
        let probing = async {
            service.probe_each_period(1..=3).await;
            Proof::Ok(())
        };
        let looking = async {
            let mut held_since = None;
            for _ in 0..28 {
                sleep(Duration::from_millis(PERIOD / 8)).await;
                let (held, now) = (CONNECTIONS - service.pool.available_permits(), service.scene.now_ms());
                let hung = now - began;
                CHECK_GIVES_PERMIT_BACK.require(
                    held <= 1,
                    format!("the database hung for {hung} ms, and checks held {held} connections"),
                )?;
                held_since = held_since.or(Some(now)).filter(|_| held > 0);
                let longest = held_since.map_or(0, |since| now - since);
                CHECK_GIVES_PERMIT_BACK.require(
                    longest <= PERIOD,
                    format!("the database hung, and a check held a connection for {longest} ms"),
                )?;
            }
            Proof::Ok(())
        };
        tokio::try_join!(probing, looking)?;
        service.recover().await;
        sleep(Duration::from_millis(2 * PERIOD)).await;
        let held = CONNECTIONS - service.pool.available_permits();
        CHECK_GIVES_PERMIT_BACK.require(
            held == 0,
            format!("two periods after the database hung {held} connections were not given back"),
        )?;
    }
    Ok(())
}

async fn orders_refused_while_sick(lab: Lab, app: App) -> Proof {
    for (protocol, (phase, fault)) in each_at_each(PHASES, Fault::THAT_PASS) {
        let service =
            Service::open(&lab, &app, format!("{protocol}, {phase} ms after a probe {fault}"), protocol).await?;
        let told = service.order().await;
        control(told.is_served(), told.to_string())?;
        let began = service.suffer_after(phase, fault).await;
        if fault == Fault::Fails {
            let told = service.order().await;
            ORDERS_REFUSED_WHILE_SICK
                .require(told.has_failed(), format!("the database failed the order, and {told}"))?;
        }
        let ordering = async {
            service.sleep_until(began + TWO_PERIODS).await;
            service.order().await
        };
        let (told, _) = tokio::join!(ordering, service.told_at(began + TWO_PERIODS));
        let refused = told.status == Some(StatusCode::SERVICE_UNAVAILABLE) && told.after_ms <= PERIOD;
        let observed = format!("{fault} for more than two periods, and {told} after {} ms", told.after_ms);
        ORDERS_REFUSED_WHILE_SICK.require(refused, observed)?;
        let over = service.recover().await;
        service.told_at(over + TWO_PERIODS).await;
        let told = service.order().await;
        ORDERS_REFUSED_WHILE_SICK
            .require(told.is_served(), format!("{fault}; two periods after that was over, {told}"))?;
    }
    Ok(())
}

async fn waiting_order_is_refused(lab: Lab, app: App) -> Proof {
    for (protocol, (phase, fault)) in each_at_each(PHASES, [Fault::Hangs, Fault::PoolUsedUp]) {
        let title = format!("{protocol}, {phase} ms after a probe {fault}, and orders wait for a connection");
        let service = Service::open(&lab, &app, title, protocol).await?;
        let told = service.order().await;
        control(told.is_served(), told.to_string())?;
        let began = service.suffer_after(phase, fault).await;
        // What is at a database that hangs may wait for it.
        let at_the_database = match fault {
            Fault::Hangs => service.crowd_of_orders(CONNECTIONS).await,
            _ => Vec::new(),
        };
        let until = began + TWO_PERIODS;
        let waits = async |later_ms| {
            service.sleep_until(began + later_ms).await;
            let patience = until - service.scene.now_ms();
            service.ask("client", Method::POST, "/orders", patience).await
        };
        let (first, second, third, _) = tokio::join!(waits(5), waits(5), waits(410), service.told_at(until));
        for told in [first, second, third] {
            WAITING_ORDER_IS_REFUSED.require(
                told.status == Some(StatusCode::SERVICE_UNAVAILABLE),
                format!("{fault}, an order waited for a connection, and two periods later {told}"),
            )?;
        }
        drop(at_the_database);
    }
    Ok(())
}

async fn refused_order_stays_undone(lab: Lab, app: App) -> Proof {
    // Checks begin or give up at some of these moments: either outcome is right then, and everybody has to agree.
    const ENDS: [u64; 6] = [420, 629, 630, 1130, 1629, 2890];
    let faults = [Fault::Hangs, Fault::PoolUsedUp, Fault::Fails];
    for (protocol, (end, fault)) in each_at_each(ENDS, faults) {
        let title = format!("{protocol}, a crowd orders, and {fault} for {end} ms");
        let service = Service::open(&lab, &app, title, protocol).await?;
        let told = service.order().await;
        control(told.is_served(), told.to_string())?;
        let began = service.suffer(fault).await;
        let mut orders = Vec::new();
        for moment in [5, 300] {
            service.sleep_until(began + moment).await;
            orders.extend(service.crowd_of_orders(CONNECTIONS + 2).await);
        }
        let answers: Vec<_> = orders
            .into_iter()
            .map(|order| {
                let scene = service.scene.clone();
                service.scene.spawn(async move {
                    let told = Told::of("client", &scene, order.pending).await;
                    (order.number, told, order.connection)
                })
            })
            .collect();
        service.sleep_until(began + end).await;
        service.recover_now();
        service.told_at(service.scene.now_ms() + 4 * PERIOD).await;
        for answer in answers {
            REFUSED_ORDER_STAYS_UNDONE.require(
                answer.is_finished(),
                format!("{fault} for {end} ms, and four periods later an order had no answer"),
            )?;
            let (number, told, _) = answer.await.map_err(|ended| Broken::because(ended.to_string()))?;
            let (sent, done) = service.database.times(&format!("/orders?number={number}"));
            REFUSED_ORDER_STAYS_UNDONE.require(
                sent <= 1,
                format!("{fault} for {end} ms; {told}, and the order was sent to the database {sent} times"),
            )?;
            let agree = if told.has_failed() { done == 0 } else { done == 1 };
            REFUSED_ORDER_STAYS_UNDONE.require(
                agree,
                format!("{fault} for {end} ms; {told}, and the database carried the order out {done} times"),
            )?;
        }
    }
    Ok(())
}

async fn check_outlives_its_prober(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let title = format!("{protocol}, a ping takes 300 ms, and each prober leaves after 100 ms");
        let service = Service::open(&lab, &app, title, protocol).await?;
        service.database.forget();
        service.database.will(300, Outcome::Serves);
        for periods in 1..=3 {
            service.leave_a_probe_after(periods).await;
        }
        service.sleep_until(service.ready_ms + 3 * PERIOD + PERIOD / 2).await;
        let pings = service.database.pings();
        let stopped = pings.iter().filter(|ping| **ping == Ping::GivenUp).count();
        CHECK_OUTLIVES_ITS_PROBER.require(
            stopped == 0,
            format!("{stopped} of {} checks were stopped when their prober left", pings.len()),
        )?;
        CHECK_OUTLIVES_ITS_PROBER
            .require(pings.contains(&Ping::Passed), "no check came to its end while each prober left early")?;
    }
    Ok(())
}

async fn probing_proxy_goes_round(lab: Lab, app: App) -> Proof {
    for (protocol, fault) in in_turn([Fault::Fails, Fault::Hangs]) {
        let title = format!("{protocol}, two instances, and at one of them {fault}");
        let mut proxy = ProbingProxy::open(&lab, &app, title, protocol).await?;
        let began = proxy.instances[0].suffer(fault).await;
        for moment in [500, 900, 3100, 3400, 3700] {
            proxy.instances[0].sleep_until(began + moment).await;
            let (instance, told) = proxy.order().await;
            let observed =
                format!("{fault} at one of two instances; {moment} ms later an order was sent there, and {told}");
            PROBING_PROXY_GOES_ROUND.require(moment <= 3 * PERIOD || instance == 1, observed)?;
            BACK_IN_ROTATION.require(
                instance == 0 || told.is_served(),
                format!("the instance that was well got an order, and {told}"),
            )?;
        }
        proxy.instances[0].recover().await;
        sleep(Duration::from_millis(3 * PERIOD)).await;
        BACK_IN_ROTATION
            .require(proxy.is_up(0), "three periods after the sick instance was well it was still out of rotation")?;
        for _ in 0..2 {
            let (_, told) = proxy.order().await;
            BACK_IN_ROTATION
                .require(told.is_served(), format!("three periods after both instances were well, {told}"))?;
        }
    }
    Ok(())
}

async fn learning_proxy_goes_round(lab: Lab, app: App) -> Proof {
    let title = format!("{}, two instances, and at one of them {}", Protocol::Http1, Fault::Fails);
    let mut proxy = LearningProxy::open(&lab, &app, title).await?;
    proxy.instances[0].suffer(Fault::Fails).await;
    let mut lost = 0;
    for _ in 0..10 {
        lost += usize::from(!proxy.order().await.is_served());
        sleep(Duration::from_millis(PERIOD * 3 / 4)).await;
    }
    let sent = &proxy.sent_to_the_first;
    let within =
        |first: &u64| sent.iter().filter(|at| (*first..*first + LearningProxy::FAIL_TIMEOUT).contains(at)).count();
    let most = sent.iter().map(within).max().unwrap_or(0);
    let observed = format!(
        "the sick one of two instances got {most} orders in one fail_timeout, and {lost} of 10 clients were not served"
    );
    LEARNING_PROXY_GOES_ROUND.require(lost == 0 && most <= LearningProxy::MAX_FAILS + 1, observed)
}

async fn orders_pass_as_they_are(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        an_order_and_its_answer_are_whole(&lab, &app, protocol).await?;
        a_slow_order_is_served(&lab, &app, protocol).await?;
        an_answer_comes_frame_by_frame(&lab, &app, protocol).await?;
        an_answer_waits_for_its_client(&lab, &app, protocol).await?;
        an_order_goes_frame_by_frame(&lab, &app, protocol).await?;
    }
    Ok(())
}

async fn an_order_and_its_answer_are_whole(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let service = Service::open(lab, app, format!("{protocol}, answers of all kinds"), protocol).await?;
    let client = service.connection("client").await;
    for status in [200, 201, 303, 400, 404, 409, 422, 429] {
        let path = format!("/orders?says={status}");
        let text = format!("{status} cups").repeat(2000);
        let order = Request::post(&path).header("x-tenant", "north").body(Body::from(text.clone())).expect("a path");
        let answer = client.send(order).await?;
        let told =
            (answer.status().as_u16(), answer.header("x-database").map(str::to_owned), answer.read().await.text());
        let meant = (status, Some("seven".to_owned()), SERVED.to_owned());
        ORDERS_PASS_AS_THEY_ARE.require(
            told == meant,
            format!("the database answered {status} with a header and {SERVED:?}, and the client was told {told:?}"),
        )?;
        let came: Vec<Order> = service.database.orders().into_iter().filter(|order| order.path == path).collect();
        ORDERS_PASS_AS_THEY_ARE
            .require(came.len() == 1, format!("an order reached the database {} times", came.len()))?;
        let whole = came.iter().all(|order| {
            order.method == Method::POST && order.tenant.as_deref() == Some("north") && order.text == text
        });
        ORDERS_PASS_AS_THEY_ARE
            .require(whole, "an order reached the database with another method, header or body than it had")?;
    }
    let told = service.ask("client", Method::GET, "/orders?of=north", PATIENCE).await;
    let came = service.database.orders().pop();
    let whole = came.is_some_and(|order| order.method == Method::GET && order.path == "/orders?of=north");
    ORDERS_PASS_AS_THEY_ARE
        .require(told.is_served() && whole, format!("the client asked for the orders of the north, and {told}"))?;
    let before = service.database.orders().len();
    for (method, path, status) in [
        (Method::PUT, "/orders", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "/orders", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/order", StatusCode::NOT_FOUND),
    ] {
        let told = service.ask("client", method.clone(), path, PATIENCE).await;
        let came = service.database.orders().len() - before;
        ORDERS_ONLY.require(
            told.status == Some(status) && came == 0,
            format!("the client sent {method} {path}, {told}, and {came} orders reached the database"),
        )?;
    }
    Ok(())
}

async fn a_slow_order_is_served(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let service = Service::open(lab, app, format!("{protocol}, an order that takes 6.4 periods"), protocol).await?;
    sleep(Duration::from_millis(LATER)).await;
    let slow = service.ask("client", Method::POST, "/orders?takes=6400", 7 * PERIOD);
    let (told, ready) = tokio::join!(slow, service.probe_each_period(1..=6));
    control(ready.status == Some(StatusCode::OK), ready.to_string())?;
    ORDERS_PASS_AS_THEY_ARE.require(
        told.is_served(),
        format!("an order took 6400 ms, the database was well, and {told} after {} ms", told.after_ms),
    )?;
    let done = service.database.orders().len();
    ORDERS_PASS_AS_THEY_ARE.require(done == 1, format!("a slow order reached the database {done} times"))
}

async fn an_answer_comes_frame_by_frame(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let (scene, body) = streaming(lab, format!("{protocol}, an answer in three frames with trailers"));
    let (mut feed, source) = scene.feed_that_ends_once("database");
    *locked(&body) = Some(source);
    let pool = Arc::new(Semaphore::new(CONNECTIONS));
    let server = scene.serve(app(streams(body), pool, Duration::from_millis(PERIOD)));
    sleep(Duration::from_millis(FIRST_PROBE)).await;
    let client = server.connect("client", protocol).await;
    let order = Request::get("/orders").header("te", "trailers").body(Body::empty()).expect("a path");
    feed.data("first");
    let answer = timeout(Duration::from_millis(PERIOD), client.send(order)).await;
    let answer = answer
        .map_err(|_| Broken::because("the database has begun its answer, and the client has nothing of it"))??;
    let listener = answer.listen();
    scene.settle().await;
    ORDERS_PASS_AS_THEY_ARE.require(
        listener.so_far().text() == "first",
        "the first frame of an answer does not come before the second is there",
    )?;
    feed.data(vec![b'.'; 300_000]);
    feed.data("last");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-rows", HeaderValue::from_static("3"));
    feed.trailers(trailers);
    feed.end();
    let came = listener.ended().await;
    let whole = came.bytes().len() == 300_009 && came.text().ends_with("last");
    ORDERS_PASS_AS_THEY_ARE
        .require(whole, format!("the client had {} of an answer of 300009 bytes", came.bytes().len()))?;
    ORDERS_PASS_AS_THEY_ARE.require(
        came.trailers.is_some_and(|trailers| trailers.contains_key("x-rows")),
        "the trailers of an answer are lost",
    )
}

async fn an_answer_waits_for_its_client(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let (scene, body) = streaming(lab, format!("{protocol}, a client that does not read its answer, and leaves"));
    let (feed, source) = scene.feed_that_ends_once("database");
    *locked(&body) = Some(source);
    let pool = Arc::new(Semaphore::new(CONNECTIONS));
    let server = scene.serve(app(streams(body), pool.clone(), Duration::from_millis(PERIOD)));
    sleep(Duration::from_millis(FIRST_PROBE)).await;
    // Twice what may be taken.
    for _ in 0..2048 {
        feed.data(vec![b'.'; 1024]);
    }
    let client = server.connect("client", protocol).await;
    let order = Request::get("/orders").body(Body::empty()).expect("a path");
    let answer = client.send(order).await?;
    control(answer.status() == StatusCode::OK, format!("the client was told {}", answer.status().as_u16()))?;
    sleep(Duration::from_millis(PERIOD)).await;
    let kib = feed.taken() / 1024;
    NOT_READ_AHEAD.require(kib <= 1024, format!("the client read nothing, and {kib} KiB of its answer were taken"))?;
    scene.settle().await;
    let held = CONNECTIONS - pool.available_permits();
    A_CONNECTION_FOR_EACH
        .require(held == 0, format!("while an answer is read, {held} of {CONNECTIONS} connections are held"))?;
    client.leave();
    sleep(Duration::from_millis(PERIOD)).await;
    NOT_READ_AHEAD.require(feed.dropped_at_ms().is_some(), "a period after its client left an answer was still read")
}

async fn an_order_goes_frame_by_frame(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let scene = lab.scene(format!("{protocol}, an order in two frames"));
    let (came, mut arrives) = watch::channel(0);
    let database = async move |request: Request| {
        let is_ping = request.uri().path() == "/ping";
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            came.send_modify(|came| *came += frame.data_ref().map_or(0, Bytes::len));
        }
        if is_ping { "pong".to_owned() } else { came.borrow().to_string() }
    };
    let pool = Arc::new(Semaphore::new(CONNECTIONS));
    let server = scene.serve(app(Router::new().fallback(database), pool, Duration::from_millis(PERIOD)));
    sleep(Duration::from_millis(FIRST_PROBE)).await;
    let client = server.connect("client", protocol).await;
    let (mut feed, body) = scene.feed("client's order");
    let pending = client.begin(Request::post("/orders").body(body).expect("a path"));
    feed.data("two ");
    let early = timeout(Duration::from_millis(PERIOD), arrives.wait_for(|came| *came == 4)).await.is_ok();
    ORDERS_PASS_AS_THEY_ARE.require(early, "the first frame of an order does not come before the second is there")?;
    feed.data(vec![b'.'; 200_000]);
    feed.end();
    let told = Told::of("client", &scene, pending).await;
    ORDERS_PASS_AS_THEY_ARE.require(told.text == "200004", format!("an order had 200004 bytes, and {told}"))
}

async fn checks_end_with_the_service(lab: Lab, app: App) -> Proof {
    for (protocol, outcome) in in_turn([Outcome::Serves, Outcome::Hangs, Outcome::Hangs, Outcome::Serves]) {
        let title = format!("{protocol}, the service is shut down, and the database {outcome}");
        let service = Service::open(&lab, &app, title, protocol).await?;
        service.database.will(0, outcome);
        service.probe_after(1).await;
        let Service { scene, server, idle, database, pool, .. } = service;
        drop(server);
        for (_, connection) in locked(&idle).drain(..) {
            connection.leave();
        }
        drop(idle);
        scene.settle().await;
        sleep(Duration::from_millis(TWO_PERIODS)).await;
        database.forget();
        sleep(Duration::from_millis(3 * PERIOD)).await;
        let pings = database.pings().len();
        CHECKS_END_WITH_THE_SERVICE.require(
            pings == 0,
            format!(
                "the service was shut down two periods ago, and in three more the database was pinged {pings} times"
            ),
        )?;
        let held = CONNECTIONS - pool.available_permits();
        CONNECTIONS_COME_BACK
            .require(held == 0, format!("the service was shut down, and {held} connections were held"))?;
    }
    Ok(())
}

/// A scene, and the place of the body with which the database will answer the next order.
fn streaming(lab: &Lab, title: String) -> (Scene, Arc<Mutex<Option<Body>>>) {
    (lab.scene(title), Arc::default())
}

/// A database that is well, and answers an order with that body.
fn streams(body: Arc<Mutex<Option<Body>>>) -> Router {
    Router::new().fallback(async move |request: Request| match request.uri().path() {
        "/ping" => "pong".into_response(),
        // Over HTTP/1.1 there are only those trailers that the head announces.
        _ => ([("trailer", "x-rows")], locked(&body).take().unwrap_or_default()).into_response(),
    })
}

// ===== Faults =====

/// What becomes of the database or the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fails,
    Hangs,
    PoolUsedUp,
    Panics,
    Slow,
}

impl Fault {
    const ALL: [Self; 5] = [Self::Fails, Self::Hangs, Self::PoolUsedUp, Self::Panics, Self::Slow];
    /// Those from which a service recovers without a restart.
    const THAT_PASS: [Self; 3] = [Self::Fails, Self::Hangs, Self::PoolUsedUp];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fails => "the database failed",
            Self::Hangs => "the database hung",
            Self::PoolUsedUp => "the pool was used up",
            Self::Panics => "the driver of the database panicked",
            Self::Slow => "the database took 510 ms for a ping",
        })
    }
}

// ===== The service =====

/// The app in one scene: served, with a database and a pool.
struct Service {
    scene: Scene,
    /// What tells it from another instance in the scene.
    name: &'static str,
    server: Server,
    database: Database,
    pool: Arc<Semaphore>,
    protocol: Protocol,
    /// When the first probe found it ready, in milliseconds of the scene.
    ready_ms: u64,
    /// The connections of the pool that are lost to something else than orders and checks.
    lost: Mutex<Option<OwnedSemaphorePermit>>,
    /// How many orders have a number.
    ordered: AtomicUsize,
    /// Who keeps a connection to the app that is not in use.
    idle: Mutex<Vec<(&'static str, Connection)>>,
}

impl Service {
    /// Serves the app.
    fn start(scene: Scene, app: &App, protocol: Protocol, name: &'static str) -> Self {
        let database = Database::new(&scene, format!("database{name}"));
        let pool = Arc::new(Semaphore::new(CONNECTIONS));
        let server = scene.serve(app(database.router(), pool.clone(), Duration::from_millis(PERIOD)));
        Self {
            scene,
            name,
            server,
            database,
            pool,
            protocol,
            ready_ms: 0,
            lost: Mutex::default(),
            ordered: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    /// Serves the app, and sees that it becomes ready within two periods.
    async fn open(lab: &Lab, app: &App, title: String, protocol: Protocol) -> Result<Self, Broken> {
        let mut service = Self::start(lab.scene(title), app, protocol, "");
        service.becomes_ready().await?;
        Ok(service)
    }

    async fn becomes_ready(&mut self) -> Proof {
        let mut told = self.probe_at(FIRST_PROBE).await;
        for periods in 1..=2 {
            if told.status == Some(StatusCode::OK) {
                break;
            }
            told = self.probe_at(FIRST_PROBE + periods * PERIOD).await;
        }
        control(told.status == Some(StatusCode::OK), format!("the database was well, and {told}"))?;
        self.ready_ms = told.sent_ms;
        Ok(())
    }

    /// Brings the fault about, some time after a probe, and tells when.
    async fn suffer(&self, fault: Fault) -> u64 {
        self.suffer_after(LATER, fault).await
    }

    /// Brings the fault about so many milliseconds from now, and tells when.
    async fn suffer_after(&self, milliseconds: u64, fault: Fault) -> u64 {
        sleep(Duration::from_millis(milliseconds)).await;
        match fault {
            Fault::Fails => self.database.will(0, Outcome::Fails),
            Fault::Hangs => self.database.will(0, Outcome::Hangs),
            Fault::Panics => self.database.will(0, Outcome::Panics),
            Fault::Slow => self.database.will(510, Outcome::Serves),
            Fault::PoolUsedUp => self.use_up_the_pool(),
        }
        self.scene.now_ms()
    }

    /// Ends the fault, some time after a probe, and tells when.
    async fn recover(&self) -> u64 {
        self.recover_after(LATER).await
    }

    /// Ends the fault so many milliseconds from now, and tells when.
    async fn recover_after(&self, milliseconds: u64) -> u64 {
        sleep(Duration::from_millis(milliseconds)).await;
        self.recover_now();
        self.scene.now_ms()
    }

    fn recover_now(&self) {
        self.database.will(0, Outcome::Serves);
        if locked(&self.lost).take().is_some() {
            self.scene.note("reports", "give their connections back");
        }
    }

    /// Sees that it is well two periods after the fault was over.
    async fn is_well(&self, over: u64, fault: &str) -> Proof {
        let told = self.told_at(over + TWO_PERIODS).await;
        WELL_WITHIN_TWO_PERIODS.require(
            told.status == Some(StatusCode::OK),
            format!("{fault}; {} ms after that was over, {told}", told.sent_ms - over),
        )
    }

    /// Sees that nobody has a connection of the pool, when a check may have taken one at this moment.
    async fn all_connections_are_free(&self) -> Proof {
        for _ in 0..2 {
            if self.pool.available_permits() == CONNECTIONS {
                return Ok(());
            }
            sleep(Duration::from_millis(PERIOD * 7 / 10)).await;
        }
        let held = CONNECTIONS - self.pool.available_permits();
        CONNECTIONS_COME_BACK
            .require(held == 0, format!("no order was under way, and {held} connections were not free"))
    }

    fn was_pinged_once_a_period(&self, since: u64) -> Proof {
        let lasted = self.scene.now_ms() - since;
        let pings = self.database.pings().len() as u64;
        ONE_PING_A_PERIOD
            .require(pings <= lasted / PERIOD + 1, format!("in {lasted} ms the database was pinged {pings} times"))
    }

    /// Clients that order at once, each with a number of its own. Each stays as long as its connection.
    async fn crowd_of_orders(&self, clients: usize) -> Vec<Ordered> {
        let first = self.ordered.fetch_add(clients, Ordering::Relaxed);
        let numbers = first..first + clients;
        let orders = numbers
            .clone()
            .map(|number| Request::post(format!("/orders?number={number}")).body(Body::empty()).expect("a path"));
        let crowd = self.server.crowd(self.protocol, orders).await;
        numbers.zip(crowd).map(|(number, (connection, pending))| Ordered { number, connection, pending }).collect()
    }

    fn use_up_the_pool(&self) {
        let free = u32::try_from(self.pool.available_permits()).unwrap_or(0);
        self.scene.note("reports", format!("take the {free} free connections and keep them"));
        *locked(&self.lost) = self.pool.clone().try_acquire_many_owned(free).ok();
    }

    /// Takes all connections for so many milliseconds, again and again.
    fn run_reports_of(&self, milliseconds: u64) -> JoinHandle<()> {
        let (pool, scene) = (self.pool.clone(), self.scene.clone());
        self.scene.spawn(async move {
            while let Ok(all) = pool.acquire_many(CONNECTIONS as u32).await {
                scene.note("reports", format!("take all connections for {milliseconds} ms"));
                sleep(Duration::from_millis(milliseconds)).await;
                drop(all);
            }
        })
    }

    /// Sees that it stays ready for three periods.
    async fn stays_ready(&self, asked: Asked, because: &str) -> Proof {
        for periods in 1..=3 {
            let told = self.probe_after(periods).await;
            asked.require(told.status == Some(StatusCode::OK), format!("{because}, and {told}"))?;
        }
        Ok(())
    }

    /// Probes once a period, so many periods after the service became ready, and tells what came of the last probe.
    async fn probe_each_period(&self, periods: RangeInclusive<u64>) -> Told {
        for period in *periods.start()..*periods.end() {
            self.probe_after(period).await;
        }
        self.probe_after(*periods.end()).await
    }

    /// Probes once a period and once more at a moment, whatever the others wait for, and tells what came of that probe.
    async fn told_at(&self, moment_ms: u64) -> Told {
        let regular = async {
            let mut periods = (self.scene.now_ms() - self.ready_ms) / PERIOD + 1;
            while self.ready_ms + periods * PERIOD < moment_ms {
                self.probe_after(periods).await;
                periods += 1;
            }
        };
        tokio::join!(regular, self.probe_at(moment_ms)).1
    }

    async fn probe_after(&self, periods: u64) -> Told {
        self.probe_at(self.ready_ms + periods * PERIOD).await
    }

    async fn probe_at(&self, moment_ms: u64) -> Told {
        self.sleep_until(moment_ms).await;
        self.ask("prober", Method::GET, "/readyz", PATIENCE).await
    }

    /// Probes so many periods after the service became ready, and does not wait for long.
    async fn leave_a_probe_after(&self, periods: u64) {
        self.sleep_until(self.ready_ms + periods * PERIOD).await;
        self.ask("prober", Method::GET, "/readyz", PERIOD / 10).await;
    }

    async fn order(&self) -> Told {
        self.ask("client", Method::POST, "/orders", PATIENCE).await
    }

    async fn sleep_until(&self, moment_ms: u64) {
        sleep(Duration::from_millis(moment_ms.saturating_sub(self.scene.now_ms()))).await;
    }

    /// A connection that nobody else uses meanwhile.
    async fn connection(&self, who: &'static str) -> Connection {
        let kept = {
            let mut idle = locked(&self.idle);
            idle.retain(|(_, connection)| connection.watch().ended.is_none());
            idle.iter().position(|(owner, _)| *owner == who).map(|place| idle.swap_remove(place).1)
        };
        match kept {
            Some(connection) => connection,
            None => self.server.connect(&format!("{who}{}", self.name), self.protocol).await,
        }
    }

    /// Asks, and gives up after so many milliseconds.
    async fn ask(&self, who: &'static str, method: Method, path: &str, patience: u64) -> Told {
        let sent_ms = self.scene.now_ms();
        let connection = self.connection(who).await;
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a path");
        let answer = timeout(Duration::from_millis(patience), connection.begin(request).answer()).await;
        let after_ms = self.scene.now_ms() - sent_ms;
        let (status, text) = match answer {
            Ok(Ok(answer)) => {
                let told = (Some(answer.status()), answer.read().await.text());
                locked(&self.idle).push((who, connection));
                told
            }
            Ok(Err(_)) => (None, String::new()),
            Err(_) => {
                connection.leave();
                (None, String::new())
            }
        };
        Told { who, status, text, sent_ms, after_ms }
    }
}

/// A client that has ordered.
struct Ordered {
    number: usize,
    connection: Connection,
    pending: Pending,
}

/// What somebody was told, and when.
struct Told {
    who: &'static str,
    status: Option<StatusCode>,
    text: String,
    sent_ms: u64,
    after_ms: u64,
}

impl Told {
    /// What comes of a request that was sent now.
    async fn of(who: &'static str, scene: &Scene, pending: Pending) -> Self {
        let sent_ms = scene.now_ms();
        let (status, text) = match pending.answer().await {
            Ok(answer) => (Some(answer.status()), answer.read().await.text()),
            Err(_) => (None, String::new()),
        };
        Self { who, status, text, sent_ms, after_ms: scene.now_ms() - sent_ms }
    }

    fn is_served(&self) -> bool {
        self.status == Some(StatusCode::OK) && self.text == SERVED
    }

    fn has_failed(&self) -> bool {
        self.status.is_none_or(|status| status.is_server_error())
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => {
                write!(f, "the {} was told {} {}", self.who, status.as_u16(), escaped(self.text.as_bytes()))
            }
            None => write!(f, "the {} had no answer", self.who),
        }
    }
}

// ===== The database =====

/// What comes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Serves,
    Fails,
    Hangs,
    Panics,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serves => "serves",
            Self::Fails => "fails",
            Self::Hangs => "hangs",
            Self::Panics => "panics",
        })
    }
}

/// What the app calls; it does as it was told to.
#[derive(Clone)]
struct Database {
    scene: Scene,
    lane: String,
    /// After how many milliseconds a call ends, and how.
    mood: watch::Sender<(u64, Outcome)>,
    pings: Arc<Mutex<Vec<Ping>>>,
    orders: Arc<Mutex<Vec<Order>>>,
    /// For as many orders at a time as there are connections.
    room: Arc<Semaphore>,
    /// Whether there were more.
    crowded: Arc<AtomicBool>,
}

/// An order that has reached the database.
#[derive(Clone, Debug)]
struct Order {
    method: Method,
    path: String,
    tenant: Option<String>,
    text: String,
    carried_out: bool,
}

/// What has become of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    UnderWay,
    Passed,
    Failed,
    /// The app no longer waited for it.
    GivenUp,
}

impl Database {
    /// A database that is well.
    fn new(scene: &Scene, lane: String) -> Self {
        let mood = watch::Sender::new((0, Outcome::Serves));
        Self {
            scene: scene.clone(),
            lane,
            mood,
            pings: Arc::default(),
            orders: Arc::default(),
            room: Arc::new(Semaphore::new(CONNECTIONS)),
            crowded: Arc::default(),
        }
    }

    fn router(&self) -> Router {
        let database = self.clone();
        Router::new().fallback(async move |request: Request| database.answer(request).await)
    }

    /// What comes of calls from now on, also of those that hang.
    fn will(&self, after_ms: u64, outcome: Outcome) {
        let delay = if after_ms == 0 { String::new() } else { format!(" after {after_ms} ms") };
        self.scene.note(&self.lane, format!("{outcome}{delay} from now on"));
        self.mood.send_replace((after_ms, outcome));
    }

    /// The pings since they were last forgotten.
    fn pings(&self) -> Vec<Ping> {
        locked(&self.pings).clone()
    }

    /// The orders that have reached it.
    fn orders(&self) -> Vec<Order> {
        locked(&self.orders).clone()
    }

    /// How many times the order with this address has reached it, and how many times it was carried out.
    fn times(&self, path: &str) -> (usize, usize) {
        let orders = locked(&self.orders);
        let of_this = || orders.iter().filter(|order| order.path == path);
        (of_this().count(), of_this().filter(|order| order.carried_out).count())
    }

    fn forget(&self) {
        locked(&self.pings).clear();
    }

    async fn answer(&self, request: Request) -> Response {
        self.scene.note(&self.lane, format!("is asked {} {}", request.method(), request.uri().path()));
        let is_ping = request.uri().path() == "/ping";
        let mut call = Call::begin(self, is_ping);
        let mut mood = self.mood.subscribe();
        let (mut after_ms, mut outcome) = *mood.borrow_and_update();
        let (mut status, mut order) = (StatusCode::OK, None);
        if !is_ping {
            let uri = request.uri().clone();
            after_ms = after_ms.max(wish(&uri, "takes"));
            if outcome == Outcome::Serves {
                status = u16::try_from(wish(&uri, "says"))
                    .ok()
                    .and_then(|status| StatusCode::from_u16(status).ok())
                    .unwrap_or(status);
                outcome = if uri.query() == Some("panics") { Outcome::Panics } else { outcome };
            }
            order = Some(self.take_down(request).await);
        }
        sleep(Duration::from_millis(after_ms)).await;
        let outcome = match outcome {
            // The sender lives as long as the database.
            Outcome::Hangs => mood.wait_for(|(_, mood)| *mood != Outcome::Hangs).await.map_or(outcome, |mood| mood.1),
            other => other,
        };
        let answer = match outcome {
            Outcome::Serves => (status, [("x-database", "seven")], SERVED).into_response(),
            Outcome::Panics => panic!("the driver has lost its socket"),
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        call.end(if outcome == Outcome::Serves { Ping::Passed } else { Ping::Failed });
        if let (Outcome::Serves, Some(place)) = (outcome, order) {
            locked(&self.orders)[place].carried_out = true;
        }
        self.scene.note(&self.lane, format!("answers {}", answer.status().as_u16()));
        answer
    }

    /// Takes down an order, and tells its place among the orders.
    async fn take_down(&self, request: Request) -> usize {
        let (head, body) = request.into_parts();
        let order = Order {
            method: head.method,
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            tenant: head.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok()).map(str::to_owned),
            text: to_bytes(body, usize::MAX)
                .await
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .unwrap_or_default(),
            carried_out: false,
        };
        let mut orders = locked(&self.orders);
        orders.push(order);
        orders.len() - 1
    }
}

/// What the address of an order asks of the database; 0 if nothing.
fn wish(uri: &Uri, what: &str) -> u64 {
    let wish = uri.query().and_then(|query| query.split_once('='));
    wish.and_then(|(name, value)| value.parse().ok().filter(|_| name == what)).unwrap_or(0)
}

/// A call that is under way; it notes when the app gives it up.
struct Call<'a> {
    database: &'a Database,
    /// Its place among the pings, if it is one.
    ping: Option<usize>,
    ended: bool,
    _under_way: Option<OwnedSemaphorePermit>,
}

impl<'a> Call<'a> {
    fn begin(database: &'a Database, is_ping: bool) -> Self {
        let mut pings = locked(&database.pings);
        if is_ping {
            pings.push(Ping::UnderWay);
        }
        let under_way = if is_ping { None } else { database.room.clone().try_acquire_owned().ok() };
        if under_way.is_none() && !is_ping {
            database.crowded.store(true, Ordering::Relaxed);
        }
        Self { database, ping: is_ping.then(|| pings.len() - 1), ended: false, _under_way: under_way }
    }

    fn end(&mut self, how: Ping) {
        self.ended = true;
        let mut pings = locked(&self.database.pings);
        if let Some(ping) = self.ping.and_then(|place| pings.get_mut(place)) {
            *ping = how;
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Ping::GivenUp);
            self.database.scene.note(&self.database.lane, "is hung up on");
        }
    }
}

// ===== Proxies =====

/// Two instances of the service in one scene, both ready.
async fn two_instances(lab: &Lab, app: &App, title: String, protocol: Protocol) -> Result<[Arc<Service>; 2], Broken> {
    let scene = lab.scene(title);
    let mut instances = [" one", " two"].map(|name| Service::start(scene.clone(), app, protocol, name));
    for instance in &mut instances {
        instance.becomes_ready().await?;
    }
    Ok(instances.map(Arc::new))
}

/// A proxy with an active check, as HAProxy's `option httpchk` with `fall 1` and `rise 1`: it asks each instance once a period,
/// reads the status and nothing else, and sends orders to those that were last told to be ready, in turn.
struct ProbingProxy {
    instances: [Arc<Service>; 2],
    up: Arc<Mutex<[bool; 2]>>,
    turn: usize,
    probing: JoinHandle<()>,
}

impl ProbingProxy {
    /// How long it waits for the answer to an order, in milliseconds.
    const PATIENCE: u64 = 200;

    async fn open(lab: &Lab, app: &App, title: String, protocol: Protocol) -> Result<Self, Broken> {
        let instances = two_instances(lab, app, title, protocol).await?;
        let up = Arc::new(Mutex::new([true; 2]));
        let (probed, verdicts) = (instances.clone(), up.clone());
        let probing = instances[0].scene.spawn(async move {
            loop {
                sleep(Duration::from_millis(PERIOD)).await;
                let probe = |instance: usize| probed[instance].ask("proxy", Method::GET, "/readyz", PATIENCE);
                let (one, two) = tokio::join!(probe(0), probe(1));
                *locked(&verdicts) = [one, two].map(|told| told.status.is_some_and(|status| status.is_success()));
            }
        });
        Ok(Self { instances, up, turn: 0, probing })
    }

    fn is_up(&self, instance: usize) -> bool {
        locked(&self.up)[instance]
    }

    /// Sends an order to the next instance that is up, and tells which that was.
    async fn order(&mut self) -> (usize, Told) {
        self.turn += 1;
        let next = if self.is_up(self.turn % 2) { self.turn % 2 } else { (self.turn + 1) % 2 };
        (next, self.instances[next].ask("client", Method::GET, "/orders", Self::PATIENCE).await)
    }
}

impl Drop for ProbingProxy {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

/// A proxy that probes nobody and learns from the orders, as nginx with `proxy_next_upstream error timeout http_500 http_502
/// http_503 http_504` does: an order that failed is sent to the other instance, and an instance at which `MAX_FAILS` orders
/// failed within `FAIL_TIMEOUT` gets none for so long.
struct LearningProxy {
    instances: [Arc<Service>; 2],
    /// When orders failed at each instance.
    failed: [Vec<u64>; 2],
    /// Until when each instance gets no orders.
    out_until: [u64; 2],
    turn: usize,
    /// When orders were sent to the first instance.
    sent_to_the_first: Vec<u64>,
}

impl LearningProxy {
    const MAX_FAILS: usize = 2;
    const FAIL_TIMEOUT: u64 = 5 * PERIOD;

    async fn open(lab: &Lab, app: &App, title: String) -> Result<Self, Broken> {
        let instances = two_instances(lab, app, title, Protocol::Http1).await?;
        Ok(Self {
            instances,
            failed: [Vec::new(), Vec::new()],
            out_until: [0; 2],
            turn: 0,
            sent_to_the_first: Vec::new(),
        })
    }

    /// Sends an order to the next instance, and to the other one if it failed there.
    async fn order(&mut self) -> Told {
        self.turn += 1;
        let (next, other) = (self.turn % 2, (self.turn + 1) % 2);
        let now = self.instances[0].scene.now_ms();
        if now < self.out_until[next] {
            return self.send(other).await;
        }
        let told = self.send(next).await;
        if told.has_failed() { self.send(other).await } else { told }
    }

    async fn send(&mut self, instance: usize) -> Told {
        let told = self.instances[instance].ask("client", Method::GET, "/orders", PATIENCE).await;
        if instance == 0 {
            self.sent_to_the_first.push(told.sent_ms);
        }
        if told.has_failed() {
            let failed = &mut self.failed[instance];
            failed.push(told.sent_ms);
            failed.retain(|at| told.sent_ms < at + Self::FAIL_TIMEOUT);
            if failed.len() >= Self::MAX_FAILS {
                self.out_until[instance] = told.sent_ms + Self::FAIL_TIMEOUT;
                failed.clear();
            }
        }
        told
    }
}

/// Each fault at each moment, over the one protocol and the other in turn.
fn each_at_each<const FAULTS: usize, const MOMENTS: usize>(
    moments: [u64; MOMENTS],
    faults: [Fault; FAULTS],
) -> impl Iterator<Item = (Protocol, (u64, Fault))> {
    moments.into_iter().enumerate().flat_map(move |(turn, moment)| {
        let faults = faults.into_iter().enumerate();
        faults.map(move |(place, fault)| (Protocol::BOTH[(turn + place) % 2], (moment, fault)))
    })
}

/// Each of `cases` over the one protocol and the other in turn.
fn in_turn<T>(cases: impl IntoIterator<Item = T>) -> impl Iterator<Item = (Protocol, T)> {
    Protocol::BOTH.into_iter().cycle().zip(cases)
}
