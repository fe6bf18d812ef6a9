//! The failures on real sockets, seen by a real client: there with the broken twin, gone with the fixed one. What is
//! judged is the order of events, never how long they took.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    routing::{any, put},
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tower::util::BoxCloneSyncService;

use crate::serving::Serving;

/// Sends one request on a connection of its own.
async fn send(twin: &Serving, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
    let stream = TcpStream::connect(&twin.address).await.expect("the twin listens");
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    asking("GET", path, headers, Body::empty())
}

fn asking(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "ghost.test");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body).expect("a request that never changes")
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

// ===== hidden-flush =====

/// What the first piece of the compressed log says, by itself.
async fn first_piece_of_the_log(fixed: bool) -> String {
    let twin = Serving::start("hidden-flush", fixed);
    let mut log = send(&twin, get("/builds/7/log", &[("accept-encoding", "gzip")])).await.expect("an answer");
    assert_eq!(header(log.headers(), "content-encoding"), "gzip");
    let piece = log.frame().await.expect("a frame").expect("no error").into_data().unwrap_or_else(|_| Bytes::new());
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    std::io::Write::write_all(&mut decoder, &piece).expect("gzip");
    std::io::Write::flush(&mut decoder).expect("gzip");
    String::from_utf8(decoder.get_ref().clone()).expect("text")
}

#[tokio::test]
async fn hidden_flush_the_first_piece_holds_the_whole_log() {
    assert_eq!(first_piece_of_the_log(false).await.lines().count(), 5);
}

#[tokio::test]
async fn hidden_flush_fixed_the_first_piece_is_the_first_line() {
    assert_eq!(first_piece_of_the_log(true).await.lines().count(), 1);
}

// ===== closure-captured-state =====

/// Whose name Ada's answer carries when Bob's request has overtaken hers.
async fn name_on_adas_answer(fixed: bool) -> String {
    let twin = Serving::start("closure-captured-state", fixed);
    let ada = send(&twin, get("/orders", &[("authorization", "Bearer ada")]));
    let bob = async {
        // Ada's request is in the warehouse for seconds; this is enough for it to get there.
        tokio::time::sleep(Duration::from_millis(300)).await;
        send(&twin, get("/orders", &[("authorization", "Bearer bob")])).await
    };
    let (ada, bob) = tokio::join!(ada, bob);
    assert_eq!(header(bob.expect("an answer").headers(), "x-user"), "bob");
    header(ada.expect("an answer").headers(), "x-user").to_owned()
}

#[tokio::test]
async fn closure_captured_state_ada_is_answered_as_bob() {
    assert_eq!(name_on_adas_answer(false).await, "bob");
}

#[tokio::test]
async fn closure_captured_state_fixed_ada_is_answered_as_ada() {
    assert_eq!(name_on_adas_answer(true).await, "ada");
}

// ===== swallowed-panic =====

const KEY: (&str, &str) = ("x-api-key", "acme.secret");

#[tokio::test]
async fn swallowed_panic_a_panic_is_an_empty_200() {
    let twin = Serving::start("swallowed-panic", false);
    let answer = send(&twin, get("/invoices/13", &[KEY])).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text(answer).await, "");
    assert!(!twin.stop().iter().any(|line| line.contains("ERROR")));
}

#[tokio::test]
async fn swallowed_panic_fixed_a_panic_is_a_500_and_one_line() {
    let twin = Serving::start("swallowed-panic", true);
    let answer = send(&twin, get("/invoices/13", &[KEY, ("x-request-id", "r-13")])).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let line = twin.said("ERROR");
    assert!(line.contains("r-13") && line.contains("/invoices/{id}") && line.contains("index out of bounds"), "{line}");
    let next = send(&twin, get("/invoices/7", &[KEY])).await.expect("an answer");
    assert_eq!(next.status(), StatusCode::OK);
    assert!(!twin.stop().iter().any(|line| line.contains("ERROR")));
}

// ===== ignored-deadline =====

#[tokio::test]
async fn ignored_deadline_the_order_is_charged_after_the_504() {
    let twin = Serving::start("ignored-deadline", false);
    let answer = send(&twin, asking("POST", "/orders/slow-bank", &[("x-budget-ms", "300")], Body::empty())).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::GATEWAY_TIMEOUT);
    twin.said("charged slow-bank");
}

