//! Writes everything that is generated and committed: the pages of the book that are not written by hand, and the README's table.

use std::{collections::BTreeMap, fmt::Write, fs};

use lab::{Judged, Outcome, Report, SceneRecord};
use serde::Serialize;

use super::{
    marks, picture, poster, reading, see,
    storyboard::{Storyboard, Words},
};
use crate::{
    Refusal,
    catalogue::{
        case::{self, Case, NearMiss},
        difference,
        generated::{COMMAND, FOLDER, Rejected, VERDICTS, Verdicts, interleavings},
        ghosts::{self, Ghost},
    },
    checkout::Checkout,
    conform::measured,
    html::inline,
    terminal::{print, print_json, wrapped},
};

/// The folder of what is generated for the first page.
const COVER: &str = "cover";
/// What is told to whoever looks into the folder of what is generated.
const NOT_FOR_TRANSLATING: &str = "\
# Generated

`cargo ghosts regenerate` writes every file below this folder: reports, transcripts, code, and tables from each `case.toml`.
Change what they are made from, and not the files.

None of them is for translating. A translation shows them as they are, for they are what the programs say. The pictures are the
one exception: their words are in `book/pictures/words.toml`.
";
const BEGIN: &str = "<!-- ghosts: made by `cargo ghosts regenerate` -->";
const END: &str = "<!-- end of ghosts -->";
const SEEN_BEGIN: &str = "<!-- seen: made by `cargo ghosts regenerate` -->";
const SEEN_END: &str = "<!-- end of seen -->";
/// The ghost with which the README begins.
const SEEN: &str = "hidden-flush";

/// What was done about the generated files.
#[derive(Debug, Serialize)]
pub struct Written {
    schema: u32,
    written: Vec<String>,
    removed: Vec<String>,
}

/// Writes every generated file that differs from what the generator makes now.
///
/// # Errors
/// If a source cannot be read or a file cannot be written.
pub fn run(checkout: &Checkout, json: bool) -> Result<bool, Refusal> {
    let done = write(checkout)?;
    if json {
        print_json(&done)?;
    } else {
        let mut text: String = done.written.iter().map(|name| format!("wrote {name}\n")).collect();
        text.extend(done.removed.iter().map(|name| format!("removed {name}\n")));
        if text.is_empty() {
            text.push_str("every generated file is up to date\n");
        }
        print(&text)?;
    }
    Ok(true)
}

/// Does it, and tells what was to be done.
///
/// # Errors
/// As [`run`].
pub fn write(checkout: &Checkout) -> Result<Written, Refusal> {
    let files = files(checkout)?;
    let mut done = Written { schema: 1, written: Vec::new(), removed: Vec::new() };
    for (name, text) in &files {
        if checkout.text(name).ok().as_ref() != Some(text) {
            checkout.write(name, text).map_err(|error| Refusal::new(format!("cannot write {name}: {error}")))?;
            done.written.push(name.clone());
        }
    }
    for name in orphans(checkout, &files)? {
        fs::remove_file(checkout.path(&name))
            .map_err(|error| Refusal::new(format!("cannot remove {name}: {error}")))?;
        done.removed.push(name);
    }
    Ok(done)
}

/// What differs between the committed files and what the generator makes now, a sentence each.
///
/// # Errors
/// If a source cannot be read.
pub fn stale(checkout: &Checkout) -> Result<Vec<String>, Refusal> {
    let files = files(checkout)?;
    let differs =
        files.iter().filter(|(name, text)| checkout.text(name).ok().as_ref() != Some(text)).map(|(name, _)| name);
    let differs = differs.map(|name| format!("{name} is out of date: run `{COMMAND}`"));
    let orphans = orphans(checkout, &files)?
        .into_iter()
        .map(|name| format!("nothing generates {name} any more: run `{COMMAND}`"));
    Ok(differs.chain(orphans).chain(measured::stale(checkout)?).collect())
}

