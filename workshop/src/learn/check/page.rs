//! What came of a check as a page for the terminal.

use std::{fmt::Write, ops::Range};

use anstyle::{AnsiColor, Style};
use lab::{Outcome as Verdict, Report, hammer::Hammered};

use super::last_line;
use crate::{
    learn::{
        exercise::Exercise,
        judged::{Interleavings, Judged, Outcome},
        start,
    },
    terminal::{wrapped, wrapped_at_spaces},
};

/// How many lines of what the app said are shown.
const SAID: usize = 8;
/// How many warnings are shown whole.
const WARNINGS: usize = 2;
const INDENT: &str = "              ";

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A line for each promise, and the first broken one whole.
    Brief,
    /// Each broken promise whole.
    All,
    /// What crossed the wire too, where a promise is broken.
    Wire,
}

/// A page: what must always be seen, and what there may not be room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The verdict, with each kind of failure that there is: a few lines.
    pub head: String,
    /// The rest.
    pub body: String,
    /// The lines of the rest that are the reason, or what comes next.
    pub focus: Range<usize>,
    /// Whether the verdict stands below the rest where all is printed: a compiler's errors are long.
    pub verdict_last: bool,
}

impl Page {
    /// All of it.
    pub fn text(&self) -> String {
        let Self { head, body, .. } = self;
        if self.verdict_last { format!("{body}\n{head}") } else { format!("{head}{body}") }
    }

    fn focused(&mut self, part: &str) {
        let before = self.body.lines().count();
        self.body.push_str(part);
        self.focus = before..self.body.lines().count();
    }
}

/// The page of what came of a check.
pub fn page(exercise: &Exercise<'_>, judged: &Judged, detail: Detail) -> Page {
    let slug = &judged.slug;
    let (bold, red) = (Style::new().bold(), AnsiColor::Red.on_default().bold());
    let mut page = Page::default();
    match &judged.outcome {
        Outcome::DoesNotCompile { errors } => {
            page.verdict_last = true;
            page.head = format!("{red}{slug} does not compile{red:#}\n");
            page.body = format!("{}\n", errors.trim_end());
        }
        Outcome::NotBuilt { sentence, said, .. } => {
            page.head = format!("{red}{slug} could not be built{red:#}\n");
            page.body = format!("\n{}\n{}\n", wrapped(sentence, ""), said.trim_end());
        }
        Outcome::EndedWithoutVerdict { how, said } => {
            page.head = format!("{red}{slug} {how}{red:#}\n");
            let said = last_lines(&clickable(exercise, said), "  ");
            if !said.is_empty() {
                page.body = format!("\nIts last output:\n{said}");
            }
        }
        Outcome::Judged { report, looks_like, interleavings, hammer, said, warnings } => {
            page.head = head(report, interleavings.as_ref(), hammer.as_ref());
            if detail == Detail::Wire {
                let text = report.to_string();
                page.body = text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            } else {
                promises(&mut page, exercise, report, said, detail);
            }
            if let Some(interleavings) = interleavings {
                model_of(&mut page, interleavings, report.all_kept());
            }
            if let Some(hammered) = hammer.as_ref().filter(|_| report.all_kept()) {
                hammer_of(&mut page, hammered);
            }
            for near_miss in looks_like {
                let body = &mut page.body;
                let name = &near_miss.name;
                let told =
                    format!("{bold}It breaks the same promises, in the same way, as {name}{bold:#}, a tempting fix:");
                body.push('\n');
                body.push_str(&wrapped(&told, ""));
                body.push_str(&wrapped(&near_miss.tempts, "  "));
                let _ = writeln!(body, "  {}", near_miss.page);
            }
            warned(&mut page.body, warnings);
            if judged.is_accepted() {
                let rest = rest(exercise, interleavings.as_ref(), hammer.as_ref());
                page.focused(&rest);
            }
        }
    }
    if !judged.is_accepted() && !matches!(judged.outcome, Outcome::NotBuilt { .. }) {
        let hint = format!("\nA hint: cargo ghosts hint {slug}\n");
        if page.verdict_last { page.head.push_str(&hint) } else { page.body.push_str(&hint) }
    }
    page
}

