//! Apps that misbehave, for the tests of a specification: whatever is handed to it, what comes back is a report.

use std::{fmt::Write, future::pending, hint::spin_loop, io, task::Poll, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
};
use futures_util::stream;

use crate::{Limits, Outcome, Report};

/// How an app misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It panics in each call.
    PanicsInCall,
    /// It answers, and the body panics when it is read.
    PanicsInPollFrame,
    /// It never answers.
    WaitsForEver,
    /// It never yields. Its thread is left behind and goes on: a test that uses it has a process of its own.
    Spins,
}

impl Manner {
    /// All of them, the one that leaves a thread behind last.
    pub const ALL: [Self; 4] = [Self::PanicsInCall, Self::PanicsInPollFrame, Self::WaitsForEver, Self::Spins];

    /// An app that misbehaves in this manner on each route.
    pub fn app(self) -> Router {
        Router::new().fallback(move || async move {
            match self {
                Self::PanicsInCall => panic!("boo"),
                Self::PanicsInPollFrame => {
                    let boo = stream::poll_fn(|_| -> Poll<Option<Result<Bytes, io::Error>>> { panic!("boo") });
                    Response::new(Body::from_stream(boo))
                }
                Self::WaitsForEver => pending().await,
                Self::Spins => loop {
                    spin_loop();
                },
            }
        })
    }
}

/// What `judge` makes of an app that misbehaves in each manner in turn: a line for the first promise, with what was seen.
///
/// # Panics
/// If the first promise is not broken, or promises after a spin were judged all the same.
pub fn first_lines(manners: &[Manner], judge: impl Fn(Manner, Limits<'_>) -> Report) -> String {
    let mut lines = String::new();
    for &manner in manners {
        let report = judge(manner, Limits { unresponsive: Duration::from_secs(1), only: None, beside: true });
        let first = &report.promises[0];
        assert_eq!(first.outcome, Outcome::Broken, "{manner:?}: {report}");
        if manner == Manner::Spins {
            let rest = &report.promises[1..];
            assert!(rest.iter().all(|judged| judged.outcome == Outcome::NotJudged), "{report}");
        }
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{manner:?}: {}: {}", first.key, first.observed.as_deref().unwrap_or_default());
    }
    lines
}