/// Every generated file with its text, by its name below the root.
fn files(checkout: &Checkout) -> Result<BTreeMap<String, String>, Refusal> {
    let mut files = BTreeMap::new();
    let mut cases = Vec::new();
    for ghost in ghosts::ALL.iter() {
        let case = case::read(checkout, ghost.slug)?;
        for (name, text) in of_ghost(checkout, ghost, &case)? {
            files.insert(format!("{FOLDER}/{}/{name}", ghost.slug), text);
        }
        cases.push((ghost.slug, case));
    }
    for ghost in ghosts::ALL.iter() {
        let line = reading::line(checkout, &files, ghost.slug)?;
        files.insert(format!("{FOLDER}/{}/reading.md", ghost.slug), line);
    }
    files.insert(format!("{FOLDER}/{COVER}/ghosts.md"), cover(&cases));
    files.insert(format!("{FOLDER}/{COVER}/{SEEN}.svg"), of_readme(checkout, &files)?);
    files.insert(format!("{FOLDER}/README.md"), NOT_FOR_TRANSLATING.to_owned());
    files.insert(format!("{FOLDER}/{COVER}/version.md"), format!("{}\n", env!("CARGO_PKG_VERSION")));
    let readme = checkout.text("README.md")?;
    let readme = with_terminals(&with_table(&readme, &cases)?, &cases)?;
    files.insert("README.md".to_owned(), readme);
    files.extend(measured::files(checkout)?);
    Ok(files)
}

fn of_ghost(checkout: &Checkout, ghost: &'static Ghost, case: &Case) -> Result<Vec<(String, String)>, Refusal> {
    let judged = ghost.judgement();
    let (broken, fixed) = (&judged.broken, &judged.fixed);
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
        ("fixed.txt".to_owned(), fixed.beside(broken).to_string()),
        ("difference.diff".to_owned(), difference::unified(checkout, ghost.slug)?),
        ("promises.md".to_owned(), promises),
        ("near-misses.md".to_owned(), near),
        ("threads.md".to_owned(), threads),
        ("minutes.md".to_owned(), minutes(case)),
    ];
    if !case.seen.is_empty() {
        files.push(("seen.md".to_owned(), seen));
    }
    let mut verdicts = Verdicts { schema: 1, broken: keys(broken), near_misses: Vec::new() };
    for (near_miss, report) in ghost.near_misses.iter().zip(&judged.near_misses) {
        files.push((format!("near-miss-{}.txt", near_miss.name), rejection(report)));
        if let Some(told) = case.near_misses.iter().find(|told| told.name == near_miss.name && !told.shows.is_empty()) {
            let lines = difference::told(checkout, ghost.slug, near_miss.name, &told.shows)?;
            let text = format!("```diff\n{lines}```\n\n{}", rejected(told, report));
            files.push((format!("near-miss-{}.md", near_miss.name), text));
        }
        verdicts.near_misses.push(Rejected { name: near_miss.name.to_owned(), broken: keys(report) });
    }
    let verdicts = serde_json::to_string_pretty(&verdicts).map_err(|error| Refusal::new(error.to_string()))?;
    files.push((VERDICTS.to_owned(), format!("{verdicts}\n")));
    files.push(("verified-with.md".to_owned(), verified_with(checkout)?));
    if case.tries.iter().any(|told| told.watched.is_some()) {
        files.push(("see.html".to_owned(), see::page(ghost, case)?));
    }
    for (tree, anchor) in [("cases", "defect"), ("fixed", "fix")] {
        let source = checkout.text(&format!("{tree}/{}/src/lib.rs", ghost.slug))?;
        for (step, text) in marks::listing(&source, anchor).into_iter().flatten().enumerate() {
            files.push((format!("{anchor}-{}.rs", step + 1), text));
        }
    }
    if !case.choices.is_empty() {
        files.push(("choices.html".to_owned(), see::choices::page(ghost, case)?));
    }
    if let Some(picture) = timelines(checkout, ghost.slug, case, broken, fixed)? {
        files.push(("timeline.html".to_owned(), picture));
    }
    for interleaving in interleavings(checkout, ghost.slug)? {
        files.push((format!("{}.txt", interleaving.name), interleaving.text));
    }
    Ok(files)
}

