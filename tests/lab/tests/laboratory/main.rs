//! The laboratory, held against apps that misbehave in every way that it claims to survive.

mod child;
mod guard;
mod hook;
mod logs;
mod misbehaving;
mod orders;
mod reports;
mod stillness;
mod tasks;
mod threads;
mod time;
mod wire;
mod worked_example;

use axum::{body::Body, http::Request};
use lab::{Asked, Lab, Limits, Proof, Report, Specification};

/// A report of the one promise that `proof` proves.
fn judged(proof: impl AsyncFnOnce(Lab, ()) -> Proof + Send + 'static) -> Report {
    Specification::of("laboratory", ())
        .promise(Asked::new("it-holds", "What the proof says holds."), proof)
        .judge(Limits::default())
}

/// Fails with the report unless `proof` holds.
#[track_caller]
fn holds(proof: impl AsyncFnOnce(Lab, ()) -> Proof + Send + 'static) {
    let report = judged(proof);
    assert!(report.all_kept(), "{report}");
}

/// The lines of the transcript of the last scene: stamp, lane, what.
fn transcript(report: &Report) -> String {
    report.promises.last().and_then(|judged| judged.scenes.last()).map(ToString::to_string).unwrap_or_default()
}

/// What was observed where the one promise is broken.
fn observed(report: &Report) -> &str {
    report.promises[0].observed.as_deref().unwrap_or("kept")
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a path")
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(path).body(body).expect("a path")
}
