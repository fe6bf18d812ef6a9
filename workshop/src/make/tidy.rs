//! What must be the same across the trees, and is kept by nobody's memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use toml::{Table, Value};

use super::{
    marks, reading,
    storyboard::{self, Storyboard},
};
use crate::{
    Refusal,
    catalogue::{
        case::{self, MODEL},
        difference,
        ghosts::{self, Ghost, Judgement},
    },
    checkout::Checkout,
    read::book,
};

const HEADINGS: [&str; 5] = ["# Symptom", "# Trigger", "# Cause", "# Cost", "# Start here"];
/// The sections of a chapter: a verdict names a promise only after the promises have been told.
const SECTIONS: [&str; 12] = [
    "The page at 3 a.m.",
    "See it",
    "The code that passed review",
    "What it must keep",
    "What happens",
    "Three fixes that fail",
    "The fix",
    "Why it holds",
    "In the wild",
    "How to notice it in your own service",
    "Check yourself",
    "For the trainer",
];
const LIB_LINES: usize = 200;
const SHARED_LINES: usize = 120;
const CHANGED_LINES: usize = 50;
const CHOICES: RangeInclusive<usize> = 3..=5;

/// Everything that is out of order, a sentence each, with what to do.
///
/// # Errors
/// If a `case.toml` is wrong or a source cannot be read.
pub fn faults(checkout: &Checkout) -> Result<Vec<String>, Refusal> {
    let mut faults = Vec::new();
    same_slugs(checkout, &mut faults);
    for ghost in ghosts::ALL.iter() {
        let case = case::read(checkout, ghost.slug)?;
        twins(checkout, ghost.slug, &mut faults)?;
        near_misses(checkout, ghost, &case, &mut faults);
        snapshots(checkout, ghost.slug, &mut faults);
        sections(checkout, ghost.slug, &mut faults);
        choices(checkout, ghost.slug, &case, &mut faults);
        listings(checkout, ghost.slug, &mut faults);
        short_listings(checkout, ghost.slug, &mut faults);
        marked_steps(checkout, ghost.slug, &mut faults)?;
        every_promise_can_break(checkout, ghost, &case, &mut faults);
    }
    drills(checkout, &mut faults)?;
    manifests(checkout, &mut faults);
    words(checkout, &mut faults);
    faults.extend(book::faults(checkout)?);
    Ok(faults)
}

/// Every slug has a folder in both trees, a specification, two dependency lines and an entry.
fn same_slugs(checkout: &Checkout, faults: &mut Vec<String>) {
    let manifest = checkout.text("workshop/Cargo.toml").unwrap_or_default();
    let entries: BTreeSet<String> = ghosts::ALL.iter().map(|ghost| ghost.slug.to_owned()).collect();
    let folders = ["cases", "fixed"].map(|tree| checkout.names(tree).into_iter().collect::<BTreeSet<_>>());
    for slug in folders.iter().flatten().chain(&entries).collect::<BTreeSet<_>>() {
        let needed = [
            (folders[0].contains(slug), format!("there is no broken twin cases/{slug}")),
            (folders[1].contains(slug), format!("there is no fixed twin fixed/{slug}")),
            (
                entries.contains(slug),
                format!(
                    "workshop/src/catalogue/ghosts.rs has no line that begins with `Ghost::of::<{}_spec::Spec>`",
                    slug.replace('-', "_")
                ),
            ),
            (
                manifest.contains(&format!("\n{slug} = {{ path = \"../cases/{slug}\" }}")),
                format!("workshop/Cargo.toml lacks the line `{slug} = {{ path = \"../cases/{slug}\" }}`"),
            ),
            (
                manifest.contains(&format!("\n{slug}-fixed = {{ path = \"../fixed/{slug}\" }}")),
                format!("workshop/Cargo.toml lacks the line `{slug}-fixed = {{ path = \"../fixed/{slug}\" }}`"),
            ),
            (
                manifest.contains(&format!("\n{slug}-spec = {{ path = \"../tests/{slug}\" }}")),
                format!("workshop/Cargo.toml lacks the line `{slug}-spec = {{ path = \"../tests/{slug}\" }}`"),
            ),
            (
                checkout.has(&format!("tests/{slug}/src/lib.rs")),
                format!("there is no specification tests/{slug}/src/lib.rs"),
            ),
            (checkout.has(&format!("cases/{slug}/case.toml")), format!("there is no cases/{slug}/case.toml")),
            (
                checkout.has(&format!("{}/{slug}.toml", storyboard::FOLDER)),
                format!("there is no {}/{slug}.toml, which says what the picture shows", storyboard::FOLDER),
            ),
        ];
        faults.extend(needed.into_iter().filter(|(there, _)| !there).map(|(_, fault)| fault));
    }
}

