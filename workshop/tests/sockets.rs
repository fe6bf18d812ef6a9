//! The five failures on real sockets, seen by a real client: there with the broken twin, gone with the fixed one. What is
//! judged is the order of events, never how long they took.

mod serving;

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use serving::Serving;

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
        .take_while(|line| !line.contains("charged quick"))
        .filter(|line| line.contains("charged"))
        .collect();
    assert_eq!(before, [""; 0]);
}
