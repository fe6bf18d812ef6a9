//! A live log is held back, and so it is by every patch that does not ask what is left in the encoder.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::Request, routing::get};
use futures_util::{StreamExt, stream};
use hidden_flush::near_misses;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::ServiceExt;

#[test]
fn lines_stay_in_the_encoder_while_the_build_is_quiet() {
    let report = hidden_flush_spec::check(hidden_flush::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
#[tokio::test(start_paused = true)]
async fn by_hand_an_hour_does_not_bring_the_line() {
    let log = || async {
        let line = stream::once(async { Ok::<_, Infallible>("linking\n") });
        Body::from_stream(line.chain(stream::pending()))
    };
    let app = hidden_flush::app(Router::new().route("/log", get(log)));
    let request = Request::get("/log").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let mut body = app.oneshot(request).await.unwrap().into_body();
    let line = timeout(Duration::from_secs(60 * 60), body.frame()).await;
    assert!(line.is_err(), "the line came, so this test can be turned round");
}
// ANCHOR_END: notice

#[test]
fn a_smaller_buffer_holds_smaller_events_back() {
    near_miss("smaller-buffer", "small-event-when-quiet");
}

#[test]
fn a_timer_makes_each_event_wait_for_it() {
    near_miss("flush-timer", "event-before-clock");
}

#[test]
fn an_exempt_type_leaves_the_others_held_back() {
    near_miss("event-stream-exempt", "event-before-clock");
}

#[test]
fn a_flush_for_large_frames_leaves_small_ones_held_back() {
    near_miss("flush-large-frames", "small-event-when-quiet");
}

#[test]
fn a_source_that_is_asked_without_a_waker_wakes_nobody() {
    near_miss("now-or-never", "event-before-clock");
}

#[test]
fn a_pump_outlives_the_client_of_a_quiet_build() {
    near_miss("bounded-pump", "source-dropped-with-client");
}

#[test]
fn an_unbounded_pump_takes_the_log_into_memory() {
    near_miss("unbounded-pump", "stopped-reader-stops-source");
}

#[test]
fn a_stream_of_data_loses_the_trailers() {
    near_miss("data-stream", "trailers-survive");
}

#[test]
fn an_error_that_becomes_an_end_passes_half_a_log_off_as_whole() {
    near_miss("error-as-end", "error-after-its-bytes");
}

#[test]
fn the_length_of_the_log_is_not_that_of_its_gzip() {
    near_miss("stale-length", "headers-are-true");
}

fn near_miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of this name");
    let report = hidden_flush_spec::check(app);
    assert!(report.broken().contains(&breaks), "{report}");
    insta::assert_snapshot!(name, report.verdicts());
}
