//! What the tests share: a recorder of metrics that can be read.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Keeps every series in memory.
#[derive(Default)]
pub(crate) struct Recorded {
    series: Mutex<BTreeMap<String, Arc<Values>>>,
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl Recorded {
    /// A line for each series: counters and gauges with their sum, histograms with each value.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        for (name, values) in &*self.series.lock().unwrap() {
            let values = values.0.lock().unwrap();
            let told = match name.contains("_seconds") {
                true => format!("{values:?}"),
                false => values.iter().sum::<f64>().to_string(),
            };
            writeln!(text, "{name} {told}").unwrap();
        }
        text
    }

    pub(crate) fn count(&self) -> usize {
        self.series.lock().unwrap().len()
    }

    fn series(&self, key: &Key) -> Arc<Values> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(" "));
        self.series.lock().unwrap().entry(name).or_default().clone()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

impl CounterFn for Values {
    fn increment(&self, value: u64) {
        self.0.lock().unwrap().push(value as f64);
    }

    fn absolute(&self, value: u64) {
        *self.0.lock().unwrap() = vec![value as f64];
    }
}

impl GaugeFn for Values {
    fn increment(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }

    fn decrement(&self, value: f64) {
        self.0.lock().unwrap().push(-value);
    }

    fn set(&self, value: f64) {
        *self.0.lock().unwrap() = vec![value];
    }
}

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}
