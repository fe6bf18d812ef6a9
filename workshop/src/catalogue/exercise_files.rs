//! A learner's copy of a ghost: the broken twin without the words that give its cause away, and the test that judges it.
//!
//! Everything in it is made from the trees by rule, so that nothing is kept by hand twice. Each exercise is a cargo workspace
//! of its own below `exercises/`, with the root's lock file and target directory: no crate from outside is built twice, and
//! nothing that a learner breaks stops cargo anywhere else.

use std::{
    collections::BTreeSet,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
};

use lab::Asked;
use toml::{Table, Value};

use super::{
    case::Case,
    ghosts::{self, Ghost},
    typed::typed,
};
use crate::{
    Refusal,
    checkout::{Checkout, EXERCISES, unwritable},
    terminal::wrapped,
};

/// What the twins' tests need and no app does.
const TESTS_ONLY: [&str; 4] = ["insta", "lab", "model", "tracing-test"];

const MANIFEST: &str = include_str!("../../templates/exercise/Cargo.toml");
const README: &str = include_str!("../../templates/exercise/README.md");
const PROMISES: &str = include_str!("../../templates/exercise/promises.rs");
const RACES: &str = include_str!("../../templates/exercise/races.rs");
const INTERLEAVINGS: &str = include_str!("../../templates/exercise/interleavings.rs");
const MODEL_MANIFEST: &str = include_str!("../../templates/exercise/interleavings.toml");
const DYLIB: &str = include_str!("../../templates/exercise/dylib.rs");
const DYLIB_MANIFEST: &str = include_str!("../../templates/exercise/dylib.toml");
const SERVE: &str = include_str!("../../templates/exercise/serve.rs");

/// What cargo is told in a folder and below it.
const CONFIG: &str = ".cargo/config.toml";
/// The editor builds into a folder of its own, so that it does not keep a check waiting.
const EDITOR: &str = "{\n  \"rust-analyzer.cargo.targetDir\": true\n}\n";

/// The number of the form that exercises have; it changes when one of the old form cannot be judged any more.
pub const FORMAT: i64 = 2;

/// The end of every `src/lib.rs`: what the promises are judged by.
pub const JUDGED: &str = "
// The promises: leave these lines here.
#[cfg(test)]
#[path = \"../tests/promises.rs\"]
mod promises;
";

/// What cargo and editors need to know in every exercise: written anew when the clone has moved or changed.
///
/// # Errors
/// If it cannot be written, or the folder of the exercises is a link.
pub fn surroundings(checkout: &Checkout) -> Result<(), Refusal> {
    in_the_clone(checkout, EXERCISES)?;
    let manifest = manifest(checkout, "Cargo.toml")?;
    let dylib = placed(checkout, &manifest, DYLIB_MANIFEST)?;
    let mut config: Table = manifest.into_iter().filter(|(key, _)| key == "profile").collect();
    // An exercise is built again and again. Crates from outside are not touched by it.
    if let Some(dev) = config.get_mut("profile").and_then(|profile| profile.get_mut("dev")?.as_table_mut()) {
        dev.insert("incremental".to_owned(), Value::from(true));
    }
    if !names_a_target(checkout) {
        let target = Value::from("../target");
        config.insert("build".to_owned(), Value::from(Table::from_iter([("target-dir".to_owned(), target)])));
    }
    let files = [
        (CONFIG.to_owned(), config.to_string() + "\n" + &alias("..")),
        (".vscode/settings.json".to_owned(), EDITOR.to_owned()),
        (".dylib/Cargo.toml".to_owned(), dylib),
        (".dylib/lib.rs".to_owned(), DYLIB.to_owned()),
    ];
    let stale = |name: &str, text: &String| checkout.text(name).ok().as_ref() != Some(text);
    for (name, text) in files {
        let name = format!("{EXERCISES}/{name}");
        if stale(&name, &text) {
            checkout.write(&name, &text).map_err(|error| unwritable(&name, &error))?;
        }
    }
    // Those that are there may be older than this. Another command may be moving one away: its folder is not made again.
    for ghost in ghosts::ALL.iter() {
        for (folder, text) in aliases() {
            let folder = format!("{EXERCISES}/{}/{folder}", ghost.slug);
            let _ = fs::create_dir(checkout.path(&format!("{folder}.cargo")));
            let name = format!("{folder}{CONFIG}");
            if let Err(error) = if stale(&name, &text) { checkout.replace(&name, &text) } else { Ok(()) }
                && !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            {
                return Err(unwritable(&name, &error));
            }
        }
    }
    Ok(())
}

