//! The failures on real sockets, seen by a real client: there with the broken twin, gone with the fixed one. What is
//! judged is the order of events, never how long they took.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    sync::oneshot,
};

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

// ===== Many, rude and slow clients =====

/// How long it may take until nothing is left of clients that have gone. Only a leak takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request of an ordinary client, as the bytes of HTTP/1.1.
fn ordinary(slug: &str) -> &'static str {
    match slug {
        "hidden-flush" => "GET /builds/7/log HTTP/1.1\r\nhost: ghost.test\r\naccept-encoding: gzip\r\n\r\n",
        "closure-captured-state" => "GET /orders HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "extension-collision" => "GET /me/letters HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "layer-order" => "GET /notes HTTP/1.1\r\nhost: ghost.test\r\nauthorization: Bearer ada\r\n\r\n",
        "silenced-error" => "GET /invoices/7?signature=1234 HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "swallowed-panic" => "GET /invoices/7 HTTP/1.1\r\nhost: ghost.test\r\nx-api-key: acme.secret\r\n\r\n",
        "lying-health-check" => "GET /orders HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "ignored-deadline" => "POST /orders/quick HTTP/1.1\r\nhost: ghost.test\r\ncontent-length: 0\r\n\r\n",
        "unready-clone" => "GET /reports/0 HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
        "body-double-close" => {
            "POST /uploads HTTP/1.1\r\nhost: ghost.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        }
        "leaked-permit" => "GET /stock/cups HTTP/1.1\r\nhost: ghost.test\r\n\r\n",
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
        // A spool of three slots turns away whom it has no slot for, and a pool of two connections who waits too long.
        let limited = ["body-double-close", "leaked-permit"].contains(&slug);
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
async fn layer_order_fixed_survives_many_rude_and_slow_clients() {
    survives("layer-order").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silenced_error_fixed_survives_many_rude_and_slow_clients() {
    survives("silenced-error").await;
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
