//! What the screen shows: always the verdict, the keys and what was just said, and of the rest as much as there is room for.

use std::time::Duration;

use anstyle::Style;
use textwrap::{WordSeparator, WordSplitter};

use crate::learn::check::Page;

/// What each key asks for.
pub(super) const KEYS: &str = "h hint · l list · n next · s wire · r reset · c check · ↑↓ scroll · q quit";
const IN_A_LIST: &str = "↑↓ choose · Enter go there · l back · q quit";
const OVER_IT: &str = "Esc back · h hint · l list · ↑↓ scroll · q quit";

/// What is shown in the place of the verdict's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Hints, or another text.
    Text {
        /// The text.
        text: String,
        /// Whether it is hints.
        hints: bool,
    },
    /// All ghosts, and the one that is chosen.
    List {
        /// A line each.
        rows: Vec<String>,
        /// The number of the line, from 0.
        chosen: usize,
    },
}

/// How far to scroll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scroll {
    /// So many lines down, or up.
    Lines(isize),
    /// So many screens down, or up.
    Pages(isize),
    /// To the first line.
    Begin,
    /// To the last line.
    End,
}

/// What the screen shows.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The page of the last judgement.
    pub(super) page: Page,
    /// What is in its place, until a judgement or a key ends that.
    pub(super) over: Option<Over>,
    /// A line or two above the keys, until the next key.
    pub(super) note: String,
    /// What goes on while a judgement runs.
    pub(super) doing: String,
    /// How long the last judgement took.
    pub(super) took: Option<Duration>,
    /// Whether no file event is waited for.
    pub(super) deaf: bool,
    /// The first line that is shown; none if it is the one that matters most.
    first: Option<usize>,
    /// How many lines there are, and for how many there was room, when it was drawn last.
    drawn: (usize, usize),
}

impl View {
    /// Shows another text from where it matters most.
    pub(super) fn show_the_reason(&mut self) {
        self.first = None;
    }

    /// Moves what is shown, or what is chosen in a list.
    pub(super) fn scroll(&mut self, by: Scroll) {
        let (lines, room) = self.drawn;
        let page = isize::try_from(room.saturating_sub(2).max(1)).unwrap_or(1);
        let (now, last) = match &self.over {
            Some(Over::List { rows, chosen }) => (*chosen, rows.len().saturating_sub(1)),
            _ => (self.first.unwrap_or(0), lines.saturating_sub(room)),
        };
        let there = match by {
            Scroll::Lines(lines) => now.saturating_add_signed(lines),
            Scroll::Pages(pages) => now.saturating_add_signed(pages * page),
            Scroll::Begin => 0,
            Scroll::End => last,
        };
        let there = there.min(last);
        match &mut self.over {
            Some(Over::List { chosen, .. }) => *chosen = there,
            _ => self.first = Some(there),
        }
    }

