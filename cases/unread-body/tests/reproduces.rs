//! The ghost appears: a message that is kept for support keeps its connection.

use std::{io, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use lab::Report;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};
use tower::{service_fn, util::BoxCloneSyncService};
use unread_body::near_misses;
use unread_body_spec::check;

#[test]
fn a_message_on_the_support_page_holds_its_connection() {
    let report = check(unread_body::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: what becomes of a connection when a body is not read.
#[tokio::test(start_paused = true)]
async fn by_hand_a_refused_connection_is_neither_used_nor_closed() {
    let store = BoxCloneSyncService::new(service_fn(async |()| Err::<DuplexStream, _>(io::Error::other("no store"))));
    let (mut client, server) = duplex(16 * 1024);
    let app = TowerToHyperService::new(unread_body::app(store));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), app));

    // Twice as much as fits the connection: the gate is not going to read it.
    let head = "POST /upload HTTP/1.1\r\nhost: gate\r\ncontent-length: 32768\r\n\r\n";
    let upload = format!("{head}{}", "x".repeat(32768));
    let sent = timeout(Duration::from_secs(60), client.write_all(upload.as_bytes())).await;
    assert!(sent.is_err(), "the rest was read, or the connection closed, so this test can be turned round");

    let mut answer = vec![0; 1024];
    let length = client.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 403"));
    let more = timeout(Duration::from_secs(60 * 60), client.read(&mut answer)).await;
    assert!(more.is_err(), "the connection closed, so this test can be turned round");
}
// ANCHOR_END: notice

#[test]
fn on_the_wire_nothing_follows_the_answer() {
    let report = check(unread_body::app);
    insta::assert_snapshot!("kept", scene(&report, "used-or-closed", "HTTP/1.1, 16 KiB of known length"));
}

#[test]
fn a_small_upload_is_read_ahead_and_its_connection_goes_on() {
    let report = check(unread_body::app);
    let small = scene(&report, "small-rest-keeps-connection", "HTTP/1.1, 1 KiB of known length");
    insta::assert_snapshot!("kept-small", small);
}

#[test]
fn a_shorter_page_holds_fewer_and_holds_them_all_the_same() {
    miss("shorter-page", "used-or-closed");
}

#[test]
fn answers_of_the_store_are_messages_too() {
    miss("uploads-only", "store-connection-reused");
}

#[test]
fn who_waits_for_the_one_connection_waits_for_the_support_page() {
    miss("one-connection", "store-connection-reused");
}

#[test]
fn a_connection_that_is_told_to_close_waits_for_the_body_first() {
    miss("connection-close", "small-rest-keeps-connection");
}

#[test]
fn a_drain_without_bound_is_as_long_as_the_client_likes() {
    miss("drain-without-bound", "large-rest-closes-connection");
}

#[test]
fn a_whole_body_comes_before_its_answer() {
    miss("whole-body-first", "answer-before-body");
}

#[test]
fn a_drain_in_a_task_leaves_the_task_behind() {
    miss("drain-in-a-task", "nothing-left");
}

#[test]
fn a_limit_of_bytes_lets_a_client_stall_below_it() {
    miss("byte-limit-only", "large-rest-closes-connection");
}

#[test]
fn a_limit_of_time_lets_a_fast_client_send_a_megabyte() {
    miss("time-limit-only", "large-rest-closes-connection");
}

#[test]
fn a_limit_on_each_pause_lets_a_steady_store_go_on_for_ever() {
    miss("idle-time-limit", "endless-error-is-cut");
}

#[test]
fn a_length_says_nothing_of_chunks() {
    miss("length-decides", "large-rest-closes-connection");
}

#[test]
fn a_dropped_error_costs_a_connection_when_its_body_comes_a_moment_later() {
    miss("drop-both", "store-connection-reused");
}

#[test]
fn a_page_without_incidents_holds_nothing_and_tells_nothing() {
    miss("nothing-kept", "incidents-are-told");
}

/// This near miss breaks this promise; the snapshot says which others it breaks as well.
fn miss(name: &str, promise: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("the name of a near miss");
    let report = check(app);
    assert!(report.broken().contains(&promise), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}

/// What crossed the wire in one scene.
fn scene(report: &Report, promise: &str, title: &str) -> String {
    let judged = report.promises.iter().find(|judged| judged.key == promise).expect("a promise");
    judged.scenes.iter().find(|scene| scene.title == title).expect("a scene").to_string()
}
