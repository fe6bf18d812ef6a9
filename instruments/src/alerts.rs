//! Alerts for Prometheus: one template, from which the rules for any windows are made.
//!
//! ```
//! use instruments::Alerts;
//! let rules = Alerts::new("/health").rules();
//! assert!(rules.starts_with("groups:"));
//! ```
//!
//! `alerts/rules.yml` in this package is what this makes for a service whose probe asks `/health`. Copy it, or write the file when
//! the service is deployed.
//!
//! | alert | what it says |
//! |---|---|
//! | `HttpLatencySpike` | the 99th percentile of the last 5 minutes is over 2.5 times that of the 30 before, for 2 minutes |
//! | `HttpErrorRatio` | over 5 % of a route's requests were answered 5xx, failed or panicked in the last 5 minutes, for 2 minutes |
//! | `HttpInFlightOnlyGrows` | in the last 5 minutes there were always more requests in flight than ever in the 5 that ended 6 minutes ago, for 10 minutes |
//! | `TasksOnlyGrow` | the same of the tasks of one name |
//! | `ProbesDisagree` | the probe says that all is well while over half of the other requests fail, or the other way round |
//!
//! The thirty minutes end where the five begin. Were the five among them, a service that is slow for every client would soon be its
//! own measure: after 18 seconds a hundredth of all thirty minutes is slow, and the alert has not held for two.
//!
//! They read what [`Observe`](crate::Observe) and [`Tasks::publish`](crate::Tasks::publish) tell, under the names that the Prometheus
//! exporter of [`metrics`] gives it, with histograms in buckets.

use std::{fmt::Write as _, time::Duration};

const HEAD: &str = "groups:\n  - name: instruments\n    rules:\n";

/// The windows and limits of the rules. See the [module docs](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    probe: String,
    window: Duration,
    base: Duration,
    holds: Duration,
    grows: Duration,
    spike: f64,
    errors: f64,
    floor: Duration,
}

