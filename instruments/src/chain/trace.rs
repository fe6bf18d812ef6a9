//! The calls of one request, and what is attributed to each.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};

use super::MOST_SPANS;
use crate::locked;

/// A request while it is traced. Times are nanoseconds of the chain's clock.
pub(super) struct Tracing {
    pub(super) id: u64,
    method: Method,
    route: Arc<str>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    spans: Vec<Call>,
    status: Option<StatusCode>,
}

#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    parent: Option<usize>,
    asked: u64,
    ready: u64,
    called: u64,
    head: Option<u64>,
    first: Option<u64>,
    end: Option<u64>,
}

impl Tracing {
    pub(super) fn new(id: u64, method: Method, route: Arc<str>) -> Self {
        Self { id, method, route, calls: Mutex::default() }
    }

    /// Used again, for another request.
    pub(super) fn begin(&mut self, id: u64, method: Method, route: Arc<str>) {
        (self.id, self.method, self.route) = (id, method, route);
        let mut calls = locked(&self.calls);
        calls.spans.clear();
        calls.status = None;
    }

    /// The place of the new call, or none where there are too many.
    pub(super) fn call(
        &self,
        name: &'static str,
        parent: Option<usize>,
        waited: (u64, u64),
        now: u64,
    ) -> Option<usize> {
        let spans = &mut locked(&self.calls).spans;
        if spans.len() == MOST_SPANS {
            return None;
        }
        let (asked, ready) = waited;
        spans.push(Call { name, parent, asked, ready, called: now, head: None, first: None, end: None });
        Some(spans.len() - 1)
    }

    pub(super) fn head(&self, at: usize, now: u64, status: StatusCode) {
        let mut calls = locked(&self.calls);
        calls.spans[at].head = Some(now);
        calls.status = Some(status);
    }

    /// The first byte of the body is there, and perhaps its end.
    pub(super) fn first(&self, at: usize, now: u64, and_ended: bool) {
        let span = &mut locked(&self.calls).spans[at];
        span.first = Some(now);
        span.end = and_ended.then_some(now);
    }

    pub(super) fn end(&self, at: usize, now: u64) {
        locked(&self.calls).spans[at].end = Some(now);
    }

    /// Tells the name of each call and what is attributed to it when the outermost has ended, without allocating.
    pub(super) fn each(&self, mut tell: impl FnMut(&'static str, &Nanos)) {
        let calls = locked(&self.calls);
        let now = calls.spans.first().and_then(|outermost| outermost.end).unwrap_or(0);
        for (at, call) in calls.spans.iter().enumerate() {
            tell(call.name, &times(&calls.spans, at, now));
        }
    }

    pub(super) fn told(&self, now: u64) -> Trace {
        let calls = locked(&self.calls);
        let told = |(at, call): (usize, &Call)| (call.told(), times(&calls.spans, at, now).told());
        let spans = calls.spans.iter().enumerate().map(told).collect();
        let route = self.route.clone();
        Trace {
            id: self.id,
            method: self.method.clone(),
            route,
            status: calls.status,
            spans,
            now: Duration::from_nanos(now),
        }
    }
}

impl Call {
    fn told(&self) -> Span {
        let nanos = Duration::from_nanos;
        Span {
            name: self.name,
            parent: self.parent,
            asked: nanos(self.asked),
            ready: nanos(self.ready),
            called: nanos(self.called),
            head: self.head.map(nanos),
            first: self.first.map(nanos),
            end: self.end.map(nanos),
        }
    }

    /// Until when it counts as inside the call outside it.
    fn answered(&self, now: u64) -> u64 {
        self.head.or(self.end).unwrap_or(now)
    }
}

/// What is attributed to the call `at`, if it is `now`.
fn times(spans: &[Call], at: usize, now: u64) -> Nanos {
    let own = &spans[at];
    // What was called after the look began has taken no time.
    let answered = own.answered(now).max(own.called);
    let (mut inner, mut readiness, mut before, mut last) = (0, 0, None, own.called);
    // In the order of their calls, as they stand: what one covers the next does not cover again.
    let mut covered = own.called;
    for child in spans.iter().filter(|child| child.parent == Some(at)) {
        let asked = child.asked.clamp(covered, answered);
        let called = child.called.clamp(covered, answered);
        let until = child.answered(now).clamp(called, answered);
        let waited = child.ready.clamp(asked, called) - asked;
        readiness += waited;
        inner += until - called;
        before.get_or_insert(called - own.called - waited);
        covered = covered.max(until);
        last = last.max(until);
    }
    let whole = answered - own.called;
    Nanos {
        ready: own.ready - own.asked,
        before: before.unwrap_or(whole),
        inner,
        after: if before.is_some() { answered - last } else { 0 },
        itself: whole - inner - readiness,
        body: own.head.map_or(0, |head| own.end.unwrap_or(now).saturating_sub(head)),
    }
}

/// [`Times`], in nanoseconds: what is summed up for every request is not divided before it is told.
#[derive(Default)]
pub(super) struct Nanos {
    pub(super) ready: u64,
    pub(super) before: u64,
    pub(super) inner: u64,
    pub(super) after: u64,
    pub(super) itself: u64,
    pub(super) body: u64,
}

impl Nanos {
    fn told(&self) -> Times {
        let Self { ready, before, inner, after, itself, body } = *self;
        let [ready, before, inner, after, itself, body] =
            [ready, before, inner, after, itself, body].map(Duration::from_nanos);
        Times { ready, before, inner, after, itself, body }
    }
}

/// One request: what it was, and the calls that were made for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// A number that no other request of the chain has.
    pub id: u64,
    /// The method.
    pub method: Method,
    /// The template of the route, or `unmatched`.
    pub route: Arc<str>,
    /// The status of the outermost head so far.
    pub status: Option<StatusCode>,
    /// The calls with what is attributed to them, in the order in which they were made.
    pub spans: Vec<(Span, Times)>,
    /// When this was told.
    pub now: Duration,
}

/// One call of a named layer. Times count from the making of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The name of the layer.
    pub name: &'static str,
    /// The place of the call outside it.
    pub parent: Option<usize>,
    /// When it was first asked whether it is ready, if it had to wait; otherwise the same as `ready`.
    pub asked: Duration,
    /// When it was ready.
    pub ready: Duration,
    /// When it was called.
    pub called: Duration,
    /// When its head was there.
    pub head: Option<Duration>,
    /// When the first byte of its body was there.
    pub first: Option<Duration>,
    /// When its body, or the call, ended.
    pub end: Option<Duration>,
}

/// What is attributed to one call. See the [module docs](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// It waited to be ready.
    pub ready: Duration,
    /// Before it called inward.
    pub before: Duration,
    /// What is inside it.
    pub inner: Duration,
    /// From the last head from inside to its own.
    pub after: Duration,
    /// All of its own time, until its head.
    pub itself: Duration,
    /// From its head to its body's end.
    pub body: Duration,
}

impl Trace {
    /// How long the request has taken so far, or took, with the outermost's waiting for readiness.
    pub fn age(&self) -> Duration {
        self.spans.first().map_or(Duration::ZERO, |(root, _)| root.end.unwrap_or(self.now).saturating_sub(root.asked))
    }

    /// Where the request is: the innermost name that was called and has not answered, or the outermost whose body has not ended.
    pub fn layer(&self) -> Option<&'static str> {
        let mut spans = self.spans.iter().map(|(span, _)| span);
        let waiting = spans.clone().rev().find(|span| span.head.is_none() && span.end.is_none());
        waiting.or_else(|| spans.find(|span| span.end.is_none())).map(|span| span.name)
    }
}