/// Headings, anchors and budgets of the twins, and of every whole file beside them.
fn twins(checkout: &Checkout, slug: &str, faults: &mut Vec<String>) -> Result<(), Refusal> {
    for (tree, anchor) in [("cases", "defect"), ("fixed", "fix")] {
        let name = format!("{tree}/{slug}/src/lib.rs");
        let lib = checkout.text(&name).unwrap_or_default();
        for heading in HEADINGS {
            let heading = if tree == "fixed" { heading.replace("Cause", "Fix") } else { heading.to_owned() };
            if !lib.lines().any(|line| line == format!("//! {heading}")) {
                faults.push(format!("{name} lacks the heading `{heading}`"));
            }
        }
        let files = [name.clone(), format!("{tree}/{slug}/src/shared.rs")];
        let times = |file: &String, mark: &str| {
            checkout.text(file).unwrap_or_default().lines().filter(|line| line.trim() == mark).count()
        };
        let (begin, end) = (format!("// ANCHOR: {anchor}"), format!("// ANCHOR_END: {anchor}"));
        for file in &files {
            let (begins, ends) = (times(file, &begin), times(file, &end));
            if begins != ends || begins > 1 {
                faults.push(format!(
                    "{file} has `{begin}` {begins} times and `{end}` {ends} times; each belongs there once"
                ));
            }
        }
        if files.iter().all(|file| times(file, &begin) == 0) {
            faults.push(format!("neither {name} nor its shared.rs has `{begin}`"));
        }
        within(checkout, &name, LIB_LINES, faults);
        within(checkout, &format!("{tree}/{slug}/src/shared.rs"), SHARED_LINES, faults);
    }
    for folder in [difference::near_misses(slug), format!("fixed/{slug}/tests/also_right")] {
        for file in checkout.names(&folder) {
            within(checkout, &format!("{folder}/{file}"), LIB_LINES, faults);
        }
    }
    let changed = difference::changed_code_lines(checkout, slug)?;
    if changed > CHANGED_LINES {
        faults.push(format!("the twins of {slug} differ in {changed} code lines; at most {CHANGED_LINES} are allowed"));
    }
    Ok(())
}

fn within(checkout: &Checkout, name: &str, most: usize, faults: &mut Vec<String>) {
    let lines = checkout.text(name).unwrap_or_default().lines().count();
    if lines > most {
        faults.push(format!("{name} has {lines} lines; at most {most} are allowed"));
    }
}

/// Files, `near_misses::ALL`, `case.toml` and snapshots name the same near misses.
fn near_misses(checkout: &Checkout, ghost: &Ghost, case: &case::Case, faults: &mut Vec<String>) {
    let slug = ghost.slug;
    let all: Vec<&str> = ghost.near_misses.iter().map(|near_miss| near_miss.name).collect();
    let told: Vec<&str> = case.near_misses.iter().map(|near_miss| near_miss.name.as_str()).collect();
    if all != told {
        faults.push(format!("near_misses::ALL of {slug} has {all:?} and cases/{slug}/case.toml has {told:?}"));
    }
    let folder = difference::near_misses(slug);
    let files = checkout.names(&folder);
    let files: BTreeSet<String> =
        files.iter().filter_map(|file| file.strip_suffix(".rs")).map(|file| file.replace('_', "-")).collect();
    for name in files.iter().filter(|file| !all.contains(&file.as_str())) {
        faults.push(format!("near_misses::ALL of {slug} lacks `{name}`, which {folder} has"));
    }
    for name in all.iter().filter(|name| !files.contains(**name)) {
        faults.push(format!("{folder} lacks the near miss `{name}`"));
    }
    for near_miss in &case.near_misses {
        // What the model rejects keeps every promise; what is seen of it is its interleaving.
        let prefix = if near_miss.breaks == MODEL { "interleaving-" } else { "" };
        let snapshot = format!("cases/{slug}/tests/snapshots/reproduces__{prefix}{}.snap", near_miss.name);
        if !checkout.has(&snapshot) {
            faults.push(format!("no test has made {snapshot}"));
        }
    }
}

