//! The specification of `lying-health-check`: an order service that must say with a *status* when it cannot serve, so that
//! a proxy which reads nothing else can go round it.
//!
//! A period is one second. In each scene the service first becomes ready before a database that is well, so that a promise is
//! never kept by an app that does nothing. Only then comes the fault. A prober comes once a period, and never when one begins.
//!
//! Each promise is proven over HTTP/1.1 and HTTP/2; where it speaks of several faults, over the one and the other in turn. The
//! proxy that learns from orders is nginx's rule, and speaks HTTP/1.1 as nginx does.

use std::{
    fmt,
    future::pending,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use lab::{
    Asked, Broken, Connection, Ghost, Lab, Limits, Proof, Protocol, Report, Scene, Server, Specification, control,
    escaped, locked, require,
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
/// How long a prober or a client waits. Longer than what it is promised, so that nobody leaves at the moment of the answer.
const PATIENCE: u64 = PERIOD + 50;

const SICK_WITHIN_TWO_PERIODS: Asked = Asked::new(
    "sick-within-two-periods",
    "`/readyz` is 503 two periods after the database began to fail, to hang or to panic, or the pool was used up.",
);
const WELL_WITHIN_TWO_PERIODS: Asked =
    Asked::new("well-within-two-periods", "`/readyz` is 200 again two periods after that is over, without a restart.");
const BUSY_IS_NOT_SICK: Asked = Asked::new(
    "busy-is-not-sick",
    "`/readyz` stays 200 while a ping takes two fifths of a period, or the pool is always in use but never for long.",
);
const ALIVE_THROUGHOUT: Asked =
    Asked::new("alive-throughout", "`/livez` is 200 throughout, whatever the database does.");
const NOT_READY_BEFORE_A_CHECK: Asked =
    Asked::new("not-ready-before-a-check", "`/readyz` is 503 until a check has passed.");
const ONE_PING_A_PERIOD: Asked =
    Asked::new("one-ping-a-period", "However many probes come, the database is pinged at most once a period.");
const PROBE_ANSWERED_IN_A_PERIOD: Asked = Asked::new(
    "probe-answered-in-a-period",
    "A probe is answered within a period, also when the database hangs or the pool is used up.",
);
const CHECK_GIVES_PERMIT_BACK: Asked = Asked::new(
    "check-gives-permit-back",
    "A check that gets no answer holds at most one connection of the pool, and gives it back within a period.",
);
const ORDERS_REFUSED_WHILE_SICK: Asked = Asked::new(
    "orders-refused-while-sick",
    "While the service is not ready, an order is answered 503 within a period; an order that the database fails is a \
             5xx.",
);
const CHECK_OUTLIVES_ITS_PROBER: Asked =
    Asked::new("check-outlives-its-prober", "A prober that hangs up does not stop the check.");
const PROBING_PROXY_GOES_ROUND: Asked = Asked::new(
    "probing-proxy-goes-round",
    "Behind a proxy that probes the status once a period, no order reaches a sick instance after three periods.",
);
const LEARNING_PROXY_GOES_ROUND: Asked = Asked::new(
    "learning-proxy-goes-round",
    "Behind a proxy that only learns from failed orders, each client is served, and a sick instance gets no more orders \
             than it takes to learn that.",
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
        .promise(ALIVE_THROUGHOUT, alive_throughout)
        .promise(NOT_READY_BEFORE_A_CHECK, not_ready_before_a_check)
        .promise(ONE_PING_A_PERIOD, one_ping_a_period)
        .promise(PROBE_ANSWERED_IN_A_PERIOD, probe_answered_in_a_period)
        .promise(CHECK_GIVES_PERMIT_BACK, check_gives_permit_back)
        .promise(ORDERS_REFUSED_WHILE_SICK, orders_refused_while_sick)
        .promise(CHECK_OUTLIVES_ITS_PROBER, check_outlives_its_prober)
        .promise(PROBING_PROXY_GOES_ROUND, probing_proxy_goes_round)
        .promise(LEARNING_PROXY_GOES_ROUND, learning_proxy_goes_round)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "lying-health-check";
    type App = fn(Router, Arc<Semaphore>, Duration) -> Router;
    type StandIns = (Router, Arc<Semaphore>, Duration);

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
            eprintln!("database: {} {} {outcome}", request.method(), request.uri());
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
    for (protocol, fault) in in_turn(Fault::ALL) {
        let service = Service::open(&lab, &app, format!("{protocol}, {fault}"), protocol).await?;
        let began = service.suffer(fault).await;
        let told = service.probe_each_period(1..=3).await;
        let sick = match fault {
            // Some checks are made by the task that answers the probe, which the panic ends.
            Fault::Panics => told.status != Some(StatusCode::OK),
            _ => told.status == Some(StatusCode::SERVICE_UNAVAILABLE),
        };
        SICK_WITHIN_TWO_PERIODS.require(sick, format!("{} ms after {fault}, {told}", told.sent_ms - began))?;
    }
    Ok(())
}

async fn well_within_two_periods(lab: Lab, app: App) -> Proof {
    for (protocol, fault) in in_turn(Fault::THAT_PASS) {
        let service = Service::open(&lab, &app, format!("{protocol}, {fault} for a while"), protocol).await?;
        service.suffer(fault).await;
        service.probe_each_period(1..=3).await;
        let over = service.recover().await;
        let told = service.probe_each_period(4..=6).await;
        let well = told.status == Some(StatusCode::OK);
        WELL_WITHIN_TWO_PERIODS
            .require(well, format!("{fault}; {} ms after that was over, {told}", told.sent_ms - over))?;
    }
    Ok(())
}

async fn busy_is_not_sick(lab: Lab, app: App) -> Proof {
    let [one, other] = Protocol::BOTH;
    let service = Service::open(&lab, &app, format!("{one}, each ping takes 400 ms"), one).await?;
    service.database.will(400, Outcome::Serves);
    service.stays_ready("each ping took 400 ms").await?;

    let service = Service::open(&lab, &app, format!("{other}, a pool in use"), other).await?;
    let reports = service.run_reports_of(300);
    let ready = service.stays_ready("each connection was given back after 300 ms").await;
    reports.abort();
    ready
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
        NOT_READY_BEFORE_A_CHECK.require(
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
        let lasted = service.scene.now_ms() - began;
        let pings = service.database.pings().len() as u64;
        ONE_PING_A_PERIOD
            .require(pings <= lasted / PERIOD + 1, format!("in {lasted} ms the database was pinged {pings} times"))?;
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
    for (protocol, fault) in in_turn(Fault::THAT_PASS) {
        let service = Service::open(&lab, &app, format!("{protocol}, {fault}"), protocol).await?;
        let told = service.order().await;
        control(told.is_served(), told.to_string())?;
        service.suffer(fault).await;
        if fault == Fault::Fails {
            let told = service.order().await;
            ORDERS_REFUSED_WHILE_SICK
                .require(told.has_failed(), format!("the database failed the order, and {told}"))?;
        }
        service.probe_each_period(1..=3).await;
        let told = service.order().await;
        let refused = told.status == Some(StatusCode::SERVICE_UNAVAILABLE) && told.after_ms <= PERIOD;
        let observed = format!("{fault} for more than two periods, and {told} after {} ms", told.after_ms);
        ORDERS_REFUSED_WHILE_SICK.require(refused, observed)?;
        service.recover().await;
        service.probe_each_period(4..=6).await;
        let told = service.order().await;
        ORDERS_REFUSED_WHILE_SICK
            .require(told.is_served(), format!("{fault}; two periods after that was over, {told}"))?;
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
            PROBING_PROXY_GOES_ROUND.require(
                instance == 0 || told.is_served(),
                format!("the instance that was well got an order, and {told}"),
            )?;
        }
        proxy.instances[0].recover().await;
        sleep(Duration::from_millis(3 * PERIOD)).await;
        PROBING_PROXY_GOES_ROUND
            .require(proxy.is_up(0), "three periods after the sick instance was well it was still out of rotation")?;
        for _ in 0..2 {
            let (_, told) = proxy.order().await;
            PROBING_PROXY_GOES_ROUND
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

// ===== Faults =====

/// What becomes of the database or the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fails,
    Hangs,
    PoolUsedUp,
    Panics,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Fails, Self::Hangs, Self::PoolUsedUp, Self::Panics];
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
        sleep(Duration::from_millis(LATER)).await;
        match fault {
            Fault::Fails => self.database.will(0, Outcome::Fails),
            Fault::Hangs => self.database.will(0, Outcome::Hangs),
            Fault::Panics => self.database.will(0, Outcome::Panics),
            Fault::PoolUsedUp => self.use_up_the_pool(),
        }
        self.scene.now_ms()
    }

    /// Ends the fault, some time after a probe, and tells when.
    async fn recover(&self) -> u64 {
        sleep(Duration::from_millis(LATER)).await;
        self.database.will(0, Outcome::Serves);
        if locked(&self.lost).take().is_some() {
            self.scene.note("reports", "give their connections back");
        }
        self.scene.now_ms()
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
    async fn stays_ready(&self, because: &str) -> Proof {
        for periods in 1..=3 {
            let told = self.probe_after(periods).await;
            require(told.status == Some(StatusCode::OK), format!("{because}, and {told}"))?;
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

/// What somebody was told, and when.
struct Told {
    who: &'static str,
    status: Option<StatusCode>,
    text: String,
    sent_ms: u64,
    after_ms: u64,
}

impl Told {
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
        Self { scene: scene.clone(), lane, mood, pings: Arc::default() }
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

    fn forget(&self) {
        locked(&self.pings).clear();
    }

    async fn answer(&self, request: Request) -> Response {
        self.scene.note(&self.lane, format!("is asked {} {}", request.method(), request.uri().path()));
        let mut call = Call::begin(self, request.uri().path() == "/ping");
        let mut mood = self.mood.subscribe();
        let (after_ms, outcome) = *mood.borrow_and_update();
        sleep(Duration::from_millis(after_ms)).await;
        let outcome = match outcome {
            // The sender lives as long as the database.
            Outcome::Hangs => mood.wait_for(|(_, mood)| *mood != Outcome::Hangs).await.map_or(outcome, |mood| mood.1),
            other => other,
        };
        let answer = match outcome {
            Outcome::Serves => SERVED.into_response(),
            Outcome::Panics => panic!("the driver has lost its socket"),
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        call.end(if outcome == Outcome::Serves { Ping::Passed } else { Ping::Failed });
        self.scene.note(&self.lane, format!("answers {}", answer.status().as_u16()));
        answer
    }
}

/// A call that is under way; it notes when the app gives it up.
struct Call<'a> {
    database: &'a Database,
    /// Its place among the pings, if it is one.
    ping: Option<usize>,
    ended: bool,
}

impl<'a> Call<'a> {
    fn begin(database: &'a Database, is_ping: bool) -> Self {
        let mut pings = locked(&database.pings);
        if is_ping {
            pings.push(Ping::UnderWay);
        }
        Self { database, ping: is_ping.then(|| pings.len() - 1), ended: false }
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

/// Each of `cases` over the one protocol and the other in turn.
fn in_turn<T>(cases: impl IntoIterator<Item = T>) -> impl Iterator<Item = (Protocol, T)> {
    Protocol::BOTH.into_iter().cycle().zip(cases)
}