/// What a trainer wants to know first.
fn minutes(case: &Case) -> String {
    format!("{} minutes; difficulty {} of 3. The objective: {}\n", case.minutes, case.difficulty, case.objective)
}

fn keys(report: &Report) -> Vec<String> {
    report.broken().into_iter().map(str::to_owned).collect()
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

/// What rejects a near miss: the promise that it is known to break, and what was seen.
fn rejected(told: &NearMiss, report: &Report) -> String {
    let mut text = "<div class=\"rejected\" lang=\"en\" translate=\"no\">\n".to_owned();
    // Writing to a String cannot fail.
    let _ = match report.promises.iter().find(|judged| judged.key == told.breaks) {
        Some(judged) => {
            writeln!(
                text,
                "<p><strong>Breaks</strong> <code>{}</code>: {}</p>\n<p><strong>Seen</strong> {}</p>",
                judged.key,
                inline(&judged.promise),
                inline(&seen(judged))
            )
        }
        None => writeln!(text, "<p><strong>Keeps every promise</strong>: only the model rejects it.</p>"),
    };
    let others: Vec<_> = report.broken().into_iter().filter(|key| *key != told.breaks).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "<p>It also breaks <code>{}</code>.</p>", others.join("</code>, <code>"));
    }
    text + "</div>\n"
}

/// What was seen, with its scene in brackets: scenes have titles of any form, and few of them go on from "in".
fn seen(judged: &Judged) -> String {
    let observed = judged.observed.as_deref().unwrap_or_default();
    let of_scene = |scene: &SceneRecord| {
        let told = observed.strip_prefix(&format!("in {}: ", scene.title))?;
        Some(format!("({}): {told}", scene.title))
    };
    judged.scenes.iter().rev().find_map(of_scene).unwrap_or_else(|| observed.to_owned())
}

