//! What a person sees who follows `ghosts serve` with curl, over HTTP/1.1 and over HTTP/2.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::serving::Serving;

/// Both protocols, as curl asks for them.
const BOTH: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

fn curl(protocol: &str, twin: &Serving, path: &str, more: &[&str]) -> Child {
    Command::new("curl")
        .args(["--silent", "--no-buffer", "--max-time", "60", protocol])
        .args(more)
        .arg(format!("http://{}{path}", twin.address))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts: it is in Debian's package `curl`")
}

fn said(child: Child) -> String {
    let output = child.wait_with_output().expect("curl ends");
    String::from_utf8(output.stdout).expect("text")
}

/// The first thing that curl prints, and then the rest.
fn first_and_rest(mut child: Child) -> (String, String) {
    let mut out = child.stdout.take().expect("it is piped");
    let mut first = [0; 4096];
    let length = out.read(&mut first).expect("curl prints");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    child.wait().expect("curl ends");
    (String::from_utf8_lossy(&first[..length]).into_owned(), rest)
}

// ===== hidden-flush =====

#[test]
fn hidden_flush_the_log_comes_as_one_burst() {
    for protocol in BOTH {
        let twin = Serving::start("hidden-flush", false);
        let (first, rest) = first_and_rest(curl(protocol, &twin, "/builds/7/log", &["--compressed"]));
        assert_eq!((first.lines().count(), rest.as_str()), (5, ""), "{protocol}");
    }
}

#[test]
fn hidden_flush_fixed_the_log_comes_line_by_line() {
    for protocol in BOTH {
        let twin = Serving::start("hidden-flush", true);
        let (first, rest) = first_and_rest(curl(protocol, &twin, "/builds/7/log", &["--compressed"]));
        assert_eq!((first.lines().count(), rest.lines().count()), (1, 4), "{protocol}");
    }
}

// ===== closure-captured-state =====

/// The `x-user` of Ada's answer, whose request Bob's has overtaken.
fn name_on_adas_answer(protocol: &str, fixed: bool) -> String {
    let twin = Serving::start("closure-captured-state", fixed);
    let as_user = |user| ["--header", user, "--dump-header", "-", "--output", "/dev/null"];
    let ada = curl(protocol, &twin, "/orders", &as_user("authorization: Bearer ada"));
    // Ada's request is in the warehouse for seconds; this is enough for it to get there.
    std::thread::sleep(Duration::from_millis(500));
    let bob = said(curl(protocol, &twin, "/orders", &as_user("authorization: Bearer bob")));
    assert!(bob.contains("x-user: bob"), "{bob}");
    let head = said(ada);
    let line = head.lines().find(|line| line.starts_with("x-user: ")).expect("the answer names a user");
    line.trim_start_matches("x-user: ").trim().to_owned()
}

#[test]
fn closure_captured_state_ada_is_answered_as_bob() {
    for protocol in BOTH {
        assert_eq!(name_on_adas_answer(protocol, false), "bob", "{protocol}");
    }
}

#[test]
fn closure_captured_state_fixed_ada_is_answered_as_ada() {
    for protocol in BOTH {
        assert_eq!(name_on_adas_answer(protocol, true), "ada", "{protocol}");
    }
}

// ===== extension-collision =====

/// The status with which Carol is answered who asks for Bob's letters, and what a stranger sees on his card.
fn to_carol_and_to_a_stranger(protocol: &str, fixed: bool) -> [String; 2] {
    let twin = Serving::start("extension-collision", fixed);
    let carol = ["--header", "authorization: Bearer carol", "--output", "/dev/null", "--write-out", "%{http_code}"];
    let letters = said(curl(protocol, &twin, "/users/bob/letters", &carol));
    [letters, said(curl(protocol, &twin, "/users/bob/card", &[]))]
}

#[test]
fn extension_collision_whoever_asks_is_the_owner() {
    for protocol in BOTH {
        let card = "the card of bob, with the telephone that only they see\n";
        assert_eq!(to_carol_and_to_a_stranger(protocol, false), ["200", card], "{protocol}");
    }
}

#[test]
fn extension_collision_fixed_whoever_asks_is_who_they_are() {
    for protocol in BOTH {
        assert_eq!(to_carol_and_to_a_stranger(protocol, true), ["403", "the card of bob\n"], "{protocol}");
    }
}

// ===== layer-order =====

/// With what a browser's preflight is answered, and how many refusals the access log then has.
fn to_a_browser_and_to_eve(protocol: &str, fixed: bool) -> (String, usize) {
    let twin = Serving::start("layer-order", fixed);
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}", "--header", "origin: https://portal.test"];
    let asks = ["--request", "OPTIONS", "--header", "access-control-request-method: POST"];
    let preflight = said(curl(protocol, &twin, "/notes", &[&status[..], &asks].concat()));
    let eve = ["--data", "2 pills", "--header", "authorization: Bearer eve"];
    assert_eq!(said(curl(protocol, &twin, "/notes", &[&status[..], &eve].concat())), "401", "{protocol}");
    (preflight, twin.stop().iter().filter(|line| line.starts_with("access: ") && line.ends_with(" 401")).count())
}

