//! The field, measured: published layers, and those of this book, held against the conformance suite.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    process::{Command, Stdio},
    sync::OnceLock,
};

use conform::Outcome;
use matrix::{Judged, Rows};
use serde::{Deserialize, Serialize};

use super::{
    cells::{counts, findings, is_ours, keys, title},
    ours, page, rows, verdicts,
};
use crate::{
    Refusal,
    cargo::cargo,
    catalogue::ghosts,
    checkout::{Checkout, unwritable},
    terminal::{print, print_json, wrapped},
};

/// The command that judges the layers of other crates anew.
pub const FIELD_COMMAND: &str = "cargo ghosts conform --field";
/// What that command keeps.
pub const FIELD: &str = "book/src/generated/conform/field.json";
/// The page of the book that is made from all rows.
pub const PAGE: &str = "book/src/generated/conform/matrix.md";
/// The clauses, as a table for the book.
const CLAUSES: &str = "book/src/generated/conform/clauses.md";

const FIELD_MANIFEST: &str = "tests/conform/field/Cargo.toml";
/// What judges, and what is judged: the rows of the field are those of these files, or are to be judged anew.
const SUITE: &[&str] = &["tests/conform/src", "tests/conform/matrix/src", "tests/lab/src"];
const FIELD_SOURCES: &[&str] = &["tests/conform/field/src", "tests/conform/field/Cargo.lock"];

/// The rows of the field, with what they were made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Field {
    schema: u32,
    /// The digest of the suite that judged them.
    suite: String,
    /// The digest of their own sources and lock file.
    field: String,
    rows: Vec<Judged>,
}

/// Judges layers and tells what came of it: those of this workspace, or with `field` those of other crates, which are kept.
/// `part` is a part of the names of the rows to judge.
///
/// # Errors
/// If the rows cannot be judged, or the field's cannot be built or kept.
pub fn run(checkout: &Checkout, part: Option<&str>, field: bool, json: bool) -> Result<bool, Refusal> {
    let rows = if field { judge_field(checkout, part)? } else { judge_workspace(checkout, part)? };
    if rows.is_empty() {
        let part = part.unwrap_or_default();
        return Err(Refusal::new(format!("no row has \"{part}\" in its name")));
    }
    let mut wrong = wrong(checkout, &rows)?;
    if part.is_none() {
        let other = if field { workspace(checkout)?.to_vec() } else { kept(checkout)?.rows };
        wrong.extend(verdicts::idle(checkout, &[rows.as_slice(), &other].concat())?);
    }
    if json {
        print_json(&Rows { schema: 1, rows })?;
    } else {
        print(&told(&rows, &wrong))?;
    }
    Ok(wrong.is_empty())
}

/// The rows of this workspace, judged once in this process.
fn workspace(checkout: &Checkout) -> Result<&'static [Judged], Refusal> {
    static JUDGED: OnceLock<Result<Vec<Judged>, Refusal>> = OnceLock::new();
    match JUDGED.get_or_init(|| judge_workspace(checkout, None)) {
        Ok(rows) => Ok(rows),
        Err(refusal) => Err(refusal.clone()),
    }
}

fn judge_workspace(checkout: &Checkout, part: Option<&str>) -> Result<Vec<Judged>, Refusal> {
    let lock = checkout.text("Cargo.lock")?;
    let all = [rows::all(), ours::all()].into_iter().flatten().collect();
    Ok(matrix::judge_all(all, part, &lock).map_err(Refusal::new)?.rows)
}

/// Cargo for the field's own workspace. Its target directory is the root's: whoever has built the ghosts keeps one folder and
/// not two.
fn field_cargo(checkout: &Checkout, command: &str) -> Command {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| checkout.path("target").into_os_string());
    let mut cargo = cargo(checkout.root());
    cargo.args([command, "--locked", "--manifest-path", FIELD_MANIFEST]);
    cargo.env("CARGO_TARGET_DIR", target).stdin(Stdio::null()).stderr(Stdio::inherit());
    cargo
}

