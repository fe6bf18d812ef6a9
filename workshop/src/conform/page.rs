//! The page of the matrix, computed from the rows and the verdicts.

use std::{collections::BTreeMap, fmt::Write};

use conform::{Clause, Level, Outcome};
use matrix::{Cell, Judged};

use super::{
    cells::{counts, findings, is_ours, keys},
    verdicts::{self, Kind, Verdict},
};
use crate::{Refusal, checkout::Checkout};

/// The page, from the rows of this workspace and those of the field.
pub(super) fn page(checkout: &Checkout, workspace: &[Judged], field: &[Judged]) -> Result<String, Refusal> {
    let verdicts = verdicts::all(checkout)?;
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

/// The clauses of the suite, each with the ghost that a breach becomes.
pub(super) fn clauses() -> String {
    let mut table = "| clause | level | what it says | in production |\n|---|---|---|---|\n".to_owned();
    for clause in conform::clauses() {
        let ghost = clause.ghost.map_or(String::new(), |ghost| format!("[{ghost}]({ghost}.md)"));
        let _ = writeln!(table, "| `{}` | {} | {} | {ghost} |", clause.key, level(clause), marked(clause.sentence));
    }
    table
}

/// The sentence of a ghost's chapter that leads to the suite; none where no clause names the ghost.
pub(super) fn of_ghost(slug: &str) -> Option<String> {
    let keys: Vec<&str> =
        conform::clauses().iter().filter(|clause| clause.ghost == Some(slug)).map(|clause| clause.key).collect();
    let page = "[your own layer](test-your-own-layer.md)";
    (!keys.is_empty()).then(|| format!("The conformance suite checks {page} for this: {}.\n", listed(&keys)))
}

fn is_spotless(row: &Judged) -> bool {
    row.cells.iter().all(|cell| cell.outcome == Outcome::NotApplicable)
}

fn write_spotless(page: &mut String, rows: &[&Judged]) {
    let _ = writeln!(page, "## Keep every clause that applies to them ({})\n", rows.len());
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
        let _ = writeln!(
            page,
            "| {library} {version} `{}` | {} | {changed} | {broken}{follow} |",
            row.name,
            marked(&row.put)
        );
    }
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn write_seen(page: &mut String, rows: &[&Judged], verdicts: &[Verdict]) {
    page.push_str("\n## What was seen\n");
    for row in rows {
        let _ = writeln!(page, "\n### {} {} `{}`\n", row.library, row.version, row.name);
        let told = |outcome| row.cells.iter().filter(move |cell| cell.outcome == outcome && cell.cause.is_none());
        // What one verdict, or one reason, is on is told together.
        let broken = together(told(Outcome::Broken), |cell| {
            verdicts::find(verdicts, row, &cell.key).map(|verdict| verdict.reason.as_str()).unwrap_or_default()
        });
        for cells in broken {
            write_broken(page, row, &cells, verdicts);
        }
        let changed = together(told(Outcome::Changed), |cell| cell.reason.as_deref().unwrap_or_default());
        for cells in changed {
            let _ = write!(page, "- Changed, as declared: {}.", text(&cells[0].reason));
            for cell in cells {
                let _ = write!(page, " `{}`: {}.", cell.key, text(&cell.observed));
            }
            page.push('\n');
        }
    }
}

/// The cells that share something, in the order in which the first of each stands.
fn together<'c>(cells: impl Iterator<Item = &'c Cell>, shared: impl Fn(&'c Cell) -> &'c str) -> Vec<Vec<&'c Cell>> {
    let mut groups: Vec<(&str, Vec<&Cell>)> = Vec::new();
    for cell in cells {
        let shared = shared(cell);
        match groups.iter_mut().find(|(of, _)| *of == shared) {
            Some((_, group)) => group.push(cell),
            None => groups.push((shared, vec![cell])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn write_broken(page: &mut String, row: &Judged, cells: &[&Cell], verdicts: &[Verdict]) {
    let clause = |key: &str| conform::clauses().iter().find(|clause| clause.key == key);
    page.push_str("- Broken:");
    for cell in cells {
        let level = clause(&cell.key).map_or("", level);
        let _ = write!(page, " **`{}`** ({level}): {}.", cell.key, text(&cell.observed));
    }
    let follows = |other: &&Cell| cells.iter().any(|cell| other.cause.as_deref() == Some(&cell.key));
    let follow: Vec<&str> = row.cells.iter().filter(follows).map(|other| other.key.as_str()).collect();
    if !follow.is_empty() {
        let _ = write!(page, " From the same cause: {}.", listed(&follow));
    }
    if let Some(verdict) = verdicts::find(verdicts, row, &cells[0].key) {
        write_verdict(page, verdict);
    }
    let mut ghosts: Vec<&str> = cells.iter().filter_map(|cell| clause(&cell.key)?.ghost).collect();
    ghosts.sort_unstable();
    ghosts.dedup();
    if !ghosts.is_empty() {
        let links: Vec<String> = ghosts.iter().map(|ghost| format!("[{ghost}]({ghost}.md)")).collect();
        let _ = write!(page, " What becomes of it: {}.", links.join(", "));
    }
    page.push('\n');
}

fn write_verdict(page: &mut String, verdict: &Verdict) {
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
    marked(seen.as_deref().unwrap_or("nothing").trim_end_matches('.'))
}

/// The same text where Markdown has marks of its own.
fn marked(text: &str) -> String {
    let mut marked = String::new();
    for c in text.chars() {
        if "<>*_`[]|\\".contains(c) {
            marked.push('\\');
        }
        marked.push(c);
    }
    marked
}

fn write_ours(page: &mut String, rows: &[&Judged]) {
    page.push_str(
        "\n## The ghosts of this book that are middleware\n\n| ghost | twin or near miss | what falls \
         |\n|---|---|---|\n",
    );
    for row in rows {
        let falls = match listed(&findings(row)) {
            falls if !falls.is_empty() => falls,
            _ if row.name == super::ours::FIXED => "nothing".to_owned(),
            _ => "nothing: only its specification rejects it".to_owned(),
        };
        let _ = writeln!(page, "| [`{0}`]({0}.md) | {1} | {falls} |", row.library, row.name);
    }
}
