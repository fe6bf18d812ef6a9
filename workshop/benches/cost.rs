//! The cost of the cure: what a request costs behind the bare routes, the broken twin, the fixed twin and, where there is
//! one, tower-http's layer for the same job; and how long the tour takes.
//!
//! Everything is asked over HTTP/1.1 by hyper's own client, on a connection that is kept alive, in one thread. Criterion
//! measures app by app. The table at the end is made by a loop of its own, which goes round the apps in small batches, so
//! that whatever else the machine does disturbs all of them alike.

#[path = "../../fixed/swallowed-panic/tests/also_right/catch_panic_layer.rs"]
pub mod catch_panic_layer;
mod surroundings;

use std::{
    convert::Infallible,
    env,
    hint::black_box,
    io::Read,
    process::{Command, Stdio},
    sync::{Arc, LazyLock, atomic::AtomicI64},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{
        HeaderMap, HeaderName, Request, Response, StatusCode, Uri,
        header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE},
        request,
    },
    routing::{get, post},
};
use bytes::Bytes;
use criterion::Criterion;
use flate2::read::GzDecoder;
use futures_util::{StreamExt, stream};
use ghosts::{checkout::Checkout, read::tour};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::{spawn_blocking, yield_now},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, predicate::SizeAbove},
    timeout::{ResponseBodyDeadlineLayer, TimeoutLayer},
};

const FOOTNOTES: &str = "\
Times are medians, ratios medians of the ratios within a round. No subscriber listens to tracing.
hidden-flush: gzip level 1 in all three; the bare routes send the text as it is. The broken twin
flushes no event, so it compresses them together.
swallowed-panic: bare has no gateway; the others have all of it: access log, CORS, gauge, look-up.
tower-http's is CatchPanicLayer in the same gateway, with a guard of ours for the body, which it
does not guard.
ignored-deadline: bare is the shop without a deadline. tower-http's is that shop behind TimeoutLayer
and ResponseBodyDeadlineLayer, which do less: they settle nothing and do not tell the bank. An order
is sealed on another thread, and most of its time is the way there and back.
closure-captured-state: bare is the desk without the layer that finds out who asks.
body-double-close: bare has no spool; the upload comes in eight pieces, read to its end.";

fn main() {
    // A current-thread runtime: what is measured is work, not how threads wake each other.
    let runtime = Builder::new_current_thread().enable_time().build().expect("the system gives a runtime");
    let mut scenes = runtime.block_on(scenes());
    for scene in &mut scenes {
        runtime.block_on(scene.answers_alike());
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for scene in &mut scenes {
        scene.with_criterion(&mut criterion, &runtime);
    }
    let mut group = criterion.benchmark_group("tour");
    group.sample_size(10);
    group.bench_function("in the bench profile", |bencher| {
        bencher.iter(|| tour::judge(&Checkout::here()).expect("each case.toml can be read"));
    });
    group.finish();
    criterion.final_summary();

    let rounds = if surroundings::rehearsal() { 1 } else { 400 };
    println!("\nThe cost of the cure: µs a request, {}", surroundings::machine());
    println!("HTTP/1.1 in memory, one connection kept alive, one thread; {rounds} rounds\n");
    println!("{:26}{:>9}{:>15}{:>15}{:>15}", "", "bare", "broken", "fixed", "tower-http");
    let mut goals = String::new();
    let mut ghost = "";
    for scene in &mut scenes {
        if ghost != scene.ghost {
            ghost = scene.ghost;
            println!("{ghost}");
        }
        let measured = runtime.block_on(scene.measure(rounds));
        println!("  {:24}{}", scene.title, row(&measured));
        if let [_, _, fixed, tower_http] = &*measured {
            let ratio = ratio(fixed, tower_http);
            let verdict = if ratio <= 1.0 { "met" } else { "missed" };
            goals += &format!("  {:15} {:24}{ratio:9.2} x   {verdict}\n", scene.ghost, scene.title);
        }
    }
    println!("\nfixed : tower-http, goal: at most 1.00 x\n{goals}\n{FOOTNOTES}\n\n{}", tour());
}

/// A request, and the apps that answer it alike.
struct Scene {
    ghost: &'static str,
    title: &'static str,
    request: fn() -> Request<Body>,
    /// Bare, broken, fixed and, where it has a layer for the job, tower-http.
    clients: Vec<Client>,
}

/// A connection to one app.
struct Client {
    app: &'static str,
    connection: SendRequest<Body>,
}

async fn scenes() -> Vec<Scene> {
    vec![
        Scene::of("hidden-flush", "64 KiB of text", log, hidden_flush(Router::new().route("/log", get(text)))).await,
        Scene::of("hidden-flush", "10 small events", log, hidden_flush(Router::new().route("/log", get(events)))).await,
        Scene::of("swallowed-panic", "an ordinary answer", invoice, swallowed_panic()).await,
        Scene::of("ignored-deadline", "an order", order, ignored_deadline()).await,
        Scene::of("ignored-deadline", "a statement", statement, ignored_deadline()).await,
        Scene::of("closure-captured-state", "a customer's orders", orders, closure_captured_state()).await,
        Scene::of("body-double-close", "an upload of 16 KiB", upload, body_double_close()).await,
    ]
}

fn hidden_flush(logs: Router) -> Vec<Router> {
    // The default predicate leaves event streams alone, the default level is 6.
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(0));
    vec![logs.clone(), hidden_flush::app(logs.clone()), hidden_flush_fixed::app(logs.clone()), logs.layer(layer)]
}

