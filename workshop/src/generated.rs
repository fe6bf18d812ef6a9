//! Everything that is generated and committed: the pages of the book that are not written by hand, and the README's table.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process,
};

use lab::{Limits, Outcome, Report};
use serde::{Deserialize, Serialize};

use crate::{
    Refusal,
    case::{self, Case},
    conform, difference,
    ghosts::{self, Ghost},
    picture, print, print_json, wrapped,
};

/// The command that makes it all anew.
pub const COMMAND: &str = "cargo ghosts regenerate";

const VERDICTS: &str = "verdicts.json";
const FOLDER: &str = "book/src/generated";
const BEGIN: &str = "<!-- ghosts: made by `cargo ghosts regenerate` -->";
const END: &str = "<!-- end of ghosts -->";

#[derive(Serialize)]
struct Written {
    schema: u32,
    written: Vec<String>,
    removed: Vec<String>,
}

/// Which promises the broken twin and the near misses of a ghost break.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verdicts {
    schema: u32,
    /// What the broken twin breaks.
    pub broken: Vec<String>,
    /// What each near miss breaks, in the order of `near_misses::ALL`.
    pub near_misses: Vec<Rejected>,
}

/// What a near miss breaks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// The keys of the promises, none where only the model rejects it.
    pub broken: Vec<String>,
}

/// Writes every generated file that differs from what the generator makes now.
///
/// # Errors
/// If a source cannot be read or a file cannot be written.
pub fn run(root: &Path, json: bool) -> Result<bool, Refusal> {
    let files = files(root)?;
    let mut done = Written { schema: 1, written: Vec::new(), removed: Vec::new() };
    for (name, text) in &files {
        if read(root, name).as_deref() != Some(text) {
            write(&root.join(name), text).map_err(|error| Refusal::new(format!("cannot write {name}: {error}")))?;
            done.written.push(name.clone());
        }
    }
    for name in orphans(root, &files)? {
        fs::remove_file(root.join(&name)).map_err(|error| Refusal::new(format!("cannot remove {name}: {error}")))?;
        done.removed.push(name);
    }
    if json {
        print_json(&done)?;
    } else {
        let mut text: String = done.written.iter().map(|name| format!("wrote {name}\n")).collect();
        text.extend(done.removed.iter().map(|name| format!("removed {name}\n")));
        if text.is_empty() {
            text.push_str("everything generated is as the generator makes it\n");
        }
        print(&text)?;
    }
    Ok(true)
}

/// What differs between the committed files and what the generator makes now, a sentence each.
///
/// # Errors
/// If a source cannot be read.
pub fn stale(root: &Path) -> Result<Vec<String>, Refusal> {
    let files = files(root)?;
    let differs = files.iter().filter(|(name, text)| read(root, name).as_ref() != Some(text)).map(|(name, _)| name);
    let differs = differs.map(|name| format!("{name} is not what the generator makes now: run `{COMMAND}`"));
    let orphans = orphans(root, &files)?.into_iter().map(|name| format!("nothing generates {name}: run `{COMMAND}`"));
    Ok(differs.chain(orphans).chain(conform::stale(root)?).collect())
}

/// Every generated file with its text, by its name below the root.
fn files(root: &Path) -> Result<BTreeMap<String, String>, Refusal> {
    let mut files = BTreeMap::new();
    let mut cases = Vec::new();
    for ghost in ghosts::ALL.iter() {
        let case = case::read(root, ghost.slug)?;
        for (name, text) in of_ghost(root, ghost, &case)? {
            files.insert(format!("{FOLDER}/{}/{name}", ghost.slug), text);
        }
        cases.push((ghost.slug, case));
    }
    let readme = read(root, "README.md").ok_or_else(|| Refusal::new("cannot read README.md"))?;
    files.insert("README.md".to_owned(), with_table(&readme, &cases)?);
    files.extend(conform::files(root)?);
    Ok(files)
}

