//! A scene as a picture: lanes side by side, virtual time downward, an arrow for what crosses between them.
//!
//! The picture stands inside a page of the book, so its colours are the variables of mdBook's themes, of which it takes those
//! that mdBook also sets for print. It is drawn for a phone: 360 wide, and what is said there is said in letters of 12.

use std::fmt::Write;

use lab::SceneRecord;

use crate::html::escaped;

const WIDTH: f32 = 360.0;
/// A letter of the events: of fixed width, so that a text is as wide as reckoned.
const LETTER: f32 = 7.25;
/// A letter of names and sentences, which is narrower than this on average.
const WORD_LETTER: f32 = 6.6;
/// From one event to the next: a line of text, and the mark under it.
const ROW: f32 = 29.0;
/// Between two moments, where dots take the place of the lanes: time is not to scale.
const GAP: f32 = 18.0;
/// The most rows; a long middle is the same again and again.
const ROWS: usize = 28;
/// The most letters of quoted data that are shown.
const QUOTED: usize = 32;

/// Both twins in the same scene, as a block of HTML without an empty line, which Markdown takes as it stands.
pub fn timelines(slug: &str, broken: &SceneRecord, failure: Option<&str>, fixed: &SceneRecord) -> String {
    let figure =
        |twin, picture| format!("<figure class=\"timeline\">\n<figcaption>{twin}</figcaption>\n{picture}</figure>\n");
    let broken = figure("broken", timeline(slug, "broken", broken, failure));
    let fixed = figure("fixed", timeline(slug, "fixed", fixed, None));
    format!("<div class=\"timelines\">\n{broken}{fixed}</div>\n")
}

/// The scene of a twin, `broken` or `fixed`, as SVG. `failure` is what was observed where a promise broke: it stands at the
/// end, joined to the last event.
pub fn timeline(slug: &str, twin: &str, scene: &SceneRecord, failure: Option<&str>) -> String {
    let lanes = Lanes::of(scene);
    let page = Page::new(time_column(scene), &lanes);
    let rows = shortened(joined(steps(scene, &lanes), &lanes, letters(page.left)));
    // The app's log may tell of it afterwards; what it tells of is the failure.
    let failing = rows.iter().rposition(|row| row.mark != Mark::Log).filter(|_| failure.is_some());
    let mut drawn = Drawn { y: page.head, ..Drawn::default() };
    let mut moment = None;
    for (index, row) in rows.iter().enumerate() {
        if row.mark != Mark::LeftOut && moment != Some(row.at_ms) {
            drawn.begin(&page, row.at_ms, moment.is_some());
            moment = Some(row.at_ms);
        }
        drawn.row(&page, row, failing == Some(index));
    }
    drawn.lanes(&page, drawn.y + 6.0);
    let end = match failure {
        Some(words) => failed(&mut drawn, words),
        None => drawn.y + 8.0,
    };

    let title = format!("{slug}, {twin}: {}", scene.title);
    let id = |part: &str| format!("{slug}-{twin}-{part}");
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {end}\" role=\"img\" aria-labelledby=\"{} {}\" \
         style=\"display:block;width:100%;max-width:480px;height:auto;fill:none;font:12px 'Open Sans',sans-serif\">",
        id("title"),
        id("desc"),
    );
    let _ = writeln!(svg, "<title id=\"{}\">{}</title>", id("title"), escaped(&title));
    let _ = writeln!(svg, "<desc id=\"{}\">{}</desc>", id("desc"), escaped(&told(&rows, failure)));
    let (lines, gaps) = (&drawn.lines, &drawn.gaps);
    let _ = writeln!(svg, "<path d=\"{lines}\" style=\"stroke:var(--table-header-bg);stroke-width:1.5px\"/>");
    let _ = writeln!(
        svg,
        "<path d=\"{gaps}\" style=\"stroke:var(--fg);stroke-width:2px;stroke-dasharray:0 4.5;stroke-linecap:round\"/>"
    );
    // The edge of a letter in the colour of the page keeps the lanes away from the words.
    let _ = writeln!(
        svg,
        "<g style=\"fill:var(--fg);stroke:var(--bg);stroke-width:4px;paint-order:stroke;stroke-linejoin:round\">"
    );
    svg.push_str(&page.names(&lanes));
    svg.push_str(&drawn.labels);
    svg.push_str("</g>\n");
    svg.push_str(&drawn.rows);
    svg.push_str("</svg>\n");
    svg
}

