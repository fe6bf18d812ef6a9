//! One request, drawn: a line for each call.

use std::{fmt, time::Duration};

use super::{Span, Times, Trace};
use crate::svg::{Anchor, Svg};

const NAMES: f64 = 150.0;
const WIDE: f64 = 520.0;
const LINE: f64 = 22.0;
const TOP: f64 = 48.0;

const READY: &str = "#bbbbbb";
const ITSELF: &str = "#c0504d";
const INNER: &str = "#f0d9d8";
const BODY: &str = "#4f81bd";

/// As a table.
///
/// ```text
/// GET /parcels/{id} 200, 35.000 ms
///                     ready     before      inner      after     itself       body
/// timeout             0.000      0.000     30.000      0.000      0.000      5.000
///   limit            12.000      0.000     18.000      0.000      0.000      5.000
/// ```
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        writeln!(
            f,
            "{:16} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "ready", "before", "inner", "after", "itself", "body"
        )?;
        for (span, times) in &self.spans {
            let name = format!("{:indent$}{}", "", span.name, indent = 2 * self.depth(span));
            let Times { ready, before, inner, after, itself, body } = *times;
            let [ready, before, inner, after, itself, body] = [ready, before, inner, after, itself, body].map(millis);
            writeln!(f, "{name:16} {ready:10.3} {before:10.3} {inner:10.3} {after:10.3} {itself:10.3} {body:10.3}")?;
        }
        Ok(())
    }
}

impl Trace {
    /// The request as a waterfall, an SVG: grey waits to be ready, red is the layer's own time, pale red is what is inside it, blue
    /// is its body.
    pub fn to_svg(&self) -> String {
        let height = TOP + LINE * self.spans.len() as f64 + 10.0;
        let mut svg = Svg::new((NAMES + WIDE + 20.0) as u32, height as u32, &self.title());
        svg.text((8.0, 16.0), Anchor::Start, &self.title());
        let legend = [("ready", READY), ("itself", ITSELF), ("inner", INNER), ("body", BODY)];
        for (n, (word, colour)) in legend.into_iter().enumerate() {
            let x = NAMES + 70.0 * n as f64;
            svg.rect((x, 26.0), (10.0, 10.0), colour, word);
            svg.text((x + 14.0, 35.0), Anchor::Start, word);
        }
        let spans = || self.spans.iter().map(|(span, _)| span);
        let from = spans().map(|span| span.asked.min(span.called)).min().unwrap_or_default();
        let to = spans().map(|span| span.end.unwrap_or(self.now)).max().unwrap_or_default();
        let whole = to.saturating_sub(from).max(Duration::from_nanos(1)).as_secs_f64();
        let x = |time: Duration| NAMES + WIDE * time.saturating_sub(from).as_secs_f64() / whole;
        for (n, (span, times)) in self.spans.iter().enumerate() {
            let y = TOP + LINE * n as f64;
            svg.text((8.0 + 10.0 * self.depth(span) as f64, y + 14.0), Anchor::Start, span.name);
            let mut bar = |from: Duration, to: Duration, colour, word| {
                if to > from {
                    let told = format!("{} {word}: {:.3} ms from {:.3} ms", span.name, millis(to - from), millis(from));
                    svg.rect((x(from), y + 3.0), ((x(to) - x(from)).max(0.5), LINE - 8.0), colour, &told);
                }
            };
            let end = span.end.unwrap_or(self.now);
            let head = span.head.unwrap_or(end);
            bar(span.asked, span.ready, READY, "waits to be ready");
            bar(span.called, head, ITSELF, "itself");
            // What is inside covers what it takes; a gap between two tries stays the layer's own.
            for (child, _) in self.spans.iter().filter(|(child, _)| child.parent == Some(n)) {
                let until = child.head.or(child.end).unwrap_or(self.now).min(head);
                bar(child.asked.max(span.called), child.ready.min(head), READY, "waits for what is inside");
                bar(child.called, until, INNER, "inner");
            }
            bar(head, if times.body > Duration::ZERO { end } else { head }, BODY, "body");
        }
        svg.finish()
    }

    fn title(&self) -> String {
        let status = self.status.map_or("no status".to_owned(), |status| status.as_u16().to_string());
        format!("{} {} {status}, {:.3} ms", self.method, self.route, millis(self.age()))
    }

    fn depth(&self, span: &Span) -> usize {
        std::iter::successors(span.parent, |at| self.spans[*at].0.parent).count()
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