    /// The whole screen, of so many columns and rows; `since` is how long a judgement has been running.
    pub(super) fn frame(
        &mut self,
        slug: &str,
        number: usize,
        since: Option<Duration>,
        (columns, rows): (usize, usize),
    ) -> String {
        let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
        let state = match (since, self.took) {
            (Some(since), _) => format!("judging, {} s", since.as_secs()),
            (None, Some(took)) => format!("judgement {number}, {:.1} s", took.as_secs_f64()),
            (None, None) => String::new(),
        };
        let keys = match self.over {
            None => KEYS,
            Some(Over::Text { .. }) => OVER_IT,
            Some(Over::List { .. }) => IN_A_LIST,
        };
        let fold = |text: &str| -> Vec<String> {
            let lines = text.trim_matches('\n').lines().map(|line| folded(line, columns));
            lines.flat_map(|line| line.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
        };
        let head = fold(if since.is_some() { &self.doing } else { &self.page.head });
        let mut below = fold(&self.note);
        if self.deaf {
            below.extend(fold("File events are off: press c after each save."));
        }
        let state = folded(&format!("{slug}  {state}"), columns);
        below.push(format!("{bold}{state}{bold:#}"));
        let keys: Vec<String> = fold(keys).into_iter().map(|line| format!("{dim}{line}{dim:#}")).collect();
        // The reason comes before the keys where there is no room for both.
        if head.len() + below.len() + keys.len() + 3 <= rows {
            below.extend(keys);
        }
        let (body, focus) = self.body(columns);
        let room = rows.saturating_sub(head.len() + below.len());
        let body = self.window(&body, focus, room);
        let mut lines = head;
        lines.extend(body);
        lines.truncate(rows.saturating_sub(below.len()));
        lines.extend(below);
        lines.join("\n")
    }

    /// The lines of what stands in the middle, and those of them that matter most.
    fn body(&self, columns: usize) -> (Vec<String>, std::ops::Range<usize>) {
        let (text, focus) = match &self.over {
            None => (self.page.body.clone(), self.page.focus.clone()),
            Some(Over::Text { text, .. }) => (format!("\n{}", text.trim_matches('\n')), 0..0),
            Some(Over::List { rows, chosen }) => {
                let line = |(index, row): (usize, &String)| match index == *chosen {
                    true => format!("{}> {row}{:#}", Style::new().bold(), Style::new().bold()),
                    false => format!("  {row}"),
                };
                let rows: Vec<String> = rows.iter().enumerate().map(line).collect();
                (rows.join("\n"), *chosen..chosen + 1)
            }
        };
        let (mut lines, mut range) = (Vec::new(), 0..0);
        for (index, line) in text.lines().enumerate() {
            if index == focus.start {
                range.start = lines.len();
            }
            lines.extend(folded(line, columns).lines().map(str::to_owned));
            if line.is_empty() {
                lines.push(String::new());
            }
            if index < focus.end {
                range.end = lines.len();
            }
        }
        (lines, range)
    }

    /// As many of the lines as there is room for, and a line that says how many there are, if not all are shown.
    fn window(&mut self, body: &[String], focus: std::ops::Range<usize>, room: usize) -> Vec<String> {
        self.drawn = (body.len(), room);
        if body.len() < room {
            self.first = None;
            return [body, &[String::new()]].concat();
        }
        if body.len() == room || room < 2 {
            self.first = None;
            return body[..room.min(body.len())].to_vec();
        }
        let room = room - 1;
        self.drawn = (body.len(), room);
        let last = body.len() - room;
        let at_the_reason = if focus.end <= room { 0 } else { focus.start.min(focus.end.saturating_sub(1)) };
        let first = match &self.over {
            // The chosen line stays in the middle.
            Some(Over::List { .. }) => focus.start.saturating_sub(room / 2).min(last),
            _ => self.first.unwrap_or(at_the_reason).min(last),
        };
        if !matches!(self.over, Some(Over::List { .. })) {
            self.first = Some(first);
        }
        let dim = Style::new().dimmed();
        let told = format!("{dim}… lines {} to {} of {}{dim:#}", first + 1, first + room, body.len());
        [&body[first..first + room], &[told]].concat()
    }
}

/// A line that is too long for the screen, in several; if it is indented, the others are more so.
fn folded(line: &str, columns: usize) -> String {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let rest = if indent == 0 || indent * 2 > columns { String::new() } else { " ".repeat(indent + 4) };
    // Where the indent leaves no room for words, it goes.
    let line = if indent > 0 && indent * 2 > columns { line.trim_start_matches(' ') } else { line };
    // A path stays in one piece where that can be.
    let options = textwrap::Options::new(columns).subsequent_indent(&rest);
    let options = options.word_separator(WordSeparator::AsciiSpace).word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(line, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::building;

    fn frame(view: &mut View, since: Option<Duration>, size: (usize, usize)) -> String {
        anstream::adapter::strip_str(&view.frame("hidden-flush", 3, since, size)).to_string()
    }

    /// A page with twenty lines before the reason, which has four, and eighty after it.
    fn long() -> Page {
        let before: String = (1..=20).map(|line| format!("before {line}\n")).collect();
        let after: String = (1..=80).map(|line| format!("after {line}\n")).collect();
        Page {
            head: "hidden-flush: 7 of 7 promises kept\nthe model FAILS: a slot was released twice\n".to_owned(),
            body: format!("{before}reason 1\nreason 2\nreason 3\nreason 4\n{after}"),
            focus: 20..24,
            ..Page::default()
        }
    }

    #[test]
    fn the_screen_shows_the_verdict_the_note_and_the_keys() {
        let mut view = View {
            page: Page { head: "5 of 8 promises kept\n".to_owned(), ..Page::default() },
            note: "Press r again\n".to_owned(),
            took: Some(Duration::from_millis(1240)),
            ..View::default()
        };
        let expected = format!("5 of 8 promises kept\n\nPress r again\nhidden-flush  judgement 3, 1.2 s\n{KEYS}");
        assert_eq!(frame(&mut view, None, (80, 24)), expected);
    }

    #[test]
    fn while_it_judges_the_screen_says_what_goes_on() {
        let mut view = View { doing: building::BUILDS.to_owned(), ..View::default() };
        let expected = format!("{}\n\nhidden-flush  judging, 7 s\n{KEYS}", building::BUILDS);
        assert_eq!(frame(&mut view, Some(Duration::from_millis(7900)), (80, 24)), expected);
    }

    #[test]
    fn the_reason_is_never_cut_however_small_the_screen_is() {
        for size in [(40, 15), (40, 9), (80, 24), (200, 60)] {
            let mut view = View { page: long(), ..View::default() };
            let text = frame(&mut view, None, size);
            assert!(text.lines().count() <= size.1, "{size:?}: {text}");
            for shown in ["7 of 7 promises kept", "the model FAILS: ", "reason 1", "\nhidden-flush"] {
                assert!(text.contains(shown), "{size:?}: {shown:?} in\n{text}");
            }
            for line in text.lines() {
                assert!(line.chars().count() <= size.0, "{size:?}: {line:?}");
            }
        }
    }

    #[test]
    fn keys_scroll_to_every_line() {
        let mut view = View { page: long(), ..View::default() };
        frame(&mut view, None, (40, 15));
        let mut seen = String::new();
        view.scroll(Scroll::Begin);
        for _ in 0..104 {
            seen.push_str(&frame(&mut view, None, (40, 15)));
            view.scroll(Scroll::Lines(1));
        }
        for line in ["before 1\n", "before 20\n", "reason 4\n", "after 1\n", "after 80\n"] {
            assert!(seen.contains(line), "{line:?}");
        }
        view.scroll(Scroll::End);
        assert!(frame(&mut view, None, (40, 15)).contains("after 80\n"));
        view.scroll(Scroll::Pages(-1));
        let text = frame(&mut view, None, (40, 15));
        assert!(!text.contains("after 80\n") && text.contains("after 7"), "{text}");
        view.scroll(Scroll::Lines(-1000));
        assert!(frame(&mut view, None, (40, 15)).contains("before 1\n"));
    }

    #[test]
    fn a_list_follows_what_is_chosen() {
        let rows: Vec<String> = (1..=40).map(|row| format!("ghost-{row}")).collect();
        let mut view = View { over: Some(Over::List { rows, chosen: 0 }), ..View::default() };
        assert!(frame(&mut view, None, (40, 15)).contains("> ghost-1\n"));
        view.scroll(Scroll::Lines(30));
        assert!(frame(&mut view, None, (40, 15)).contains("> ghost-31\n"));
        view.scroll(Scroll::End);
        assert!(frame(&mut view, None, (40, 15)).contains("> ghost-40\n"));
    }

    #[test]
    fn our_own_lines_fit_into_40_columns() {
        let mut view = View { doing: building::BUILDS.to_owned(), deaf: true, ..View::default() };
        for over in [None, Some(Over::Text { text: "a hint".to_owned(), hints: true })] {
            view.over = over;
            for line in frame(&mut view, Some(Duration::ZERO), (40, 24)).lines() {
                assert!(line.chars().count() <= 40, "{line:?}");
            }
        }
    }
}