/// Every snapshot is named by a test, and none waits to be looked at.
fn snapshots(checkout: &Checkout, slug: &str, faults: &mut Vec<String>) {
    for (tree, test) in [("cases", "reproduces"), ("fixed", "holds")] {
        let source = checkout.text(&format!("{tree}/{slug}/tests/{test}.rs")).unwrap_or_default();
        let folder = format!("{tree}/{slug}/tests/snapshots");
        for file in checkout.names(&folder) {
            let name = file.strip_prefix(&format!("{test}__")).and_then(|file| file.strip_suffix(".snap"));
            if name.is_none_or(|name| !source.contains(&format!("\"{name}\""))) {
                faults.push(format!("no test in {tree}/{slug}/tests/{test}.rs names {folder}/{file}"));
            }
        }
    }
}

/// Every chapter has the same sections in the same order, and shows what two terminals show.
fn sections(checkout: &Checkout, slug: &str, faults: &mut Vec<String>) {
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name).unwrap_or_default();
    let there: Vec<&str> = chapter.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for section in SECTIONS.iter().filter(|section| !there.contains(section)) {
        faults.push(format!("{name} lacks the heading `## {section}`"));
    }
    let known = there.iter().filter(|section| SECTIONS.contains(section));
    if let Some((wrong, right)) =
        known.zip(SECTIONS.iter().filter(|section| there.contains(section))).find(|(one, other)| one != other)
    {
        faults.push(format!("{name} has `## {wrong}` where `## {right}` belongs"));
    }
    let see = format!("{{{{#include generated/{slug}/see.html}}}}");
    if !chapter.contains(&see) {
        faults.push(format!("{name} does not show what two terminals show: `{see}`"));
    }
}

/// At 3 a.m. the reader chooses among a few commands, one of which tells the most.
fn choices(checkout: &Checkout, slug: &str, case: &case::Case, faults: &mut Vec<String>) {
    let name = format!("cases/{slug}/case.toml");
    let all = case.choices.len();
    if !CHOICES.contains(&all) {
        faults.push(format!(
            "{name} has {all} of `[[choice]]`, and {} to {} are right",
            CHOICES.start(),
            CHOICES.end()
        ));
    }
    let best = case.choices.iter().filter(|choice| choice.best).count();
    if best != 1 {
        faults.push(format!("{name} has `best = true` in {best} of its `[[choice]]`, and one tells the most"));
    }
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name).unwrap_or_default();
    let page = chapter.split_once("## The page at 3 a.m.").map_or("", |(_, rest)| rest);
    let page = page.split_once("\n## ").map_or(page, |(page, _)| page);
    let include = format!("{{{{#include generated/{slug}/choices.html}}}}");
    if !page.contains(&include) {
        faults.push(format!("{name} gives no choice in *The page at 3 a.m.*: `{include}`"));
    }
}

/// A chapter tells how long it takes to read, shows long code in steps, and speaks of each number in them.
fn listings(checkout: &Checkout, slug: &str, faults: &mut Vec<String>) {
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name).unwrap_or_default();
    let reading = format!("{{{{#include generated/{slug}/reading.md}}}}");
    if !chapter.split("\n## ").next().is_some_and(|head| head.contains(&reading)) {
        faults.push(format!("{name} does not tell in its head how long it takes to read: `{reading}`"));
    }
    for (tree, anchor, section) in [("cases", "defect", "The code that passed review"), ("fixed", "fix", "The fix")] {
        let source = checkout.text(&format!("{tree}/{slug}/src/lib.rs")).unwrap_or_default();
        let steps = marks::listing(&source, anchor).unwrap_or_default();
        let section = chapter.split("\n## ").find(|part| part.lines().next() == Some(section)).unwrap_or_default();
        if !steps.is_empty() && section.contains(&format!("{tree}/{slug}/src/lib.rs:{anchor}}}}}")) {
            faults.push(format!(
                "{name} shows the anchor `{anchor}` whole, which has numbers or more than {} lines",
                marks::LONGEST
            ));
        }
        for step in 1..=steps.len() {
            let include = format!("{{{{#include generated/{slug}/{anchor}-{step}.rs}}}}");
            if !section.contains(&include) {
                faults.push(format!("{name} lacks a step of the listing: `{include}`"));
            }
        }
        if let Some(step) = steps.iter().find(|step| step.lines().count() > marks::LONGEST) {
            let first = step.lines().next().unwrap_or_default();
            faults.push(format!("{tree}/{slug}/src/lib.rs has an item too long for a chapter: `{first}`"));
        }
        let shown: BTreeSet<char> = steps.iter().flat_map(|step| marks::numbers(step)).collect();
        let spoken: BTreeSet<char> = marks::numbers(section).collect();
        for number in shown.symmetric_difference(&spoken) {
            let what = if shown.contains(number) { "says nothing of" } else { "has no line for" };
            faults.push(format!("{name} {what} {number} of the anchor `{anchor}`"));
        }
    }
}

