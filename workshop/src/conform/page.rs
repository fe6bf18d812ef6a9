//! The page of the matrix, computed from the rows and the verdicts.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use conform::{Clause, Level, Outcome};
use matrix::{Cell, Judged};

use super::{
    counts, findings, is_ours, keys,
    verdicts::{self, Kind, Verdict},
};
use crate::Refusal;

/// The page, from the rows of this workspace and those of the field.
pub(super) fn page(root: &Path, workspace: &[Judged], field: &[Judged]) -> Result<String, Refusal> {
    let verdicts = verdicts::all(root)?;
    let (ours, theirs): (Vec<&Judged>, Vec<&Judged>) = workspace.iter().chain(field).partition(|row| is_ours(row));
    let published: Vec<Judged> = theirs.iter().map(|row| (*row).clone()).collect();
    let (spotless, rest): (Vec<&Judged>, Vec<&Judged>) = theirs.into_iter().partition(|row| is_spotless(row));
    let mut page = format!("{}.\n\n", counts(&published));
    write_spotless(&mut page, &spotless);
    write_rest(&mut page, &rest);
    write_seen(&mut page, &rest, &verdicts);
    write_ours(&mut page, &ours);
    Ok(page)
}

fn is_spotless(row: &Judged) -> bool {
    row.cells.iter().all(|cell| cell.outcome == Outcome::NotApplicable)
}

fn write_spotless(page: &mut String, rows: &[&Judged]) {
    let _ = writeln!(page, "## Keep every clause that has a meaning for them ({})\n", rows.len());
    let mut by_library = BTreeMap::<String, Vec<String>>::new();
    for row in rows {
        by_library.entry(format!("{} {}", row.library, row.version)).or_default().push(format!("`{}`", row.name));
    }
    for (library, layers) in by_library {
        let _ = writeln!(page, "- {library}: {}", layers.join(", "));
    }
}

fn write_rest(page: &mut String, rows: &[&Judged]) {
    let _ = writeln!(page, "\n## The others ({})\n", rows.len());
    page.push_str("| layer | put as | changed as declared | broken |\n|---|---|---|---|\n");
    for row in rows {
        let changed = listed(&keys(row, Outcome::Changed));
        let broken = listed(&findings(row));
        let follow = keys(row, Outcome::Broken).len() - findings(row).len();
        let follow = if follow == 0 { String::new() } else { format!(", and {follow} that follow") };
        let (library, version) = (&row.library, &row.version);
        let _ = writeln!(page, "| {library} {version} `{}` | {} | {changed} | {broken}{follow} |", row.name, row.put);
    }
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn write_seen(page: &mut String, rows: &[&Judged], verdicts: &[Verdict]) {
    page.push_str("\n## What was seen\n");
    for row in rows {
        let _ = writeln!(page, "\n### {} {} `{}`\n", row.library, row.version, row.name);
        for cell in row.cells.iter().filter(|cell| cell.cause.is_none()) {
            match cell.outcome {
                Outcome::Broken => write_broken(page, row, cell, verdicts),
                Outcome::Changed => {
                    let (reason, observed) = (text(&cell.reason), text(&cell.observed));
                    let _ = writeln!(page, "- `{}` is changed, as declared: {reason}. Seen: {observed}.", cell.key);
                }
                _ => {}
            }
        }
    }
}

fn write_broken(page: &mut String, row: &Judged, cell: &Cell, verdicts: &[Verdict]) {
    let clause = conform::clauses().iter().find(|clause| clause.key == cell.key);
    let level = clause.map_or("", |clause| level(clause));
    let _ = write!(page, "- **`{}`** ({level}) is broken. Seen: {}.", cell.key, text(&cell.observed));
    let follow: Vec<&str> = row.cells.iter().filter(|other| other.cause.as_deref() == Some(&cell.key)).map(|other| other.key.as_str()).collect();
    if !follow.is_empty() {
        let _ = write!(page, " From the same cause: {}.", listed(&follow));
    }
    if let Some(verdict) = verdicts::find(verdicts, row, &cell.key) {
        let kind = match verdict.kind {
            Kind::Fault => "A fault",
            Kind::TradeOff => "A trade-off",
        };
        let _ = write!(page, " {kind}: {}.", verdict.reason);
        if let Some(cured) = &verdict.cured {
            let _ = write!(page, " Version {cured} no longer does it.");
        }
        match &verdict.thread {
            Some(thread) => {
                let _ = write!(page, " Thread: {}.", linked(thread));
            }
            None if verdict.kind == Kind::Fault => page.push_str(" No thread was found."),
            None => {}
        }
        if let Some(report) = &verdict.report {
            let _ = write!(page, " To see it without the suite: `tests/conform/field/reports/{report}.md`.");
        }
    }
    if let Some(ghost) = clause.and_then(|clause| clause.ghost) {
        let _ = write!(page, " What becomes of it: [{ghost}]({ghost}.md).");
    }
    page.push('\n');
}

fn level(clause: &Clause) -> &'static str {
    match clause.level {
        Level::Must => "must",
        Level::Should => "should",
        Level::Info => "info",
    }
}

/// A thread as a link: `owner/repository#number`.
fn linked(thread: &str) -> String {
    match thread.split_once('#') {
        Some((repository, number)) => format!("[{thread}](https://github.com/{repository}/issues/{number})"),
        None => thread.to_owned(),
    }
}

/// What was seen, as Markdown: it may have marks of its own, and ends where its sentence goes on.
fn text(seen: &Option<String>) -> String {
    let seen = seen.as_deref().unwrap_or("nothing");
    let escaped: String = seen.chars().flat_map(|c| ['\\', c].into_iter().skip(usize::from(!"<>*_`[]|\\".contains(c)))).collect();
    escaped.trim_end_matches('.').to_owned()
}

fn write_ours(page: &mut String, rows: &[&Judged]) {
    page.push_str("\n## The ghosts of this book that are a middleware\n\n| ghost | twin or near miss | what falls |\n|---|---|---|\n");
    for row in rows {
        let falls = match listed(&findings(row)) {
            falls if !falls.is_empty() => falls,
            _ if row.name == super::ours::FIXED => "nothing".to_owned(),
            _ => "nothing: only its specification rejects it".to_owned(),
        };
        let _ = writeln!(page, "| [`{0}`]({0}.md) | {1} | {falls} |", row.library, row.name);
    }
}
