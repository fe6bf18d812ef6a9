//! The guard: whatever an app does, it is a line in the report.

use std::{
    hint,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use axum::Router;
use lab::{
    Asked, Broken, Lab, Limits, Outcome, Proof, Protocol, Report, Specification, control, receive_within, require,
};

use crate::{get, holds, judged, misbehaving, observed};

const SHORT: Limits = Limits { unresponsive: Duration::from_millis(200), only: None, beside: true };

type App = fn() -> Router;

/// The client reads the answer to the end, waits, and leaves; nothing is required of it.
async fn is_used(lab: Lab, app: App) -> Proof {
    let scene = lab.scene("HTTP/1.1");
    let client = scene.serve(app()).connect("client", Protocol::Http1).await;
    let asked = client.begin(get("/"));
    scene.settle().await;
    if asked.is_answered() {
        asked.answer().await?.read().await;
    }
    client.leave();
    scene.settle().await;
    Ok(())
}

#[test]
fn a_panic_of_the_app_is_a_line_in_the_report_wherever_it_happens() {
    let with = |app: App| move |lab: Lab, (): ()| is_used(lab, app);
    let report = Specification::of("misbehaving", ())
        .promise(Asked::new("in-the-factory", "The app can be made."), with(misbehaving::panics_when_made))
        .promise(Asked::new("in-call", "The service can be called."), with(misbehaving::panics_in_call))
        .promise(Asked::new("in-poll-frame", "The body can be polled."), with(misbehaving::panics_in_body))
        .promise(Asked::new("in-drop", "A handler can be dropped."), with(misbehaving::panics_when_dropped))
        .promise(
            Asked::new("in-drop-of-runtime", "The app can be torn down."),
            with(misbehaving::panics_with_the_runtime),
        )
        .promise(
            Asked::new("in-a-detached-task", "What is spawned works."),
            with(misbehaving::panics_in_a_spawned_task),
        )
        .promise(Asked::new("in-spawn-blocking", "What blocks works."), with(misbehaving::panics_in_a_blocking_task))
        .promise(
            Asked::new("in-its-payload", "A payload can be dropped."),
            with(misbehaving::panics_with_a_payload_that_panics),
        )
        .promise(Asked::new("in-std", "What std is asked works."), with(misbehaving::panics_in_the_standard_library))
        .promise(
            Asked::new("healthy", "The next promise is judged as if nothing had been."),
            with(misbehaving::healthy),
        )
        .judge(Limits::default());
    insta::assert_snapshot!(report);
}

#[test]
fn a_promise_that_breaks_while_the_app_panics_names_the_place_too() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("HTTP/1.1");
        let client = scene.serve(misbehaving::panics_in_call()).connect("client", Protocol::Http1).await;
        client.send(get("/")).await?;
        Ok(())
    });
    insta::assert_snapshot!(observed(&report));
}

#[test]
fn an_endless_wait_costs_no_time_and_is_told() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("HTTP/2");
        let client = scene.serve(misbehaving::never_answers()).connect("client", Protocol::Http2).await;
        client.send(get("/")).await?;
        Ok(())
    });
    insta::assert_snapshot!(report);
}

#[test]
fn an_endless_wait_before_the_first_scene_is_told() {
    let report = judged(async |_, ()| std::future::pending().await);
    assert_eq!(observed(&report), "still waiting after 60 s of virtual time, which only tokio's timers follow");
}

#[test]
fn a_broken_control_is_told_as_one() {
    let report = judged(async |_, ()| control(false, "expected 200, got 500"));
    assert_eq!(observed(&report), "even before the fault: expected 200, got 500");
}

#[test]
fn a_kept_promise_is_kept() {
    holds(async |_, ()| require(true, "never seen"));
}

#[test]
fn the_one_promise_that_is_asked_for_is_judged_and_no_other() {
    let specification = || {
        Specification::of("laboratory", ())
            .promise(Asked::new("kept", "What comes first is not judged."), async |_, ()| Ok(()))
            .promise(Asked::new("broken", "What is asked for is judged."), async |_, ()| require(false, "seen"))
    };
    let only = |key| specification().judge(Limits { only: Some(key), ..Limits::default() });
    insta::assert_snapshot!(only("broken"));
    assert_eq!(only("renamed").broken(), [""; 0]);
}