/// Who is seen: the clients at the left, the app, and at its right the parts that the specification supplies.
struct Lanes {
    names: Vec<String>,
    app: usize,
}

impl Lanes {
    fn of(scene: &SceneRecord) -> Self {
        let all: Vec<&str> = scene.events.iter().map(|event| event.lane.as_str()).collect();
        let (mut clients, mut parts) = (Vec::new(), Vec::new());
        for event in &scene.events {
            let owner = owner(&event.lane, &all).0;
            let is_client = owner == "client"
                || owner != event.lane
                || scene.events.iter().any(|event| event.lane == owner && of_a_client(&event.what));
            let side = if is_client { &mut clients } else { &mut parts };
            if owner != "app" && !side.contains(&owner) {
                side.push(owner);
            }
        }
        let app = clients.len();
        let names = clients.into_iter().chain(["app"]).chain(parts).map(str::to_owned).collect();
        Self { names, app }
    }

    /// The lane with this name.
    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or(self.app)
    }
}

/// In whose lane something is drawn, and what it is called there: the log and the server are the app's, `ada's file` is ada's.
fn owner<'a>(lane: &'a str, all: &[&str]) -> (&'a str, &'a str) {
    match lane.split_once("'s ") {
        _ if lane == "log" => ("app", ""),
        _ if lane == "server" => ("app", "server"),
        Some((owner, what)) if all.contains(&owner) => (owner, what),
        _ => (lane, ""),
    }
}

/// Whether only a client does this: `sends GET /`, `gets 200`. A part that is supplied sends and gets quoted data.
fn of_a_client(what: &str) -> bool {
    let sends = what.strip_prefix("sends ").map(|rest| rest.trim_start_matches('"'));
    let method =
        |rest: &str| rest.split_once(' ').is_some_and(|(word, _)| word.chars().all(|c| c.is_ascii_uppercase()));
    let status = what.strip_prefix("gets ").map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    sends.is_some_and(method)
        || status == Some(3)
        || what.starts_with("sends an ")
        || what.starts_with("gets no answer")
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    ToApp,
    FromApp,
    /// It crosses to nobody.
    Here,
    /// A line of the app's log.
    Log,
    /// It stands for what is not drawn.
    LeftOut,
}

/// One row of the picture.
struct Row {
    at_ms: u64,
    lane: usize,
    mark: Mark,
    text: String,
    /// The whole event, and the same without its headers.
    full: String,
    plain: String,
    /// How many equal events it stands for.
    times: usize,
}

impl Row {
    fn left_out(at_ms: u64, times: usize) -> Self {
        let text = format!("... {times} more");
        Self { at_ms, lane: 0, mark: Mark::LeftOut, full: text.clone(), plain: text.clone(), text, times }
    }

    fn times(&self, text: &str) -> String {
        if self.times > 1 && self.mark != Mark::LeftOut { format!("{text} × {}", self.times) } else { text.to_owned() }
    }
}