/// Builds and runs the field's own workspace. Where all rows are judged, the true findings are made again by its tests first,
/// and the rows are kept.
fn judge_field(checkout: &Checkout, part: Option<&str>) -> Result<Vec<Judged>, Refusal> {
    let cannot = |why: &str| Refusal::new(format!("cannot judge the field: {why}"));
    if part.is_none() {
        let tested = field_cargo(checkout, "test").output().map_err(|error| cannot(&error.to_string()))?;
        if !tested.status.success() {
            return Err(cannot(&format!("its tests fail:\n{}", String::from_utf8_lossy(&tested.stdout))));
        }
    }
    let ran = field_cargo(checkout, "run").arg("--").args(part).output().map_err(|error| cannot(&error.to_string()))?;
    if !ran.status.success() {
        return Err(cannot("its program failed"));
    }
    let rows: Rows = serde_json::from_slice(&ran.stdout).map_err(|error| cannot(&error.to_string()))?;
    if part.is_none() {
        let (suite, field) = (digest(checkout, SUITE)?, digest(checkout, FIELD_SOURCES)?);
        let field = Field { schema: 1, suite, field, rows: rows.rows.clone() };
        let text = serde_json::to_string_pretty(&field).map_err(|error| cannot(&error.to_string()))?;
        checkout.write(FIELD, &format!("{text}\n")).map_err(|error| unwritable(FIELD, &error))?;
    }
    Ok(rows.rows)
}

fn kept(checkout: &Checkout) -> Result<Field, Refusal> {
    let text = checkout.text(FIELD)?;
    serde_json::from_str(&text).map_err(|error| Refusal::new(format!("{FIELD}: {error}: run `{FIELD_COMMAND}`")))
}

/// The generated files of the matrix, by name.
pub(crate) fn files(checkout: &Checkout) -> Result<BTreeMap<String, String>, Refusal> {
    let (workspace, field) = (workspace(checkout)?, kept(checkout)?.rows);
    let page = page::page(checkout, workspace, &field)?;
    let mut files = BTreeMap::from([
        (PAGE.to_owned(), page),
        (CLAUSES.to_owned(), page::clauses()),
        (FIELD.to_owned(), checkout.text(FIELD)?),
    ]);
    for ghost in ghosts::ALL.iter() {
        let sentence = page::of_ghost(ghost.slug);
        files.extend(sentence.map(|sentence| (format!("book/src/generated/{}/clauses.md", ghost.slug), sentence)));
    }
    Ok(files)
}

/// What is not as it should be with the matrix, a sentence each: rows that were judged by another suite or from another lock
/// file, and verdicts that are missing or idle.
///
/// # Errors
/// If a source cannot be read.
pub fn stale(checkout: &Checkout) -> Result<Vec<String>, Refusal> {
    let field = kept(checkout)?;
    let mut stale = Vec::new();
    if field.suite != digest(checkout, SUITE)? {
        stale.push(format!("{FIELD} was judged by another version of the suite: run `{FIELD_COMMAND}`"));
    }
    if field.field != digest(checkout, FIELD_SOURCES)? {
        stale.push(format!("{FIELD} was judged with other rows or another lock file: run `{FIELD_COMMAND}`"));
    }
    for ghost in ghosts::ALL.iter().filter(|ghost| page::of_ghost(ghost.slug).is_some()) {
        let include = format!("{{{{#include generated/{}/clauses.md}}}}", ghost.slug);
        if !checkout.text(&format!("book/src/{}.md", ghost.slug))?.lines().any(|line| line == include) {
            stale.push(format!("book/src/{}.md does not lead to the suite: it lacks `{include}`", ghost.slug));
        }
    }
    let rows = [workspace(checkout)?, &field.rows].concat();
    stale.extend(wrong(checkout, &rows)?);
    stale.extend(verdicts::idle(checkout, &rows)?);
    Ok(stale)
}

/// What is not as it should be with these rows, a sentence each.
fn wrong(checkout: &Checkout, rows: &[Judged]) -> Result<Vec<String>, Refusal> {
    let mut wrong = verdicts::missing(checkout, rows)?;
    for row in rows {
        let title = title(row);
        wrong.extend(row.faults.iter().map(|fault| format!("{title}: {fault}")));
        for cell in &row.cells {
            match cell.outcome {
                Outcome::Stale => wrong.push(format!("{title}: declares {} as changed, and it is kept", cell.key)),
                Outcome::NotJudged => wrong.push(format!("{title}: {} was not judged", cell.key)),
                _ => {}
            }
        }
        if row.name == ours::BROKEN && is_ours(row) && findings(row).is_empty() {
            wrong.push(format!("{title}: breaks no clause"));
        }
    }
    Ok(wrong)
}