/// A listing from a source is short as well, unless it is the test that readers paste into their own service.
fn short_listings(checkout: &Checkout, slug: &str, faults: &mut Vec<String>) {
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name).unwrap_or_default();
    for block in chapter.split("```rust,ignore\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let files = block.lines().filter_map(|line| line.strip_prefix("{{#include ")?.strip_suffix("}}"));
        for file in files.filter(|file| file.starts_with("../../") && !file.ends_with(":notice")) {
            let lines = reading::included(checkout, &BTreeMap::new(), file).lines().count();
            if lines > marks::LONGEST {
                faults.push(format!("{name} shows {lines} lines of {file}, and {} are right", marks::LONGEST));
            }
        }
    }
}

/// A mark in a source that has a name is a step of the picture.
fn marked_steps(checkout: &Checkout, slug: &str, faults: &mut Vec<String>) -> Result<(), Refusal> {
    let Some(story) = Storyboard::read(checkout, slug)? else { return Ok(()) };
    for tree in ["cases", "fixed"] {
        for mark in marks::of(checkout, tree, slug)?.iter().filter(|mark| !mark.name.is_empty()) {
            if story.step.iter().all(|step| step.name != mark.name) {
                faults.push(format!(
                    "{tree}/{slug} has a mark `{}`, and {}/{slug}.toml no step of that name",
                    mark.name,
                    storyboard::FOLDER
                ));
            }
        }
    }
    Ok(())
}

/// For each promise something breaks it: the broken twin, a near miss, or a saboteur among the specification's tests.
fn every_promise_can_break(checkout: &Checkout, ghost: &Ghost, case: &case::Case, faults: &mut Vec<String>) {
    let Judgement { broken, near_misses, .. } = ghost.judgement();
    let breakable: BTreeSet<&str> = near_misses.iter().chain([broken]).flat_map(|report| report.broken()).collect();
    let folder = format!("tests/{}/tests/snapshots", ghost.slug);
    let files = checkout.names(&folder).into_iter().filter(|file| file.starts_with("saboteurs__"));
    let saboteurs: String = files.map(|file| checkout.text(&format!("{folder}/{file}")).unwrap_or_default()).collect();
    for judged in &broken.promises {
        if !breakable.contains(judged.key.as_str()) && !saboteurs.contains(&format!("    {}: ", judged.key)) {
            faults.push(format!("nothing breaks the promise `{}` of {}", judged.key, ghost.slug));
        }
    }
    for near_miss in &case.near_misses {
        let known = broken.promises.iter().any(|judged| judged.key == near_miss.breaks);
        if near_miss.breaks != MODEL && !known {
            faults.push(format!("cases/{}/case.toml: `{}` is not a promise", ghost.slug, near_miss.breaks));
        }
    }
}

/// The services of drills have names of their own, and neither these nor what people say gives a ghost away.
fn drills(checkout: &Checkout, faults: &mut Vec<String>) -> Result<(), Refusal> {
    let mut named = BTreeMap::new();
    for ghost in ghosts::ALL.iter() {
        let Some(drill) = case::read(checkout, ghost.slug)?.drill else { continue };
        let name = format!("cases/{}/case.toml", ghost.slug);
        let said = [&drill.service].into_iter().chain(&drill.pager).chain(&drill.herrings);
        let plain = ghost.slug.replace('-', " ");
        for text in said.filter(|text| text.contains(ghost.slug) || text.to_lowercase().contains(&plain)) {
            faults.push(format!("{name}: a drill says which ghost it is: {text}"));
        }
        let itself = format!("`{}`", drill.service);
        for text in drill.honest.iter().filter(|text| !text.contains(&itself)) {
            faults.push(format!("{name}: `honest` names its service, {itself}: {text}"));
        }
        for load in drill.load.iter().filter(|load| !load.path.starts_with('/')) {
            faults.push(format!("{name}: a path begins with a slash: {}", load.path));
        }
        if let Some(other) = named.insert(drill.service.clone(), ghost.slug) {
            faults.push(format!("{name}: the drill of {other} has a service `{}`, too", drill.service));
        }
    }
    Ok(())
}

/// Versions, lints and editions stand in the root manifest only.
fn manifests(checkout: &Checkout, faults: &mut Vec<String>) {
    let manifest: Table = checkout.text("Cargo.toml").unwrap_or_default().parse().unwrap_or_default();
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members")?.as_array());
    let members = members.into_iter().flatten().filter_map(Value::as_str);
    let folders = members.flat_map(|member| match member.strip_suffix("/*") {
        Some(tree) => checkout.names(tree).into_iter().map(|slug| format!("{tree}/{slug}")).collect(),
        None => vec![member.to_owned()],
    });
    for folder in folders {
        let name = format!("{folder}/Cargo.toml");
        let manifest = checkout.text(&name).unwrap_or_default();
        for line in [
            "version.workspace = true",
            "edition.workspace = true",
            "rust-version.workspace = true",
            "license.workspace = true",
        ] {
            if !manifest.lines().any(|there| there == line) {
                faults.push(format!("{name} lacks the line `{line}`"));
            }
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{name} does not take the workspace's lints"));
        }
        for line in manifest.lines().filter(|line| line.contains("version = \"") || line.contains(" = \"^")) {
            faults.push(format!("{name} states a version, which belongs in the root manifest: {line}"));
        }
        harnesses(checkout, &folder, &manifest, faults);
    }
}

/// A library is built as a test if it has tests, and read for examples if it has examples: each empty harness is linked with
/// everything that the library depends on.
fn harnesses(checkout: &Checkout, folder: &str, manifest: &str, faults: &mut Vec<String>) {
    let mut sources = Vec::new();
    rust_sources(checkout, &format!("{folder}/src"), &mut sources);
    let sources: Vec<String> = sources.iter().map(|name| checkout.text(name).unwrap_or_default()).collect();
    let lines = || sources.iter().flat_map(|source| source.lines()).map(str::trim_start);
    let tests = lines().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let docs = lines().filter_map(|line| line.strip_prefix("//!").or(line.strip_prefix("///")));
    // Every other fence ends a block, and what is said to be something else, such as `text`, is not built.
    let mut blocks = docs.filter_map(|line| line.trim_start().strip_prefix("```")).step_by(2);
    let examples = blocks.any(|kind| ["", "rust", "no_run", "compile_fail"].contains(&kind));
    let manifest: Table = manifest.parse().unwrap_or_default();
    for (key, what, there) in [("test", "test", tests), ("doctest", "example", examples)] {
        let built = manifest.get("lib").and_then(|lib| lib.get(key)).and_then(Value::as_bool).unwrap_or(true);
        if there && !built {
            faults.push(format!("{folder}/Cargo.toml has `{key} = false`: no {what} in {folder}/src is ever run"));
        }
        if built && !there {
            faults.push(format!(
                "{folder}/Cargo.toml lacks `{key} = false` in `[lib]`: there is no {what} in {folder}/src"
            ));
        }
    }
}

/// Words that switch a test off or leave work undone.
fn words(checkout: &Checkout, faults: &mut Vec<String>) {
    // Put together here, so that this file does not find itself.
    let refused = [["#[ign", "ore"], ["#[should", "_panic"], ["to", "do!("], ["unimple", "mented!("], ["FIX", "ME"]]
        .map(|two| two.concat());
    let mut sources = Vec::new();
    for tree in ["cases", "drills", "fixed", "tests", "workshop"] {
        rust_sources(checkout, tree, &mut sources);
    }
    for name in sources {
        let source = checkout.text(&name).unwrap_or_default();
        for (number, line) in source.lines().enumerate() {
            for word in refused.iter().filter(|word| line.contains(word.as_str())) {
                faults.push(format!("{name}:{}: `{word}` does not belong here", number + 1));
            }
        }
    }
}

fn rust_sources(checkout: &Checkout, folder: &str, sources: &mut Vec<String>) {
    for name in checkout.names(folder) {
        let name = format!("{folder}/{name}");
        if checkout.path(&name).is_dir() {
            rust_sources(checkout, &name, sources);
        } else if name.ends_with(".rs") {
            sources.push(name);
        }
    }
}
