//! What an operator can have of a drill, and nothing else. It can be written to a file and read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All that has been seen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Evidence {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The names of the services, in the order of each sample's points.
    pub services: Vec<String>,
    /// A sample a second.
    pub samples: Vec<Sample>,
    /// The last lines of their logs.
    pub log: Vec<Line>,
}

/// A second.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Sample {
    /// The second of the drill, without the minutes that looks have cost.
    pub at_s: f64,
    /// The services, in their order.
    pub points: Vec<Point>,
}

/// What was seen of a service in a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Point {
    /// Requests that have ended.
    pub requests: u64,
    /// Those of them that were answered 4xx.
    #[serde(default)]
    pub refused: u64,
    /// Those of them that only asked whether they may ask, and were refused for who asks: `OPTIONS`, answered 401, 403 or 429.
    #[serde(default)]
    pub preflights_refused: u64,
    /// Those of them that were answered 5xx.
    pub errors: u64,
    /// Those whose body broke off, or whose handler panicked.
    pub broken: u64,
    /// Those whose client left before the end.
    pub left: u64,
    /// Times until the last byte.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 95th percentile of the time until the head.
    pub head_ms: f64,
    /// The 95th percentile of the time until the first byte.
    pub first_byte_ms: f64,
    /// By route, in the order of the names.
    pub routes: Vec<Route>,
    /// How many took how long, by decades and thirds of them from 1 ms.
    pub heat: Vec<u32>,
    /// Requests that go on.
    pub in_flight: u64,
    /// Tasks of its runtime.
    pub tasks: u64,
    /// Connections that are open.
    pub connections: u64,
    /// What the probe was last answered, where there is one.
    pub probe: Option<u16>,
    /// Its dependency.
    pub dependency: Dependency,
}

/// A request that has ended, as it was seen from outside.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The template of its route.
    pub route: String,
    /// Whether it only asked whether it may ask: its method was `OPTIONS`.
    pub preflight: bool,
    /// Its status, if it had a head.
    pub status: Option<u16>,
    /// How it ended.
    pub how: End,
    /// The time until the head.
    pub head_ms: Option<f64>,
    /// The time until the first byte.
    pub first_ms: Option<f64>,
    /// The time until the end.
    pub last_ms: f64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last byte.
    Complete,
    /// Its body broke off, or its handler panicked.
    Broken,
    /// Its client left.
    Left,
}

impl Ended {
    fn failed(&self) -> bool {
        self.status.is_some_and(|status| status >= 500)
    }

    fn refused(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status))
    }
}

impl Point {
    /// What these requests tell of the second in which they ended. What else there is of it is nothing yet.
    pub fn of(ended: &[Ended]) -> Self {
        let sorted = |times: Vec<f64>| {
            let mut times = times;
            times.sort_by(f64::total_cmp);
            times
        };
        let last = sorted(ended.iter().map(|one| one.last_ms).collect());
        let head = sorted(ended.iter().filter_map(|one| one.head_ms).collect());
        let first = sorted(ended.iter().filter_map(|one| one.first_ms).collect());
        let count = |of: &dyn Fn(&Ended) -> bool| ended.iter().filter(|one| of(one)).count() as u64;
        let mut heat = vec![0; ROWS];
        last.iter().for_each(|ms| heat[row(*ms)] += 1);
        Self {
            requests: ended.len() as u64,
            refused: count(&Ended::refused),
            preflights_refused: count(&|one| one.preflight && matches!(one.status, Some(401 | 403 | 429))),
            errors: count(&Ended::failed),
            broken: count(&|one| one.how == End::Broken),
            left: count(&|one| one.how == End::Left),
            p50_ms: quantile(&last, 0.5),
            p95_ms: quantile(&last, 0.95),
            p99_ms: quantile(&last, 0.99),
            head_ms: quantile(&head, 0.95),
            first_byte_ms: quantile(&first, 0.95),
            routes: routes(ended),
            heat,
            ..Self::default()
        }
    }
}

fn routes(ended: &[Ended]) -> Vec<Route> {
    let mut routes = BTreeMap::<&str, Vec<&Ended>>::new();
    for one in ended {
        routes.entry(&one.route).or_default().push(one);
    }
    let told = routes.into_iter().map(|(route, ended)| {
        let (errors, served): (Vec<&Ended>, Vec<&Ended>) = ended.iter().partition(|one| one.failed());
        let whole: f64 = served.iter().map(|one| one.last_ms).sum();
        Route {
            route: route.to_owned(),
            requests: ended.len() as u64,
            errors: errors.len() as u64,
            served_ms: whole / served.len().max(1) as f64,
            refused: ended.iter().filter(|one| one.refused()).count() as u64,
        }
    });
    told.collect()
}

/// What was seen of a route in a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Route {
    /// Its template.
    pub route: String,
    /// Requests that have ended.
    pub requests: u64,
    /// Those of them that were answered 5xx.
    pub errors: u64,
    /// How long the others took, on average.
    pub served_ms: f64,
    /// Those that were answered 4xx.
    #[serde(default)]
    pub refused: u64,
}

/// What a dependency has seen in a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Dependency {
    /// Calls that began.
    pub calls: u64,
    /// Calls that were served.
    pub served: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that the service gave up.
    pub given_up: u64,
    /// Calls, subscriptions or streams that go on.
    pub open: u64,
    /// How long those that ended took.
    pub mean_ms: f64,
    /// How long the oldest of those that go on has gone on.
    #[serde(default)]
    pub oldest_ms: f64,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Line {
    /// Its number, from 0.
    pub number: u64,
    /// The millisecond of the drill.
    pub at_ms: u64,
    /// Who says it: a service, or `#ops` for people.
    pub from: String,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG`, or `SAYS` for people.
    pub level: String,
    /// The line.
    pub text: String,
}

/// The rows of [`Point::heat`]: three a decade, from 1 ms to 10 s.
pub const ROWS: usize = 13;

/// The row of a latency.
pub fn row(ms: f64) -> usize {
    ((ms.max(1.0).log10() * 3.0 + 1e-9) as usize).min(ROWS - 1)
}

/// The quantile `q` of sorted values: the nearest that was measured.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    sorted[((sorted.len() as f64 * q).ceil() as usize).saturating_sub(1).min(last)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.95, 0.99, 1.0].map(|q| quantile(&values, q)), [50.0, 95.0, 99.0, 100.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn rows_are_thirds_of_a_decade() {
        assert_eq!([0.1, 1.0, 2.5, 10.0, 100.0, 999.0, 1e4, 1e7].map(row), [0, 0, 1, 3, 6, 8, 12, 12]);
    }
}
