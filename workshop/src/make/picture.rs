//! A scene as a picture: the broken twin beside the fixed one, virtual time downward, and in the middle lane of each what is
//! hidden.
//!
//! Both are drawn with the same rows, so that they can be read across, and what is equal on both sides is grey. The failure is
//! marked twice: where it happens, in the hidden lane, and where a user or an operator first sees it. Colours are those of
//! `book/css/pictures.css`, where each theme of mdBook has its own. It is drawn for half a page, and for a telephone.

use std::{borrow::Cow, fmt::Write};

use lab::SceneRecord;

use super::{
    marks::Mark,
    storyboard::{Line, Place, Shown, Side, Storyboard, Told, Tone, Words, aligned},
};
use crate::html::escaped;

const WIDTH: f32 = 390.0;
/// Where the lanes of the client's side and of the supplied parts are.
const LEFT: f32 = 48.0;
const RIGHT: f32 = 384.0;
/// A letter, on average and rather too wide.
const LETTER: f32 = 6.3;
const LINE: f32 = 15.0;
/// From one event to the next: a line of text, and the arrow under it.
const ROW: f32 = 30.0;
/// Where the arrow of a row is.
const ARROW: f32 = 20.0;
/// From one line to the next of what a cell holds.
const HELD: f32 = 13.0;
const HEAD: f32 = 22.0;
const CONTROL: f32 = 20.0;
/// What a long wait adds to the height of its row.
const BREAK: f32 = 22.0;
/// A wait is long that is so many times as long as the shortest.
const LONG: u64 = 10;
/// A scene that is shorter is told in milliseconds.
const SHORT: u64 = 1000;
/// From the border of a frame to its words.
const PAD: f32 = 4.0;

/// A picture, before it is drawn.
pub(crate) struct Scenes<'a> {
    pub(crate) slug: &'a str,
    pub(crate) story: &'a Storyboard,
    pub(crate) words: &'a Words,
    pub(crate) broken: &'a SceneRecord,
    pub(crate) fixed: &'a SceneRecord,
    /// What was observed where the promise broke.
    pub(crate) failure: &'a str,
    /// The marks in the source of the broken twin, and of the fixed one.
    pub(crate) marks: [&'a [Mark]; 2],
}

/// Both twins in the same scene, as a block of HTML without an empty line, which Markdown takes as it stands.
///
/// # Errors
/// What the storyboard has not said, or what does not fit.
pub(crate) fn timelines(scenes: &Scenes<'_>) -> Result<String, String> {
    let Scenes { slug, story, words, .. } = scenes;
    let broken = story.told(slug, words, Side::Broken, scenes.broken)?;
    let fixed = story.told(slug, words, Side::Fixed, scenes.fixed)?;
    let rows = aligned(&broken.lines, &fixed.lines);
    let named = rows.iter().flatten().flatten().any(|line| line.at.is_some());
    let page =
        Page { rows: &rows, waits: waits(&rows), control: broken.control || fixed.control, band: story.band, named };
    let mut html = format!(
        "<div class=\"timelines\" data-words=\"{}\">\n<p class=\"timeline-title\">{}</p>\n",
        ["previous", "next", "all", "step"]
            .map(|word| words.get(slug, word).map(|words| escaped(words).replace('"', "&quot;")))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?
            .join("|"),
        escaped(words.get(slug, "scene")?)
    );
    let mut drawn = String::new();
    for (side, told, beside) in [(Side::Broken, &broken, &fixed), (Side::Fixed, &fixed, &broken)] {
        let caption = escaped(words.get(slug, side.name())?);
        let picture = page.side(scenes, side, told, beside)?;
        let _ = write!(
            drawn,
            "<figure class=\"timeline\">\n<figcaption>{caption}</figcaption>\n{picture}{}</figure>\n",
            page.code(scenes, side)?
        );
    }
    html.push_str(&legend(slug, words, &drawn)?);
    html.push_str(&drawn);
    let source = escaped(words.get(slug, "source")?);
    let _ = write!(html, "<p class=\"timeline-key\">{source}</p>\n</div>\n");
    Ok(html)
}

/// What the colours and lines say that are in the picture.
fn legend(slug: &str, words: &Words, drawn: &str) -> Result<String, String> {
    let mut legend = format!("<p class=\"timeline-key\">{}", escaped(words.get(slug, "key")?));
    for (kind, sign) in [
        ("same", ""),
        ("flow", ""),
        ("plain", "\"state plain"),
        ("bad", "\"state bad"),
        ("good", "\"state good"),
        ("empty", "\"state empty"),
        ("through", "\"through\""),
        ("note", "\"note\""),
        ("absent", " absent\""),
        ("break", "\"break\""),
    ] {
        if drawn.contains(sign) {
            let said = escaped(words.get(slug, &format!("key-{kind}"))?);
            let _ = write!(legend, "\n<span class=\"sample\"><i class=\"{kind}\"></i>{said}</span>");
        }
    }
    for name in ["key-arrow", "key-rows"] {
        let _ = write!(legend, "\n{}", escaped(words.get(slug, name)?));
    }
    legend.push_str("</p>\n");
    Ok(legend)
}

/// How long the wait before each row is, where it is so long that it has to be cut short.
fn waits(rows: &[[Option<Line>; 2]]) -> Vec<Option<u64>> {
    let moments = |row: &[Option<Line>; 2]| row.iter().flatten().next().map_or(0, |line| line.at_ms);
    let exact = if rows.iter().map(moments).max() < Some(SHORT) { 1 } else { 10 };
    // As exact as it is printed: what happens at one moment for a reader waits for nothing.
    let at = |row: &[Option<Line>; 2]| (moments(row) + exact / 2) / exact * exact;
    let waits: Vec<u64> = rows.windows(2).map(|pair| at(&pair[1]).saturating_sub(at(&pair[0]))).collect();
    let shortest = waits.iter().copied().filter(|wait| *wait > 0).min().unwrap_or(0);
    let long = |wait: u64| (wait > 0 && wait >= LONG * shortest).then_some(wait);
    rows.first().map(|_| None).into_iter().chain(waits.into_iter().map(long)).collect()
}

/// What both sides have in common.
struct Page<'a> {
    rows: &'a [[Option<Line>; 2]],
    /// The waits before the rows that are cut short.
    waits: Vec<Option<u64>>,
    control: bool,
    band: f32,
    /// Whether the lane of the supplied parts is that of several, which are named where they have to do with something.
    named: bool,
}