fn of_ghost(root: &Path, ghost: &Ghost, case: &Case) -> Result<Vec<(String, String)>, Refusal> {
    let (broken, fixed) = (ghost.broken(), ghost.fixed());
    let mut promises = "| promise | what it says |\n|---|---|\n".to_owned();
    for judged in &broken.promises {
        let _ = writeln!(promises, "| `{}` | {} |", judged.key, judged.promise);
    }
    let mut near = "| tempting fix | why it tempts | what rejects it |\n|---|---|---|\n".to_owned();
    for told in &case.near_misses {
        let _ = writeln!(near, "| `{}` | {} | `{}` |", told.name, told.tempts, told.breaks);
    }
    let mut threads = String::new();
    for thread in &case.threads {
        let kind = format!("https://github.com/{}/issues/{}", thread.repository, thread.number);
        let _ = writeln!(threads, "- [{}#{}]({kind}): {}", thread.repository, thread.number, thread.shows);
    }
    let mut seen = "| crate | versions | what was seen |\n|---|---|---|\n".to_owned();
    for version in &case.seen {
        let _ = writeln!(seen, "| `{}` | {} | {} |", version.library, version.versions, version.note);
    }
    let mut files = vec![
        ("broken.txt".to_owned(), broken.to_string()),
        ("fixed.txt".to_owned(), fixed.beside(&broken).to_string()),
        ("difference.diff".to_owned(), difference::unified(root, ghost.slug)?),
        ("promises.md".to_owned(), promises),
        ("near-misses.md".to_owned(), near),
        ("threads.md".to_owned(), threads),
        ("seen.md".to_owned(), seen),
        ("minutes.md".to_owned(), format!("{} minutes; difficulty {} of 3.\n", case.minutes, case.difficulty)),
    ];
    let mut verdicts = Verdicts { schema: 1, broken: keys(&broken), near_misses: Vec::new() };
    for near_miss in &ghost.near_misses {
        let report = near_miss.judge(Limits::default());
        files.push((format!("near-miss-{}.txt", near_miss.name), rejection(&report)));
        verdicts.near_misses.push(Rejected { name: near_miss.name.to_owned(), broken: keys(&report) });
    }
    let verdicts = serde_json::to_string_pretty(&verdicts).map_err(|error| Refusal::new(error.to_string()))?;
    files.push((VERDICTS.to_owned(), format!("{verdicts}\n")));
    files.push(("verified-with.md".to_owned(), verified_with(root)?));
    if let Some(picture) = timelines(ghost.slug, case, &broken, &fixed)? {
        files.push(("timeline.html".to_owned(), picture));
    }
    for interleaving in interleavings(root, ghost.slug)? {
        files.push((format!("{}.txt", interleaving.name), interleaving.text));
    }
    Ok(files)
}

fn keys(report: &Report) -> Vec<String> {
    report.broken().into_iter().map(str::to_owned).collect()
}

/// Which promises the broken twin and the near misses of a ghost break, as they were when the book was generated.
///
/// # Errors
/// If the generated file is missing or wrong.
pub fn verdicts(root: &Path, slug: &str) -> Result<Verdicts, Refusal> {
    let name = format!("{FOLDER}/{slug}/{VERDICTS}");
    let text = read(root, &name).ok_or_else(|| Refusal::new(format!("cannot read {name}: run `{COMMAND}`")))?;
    serde_json::from_str(&text).map_err(|error| Refusal::new(format!("{name}: {error}: run `{COMMAND}`")))
}

/// The promises that a near miss breaks, each with what was seen.
fn rejection(report: &Report) -> String {
    let broken = report.promises.iter().filter(|judged| judged.outcome == Outcome::Broken);
    let told = broken.map(|judged| {
        let observed = judged.observed.as_deref().unwrap_or_default();
        format!("BROKEN  {}\n{}", judged.key, wrapped(&format!("-> {observed}"), "        "))
    });
    let told = told.collect::<Vec<_>>().join("\n");
    if told.is_empty() { "every promise is kept: only the model rejects it\n".to_owned() } else { told }
}

/// The libraries that the reports were made with, from the lock file.
fn verified_with(root: &Path) -> Result<String, Refusal> {
    let lock = read(root, "Cargo.lock").ok_or_else(|| Refusal::new("cannot read Cargo.lock"))?;
    let version = |library: &str| {
        let entry = lock.split("[[package]]\n").find(|entry| entry.starts_with(&format!("name = \"{library}\"\n")));
        let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
        version.map(|version| format!("{library} {version}"))
    };
    let all = ["axum", "tower", "tower-http", "hyper", "h2", "http-body-util", "async-compression", "tokio"]
        .into_iter()
        .filter_map(version);
    Ok(format!("{}\n", all.collect::<Vec<_>>().join(", ")))
}

/// The twins in the scene in which the broken one fails; none where it breaks no promise.
fn timelines(slug: &str, case: &Case, broken: &Report, fixed: &Report) -> Result<Option<String>, Refusal> {
    let Some(key) = case.picture.as_deref().or(broken.broken().first().copied()) else { return Ok(None) };
    let cannot = |why: &str| {
        Refusal::new(format!(
            "cannot draw the promise `{key}` of {slug}: {why}; cases/{slug}/case.toml may choose another `picture`"
        ))
    };
    let judged = |report: &'_ Report| report.promises.iter().find(|judged| judged.key == key).cloned();
    let failing = judged(broken).filter(|judged| judged.outcome == Outcome::Broken);
    let failing = failing.ok_or_else(|| cannot("it is none that the broken twin breaks"))?;
    let scene = failing.scenes.last().ok_or_else(|| cannot("the broken twin has played no scene of it"))?;
    let scenes = judged(fixed).map(|judged| judged.scenes).unwrap_or_default();
    let same = scenes.iter().find(|other| other.title == scene.title);
    let same = same.ok_or_else(|| cannot(&format!("the fixed twin has not played \"{}\"", scene.title)))?;
    Ok(Some(picture::timelines(slug, scene, failing.observed.as_deref(), same)))
}