fn log() -> Request<Body> {
    asking(Request::get("/log").header(ACCEPT_ENCODING, "gzip"))
}

async fn text() -> ([(HeaderName, &'static str); 1], Bytes) {
    static LOG: LazyLock<Bytes> = LazyLock::new(|| {
        let crates = (1..).map(|n: u64| (n, n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40));
        let lines =
            crates.map(|(n, hash)| format!("[{n:>4}/1400] Compiling crate-{hash:06x} v0.{}.{}\n", hash % 31, hash % 7));
        lines.flat_map(String::into_bytes).take(64 * 1024).collect()
    });
    ([(CONTENT_TYPE, "text/plain")], LOG.clone())
}

/// Ten events; the source is pending after each, so a body that must not hide a flush flushes ten times.
async fn events() -> ([(HeaderName, &'static str); 1], Body) {
    let events = stream::unfold(1, |n| async move {
        yield_now().await;
        (n <= 10).then(|| (Ok::<_, Infallible>(format!("data: step {n} of 10 is done\n\n")), n + 1))
    });
    // tower-http's layer polls a body again after its end.
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events.fuse()))
}

/// tower-http's layer here is the fix of `also_right`: `CatchPanicLayer`, which guards no body, with a guard round it.
fn swallowed_panic() -> Vec<Router> {
    let routes = Router::new().route("/invoices/{id}", get(async || "invoice 7: 2150\n"));
    let tenant = Arc::new(|headers: &HeaderMap| Some(headers.get("x-api-key")?.to_str().ok()?.to_owned()));
    let gauge = Arc::new(AtomicI64::new(0));
    vec![
        routes.clone(),
        swallowed_panic::app(routes.clone(), tenant.clone(), gauge.clone(), unread()),
        swallowed_panic_fixed::app(routes.clone(), tenant.clone(), gauge.clone(), unread()),
        catch_panic_layer::app(routes, tenant, gauge, unread()),
    ]
}

fn invoice() -> Request<Body> {
    asking(Request::get("/invoices/7").header("x-api-key", "ada"))
}

/// A log that is emptied and not read.
fn unread<T: Send + 'static>() -> UnboundedSender<T> {
    let (log, mut entries) = unbounded_channel();
    tokio::spawn(async move { while entries.recv().await.is_some() {} });
    log
}

/// The bare routes are the shop without a deadline; tower-http's layers stand round the same routes.
fn ignored_deadline() -> Vec<Router> {
    let agree = async || StatusCode::OK;
    let lines = async || Body::from_stream(stream::iter((1..=10).map(|n| Ok::<_, Infallible>(format!("line {n}\n")))));
    let bank = Router::new().route("/orders/{order}", post(agree)).route("/statements/{order}", get(lines));
    let seal: Seal = Arc::new(|order| format!("sealed {order}\n"));
    let limit = Duration::from_secs(5);
    // A body with a deadline has no default, which the other layer asks for, so this one is the inner.
    let layers = ServiceBuilder::new()
        .layer(ResponseBodyDeadlineLayer::new(limit))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit));
    vec![
        shop(bank.clone(), seal.clone(), unread()),
        ignored_deadline::app(bank.clone(), seal.clone(), unread(), limit),
        ignored_deadline_fixed::app(bank.clone(), seal.clone(), unread(), limit),
        shop(bank, seal, unread()).layer(layers),
    ]
}