/// Cargo takes the true path of the folder that it is in, and paths in manifests lead nowhere from there.
///
/// # Errors
/// If what is at `place` is a link.
pub fn in_the_clone(checkout: &Checkout, place: &str) -> Result<(), Refusal> {
    if !checkout.path(place).is_symlink() {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "{place} is a symbolic link, and cargo does not find the clone from the folder that it leads to; move that \
         folder here, and leave a link to it in its old place"
    )))
}

/// How the runner is called in a folder from which `up` leads to the root. The way is relative: it stays right when the clone is
/// moved or renamed, and cargo splits this text at each space. Nothing that the exercises set is to build the runner anew.
fn alias(up: &str) -> String {
    format!(
        "[alias]\nghosts = \"run --quiet --config term.progress.when='always' --config term.progress.width=40 \
         --config profile.dev.incremental=false --manifest-path {up}/Cargo.toml --package ghosts --\"\n"
    )
}

/// The folders of an exercise, each with the alias that is right there: cargo takes the nearest.
fn aliases() -> impl Iterator<Item = (&'static str, String)> {
    let folders = [("", "../.."), ("src/", "../../.."), ("tests/", "../../.."), ("examples/", "../../..")];
    folders.into_iter().map(|(folder, up)| (folder, alias(up)))
}

/// Whether a configuration of cargo that the clone shares with the exercises says where to build. Then both build there.
fn names_a_target(checkout: &Checkout) -> bool {
    let root = checkout.root().canonicalize().unwrap_or_else(|_| checkout.root().to_owned());
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let folders = root.ancestors().map(|folder| folder.join(".cargo")).chain(home);
    let mut files = folders.flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name)));
    files.any(|file| {
        let config: Table = fs::read_to_string(file).unwrap_or_default().parse().unwrap_or_default();
        config.get("build").is_some_and(|build| build.get("target-dir").is_some())
    })
}

/// Every file of the exercise with its text.
///
/// # Errors
/// If a source cannot be read, or lacks what the exercise takes from it.
pub fn files(checkout: &Checkout, ghost: &Ghost, case: &Case) -> Result<Vec<(String, String)>, Refusal> {
    let slug = ghost.slug;
    let module = slug.replace('-', "_");
    let lib = checkout.text(&format!("cases/{slug}/src/lib.rs"))?;
    let (item, app) = if lib.contains("\npub fn layer") {
        ("layer", "|| {module}_spec::BoxedLayer::new({module}_exercise::layer())")
    } else {
        ("app", "{module}_exercise::app")
    };
    let shared = format!("cases/{slug}/src/shared.rs");
    let shared = checkout.has(&shared).then(|| checkout.text(&shared)).transpose()?;
    let filled = |template: &str| {
        let template = template.replace("{app}", app).replace("{item}", item);
        template.replace("{slug}", slug).replace("{module}", &module)
    };
    let inside = app.replace("{module}_exercise", "crate");
    let races = if has_hammer(checkout, slug) { filled(&RACES.replace("{app}", &inside)) } else { String::new() };
    let mut files = vec![
        ("Cargo.toml".to_owned(), filled(&package(checkout, shared.is_some())?)),
        ("Cargo.lock".to_owned(), checkout.text("Cargo.lock")?),
        ("README.md".to_owned(), filled(&page(case, &promises(checkout, slug)?, ghost.asked, &lib, shared.is_some()))),
        ("src/lib.rs".to_owned(), without_cause(&lib) + JUDGED),
        ("tests/promises.rs".to_owned(), filled(PROMISES) + &races),
        ("examples/serve.rs".to_owned(), filled(SERVE)),
        (".vscode/settings.json".to_owned(), EDITOR.to_owned()),
    ];
    files.extend(aliases().map(|(folder, text)| (format!("{folder}{CONFIG}"), text)));
    if let Some(shared) = shared {
        let name = format!("cases/{slug}/tests/reproduces.rs");
        let tests = checkout.text(&name)?;
        let model = between(&tests, "// ANCHOR: model\n", "// ANCHOR_END: model\n").ok_or_else(|| {
            Refusal::new(format!("{name} has no `// ANCHOR: model`, where the exercise takes its model from"))
        })?;
        files.push(("src/shared.rs".to_owned(), without_cause(&shared)));
        // The model is the specification's own, or one of the crate `model`.
        let own = checkout.has(&format!("tests/{slug}/src/interleavings.rs"));
        let model_of = if own { "{module}_spec::interleavings" } else { "model::{module}" };
        let explores = filled(&INTERLEAVINGS.replace("{model_of}", model_of)).replace("{model}\n", model);
        files.push(("tests/interleavings.rs".to_owned(), explores));
        let specification = if own { "{slug}-spec = { path = \"../../../tests/{slug}\" }\n" } else { "" };
        let package = placed(checkout, &manifest(checkout, "Cargo.toml")?, MODEL_MANIFEST)?;
        files.push(("tests/Cargo.toml".to_owned(), filled(&package.replace("{specification}\n", specification))));
    }
    Ok(files)
}

