//! What is known of one request until it has ended.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH};
use tokio::time::Instant;

use super::{Outcome, Seen, Shared, series::Route};

/// Tells what became of the request when it is dropped, whoever drops it.
pub(crate) struct Record {
    shared: Arc<Shared>,
    route: Arc<Route>,
    method: Method,
    status: Option<StatusCode>,
    start: Instant,
    head: Option<Duration>,
    first: Option<Duration>,
    last: Option<Duration>,
    bytes: u64,
    /// How many bytes the head promises.
    length: Option<u64>,
    /// Set while the service, its future or its body runs: still set when this is dropped, it is a panic that drops it.
    running: bool,
    ended: Option<Outcome>,
}

impl Record {
    pub(super) fn new(shared: Arc<Shared>, route: Arc<Route>, method: Method) -> Self {
        route.begins(&method);
        Self {
            shared,
            route,
            method,
            status: None,
            start: Instant::now(),
            head: None,
            first: None,
            last: None,
            bytes: 0,
            length: None,
            running: false,
            ended: None,
        }
    }

    /// Runs what may panic.
    pub(super) fn run<T>(&mut self, run: impl FnOnce() -> T) -> T {
        self.running = true;
        let ran = run();
        self.running = false;
        ran
    }

    pub(super) fn head(&mut self, status: StatusCode, headers: &HeaderMap, exact: Option<u64>) {
        self.head = Some(self.start.elapsed());
        self.status = Some(status);
        let declared = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        self.length = exact.or_else(declared);
        let no_body = self.method == Method::HEAD
            || status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
            || (self.method == Method::CONNECT && status.is_success());
        if no_body || self.length == Some(0) {
            self.ended = Some(Outcome::Complete);
            self.last = self.head;
        }
    }

    pub(super) fn data(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let now = self.start.elapsed();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.bytes += bytes as u64;
        // hyper drops a body that has given as many bytes as its head has promised.
        if self.length.is_some_and(|length| self.bytes >= length) {
            self.ended = Some(Outcome::Complete);
        }
    }

    /// Tells that the request has ended with its last byte: the clock was read for that.
    pub(super) fn end_with_last_byte(mut self) {
        self.ended = Some(Outcome::Complete);
    }

    /// Tells that the request has ended, now.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.ended = Some(outcome);
        self.last = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = match self.ended {
            _ if self.running => Outcome::Panicked,
            Some(outcome) => outcome,
            None => Outcome::Abandoned,
        };
        // A complete body that was dropped ended with its last byte, and anything else ends now.
        let last = self.last.filter(|_| outcome == Outcome::Complete).unwrap_or_else(|| self.start.elapsed());
        let seen = Seen {
            route: self.route.name.clone(),
            method: self.method.clone(),
            status: self.status,
            start: self.start,
            head: self.head,
            first: self.first,
            last,
            bytes: self.bytes,
            outcome,
        };
        self.route.ends(&seen);
        log(&seen);
        for hook in &self.shared.hooks {
            hook(&seen);
        }
    }
}

fn log(seen: &Seen) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (route, method, outcome) = (&*seen.route, seen.method.as_str(), seen.outcome.as_str());
    let status = seen.status.map(|status| status.as_u16());
    let (head_ms, first_ms, last_ms) = (seen.head.map(millis), seen.first.map(millis), millis(seen.last));
    let bytes = seen.bytes;
    // The level of an event is a constant.
    if seen.outcome == Outcome::Complete {
        tracing::debug!(target: "instruments::observe", route, method, status, head_ms, first_ms, last_ms, bytes, outcome);
    } else {
        tracing::warn!(target: "instruments::observe", route, method, status, head_ms, first_ms, last_ms, bytes, outcome);
    }
}
