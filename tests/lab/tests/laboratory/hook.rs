//! The panic hook. Each test has a child to itself: the hook is the process's.

use std::{
    panic::{self, PanicHookInfo},
    sync::Mutex,
    thread,
};

use axum::{Router, routing};
use lab::{Lab, Limits, Proof, Protocol, Report, Specification, arranged_panic, in_child, require};
use serde::{Deserialize, Serialize};

use crate::{get, holds, judged, misbehaving, observed, transcript};

/// What the hooks heard that are not the laboratory's: who, and the panic's message.
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn hearing(who: &'static str) -> impl Fn(&PanicHookInfo<'_>) + Send + Sync {
    move |info| {
        let message = info.payload_as_str().unwrap_or("?");
        HEARD.lock().expect("never poisoned").push(format!("{who}: {message}"));
    }
}

fn panic_elsewhere(message: &'static str) {
    thread::spawn(move || panic!("{message}")).join().expect_err("it panics");
}

fn heard() -> Vec<String> {
    std::mem::take(&mut HEARD.lock().expect("never poisoned"))
}

#[derive(Serialize, Deserialize)]
struct Seen {
    report: Report,
    heard: Vec<String>,
}

#[test]
fn panics_elsewhere_go_to_the_hook_that_was_there_before() {
    let seen = in_child("hook::panics_elsewhere_go_to_the_hook_that_was_there_before", || {
        panic::set_hook(Box::new(hearing("earlier")));
        let report = judged(async |lab, ()| {
            panic_elsewhere("meanwhile");
            is_asked(lab, misbehaving::panics_in_call).await
        });
        panic_elsewhere("afterwards");
        Seen { report, heard: heard() }
    });
    let seen = seen.expect("a verdict");
    assert_eq!(seen.heard, ["earlier: meanwhile", "earlier: afterwards"]);
    assert!(observed(&seen.report).contains("tests/lab/tests/laboratory/misbehaving.rs:"), "{}", seen.report);
}

#[test]
fn a_hook_set_between_two_judgements_stays() {
    let heard = in_child("hook::a_hook_set_between_two_judgements_stays", || {
        holds(async |_, ()| Ok(()));
        panic::set_hook(Box::new(hearing("later")));
        holds(async |_, ()| {
            panic_elsewhere("meanwhile");
            Ok(())
        });
        panic_elsewhere("afterwards");
        heard()
    });
    assert_eq!(heard.expect("a result"), ["later: meanwhile", "later: afterwards"]);
}

/// A middleware of the kind that sets a hook and thinks that it has dealt with panics.
fn with_a_hook_of_its_own() -> Router {
    panic::set_hook(Box::new(hearing("the app's")));
    misbehaving::panics_in_call()
}

async fn is_asked(lab: Lab, app: fn() -> Router) -> Proof {
    let client = lab.scene("HTTP/1.1").serve(app()).connect("client", Protocol::Http1).await;
    client.send(get("/")).await?;
    Ok(())
}

#[test]
fn an_app_that_sets_its_own_hook_does_not_blind_the_next_promise() {
    let seen = in_child("hook::an_app_that_sets_its_own_hook_does_not_blind_the_next_promise", || {
        panic::set_hook(Box::new(hearing("earlier")));
        let report = Specification::of("hooked", ())
            .promise("with-its-hook", "The app may set a hook.", |lab, ()| is_asked(lab, with_a_hook_of_its_own))
            .promise("without", "The next one is heard.", |lab, ()| is_asked(lab, misbehaving::panics_in_call))
            .alone()
            .judge(Limits::default());
        panic_elsewhere("afterwards");
        Seen { report, heard: heard() }
    });
    let seen = seen.expect("a verdict");
    assert_eq!(seen.heard, ["the app's: in call", "earlier: afterwards"]);
    insta::assert_snapshot!(seen.report.verdicts());
}

#[test]
fn many_that_begin_at_once_lose_no_hook() {
    let heard = in_child("hook::many_that_begin_at_once_lose_no_hook", || {
        panic::set_hook(Box::new(hearing("earlier")));
        thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| (0..20).for_each(|_| holds(async |_, ()| Ok(()))));
            }
        });
        panic_elsewhere("afterwards");
        heard()
    });
    assert_eq!(heard.expect("a result"), ["earlier: afterwards"]);
}

#[test]
fn a_panic_that_the_specification_arranged_is_not_counted_against_the_app() {
    let app = || {
        let arranged = || async {
            let failed = tokio::spawn(async { arranged_panic("the inner route fails") }).await.is_err();
            if failed { "caught" } else { "not caught" }
        };
        Router::new().route("/", routing::get(arranged))
    };
    let report = judged(async move |lab, ()| {
        let client = lab.scene("HTTP/1.1").serve(app()).connect("client", Protocol::Http1).await;
        let text = client.send(get("/")).await?.read().await.text();
        require(text == "caught", text)
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn a_panic_of_the_specification_itself_is_told_as_one() {
    let report = judged(async |_, ()| arranged_panic("a mistake in the proof"));
    let told = observed(&report);
    let place = "a panic of the specification's own came through to the guard, from tests/lab/src/panics.rs:";
    assert!(told.starts_with(place), "{told}");
}
