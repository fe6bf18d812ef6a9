//! The panic hook. Each test has a child to itself: the hook is the process's.

use std::{
    panic::{self, PanicHookInfo},
    sync::{Mutex, Once},
    thread,
};

use axum::{Router, routing};
use lab::{Asked, Lab, Limits, Proof, Protocol, Report, Specification, arranged_panic, in_child, require};
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
            let client =
                lab.scene("HTTP/1.1").serve(misbehaving::panics_in_call()).connect("client", Protocol::Http1).await;
            client.send(get("/")).await?;
            Ok(())
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

/// An app that panics, and its hook.
type Hooked = fn() -> Router;

/// Takes the place of whatever hook was there, each time.
fn hooked_each_time() -> Router {
    panic::set_hook(Box::new(hearing("the app's")));
    misbehaving::panics_in_call()
}

fn chained() {
    let (before, hears) = (panic::take_hook(), hearing("the app's"));
    panic::set_hook(Box::new(move |info| {
        hears(info);
        before(info);
    }));
}

/// Goes on to the hook that was there, each time.
fn chained_each_time() -> Router {
    chained();
    misbehaving::panics_in_call()
}

/// Takes the place of whatever hook was there, the first time that the process makes the app.
fn hooked_once() -> Router {
    static SET: Once = Once::new();
    SET.call_once(|| panic::set_hook(Box::new(hearing("the app's"))));
    misbehaving::panics_in_call()
}

/// Goes on to the hook that was there, the first time that the process makes the app.
fn chained_once() -> Router {
    static SET: Once = Once::new();
    SET.call_once(chained);
    misbehaving::panics_in_call()
}

/// Goes on to the hook that was there, and sets its own when it has its first request.
fn chained_at_the_first_request() -> Router {
    static SET: Once = Once::new();
    misbehaving::panics_in_call().layer(axum::middleware::map_request(async |request: axum::extract::Request| {
        SET.call_once(chained);
        request
    }))
}

async fn is_asked(lab: Lab, app: Hooked) -> Proof {
    for protocol in Protocol::BOTH {
        let client = lab.scene(protocol.to_string()).serve(app()).connect("client", protocol).await;
        // It panics.
        let _ = client.send(get("/")).await;
    }
    Ok(())
}

/// Two promises of two scenes each, with one request in each.
fn four_panics_of(app: Hooked) -> Seen {
    panic::set_hook(Box::new(hearing("earlier")));
    let report = Specification::of("hooked", app)
        .promise(Asked::new("first", "The app is heard."), is_asked)
        .promise(Asked::new("second", "It is heard again."), is_asked)
        .alone()
        .judge(Limits::default());
    panic_elsewhere("afterwards");
    Seen { report, heard: heard() }
}

/// Each panic was heard once by the app's hook, and by the laboratory's; none by the one before, which is there again now.
fn heard_alike(seen: &Seen) {
    let apps = "the app's: in call";
    assert_eq!(seen.heard, [apps, apps, apps, apps, "earlier: afterwards"]);
    assert_eq!(seen.report.broken(), ["first", "second"], "{}", seen.report);
    for scene in seen.report.promises.iter().flat_map(|judged| &judged.scenes) {
        let panics = scene.events.iter().filter(|event| event.what.starts_with("panics at ")).count();
        assert_eq!(panics, 1, "{scene}");
    }
}

#[test]
fn a_hook_that_each_app_sets_is_heard_in_every_scene() {
    let seen = in_child("hook::a_hook_that_each_app_sets_is_heard_in_every_scene", || four_panics_of(hooked_each_time));
    heard_alike(&seen.expect("a verdict"));
}

#[test]
fn a_hook_that_each_app_puts_in_front_is_heard_once_in_every_scene() {
    let seen = in_child("hook::a_hook_that_each_app_puts_in_front_is_heard_once_in_every_scene", || {
        four_panics_of(chained_each_time)
    });
    heard_alike(&seen.expect("a verdict"));
}

#[test]
fn a_hook_that_is_set_once_is_heard_in_every_scene() {
    let seen = in_child("hook::a_hook_that_is_set_once_is_heard_in_every_scene", || four_panics_of(hooked_once));
    heard_alike(&seen.expect("a verdict"));
}

#[test]
fn a_hook_that_is_put_in_front_once_is_heard_in_every_scene() {
    let seen =
        in_child("hook::a_hook_that_is_put_in_front_once_is_heard_in_every_scene", || four_panics_of(chained_once));
    heard_alike(&seen.expect("a verdict"));
}

#[test]
fn a_hook_that_the_first_request_puts_in_front_is_heard_in_every_scene() {
    let seen = in_child("hook::a_hook_that_the_first_request_puts_in_front_is_heard_in_every_scene", || {
        four_panics_of(chained_at_the_first_request)
    });
    heard_alike(&seen.expect("a verdict"));
}

#[test]
fn panics_of_other_threads_go_by_the_apps_hook_to_the_one_before() {
    let seen = in_child("hook::panics_of_other_threads_go_by_the_apps_hook_to_the_one_before", || {
        panic::set_hook(Box::new(hearing("earlier")));
        let report = Specification::of("hooked", ())
            .promise(Asked::new("first", "Others panic."), async |lab, ()| {
                let _app = lab.scene("a panic elsewhere").serve(chained_once());
                panic_elsewhere("in front");
                Ok(())
            })
            .alone()
            .judge(Limits::default());
        Seen { report, heard: heard() }
    });
    let seen = seen.expect("a verdict");
    assert_eq!(seen.heard, ["the app's: in front", "earlier: in front"]);
    assert!(seen.report.all_kept(), "{}", seen.report);
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