impl Page<'_> {
    fn x(place: Place) -> f32 {
        match place {
            Place::Left => LEFT,
            Place::Hidden => f32::midpoint(LEFT, RIGHT),
            Place::Right => RIGHT,
        }
    }

    /// From where to where words at this side of the hidden lane may reach.
    fn gap(&self, place: Place) -> (f32, f32) {
        let middle = Self::x(Place::Hidden);
        match place {
            Place::Left => (LEFT, middle - self.band / 2.0),
            Place::Right => (middle + self.band / 2.0, RIGHT),
            Place::Hidden => (middle - self.band / 2.0, middle + self.band / 2.0),
        }
    }

    fn top(&self) -> f32 {
        HEAD + if self.control { CONTROL } else { 0.0 }
    }

    fn bottom(&self) -> f32 {
        self.edge(self.rows.len() + 1)
    }

    /// A side of the picture, as SVG.
    fn side(&self, scenes: &Scenes<'_>, side: Side, told: &Told, beside: &Told) -> Result<String, String> {
        let Scenes { slug, words, .. } = scenes;
        let other = if side == Side::Broken { 1 } else { 0 };
        let own = 1 - other;
        let verdict = words.get(slug, if side == Side::Broken { "verdict-broken" } else { "verdict-fixed" })?;
        let mut body = self.frame(slug, words)?;
        let states = self.states(own, told);
        let others = self.states(other, beside);
        let mut moment = None;
        for index in 0..=self.rows.len() {
            let row = index.checked_sub(1).map(|index| &self.rows[index]);
            let line = row.and_then(|row| row[own].as_ref());
            let twin = row.and_then(|row| row[other].as_ref());
            let _ = writeln!(body, "<g class=\"step\" data-row=\"{}\">", index.saturating_sub(1));
            body.push_str(&self.state(&states, &others, index));
            // A time without an event would be a riddle: where nothing happens on this side, it stands on the other only.
            if let Some(line) = line {
                let label = time(line.at_ms, self.last());
                if moment.as_ref() != Some(&label) {
                    let y = self.edge(index) - 6.0;
                    let _ =
                        writeln!(body, "<text class=\"time\" x=\"36\" y=\"{y}\" text-anchor=\"end\">{label}</text>");
                    moment = Some(label);
                }
            }
            if let Some(wait) = index.checked_sub(1).and_then(|index| self.waits[index]) {
                let said = line.is_some().then_some(wait);
                body.push_str(&self.torn(slug, words, said, self.edge(index))?);
            }
            if let Some(line) = line {
                let equal = twin.is_some_and(|twin| {
                    (&line.label, &line.at, line.from, line.to, line.beside)
                        == (&twin.label, &twin.at, twin.from, twin.to, twin.beside)
                });
                let class = if equal { " same" } else { "" };
                let y = self.edge(index);
                let _ = write!(body, "<g class=\"event{class}\">\n{}</g>\n", self.event(slug, line, y)?);
            }
            body.push_str("</g>\n");
        }
        // The words of a state reach over several rows, and so stand over all of them.
        for index in 0..=self.rows.len() {
            let held = self.held(slug, &states, &others, index)?;
            if !held.is_empty() {
                let _ = write!(body, "<g class=\"step\" data-row=\"{}\">\n{held}</g>\n", index.saturating_sub(1));
            }
        }
        for (index, [broken, _]) in self.rows.iter().enumerate() {
            if let Some(line) = broken.as_ref().filter(|line| side == Side::Broken && (line.fault || line.noticed)) {
                let marks = self.marks(line, &states, index);
                let _ = write!(body, "<g class=\"step\" data-row=\"{index}\">\n{marks}</g>\n");
            }
        }
        let (box_, end) = boxed(side, verdict, self.bottom() + 12.0, self.rows.len().saturating_sub(1));
        body.push_str(&box_);

        let scene = if side == Side::Broken { scenes.broken } else { scenes.fixed };
        let id = |part: &str| format!("{slug}-{}-{part}", side.name());
        let title = format!("{}, {}: {}", words.get(slug, "title")?, words.get(slug, side.name())?, scene.title);
        let desc = self.in_sentences(scenes, side, told)?;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {end}\" role=\"img\" aria-labelledby=\"{} {}\">\n",
            id("title"),
            id("desc")
        );
        let _ = writeln!(svg, "<title id=\"{}\">{}</title>", id("title"), escaped(&title));
        let _ = writeln!(svg, "<desc id=\"{}\">{}</desc>", id("desc"), escaped(&desc));
        svg.push_str(&body);
        svg.push_str("</svg>\n");
        Ok(svg)
    }

    /// The lines of code that run at the steps of a side, where the source has a mark of that name.
    fn code(&self, scenes: &Scenes<'_>, side: Side) -> Result<String, String> {
        let (own, marks) = if side == Side::Broken { (0, scenes.marks[0]) } else { (1, scenes.marks[1]) };
        let words = |name: &str| scenes.words.get(scenes.slug, name);
        let mut shown: Vec<&str> = Vec::new();
        let mut code = String::new();
        for (row, line) in self.rows.iter().enumerate().filter_map(|(row, sides)| Some((row, sides[own].as_ref()?))) {
            let pieces: Vec<String> = marks
                .iter()
                .filter(|mark| mark.name == line.step && !shown.contains(&&*line.step))
                .map(|mark| escaped_lines(&mark.code))
                .collect();
            if pieces.is_empty() {
                continue;
            }
            shown.push(&line.step);
            // The words at the arrow, in quotation marks, and whose they are: they are found in the picture by both.
            let whose = match line.outer() {
                Some(_) if line.at.is_some() => line.at.as_deref().unwrap_or_default(),
                Some(Place::Left) => words("lane-left")?,
                Some(Place::Right) => words("lane-right")?,
                _ => "",
            };
            let label = match whose {
                "" => line.label.clone(),
                whose => format!("{whose}, “{}”", line.label),
            };
            let sign: String = [(line.fault, " ❶"), (line.noticed, " ❷")]
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, sign)| *sign)
                .collect();
            let _ = write!(
                code,
                "<li class=\"step\" data-row=\"{row}\">{}{sign}\n<code class=\"language-rust\">{}</code></li>\n",
                escaped(&label),
                pieces.join("\n")
            );
        }
        if code.is_empty() {
            return Ok(code);
        }
        let head = escaped(words("code")?);
        Ok(format!("<div class=\"timeline-code\">{head}\n<ul>\n{code}</ul>\n</div>\n"))
    }

    /// The last moment that is drawn.
    fn last(&self) -> u64 {
        self.rows.iter().flatten().flatten().map(|line| line.at_ms).max().unwrap_or(0)
    }

    /// The most that a cell holds on any side.
    fn most(&self) -> u64 {
        self.rows
            .iter()
            .flatten()
            .flatten()
            .flat_map(|line| &line.state)
            .filter_map(|shown| shown.amount)
            .max()
            .unwrap_or(1)
    }

    /// What the cells of a side show from the beginning, and from each row on.
    fn states(&self, side: usize, told: &Told) -> Vec<Vec<Shown>> {
        let mut states = vec![told.first.clone()];
        for row in self.rows {
            let state = row[side].as_ref().map_or_else(|| states[states.len() - 1].clone(), |line| line.state.clone());
            states.push(state);
        }
        states
    }

    /// Where the state begins that holds after so many rows.
    fn edge(&self, rows: usize) -> f32 {
        let long = self.waits.iter().take(rows).flatten().count();
        if rows == 0 { self.top() } else { self.top() + (rows - 1) as f32 * ROW + ARROW + long as f32 * BREAK }
    }

    /// The part of the cells that is between a row and the next.
    fn state(&self, states: &[Vec<Shown>], others: &[Vec<Shown>], index: usize) -> String {
        let (top, bottom) = (self.edge(index), self.edge(index + 1));
        let mut drawn = String::new();
        for (number, shown) in states[index].iter().enumerate().filter(|(_, shown)| !shown.text.is_empty()) {
            let stay = Stay::of(states, number, index);
            let (x, width) = self.cell(states[index].len(), number);
            let share = shown.amount.map_or(1.0, |amount| amount as f32 / self.most() as f32);
            let (from, to) = (x - width * share / 2.0, x + width * share / 2.0);
            let (begins, ends) = (stay.first == index, stay.end == index + 1);
            // A hair's breadth over the next part, or a seam would show.
            let (top, bottom) = (if begins { top + 1.0 } else { top }, if ends { bottom - 1.0 } else { bottom + 0.5 });
            let mut edge = format!("M{from} {top}V{bottom}M{to} {top}V{bottom}");
            for y in [begins.then_some(top), ends.then_some(bottom)].into_iter().flatten() {
                let _ = write!(edge, "M{from} {y}H{to}");
            }
            let _ = write!(
                drawn,
                "<g class=\"state {}\">\n\
                 <rect x=\"{from}\" y=\"{top}\" width=\"{}\" height=\"{}\"/>\n<path d=\"{edge}\"/>\n</g>\n",
                class(shown, begins_alike(states, others, number, stay.first)),
                to - from,
                bottom - top
            );
        }
        drawn
    }

    /// The words of the states that begin after so many rows.
    fn held(&self, slug: &str, states: &[Vec<Shown>], others: &[Vec<Shown>], index: usize) -> Result<String, String> {
        let mut held = String::new();
        for (number, shown) in states[index].iter().enumerate().filter(|(_, shown)| !shown.text.is_empty()) {
            let stay = Stay::of(states, number, index);
            if stay.first < index {
                continue;
            }
            let (x, width) = self.cell(states[index].len(), number);
            let (top, bottom) = (self.edge(index), self.edge(stay.end));
            let letters = (width / LETTER) as usize;
            let (lines, first) = self.words(states, number, index);
            if lines.len() as f32 * HELD + 2.0 > bottom - top || lines.iter().any(|line| line.chars().count() > letters)
            {
                let rows = stay.end - index;
                return Err(format!("{slug}: \"{}\" does not fit into {letters} letters and {rows} rows", shown.text));
            }
            let alike = begins_alike(states, others, number, stay.first);
            let _ = writeln!(held, "<g class=\"held {}\">", class(shown, alike));
            for (number, line) in lines.iter().enumerate() {
                let y = first + number as f32 * HELD;
                let _ = writeln!(held, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", escaped(line));
            }
            held.push_str("</g>\n");
        }
        Ok(held)
    }

    /// The words of a state that begins after so many rows, in lines, and where the first of them stands.
    fn words<'a>(&self, states: &'a [Vec<Shown>], number: usize, index: usize) -> (Vec<Cow<'a, str>>, f32) {
        let (_, width) = self.cell(states[index].len(), number);
        let (top, bottom) = (self.edge(index), self.edge(Stay::of(states, number, index).end));
        let lines = textwrap::wrap(&states[index][number].text, (width / LETTER) as usize);
        let free = bottom - top - lines.len() as f32 * HELD;
        // Several lines begin at the top, or an arrow that passes the cell would go through the second.
        let first = top
            + match lines.len() {
                1 if free > HELD => 19.0,
                1 => 13.0 + (free / 2.0).clamp(0.0, 3.0),
                _ => 12.0,
            };
        (lines, first)
    }

    /// Where the middle of a cell is, of so many, and how wide it is.
    fn cell(&self, cells: usize, number: usize) -> (f32, f32) {
        let (left, right) = self.gap(Place::Hidden);
        let width = (right - left) / cells as f32;
        (left + (number as f32 + 0.5) * width, width - 6.0)
    }

    /// The lanes, their names, and that the control went well.
    fn frame(&self, slug: &str, words: &Words) -> Result<String, String> {
        let (top, bottom, band) = (self.top(), self.bottom(), self.band);
        let mut frame = String::new();
        for (name, place, anchor, x) in [
            ("lane-left", Place::Left, "start", 12.0),
            ("lane-hidden", Place::Hidden, "middle", Self::x(Place::Hidden)),
            ("lane-right", Place::Right, "end", WIDTH - 2.0),
        ] {
            let name = words.get(slug, name)?;
            let room = if place == Place::Hidden { band + 40.0 } else { (WIDTH - band) / 2.0 - 24.0 };
            fits(slug, name, room)?;
            let _ = writeln!(
                frame,
                "<text class=\"name\" x=\"{x}\" y=\"14\" text-anchor=\"{anchor}\">{}</text>",
                escaped(name)
            );
        }
        if self.control {
            let words = words.get(slug, "control")?;
            let x = WIDTH / 2.0;
            let y = HEAD + 12.0;
            let _ = writeln!(
                frame,
                "<text class=\"same\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
                escaped(words)
            );
        }
        let middle = self.gap(Place::Hidden).0;
        for lane in self.lanes() {
            let _ = writeln!(frame, "<path class=\"lane\" d=\"M{lane} {top}V{bottom}\"/>");
        }
        let _ = writeln!(
            frame,
            "<rect class=\"band\" x=\"{middle}\" y=\"{top}\" width=\"{band}\" height=\"{}\" rx=\"3\"/>",
            bottom - top
        );
        Ok(frame)
    }

    /// The lanes that are a line: one that several share would make one of them.
    fn lanes(&self) -> Vec<f32> {
        if self.named { vec![LEFT] } else { vec![LEFT, RIGHT] }
    }

    /// A long wait, cut short: the lanes are torn above this row, and how long it takes is said where something comes after it.
    fn torn(&self, slug: &str, words: &Words, wait: Option<u64>, row: f32) -> Result<String, String> {
        let middle = row - 26.0;
        let (from, to) = self.gap(Place::Hidden);
        let mut torn = String::from("<g class=\"break\">\n");
        let ends = self.lanes().into_iter().map(|lane| (lane - 6.0, lane + 6.0)).chain([(from - 3.0, to + 3.0)]);
        for (from, to) in ends {
            let teeth = ((to - from) / 12.0).round().max(1.0);
            let step = (to - from) / teeth / 4.0;
            let mut path = format!("M{from} {middle}");
            for _ in 0..teeth as usize {
                let _ = write!(path, "l{step} -4l{} 8l{step} -4", 2.0 * step);
            }
            let _ = write!(torn, "<path class=\"tear\" d=\"{path}\"/>\n<path class=\"torn\" d=\"{path}\"/>\n");
        }
        if let Some(wait) = wait {
            let later = words.get(slug, "later")?.replace("{time}", &time(wait, self.last()));
            let (left, right) = self.gap(Place::Left);
            fits(slug, &later, right - left - 18.0)?;
            let _ = writeln!(
                torn,
                "<text class=\"time\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                f32::midpoint(left, right),
                middle + 4.0,
                escaped(&later)
            );
        }
        torn.push_str("</g>\n");
        Ok(torn)
    }

    /// What happens in a row: an arrow, or a note at a lane, with what is said of it.
    fn event(&self, slug: &str, line: &Line, y: f32) -> Result<String, String> {
        let side = match (line.from, line.to) {
            (Some(from), Some(to)) if from != to => match (from, to) {
                (Place::Hidden, side) | (side, Place::Hidden) => side,
                _ => return Err(format!("{slug}: the arrow of `{}` crosses the hidden lane", line.step)),
            },
            _ => line
                .beside
                .ok_or_else(|| format!("{slug}: `{}` says neither from where to where nor beside what", line.step))?,
        };
        // What is told in the hidden lane stands in its cells.
        if side == Place::Hidden {
            return Ok(String::new());
        }
        let (left, right) = self.gap(side);
        let mut event = String::new();
        if line.from.is_none() && line.at.is_none() {
            // A frame at the lane: it is no arrow that begins or ends there.
            fits(slug, &line.label, right - left - 3.0 * PAD)?;
            let width = wide(&line.label) + 2.0 * PAD;
            let x = if side == Place::Left { LEFT } else { RIGHT - width };
            event.push_str(&frame("note", line.absent, (x, y - 19.0), (width, 17.0)));
            event.push_str(&words("label", &line.label, x + width / 2.0, y - 6.0));
            return Ok(event);
        }
        fits(slug, &line.label, right - left - 6.0)?;
        let mut end = Self::x(side);
        if let Some(at) = &line.at {
            fits(slug, at, right - left - 30.0)?;
            let width = wide(at) + 2.0 * PAD;
            let x = if side == Place::Left { LEFT } else { RIGHT + 2.0 - width };
            event.push_str(&frame("chip", line.absent, (x, y - 7.5), (width, 15.0)));
            event.push_str(&words("at", at, x + width / 2.0, y + 4.0));
            // The dot where an arrow begins stands before the frame.
            let dot = if line.from == Some(side) { 3.0 } else { 0.0 };
            end = if side == Place::Left { x + width + dot } else { x - dot };
            if line.from.is_none() {
                let away = wide(&line.label) / 2.0 + PAD;
                let beside = if side == Place::Left { end + away } else { end - away };
                event.push_str(&words("label", &line.label, beside, y + 4.0));
                return Ok(event);
            }
        }
        if let Some(from) = line.from {
            event.push_str(&self.arrow(line, side, end, from == Place::Hidden, y));
        }
        // Over the arrow, and over the frame at its end.
        let above = if line.at.is_some() { 13.0 } else { 6.0 };
        event.push_str(&words("label", &line.label, f32::midpoint(left, right), y - above));
        Ok(event)
    }

    /// An arrow between the hidden lane and this end of it: dotted where it passes the cells that it has nothing to do with.
    fn arrow(&self, line: &Line, side: Place, end: f32, outward: bool, y: f32) -> String {
        let (left, right) = self.gap(Place::Hidden);
        let border = if side == Place::Left { left } else { right };
        let inner = match line.cell.map(|cell| self.cell(line.state.len(), cell)) {
            Some((x, width)) if side == Place::Left => x - width / 2.0 - 3.0,
            Some((x, width)) => x + width / 2.0 + 3.0,
            None => border,
        };
        let (from, to) = if outward { (inner, end) } else { (end, inner) };
        let back = if to > from { -6.0 } else { 6.0 };
        let mut arrow =
            format!("<path class=\"arrow\" d=\"M{border} {y}H{end}M{} {}L{to} {y}l{back} 4\"/>\n", to + back, y - 4.0);
        if (inner - border).abs() > 1.0 {
            let _ = writeln!(arrow, "<path class=\"through\" d=\"M{border} {y}H{inner}\"/>");
        }
        arrow.push_str(&dot(from, y));
        arrow
    }

    /// The marks of the failure: 1 in the hidden lane, where it happens; 2 where it is noticed.
    fn marks(&self, line: &Line, states: &[Vec<Shown>], index: usize) -> String {
        let (before, y) = (&states[index], self.edge(index + 1));
        let mut marks = String::new();
        if line.fault {
            let changed = line.state.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before);
            let changed = changed.min_by_key(|(_, (now, _))| now.tone != Tone::Bad).map(|(cell, _)| cell);
            let cell = line.cell.or(changed).unwrap_or(0);
            let (x, width) = self.cell(line.state.len(), cell);
            let stay = Stay::of(states, cell, index + 1);
            let (lines, first) = self.words(states, cell, index + 1);
            let below = first + (lines.len().saturating_sub(1)) as f32 * HELD + 14.0;
            // Below the words of the cell, or beside them where it is over too soon.
            let room = stay.first == index + 1 && !lines.is_empty() && below + 9.0 < self.edge(stay.end);
            marks.push_str(&if room { mark("1", x, below) } else { mark("1", x + width / 2.0 + 9.0, y + 13.0) });
        }
        if line.noticed {
            let side = line.outer().unwrap_or(Place::Left);
            let x = if side == Place::Right { RIGHT - 4.0 } else { Self::x(side) };
            marks.push_str(&mark("2", x, y + if line.at.is_some() { 17.0 } else { 12.0 }));
        }
        marks
    }

    /// The picture for whoever does not see it.
    fn in_sentences(&self, scenes: &Scenes<'_>, side: Side, told: &Told) -> Result<String, String> {
        let Scenes { slug, words, .. } = scenes;
        let lane = |place: Place| {
            words.get(
                slug,
                match place {
                    Place::Left => "lane-left",
                    Place::Hidden => "lane-hidden",
                    Place::Right => "lane-right",
                },
            )
        };
        let part = |line: &Line, place: Place| match &line.at {
            Some(at) if place != Place::Hidden => Ok(at.clone()),
            _ => lane(place).map(str::to_owned),
        };
        let mut text = String::new();
        if told.control {
            let _ = write!(text, "{}. ", words.get(slug, "control")?);
        }
        let mut state: &[Shown] = &told.first;
        for line in &told.lines {
            let _ = write!(text, "{}: ", time(line.at_ms, self.last()).replace('\u{a0}', " "));
            match (line.from, line.to) {
                (Some(from), Some(to)) => {
                    let _ = write!(text, "{} → {}: ", part(line, from)?, part(line, to)?);
                }
                _ => {
                    let _ = write!(text, "{}: ", part(line, line.beside.unwrap_or(Place::Hidden))?);
                }
            }
            text.push_str(&line.label);
            if line.state != state {
                let held: Vec<&str> =
                    line.state.iter().map(|shown| if shown.text.is_empty() { "–" } else { &shown.text }).collect();
                let _ = write!(text, " [{}: {}]", lane(Place::Hidden)?, held.join(" | "));
                state = &line.state;
            }
            for (mark, is) in [(" (1)", line.fault), (" (2)", line.noticed)] {
                text.push_str(if is { mark } else { "" });
            }
            text.push_str(". ");
        }
        let verdict = words.get(slug, if side == Side::Broken { "verdict-broken" } else { "verdict-fixed" })?;
        text.push_str(verdict);
        if side == Side::Broken {
            let _ = write!(text, " ({})", scenes.failure.trim_end_matches('.'));
        }
        Ok(text)
    }
}