impl Alerts {
    /// The shipped windows, for a service whose probe asks this route.
    pub fn new(probe: &str) -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            probe: probe.to_owned(),
            window: minutes(5),
            base: minutes(30),
            holds: minutes(2),
            grows: minutes(10),
            spike: 2.5,
            errors: 0.05,
            floor: Duration::ZERO,
        }
    }

    /// The same with a shorter window and base; how long an alert has to hold shrinks with the window. In whole seconds, one at least.
    ///
    /// ```
    /// use std::time::Duration;
    /// use instruments::Alerts;
    /// let quick = Alerts::new("/health").windows(Duration::from_secs(10), Duration::from_secs(60));
    /// assert!(quick.rules().contains("[10s]"));
    /// assert!(quick.rules().contains("for: 4s"));
    /// ```
    pub fn windows(mut self, window: Duration, base: Duration) -> Self {
        let scale = window.as_secs_f64() / self.window.as_secs_f64();
        (self.holds, self.grows) = (self.holds.mul_f64(scale), self.grows.mul_f64(scale));
        (self.window, self.base) = (window, base);
        self
    }

    /// A ratio of errors other than 0.05.
    pub fn error_ratio(mut self, ratio: f64) -> Self {
        self.errors = ratio;
        self
    }

    /// A latency below which no spike is told. Without one, a route that takes a millisecond spikes whenever it takes three.
    ///
    /// ```
    /// use std::time::Duration;
    /// use instruments::Alerts;
    /// assert!(Alerts::new("/health").at_least(Duration::from_millis(100)).rules().contains("> 0.1\n"));
    /// ```
    pub fn at_least(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// The rules, as YAML.
    pub fn rules(&self) -> String {
        let (window, base) = (span(self.window), span(self.base));
        let (holds, grows) = (span(self.holds), span(self.grows));
        let (spike, errors) = (self.spike, self.errors);
        // In a string of PromQL, which stands in a block of YAML.
        let probe = self.probe.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text = HEAD.to_owned();
        let mut rule = |name: &str, severity: &str, holds: &str, says: &str, lines: &[String]| {
            let expr = lines.join("\n          ");
            write!(
                text,
                "      - alert: {name}\n        expr: |\n          {expr}\n        for: {holds}\n        labels:\n          severity: \
                 {severity}\n        annotations:\n          summary: \"{says}\"\n"
            )
            .expect("into a String");
        };
        let p99 = |range: &str| {
            format!(
                "histogram_quantile(0.99, sum by (job, route, le) (rate(http_request_duration_seconds_bucket{range})))"
            )
        };
        let mut spikes =
            vec![p99(&format!("[{window}]")), format!("> {spike} *"), p99(&format!("[{base}] offset {window}"))];
        if self.floor > Duration::ZERO {
            spikes.push(format!("> {}", self.floor.as_secs_f64()));
        }
        rule(
            "HttpLatencySpike",
            "warning",
            &holds,
            "{{ $labels.route }}: the slowest hundredth takes {{ $value | humanizeDuration }}",
            &spikes,
        );

        // What a route answers with 5xx, and what ends badly after a better status.
        let bad = |by: &str, also: &str| {
            format!(
                "sum by ({by}) (rate(http_requests_total{{status=\"5xx\"{also}}}[{window}])\n            or \
                 rate(http_requests_total{{outcome=~\"failed|panicked\"{also}}}[{window}]))"
            )
        };
        let all = |by: &str, also: &str| format!("sum by ({by}) (rate(http_requests_total{{{also}}}[{window}]))");
        let ratio = [bad("job, route", ""), format!("/ {}", all("job, route", "")), format!("> {errors}")];
        rule(
            "HttpErrorRatio",
            "critical",
            &holds,
            "{{ $labels.route }}: {{ $value | humanizePercentage }} of the requests fail",
            &ratio,
        );

        // A gap between the two: the sample on their border would be in both.
        let apart = span(self.window.mul_f64(1.2));
        let growing = |series: &str| {
            [
                format!("min_over_time({series}[{window}])"),
                format!("> max_over_time({series}[{window}] offset {apart})"),
            ]
        };
        let says = "{{ $labels.route }}: {{ $value }} requests in flight, and the number only grows";
        rule("HttpInFlightOnlyGrows", "warning", &grows, says, &growing("http_requests_in_flight"));
        let says = "{{ $labels.name }}: {{ $value }} tasks, and the number only grows";
        rule("TasksOnlyGrow", "warning", &grows, says, &growing("tasks_alive"));

        let (of_probe, others) = (format!("route=\"{probe}\""), format!("route!=\"{probe}\""));
        // Where nothing has failed there is no series to divide.
        let told = |of: &str| {
            let (bad, all) = (bad("job", &format!(",{of}")), all("job", of));
            [bad, format!("/ {all}"), format!("or 0 * {all}")]
        };
        let disagree = [
            "(job:http_probe_errors:ratio < 0.05 and job:http_traffic_errors:ratio > 0.5)",
            "or",
            "(job:http_probe_errors:ratio > 0.5 and job:http_traffic_errors:ratio < 0.05)",
        ];
        let says = "{{ $labels.job }}: the probe says one thing, and the traffic another";
        rule("ProbesDisagree", "critical", &holds, says, &disagree.map(String::from));
        // Rules of a group are evaluated in their order: what the last one reads comes first.
        let records = [("probe", told(&of_probe)), ("traffic", told(&others))].map(|(of, lines)| {
            let expr = lines.join("\n          ");
            format!("      - record: job:http_{of}_errors:ratio\n        expr: |\n          {expr}\n")
        });
        text.insert_str(HEAD.len(), &records.concat());
        text
    }
}

/// As Prometheus writes a duration: the largest unit in which it is whole.
fn span(time: Duration) -> String {
    let seconds = (time.as_secs_f64().round() as u64).max(1);
    match seconds {
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}