fn steps(scene: &SceneRecord, lanes: &Lanes) -> Vec<Row> {
    let all: Vec<&str> = scene.events.iter().map(|event| event.lane.as_str()).collect();
    let letters = letters(time_column(scene));
    let mut rows: Vec<Row> = Vec::new();
    for (index, event) in scene.events.iter().enumerate() {
        if scene.left_out > 0 && index == scene.events.len() / 2 {
            rows.push(Row::left_out(event.at_ms, scene.left_out));
        }
        let (owner, possession) = owner(&event.lane, &all);
        let lane = lanes.index(owner);
        let what = without_headers(&event.what, lane < lanes.app);
        let (mark, text) = match event.lane.as_str() {
            "log" => (Mark::Log, without_spans(what)),
            _ => {
                let (mark, text) = crossing(what, lane, lanes.app);
                (mark, text.to_owned())
            }
        };
        let text = match possession {
            "" => text,
            thing => format!("{thing}: {text}"),
        };
        let text = with_short_quotes(&text, letters);
        let full = format!("{} {}", event.lane, event.what);
        let plain = format!("{} {what}", event.lane);
        match rows.last_mut().filter(|last| last.at_ms == event.at_ms && last.full == full) {
            Some(last) => last.times += 1,
            None => rows.push(Row { at_ms: event.at_ms, lane, mark, text, full, plain, times: 1 }),
        }
    }
    rows
}

/// What a client sends or gets without the headers that the wire's lines have in parentheses.
fn without_headers(what: &str, of_client: bool) -> &str {
    match what.split_once(" (") {
        Some((before, _)) if of_client && !before.contains('"') => before,
        _ => what,
    }
}

/// Which way it goes, and what is left to say beside an arrow.
fn crossing(what: &str, lane: usize, app: usize) -> (Mark, &str) {
    if lane == app {
        return (Mark::Here, what);
    }
    let after = |verbs: &[&str]| verbs.iter().find_map(|verb| what.strip_prefix(verb));
    if let Some(rest) = after(&["sends "]) {
        return (Mark::ToApp, rest);
    }
    if let Some(rest) = after(&["gets ", "is asked for ", "is asked "]) {
        return (Mark::FromApp, rest);
    }
    match after(&["answers "]) {
        Some(rest) => (Mark::ToApp, rest),
        None if what == "ends" || what.starts_with("fails: ") => (Mark::ToApp, what),
        None => (Mark::Here, what),
    }
}

/// A line of the log with its level and without the spans around it.
fn without_spans(line: &str) -> String {
    let in_spans = |(_, rest): &(&str, &str)| rest.split(' ').next().is_some_and(|word| word.contains('{'));
    let spans = line.split_once(' ').filter(in_spans);
    let message = spans.and_then(|(level, rest)| Some((level, rest.rsplit_once("}: ")?.1)));
    message.map_or(line.to_owned(), |(level, message)| format!("{level} {message}"))
}

/// The text with its first quoted data cut short, so that all of it is not longer than so many letters, and without what it
/// was coded as.
fn with_short_quotes(text: &str, letters: usize) -> String {
    let mut before = '"';
    let is_quote = |c: char| {
        let found = c == '"' && before != '\\';
        before = if before == '\\' { ' ' } else { c };
        found
    };
    let quotes: Vec<usize> = text.match_indices(is_quote).map(|(at, _)| at).take(2).collect();
    let [open, close] = quotes[..] else { return text.to_owned() };
    let (head, quoted, tail) = (&text[..open], &text[open + 1..close], &text[close + 1..]);
    let tail = tail.strip_prefix("...").unwrap_or(tail);
    let tail = tail.split_once(", as ").map_or(tail, |(size, _)| size);
    let room = letters.saturating_sub(head.chars().count() + tail.chars().count() + 2);
    format!("{head}\"{}\"{tail}", cut(quoted, room.min(QUOTED)))
}

/// The text, or as much of it as so many letters hold.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    // Half a number would be another number.
    let words = kept.rfind(' ').filter(|&at| at > kept.len() / 2).map_or(kept.as_str(), |at| &kept[..at]);
    format!("{words}…")
}

