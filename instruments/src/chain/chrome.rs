//! The Trace Event Format, which Perfetto and `chrome://tracing` read.

use std::time::Duration;

use serde_json::{Value, json};

use super::Trace;

/// A request is two tracks: its calls, and the waiting for readiness, which overlaps the calls otherwise than a track can show.
pub(super) fn file(traces: &[Trace]) -> String {
    let mut events = vec![named("process_name", 0, "the chain")];
    for trace in traces {
        let track = trace.id * 2;
        events.push(named("thread_name", track, &format!("{} {} #{}", trace.method, trace.route, trace.id)));
        events.push(named("thread_name", track + 1, &format!("#{}: readiness", trace.id)));
        for (span, times) in &trace.spans {
            let end = span.end.unwrap_or(trace.now);
            let args = json!({
                "before_us": micros(times.before),
                "inner_us": micros(times.inner),
                "after_us": micros(times.after),
                "itself_us": micros(times.itself),
                "body_us": micros(times.body),
                "status": trace.status.map(|status| status.as_u16()),
            });
            events.push(complete(span.name, "call", track, (span.called, end), &args));
            if times.ready > Duration::ZERO {
                events.push(complete(span.name, "readiness", track + 1, (span.asked, span.ready), &json!({})));
            }
        }
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn named(what: &str, track: u64, name: &str) -> Value {
    json!({ "ph": "M", "pid": 1, "tid": track, "name": what, "args": { "name": name } })
}

fn complete(name: &str, category: &str, track: u64, (from, to): (Duration, Duration), args: &Value) -> Value {
    let lasted = micros(to.saturating_sub(from));
    json!({ "ph": "X", "pid": 1, "tid": track, "name": name, "cat": category, "ts": micros(from), "dur": lasted, "args": args })
}