/// The table of a committed interleaving, or the count of a model that holds.
#[derive(Clone, Debug, Serialize)]
pub struct Interleaving {
    /// The name of the snapshot, for instance `interleaving-broken`.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The snapshot, below the root.
    pub file: String,
    /// The table.
    pub text: String,
}

/// The interleavings that the tests of a ghost have committed: those of the broken core, of the near misses that only the
/// model rejects, and the count of the fixed core. None where the ghost has no shared state.
///
/// # Errors
/// If a snapshot cannot be read.
pub fn interleavings(root: &Path, slug: &str) -> Result<Vec<Interleaving>, Refusal> {
    let mut found = Vec::new();
    for (tree, test) in [("cases", "reproduces"), ("fixed", "holds")] {
        let folder = format!("{tree}/{slug}/tests/snapshots");
        let prefix = format!("{test}__interleaving");
        for file in names(&root.join(&folder)).into_iter().filter(|file| file.starts_with(&prefix)) {
            let name = file.trim_start_matches(&format!("{test}__")).trim_end_matches(".snap").to_owned();
            let path = format!("{folder}/{file}");
            let text = read(root, &path).ok_or_else(|| Refusal::new(format!("cannot read {path}")))?;
            // A snapshot is a header between two lines of dashes, and then what was seen.
            let text = text.splitn(3, "---\n").nth(2).unwrap_or_default().trim_end();
            let title = match name.strip_prefix("interleaving-") {
                Some("broken") => "What loom found in the broken core".to_owned(),
                Some("fixed") => "What loom found in the fixed core".to_owned(),
                Some(near_miss) => format!("What loom found in the near miss {near_miss}"),
                None => "What loom found".to_owned(),
            };
            found.push(Interleaving { name, title, file: path, text: format!("{text}\n") });
        }
    }
    Ok(found)
}

fn with_table(readme: &str, cases: &[(&str, Case)]) -> Result<String, Refusal> {
    let marks = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        marks.ok_or_else(|| Refusal::new(format!("README.md has lost its marks `{BEGIN}` and `{END}`")))?;
    let mut table = "| ghost | what production sees |\n|---|---|\n".to_owned();
    for (slug, case) in cases {
        let _ = writeln!(table, "| [`{slug}`](book/src/{slug}.md) | {} |", case.symptom);
    }
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// The files below the folder of generated files that no generator makes.
fn orphans(root: &Path, files: &BTreeMap<String, String>) -> Result<Vec<String>, Refusal> {
    let mut orphans = Vec::new();
    for slug in names(&root.join(FOLDER)) {
        for file in names(&root.join(FOLDER).join(&slug)) {
            let name = format!("{FOLDER}/{slug}/{file}");
            if !files.contains_key(&name) {
                orphans.push(name);
            }
        }
    }
    Ok(orphans)
}

/// The names in a folder, sorted; none where there is no such folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A text file below the root, with line feeds only.
fn read(root: &Path, name: &str) -> Option<String> {
    fs::read_to_string(root.join(name)).ok().map(|text| text.replace("\r\n", "\n"))
}

/// Writes beside the file first, so that a full disk leaves the old one whole; each process at a place of its own.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    fs::create_dir_all(&folder)?;
    let beside = path.with_extension(format!("new-{}", process::id()));
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_a_promise_that_is_not_broken_is_refused() {
        let root = crate::root();
        let ghost = &ghosts::ALL[0];
        let (broken, fixed) = (ghost.broken(), ghost.fixed());
        let mut case = case::read(&root, ghost.slug).unwrap();
        for key in broken.broken() {
            case.picture = Some(key.to_owned());
            assert!(timelines(ghost.slug, &case, &broken, &fixed).unwrap().is_some(), "{key}");
        }
        case.picture = Some("no-such-promise".to_owned());
        let said = timelines(ghost.slug, &case, &broken, &fixed).unwrap_err().to_string();
        assert!(said.contains("`no-such-promise`") && said.contains("none that the broken twin breaks"), "{said}");
        case.picture = None;
        assert_eq!(timelines(ghost.slug, &case, &fixed, &fixed).unwrap(), None);
    }
}
