//! `lying-health-check` behind real proxies: two instances of a twin, each with a database of its own, of which one fails.
//!
//! HAProxy asks each instance for `/readyz` and reads the status. nginx, as Debian has it, asks nothing: it learns from orders
//! that fail. What reached the sick instance is counted in the log of the proxy, what came of it by the client. Nothing is
//! judged by the clock: a proxy is given as many probes as it takes, and nginx's memory is longer than the test.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
    middleware::map_request,
};
use ghosts::{checkout::Checkout, read::serve};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore};

/// How long something may take that must come. Nothing is judged by it: it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(20);
/// The period of the instances' own check.
const PERIOD: Duration = Duration::from_millis(100);
/// How many orders are sent, one after the other.
const ORDERS: usize = 20;
/// After how many failed orders nginx leaves an instance alone.
const MAX_FAILS: usize = 2;

/// One instance of a twin, on a port of its own.
struct Instance {
    address: String,
    /// Whether its database fails.
    gone: Arc<AtomicBool>,
    /// How many times it was asked for `/readyz`.
    probes: Arc<AtomicUsize>,
}

impl Instance {
    async fn start(fixed: bool) -> Self {
        let gone = Arc::new(AtomicBool::new(false));
        let mood = gone.clone();
        let database = Router::new().fallback(async move || match mood.load(Ordering::SeqCst) {
            true => (StatusCode::INTERNAL_SERVER_ERROR, ""),
            false => (StatusCode::OK, "order served"),
        });
        let app = if fixed { lying_health_check_fixed::app } else { lying_health_check::app };
        let probes = Arc::<AtomicUsize>::default();
        let count = probes.clone();
        let counted = map_request(move |request: Request<Body>| {
            count.fetch_add(usize::from(request.uri().path() == "/readyz"), Ordering::SeqCst);
            std::future::ready(request)
        });
        let app = app(database, Arc::new(Semaphore::new(4)), PERIOD).layer(counted);
        let listener = serve::bind(0).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener").to_string();
        tokio::spawn(serve::until(listener, app, std::future::pending()));
        let instance = Self { address, gone, probes };
        let ready = async {
            while ask(&instance.address, Method::GET, "/orders").await != (StatusCode::OK, "order served".to_owned()) {
                tokio::time::sleep(PERIOD).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the instance becomes ready");
        instance
    }

    fn lose_its_database(&self, gone: bool) {
        self.gone.store(gone, Ordering::SeqCst);
    }

    /// Waits for so many more probes.
    async fn is_probed(&self, times: usize) {
        let enough = self.probes.load(Ordering::SeqCst) + times;
        let probed = async {
            while self.probes.load(Ordering::SeqCst) < enough {
                tokio::time::sleep(PERIOD).await;
            }
        };
        tokio::time::timeout(PATIENCE, probed).await.expect("the proxy probes");
    }
}

/// Asks on a connection of its own.
async fn ask(address: &str, method: Method, path: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "ghost.test").body(Body::empty());
    let answer = sender.send_request(request.expect("a path")).await.expect("an answer");
    let status = answer.status();
    let text = answer.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8_lossy(&text).into_owned())
}

/// Sends the orders, and tells how many clients were not served.
async fn order(proxy: &Proxy, method: &Method) -> usize {
    let mut failed = 0;
    for _ in 0..ORDERS {
        let (status, text) = ask(&proxy.address, method.clone(), "/orders").await;
        failed += usize::from(status != StatusCode::OK || text != "order served");
    }
    failed
}

/// A proxy in front of two instances, until it is dropped.
struct Proxy {
    child: Child,
    address: String,
    /// What it writes to its standard output: its log.
    lines: Receiver<String>,
}