/// Whether the specification of this ghost tries races on real threads.
pub fn has_hammer(checkout: &Checkout, slug: &str) -> bool {
    checkout.has(&format!("tests/{slug}/src/hammer.rs"))
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(between, _)| between)
}

/// The manifest: every exercise has the dependencies of all twins and their fixes, which so give nothing away.
fn package(checkout: &Checkout, shared: bool) -> Result<String, Refusal> {
    let mut used = BTreeSet::new();
    for (tree, tables) in [("cases", &["dependencies"] as &[&str]), ("fixed", &["dependencies", "dev-dependencies"])] {
        for slug in checkout.names(tree) {
            let twin = manifest(checkout, &format!("{tree}/{slug}/Cargo.toml"))?;
            used.extend(
                tables.iter().filter_map(|table| twin.get(*table)?.as_table()).flat_map(|table| table.keys().cloned()),
            );
        }
    }
    let workspace = manifest(checkout, "Cargo.toml")?;
    let stated = |name: &str| {
        let stated = workspace.get("workspace").and_then(|workspace| workspace.get("dependencies")?.get(name));
        stated.ok_or_else(|| Refusal::new(format!("Cargo.toml has no `{name}` for the exercises")))
    };
    let mut dependencies = String::new();
    let tests_only = |name: &str| TESTS_ONLY.contains(&name) || name.ends_with("-spec");
    for name in used.iter().filter(|name| !tests_only(name)) {
        dependencies.push_str(&format!("{name} = {}\n", stated(name)?));
    }
    Ok(placed(checkout, &workspace, MANIFEST)?
        .replace("{dependencies}", &dependencies)
        .replace("{format}", &FORMAT.to_string())
        .replace("{tracing_subscriber}", &stated("tracing-subscriber")?.to_string())
        .replace("{interleavings}\n", if shared { "members = [\"tests\"]\n" } else { "" }))
}

/// A manifest that says of which folder it is, in the edition of this workspace.
fn placed(checkout: &Checkout, workspace: &Table, template: &str) -> Result<String, Refusal> {
    let edition = workspace.get("workspace").and_then(|workspace| workspace.get("package")?.get("edition")?.as_str());
    let edition = edition.ok_or_else(|| Refusal::new("Cargo.toml has no `edition` for the exercises"))?;
    let mut place = DefaultHasher::new();
    let root = checkout.root();
    root.canonicalize().unwrap_or_else(|_| root.to_owned()).hash(&mut place);
    Ok(template.replace("{place}", &format!("{:x}", place.finish())).replace("{edition}", edition))
}