/// What a client gets of one answer at one moment is one arrow, where the words fit.
fn joined(rows: Vec<Row>, lanes: &Lanes, letters: usize) -> Vec<Row> {
    let mut joined: Vec<Row> = Vec::new();
    for row in rows {
        let text = row.times(&row.text);
        let more = if text == "the end" { "end" } else { text.as_str() };
        let one = joined.last_mut().filter(|last| {
            (last.at_ms, last.lane, last.mark) == (row.at_ms, row.lane, Mark::FromApp)
                && row.mark == Mark::FromApp
                && row.lane < lanes.app
                // What begins with a status is another answer.
                && !of_a_client(&format!("gets {}", row.text))
                && last.text.chars().count() + 2 + more.chars().count() <= letters
        });
        match one {
            Some(last) => {
                last.text = format!("{}, {more}", last.text);
                last.full = format!("{}; {}", last.full, row.times(&row.full));
                last.plain = format!("{}; {}", last.plain, row.times(&row.plain));
            }
            None => joined.push(Row {
                text,
                full: row.times(&row.full),
                plain: row.times(&row.plain),
                times: if row.mark == Mark::LeftOut { row.times } else { 1 },
                ..row
            }),
        }
    }
    joined
}

/// As many rows as a picture holds: the beginning, which says what was asked, and the end, which says what came of it.
fn shortened(mut rows: Vec<Row>) -> Vec<Row> {
    if rows.len() > ROWS {
        let end = rows.split_off(rows.len() - ROWS / 2);
        let middle = rows.split_off(ROWS / 2 - 1);
        let left_out = middle.iter().map(|row| row.times).sum();
        rows.push(Row::left_out(middle[0].at_ms, left_out));
        rows.extend(end);
    }
    rows
}

/// The events in sentences, a moment each.
fn told(rows: &[Row], failure: Option<&str>) -> String {
    let mut told = String::new();
    for moment in rows.chunk_by(|a, b| a.at_ms == b.at_ms) {
        let events: Vec<&str> = moment.iter().map(|row| row.plain.as_str()).collect();
        let _ = write!(told, "At {} ms: {}. ", moment[0].at_ms, events.join("; "));
    }
    if let Some(failure) = failure {
        let _ = write!(told, "Here a promise is broken: {failure}.");
    }
    told.trim_end().to_owned()
}

/// How wide the labels of the moments are.
fn time_column(scene: &SceneRecord) -> f32 {
    let digits = scene.events.iter().map(|event| event.at_ms.to_string().len()).max().unwrap_or(0).max(3);
    digits as f32 * LETTER + 11.0
}

/// How many letters of an event fit beside the labels.
fn letters(time_column: f32) -> usize {
    ((WIDTH - time_column) / LETTER) as usize
}

/// Where the lanes are.
struct Page {
    left: f32,
    xs: Vec<f32>,
    app: usize,
    /// Whether the names are too wide to stand beside each other, and so take turns on two lines.
    in_turns: bool,
    head: f32,
}

impl Page {
    fn new(left: f32, lanes: &Lanes) -> Self {
        let lane = (WIDTH - left) / lanes.names.len() as f32;
        let xs = (0..lanes.names.len()).map(|index| (left + (index as f32 + 0.5) * lane).round()).collect();
        let widest = lanes.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let in_turns = widest as f32 * WORD_LETTER + 6.0 > lane;
        Self { left, xs, app: lanes.app, in_turns, head: if in_turns { 36.0 } else { 20.0 } }
    }

    /// The names of the lanes, and over the labels what they count.
    fn names(&self, lanes: &Lanes) -> String {
        let y = self.head - 7.0;
        let mut names = format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">ms</text>\n<g font-weight=\"bold\" text-anchor=\"middle\">\n",
            self.left - 11.0
        );
        let lines = if self.in_turns { 2 } else { 1 };
        let room = lines as f32 * (WIDTH - self.left) / self.xs.len() as f32;
        for (index, (name, x)) in lanes.names.iter().zip(&self.xs).enumerate() {
            let name = cut(name, (room / WORD_LETTER) as usize);
            let half = name.chars().count() as f32 * WORD_LETTER / 2.0;
            let x = x.clamp(half, WIDTH - half);
            let y = if self.in_turns && index % 2 == 0 { y - 16.0 } else { y };
            let _ = writeln!(names, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(&name));
        }
        names.push_str("</g>\n");
        names
    }
}