/// How many promises are kept, and what stands in the way beside them.
fn head(report: &Report, interleavings: Option<&Interleavings>, hammer: Option<&Hammered>) -> String {
    let red = AnsiColor::Red.on_default().bold();
    let mut head = format!("{}: {} of {} promises kept", report.ghost, report.kept(), report.promises.len());
    let left = report.promises.len() - report.kept() - report.broken().len();
    if left > 0 {
        let _ = write!(head, ", {left} not judged");
    }
    head.push('\n');
    if let Some(Interleavings::Fail { table }) = interleavings {
        let broken = last_line(table).trim_start_matches("broken: ");
        let _ = writeln!(head, "{red}the model FAILS{red:#}: {broken}");
    }
    if let Some(Hammered::Rejected { observed, tries }) = hammer {
        let _ = writeln!(head, "{red}REJECTED on real threads{red:#}, in try {}: {observed}", counted(*tries));
    }
    head
}

fn promises(page: &mut Page, exercise: &Exercise<'_>, report: &Report, said: &str, detail: Detail) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    page.body.push('\n');
    let mut is_first = true;
    for judged in &report.promises {
        let (style, word) = match judged.outcome {
            Verdict::Kept => (green, "kept"),
            Verdict::Broken => (red, "BROKEN"),
            Verdict::NotJudged => (dim, "not judged"),
        };
        let mut told = format!("  {style}{word:10}{style:#}  {}\n", judged.key);
        if judged.outcome != Verdict::Broken || !is_first && detail == Detail::Brief {
            page.body.push_str(&told);
            continue;
        }
        told.push_str(&wrapped(&judged.promise, INDENT));
        if let Some(observed) = &judged.observed {
            told.push_str(&wrapped_at_spaces(&clickable(exercise, &format!("-> {observed}")), INDENT));
        }
        if is_first {
            let said = last_lines(&clickable(exercise, said), &format!("{INDENT}  "));
            if !said.is_empty() {
                let _ = write!(told, "{INDENT}its last output:\n{said}");
            }
            page.focused(&told);
        } else {
            page.body.push_str(&told);
        }
        is_first = false;
    }
}

/// Paths that lead there from the root of the clone, so that an editor finds them.
fn clickable(exercise: &Exercise<'_>, text: &str) -> String {
    let below = format!("{}/src/", exercise.place());
    let text = text.replace(" src/", &format!(" {below}")).replace("[src/", &format!("[{below}"));
    if text.starts_with("src/") { text.replacen("src/", &below, 1) } else { text }
}

fn last_lines(said: &str, indent: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(SAID)..];
    last.iter().map(|line| format!("{indent}{line}\n")).collect()
}

fn model_of(page: &mut Page, interleavings: &Interleavings, all_kept: bool) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    match interleavings {
        Interleavings::Hold { explored } => page.body.push_str(&format!(
            "\n  {green}holds{green:#}       in all {} interleavings of the threads in src/shared.rs\n",
            counted(*explored as u64)
        )),
        Interleavings::Fail { table } => {
            // It is as wide as a terminal may be.
            let told = format!(
                "\n  {red}FAILS{red:#}       when the threads in src/shared.rs meet like this:\n\n{}\n",
                table.trim_end()
            );
            if all_kept { page.focused(&told) } else { page.body.push_str(&told) }
        }
        Interleavings::NotApplicable { why } => {
            let told = format!("The interleavings do not apply to this fix: {why}.");
            page.body.push_str(&format!("\n  {dim}not judged{dim:#}  {}", wrapped(&told, INDENT).trim_start()));
        }
    }
}