fn not_judged_after(spins: impl AsyncFnOnce(Lab, ()) -> Proof + Send + 'static) -> Report {
    Specification::of("unresponsive", ())
        .promise(Asked::new("yields", "The app yields."), spins)
        .promise(Asked::new("after", "What comes after is not judged."), async |_, ()| Ok(()))
        .judge(SHORT)
}

#[test]
fn an_app_that_spins_is_given_up_and_the_next_one_is_judged() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let report = not_judged_after(async move |lab, ()| {
        let scene = lab.scene("a busy loop");
        scene.note("app", "begins to spin");
        while !stopped.load(Ordering::Relaxed) {
            hint::spin_loop();
        }
        Ok(())
    });
    insta::assert_snapshot!(report);
    holds(async |_, ()| Ok(()));
    stop.store(true, Ordering::Relaxed);
}

#[test]
fn a_proof_that_is_slow_and_goes_on_is_not_given_up() {
    let report = not_judged_after(async |lab, ()| {
        let (_nobody_tells, told) = mpsc::channel::<()>();
        // Twice the limit in all, as on a machine that has other work.
        for number in 0..40 {
            let _scene = lab.scene(format!("scene {number}"));
            let _ = receive_within(&told, SHORT.unresponsive / 20);
        }
        Ok(())
    });
    assert!(report.all_kept(), "{report}");
}

#[test]
fn an_app_that_yields_for_ever_is_given_up_and_reported_alike_each_time() {
    let report = || {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let report = not_judged_after(async move |lab, ()| {
            let scene = lab.scene("a loop round yield_now");
            while !stopped.load(Ordering::Relaxed) {
                scene.note("app", "yields");
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        report
    };
    assert_eq!(report(), report());
}

#[test]
fn an_app_that_blocks_its_thread_is_given_up() {
    let (release, gate) = mpsc::channel::<()>();
    let report = not_judged_after(async move |_, ()| {
        let _ = gate.recv();
        Ok(())
    });
    assert_eq!(report.broken(), ["yields"]);
    assert_eq!(report.promises[1].outcome, Outcome::NotJudged);
    drop(release);
}

#[test]
fn a_blocking_task_that_never_ends_is_given_up_when_the_runtime_is_dropped() {
    let (release, gate) = mpsc::channel::<()>();
    let report = not_judged_after(async move |_, ()| {
        let (tell, started) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _ = tell.send(());
            let _ = gate.recv();
        });
        started.await.map_err(|_| Broken::because("it never started"))
    });
    insta::assert_snapshot!(report.verdicts());
    drop(release);
}

#[test]
fn steps_taken_afterwards_come_when_blocking_tasks_have_ended() {
    let sold = Arc::new(Mutex::new(Vec::new()));
    let report = judged(async move |lab, ()| {
        let (release, gate) = mpsc::channel::<()>();
        let (tell, started) = tokio::sync::oneshot::channel();
        let selling = sold.clone();
        tokio::task::spawn_blocking(move || {
            let _ = tell.send(());
            let _ = gate.recv();
            selling.lock().expect("never poisoned").push("ghost");
        });
        // The clock stands still while the closure runs, unless it is moved.
        started.await.map_err(|_| Broken::because("it never started"))?;
        tokio::time::advance(Duration::from_secs(5)).await;
        lab.afterwards(move || {
            let sold = sold.lock().expect("never poisoned");
            require(sold.is_empty(), format!("after the deadline these were sold: {sold:?}"))
        });
        drop(release);
        Ok(())
    });
    assert_eq!(observed(&report), r#"after the deadline these were sold: ["ghost"]"#);
}

#[test]
fn a_step_taken_afterwards_may_panic() {
    let report = judged(async |lab, ()| {
        lab.afterwards(|| panic!("afterwards"));
        Ok(())
    });
    assert!(observed(&report).starts_with("the app panicked at tests/lab/tests/laboratory/guard.rs:"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_check_may_be_called_inside_a_runtime() {
    holds(async |lab, ()| is_used(lab, misbehaving::healthy).await);
}