/// What has been drawn, down to `y`.
#[derive(Default)]
struct Drawn {
    y: f32,
    /// Where the moment begins.
    moment: f32,
    lines: String,
    gaps: String,
    labels: String,
    rows: String,
    /// Where the event ended with which it failed.
    failing: Option<(f32, f32)>,
}

impl Drawn {
    /// Begins a moment.
    fn begin(&mut self, page: &Page, at_ms: u64, after_another: bool) {
        if after_another {
            self.lanes(page, self.y);
            self.y += GAP;
            for x in &page.xs {
                let _ = write!(self.gaps, "M{x} {}v9.1", self.y - GAP + 4.5);
            }
        }
        self.moment = self.y;
        let (x, y) = (page.left - 11.0, self.y + 12.0);
        let _ = writeln!(
            self.labels,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" style=\"font-family:var(--mono-font)\">{at_ms}</text>"
        );
    }

    /// Ends the lines of the lanes in this moment.
    fn lanes(&mut self, page: &Page, to: f32) {
        for x in &page.xs {
            let _ = write!(self.lines, "M{x} {}V{to}", self.moment);
        }
    }

    fn row(&mut self, page: &Page, row: &Row, fails: bool) {
        let text = cut(&row.text, letters(page.left));
        let half = text.chars().count() as f32 * LETTER / 2.0;
        let (own, app) = (page.xs[row.lane], page.xs[page.app]);
        let (from, to) = match row.mark {
            Mark::ToApp => (own, app),
            Mark::FromApp => (app, own),
            Mark::Here | Mark::Log => (own, own),
            Mark::LeftOut => ((page.left + WIDTH) / 2.0, (page.left + WIDTH) / 2.0),
        };
        let (x, baseline, y) =
            (f32::midpoint(from, to).clamp(page.left + half, WIDTH - half), self.y + 12.0, self.y + 21.0);
        let _ = writeln!(self.rows, "<g>\n<title>{}</title>", escaped(&format!("{} ms: {}", row.at_ms, row.full)));
        let mark = match row.mark {
            Mark::ToApp | Mark::FromApp => {
                let back = if to > from { -6.0 } else { 6.0 };
                format!("M{from} {y}H{to}m{back} -4L{to} {y}l{back} 4")
            }
            Mark::Here => format!("M{} {y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", own - 3.0),
            Mark::Log => format!("M{} {}h6v6h-6z", own - 3.0, y - 3.0),
            Mark::LeftOut => String::new(),
        };
        if !mark.is_empty() {
            let paint = match row.mark {
                Mark::ToApp | Mark::FromApp => "stroke:var(--blockquote-note-color);stroke-width:1.5px",
                _ => "fill:var(--fg)",
            };
            let _ = writeln!(self.rows, "<path d=\"{mark}\" style=\"{paint}\"/>");
        }
        if fails {
            let _ = writeln!(self.rows, "{}", cross(to, y));
            self.failing = Some((to, y));
        }
        let _ = writeln!(
            self.rows,
            "<text x=\"{x}\" y=\"{baseline}\" text-anchor=\"middle\" style=\"font-family:var(--mono-font);fill:var(--fg);\
             stroke:var(--bg);stroke-width:4px;paint-order:stroke\">{}</text>\n</g>",
            escaped(&text)
        );
        self.y += ROW;
    }
}

