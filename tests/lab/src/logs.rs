//! What the app logged, collected on its thread, in one order with everything else that the scene saw.

use std::{error::Error, fmt, sync::LazyLock};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::{self, DefaultGuard},
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Registry},
};

use super::attendance;

/// Libraries whose own events say nothing about the app.
const LEFT_OUT: [&str; 7] = ["axum", "h2", "hyper", "hyper_util", "mio", "tokio", "tower"];

/// One log event, with the spans around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// The text of the event; empty where it has fields only.
    pub message: String,
    /// Its fields in the order in which they were written, without the message.
    pub fields: Vec<(String, String)>,
    /// The spans around it, the outermost first.
    pub spans: Vec<LogSpan>,
}

/// A span round an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpan {
    /// The name of the span.
    pub name: String,
    /// Its fields, those recorded later included.
    pub fields: Vec<(String, String)>,
}

impl LogLine {
    /// Whether the event itself, its message or one of its fields, contains `text`.
    pub fn carries(&self, text: &str) -> bool {
        self.message.contains(text) || self.fields.iter().any(|(_, value)| value.contains(text))
    }

    /// Whether the event or a span round it contains `text`.
    pub fn mentions(&self, text: &str) -> bool {
        let in_spans = self.spans.iter().flat_map(|span| &span.fields).any(|(_, value)| value.contains(text));
        self.carries(text) || in_spans
    }
}

/// The line as the transcript prints it: level, spans, message, fields.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        for span in &self.spans {
            write!(f, " {}{{", span.name)?;
            for (place, (key, value)) in span.fields.iter().enumerate() {
                write!(f, "{}{key}={value}", if place == 0 { "" } else { " " })?;
            }
            write!(f, "}}:")?;
        }
        if !self.message.is_empty() {
            write!(f, " {}", self.message)?;
        }
        for (key, value) in &self.fields {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

/// The one collector of the process. Which promise a line belongs to is known to the thread that it comes from.
///
/// A collector for each promise would make tracing look at every call site again each time. And there are two: where there
/// is only one, tracing asks the thread that comes to a call site first whether anybody wants it; if that is a thread
/// without a collector, the call site is silent for all. The second is never used.
static COLLECTORS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [(); 2].map(|()| Dispatch::new(collector())));

/// Collects what this thread logs, until the guard is dropped.
pub(super) fn collect() -> DefaultGuard {
    dispatcher::set_default(&COLLECTORS[0])
}

fn collector() -> impl Subscriber + Send + Sync {
    Registry::default().with(Collector)
}

struct Collector;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let source = metadata.target().split("::").next().unwrap_or_default();
        !LEFT_OUT.contains(&source)
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(stage) = attendance::stage_of_this_thread() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let around = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let spans = around.map(|span| LogSpan {
            name: span.name().to_owned(),
            fields: span.extensions().get::<Fields>().map(|fields| fields.others.clone()).unwrap_or_default(),
        });
        stage.logged(LogLine {
            level: *event.metadata().level(),
            message: fields.message.clone(),
            spans: spans.collect(),
            fields: fields.others,
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: String) {
        match self.others.iter_mut().find(|(key, _)| key == field.name()) {
            _ if field.name() == "message" => self.message = value,
            Some(known) => known.1 = value,
            None => self.others.push((field.name().to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    // The default prints the first error only, and would lose the causes.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut chain = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            chain.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.set(field, chain);
    }
}
