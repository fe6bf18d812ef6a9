//! The log collector: what the app says, with its spans, in order, and nothing of hyper's or tower's.

use std::{error::Error, fmt, thread, time::Duration};

use axum::{Router, error_handling::HandleErrorLayer, extract::Path, routing};
use lab::{Lab, Protocol, control, require};
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;
use tracing::{Instrument, Level, debug, error, field, info, info_span, trace, warn};

use crate::{get, holds, judged, transcript};

#[derive(Debug)]
struct Lost(Option<Box<Lost>>, &'static str);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl Error for Lost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[test]
fn levels_fields_spans_and_errors_are_kept() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("logs");
        trace!("trace");
        debug!(number = 7, text = "seven", yes = true, "debug");
        info!(ratio = 0.5, shown = %"plain", dumped = ?"quoted");
        warn!("two\nlines");
        let lost = Lost(Some(Box::new(Lost(Some(Box::new(Lost(None, "no route"))), "no answer"))), "request lost");
        error!(error = &lost as &dyn Error, "failed");
        let span = info_span!("request", id = "a", status = field::Empty);
        span.in_scope(|| info!("before"));
        span.record("status", 504);
        span.in_scope(|| info_span!("inner", depth = 2).in_scope(|| info!("after")));
        let logs = scene.logs();
        require(logs.len() == 7, "a line is missing")?;
        require(logs[0].level == Level::TRACE && logs[4].level == Level::ERROR, "levels are mixed up")?;
        require(logs[4].carries("no route"), "the cause is missing")?;
        require(logs[6].mentions("504") && !logs[6].carries("504"), "the span's field is misplaced")
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn interleaved_requests_keep_their_own_spans() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("HTTP/2, interleaved");
        let handler = async |Path((id, seconds)): Path<(String, u64)>| {
            let work = async {
                info!("starts");
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                tokio::spawn(async { info!("in a task") }.in_current_span()).await.ok();
                info!("ends");
            };
            work.instrument(info_span!("request", id)).await;
        };
        let app = Router::new().route("/{id}/{seconds}", routing::get(handler));
        let client = scene.serve(app).connect("client", Protocol::Http2).await;
        let slow = client.begin(get("/a/10"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send(get("/b/2")).await?;
        slow.answer().await?;
        Ok(())
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn an_entered_guard_that_is_held_over_an_await_mixes_requests_up() {
    // The ghost that the collector must be able to show.
    holds(async |lab, ()| {
        let scene = lab.scene("a guard over an await");
        let mixed = async |id: &'static str, seconds| {
            let span = info_span!("request", id);
            let _entered = span.enter();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            info!("done");
        };
        tokio::join!(mixed("a", 2), mixed("b", 1));
        let logs = scene.logs();
        require(logs[0].mentions("a") && logs[0].mentions("b"), format!("not mixed up: {}", logs[0]))
    });
}

#[test]
fn hyper_and_tower_are_left_out_and_tower_http_is_kept() {
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let handler = async || info!("handled");
            // A buffer of tower's logs each request that it takes.
            let buffer = ServiceBuilder::new().layer(HandleErrorLayer::new(async |_| ())).buffer(1);
            let app = Router::new().route("/", routing::get(handler)).layer(buffer).layer(TraceLayer::new_for_http());
            let client = scene.serve(app).connect("client", protocol).await;
            client.send(get("/")).await?.read().await;
            let told: Vec<String> =
                scene.logs().iter().map(|line| format!("{} {}", line.level, line.message)).collect();
            let expected = ["DEBUG started processing request", "INFO handled", "DEBUG finished processing request"];
            require(told == expected, format!("got {told:?}"))?;
            require(scene.logs()[1].spans.len() == 1, "the span of tower-http's layer is missing")?;
        }
        Ok(())
    });
}

#[test]
fn a_call_site_that_a_thread_without_a_collector_came_to_first_is_heard() {
    fn only_here() {
        info!("a call site of its own");
    }
    holds(async |lab: Lab, ()| {
        let scene = lab.scene("a call site");
        control(thread::spawn(only_here).join().is_ok(), "the thread panicked")?;
        control(scene.logs().is_empty(), "a stranger's line is the scene's")?;
        only_here();
        require(scene.logs().len() == 1, "the line was lost")
    });
}

#[test]
fn promises_that_are_judged_at_once_keep_their_own_lines() {
    thread::scope(|threads| {
        for place in 0..4 {
            threads.spawn(move || {
                for _ in 0..20 {
                    holds(async move |lab: Lab, ()| {
                        let scene = lab.scene("one of many");
                        let span = info_span!("place", place);
                        for _ in 0..5 {
                            async { info!(place, "here") }.instrument(span.clone()).await;
                            scene.settle().await;
                        }
                        let place = place.to_string();
                        let logs = scene.logs();
                        let own = |line: &lab::LogLine| line.carries(&place) && line.spans.len() == 1;
                        require(logs.len() == 5 && logs.iter().all(own), format!("got {logs:?}"))
                    });
                }
            });
        }
    });
}

#[test]
fn a_level_can_be_asked_for() {
    holds(async |lab: Lab, ()| {
        lab.scene("a level");
        require(tracing::enabled!(Level::TRACE), "an app that asks first would say less")
    });
}
