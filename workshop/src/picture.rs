//! A scene as a picture: lanes side by side, virtual time downward, an arrow for what crosses between them.
//!
//! The picture stands inside a page of the book, so its colours are the variables of mdBook's themes, of which it takes those
//! that mdBook also sets for print. It is drawn for a phone: 360 wide, and what is said there is said in letters of 12.

use std::fmt::Write;

use spec::lab::SceneRecord;

const WIDTH: f32 = 360.0;
/// A letter of the events: of fixed width, so that a text is as wide as reckoned.
const LETTER: f32 = 7.25;
/// A letter of names and sentences, which is narrower than this on average.
const WORD_LETTER: f32 = 6.9;
/// From one event to the next: a line of text, and the mark under it.
const ROW: f32 = 29.0;
/// Between two moments, where the lanes are broken lines: time is not to scale.
const GAP: f32 = 13.0;
/// The most rows; a long middle is the same again and again.
const ROWS: usize = 28;
/// How many letters of quoted data are shown.
const QUOTED: usize = 22;

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
    let rows = shortened(joined(steps(scene, &lanes), &lanes));
    let page = Page::new(&rows, &lanes);
    let mut drawn = Drawn { y: page.head, ..Drawn::default() };
    let mut moment = None;
    for (index, row) in rows.iter().enumerate() {
        if row.mark != Mark::LeftOut && moment != Some(row.at_ms) {
            drawn.begin(&page, row.at_ms, moment.is_some());
            moment = Some(row.at_ms);
        }
        drawn.row(&page, row, failure.is_some() && index + 1 == rows.len());
    }
    drawn.lane_lines(&page, drawn.y + 6.0, "");
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
    let (solid, broken) = (&drawn.solid, &drawn.dashed);
    let _ = writeln!(svg, "<g style=\"stroke:var(--table-header-bg)\">\n<path d=\"{solid}\"/>");
    let _ = writeln!(svg, "<path stroke-dasharray=\"2 3\" d=\"{broken}\"/>\n</g>");
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
    let mut rows: Vec<Row> = Vec::new();
    for (index, event) in scene.events.iter().enumerate() {
        if scene.left_out > 0 && index == scene.events.len() / 2 {
            rows.push(Row::left_out(event.at_ms, scene.left_out));
        }
        let (owner, possession) = owner(&event.lane, &all);
        let lane = lanes.index(owner);
        let what = without_headers(&event.what, lane < lanes.app);
        let (mark, text) = match event.lane.as_str() {
            "log" => (Mark::Log, what),
            _ => crossing(what, lane, lanes.app),
        };
        let text = match possession {
            "" => with_short_quotes(text),
            thing => format!("{thing}: {}", with_short_quotes(text)),
        };
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

/// The text with its first quoted data cut short.
fn with_short_quotes(text: &str) -> String {
    let mut before = '"';
    let is_quote = |c: char| {
        let found = c == '"' && before != '\\';
        before = if before == '\\' { ' ' } else { c };
        found
    };
    let quotes: Vec<usize> = text.match_indices(is_quote).map(|(at, _)| at).take(2).collect();
    let [open, close] = quotes[..] else { return text.to_owned() };
    let (head, quoted, tail) = (&text[..open], &text[open + 1..close], &text[close + 1..]);
    format!("{head}\"{}\"{}", cut(quoted, QUOTED), tail.strip_prefix("...").unwrap_or(tail))
}

/// The text, or as much of it as so many letters hold.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// What a client gets of one answer at one moment is one arrow, where the words fit.
fn joined(rows: Vec<Row>, lanes: &Lanes) -> Vec<Row> {
    let room = ((WIDTH - time_column(&rows)) / LETTER) as usize;
    let mut joined: Vec<Row> = Vec::new();
    for row in rows {
        let text = row.times(&row.text);
        let one = joined.last_mut().filter(|last| {
            (last.at_ms, last.lane, last.mark) == (row.at_ms, row.lane, Mark::FromApp)
                && row.mark == Mark::FromApp
                && row.lane < lanes.app
                // What begins with a status is another answer.
                && !of_a_client(&format!("gets {}", row.text))
                && last.text.chars().count() + 2 + text.chars().count() <= room
        });
        match one {
            Some(last) => {
                last.text = format!("{}, {text}", last.text);
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
fn time_column(rows: &[Row]) -> f32 {
    let digits = rows.iter().map(|row| row.at_ms.to_string().len()).max().unwrap_or(0).max(2);
    digits as f32 * LETTER + 8.0
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
    fn new(rows: &[Row], lanes: &Lanes) -> Self {
        let left = time_column(rows);
        let lane = (WIDTH - left) / lanes.names.len() as f32;
        let xs = (0..lanes.names.len()).map(|index| (left + (index as f32 + 0.5) * lane).round()).collect();
        let widest = lanes.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let in_turns = widest as f32 * WORD_LETTER + 6.0 > lane;
        Self { left, xs, app: lanes.app, in_turns, head: if in_turns { 36.0 } else { 20.0 } }
    }

    /// The names of the lanes, and over the labels what they count.
    fn names(&self, lanes: &Lanes) -> String {
        let y = self.head - 7.0;
        let mut names = format!("<text y=\"{y}\">ms</text>\n<g font-weight=\"bold\" text-anchor=\"middle\">\n");
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
    /// Where the unfinished lines of the lanes begin.
    lanes_from: f32,
    solid: String,
    dashed: String,
    labels: String,
    rows: String,
    /// Where the last event ended.
    last: (f32, f32),
}

impl Drawn {
    /// Begins a moment.
    fn begin(&mut self, page: &Page, at_ms: u64, after_another: bool) {
        if after_another {
            self.lane_lines(page, self.y, "");
            self.y += GAP;
            self.lane_lines(page, self.y, "dashed");
        } else {
            self.lanes_from = self.y - 3.0;
        }
        let (x, y) = (page.left - 8.0, self.y + 12.0);
        let _ = writeln!(
            self.labels,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" style=\"font-family:var(--mono-font)\">{at_ms}</text>"
        );
    }

    /// Continues the lines of the lanes.
    fn lane_lines(&mut self, page: &Page, to: f32, dashed: &str) {
        let path = if dashed.is_empty() { &mut self.solid } else { &mut self.dashed };
        for x in &page.xs {
            let _ = write!(path, "M{x} {}V{to}", self.lanes_from);
        }
        self.lanes_from = to;
    }

    fn row(&mut self, page: &Page, row: &Row, fails: bool) {
        let text = cut(&row.text, ((WIDTH - page.left) / LETTER) as usize);
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
        }
        let _ = writeln!(
            self.rows,
            "<text x=\"{x}\" y=\"{baseline}\" text-anchor=\"middle\" style=\"font-family:var(--mono-font);fill:var(--fg);\
             stroke:var(--bg);stroke-width:4px;paint-order:stroke\">{}</text>\n</g>",
            escaped(&text)
        );
        self.last = (to, y);
        self.y += ROW;
    }
}

fn cross(x: f32, y: f32) -> String {
    let (left, top) = (x - 6.0, y - 6.0);
    format!(
        "<path d=\"M{left} {top}l12 12m0 -12l-12 12\" style=\"stroke:var(--blockquote-caution-color);stroke-width:3px\"/>"
    )
}

/// Writes what failed in a box that hangs on the last event, and returns where the picture ends.
fn failed(drawn: &mut Drawn, words: &str) -> f32 {
    const LINE: f32 = 17.0;
    let lines = textwrap::wrap(words, ((WIDTH - 44.0) / WORD_LETTER) as usize);
    let (x, y) = drawn.last;
    let (top, height) = (drawn.y + 10.0, lines.len() as f32 * LINE + 12.0);
    let _ = writeln!(drawn.rows, "<g style=\"stroke:var(--blockquote-caution-color);stroke-width:2px\">");
    let _ = writeln!(drawn.rows, "<path d=\"M{x} {}V{top}\"/>", y + 6.0);
    let (width, mut baseline) = (WIDTH - 2.0, top + 19.0);
    let _ = writeln!(
        drawn.rows,
        "<rect x=\"1\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"4\" style=\"fill:var(--bg)\"/>\n</g>"
    );
    let _ = writeln!(drawn.rows, "{}", cross(16.0, baseline - 4.0));
    drawn.rows.push_str("<g style=\"fill:var(--fg)\">\n");
    for line in &lines {
        let _ = writeln!(drawn.rows, "<text x=\"32\" y=\"{baseline}\">{}</text>", escaped(line));
        baseline += LINE;
    }
    drawn.rows.push_str("</g>\n");
    top + height + 2.0
}

/// The text as XML has it, on one line, and without what mdBook would take for an instruction.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '{' => escaped.push_str("&#123;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.extend(c.escape_debug()),
            c => escaped.push(c),
        }
    }
    escaped
}