/// The sentences of the promises, from the table that the book prints.
fn promises(checkout: &Checkout, slug: &str) -> Result<Vec<String>, Refusal> {
    let table = checkout.text(&format!("book/src/generated/{slug}/promises.md"))?;
    let sentence = |line: &str| Some(line.strip_prefix("| `")?.split_once("` | ")?.1.strip_suffix(" |")?.to_owned());
    Ok(table.lines().filter_map(sentence).collect())
}

fn page(case: &Case, promises: &[String], asked: &[Asked], lib: &str, shared: bool) -> String {
    let header =
        lib.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let scenario: Vec<&str> = header.take_while(|line| *line != "# Cause").collect();
    let scenario = scenario.join("\n").replace("\n# Symptom\n", "\n## What on-call sees\n\n");
    let scenario = scenario.replace("\n# Trigger\n", "\n## How it comes about\n\n");
    let tries: String = case
        .tries
        .iter()
        .map(|line| {
            let curl = typed(&line.curl, "http://127.0.0.1:3000");
            format!("\n```console\n$ {curl}\n```\n\n{}", wrapped(&line.shows, ""))
        })
        .collect();
    let promises: String = promises.iter().map(|promise| bullet(promise)).collect();
    let asked: String = asked.iter().map(|asked| bullet(asked.sentence)).collect();
    let interleavings =
        "$ cargo test --workspace         # and every order in which threads can meet in src/shared.rs\n";
    let told = "- `src/shared.rs` holds what threads share. Its primitives come from `super::sync`, so that a test can try \
                 every order of\n  their steps. Keep the names of its functions if you can; a fix that does not need \
                 it may remove it.\n";
    README
        .replace("{title}", &case.title)
        .replace("{symptom}", &case.symptom)
        .replace("{scenario}", scenario.trim())
        .replace("{minutes}", &case.minutes.to_string())
        .replace("{tries}", &tries)
        .replace("{promises}", &promises)
        .replace("{asked}", &asked)
        .replace("{interleavings}", if shared { interleavings } else { "" })
        .replace("{shared}", if shared { told } else { "" })
}

/// A line of a list, over as many lines as it needs.
fn bullet(sentence: &str) -> String {
    let options = textwrap::Options::new(120).initial_indent("- ").subsequent_indent("  ").break_words(false);
    textwrap::fill(sentence, options) + "\n"
}

/// A source of the twins without what gives the cause away: the header from `# Cause` on, marks, lints that were expected,
/// near misses, and the comments inside the defect.
pub fn without_cause(source: &str) -> String {
    let (mut header, mut defect, mut attribute) = (true, false, false);
    let mut kept: Vec<&str> = Vec::new();
    for line in source.lines() {
        let trimmed = line.trim();
        header &= trimmed != "//! # Cause";
        defect = match trimmed {
            "// ANCHOR: defect" => true,
            "// ANCHOR_END: defect" => false,
            _ => defect,
        };
        attribute |= trimmed.starts_with("#[expect(") || trimmed.starts_with("#![expect(");
        let hidden = attribute
            || (!header && trimmed.starts_with("//!"))
            || trimmed.starts_with("// ANCHOR")
            || (defect && trimmed.starts_with("// "))
            || ["#[doc(hidden)]", "pub mod near_misses;"].contains(&trimmed);
        attribute &= !trimmed.ends_with(")]");
        let blank = |line: &&str| line.is_empty();
        if !(hidden || trimmed.is_empty() && kept.last().is_none_or(blank)) {
            kept.push(line);
        }
    }
    if let Some(end) = kept.iter().position(|line| !line.starts_with("//!")).and_then(|end| end.checked_sub(1))
        && kept[end] == "//!"
    {
        kept.remove(end);
    }
    kept.iter().map(|line| format!("{line}\n")).collect()
}

fn manifest(checkout: &Checkout, name: &str) -> Result<Table, Refusal> {
    checkout.text(name)?.parse().map_err(|error| Refusal::new(format!("{name}: {error}")))
}
