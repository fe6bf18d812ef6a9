//! A clock that is held waits for whatever thread the app is at work on.

use std::{
    hint, iter,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use axum::{Router, http::StatusCode, routing};
use lab::{Asked, Lab, Limits, Proof, Protocol, Report, Scene, Specification, Visit, control, require};
use tokio::{
    sync::{mpsc::UnboundedReceiver, mpsc::unbounded_channel, oneshot},
    task::spawn_blocking,
    time::{advance, sleep, timeout},
};

use crate::{get, observed};

/// What the specification supplies.
type Seal = Arc<dyn Fn() -> &'static str + Send + Sync>;
/// Who calls it, on which thread.
type Caller = fn(Seal) -> oneshot::Receiver<&'static str>;

fn on_a_thread(seal: Seal) -> oneshot::Receiver<&'static str> {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || tell.send(seal()));
    told
}

fn in_spawn_blocking(seal: Seal) -> oneshot::Receiver<&'static str> {
    let (tell, told) = oneshot::channel();
    spawn_blocking(move || tell.send(seal()));
    told
}

/// A pool of two threads that live as long as the process, as rayon's do.
fn in_a_pool(seal: Seal) -> oneshot::Receiver<&'static str> {
    type Job = Box<dyn FnOnce() + Send>;
    static POOL: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let (tell, told) = oneshot::channel();
    let mut pool = POOL.lock().expect("nothing panics meanwhile");
    let jobs = pool.get_or_insert_with(|| {
        let (jobs, next) = mpsc::channel::<Job>();
        let next = Arc::new(Mutex::new(next));
        for next in [next.clone(), next] {
            thread::spawn(move || {
                // The lock is let go before the job is done.
                let take = || next.lock().ok().and_then(|next| next.recv().ok());
                iter::from_fn(take).for_each(|job| job());
            });
        }
        jobs
    });
    let job = move || {
        // Nobody may be waiting.
        let _ = tell.send(seal());
    };
    jobs.send(Box::new(job)).expect("the threads live on");
    told
}

const CALLERS: [(&str, Caller); 3] =
    [("a std::thread", on_a_thread), ("a pool", in_a_pool), ("spawn_blocking", in_spawn_blocking)];

/// An app that has something sealed, and answers 504 after a second if it is not.
fn app(call: Caller, seal: Seal) -> Router {
    let order = move || {
        let sealed = call(seal.clone());
        async move {
            match timeout(Duration::from_secs(1), sealed).await {
                Ok(Ok(receipt)) => (StatusCode::OK, receipt),
                _ => (StatusCode::GATEWAY_TIMEOUT, "too late"),
            }
        }
    };
    Router::new().route("/", routing::get(order))
}

/// A seal that waits at a gate, and tells of each visit.
fn gated() -> (Seal, UnboundedReceiver<Visit>, mpsc::Sender<()>) {
    let (visits, visited) = unbounded_channel();
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let seal = move || {
        let _ = visits.send(Visit::begin());
        // The gate may be gone, and is open then.
        let _ = gate.lock().expect("nothing panics meanwhile").recv();
        "sealed"
    };
    (Arc::new(seal), visited, open)
}

/// Sealed in time, then too late; each caller on its own thread.
async fn in_time_and_too_late(lab: Lab, callers: Vec<(&'static str, Caller)>) -> Proof {
    for (title, caller) in callers {
        let scene: Scene = lab.scene(title);
        let (seal, mut visits, open) = gated();
        let client = scene.serve(app(caller, seal)).connect("client", Protocol::Http2).await;

        let held = scene.hold_the_clock();
        let asked = client.begin(get("/"));
        let waits = scene.waits("scene", "the seal to be entered");
        let visit = visits.recv().await;
        drop(waits);
        control(visit.is_some(), "the seal was not entered")?;
        advance(Duration::from_millis(999)).await;
        let _ = open.send(());
        let answer = asked.answer().await?;
        drop(held);
        let at = scene.now_ms();
        require(answer.status() == 200 && at == 999, format!("{} at {at} ms", answer.status()))?;

        let held = scene.hold_the_clock();
        let asked = client.begin(get("/"));
        let visit = visits.recv().await;
        advance(Duration::from_millis(1000)).await;
        let answer = asked.answer().await?;
        let at = scene.now_ms();
        require(answer.status() == 504 && at == 1999, format!("{} at {at} ms", answer.status()))?;
        let _ = open.send(());
        if let Some(visit) = visit {
            tokio::select! {
                () = visit.left() => {}
                () = scene.let_threads_run() => {}
            }
        }
        drop(held);
        sleep(Duration::from_secs(10)).await;
        scene.note("scene", "is over");
    }
    Ok(())
}

fn judged(callers: &[(&'static str, Caller)], limit: Duration) -> Report {
    Specification::of("stillness", callers.to_vec())
        .promise(Asked::new("in-time-and-too-late", "The clock waits for the seal."), in_time_and_too_late)
        .judge(Limits { unresponsive: limit, only: None, beside: true })
}

#[test]
fn a_held_clock_waits_for_a_seal_on_any_thread() {
    let report = judged(&CALLERS, Limits::default().unresponsive);
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(report.promises[0].scenes[0]);
}

#[test]
fn a_hundred_runs_on_a_busy_machine_are_one() {
    let stop = Arc::new(AtomicBool::new(false));
    let busy = [stop.clone(), stop.clone()].map(|stop| {
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                hint::spin_loop();
            }
        })
    });
    let first = judged(&CALLERS, Limits::default().unresponsive);
    assert!(first.all_kept(), "{first}");
    for _ in 1..100 {
        assert_eq!(judged(&CALLERS, Limits::default().unresponsive), first);
    }
    stop.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|busy| busy.join().expect("it only spins"));
}

#[test]
fn a_held_clock_goes_on_when_the_app_waits_for_time_to_pass() {
    fn never(_: Seal) -> oneshot::Receiver<&'static str> {
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            sleep(Duration::from_secs(3600)).await;
            drop(tell);
        });
        told
    }
    let report = judged(&[("nobody", never), ("nobody again", never)], Duration::from_secs(6));
    insta::assert_snapshot!(observed(&report), @"in nobody: still waiting after 60 s of virtual time, which only tokio's timers follow: scene for the seal to be entered");
}

#[test]
fn a_thread_that_ends_or_visits_again_has_left() {
    crate::holds(async |lab, ()| {
        let scene = lab.scene("visits");
        let _held = scene.hold_the_clock();
        let (tell, told) = oneshot::channel();
        let (again, gate) = mpsc::channel::<()>();
        let visitor = thread::spawn(move || {
            let first = Visit::begin();
            let _ = tell.send(first);
            let _ = gate.recv();
            Visit::begin()
        });
        let mut first = Box::pin(told.await.expect("it visits").left());
        require(futures_util::poll!(&mut first).is_pending(), "the thread has left before it did")?;
        drop(again);
        first.await;
        let second = visitor.join().expect("it does not panic");
        second.left().await;
        Ok(())
    });
}