/// The libraries that the reports were made with, from the lock file.
fn verified_with(checkout: &Checkout) -> Result<String, Refusal> {
    let lock = checkout.text("Cargo.lock")?;
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

/// The twins in the scene in which the broken one fails; none where it breaks no promise, or nobody has said what to draw.
fn timelines(
    checkout: &Checkout,
    slug: &str,
    case: &Case,
    broken: &Report,
    fixed: &Report,
) -> Result<Option<String>, Refusal> {
    let Some(story) = Storyboard::read(checkout, slug)? else { return Ok(None) };
    let Some(key) = case.picture.as_deref().or(broken.broken().first().copied()) else { return Ok(None) };
    let cannot = |why: &str| {
        Refusal::new(format!(
            "cannot draw the promise `{key}` of {slug}: {why}; cases/{slug}/case.toml may choose another `picture`"
        ))
    };
    let judged = |report: &'_ Report| report.promises.iter().find(|judged| judged.key == key).cloned();
    let failing = judged(broken).filter(|judged| judged.outcome == Outcome::Broken);
    let failing = failing.ok_or_else(|| cannot("the broken twin does not break it"))?;
    let scene = failing.scenes.last().ok_or_else(|| cannot("the broken twin played no scene of it"))?;
    let scenes = judged(fixed).map(|judged| judged.scenes).unwrap_or_default();
    let same = scenes.iter().find(|other| other.title == scene.title);
    let same = same.ok_or_else(|| cannot(&format!("the fixed twin did not play \"{}\"", scene.title)))?;
    let failure = failing.observed.as_deref().unwrap_or_default();
    let words = Words::read(checkout)?;
    let (of_broken, of_fixed) = (marks::of(checkout, "cases", slug)?, marks::of(checkout, "fixed", slug)?);
    let marks = [&of_broken[..], &of_fixed[..]];
    let scenes = picture::Scenes { slug, story: &story, words: &words, broken: scene, fixed: same, failure, marks };
    picture::timelines(&scenes).map(Some).map_err(|why| cannot(&why))
}

/// The table of the first page: every ghost in the order of the book, the easiest of a family first.
fn cover(cases: &[(&str, Case)]) -> String {
    let mut cases: Vec<_> = cases.iter().collect();
    cases.sort_by_key(|(_, case)| (case.family, case.difficulty));
    let mut table = "| ghost | what production sees | family, difficulty, minutes |\n|---|---|---|\n".to_owned();
    for (slug, case) in cases {
        let (title, symptom, family) = (&case.title, &case.symptom, case.family.name());
        let _ = writeln!(
            table,
            "| [{title}]({slug}.md) | {symptom} | {family}, {} of 3, {} min |",
            case.difficulty, case.minutes
        );
    }
    table
}

fn with_table(readme: &str, cases: &[(&str, Case)]) -> Result<String, Refusal> {
    let mut table = "| ghost | what production sees |\n|---|---|\n".to_owned();
    for (slug, case) in cases {
        let _ = writeln!(table, "| [`{slug}`](book/src/{slug}.md) | {} |", case.symptom);
    }
    between(readme, BEGIN, END, &table)
}

/// The picture with which the README begins.
fn of_readme(checkout: &Checkout, files: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let name = format!("{FOLDER}/{SEEN}/timeline.html");
    let picture = files.get(&name).map(String::as_str).unwrap_or_default();
    let words = Words::read(checkout)?;
    let said = ["key", "key-same", "key-rows"].map(|word| words.get(SEEN, word));
    let said = said.into_iter().collect::<Result<Vec<_>, _>>().map(|said| said.join(" · "));
    let css = checkout.text("book/css/pictures.css")?;
    said.and_then(|said| poster::poster(picture, &css, &said))
        .map_err(|why| Refusal::new(format!("cannot draw {name} for the README: {why}")))
}

/// The README with a ghost as two terminals show it.
fn with_terminals(readme: &str, cases: &[(&str, Case)]) -> Result<String, Refusal> {
    let ghost = ghosts::find(SEEN)?;
    let case = cases.iter().find(|(slug, _)| *slug == SEEN).map(|(_, case)| case);
    let case = case.ok_or_else(|| Refusal::new(format!("there is no case {SEEN}")))?;
    between(readme, SEEN_BEGIN, SEEN_END, &format!("```text\n{}```\n", see::text(ghost, case)?))
}

/// The README with `text` between two of its marks.
fn between(readme: &str, begin: &str, end: &str, text: &str) -> Result<String, Refusal> {
    let marks = readme.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) =
        marks.ok_or_else(|| Refusal::new(format!("README.md is missing its marks `{begin}` and `{end}`")))?;
    Ok(format!("{before}{begin}\n{text}{end}{after}"))
}

/// The files below the folder of generated files that no generator makes.
fn orphans(checkout: &Checkout, files: &BTreeMap<String, String>) -> Result<Vec<String>, Refusal> {
    let mut orphans = Vec::new();
    for slug in checkout.names(FOLDER) {
        for file in checkout.names(&format!("{FOLDER}/{slug}")) {
            let name = format!("{FOLDER}/{slug}/{file}");
            if !files.contains_key(&name) {
                orphans.push(name);
            }
        }
    }
    Ok(orphans)
}

#[cfg(test)]
mod tests {
    use lab::Limits;

    use super::*;

    #[test]
    fn a_picture_of_a_promise_that_is_not_broken_is_refused() {
        let (ghost, here) = (&ghosts::ALL[0], Checkout::here());
        let (broken, fixed) = (ghost.broken(Limits::default()), ghost.fixed(Limits::default()));
        let mut case = case::read(&here, ghost.slug).unwrap();
        assert!(timelines(&here, ghost.slug, &case, &broken, &fixed).unwrap().is_some());
        case.picture = Some("no-such-promise".to_owned());
        let said = timelines(&here, ghost.slug, &case, &broken, &fixed).unwrap_err().to_string();
        assert!(said.contains("`no-such-promise`") && said.contains("the broken twin does not break it"), "{said}");
        case.picture = None;
        assert_eq!(timelines(&here, ghost.slug, &case, &fixed, &fixed).unwrap(), None);
    }
}