#[test]
fn layer_order_a_preflight_is_refused_and_no_refusal_logged() {
    for protocol in BOTH {
        assert_eq!(to_a_browser_and_to_eve(protocol, false), ("401".to_owned(), 0), "{protocol}");
    }
}

#[test]
fn layer_order_fixed_a_preflight_is_answered_and_a_refusal_logged() {
    for protocol in BOTH {
        assert_eq!(to_a_browser_and_to_eve(protocol, true), ("200".to_owned(), 1), "{protocol}");
    }
}

// ===== silenced-error =====

/// How many ERROR lines a twin has for an invoice that fails at once, and for one that breaks off.
fn errors_of_two_failures(protocol: &str, fixed: bool) -> usize {
    let twin = Serving::start("silenced-error", fixed);
    let status = ["--write-out", "%{http_code}"];
    assert_eq!(said(curl(protocol, &twin, "/invoices/13?signature=1234", &status)), "502", "{protocol}");
    said(curl(protocol, &twin, "/invoices/21?signature=1234", &[]));
    twin.stop().iter().filter(|line| line.contains("ERROR")).count()
}

#[test]
fn silenced_error_no_failure_is_told() {
    for protocol in BOTH {
        assert_eq!(errors_of_two_failures(protocol, false), 0, "{protocol}");
    }
}

#[test]
fn silenced_error_fixed_each_failure_is_told_once() {
    for protocol in BOTH {
        assert_eq!(errors_of_two_failures(protocol, true), 2, "{protocol}");
    }
}

// ===== broken-chain =====

/// A client that leaves after a tenth of a second.
fn leaves(protocol: &str, twin: &Serving) {
    let leaves = ["--max-time", "0.1", "--header", "authorization: Bearer ada", "--header", "x-request-id: r-2"];
    said(curl(protocol, twin, "/maps/7", &leaves));
}

#[test]
fn broken_chain_a_client_that_leaves_is_never_gone() {
    for protocol in BOTH {
        let twin = Serving::start("broken-chain", false);
        leaves(protocol, &twin);
        twin.said("r-2 opened");
        // Whoever comes and goes after that is closed.
        said(curl(protocol, &twin, "/records/7", &["--header", "authorization: Bearer ada"]));
        twin.said("closed 200");
        assert!(!twin.stop().iter().any(|line| line.contains("r-2")), "{protocol}");
    }
}

#[test]
fn broken_chain_fixed_a_client_that_leaves_has_abandoned_its_visit() {
    for protocol in BOTH {
        let twin = Serving::start("broken-chain", true);
        leaves(protocol, &twin);
        twin.said("r-2 abandoned");
    }
}

// ===== no-bulkhead =====

/// The status of an order while six reports are asked for, each over a connection of its own.
fn an_order_beside_six_reports(protocol: &str, fixed: bool) -> String {
    let twin = Serving::start("no-bulkhead", fixed);
    let reports: Vec<_> = (0..6).map(|_| curl(protocol, &twin, "/admin/log/summary", &[])).collect();
    let told = if fixed { "reports: 2 in" } else { "reports: 4 in" };
    while !said(curl(protocol, &twin, "/livez", &[])).contains(told) {}
    let status = said(curl(protocol, &twin, "/orders/7", &["--output", "/dev/null", "--write-out", "%{http_code}"]));
    for mut report in reports {
        // One that was refused has ended already.
        let _ = report.kill();
        report.wait().expect("curl ends");
    }
    status
}

#[test]
fn no_bulkhead_reports_have_every_place() {
    for protocol in BOTH {
        assert_eq!(an_order_beside_six_reports(protocol, false), "503", "{protocol}");
    }
}

#[test]
fn no_bulkhead_fixed_an_order_is_served_beside_reports() {
    for protocol in BOTH {
        assert_eq!(an_order_beside_six_reports(protocol, true), "200", "{protocol}");
    }
}

// ===== orphan-task =====

/// Reads three boards, one after the other, each for a second.
fn read_three_boards(protocol: &str, twin: &Serving) {
    for board in ["a", "b", "c"] {
        let heard = said(curl(protocol, twin, &format!("/boards/{board}/events"), &["--max-time", "1"]));
        assert!(heard.starts_with(&format!("data: {}, 0 S\n", board.to_uppercase())), "{protocol}: {heard}");
    }
}

#[test]
fn orphan_task_each_board_that_was_read_stays_open() {
    for protocol in BOTH {
        let twin = Serving::start("orphan-task", false);
        read_three_boards(protocol, &twin);
        twin.said("subscribed to c, 3 open");
        assert!(!twin.stop().iter().any(|line| line.contains("unsubscribed")), "{protocol}");
    }
}

#[test]
fn orphan_task_fixed_a_board_is_given_back_with_its_last_reader() {
    for protocol in BOTH {
        let twin = Serving::start("orphan-task", true);
        read_three_boards(protocol, &twin);
        twin.said("unsubscribed from c, 0 open");
    }
}

