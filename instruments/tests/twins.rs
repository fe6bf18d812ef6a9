//! A real Prometheus scrapes twins behind the response hook, with the rules of the template at windows of 10 s and 60 s: for each of
//! three ghosts one alert fires for the broken twin and stays quiet for the fixed one. Behind the feature `end-to-end`, with a main of
//! its own: each twin is a process, since a recorder is the process's.

use std::{
    collections::BTreeMap,
    env, fs,
    future::pending,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{BoxError, Router, routing::get};
use instruments::{Alerts, Observe, prometheus::Metrics};
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};
use tower::{
    ServiceBuilder,
    limit::ConcurrencyLimitLayer,
    service_fn,
    util::{BoxCloneSyncService, BoxService},
};

/// A ghost, the alert that is to fire, what a client asks for once, and what it asks for again and again.
///
/// `ProbesDisagree` is none of them: the broken twin of lying-health-check answers 200 to the probe and to the orders that came to
/// nothing, so that they agree. What gives it away is that its orders hang.
const GHOSTS: [(&str, &str, &[&str], &str); 3] = [
    ("lying-health-check", "HttpInFlightOnlyGrows", &[], "/orders"),
    ("unready-clone", "HttpErrorRatio", &[], "/reports"),
    ("leaked-permit", "HttpErrorRatio", &["/stock/mugs", "/stock/mugs"], "/stock/cups"),
];
/// How long an alert of the broken twin is waited for, and then the fixed one is watched as long as that took.
const LONGEST: Duration = Duration::from_secs(85);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", ghost, twin] => serve(ghost, twin == "broken"),
        // What libtest would be asked, by an editor for example.
        ["--list", ..] => println!("twins: test"),
        _ => judge(),
    }
}

/// The twin on a port of its own, which it prints.
#[tokio::main]
async fn serve(ghost: &str, broken: bool) {
    let metrics = Metrics::install().expect("no other recorder");
    let app = app(ghost, broken).merge(metrics.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    axum::serve(listener, app).await.expect("a server goes on");
}

fn app(ghost: &str, broken: bool) -> Router {
    match ghost {
        "lying-health-check" => {
            // A database that never answers.
            let database = Router::new().fallback(async || pending::<()>().await);
            let (pool, period) = (Arc::new(Semaphore::new(8)), Duration::from_millis(500));
            let twin = if broken { lying_health_check::app } else { lying_health_check_fixed::app };
            twin(database, pool, period).layer(Observe::new())
        }
        "unready-clone" => {
            let reports = Router::new().route("/reports", get(async || "a report\n"));
            let (hook, limit) = (Observe::new(), ConcurrencyLimitLayer::new(8));
            match broken {
                true => reports.layer(ServiceBuilder::new().layer(hook).layer(unready_clone::layer()).layer(limit)),
                false => {
                    reports.layer(ServiceBuilder::new().layer(hook).layer(unready_clone_fixed::layer()).layer(limit))
                }
            }
            .with_state(())
        }
        "leaked-permit" => {
            let wait = Duration::from_millis(500);
            let twin = if broken { leaked_permit::app } else { leaked_permit_fixed::app };
            twin(2, wait, database()).layer(Observe::new())
        }
        other => panic!("no ghost is called {other}"),
    }
}

/// Refuses mugs, and has one row of anything else.
fn database() -> BoxCloneSyncService<(), BoxService<String, Vec<String>, BoxError>, BoxError> {
    BoxCloneSyncService::new(service_fn(async |()| {
        let connection = service_fn(async |query: String| match query.as_str() {
            "stock mugs" => Err(BoxError::from("refused")),
            "more" => Ok(Vec::new()),
            _ => Ok(vec!["1 on shelf 1".to_owned()]),
        });
        Ok::<_, BoxError>(BoxService::new(connection))
    }))
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is gone, too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn judge() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("twins");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder can be made");
    let mut config = String::from(
        "global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [rules.yml]\nscrape_configs:\n",
    );
    let mut running = Vec::new();
    for (ghost, _, once, always) in GHOSTS {
        for twin in ["broken", "fixed"] {
            let (child, address) = start(ghost, twin);
            running.push(child);
            config += &format!("  - job_name: {ghost} {twin}\n    static_configs: [{{ targets: ['{address}'] }}]\n");
            thread::spawn(move || load(address, once, always));
        }
    }
    let rules = Alerts::new("/readyz").windows(Duration::from_secs(10), Duration::from_secs(60));
    // These twins answer within a millisecond or not at all.
    let rules = rules.at_least(Duration::from_millis(100)).rules();
    fs::write(folder.join("rules.yml"), rules).expect("the folder is there");
    fs::write(folder.join("prometheus.yml"), config).expect("the folder is there");
    // Free now; nothing else of this test asks for a port between here and the start.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let listens = format!("--web.listen-address={address}");
    let mut prometheus = Command::new("prometheus");
    prometheus.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error", &listens]);
    let prometheus = prometheus.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _prometheus = Running(prometheus.expect("prometheus starts: install the package prometheus"));

    let start = Instant::now();
    let mut fired = BTreeMap::<(String, String), u64>::new();
    let wanted = |twin: &str| GHOSTS.map(|(ghost, alert, ..)| (alert.to_owned(), format!("{ghost} {twin}")));
    let mut last = None;
    // Until all have fired, and then as long again.
    while start.elapsed() < last.map_or(LONGEST, |last| 2 * last) {
        pause(Duration::from_secs(1));
        for (alert, job) in firing(address) {
            fired.entry((alert, job)).or_insert(start.elapsed().as_secs());
        }
        if last.is_none() && wanted("broken").iter().all(|alert| fired.contains_key(alert)) {
            last = Some(start.elapsed());
        }
    }
    for ((alert, job), after) in &fired {
        println!("{alert:24}{job:28}after {after} s");
    }
    for alert in wanted("broken") {
        assert!(fired.contains_key(&alert), "{alert:?} did not fire in {LONGEST:?}");
    }
    for alert in wanted("fixed") {
        assert!(!fired.contains_key(&alert), "{alert:?} fired");
    }
    println!(
        "three alerts fired for the broken twins and none of them for the fixed ones, in {} s",
        start.elapsed().as_secs()
    );
}

fn start(ghost: &str, twin: &str) -> (Running, SocketAddr) {
    let own = env::current_exe().expect("a process knows its program");
    let child = Command::new(own).args(["serve", ghost, twin]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("the program starts again");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped"))
        .read_line(&mut line)
        .expect("the twin prints its address");
    (Running(child), line.trim().parse().expect("an address"))
}

/// Some paths once, and then one ten times a second, whatever becomes of the requests, until the process ends.
fn load(address: SocketAddr, once: &[&str], always: &'static str) {
    for path in once {
        ask(address, path);
    }
    loop {
        thread::spawn(move || ask(address, always));
        pause(Duration::from_millis(100));
    }
}

#[expect(clippy::disallowed_methods, reason = "Prometheus lives in the time of the wall, and so does its traffic")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// The body of the answer, if there is one.
fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Alert and job of each alert that fires now.
fn firing(prometheus: SocketAddr) -> Vec<(String, String)> {
    let Some(text) = ask(prometheus, "/api/v1/alerts") else { return Vec::new() };
    let Ok(answer) = serde_json::from_str::<Value>(&text) else { return Vec::new() };
    let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
    let fires = alerts.iter().filter(|alert| alert["state"] == "firing");
    fires.map(|alert| (label(alert, "alertname"), label(alert, "job"))).collect()
}