fn cross(x: f32, y: f32) -> String {
    let (left, top) = (x - 6.0, y - 6.0);
    format!(
        "<path d=\"M{left} {top}l12 12m0 -12l-12 12\" style=\"stroke:var(--blockquote-caution-color);stroke-width:3px\"/>"
    )
}

/// Writes what failed in a box that hangs on the event with which it did, and returns where the picture ends.
fn failed(drawn: &mut Drawn, words: &str) -> f32 {
    const LINE: f32 = 17.0;
    // A number and its unit stay together.
    let words = words.replace(" ms", "\u{a0}ms");
    let lines = textwrap::wrap(&words, ((WIDTH - 38.0) / WORD_LETTER) as usize);
    let (top, width, height) = (drawn.y + 10.0, WIDTH - 2.0, lines.len() as f32 * LINE + 12.0);
    let colour = "stroke:var(--blockquote-caution-color);stroke-width:2px";
    if let Some((x, y)) = drawn.failing {
        // Under the words of the events between.
        drawn.rows.insert_str(0, &format!("<path d=\"M{x} {y}V{top}\" style=\"{colour}\"/>\n"));
    }
    let _ = writeln!(
        drawn.rows,
        "<rect x=\"1\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"4\" style=\"fill:var(--bg);{colour}\"/>"
    );
    let mut baseline = top + 19.0;
    let _ = writeln!(drawn.rows, "{}\n<g style=\"fill:var(--fg)\">", cross(15.0, baseline - 4.0));
    for line in &lines {
        let _ = writeln!(drawn.rows, "<text x=\"30\" y=\"{baseline}\">{}</text>", escaped(line));
        baseline += LINE;
    }
    drawn.rows.push_str("</g>\n");
    top + height + 2.0
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use lab::Event;
    use roxmltree::{Document, Node};

    use super::*;

    fn scene(events: &[(u64, &str, &str)]) -> SceneRecord {
        let event =
            |&(at_ms, lane, what): &(u64, &str, &str)| Event { at_ms, lane: lane.to_owned(), what: what.to_owned() };
        SceneRecord { title: "HTTP/1.1".to_owned(), events: events.iter().map(event).collect(), left_out: 0 }
    }

    fn example() -> SceneRecord {
        scene(&[
            (0, "client", "sends GET /orders (authorization: Bearer ada)"),
            (0, "log", "INFO request{id=1 route=/{name}}: asking user=ada"),
            (0, "bank", "is asked POST /orders (no budget)"),
            (0, "client's file", "sends \"letters\""),
            (70, "bank", "answers 200"),
            (70, "audit", "gets \"ada\", 200"),
            (900, "client", "gets 200 (content-length: 3, x-user: bob)"),
            (900, "client", "gets \"boo\""),
            (900, "client", "gets the end"),
            (901, "client", "leaves"),
            (901, "server", "closes the connection of client"),
        ])
    }

    fn texts<'a>(node: Node<'a, 'a>) -> Vec<&'a str> {
        node.descendants().filter(|node| node.has_tag_name("text")).filter_map(|node| node.text()).collect()
    }

    /// The names of the lanes with where they are.
    fn lanes<'a>(picture: &'a Document<'a>) -> Vec<(&'a str, &'a str)> {
        let names = picture.descendants().find(|node| node.attribute("font-weight") == Some("bold")).expect("names");
        let names = names.children().filter(Node::is_element);
        names.map(|name| (name.attribute("x").expect("a place"), name.text().expect("a name"))).collect()
    }

    /// What each event says, where its arrow begins and, for an arrow, where it ends.
    fn rows<'a>(picture: &'a Document<'a>) -> Vec<(&'a str, &'a str, &'a str)> {
        let lane = |x: &str| lanes(picture).into_iter().find(|(at, _)| *at == x).map_or("", |(_, name)| name);
        let events = picture.descendants().filter(|node| {
            node.has_tag_name("g") && node.first_element_child().is_some_and(|child| child.has_tag_name("title"))
        });
        let row = |event: Node<'a, 'a>| {
            let path = event.children().find(|child| child.has_tag_name("path")).and_then(|path| path.attribute("d"));
            let arrow = path.and_then(|path| path.strip_prefix('M')?.split_once('m')).map(|(line, _)| line);
            let ends = arrow.and_then(|line| Some((line.split(' ').next()?, line.split_once('H')?.1)));
            let (from, to) = ends.unwrap_or_default();
            (texts(event)[0], lane(from), lane(to))
        };
        events.map(row).collect()
    }

    #[test]
    fn whatever_was_said_the_picture_is_one_well_formed_block() {
        let mut odd = example();
        odd.title = "a < b & \"c\"".to_owned();
        odd.left_out = 7;
        for what in ["sends GET /<&>", "a\n\n\u{7}b\u{ffff}", "{{#include x}}", "", "\"", "sends \"\\\"\"", "\u{301}→"]
        {
            odd.events.push(Event { at_ms: 5, lane: "<&>'s".to_owned(), what: what.to_owned() });
        }
        let html = timelines("a-ghost", &odd, Some("expected <a> & \n\n got ]]>"), &odd);
        let parsed = Document::parse(&html).expect("well-formed");
        assert!(html.lines().all(|line| !line.trim().is_empty()), "{html}");
        assert!(!html.contains("{{"), "{html}");

        let ids: Vec<&str> = parsed.descendants().filter_map(|node| node.attribute("id")).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.starts_with("a-ghost-")), "{ids:?}");
        let named = parsed.descendants().filter_map(|node| node.attribute("aria-labelledby"));
        assert_eq!(named.flat_map(|names| names.split(' ')).collect::<Vec<_>>(), ids);
    }

    #[test]
    fn a_scene_without_events_is_drawn() {
        let svg = timeline("a-ghost", "broken", &scene(&[]), Some("the app did not yield"));
        assert_eq!(texts(Document::parse(&svg).unwrap().root()), ["ms", "app", "the app did not yield"]);
    }

    #[test]
    fn clients_are_left_of_the_app_and_parts_right() {
        let svg = timeline("a-ghost", "broken", &example(), None);
        let parsed = Document::parse(&svg).unwrap();
        let names: Vec<&str> = lanes(&parsed).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["client", "app", "bank", "audit"]);
    }

    #[test]
    fn an_arrow_goes_where_the_event_crosses() {
        let svg = timeline("a-ghost", "broken", &example(), None);
        let expected = [
            ("GET /orders", "client", "app"),
            ("INFO asking user=ada", "", ""),
            ("POST /orders (no budget)", "app", "bank"),
            ("file: \"letters\"", "client", "app"),
            ("200", "bank", "app"),
            ("\"ada\", 200", "app", "audit"),
            ("200, \"boo\", end", "app", "client"),
            ("leaves", "", ""),
            ("server: closes the connection of client", "", ""),
        ];
        assert_eq!(rows(&Document::parse(&svg).unwrap()), expected);
    }

    #[test]
    fn each_moment_is_labelled_once() {
        let svg = timeline("a-ghost", "broken", &example(), None);
        let parsed = Document::parse(&svg).unwrap();
        let labels = parsed.descendants().filter(|node| node.attribute("text-anchor") == Some("end"));
        assert_eq!(labels.filter_map(|node| node.text()).collect::<Vec<_>>(), ["ms", "0", "70", "900", "901"]);
    }

    #[test]
    fn what_is_not_drawn_can_be_read_in_a_title() {
        let svg = timeline("a-ghost", "broken", &example(), None);
        assert!(svg.contains("<title>0 ms: client sends GET /orders (authorization: Bearer ada)</title>"), "{svg}");
    }

    #[test]
    fn the_failure_is_crossed_out_and_told_and_the_fixed_twin_has_none() {
        let words = "expected 500 for the request that panicked, got 200 with an empty body after 1000 ms";
        let html = timelines("a-ghost", &example(), Some(words), &example());
        let parsed = Document::parse(&html).unwrap();
        let figures: Vec<Node> = parsed.descendants().filter(|node| node.has_tag_name("figure")).collect();
        let crosses = |figure: &Node| figure.descendants().filter(|node| is_cross(*node)).count();
        assert_eq!(figures.iter().map(crosses).collect::<Vec<_>>(), [2, 0]);
        assert!(texts(figures[0]).join(" ").replace('\u{a0}', " ").ends_with(words), "{html}");
        let told =
            figures[0].descendants().find(|node| node.has_tag_name("desc")).and_then(|node| node.text()).unwrap();
        assert!(told.starts_with("At 0 ms: client sends GET /orders; log INFO"), "{told}");
        assert!(told.ends_with(&format!("Here a promise is broken: {words}.")), "{told}");
    }

    fn is_cross(node: Node) -> bool {
        node.attribute("d").is_some_and(|path| path.ends_with("l12 12m0 -12l-12 12"))
    }

    #[test]
    fn a_line_of_the_log_is_not_the_failure() {
        let scene = scene(&[(0, "ledger", "charges 7"), (0, "log", "INFO charged"), (0, "log", "INFO done")]);
        let svg = timeline("a-ghost", "broken", &scene, Some("it was charged"));
        let parsed = Document::parse(&svg).unwrap();
        let cross = parsed.descendants().find(|node| is_cross(*node)).unwrap();
        assert_eq!(texts(cross.parent().unwrap()), ["charges 7"]);
    }

    #[test]
    fn equal_events_of_a_moment_are_one() {
        let again = (0, "audit", "gets slot 0");
        let svg = timeline("a-ghost", "broken", &scene(&[again, again, again, (1, "audit", "gets slot 0")]), None);
        let parsed = Document::parse(&svg).unwrap();
        assert_eq!(rows(&parsed).iter().map(|row| row.0).collect::<Vec<_>>(), ["slot 0 × 3", "slot 0"]);
    }

    #[test]
    fn a_long_scene_keeps_its_beginning_and_its_end() {
        let events: Vec<(u64, String)> = (0..500).map(|at| (at, format!("sends GET /{at}"))).collect();
        let events: Vec<_> = events.iter().map(|(at, what)| (*at, "client", what.as_str())).collect();
        let mut long = scene(&events);
        long.left_out = 1000;
        let svg = timeline("a-ghost", "broken", &long, None);
        let parsed = Document::parse(&svg).unwrap();
        let rows = rows(&parsed);
        assert_eq!((rows.len(), rows[0].0, rows[ROWS - 1].0), (ROWS, "GET /0", "GET /499"));
        assert_eq!(rows[ROWS / 2 - 1].0, format!("... {} more", 1500 - (ROWS - 1)));
    }

    #[test]
    fn nothing_is_wider_than_the_page() {
        let long = "sends GET /".to_owned() + &"long/".repeat(40);
        let quoted = format!("gets \"{}\"... (634 bytes), as 12 bytes of gzip", "event ".repeat(8));
        let name = "a part with quite a long name";
        let scene = scene(&[(3_600_000, "client", &long), (3_600_000, name, &quoted), (3_600_001, "last", "leaves")]);
        let svg = timeline("a-ghost", "broken", &scene, None);
        let parsed = Document::parse(&svg).unwrap();
        for text in parsed.descendants().filter(|node| node.attribute("text-anchor") == Some("middle")) {
            let Some(x) = text.attribute("x").and_then(|x| x.parse::<f32>().ok()) else { continue };
            let half = text.text().unwrap().chars().count() as f32 * WORD_LETTER / 2.0;
            assert!(x - half >= 0.0 && x + half <= WIDTH, "{text:?}");
        }
        assert!(svg.contains("(634 bytes)</text>"), "{svg}");
    }
}