// ===== swallowed-panic =====

const STATUS: [&str; 2] = ["--write-out", "%{http_code}"];
const KEY: [&str; 2] = ["--header", "x-api-key: acme.secret"];

#[test]
fn swallowed_panic_a_panic_is_an_empty_200() {
    for protocol in BOTH {
        let twin = Serving::start("swallowed-panic", false);
        assert_eq!(said(curl(protocol, &twin, "/invoices/13", &[STATUS, KEY].concat())), "200", "{protocol}");
    }
}

#[test]
fn swallowed_panic_a_panic_in_the_look_up_empties_every_page() {
    for protocol in BOTH {
        let twin = Serving::start("swallowed-panic", false);
        let mistyped = ["--header", "x-api-key: mistyped"];
        said(curl(protocol, &twin, "/invoices/7", &mistyped));
        assert_eq!(said(curl(protocol, &twin, "/invoices/7", &[STATUS, KEY].concat())), "200", "{protocol}");
    }
}

#[test]
fn swallowed_panic_fixed_a_panic_is_a_500_and_the_next_page_is_whole() {
    for protocol in BOTH {
        let twin = Serving::start("swallowed-panic", true);
        let answer = said(curl(protocol, &twin, "/invoices/13", &[STATUS, KEY].concat()));
        assert!(answer.ends_with("500"), "{protocol}: {answer}");
        twin.said("ERROR");
        let mistyped = ["--header", "x-api-key: mistyped"];
        said(curl(protocol, &twin, "/invoices/7", &mistyped));
        let next = said(curl(protocol, &twin, "/invoices/7", &KEY));
        assert!(next.contains("invoice 7"), "{protocol}: {next}");
    }
}

// ===== ignored-deadline =====

fn order(protocol: &str, twin: &Serving, order: &str) -> String {
    let more = ["--request", "POST", "--header", "x-budget-ms: 300", "--output", "/dev/null"];
    said(curl(protocol, twin, &format!("/orders/{order}"), &[&more[..], &STATUS].concat()))
}

#[test]
fn ignored_deadline_the_order_is_charged_after_the_504() {
    for protocol in BOTH {
        let twin = Serving::start("ignored-deadline", false);
        assert_eq!(order(protocol, &twin, "slow-bank"), "504", "{protocol}");
        twin.said("charged slow-bank");
    }
}

#[test]
fn ignored_deadline_fixed_the_order_is_never_charged() {
    for protocol in BOTH {
        let twin = Serving::start("ignored-deadline", true);
        assert_eq!(order(protocol, &twin, "slow-bank"), "504", "{protocol}");
        assert_eq!(order(protocol, &twin, "slow-seal"), "504", "{protocol}");
        // The broken twin would charge both within three seconds.
        std::thread::sleep(Duration::from_secs(4));
        let said = twin.stop();
        assert!(!said.iter().any(|line| line.contains("charged")), "{protocol}: {said:?}");
    }
}

// ===== body-double-close =====

fn upload(protocol: &str, twin: &Serving, path: &str) -> String {
    said(curl(protocol, twin, path, &["--data", "letters"]))
}

#[test]
fn body_double_close_one_upload_leaves_several_lines_in_the_audit() {
    for protocol in BOTH {
        let twin = Serving::start("body-double-close", false);
        assert_eq!(upload(protocol, &twin, "/uploads"), "7 bytes in slot 0\n", "{protocol}");
        twin.said("audit: slot 0");
        twin.said("audit: slot 0");
    }
}

#[test]
fn body_double_close_fixed_one_upload_leaves_one_line_in_the_audit() {
    for protocol in BOTH {
        let twin = Serving::start("body-double-close", true);
        assert_eq!(upload(protocol, &twin, "/uploads"), "7 bytes in slot 0\n", "{protocol}");
        assert_eq!(upload(protocol, &twin, "/uploads"), "7 bytes in slot 0\n", "{protocol}");
        twin.said("audit: slot 0, 7 bytes, complete");
        twin.said("audit: slot 0, 7 bytes, complete");
        assert_eq!(twin.stop(), [""; 0], "{protocol}");
    }
}

// ===== unready-clone =====

#[test]
fn unready_clone_a_report_is_an_empty_reply_and_all_is_well_without_a_limit() {
    for protocol in BOTH {
        let twin = Serving::start("unready-clone", false);
        assert_eq!(said(curl(protocol, &twin, "/reports/0", &STATUS)), "000", "{protocol}");
        assert_eq!(said(curl(protocol, &twin, "/health", &[])), "well\n", "{protocol}");
    }
}

#[test]
fn unready_clone_fixed_three_clients_get_their_reports_from_two_printers() {
    for protocol in BOTH {
        let twin = Serving::start("unready-clone", true);
        let clients: Vec<Child> = (0..3).map(|_| curl(protocol, &twin, "/reports/1", &[])).collect();
        for client in clients {
            assert_eq!(said(client), "a report of 1 pages\n", "{protocol}");
        }
    }
}