/// How long a state stays in its cell.
struct Stay {
    /// From after so many rows, and to so many.
    first: usize,
    end: usize,
}

impl Stay {
    fn of(states: &[Vec<Shown>], cell: usize, index: usize) -> Self {
        let is = |at: &usize| states[*at][cell] == states[index][cell];
        let first = (0..index).rev().take_while(is).last().unwrap_or(index);
        let end = (index + 1..states.len()).take_while(is).last().unwrap_or(index) + 1;
        Self { first, end }
    }
}

/// Whether a state that begins after so many rows begins on the other side too: in the same cell, or in any where it has other
/// cells. It is one colour then as long as it lasts, and what differs is what comes after it, or does not.
fn begins_alike(states: &[Vec<Shown>], others: &[Vec<Shown>], cell: usize, first: usize) -> bool {
    let state = &states[first][cell];
    let shows = |others: &[Shown]| {
        if others.len() == states[first].len() { others[cell] == *state } else { others.contains(state) }
    };
    shows(&others[first]) && !first.checked_sub(1).is_some_and(|before| shows(&others[before]))
}

fn class(shown: &Shown, same: bool) -> String {
    let tone = match shown.tone {
        Tone::Empty => "empty",
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Bad => "bad",
    };
    // What is empty is so on each side, and stays dashed where it is grey.
    match (same, shown.tone) {
        (false, _) => tone.to_owned(),
        (true, Tone::Empty) => "empty same".to_owned(),
        (true, _) => "same".to_owned(),
    }
}

