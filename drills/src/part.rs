//! What a service is supplied with, as its own operator sees it: the calls of a dependency, and what it said.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::time::{Duration, Instant};

use crate::{evidence::Dependency, locked};

/// How many calls and lines are kept.
const KEPT: usize = 200;

/// A dependency. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Part {
    start: Instant,
    speed: f64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, (String, Instant)>,
    second: Dependency,
    took: Duration,
    ended: VecDeque<Ended>,
    lines: VecDeque<(Instant, String)>,
}

/// A call that has ended.
#[derive(Clone)]
pub(crate) struct Ended {
    pub(crate) what: String,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) how: How,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Served,
    Failed,
    /// The caller gave up.
    GivenUp,
}

impl How {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Failed => "failed",
            Self::GivenUp => "given up by the service",
        }
    }
}

/// A call that goes on until it is told how it ended, or dropped.
pub(crate) struct Call {
    part: Part,
    number: u64,
    how: How,
}

impl Part {
    pub(crate) fn new(start: Instant, speed: f64) -> Self {
        Self { start, speed, state: Arc::default() }
    }

    /// The second of the drill.
    pub(crate) fn second(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * self.speed
    }

    /// The service calls.
    pub(crate) fn call(&self, what: impl Into<String>) -> Call {
        let mut state = locked(&self.state);
        state.next += 1;
        let number = state.next;
        state.second.calls += 1;
        state.open.insert(number, (what.into(), Instant::now()));
        Call { part: self.clone(), number, how: How::GivenUp }
    }

    /// What the dependency says for itself.
    pub(crate) fn says(&self, line: impl Into<String>) {
        let mut state = locked(&self.state);
        state.lines.push_back((Instant::now(), line.into()));
        if state.lines.len() > KEPT {
            state.lines.pop_front();
        }
    }

    /// What has happened since this was asked last.
    pub(crate) fn sample(&self) -> Dependency {
        let mut state = locked(&self.state);
        let took = std::mem::take(&mut state.took);
        let mut second = std::mem::take(&mut state.second);
        second.open = state.open.len() as u64;
        let oldest = state.open.first_key_value().map(|(_, (_, began))| began.elapsed());
        second.oldest_ms = oldest.map_or(0.0, |age| age.as_secs_f64() * 1e3);
        let ended = second.served + second.failed + second.given_up;
        second.mean_ms = if ended == 0 { 0.0 } else { took.as_secs_f64() * 1e3 / ended as f64 };
        second
    }

    /// The calls that go on, the oldest first.
    pub(crate) fn open(&self) -> Vec<(String, Instant)> {
        locked(&self.state).open.values().cloned().collect()
    }

    /// The last calls that have ended.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        locked(&self.state).ended.iter().cloned().collect()
    }

    /// The last lines that it said.
    pub(crate) fn lines(&self) -> Vec<(Instant, String)> {
        locked(&self.state).lines.iter().cloned().collect()
    }
}

impl Call {
    pub(crate) fn ends(mut self, how: How) {
        self.how = how;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = locked(&self.part.state);
        let Some((what, began)) = state.open.remove(&self.number) else { return };
        let took = began.elapsed();
        state.took += took;
        match self.how {
            How::Served => state.second.served += 1,
            How::Failed => state.second.failed += 1,
            How::GivenUp => state.second.given_up += 1,
        }
        state.ended.push_back(Ended { what, began, took, how: self.how });
        if state.ended.len() > KEPT {
            state.ended.pop_front();
        }
    }
}
