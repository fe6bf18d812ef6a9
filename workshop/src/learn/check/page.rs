//! What came of a check as a page for the terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use lab::{Outcome as Verdict, Report};

use crate::{
    learn::{
        exercise::Exercise,
        judged::{Interleavings, Judged, Outcome},
        start,
    },
    terminal::wrapped,
};

/// A page for the terminal: with `wire`, also what crossed the wire where a promise is broken.
pub fn render(exercise: &Exercise<'_>, judged: &Judged, wire: bool) -> String {
    let slug = judged.slug;
    let (bold, red) = (Style::new().bold(), AnsiColor::Red.on_default().bold());
    let mut text = String::new();
    // Writing to a String cannot fail.
    match &judged.outcome {
        Outcome::DoesNotCompile { errors } => {
            let _ = writeln!(
                text,
                "{errors}\n{red}{slug} does not compile{red:#} (the paths are below {})",
                exercise.place()
            );
        }
        Outcome::EndedWithoutVerdict { how, said } => {
            let _ = writeln!(text, "{red}{slug} {how}{red:#}");
            let last: Vec<&str> = said.lines().rev().take(8).collect();
            if !last.is_empty() {
                text.push_str("\nIt said last:\n");
            }
            last.iter().rev().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        Outcome::Judged { report, looks_like, interleavings } => {
            if wire {
                text.push_str(&report.to_string());
            } else {
                promises(&mut text, report);
            }
            if let Some(interleavings) = interleavings {
                model_of(&mut text, interleavings);
            }
            for near_miss in looks_like {
                let _ = writeln!(text, "\n{bold}Looks like {}{bold:#}, a fix that tempts and fails:", near_miss.name);
                text.push_str(&wrapped(&near_miss.tempts, "  "));
                let _ = writeln!(text, "  {}", near_miss.page);
            }
            if judged.laid_to_rest() {
                rest(exercise, interleavings.as_ref(), &mut text);
            }
        }
    }
    if !judged.laid_to_rest() {
        let _ = writeln!(text, "\nA hint: cargo ghosts hint {slug}");
    }
    text
}

fn promises(text: &mut String, report: &Report) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    let _ = writeln!(text, "{}: {} of {} promises kept\n", report.ghost, report.kept(), report.promises.len());
    for judged in &report.promises {
        let (style, word) = match judged.outcome {
            Verdict::Kept => (green, "kept"),
            Verdict::Broken => (red, "BROKEN"),
            Verdict::NotJudged => (dim, "not judged"),
        };
        let _ = writeln!(text, "  {style}{word:10}{style:#}  {}", judged.key);
        if judged.outcome == Verdict::Broken {
            text.push_str(&wrapped(&judged.promise, "              "));
            if let Some(observed) = &judged.observed {
                text.push_str(&wrapped(&format!("-> {observed}"), "              "));
            }
        }
    }
}

fn model_of(text: &mut String, interleavings: &Interleavings) {
    let (red, green, dim) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default(), Style::new().dimmed());
    let _ = match interleavings {
        Interleavings::Hold { explored } => writeln!(
            text,
            "\n  {green}holds{green:#}       in all {explored} interleavings of the threads in src/shared.rs"
        ),
        Interleavings::Fail { table } => {
            let _ = writeln!(text, "\n  {red}FAILS{red:#}       when the threads in src/shared.rs meet like this:\n");
            // It is as wide as a terminal may be.
            writeln!(text, "{}", table.trim_end())
        }
        Interleavings::NotApplicable { why } => {
            text.push_str(&format!("\n  {dim}not judged{dim:#}  "));
            let told = format!("The interleavings do not apply to this fix: {why}.");
            text.write_str(wrapped(&told, "              ").trim_start())
        }
    };
}

/// The ghost is gone: what it cost, and what comes next.
fn rest(exercise: &Exercise<'_>, interleavings: Option<&Interleavings>, text: &mut String) {
    let green = AnsiColor::Green.on_default().bold();
    let (slug, summary) = (exercise.slug(), exercise.progress().unwrap_or_default());
    let _ = write!(text, "\n{green}Laid to rest{green:#}");
    if matches!(interleavings, Some(Interleavings::NotApplicable { .. })) {
        text.push_str(", as far as the promises go");
    }
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
}