fn told(rows: &[Judged], wrong: &[String]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{}", title(row));
        for (outcome, word) in [(Outcome::Broken, "broken"), (Outcome::Changed, "changed")] {
            let keys = keys(row, outcome);
            if !keys.is_empty() {
                let options = textwrap::Options::new(80).initial_indent("    ").subsequent_indent("    ");
                let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation);
                text.push_str(&textwrap::fill(&format!("{word}: {}", keys.join(", ")), options));
                text.push('\n');
            }
        }
    }
    let _ = writeln!(text, "\n{}", counts(rows));
    for sentence in wrong {
        text.push_str(&wrapped(sentence, ""));
    }
    text
}

/// A number that changes with the text of these files and folders, whatever the ends of their lines. Not meant against malice.
fn digest(checkout: &Checkout, names: &[&str]) -> Result<String, Refusal> {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |text: &str| {
        for byte in text.bytes().chain([0]) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for name in names {
        for file in files_below(checkout, name) {
            eat(&file);
            eat(&checkout.text(&file)?);
        }
    }
    Ok(format!("{digest:016x}"))
}

/// The files at or below `name`, sorted, with `/` between their parts.
fn files_below(checkout: &Checkout, name: &str) -> Vec<String> {
    if checkout.path(name).is_dir() {
        let inside = checkout.names(name);
        inside.iter().flat_map(|inside| files_below(checkout, &format!("{name}/{inside}"))).collect()
    } else {
        vec![name.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TESTS: [&str; 2] = ["tests/conform/tests/upstream.rs", "tests/conform/field/tests/upstream.rs"];
    const REPORTS: &str = "tests/conform/field/reports";

    /// A finding is stated only where a test makes it again, and each finding has the draft of a report.
    #[test]
    fn each_report_names_tests_and_each_test_stands_in_a_report() {
        let checkout = Checkout::here();
        let mut told = BTreeSet::new();
        for name in checkout.names(REPORTS) {
            let report = checkout.text(&format!("{REPORTS}/{name}")).unwrap();
            for line in
                ["- versions: ", "- thread: ", "- test: `", "## What was seen", "## Why", "## What a fix would be"]
            {
                assert!(report.lines().any(|found| found.starts_with(line)), "{name} has no line \"{line}\"");
            }
            let tests = report.lines().filter_map(|line| line.strip_prefix("- test: `")?.strip_suffix('`'));
            told.extend(tests.map(str::to_owned));
        }
        let mut tested = BTreeSet::new();
        for name in TESTS {
            let text = checkout.text(name).unwrap();
            let named = text
                .split("#[tokio::test")
                .skip(1)
                .filter_map(|after| after.split("async fn ").nth(1)?.split('(').next());
            tested.extend(named.map(str::to_owned));
        }
        let untested: Vec<_> = told.difference(&tested).collect();
        assert!(untested.is_empty(), "reports name tests that are not there: {untested:?}");
        // What is cured, or documented, is shown by tests as well, and is nothing to report.
        let known = |test: &&String| !test.starts_with("older_") && *test != "tower_resilience_errors_have_no_source";
        let untold: Vec<_> = tested.difference(&told).filter(known).collect();
        assert!(untold.is_empty(), "tests that no report names: {untold:?}");
    }

    #[test]
    fn a_digest_changes_with_a_text_and_not_with_the_ends_of_its_lines() {
        let folder = env::temp_dir().join(format!("ghosts-digest-{}", std::process::id()));
        let checkout = Checkout::at(&folder);
        let written = |text: &str| {
            checkout.write("src/lib.rs", text).unwrap();
            digest(&checkout, &["src"]).unwrap()
        };
        let [one, same, other] = [written("one\ntwo\n"), written("one\r\ntwo\r\n"), written("one\n")];
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(one == same && one != other, "{one} {same} {other}");
    }
}
