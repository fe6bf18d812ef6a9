//! The last minutes of the log, in memory: what was said before somebody asked.
//!
//! ```
//! use instruments::Logs;
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! let logs = Logs::new();
//! let subscriber = tracing_subscriber::registry().with(logs.clone());
//! tracing::subscriber::with_default(subscriber, || tracing::warn!(parcel = 7, token = "t-1", "no such parcel"));
//! let text = logs.text();
//! assert!(text.contains(r#""message":"no such parcel""#) && text.contains(r#""parcel":7"#));
//! assert!(!text.contains("t-1"));
//! ```
//!
//! A line is a JSON object. Events at `INFO` and above are kept, for [`KEPT`] and [`MOST_BYTES`] at most. What stands in the fields of
//! a span is not in it; values whose field has a secret name are hidden, see [`redact`].

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use crate::{locked, redact};

/// How long a line is kept.
pub const KEPT: Duration = Duration::from_secs(600);
/// How much is kept, in bytes of text.
pub const MOST_BYTES: usize = 1 << 20;
/// A value that is longer is cut.
const LONGEST_VALUE: usize = 2_000;

/// A layer of `tracing_subscriber` that keeps the last lines. A clone has the same lines. See the [module docs](self).
#[derive(Clone)]
pub struct Logs {
    start: Instant,
    level: Level,
    ring: Arc<Mutex<Ring>>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<(Instant, String)>,
    bytes: usize,
}

impl Logs {
    /// Keeps events at `INFO` and above.
    pub fn new() -> Self {
        Self { start: Instant::now(), level: Level::INFO, ring: Arc::default() }
    }

    /// Keeps events of this level and above.
    pub fn level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// The lines that are kept, the oldest first.
    pub fn text(&self) -> String {
        let mut ring = locked(&self.ring);
        ring.shrink(Instant::now());
        ring.lines.iter().fold(String::with_capacity(ring.bytes), |text, (_, line)| text + line + "\n")
    }
}

impl Ring {
    fn shrink(&mut self, now: Instant) {
        let too_old = |at: Instant| now.duration_since(at) > KEPT;
        while self.lines.front().is_some_and(|(at, _)| too_old(*at) || self.bytes > MOST_BYTES) {
            let (_, line) = self.lines.pop_front().expect("there is one in front");
            self.bytes -= line.len() + 1;
        }
    }
}

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > self.level {
            return;
        }
        let now = Instant::now();
        let mut fields = Fields(Map::new());
        fields.0.insert("ms".to_owned(), (now.duration_since(self.start).as_millis() as u64).into());
        fields.0.insert("level".to_owned(), metadata.level().as_str().into());
        fields.0.insert("target".to_owned(), metadata.target().into());
        event.record(&mut fields);
        let line = Value::Object(fields.0).to_string();
        let mut ring = locked(&self.ring);
        ring.bytes += line.len() + 1;
        ring.lines.push_back((now, line));
        ring.shrink(now);
    }
}

/// The fields of an event, with what is secret hidden.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // hidden by the name; the `log` crate's own fields say what target and level say.
        let value = if redact::is_secret(field.name()) { redact::REDACTED.into() } else { value };
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().to_owned(), value);
        }
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        let mut shown = redact::text(text);
        if let Some((at, _)) = shown.char_indices().nth(LONGEST_VALUE) {
            shown.truncate(at);
            shown += "…";
        }
        self.put(field, shown.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("level", &self.level).finish_non_exhaustive()
    }
}