type Seal = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The routes of `ignored-deadline`, without a deadline.
fn shop(bank: Router, seal: Seal, ledger: UnboundedSender<String>) -> Router {
    Router::new()
        .route("/orders/{order}", post(place_order))
        .route("/statements/{order}", get(bank_statement))
        .with_state((bank, seal, ledger))
}

type Shop = (Router, Seal, UnboundedSender<String>);

async fn place_order(
    State((bank, seal, ledger)): State<Shop>,
    Path(order): Path<String>,
    uri: Uri,
) -> Result<String, StatusCode> {
    let answer = ask(bank, Request::post(uri.path())).await;
    if !answer.status().is_success() {
        return Err(answer.status());
    }
    let sealed = spawn_blocking(move || {
        let receipt = seal(&order);
        ledger.send(order).is_ok().then_some(receipt)
    });
    sealed.await.ok().flatten().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn bank_statement(State((bank, ..)): State<Shop>, uri: Uri) -> Response<Body> {
    ask(bank, Request::get(uri.path())).await
}

async fn ask(other: Router, question: request::Builder) -> Response<Body> {
    let Ok(answer) = other.oneshot(asking(question)).await;
    answer
}

fn order() -> Request<Body> {
    asking(Request::post("/orders/7"))
}

fn statement() -> Request<Body> {
    asking(Request::get("/statements/7"))
}

/// The bare routes ask the warehouse for one customer and know nothing of a request.
fn closure_captured_state() -> Vec<Router> {
    let warehouse = Router::new().fallback(async |uri: Uri| format!("{} of ada\n", uri.path()));
    vec![
        desk(warehouse.clone()),
        closure_captured_state::app(warehouse.clone(), unread()),
        closure_captured_state_fixed::app(warehouse, unread()),
    ]
}

/// The route of `closure-captured-state`, without the layer that finds out who asks.
fn desk(warehouse: Router) -> Router {
    Router::new().route("/orders", get(both_lists)).with_state(warehouse)
}

async fn both_lists(State(warehouse): State<Router>) -> Result<String, StatusCode> {
    Ok(list(&warehouse, "/orders").await? + &list(&warehouse, "/parcels").await?)
}

async fn list(warehouse: &Router, path: &str) -> Result<String, StatusCode> {
    let answer = ask(warehouse.clone(), Request::get(path).header("x-user", "ada")).await;
    let list = to_bytes(answer.into_body(), 64 * 1024).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    String::from_utf8(list.into()).map_err(|_| StatusCode::BAD_GATEWAY)
}

fn orders() -> Request<Body> {
    asking(Request::get("/orders").header(AUTHORIZATION, "Bearer ada"))
}

fn body_double_close() -> Vec<Router> {
    let store = async |body: Body| match body.collect().await {
        Ok(body) => Ok(format!("{} bytes\n", body.to_bytes().len())),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    };
    let uploads = Router::new().route("/uploads", post(store));
    vec![
        uploads.clone(),
        body_double_close::app(4, uploads.clone(), unread()),
        body_double_close_fixed::app(4, uploads, unread()),
    ]
}

/// Eight pieces, without a length told before.
fn upload() -> Request<Body> {
    let pieces = (0..8).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 2048])));
    let body = Body::from_stream(stream::iter(pieces));
    Request::post("/uploads").body(body).expect("a request that never changes")
}

fn asking(request: request::Builder) -> Request<Body> {
    request.body(Body::empty()).expect("a request that never changes")
}

impl Scene {
    async fn of(ghost: &'static str, title: &'static str, request: fn() -> Request<Body>, apps: Vec<Router>) -> Self {
        let mut clients = Vec::new();
        for (name, app) in ["bare", "broken", "fixed", "tower-http"].into_iter().zip(apps) {
            clients.push(Client::of(name, app).await);
        }
        Self { ghost, title, request, clients }
    }

    /// All apps answer the same, or comparing them says nothing.
    async fn answers_alike(&mut self) {
        let mut answers = Vec::new();
        for client in &mut self.clients {
            answers.push((client.app, told(client.ask((self.request)()).await)));
        }
        for (app, answer) in &answers {
            assert_eq!(*answer, answers[0].1, "{}, {}: {app} answers something else", self.ghost, self.title);
        }
    }

