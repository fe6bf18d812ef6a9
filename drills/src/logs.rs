//! The logs of the services: which one speaks is told by the thread, so that neither a target nor the place of a panic gives
//! away what is served.

use std::{
    cell::RefCell,
    collections::VecDeque,
    error::Error,
    fmt::{self, Write},
    panic,
    sync::{Arc, Mutex, Once},
};

use tokio::time::Instant;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::{evidence::Line, locked};

/// How many lines are kept.
const KEPT: usize = 2000;

/// All lines of a drill. A clone is the same.
#[derive(Clone)]
pub(crate) struct Journal {
    start: Instant,
    speed: f64,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    next: u64,
    kept: VecDeque<Line>,
}

thread_local! {
    /// Whose thread this is.
    static SPEAKER: RefCell<Option<(String, Journal)>> = const { RefCell::new(None) };
}

impl Journal {
    pub(crate) fn new(start: Instant, speed: f64) -> Self {
        listen();
        Self { start, speed, lines: Arc::default() }
    }

    /// What this thread logs from now on is said by `speaker`.
    pub(crate) fn hears_this_thread_as(&self, speaker: &str) {
        SPEAKER.set(Some((speaker.to_owned(), self.clone())));
    }

    pub(crate) fn write(&self, from: &str, level: &str, text: String) {
        let at_ms = (self.start.elapsed().as_secs_f64() * self.speed * 1e3) as u64;
        let mut lines = locked(&self.lines);
        let number = lines.next;
        lines.next += 1;
        lines.kept.push_back(Line { number, at_ms, from: from.to_owned(), level: level.to_owned(), text });
        if lines.kept.len() > KEPT {
            lines.kept.pop_front();
        }
    }

    /// The lines from this number on.
    pub(crate) fn since(&self, number: u64) -> Vec<Line> {
        locked(&self.lines).kept.iter().filter(|line| line.number >= number).cloned().collect()
    }
}

/// Hears every thread that has a speaker. Elsewhere all is as it was.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        // A test may have a subscriber already. What libraries tell the `log` crate is not heard.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ear));
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let heard = with_speaker(|speaker, journal| {
                let message = info.payload_as_str().unwrap_or("no message");
                journal.write(speaker, "ERROR", format!("a handler panicked: {message}"));
            });
            if !heard {
                before(info);
            }
        }));
    });
}

fn with_speaker(tell: impl FnOnce(&str, &Journal)) -> bool {
    let speaker = SPEAKER.with_borrow(Clone::clone);
    let Some((speaker, journal)) = speaker else { return false };
    tell(&speaker, &journal);
    true
}

struct Ear;

/// The fields of a span, kept with it.
struct Told(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            let told = format!("{}{{{}}}: ", attributes.metadata().name(), fields.others.trim_start());
            span.extensions_mut().insert(Told(told));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        // The log's level is INFO, as in production; and the drill's own eyes are none of the service's words.
        if level > Level::INFO || ["instruments", "hyper", "h2"].iter().any(|ours| target.starts_with(ours)) {
            return;
        }
        with_speaker(|speaker, journal| {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let mut text = String::new();
            for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
                if let Some(Told(told)) = span.extensions().get() {
                    text += told;
                }
            }
            text = text + &fields.message + &fields.others;
            journal.write(speaker, event.metadata().level().as_str(), text);
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let told = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.others, " {}={value:?}", field.name())
        };
        told.expect("into a String");
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut causes = vec![value.to_string()];
        let mut error = value.source();
        while let Some(cause) = error {
            causes.push(cause.to_string());
            error = cause.source();
        }
        write!(self.others, " {}=\"{}\"", field.name(), causes.join(": ")).expect("into a String");
    }
}
