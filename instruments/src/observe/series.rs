//! The series of the metrics, found once for each route, method and class, so that a request looks nothing up by label.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use super::Seen;
use crate::routes::{MOST_ROUTES, OTHER, UNMATCHED};

const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other"];
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const OUTCOMES: usize = 4;

#[derive(Default)]
pub(super) struct Series {
    routes: RwLock<HashMap<Arc<str>, Arc<Route>>>,
}

/// The series of one route.
pub(crate) struct Route {
    pub(super) name: Arc<str>,
    methods: [OnceLock<Box<ByMethod>>; METHODS.len()],
}

struct ByMethod {
    in_flight: Gauge,
    classes: [OnceLock<ByClass>; CLASSES.len()],
}

struct ByClass {
    outcomes: [OnceLock<Counter>; OUTCOMES],
    head: Histogram,
    first: Histogram,
    last: Histogram,
    bytes: Counter,
}

impl Series {
    pub(super) fn route(&self, template: Option<&str>) -> Arc<Route> {
        let template = template.unwrap_or(UNMATCHED);
        if let Some(route) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(template) {
            return route.clone();
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.is_empty() {
            describe();
        }
        let template = if routes.len() < MOST_ROUTES { template } else { OTHER };
        let name = Arc::<str>::from(template);
        routes.entry(name.clone()).or_insert_with(|| Arc::new(Route { name, methods: Default::default() })).clone()
    }
}

impl Route {
    fn method(&self, method: &Method) -> &ByMethod {
        let at = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        self.methods[at].get_or_init(|| {
            let in_flight = gauge!("http_requests_in_flight", "route" => self.name.clone(), "method" => METHODS[at]);
            Box::new(ByMethod { in_flight, classes: Default::default() })
        })
    }

    pub(super) fn begins(&self, method: &Method) {
        self.method(method).in_flight.increment(1.0);
    }

    pub(super) fn ends(&self, seen: &Seen) {
        let by_method = self.method(&seen.method);
        by_method.in_flight.decrement(1.0);
        let class = seen.status.map_or(0, class);
        let labels = || {
            let method = METHODS.iter().find(|known| **known == seen.method.as_str()).unwrap_or(&"other");
            [
                ("route", metrics::SharedString::from(self.name.clone())),
                ("method", metrics::SharedString::const_str(method)),
                ("status", metrics::SharedString::const_str(CLASSES[class])),
            ]
        };
        let by_class = by_method.classes[class].get_or_init(|| ByClass {
            outcomes: Default::default(),
            head: histogram!("http_response_head_seconds", &labels()),
            first: histogram!("http_response_first_byte_seconds", &labels()),
            last: histogram!("http_request_duration_seconds", &labels()),
            bytes: counter!("http_response_bytes_total", &labels()),
        });
        let outcome = by_class.outcomes[seen.outcome as usize].get_or_init(|| {
            let [route, method, status] = labels();
            let outcome = ("outcome", metrics::SharedString::const_str(seen.outcome.as_str()));
            counter!("http_requests_total", &[route, method, status, outcome])
        });
        outcome.increment(1);
        by_class.bytes.increment(seen.bytes);
        by_class.last.record(seen.last);
        if let Some(head) = seen.head {
            by_class.head.record(head);
        }
        if let Some(first) = seen.first {
            by_class.first.record(first);
        }
    }
}

/// The place in `CLASSES`. A status of 600 and more is the server's fault too.
fn class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).min(CLASSES.len() - 1)
}

fn describe() {
    metrics::describe_counter!("http_requests_total", Unit::Count, "Requests that have ended, by how they ended.");
    metrics::describe_gauge!("http_requests_in_flight", Unit::Count, "Requests whose body has not ended.");
    metrics::describe_histogram!("http_response_head_seconds", Unit::Seconds, "Time until the head.");
    metrics::describe_histogram!("http_response_first_byte_seconds", Unit::Seconds, "Time until the first byte.");
    metrics::describe_histogram!("http_request_duration_seconds", Unit::Seconds, "Time until the end of the body.");
    metrics::describe_counter!("http_response_bytes_total", Unit::Bytes, "Bytes of response bodies.");
}