fn hammer_of(page: &mut Page, hammered: &Hammered) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    match hammered {
        Hammered::Rejected { observed, tries } => {
            let told = format!("on real threads, in try {}: {observed}.", counted(*tries));
            let told = format!("\n  {red}REJECTED{red:#}    {}", wrapped(&told, INDENT).trim_start());
            // What the model has found tells more.
            if page.focus.is_empty() { page.focused(&told) } else { page.body.push_str(&told) }
        }
        Hammered::NothingSeen { tries } => {
            let times = counted(*tries);
            page.body
                .push_str(&format!("\n  {green}tried{green:#}       {times} times on real threads, nothing seen\n"));
        }
        Hammered::NotTried { why } => {
            let told = format!("Its races were not tried on real threads: {why}.");
            page.body.push_str(&format!("\n  {dim}not judged{dim:#}  {}", wrapped(&told, INDENT).trim_start()));
        }
    }
}

/// What the compiler warns of: first what was forgotten to be used, such as a future without `.await`.
fn warned(text: &mut String, warnings: &[String]) {
    let is_unused = |warning: &&String| warning.contains("unused_must_use") || warning.contains("must be used");
    let (unused, others): (Vec<&String>, Vec<&String>) = warnings.iter().partition(is_unused);
    let all = [unused, others].concat();
    let shown = &all[..all.len().min(WARNINGS)];
    for warning in shown {
        let _ = write!(text, "\n{}\n", warning.trim_end());
    }
    match all.len() - shown.len() {
        0 => {}
        1 => text.push_str("\nand 1 more warning, which `cargo test` shows\n"),
        more => text.push_str(&format!("\nand {more} more warnings, which `cargo test` shows\n")),
    }
}

