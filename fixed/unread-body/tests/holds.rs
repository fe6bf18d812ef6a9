//! The ghost is laid to rest: whatever is not read, its connection is used again or closed.

#![expect(unreachable_pub, reason = "each right fix is a whole lib.rs")]

use lab::Report;
use unread_body_spec::check;

#[path = "also_right/bounded_drain.rs"]
mod bounded_drain;
#[path = "also_right/breaks_off.rs"]
mod breaks_off;
#[path = "also_right/lines_of_text.rs"]
mod lines_of_text;

#[test]
fn a_head_without_its_body_holds_no_connection() {
    let report = check(unread_body_fixed::app);
    all_kept(&report);
    insta::assert_snapshot!("fixed", report.verdicts());
    insta::assert_snapshot!("dropped", larger_upload(&report));
}

#[test]
fn an_upload_may_break_off_when_the_store_has_refused_it() {
    all_kept(&check(breaks_off::app));
}

#[test]
fn the_rest_may_be_read_if_there_is_a_limit_of_bytes_and_of_time() {
    let report = check(bounded_drain::app);
    all_kept(&report);
    insta::assert_snapshot!("drained", larger_upload(&report));
}

#[test]
fn a_line_of_text_holds_no_connection_either() {
    all_kept(&check(lines_of_text::app));
}

fn all_kept(report: &Report) {
    assert!(report.all_kept(), "{report}");
}

/// What crossed the wire when 16 KiB were refused and something else was asked for on the same connection.
fn larger_upload(report: &Report) -> String {
    let judged = report.promises.iter().find(|judged| judged.key == "used-or-closed").expect("a promise");
    judged.scenes.iter().find(|scene| scene.title == "HTTP/1.1, 16 KiB of known length").expect("a scene").to_string()
}