    fn with_criterion(&mut self, criterion: &mut Criterion, runtime: &Runtime) {
        let mut group = criterion.benchmark_group(format!("{}, {}", self.ghost, self.title));
        for client in &mut self.clients {
            group.bench_function(client.app, |bencher| {
                bencher.iter_custom(|requests| runtime.block_on(client.time(requests, self.request)));
            });
        }
        group.finish();
    }

    /// Nanoseconds a request, for each app and round.
    async fn measure(&mut self, rounds: usize) -> Vec<Vec<f64>> {
        // A batch takes about a millisecond: longer ones are interrupted more often.
        let fixed = &mut self.clients[2];
        let requests = (0.02 / fixed.time(20, self.request).await.as_secs_f64()).clamp(1.0, 1000.0) as u64;
        let mut measured = vec![Vec::new(); self.clients.len()];
        for round in 0..rounds {
            for turn in 0..self.clients.len() {
                let place = (round + turn) % self.clients.len();
                let took = self.clients[place].time(requests, self.request).await;
                measured[place].push(took.as_nanos() as f64 / requests as f64);
            }
        }
        measured
    }
}

impl Client {
    async fn of(app: &'static str, router: Router) -> Self {
        let wire = TokioIo::new(surroundings::serve(&Handle::current(), router, 64 * 1024));
        let (connection, driver) = http1::handshake(wire).await.expect("a handshake is only local");
        tokio::spawn(driver);
        Self { app, connection }
    }

    async fn ask(&mut self, request: Request<Body>) -> Response<Bytes> {
        self.connection.ready().await.expect("the connection is kept alive");
        let answer = self.connection.send_request(request).await.expect("the app answers");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("the answer is whole");
        Response::from_parts(head, body.to_bytes())
    }

    /// How long so many requests take, one after another.
    async fn time(&mut self, requests: u64, request: fn() -> Request<Body>) -> Duration {
        let start = Instant::now();
        for _ in 0..requests {
            black_box(self.ask(request()).await);
        }
        start.elapsed()
    }
}

/// What an answer says, compressed or not.
fn told(answer: Response<Bytes>) -> (StatusCode, Vec<u8>) {
    let mut body = answer.body().to_vec();
    if answer.headers().contains_key(CONTENT_ENCODING) {
        body.clear();
        GzDecoder::new(&**answer.body()).read_to_end(&mut body).expect("the answer is gzip");
    }
    (answer.status(), body)
}

fn row(measured: &[Vec<f64>]) -> String {
    let bare = &measured[0];
    let mut row = format!("{:9.1}", median(bare.clone()) / 1000.0);
    for app in &measured[1..] {
        row += &format!("{:8.1} {:4.1} x", median(app.clone()) / 1000.0, ratio(app, bare));
    }
    row
}

/// The ratio in the rounds, rounded as it is printed.
fn ratio(these: &[f64], those: &[f64]) -> f64 {
    let ratio = median(these.iter().zip(those).map(|(this, that)| this / that).collect());
    (ratio * 100.0).round() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The time of the tour, in the profile that `cargo run` uses.
fn tour() -> String {
    // The bench is target/release/deps/cost-...
    let bench = env::current_exe().expect("the bench is a file");
    let target = bench.ancestors().nth(3).expect("it lies in a target folder");
    let program = target.join("debug").join(format!("ghosts{}", env::consts::EXE_SUFFIX));
    if !program.exists() {
        return "The tour was not measured: debug/ghosts is not there. `cargo build` makes it.".to_owned();
    }
    let once = || {
        let start = Instant::now();
        let ended = Command::new(&program).stdout(Stdio::null()).stderr(Stdio::null()).status();
        (start.elapsed().as_secs_f64(), ended.ok().and_then(|status| status.code()))
    };
    let runs: Vec<_> = (0..if surroundings::rehearsal() { 1 } else { 9 }).map(|_| once()).collect();
    if runs.iter().any(|(_, code)| *code != Some(0)) {
        return format!("The tour was not measured: debug/ghosts ended with {:?}.", runs[0].1);
    }
    let took = median(runs.into_iter().map(|(took, _)| took).collect());
    let verdict = if took < 1.0 { "met" } else { "missed" };
    format!("The tour, debug/ghosts as `cargo run` last built it: {took:.2} s   goal: under 1 s   {verdict}")
}