/// A number with a comma before each three digits.
fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The ghost is gone, as far as anybody can tell; what that cost, and what comes next.
fn rest(exercise: &Exercise<'_>, interleavings: Option<&Interleavings>, hammer: Option<&Hammered>) -> String {
    let green = AnsiColor::Green.on_default().bold();
    let (slug, summary) = (exercise.slug(), exercise.progress().unwrap_or_default());
    let mut text = match (interleavings, hammer) {
        (Some(Interleavings::Hold { .. }), _) | (None, None) => format!("\n{green}Laid to rest{green:#}"),
        (_, Some(Hammered::NothingSeen { .. })) => format!(
            "\n{green}Every promise is kept{green:#}, and no race was seen. A rare one may be left:\nwhich two threads can \
             meet in what you wrote?\nSo far"
        ),
        _ => format!("\n{green}Every promise is kept{green:#}; races were not judged.\nSo far"),
    };
    let counted = |count: u64, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    if let (Some(started), Some(solved)) = (summary.started_at, summary.solved_at) {
        let minutes = counted(solved.saturating_sub(started).div_ceil(60), "minute");
        let checks = counted(summary.checks as u64, "check");
        let _ = write!(text, ": {minutes}, {checks}, {}", counted(summary.hints as u64, "hint"));
    }
    let _ =
        writeln!(text, ".\n\n  how we laid it   cargo ghosts solution {slug}\n  the chapter      book/src/{slug}.md");
    let next = start::next(exercise.checkout).map_or("list".to_owned(), |next| format!("start {}", next.slug));
    let _ = writeln!(text, "  the next one     cargo ghosts {next}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue::ghosts, checkout::Checkout};

    fn report(broken: &[bool]) -> Report {
        let promises: Vec<serde_json::Value> = broken
            .iter()
            .enumerate()
            .map(|(index, broken)| {
                serde_json::json!({
                    "key": format!("promise-{index}"), "promise": format!("Sentence {index}."),
                    "outcome": if *broken { "broken" } else { "kept" },
                    "observed": broken.then(|| format!("the app panicked at src/lib.rs:{index}")), "scenes": []
                })
            })
            .collect();
        let report = serde_json::json!({"schema": 1, "ghost": "hidden-flush", "promises": promises});
        serde_json::from_value(report).expect("a report")
    }

    fn judged(broken: &[bool], interleavings: Option<Interleavings>, hammer: Option<Hammered>) -> Judged {
        let (said, warnings) = ("one\n[src/lib.rs:7:5] two = 2\n".to_owned(), Vec::new());
        let report = report(broken);
        let looks_like = Vec::new();
        Judged::new("hidden-flush", Outcome::Judged { report, looks_like, interleavings, hammer, said, warnings })
    }

    fn shown(judged: &Judged, detail: Detail) -> (String, Vec<String>) {
        let checkout = Checkout::at("/nowhere");
        let exercise = Exercise::of(&checkout, ghosts::find("hidden-flush").expect("a ghost"));
        let page = page(&exercise, judged, detail);
        let plain = |text: &str| anstream::adapter::strip_str(text).to_string();
        let lines = plain(&page.body).lines().map(str::to_owned).collect::<Vec<_>>();
        (plain(&page.head), lines[page.focus].to_vec())
    }

    #[test]
    fn the_first_broken_promise_is_whole_with_what_the_app_said_and_paths_from_the_root() {
        let judged = judged(&[false, true, true], None, None);
        let (head, focus) = shown(&judged, Detail::Brief);
        assert_eq!(head, "hidden-flush: 1 of 3 promises kept\n");
        let expected = [
            "  BROKEN      promise-1",
            "              Sentence 1.",
            "              -> the app panicked at exercises/hidden-flush/src/lib.rs:1",
            "              its last output:",
            "                one",
            "                [exercises/hidden-flush/src/lib.rs:7:5] two = 2",
        ];
        assert_eq!(focus, expected);
        let checkout = Checkout::at("/nowhere");
        let exercise = Exercise::of(&checkout, ghosts::find("hidden-flush").expect("a ghost"));
        assert!(!page(&exercise, &judged, Detail::Brief).body.contains("Sentence 2."));
        assert!(page(&exercise, &judged, Detail::All).body.contains("Sentence 2."));
    }

    #[test]
    fn that_the_model_or_the_hammer_rejects_it_stands_in_the_head() {
        let table = "1  one  reads 1\n\nbroken: two were released".to_owned();
        let fails = judged(&[false], Some(Interleavings::Fail { table }), None);
        let (head, focus) = shown(&fails, Detail::Brief);
        assert_eq!(head, "hidden-flush: 1 of 1 promises kept\nthe model FAILS: two were released\n");
        assert!(focus[1].starts_with("  FAILS "), "{focus:?}");
        let rejected = Hammered::Rejected { observed: "another's answer".to_owned(), tries: 12_345 };
        let rejected = judged(&[false], None, Some(rejected));
        let (head, _) = shown(&rejected, Detail::Brief);
        assert!(head.ends_with("REJECTED on real threads, in try 12,345: another's answer\n"), "{head}");
        assert!(!fails.laid_to_rest && !rejected.laid_to_rest);
    }

    #[test]
    fn nothing_seen_makes_no_verdict_better() {
        let tried = || Some(Hammered::NothingSeen { tries: 12_345 });
        let not_tried = || Some(Hammered::NotTried { why: "it is not".to_owned() });
        let gone = || Some(Interleavings::NotApplicable { why: "it is gone".to_owned() });
        for (interleavings, hammer, laid_to_rest) in [
            (None, None, true),
            (Some(Interleavings::Hold { explored: 7 }), tried(), true),
            (None, tried(), false),
            (gone(), tried(), false),
            (gone(), None, false),
            (None, not_tried(), false),
        ] {
            let judged = judged(&[false], interleavings, hammer);
            assert!(judged.is_accepted());
            assert_eq!(judged.laid_to_rest, laid_to_rest);
            let (_, said) = shown(&judged, Detail::All);
            assert_eq!(said.join(" ").contains("Laid to rest"), laid_to_rest, "{said:?}");
        }
        let broken = judged(&[true], None, tried());
        assert!(!broken.laid_to_rest && !broken.is_accepted());
    }
}