impl Proxy {
    /// Starts Debian's `program` with a configuration in a folder of the test's own.
    async fn start(
        program: &str,
        test: &str,
        arguments: &[&str],
        configuration: impl Fn(&str, &Path) -> String,
    ) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{test}"));
        fs::create_dir_all(&folder).expect("a folder of our own");
        // The system does not give a port again at once that it has just given.
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").to_string();
        let file = folder.join("configuration");
        fs::write(&file, configuration(&address, &folder)).expect("a file of our own");
        let mut child = Command::new(program)
            // A daemon's folder, which is not in everybody's path.
            .env("PATH", format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default()))
            .args(arguments)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("errors")).expect("a file of our own"))
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} does not start ({error}): it is in Debian's package `{program}`")
            });
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (said, lines) = channel();
        thread::spawn(move || {
            // The test may have seen enough.
            stdout.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        let proxy = Self { child, address, lines };
        let listens = async {
            while TcpStream::connect(&proxy.address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let listens = tokio::time::timeout(PATIENCE, listens).await;
        assert!(listens.is_ok(), "{program}: {}", fs::read_to_string(folder.join("errors")).unwrap_or_default());
        proxy
    }

    async fn haproxy(test: &str, sick: &Instance, well: &Instance) -> Self {
        let configuration = |address: &str, _: &Path| {
            format!(
                "global
    log stdout format raw local0
defaults
    mode http
    log global
    log-format \"order %s %ST\"
    timeout connect 10s
    timeout client 10s
    timeout server 10s
    timeout check 10s
frontend orders
    bind {address}
    default_backend instances
backend instances
    balance roundrobin
    option httpchk GET /readyz
    option log-health-checks
    default-server check inter 100ms fall 1 rise 1
    server sick {sick}
    server well {well}
",
                sick = sick.address,
                well = well.address
            )
        };
        Self::start("haproxy", test, &["-db", "-f"], configuration).await
    }

    async fn nginx(test: &str, sick: &Instance, well: &Instance) -> Self {
        let configuration = |address: &str, folder: &Path| {
            format!(
                "daemon off;
master_process off;
pid \"{folder}/pid\";
error_log stderr;
events {{}}
http {{
    log_format order 'order $upstream_addr';
    access_log /dev/stdout order;
    client_body_temp_path \"{folder}/body\";
    proxy_temp_path \"{folder}/proxy\";
    fastcgi_temp_path \"{folder}/fastcgi\";
    uwsgi_temp_path \"{folder}/uwsgi\";
    scgi_temp_path \"{folder}/scgi\";
    upstream instances {{
        server {sick} max_fails={MAX_FAILS} fail_timeout=1h;
        server {well} max_fails={MAX_FAILS} fail_timeout=1h;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://instances;
            proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
        }}
    }}
}}
",
                folder = folder.display(),
                sick = sick.address,
                well = well.address
            )
        };
        Self::start("nginx", test, &["-e", "stderr", "-c"], configuration).await
    }

    /// The next line of the log that contains `text`.
    fn says(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing said {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// To how many of the orders, whose lines come next in the log, an instance was asked.
    fn sent_to(&self, instance: &str) -> usize {
        (0..ORDERS).filter(|_| self.says("order ").contains(instance)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Holds what was counted against the chapter, whose table has a row of it.
fn stands_in_the_chapter(proxy: &str, twin: &str, method: &Method, sent: usize, failed: usize) {
    let chapter = Checkout::here().text("book/src/lying-health-check.md").expect("the chapter");
    let row = format!("| {proxy} | {twin} | {method} | {sent} | {failed} |");
    assert!(chapter.lines().any(|line| line == row), "the chapter has not this row: {row}");
}

/// Two instances, both ready.
async fn instances(fixed: bool) -> [Instance; 2] {
    [Instance::start(fixed).await, Instance::start(fixed).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_haproxy_every_other_order_is_lost_and_no_probe_fails() {
    let [sick, well] = instances(false).await;
    let proxy = Proxy::haproxy("broken", &sick, &well).await;
    sick.lose_its_database(true);
    sick.is_probed(10).await;
    let failed = order(&proxy, &Method::GET).await;
    let sent = proxy.sent_to(" sick ");
    stands_in_the_chapter("HAProxy", "broken", &Method::GET, sent, failed);
    assert_eq!((sent, failed), (ORDERS / 2, ORDERS / 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_haproxy_fixed_no_order_reaches_the_sick_instance_until_it_is_well() {
    let [sick, well] = instances(true).await;
    let proxy = Proxy::haproxy("fixed", &sick, &well).await;
    sick.lose_its_database(true);
    proxy.says("Server instances/sick is DOWN");
    let failed = order(&proxy, &Method::GET).await;
    let sent = proxy.sent_to(" sick ");
    stands_in_the_chapter("HAProxy", "fixed", &Method::GET, sent, failed);
    assert_eq!((sent, failed), (0, 0));

    sick.lose_its_database(false);
    proxy.says("Server instances/sick is UP");
    assert_eq!(order(&proxy, &Method::GET).await, 0);
    assert_ne!(proxy.sent_to(" sick "), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_every_other_order_is_lost_and_nothing_is_learnt() {
    let [sick, well] = instances(false).await;
    let proxy = Proxy::nginx("broken", &sick, &well).await;
    sick.lose_its_database(true);
    let failed = order(&proxy, &Method::GET).await;
    let sent = proxy.sent_to(&sick.address);
    stands_in_the_chapter("nginx", "broken", &Method::GET, sent, failed);
    assert_eq!((sent, failed), (ORDERS / 2, ORDERS / 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_fixed_the_sick_instance_gets_max_fails_orders_and_every_client_is_served() {
    let [sick, well] = instances(true).await;
    let proxy = Proxy::nginx("fixed", &sick, &well).await;
    sick.lose_its_database(true);
    let failed = order(&proxy, &Method::GET).await;
    let sent = proxy.sent_to(&sick.address);
    stands_in_the_chapter("nginx", "fixed", &Method::GET, sent, failed);
    assert_eq!(failed, 0);
    assert!((1..=MAX_FAILS + 1).contains(&sent), "{sent} orders reached the sick instance");
}

/// nginx does not send a `POST` twice, and does not count it as a failure of the instance either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_fixed_nothing_is_learnt_from_orders_that_are_posted() {
    let [sick, well] = instances(true).await;
    let proxy = Proxy::nginx("fixed-post", &sick, &well).await;
    sick.lose_its_database(true);
    let failed = order(&proxy, &Method::POST).await;
    let sent = proxy.sent_to(&sick.address);
    stands_in_the_chapter("nginx", "fixed", &Method::POST, sent, failed);
    assert_eq!((sent, failed), (ORDERS / 2, ORDERS / 2));

    // Once others have taught it, they are sent elsewhere too.
    order(&proxy, &Method::GET).await;
    proxy.sent_to(&sick.address);
    let failed = order(&proxy, &Method::POST).await;
    assert_eq!((proxy.sent_to(&sick.address), failed), (0, 0));
}
