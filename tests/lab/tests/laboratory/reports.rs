//! The report: read by people at 80 columns, by machines as JSON, and the same on every run.

use std::{
    collections::HashSet,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use axum::{Router, extract::Request, http::HeaderValue, middleware, routing};
use lab::{Asked, Lab, Limits, Outcome, Proof, Protocol, Report, Specification, escaped, require};
use tokio::time::sleep;

use crate::{get, judged, misbehaving, observed, transcript};

/// Tasks, timers, logs, two clients, both protocols, a panic, a client that leaves: whatever could differ from run to run.
async fn wild_in_both(lab: Lab, answer: &'static str) -> Proof {
    for protocol in Protocol::BOTH {
        wild(lab.clone(), protocol, answer).await?;
    }
    Ok(())
}

async fn wild(lab: Lab, protocol: Protocol, answer: &'static str) -> Proof {
    let scene = lab.scene(format!("{protocol}, wild"));
    let (mut feed, body) = scene.feed("source");
    let held = Arc::new(std::sync::Mutex::new(Some(body)));
    let stream = move || std::future::ready(held.lock().ok().and_then(|mut held| held.take()).unwrap_or_default());
    let work = async |request: Request| {
        tracing::info!(path = request.uri().path(), "works");
        let parts = (1..4).map(|part| tokio::spawn(async move { sleep(Duration::from_millis(7 * part)).await }));
        futures_util::future::join_all(parts.collect::<Vec<_>>()).await;
        tracing::info!("has worked");
    };
    let log = async |request: Request, next: middleware::Next| {
        let response = next.run(request).await;
        tracing::info!(status = response.status().as_u16(), "answers");
        response
    };
    let app = Router::new()
        .route("/stream", routing::get(stream))
        .route("/work", routing::get(work))
        .layer(middleware::from_fn(log));
    let server = scene.serve(app);
    let (reader, worker) = (server.connect("reader", protocol).await, server.connect("worker", protocol).await);
    let mut listener = reader.send(get("/stream")).await?.listen();
    let working = worker.begin(get("/work"));
    feed.data("one\n");
    listener.hears("one\n").await?;
    let second = worker.begin(get("/work"));
    working.answer().await?.read().await;
    feed.data("two\n");
    scene.settle().await;
    second.cancel();
    feed.end();
    let text = listener.ended().await.text();
    reader.leave();
    scene.settle().await;
    let came = scene.id(&format!("{text:?}"));
    require(text == answer, format!("expected {answer:?}, got {came}, which is {text:?}, from a {protocol} server"))
}

fn report() -> Report {
    Specification::of("a-wild-one", "two\n")
        .promise(Asked::new("is-kept", "A wild scene in which everything goes well is kept."), |lab, _| {
            wild_in_both(lab, "one\ntwo\n")
        })
        .promise(Asked::new("is-broken", "A promise may be told in a sentence that is longer than a line of a narrow terminal, and is then wrapped."), wild_in_both,
        )
        .judge(Limits::default())
}

#[test]
fn a_report_is_read_at_80_columns() {
    let report = report();
    insta::assert_snapshot!(report);
    let text = report.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_verdicts_leave_the_transcripts_out() {
    insta::assert_snapshot!(report().verdicts());
}

#[test]
fn beside_a_broken_report_a_kept_one_shows_the_same_scenes() {
    let report = |answer: &'static str| {
        Specification::of("a-wild-one", answer)
            .promise(Asked::new("other", "A promise that both keep has no transcript."), async |lab: Lab, _| {
                lab.scene("not shown").note("ghost", "sleeps");
                Ok(())
            })
            .promise(Asked::new("wild", "A wild scene goes well."), wild_in_both)
            .judge(Limits::default())
    };
    let (kept, broken) = (report("one\ntwo\n"), report("two\n"));
    assert!(kept.all_kept(), "{kept}");
    insta::assert_snapshot!(kept.beside(&broken));
}

#[test]
fn a_thousand_reports_are_one() {
    let report = || {
        Specification::of("a-wild-one", "two\n")
            .promise(Asked::new("is-broken", "It is broken."), |lab, answer| wild(lab, Protocol::Http2, answer))
            .judge(Limits::default())
    };
    // Two threads, so that each half meets the other's load.
    let half = || (0..500).map(|_| serde_json::to_string(&report()).expect("plain data")).collect::<HashSet<_>>();
    let distinct = thread::scope(|threads| {
        let other = threads.spawn(half);
        &half() | &other.join().expect("reports")
    });
    assert_eq!(distinct.len(), 1);
}

#[test]
fn two_threads_at_once_get_the_same_report() {
    let together = Barrier::new(2);
    let one = || {
        together.wait();
        report().to_string()
    };
    thread::scope(|threads| {
        let other = threads.spawn(one);
        assert_eq!(one(), other.join().expect("a report"));
    });
}

#[test]
fn a_report_survives_json() {
    let report = report();
    let json = serde_json::to_value(&report).expect("plain data");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["promises"][0]["outcome"], "kept");
    assert_eq!(json["promises"][1]["scenes"][0]["events"][0]["lane"], "reader");
    assert_eq!(serde_json::from_value::<Report>(json).expect("the same form"), report);
}