/// A moment: in milliseconds where the scene is short, and in seconds, to a hundredth, where it is long.
fn time(at_ms: u64, last: u64) -> String {
    if last < SHORT {
        return format!("{at_ms}\u{a0}ms");
    }
    let hundredths = (at_ms + 5) / 10;
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}\u{a0}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// How wide words are.
fn wide(words: &str) -> f32 {
    words.chars().count() as f32 * LETTER
}

/// Words with their middle here.
fn words(class: &str, words: &str, x: f32, y: f32) -> String {
    format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>\n", escaped(words))
}

/// The frame round some words: dashed, where they tell of what does not come.
fn frame(class: &str, absent: bool, (x, y): (f32, f32), (width, height): (f32, f32)) -> String {
    let absent = if absent { " absent" } else { "" };
    format!("<rect class=\"{class}{absent}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\"/>\n")
}

/// Words that would cross a lane are refused.
fn fits(slug: &str, words: &str, room: f32) -> Result<(), String> {
    let wide = wide(words);
    if wide <= room {
        return Ok(());
    }
    Err(format!("{slug}: \"{words}\" is wider than its place: {wide} of {room}"))
}

/// Lines of code as XML has them.
fn escaped_lines(code: &str) -> String {
    code.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

/// Where an arrow begins, or something happens.
fn dot(x: f32, y: f32) -> String {
    format!("<path class=\"dot\" d=\"M{} {y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0\"/>\n", x - 3.0)
}

/// A mark of the failure, with its middle here.
fn mark(number: &str, x: f32, y: f32) -> String {
    format!(
        "<g class=\"mark\" data-mark=\"{number}\">\n<rect x=\"{}\" y=\"{}\" width=\"16\" height=\"16\" rx=\"8\"/>\n\
         <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{number}</text>\n</g>\n",
        x - 8.0,
        y - 8.0,
        y + 4.5
    )
}

/// The verdict in a box of its own, and where it ends. A number in brackets, as in `[1]`, is the mark of that number.
fn boxed(side: Side, verdict: &str, top: f32, row: usize) -> (String, f32) {
    let class = if side == Side::Broken { "bad" } else { "good" };
    let sign = if side == Side::Broken { "✗" } else { "✓" };
    let verdict = verdict.replace(" [1]", "\u{a0}❶").replace(" [2]", "\u{a0}❷");
    let lines = textwrap::wrap(&verdict, ((WIDTH - 44.0) / LETTER) as usize);
    let height = lines.len() as f32 * LINE + 12.0;
    let mut text = format!(
        "<g class=\"step verdict {class}\" data-row=\"{row}\">\n\
         <rect x=\"1.5\" y=\"{top}\" width=\"{}\" height=\"{height}\" rx=\"4\"/>\n",
        WIDTH - 3.0
    );
    let mut y = top + 17.0;
    let _ = writeln!(text, "<text x=\"12\" y=\"{y}\">{sign}</text>");
    for line in &lines {
        let _ = writeln!(text, "<text x=\"28\" y=\"{y}\">{}</text>", escaped(line));
        y += LINE;
    }
    text.push_str("</g>\n");
    (text, top + height + 2.0)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use lab::Event;
    use roxmltree::{Document, Node};

    use super::*;
    use crate::{catalogue::ghosts, checkout::Checkout};

    /// A shop that remembers one name, and one that remembers a name for each who asks.
    const STORY: &str = r#"
        begins = "{} asks"
        cells = { broken = ["name"], fixed = ["ada", "bob"] }
        fault = "asks#2"
        noticed = "gets"
        left_out = ["log {}"]
        [[step]]
        name = "asks"
        event = "{who} asks"
        from = "left"
        to = "hidden"
        broken = { name = "is" }
        fixed = { "{who}" = "is" }
        [[step]]
        name = "gets"
        event = "{who} gets {what}"
        from = "hidden"
        to = "left"
    "#;

    const WORDS: &str = r#"
        [all]
        broken = "broken"
        fixed = "fixed"
        control = "as it should be"
        key = "1, 2."
        key-same = "same"
        key-flow = "other"
        key-plain = "held"
        key-bad = "wrong"
        key-good = "right"
        key-empty = "empty"
        key-through = "past a box"
        key-note = "alone"
        key-absent = "never"
        key-break = "cut short"
        later = "{time} later"
        key-arrow = "Dot."
        key-rows = "Not to scale."
        code = "in the code"
        previous = "<"
        next = ">"
        all = "all"
        step = "step"
        [shop]
        title = "The shop"
        scene = "Two ask"
        lane-left = "clients"
        lane-hidden = "name"
        lane-right = "store"
        asks = "{who} asks"
        gets = "{who}: {what}"
        is = "{who}"
        verdict-broken = "The name is overwritten [1], and ada gets what is bob's [2]."
        verdict-fixed = "Each has a name."
        source = "A model."
    "#;

    fn scene(events: &[(u64, &str, &str)]) -> SceneRecord {
        let event =
            |&(at_ms, lane, what): &(u64, &str, &str)| Event { at_ms, lane: lane.to_owned(), what: what.to_owned() };
        SceneRecord { title: "HTTP/1.1".to_owned(), events: events.iter().map(event).collect(), left_out: 0 }
    }

    fn drawn(story: &str, words: &str, broken: &SceneRecord, fixed: &SceneRecord) -> Result<String, String> {
        let (story, words) = (toml::from_str(story).unwrap(), toml::from_str(words).unwrap());
        timelines(&Scenes {
            slug: "shop",
            story: &story,
            words: &words,
            broken,
            fixed,
            failure: "got <b> & \n\n]]>.",
            marks: [&[], &[]],
        })
    }

    fn shop() -> String {
        let broken = scene(&[(0, "eve", "begins"), (0, "ada", "asks"), (1, "bob", "asks"), (2, "ada", "gets bob")]);
        let fixed = scene(&[(0, "eve", "begins"), (0, "ada", "asks"), (1, "bob", "asks"), (2, "ada", "gets ada")]);
        drawn(STORY, WORDS, &broken, &fixed).unwrap()
    }

    fn number(node: Node, name: &str) -> f32 {
        node.attribute(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} of {node:?}"))
    }

    fn of_class<'a>(node: Node<'a, 'a>, class: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
        node.descendants()
            .filter(move |node| node.attribute("class").is_some_and(|all| all.split(' ').any(|one| one == class)))
    }

    fn texts<'a>(node: Node<'a, 'a>, class: &'a str) -> Vec<&'a str> {
        of_class(node, class).filter_map(|node| node.text()).collect()
    }

    /// What is wrong with a picture, whatever it shows.
    fn faults(html: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let parsed = match Document::parse(html) {
            Ok(parsed) => parsed,
            Err(error) => return vec![error.to_string()],
        };
        if html.lines().any(|line| line.trim().is_empty()) || html.contains("{{") {
            faults.push("Markdown or mdBook would take a part of it for its own".to_owned());
        }
        let ids: Vec<&str> = parsed.descendants().filter_map(|node| node.attribute("id")).collect();
        if ids.iter().collect::<HashSet<_>>().len() != ids.len() {
            faults.push("an id stands twice".to_owned());
        }
        let sides: Vec<Node> = parsed.descendants().filter(|node| node.has_tag_name("svg")).collect();
        let [broken, fixed] = sides[..] else { return vec!["it has not two sides".to_owned()] };
        let rows = |side| of_class(side, "step").filter_map(|node| node.attribute("data-row")).collect::<HashSet<_>>();
        let (left, right) = (rows(broken), rows(fixed));
        if left != right {
            faults.push("the sides have not the same rows".to_owned());
        }
        for side in [broken, fixed] {
            let band = of_class(side, "band").next().expect("a hidden lane");
            let (from, to) = (number(band, "x"), number(band, "x") + number(band, "width"));
            for text in of_class(side, "label")
                .chain(of_class(side, "at"))
                .chain(of_class(side, "held").flat_map(|held| held.children().filter(|node| node.has_tag_name("text"))))
            {
                let (x, words) = (number(text, "x"), text.text().unwrap_or_default());
                let half = words.chars().count() as f32 * LETTER / 2.0;
                if [LEFT, from, to, RIGHT].iter().any(|lane| x - half < *lane && *lane < x + half) {
                    faults.push(format!("\"{words}\" crosses a lane"));
                }
                if words.contains('\\') {
                    faults.push(format!("\"{words}\" is raw"));
                }
            }
            let height =
                side.attribute("viewBox").and_then(|view| view.rsplit(' ').next()?.parse::<f32>().ok()).unwrap();
            // It is drawn at most 460 pixels wide.
            if height * 460.0 / WIDTH > 670.0 {
                faults.push(format!("it is {height} high"));
            }
            let marks: HashMap<_, _> = of_class(side, "mark")
                .map(|mark| {
                    (
                        mark.attribute("data-mark").unwrap_or_default(),
                        number(mark.last_element_child().expect("its number"), "x"),
                    )
                })
                .collect();
            match (side == broken, marks.get("1"), marks.get("2")) {
                (true, Some(one), Some(two)) if (from..=to + 9.0).contains(one) && !(from..=to).contains(two) => {}
                (false, None, None) => {}
                _ => faults.push(format!("the marks are at {marks:?}")),
            }
            // What is drawn over the words hides them.
            let words: Vec<(&str, [f32; 4])> = of_class(side, "step")
                .filter(|step| !step.attribute("class").is_some_and(|class| class.contains("verdict")))
                .flat_map(|step| step.descendants().filter(|node| node.has_tag_name("text")))
                .filter(|text| !text.ancestors().any(|node| node.attribute("data-mark").is_some()))
                .map(|text| {
                    let (x, y, words) = (number(text, "x"), number(text, "y"), text.text().unwrap_or_default());
                    let half = wide(words) * 0.9 / 2.0;
                    let middle = if text.attribute("text-anchor") == Some("end") { x - half } else { x };
                    (words, [middle - half, y - 8.0, middle + half, y])
                })
                .collect();
            let over = of_class(side, "mark").filter_map(|mark| mark.first_element_child()).map(|rect| {
                let (x, y) = (number(rect, "x"), number(rect, "y"));
                ("a mark", [x, y, x + number(rect, "width"), y + number(rect, "height")])
            });
            let torn = of_class(side, "torn").filter_map(|path| path.attribute("d")).map(|path| {
                let (x, rest) = path[1..].split_once(' ').expect("where it begins");
                let x: f32 = x.parse().expect("a number");
                let y: f32 = rest.split('l').next().and_then(|y| y.parse().ok()).expect("a number");
                ("a zigzag", [x, y - 4.0, if x < from - 10.0 || x > to { x + 12.0 } else { to }, y + 4.0])
            });
            for (what, [left, top, right, bottom]) in over.chain(torn) {
                for (words, is) in &words {
                    if left < is[2] && is[0] < right && top < is[3] && is[1] < bottom {
                        faults.push(format!("{what} is over \"{words}\""));
                    }
                }
            }
            if of_class(side, "verdict").count() != 1 {
                faults.push("there is not one verdict".to_owned());
            }
        }
        faults
    }

    #[test]
    fn every_picture_is_as_a_picture_must_be() {
        let here = Checkout::here();
        for ghost in ghosts::ALL.iter() {
            let html = here.text(&format!("book/src/generated/{}/timeline.html", ghost.slug)).expect("a picture");
            assert_eq!(faults(&html), [""; 0], "{}", ghost.slug);
        }
    }

    #[test]
    fn the_example_is_as_a_picture_must_be() {
        assert_eq!(faults(&shop()), [""; 0]);
    }

    #[test]
    fn both_sides_have_the_same_rows_and_what_is_equal_is_grey() {
        let html = shop();
        let parsed = Document::parse(&html).unwrap();
        let sides: Vec<Node> = parsed.descendants().filter(|node| node.has_tag_name("svg")).collect();
        assert_eq!(texts(sides[0], "label"), ["ada asks", "bob asks", "ada: bob"]);
        assert_eq!(texts(sides[1], "label"), ["ada asks", "bob asks", "ada: ada"]);
        let grey = |side| {
            of_class(side, "event").map(|event| event.attribute("class") == Some("event same")).collect::<Vec<_>>()
        };
        // Where the failure happens is marked, and grey all the same.
        assert_eq!((grey(sides[0]), grey(sides[1])), (vec![true, true, false], vec![true, true, false]));
        let held = |side| {
            of_class(side, "state").map(|state| state.attribute("class").unwrap_or_default()).collect::<Vec<_>>()
        };
        // Ada's name is there on both sides, and stays grey on the one where it is not overwritten.
        assert_eq!(held(sides[0]), ["state same"; 3]);
        assert_eq!(held(sides[1]), ["state same"; 5]);
    }

    #[test]
    fn the_code_of_a_step_stands_beside_it_where_the_source_has_a_mark() {
        let broken = scene(&[(0, "ada", "asks"), (1, "bob", "asks"), (2, "ada", "gets bob")]);
        let (story, words) = (toml::from_str(STORY).unwrap(), toml::from_str(WORDS).unwrap());
        let mark = |name: &str, code: &str| Mark { name: name.to_owned(), code: code.to_owned() };
        let marks = [mark("gets", "let is = name;\nsay(is);"), mark("asks", "name = <who>;")];
        let scenes = Scenes {
            slug: "shop",
            story: &story,
            words: &words,
            broken: &broken,
            fixed: &broken,
            failure: "",
            marks: [&marks, &[]],
        };
        let html = timelines(&scenes).unwrap();
        let codes: Vec<&str> = html.split("<code class=\"language-rust\">").skip(1).collect();
        // Once for a step, in the order of the rows, and only on the side that has the mark.
        assert_eq!(codes.len(), 2);
        assert!(codes[0].starts_with("name = &lt;who&gt;;</code>"), "{html}");
        assert!(codes[1].starts_with("let is = name;\nsay(is);</code>"), "{html}");
        assert!(html.contains("data-row=\"2\">clients, “ada: bob” ❷"), "{html}");
    }

    #[test]
    fn an_earlier_row_is_above_a_later_one() {
        let broken = scene(&[(0, "ada", "asks"), (0, "bob", "asks"), (5, "ada", "gets bob")]);
        let fixed = scene(&[(0, "ada", "asks"), (0, "bob", "asks"), (3, "ada", "gets ada"), (9, "bob", "gets bob")]);
        let html = drawn(STORY, WORDS, &broken, &fixed).unwrap();
        assert_eq!(faults(&html), [""; 0]);
        let parsed = Document::parse(&html).unwrap();
        let side = parsed.descendants().find(|node| node.has_tag_name("svg")).unwrap();
        assert_eq!(texts(side, "time"), ["0\u{a0}ms", "5\u{a0}ms"]);
    }

    #[test]
    fn a_wait_that_is_long_beside_the_shortest_is_cut_short() {
        let broken =
            scene(&[(0, "ada", "asks"), (20, "bob", "asks"), (219, "ada", "gets bob"), (419, "bob", "gets bob")]);
        let html = drawn(STORY, WORDS, &broken, &broken).unwrap();
        assert_eq!(faults(&html), [""; 0]);
        let parsed = Document::parse(&html).unwrap();
        // 20 ms, 199 ms and 200 ms: the last is ten times the first.
        let torn: Vec<&str> =
            of_class(parsed.root_element(), "break").filter_map(|torn| torn.last_element_child()?.text()).collect();
        assert_eq!(torn, ["200\u{a0}ms later"; 2]);
        // What is printed as one moment is one.
        let broken = scene(&[(0, "ada", "asks"), (1, "bob", "asks"), (2000, "ada", "gets bob")]);
        assert_eq!(drawn(STORY, WORDS, &broken, &broken).unwrap().matches("\"break\"").count(), 0);
    }

    #[test]
    fn several_who_share_a_lane_are_named_and_what_never_comes_is_dashed() {
        let story = STORY.replace(
            "from = \"hidden\"\n        to = \"left\"",
            "from = \"hidden\"\n        to = \"right\"\n        at = \"desk\"",
        ) + "[[step]]\nname = 'never'\nevent = 'the scene ends'\nbeside = 'right'\nat = 'desk'\nabsent = true\n\
               [[step]]\nname = 'rings'\nevent = 'bell rings'\nbeside = 'left'\n";
        let words = format!("{WORDS}\ndesk = 'desk'\nnever = 'none'\nrings = 'a bell'\n");
        let broken = scene(&[(0, "ada", "asks"), (1, "bob", "asks"), (2, "ada", "gets bob"), (3, "bell", "rings")]);
        let html = drawn(&story, &words, &broken, &broken).unwrap();
        assert_eq!(faults(&html), [""; 0]);
        let parsed = Document::parse(&html).unwrap();
        let side = parsed.descendants().find(|node| node.has_tag_name("svg")).unwrap();
        assert_eq!(texts(side, "at"), ["desk", "desk"]);
        // One line for all of them would be one of them.
        assert_eq!(of_class(side, "lane").count(), 1);
        let dashed = |class: &'static str| {
            of_class(side, class).map(|frame| frame.attribute("class").unwrap().contains("absent")).collect::<Vec<_>>()
        };
        assert_eq!((dashed("chip"), dashed("note")), (vec![false, true], vec![false]));
        // A dot is where an arrow begins, and nothing else.
        assert_eq!(of_class(side, "dot").count(), of_class(side, "arrow").count());
        let told = side.descendants().find(|node| node.has_tag_name("desc")).and_then(|node| node.text()).unwrap();
        assert!(told.contains("name → desk: ada: bob") && told.contains("3 ms: desk: none"), "{told}");
    }

    #[test]
    fn an_arrow_is_dotted_where_it_passes_a_cell() {
        let html = shop();
        let parsed = Document::parse(&html).unwrap();
        let sides: Vec<Node> = parsed.descendants().filter(|node| node.has_tag_name("svg")).collect();
        // On the fixed side bob's cell is behind ada's.
        assert_eq!([0, 1].map(|side| of_class(sides[side], "through").count()), [0, 1]);
        assert!(html.contains("past a box") && !html.contains("cut short"), "{html}");
    }

    #[test]
    fn a_long_scene_is_told_in_seconds() {
        assert_eq!(
            [1, 140, 15001, 2013].map(|at| time(at, 15001)),
            ["0\u{a0}s", "0.14\u{a0}s", "15\u{a0}s", "2.01\u{a0}s"]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let broken = scene(&[(0, "ada", "asks"), (1, "bob", "asks"), (2, "ada", "gets bob")]);
        let long =
            scene(&[(0, "ada", "asks"), (1, "bob", "asks"), (2, "ada", "gets a word that is too long for its place")]);
        let said = drawn(STORY, WORDS, &broken, &long).unwrap_err();
        assert!(said.contains("is wider than its place"), "{said}");
        let words = WORDS.replace("is = \"{who}\"", "is = \"a state that needs more room than its cell can have\"");
        let said = drawn(STORY, &words, &broken, &broken).unwrap_err();
        assert!(said.contains("does not fit into"), "{said}");
    }

    #[test]
    fn the_skeleton_of_a_new_ghost_can_be_drawn() {
        let words =
            include_str!("../../templates/picture-words.toml").replace("{slug}", "shop").replace("{words}", "shop");
        let words = format!("{}{words}", WORDS.split_once("[shop]").unwrap().0);
        let says = |what: &str| scene(&[(0, "client", "sends GET /"), (0, "client", "gets 200"), (0, "client", what)]);
        let story = include_str!("../../templates/picture.toml");
        let html = drawn(story, &words, &says("gets \"hello\""), &says("gets \"boo\"")).unwrap();
        assert_eq!(faults(&html), [""; 0]);
    }

    #[test]
    fn who_does_not_see_it_is_told() {
        let html = shop();
        let parsed = Document::parse(&html).unwrap();
        let told = parsed.descendants().find(|node| node.has_tag_name("desc")).and_then(|node| node.text()).unwrap();
        assert!(told.starts_with("as it should be. 0 ms: clients → name: ada asks [name: ada]. 1 ms: "), "{told}");
        assert!(told.contains("bob asks [name: bob] (1). 2 ms: name → clients: ada: bob (2). The name is"), "{told}");
        assert!(told.ends_with("(got <b> & \\n\\n]]>)"), "{told}");
    }

    /// The colours of `book/css/pictures.css` on the paper of each theme of mdBook.
    #[test]
    fn the_colours_stand_out_in_every_theme() {
        let css = Checkout::here().text("book/css/pictures.css").unwrap();
        let (_, light) = css.split_once("\n.timelines {").unwrap();
        let (_, dark) = css.split_once(":is(.ayu, .coal, .navy) .timelines {").unwrap();
        for (theme, paper, colours) in [
            ("light", "#ffffff", light),
            ("rust", "#e1e1db", light),
            ("ayu", "#0f1419", dark),
            ("coal", "#141617", dark),
            ("navy", "#161923", dark),
        ] {
            let colour = |name: &str| {
                let (_, rest) = colours.split_once(&format!("--picture-{name}: ")).expect(name);
                &rest[..7]
            };
            for (what, on, least) in [
                ("ink", paper, 4.5),
                ("dim", paper, 4.5),
                ("bad", paper, 4.5),
                ("good", paper, 4.5),
                ("line", paper, 3.0),
                ("flow", paper, 3.0),
                ("hold-edge", paper, 3.0),
                ("ink", colour("band"), 4.5),
                ("line", colour("band"), 3.0),
                ("dim", colour("same"), 4.5),
                ("line", colour("same"), 3.0),
                ("ink", colour("hold"), 4.5),
                ("ink", colour("bad-fill"), 4.5),
                ("ink", colour("good-fill"), 4.5),
                ("on-bad", colour("bad"), 4.5),
            ] {
                let is = contrast(colour(what), on);
                assert!(is >= least, "{theme}: {what} on {on} has a contrast of {is}");
            }
        }
    }

    /// By the formula of WCAG.
    fn contrast(one: &str, other: &str) -> f32 {
        let light = |colour: &str| {
            let part = |at: usize| f32::from(u8::from_str_radix(&colour[at..at + 2], 16).expect(colour)) / 255.0;
            let linear = |part: f32| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
            0.2126 * linear(part(1)) + 0.7152 * linear(part(3)) + 0.0722 * linear(part(5))
        };
        let (one, other) = (light(one), light(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }
}