#[tokio::test]
async fn ignored_deadline_fixed_only_the_order_that_was_answered_is_charged() {
    let twin = Serving::start("ignored-deadline", true);
    let answer = send(&twin, asking("POST", "/orders/slow-bank", &[("x-budget-ms", "300")], Body::empty())).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::GATEWAY_TIMEOUT);
    // The broken twin would charge the slow order after three seconds; this one has those and more.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let answer = send(&twin, asking("POST", "/orders/quick", &[], Body::empty())).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let before: Vec<String> = std::iter::from_fn(|| Some(twin.said("")))
        .take_while(|line| !line.contains("ledger: charged quick"))
        .filter(|line| line.contains("ledger"))
        .collect();
    assert_eq!(before, [""; 0]);
}

// ===== cancelled-cleanup =====

/// What two hundred clients leave behind that each send a write and leave while it is handled: how many documents are locked,
/// and how many tasks live that had not lived before.
async fn left_by_two_hundred_that_leave(app: <cancelled_cleanup_spec::Spec as lab::Ghost>::App) -> (usize, usize) {
    let held = Arc::new(Mutex::new(BTreeSet::new()));
    let locking = held.clone();
    let lock = async move |method: Method, Path(document): Path<u32>| match method {
        Method::PUT => {
            if locking.lock().unwrap().insert(document) {
                StatusCode::CREATED
            } else {
                StatusCode::LOCKED
            }
        }
        _ => {
            if locking.lock().unwrap().remove(&document) {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::NOT_FOUND
            }
        }
    };
    let (begun, mut begins) = mpsc::unbounded_channel();
    let write = async move |_: String| {
        begun.send(()).expect("it is counted");
        pending::<()>().await;
    };
    let routes = Router::new().route("/documents/{document}", put(write));
    let locks = Router::new().route("/locks/{document}", any(lock));
    let (drain, mut drained) = mpsc::channel(1);
    let listener = ghosts::read::serve::bind(0).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    let (stop, stopped) = oneshot::channel::<()>();
    let app = app(routes, locks, Duration::from_secs(4), drain);
    let server = tokio::spawn(ghosts::read::serve::until(listener, app, async { drop(stopped.await) }));
    let before = at_rest().await;

    let mut clients = Vec::new();
    for document in 0..200 {
        let mut client = TcpStream::connect(address).await.expect("the twin listens");
        let write =
            format!("PUT /documents/{document} HTTP/1.1\r\nhost: ghost.test\r\ncontent-length: 6\r\n\r\nitem 1");
        client.write_all(write.as_bytes()).await.expect("a write fits the socket");
        clients.push(client);
    }
    for _ in 0..200 {
        begins.recv().await.expect("each write is handled");
    }
    assert_eq!(held.lock().unwrap().len(), 200);
    drop(clients);
    let gone = tokio::time::timeout(PATIENCE, async {
        while Handle::current().metrics().num_alive_tasks() > before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let _ = gone.await;
    let left = Handle::current().metrics().num_alive_tasks().saturating_sub(before);
    stop.send(()).expect("it serves");
    server.await.expect("no panic").expect("a clean end");
    let ended = tokio::time::timeout(PATIENCE, drained.recv()).await;
    assert_eq!(ended, Ok(None), "the process would wait for ever");
    (held.lock().unwrap().len(), left)
}

#[tokio::test]
async fn cancelled_cleanup_two_hundred_that_leave_lock_two_hundred() {
    assert_eq!(left_by_two_hundred_that_leave(cancelled_cleanup::app).await, (200, 0));
}

#[tokio::test]
async fn cancelled_cleanup_fixed_two_hundred_that_leave_lock_nothing() {
    assert_eq!(left_by_two_hundred_that_leave(cancelled_cleanup_fixed::app).await, (0, 0));
}

// ===== unready-clone =====

#[tokio::test]
async fn unready_clone_a_request_before_the_limit_gets_no_answer() {
    let twin = Serving::start("unready-clone", false);
    let well = send(&twin, get("/health", &[])).await.expect("an answer");
    assert_eq!(text(well).await, "well\n");
    assert!(send(&twin, get("/reports/0", &[])).await.is_err());
    twin.said("panicked at");
}

#[tokio::test]
async fn unready_clone_fixed_more_requests_than_places_are_all_answered() {
    let twin = Serving::start("unready-clone", true);
    let report = || send(&twin, get("/reports/1", &[("x-request-id", "mine")]));
    let (one, two, three) = tokio::join!(report(), report(), report());
    let answers = [one, two, three].map(|answer| answer.expect("an answer"));
    let mut ids: Vec<_> = answers.iter().map(|answer| header(answer.headers(), "x-request-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    for answer in answers {
        assert_eq!(text(answer).await, "a report of 1 pages\n");
    }
}

// ===== lying-health-check =====

/// The statuses of `/readyz`, of `/orders` and of `/livez`, once the service knows that its database fails.
async fn statuses_of_a_sick_service(fixed: bool) -> [StatusCode; 3] {
    let twin = Serving::start("lying-health-check", fixed);
    serves(&twin.address, "lying-health-check").await;
    let order = send(&twin, asking("POST", "/orders?then=fail", &[], Body::empty())).await.expect("an answer");
    assert_eq!(order.status(), StatusCode::OK);
    // Before the second ping, what came of the first is known.
    twin.said("GET /ping fails");
    twin.said("GET /ping fails");
    let mut statuses = [StatusCode::OK; 3];
    for (path, status) in ["/readyz", "/orders", "/livez"].into_iter().zip(&mut statuses) {
        *status = send(&twin, get(path, &[])).await.expect("an answer").status();
    }
    statuses
}

#[tokio::test]
async fn lying_health_check_a_sick_service_says_200_to_probes_and_clients() {
    assert_eq!(statuses_of_a_sick_service(false).await, [200, 200, 200]);
}

#[tokio::test]
async fn lying_health_check_fixed_a_sick_service_is_alive_and_not_ready() {
    assert_eq!(statuses_of_a_sick_service(true).await, [503, 503, 200]);
}

// ===== extension-collision =====

/// What Carol gets who asks for Bob's letters, and what the audit trail then says.
async fn what_carol_gets(fixed: bool) -> (StatusCode, String) {
    let twin = Serving::start("extension-collision", fixed);
    let carol = ("authorization", "Bearer carol");
    let answer = send(&twin, get("/users/bob/letters", &[carol])).await.expect("an answer");
    (answer.status(), twin.said("audit: "))
}

#[tokio::test]
async fn extension_collision_carol_reads_as_bob() {
    let (status, entry) = what_carol_gets(false).await;
    assert_eq!((status, entry.as_str()), (StatusCode::OK, "audit: bob asked about bob: 200"));
}

#[tokio::test]
async fn extension_collision_fixed_carol_is_refused_as_carol() {
    let (status, entry) = what_carol_gets(true).await;
    assert_eq!((status, entry.as_str()), (StatusCode::FORBIDDEN, "audit: carol asked about bob: 403"));
}

// ===== layer-order =====

/// With what Eve's note is answered, and whether the app in the browser may read it; then what the audit trail has.
async fn what_eve_gets(fixed: bool) -> (StatusCode, bool, Vec<String>) {
    let twin = Serving::start("layer-order", fixed);
    let headers = [("origin", "https://portal.test"), ("authorization", "Bearer eve")];
    let answer = send(&twin, asking("POST", "/notes", &headers, Body::from("2 pills"))).await.expect("an answer");
    let readable = answer.headers().contains_key("access-control-allow-origin");
    (answer.status(), readable, twin.stop().into_iter().filter(|line| line.starts_with("audit: ")).collect())
}

#[tokio::test]
async fn layer_order_a_strangers_note_is_in_the_trail() {
    let (status, readable, trail) = what_eve_gets(false).await;
    assert_eq!((status, readable), (StatusCode::UNAUTHORIZED, false));
    assert_eq!(trail, ["audit: no id, \"2 pills\""]);
}

#[tokio::test]
async fn layer_order_fixed_a_strangers_note_is_in_no_trail() {
    let (status, readable, trail) = what_eve_gets(true).await;
    assert_eq!((status, readable), (StatusCode::UNAUTHORIZED, true));
    assert!(trail.is_empty(), "{trail:?}");
}

// ===== silenced-error =====

#[tokio::test]
async fn silenced_error_a_failure_is_a_line_at_info() {
    let twin = Serving::start("silenced-error", false);
    let answer = send(&twin, get("/invoices/13?signature=1234", &[])).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let line = twin.said("status=502");
    assert!(!line.contains("bucket"), "{line}");
    assert!(!twin.stop().iter().any(|line| line.contains("ERROR")));
}

#[tokio::test]
async fn silenced_error_fixed_a_failure_is_told_with_its_causes() {
    let twin = Serving::start("silenced-error", true);
    let answer = send(&twin, get("/invoices/13?signature=1234", &[])).await.expect("an answer");
    let id = header(answer.headers(), "x-request-id").to_owned();
    let line = twin.said("ERROR");
    let told = ["the vault turned us away", "/invoices/{id}", &id];
    assert!(told.iter().all(|text| line.contains(text)) && !line.contains("1234"), "{line}");
}

// ===== broken-chain =====

#[tokio::test]
async fn broken_chain_whoever_is_turned_away_has_no_end() {
    let twin = Serving::start("broken-chain", false);
    let answer = send(&twin, get("/records/7", &[("x-request-id", "r-1")])).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    twin.said("r-1 opened");
    assert!(!twin.stop().iter().any(|line| line.contains("r-1 closed")));
}

#[tokio::test]
async fn broken_chain_fixed_whoever_is_turned_away_has_an_end() {
    let twin = Serving::start("broken-chain", true);
    let answer = send(&twin, get("/records/7", &[("x-request-id", "r-1")])).await.expect("an answer");
    assert_eq!(header(answer.headers(), "access-control-allow-origin"), "*");
    twin.said("r-1 closed 401");
}

// ===== blocked-log-channel =====

/// How many of nine orders are answered while nothing reads the log, and what the metric says then.
async fn answered_while_the_log_stops(fixed: bool) -> (usize, String) {
    let twin = Serving::start("blocked-log-channel", fixed);
    send(&twin, asking("POST", "/shipper/stop", &[], Body::empty())).await.expect("an answer");
    let mut answered = 0;
    for number in 0..9 {
        let order = send(&twin, get("/orders/7", &[("x-request-id", &format!("r-{number}"))]));
        // It takes a tenth of a second where it does not wait for the log, and where it does there is no end.
        match tokio::time::timeout(Duration::from_secs(3), order).await {
            Ok(answer) => assert_eq!(answer.expect("an answer").status(), StatusCode::OK),
            Err(_) => break,
        }
        answered += 1;
    }
    let lost = text(send(&twin, get("/lost", &[])).await.expect("an answer")).await;
    (answered, lost)
}

#[tokio::test]
async fn blocked_log_channel_the_sixth_order_waits_for_the_log() {
    assert_eq!(answered_while_the_log_stops(false).await, (5, "0 lines lost\n".to_owned()));
}

#[tokio::test]
async fn blocked_log_channel_fixed_nobody_waits_and_eight_lines_are_lost() {
    assert_eq!(answered_while_the_log_stops(true).await, (9, "8 lines lost\n".to_owned()));
}

/// A place for a log of this test's.
fn log_path(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    // It may be left of a run before.
    let _ = std::fs::remove_file(&path);
    path
}

#[tokio::test]
async fn blocked_log_channel_the_log_goes_to_a_file() {
    let path = log_path("log");
    let twin = Serving::start_with("blocked-log-channel", true, &["--log".as_ref(), path.as_ref()]);
    for id in ["r-1", "r-2"] {
        send(&twin, get("/orders/7", &[("x-request-id", id)])).await.expect("an answer");
    }
    send(&twin, asking("POST", "/stop", &[], Body::empty())).await.expect("an answer");
    twin.said("log: closed");
    let log = std::fs::read_to_string(&path).expect("the log is there");
    assert_eq!(log, "r-1 begun\nr-1 ended 200\nr-2 begun\nr-2 ended 200\n");
    std::fs::remove_file(path).expect("it is ours");
}

/// How many of forty orders are answered while nobody reads a named pipe, how many lines are lost then, and whether the next
/// order is answered once somebody reads.
#[cfg(unix)]
async fn answered_while_nobody_reads_the_pipe(fixed: bool) -> (usize, bool, bool) {
    let path = log_path(if fixed { "pipe-fixed" } else { "pipe" });
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is there on Unix");
    assert!(made.success());
    let twin = Serving::start_with("blocked-log-channel", fixed, &["--log".as_ref(), path.as_ref()]);
    // It opens as soon as the other end does.
    let mut reader = std::fs::File::open(&path).expect("the twin opens it");
    // A pipe of the system's holds tens of thousands of bytes, and each order leaves twelve thousand.
    let id = "r".repeat(6_000);
    let mut answered = 0;
    for _ in 0..40 {
        let order = send(&twin, get("/orders/7", &[("x-request-id", &id)]));
        match tokio::time::timeout(Duration::from_secs(3), order).await {
            Ok(answer) => assert_eq!(answer.expect("an answer").status(), StatusCode::OK),
            Err(_) => break,
        }
        answered += 1;
    }
    let lost = text(send(&twin, get("/lost", &[])).await.expect("an answer")).await;
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let next = send(&twin, get("/orders/7", &[])).await.expect("an answer");
    std::fs::remove_file(path).expect("it is ours");
    (answered, lost != "0 lines lost\n", next.status() == StatusCode::OK)
}

#[cfg(unix)]
#[tokio::test]
async fn blocked_log_channel_orders_wait_for_a_pipe_that_nobody_reads() {
    let (answered, lost, next) = answered_while_nobody_reads_the_pipe(false).await;
    assert!(answered < 40 && !lost && next, "{answered} answered, lost: {lost}, the next: {next}");
}

#[cfg(unix)]
#[tokio::test]
async fn blocked_log_channel_fixed_nobody_waits_for_a_pipe_that_nobody_reads() {
    assert_eq!(answered_while_nobody_reads_the_pipe(true).await, (40, true, true));
}

// ===== orphan-task =====

/// 200 clients read a board each, hear a message, and are gone at once. Tells how many tasks and subscriptions are left of them.
async fn left_of_200_readers(app: <orphan_task_spec::Spec as lab::Ghost>::App) -> (usize, usize) {
    let subscriptions = Arc::<Mutex<Vec<mpsc::Sender<String>>>>::default();
    let opened = subscriptions.clone();
    let upstream = tower::service_fn(move |_board: String| {
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send("departed".to_owned()).expect("there is room for one");
        opened.lock().expect("no panic").push(sender);
        async { Ok::<_, axum::BoxError>(receiver) }
    });
    let router = app(BoxCloneSyncService::new(upstream), Arc::new(str::to_owned));
    let listener = ghosts::read::serve::bind(0).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(ghosts::read::serve::until(listener, router, async { drop(stopped.await) }));
    let open = || subscriptions.lock().expect("no panic").iter().filter(|sender| !sender.is_closed()).count();
    let before = at_rest().await;

    let mut readers = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        let request = format!("GET /boards/gate-{number}/events HTTP/1.1\r\nhost: ghost.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request fits the socket");
        readers.push(stream);
    }
    for stream in &mut readers {
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("data: departed") {
            assert!(stream.read_buf(&mut heard).await.expect("a stream") > 0, "the stream ended");
        }
    }
    assert_eq!(open(), 200);
    drop(readers);

    // Of each connection nothing is left when its task is gone; of each board there may be.
    let gone = tokio::time::timeout(PATIENCE, async {
        while Handle::current().metrics().num_alive_tasks() > before + open() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(gone.await.is_ok(), "connections are left");
    let left = (at_rest().await - before, open());
    stop.send(()).expect("it serves");
    server.await.expect("no panic").expect("a clean end");
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_task_200_clients_that_left_are_200_tasks_and_subscriptions() {
    assert_eq!(left_of_200_readers(orphan_task::app).await, (200, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_task_fixed_nothing_is_left_of_200_clients() {
    assert_eq!(left_of_200_readers(orphan_task_fixed::app).await, (0, 0));
}

/// What upstream has said.
fn of_upstream(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split("upstream: ").nth(1)).collect()
}

#[tokio::test]
async fn orphan_task_two_boards_that_nobody_reads_are_open() {
    let twin = Serving::start("orphan-task", false);
    for board in ["trains", "planes"] {
        let mut answer = send(&twin, get(&format!("/boards/{board}/events"), &[])).await.expect("an answer");
        assert!(answer.frame().await.is_some());
    }
    let lines = twin.stop();
    assert_eq!(of_upstream(&lines), ["subscribed to trains, 1 open", "subscribed to planes, 2 open"]);
}

// The connection ends on a thread while the test waits on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_task_fixed_a_board_that_nobody_reads_is_given_back() {
    let twin = Serving::start("orphan-task", true);
    for (board, open) in [("trains", 0), ("planes", 0)] {
        let mut answer = send(&twin, get(&format!("/boards/{board}/events"), &[])).await.expect("an answer");
        assert!(answer.frame().await.is_some());
        drop(answer);
        twin.said(&format!("upstream: unsubscribed from {board}, {open} open"));
    }
}

// ===== Many, rude and slow clients =====

/// How long it may take until nothing is left of clients that have gone. Only a leak takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request of an ordinary client, as the bytes of HTTP/1.1.
fn ordinary(slug: &str) -> &'static str {
    match slug {
        "hidden-flush" => "GET /builds/7/log HTTP/1.1\r\nhost: ghost.test\r\naccept-encoding: gzip\r\n\r\n",
        "closure-captured-state" => "GET /orders HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "extension-collision" => "GET /me/letters HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "orphan-task" => "GET /boards/quiet/events HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "layer-order" => "GET /notes HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "silenced-error" => "GET /invoices/7?signature=1234 HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "broken-chain" => "GET /records/7 HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "swallowed-panic" => "GET /invoices/7 HTTP/1.1\r\nhost: ghost.test\r\nx-api-key: acme.secret\r\n\r\n",
        "lying-health-check" => "GET /orders HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "ignored-deadline" => "POST /orders/quick HTTP/1.1\r\nhost: ghost.test\r\ncontent-length: 0\r\n\r\n",
        "cancelled-cleanup" => "GET /locks HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "unready-clone" => "GET /reports/0 HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "body-double-close" => {
            "POST /uploads HTTP/1.1\r\nhost: ghost.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        }
        "blocked-log-channel" => "GET /orders/7 HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "leaked-permit" => "GET /stock/cups HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "no-bulkhead" => "GET /orders/7 HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "unread-body" => REFUSED_UPLOAD,
        other => panic!("say what an ordinary request to {other} is"),
    }
}

/// An upload of nobody's, which comes whole.
const REFUSED_UPLOAD: &str =
    "POST /upload HTTP/1.1\r\nhost: ghost.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// How the answer to an ordinary request begins.
fn welcome(slug: &str) -> &'static str {
    if slug == "unread-body" { "HTTP/1.1 403" } else { "HTTP/1.1 200" }
}

/// The first line of the answer to an ordinary request.
async fn status_line(address: &str, slug: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the twin listens");
    stream.write_all(ordinary(slug).as_bytes()).await.expect("a request fits the socket");
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && stream.read_buf(&mut answer).await.expect("an answer") > 0 {}
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Waits until an ordinary request is answered with 200: a twin may have to find out first whether it can.
async fn serves(address: &str, slug: &str) {
    let served = async {
        while !status_line(address, slug).await.starts_with(welcome(slug)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, served).await.is_ok(), "{slug} does not serve");
}

/// Clients that do not behave; each of them ends.
async fn rude(address: String, slug: &'static str, manner: usize) {
    let mut stream = TcpStream::connect(address).await.expect("the twin listens");
    let request = ordinary(slug).as_bytes();
    // The server may close before all is written; that is its right.
    let _ = match manner % 4 {
        // Leaves in mid-request.
        0 => stream.write_all(&request[..request.len() / 2]).await,
        // Leaves before the answer.
        1 => stream.write_all(request).await,
        // Sends what is no HTTP.
        2 => stream.write_all(b"\x16\x03\x01 boo\r\n\r\n\r\n").await,
        // Takes a byte of the answer, and then its time.
        _ => {
            let _ = stream.write_all(request).await;
            let _ = stream.read_u8().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        }
    };
}

/// After all that, a request is answered, and no task is left: each connection, and with it its socket, is a task.
async fn survives(slug: &'static str) {
    let ghost = ghosts::catalogue::ghosts::find(slug).expect("a ghost");
    let listener = ghosts::read::serve::bind(0).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(ghosts::read::serve::until(listener, ghost.serve(true), async { drop(stopped.await) }));
    serves(&address, slug).await;
    let before = at_rest().await;

    let many: Vec<_> = (0..200).map(|_| tokio::spawn(status_line_of(address.clone(), slug))).collect();
    for one in many {
        let line = one.await.expect("a client");
        // A spool of three slots turns away whom it has no slot for; a pool of two connections and a shop of four places, who
        // waits too long.
        let limited = ["body-double-close", "leaked-permit", "no-bulkhead"].contains(&slug);
        let turned_away = limited && line.starts_with("HTTP/1.1 503");
        assert!(turned_away || line.starts_with(welcome(slug)), "{line}");
    }
    let all: Vec<_> = (0..80).map(|manner| tokio::spawn(rude(address.clone(), slug, manner))).collect();
    for one in all {
        one.await.expect("a client");
    }
    let left = tokio::time::timeout(PATIENCE, async {
        while Handle::current().metrics().num_alive_tasks() > before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(left.await.is_ok(), "{} tasks, before {before}", Handle::current().metrics().num_alive_tasks());
    // Three at once: as many as the spool has slots, and more than the pool has connections, so that none may be lost.
    let line = || status_line(&address, slug);
    for line in <[String; 3]>::from(tokio::join!(line(), line(), line())) {
        assert!(line.starts_with(welcome(slug)), "the next request gets {line}");
    }
    stop.send(()).expect("it serves");
    server.await.expect("no panic").expect("a clean end");
}

async fn status_line_of(address: String, slug: &'static str) -> String {
    status_line(&address, slug).await
}

/// How many tasks live once their number has not changed for a while.
async fn at_rest() -> usize {
    let mut seen = Handle::current().metrics().num_alive_tasks();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = Handle::current().metrics().num_alive_tasks();
        if now == seen {
            return now;
        }
        seen = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_flush_fixed_survives_many_rude_and_slow_clients() {
    survives("hidden-flush").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closure_captured_state_fixed_survives_many_rude_and_slow_clients() {
    survives("closure-captured-state").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extension_collision_fixed_survives_many_rude_and_slow_clients() {
    survives("extension-collision").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_log_channel_fixed_survives_many_rude_and_slow_clients() {
    survives("blocked-log-channel").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layer_order_fixed_survives_many_rude_and_slow_clients() {
    survives("layer-order").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silenced_error_fixed_survives_many_rude_and_slow_clients() {
    survives("silenced-error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_task_fixed_survives_many_rude_and_slow_clients() {
    survives("orphan-task").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_chain_fixed_survives_many_rude_and_slow_clients() {
    survives("broken-chain").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swallowed_panic_fixed_survives_many_rude_and_slow_clients() {
    survives("swallowed-panic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ignored_deadline_fixed_survives_many_rude_and_slow_clients() {
    survives("ignored-deadline").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_cleanup_fixed_survives_many_rude_and_slow_clients() {
    survives("cancelled-cleanup").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unready_clone_fixed_survives_many_rude_and_slow_clients() {
    survives("unready-clone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lying_health_check_fixed_survives_many_rude_and_slow_clients() {
    survives("lying-health-check").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_double_close_fixed_survives_many_rude_and_slow_clients() {
    survives("body-double-close").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaked_permit_fixed_survives_many_rude_and_slow_clients() {
    survives("leaked-permit").await;
}

// ===== leaked-permit =====

/// What is told to who asks for cups, when the database has refused as many requests as there are connections.
async fn cups_after_two_refusals(fixed: bool) -> (StatusCode, String) {
    let twin = Serving::start("leaked-permit", fixed);
    for id in ["r-1", "r-2"] {
        let refused = send(&twin, get("/stock/mugs", &[("x-request-id", id)])).await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    }
    let answer = send(&twin, get("/stock/cups", &[])).await.expect("an answer");
    (answer.status(), text(answer).await)
}

#[tokio::test]
async fn leaked_permit_two_refusals_take_both_connections() {
    let (status, text) = cups_after_two_refusals(false).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("r-1 has one for") && text.contains("r-2 has one for"), "{text}");
}

#[tokio::test]
async fn leaked_permit_fixed_after_two_refusals_the_cups_come() {
    let (status, text) = cups_after_two_refusals(true).await;
    assert_eq!((status, text.lines().count()), (StatusCode::OK, 3));
}

// ===== no-bulkhead =====

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bulkhead_fixed_survives_many_rude_and_slow_clients() {
    survives("no-bulkhead").await;
}

/// What an order gets while six reports are asked for, and what `/livez` tells.
async fn an_order_beside_six_reports(fixed: bool) -> (StatusCode, String) {
    let twin = Serving::start("no-bulkhead", fixed);
    let mut reports = JoinSet::new();
    for _ in 0..6 {
        let address = twin.address.clone();
        reports.spawn(async move {
            let mut stream = TcpStream::connect(&address).await.expect("the twin listens");
            stream
                .write_all(b"GET /admin/log HTTP/1.1\r\nhost: ghost.test\r\n\r\n")
                .await
                .expect("a request fits the socket");
            drop(stream.read_u8().await);
        });
    }
    let all = if fixed { "reports: 2 in" } else { "reports: 4 in" };
    let mut told = String::new();
    while !told.contains(all) {
        told = text(send(&twin, get("/livez", &[])).await.expect("an answer")).await;
    }
    let answer = send(&twin, get("/orders/7", &[])).await.expect("an answer");
    (answer.status(), told)
}

#[tokio::test]
async fn no_bulkhead_reports_have_every_place() {
    let (status, told) = an_order_beside_six_reports(false).await;
    assert_eq!((status, told.contains("their share is 2")), (StatusCode::SERVICE_UNAVAILABLE, true), "{told}");
}

#[tokio::test]
async fn no_bulkhead_fixed_an_order_is_served_beside_reports() {
    assert_eq!(an_order_beside_six_reports(true).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_body_fixed_survives_many_rude_and_slow_clients() {
    survives("unread-body").await;
}

// ===== unread-body =====

/// A request that is refused, and another one behind it on the same connection: the refusal, and what comes after it.
async fn refused_and_then_some(twin: &Serving) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(&twin.address).await.expect("the twin listens");
    let refused =
        "POST /upload HTTP/1.1\r\nhost: ghost.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let both = [refused, ordinary("unread-body")].concat();
    stream.write_all(both.as_bytes()).await.expect("two requests fit the socket");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    (String::from_utf8_lossy(&answer).into_owned(), stream)
}

#[tokio::test]
async fn unread_body_the_next_answer_comes_when_the_page_forgets_the_refused_upload() {
    let twin = Serving::start("unread-body", false);
    let (refusal, mut stream) = refused_and_then_some(&twin).await;
    assert!(refusal.starts_with("HTTP/1.1 403"), "{refusal}");
    let next = tokio::spawn(async move { stream.read_u8().await });
    let refuse = || send(&twin, asking("POST", "/upload", &[], Body::empty()));
    for _ in 1..100 {
        assert_eq!(refuse().await.expect("an answer").status(), StatusCode::FORBIDDEN);
    }
    assert!(!next.is_finished());
    assert_eq!(refuse().await.expect("an answer").status(), StatusCode::FORBIDDEN);
    assert_eq!(next.await.expect("no panic").expect("an answer"), b'H');
}

#[tokio::test]
async fn unread_body_fixed_the_next_answer_follows_the_refusal() {
    let twin = Serving::start("unread-body", true);
    let (refusal, mut stream) = refused_and_then_some(&twin).await;
    assert!(refusal.starts_with("HTTP/1.1 403"), "{refusal}");
    assert_eq!(stream.read_u8().await.expect("an answer"), b'H');
}

// ===== body-double-close =====

/// The slots that two uploads at the same time are told, after one that has ended.
async fn slots_of_two_uploads(fixed: bool) -> [String; 2] {
    let twin = Serving::start("body-double-close", fixed);
    let upload = |body| send(&twin, asking("POST", "/uploads", &[], body));
    let first = upload(Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("letters")]))).await;
    assert_eq!(first.expect("an answer").status(), StatusCode::OK);
    // Each takes a second and a half, so that they are under way at the same time.
    let piecemeal = || {
        let pieces = futures_util::stream::unfold(0, |piece| async move {
            tokio::time::sleep(Duration::from_millis(500 * piece)).await;
            (piece < 3).then_some((Ok::<_, std::io::Error>("piece "), piece + 1))
        });
        Body::from_stream(pieces)
    };
    let (one, other) = tokio::join!(upload(piecemeal()), upload(piecemeal()));
    [text(one.expect("an answer")).await, text(other.expect("an answer")).await]
}

#[tokio::test]
async fn body_double_close_two_uploads_are_told_one_slot() {
    let [one, other] = slots_of_two_uploads(false).await;
    assert_eq!(one, other);
}

#[tokio::test]
async fn body_double_close_fixed_two_uploads_are_told_two_slots() {
    let [one, other] = slots_of_two_uploads(true).await;
    assert_ne!(one, other);
}