#[test]
fn a_long_transcript_is_shortened_in_the_middle() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("a long night");
        for round in 0..1000 {
            scene.note("ghost", format!("walks round {round}"));
            sleep(Duration::from_millis(5)).await;
        }
        require(false, "it walked")
    });
    insta::assert_snapshot!(report);
    let scene = &report.promises[0].scenes[0];
    assert_eq!((scene.events.len(), scene.left_out), (500, 500));
}

#[test]
fn lines_that_are_long_or_broken_stay_in_their_columns() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("odd lines");
        scene.note("ghost", "says \"".to_owned() + &"boo ".repeat(30) + "\"");
        scene.note("a lane with a long name", "first\nsecond\r\tthird \u{1b}[31m \u{1f47b} é");
        scene.note("ghost", "x".repeat(100));
        scene.note("ghost", "");
        require(false, "it was odd")
    });
    insta::assert_snapshot!(report);
}

#[test]
fn ids_that_the_app_chose_are_numbered_as_they_were_seen() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("an app that takes its ids at random");
        scene.ids_are_logged_as("request");
        scene.note("client", "hears of \"b81c4e\" and c0ffee-9, not of b81c4e-2, ab81c4e or 7");
        tracing::info!(request = "c0ffee-9", about = "b81c4e", "logged before it is named");
        scene.id("b81c4e");
        scene.id("7");
        scene.note("client", "gets 7 of 7 (x-id: 7, x-seven: 7)");
        Ok(())
    });
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn an_id_that_the_client_sent_keeps_its_value() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("ids");
        let echo = async || ([("x-request-id", "made-by-app")], "boo");
        let client = scene.serve(Router::new().route("/", routing::get(echo))).connect("client", Protocol::Http1).await;
        for id in ["of-the-client", "made-by-app"] {
            let mut request = get("/");
            request.headers_mut().insert("x-request-id", HeaderValue::from_static(id));
            client.send(request).await?.read().await;
            scene.note("client", format!("calls it {}", scene.id(id)));
        }
        require(false, format!("{} and {}", scene.id("of-the-client"), scene.id("made-by-app")))
    });
    assert_eq!(observed(&report), "in ids: of-the-client and id 1");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn counts_agree_with_the_promises() {
    let report = report();
    assert_eq!((report.kept(), report.all_kept()), (1, false));
    assert_eq!(report.broken(), ["is-broken"]);
    assert_eq!(report.promises[0].outcome, Outcome::Kept);
}

#[test]
fn quoted_bytes_are_cut_between_characters() {
    assert_eq!(escaped("é".repeat(30).as_bytes()), format!("\"{}\"... (60 bytes)", "é".repeat(24)));
    assert_eq!(escaped(b"\xff\x00"), r#""\xff\x00""#);
    assert_eq!(escaped(b""), "\"\"");
    assert_eq!(escaped(&[0xff; 60]), format!("\"{}\"... (60 bytes)", r"\xff".repeat(48)));
}

#[test]
fn a_promise_costs_little() {
    // Not a verdict: hundreds of promises must fit into seconds, on the slowest machine.
    let many = (0..400).fold(Specification::of("many", ()), |many, _| {
        many.promise(Asked::new("cheap", "It costs little."), async |lab: Lab, ()| {
            let client =
                lab.scene("one request").serve(misbehaving::healthy()).connect("client", Protocol::Http2).await;
            require(client.send(get("/")).await?.read().await.text() == "boo", "it did not answer")
        })
    });
    assert_eq!(many.judge(Limits::default()).kept(), 400);
}
