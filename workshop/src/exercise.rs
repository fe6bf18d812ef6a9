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
    path::{Path, PathBuf},
    process,
};

use serde::Serialize;
use toml::{Table, Value};

use crate::{
    Refusal,
    case::{self, Case},
    generated::{self, names},
    ghosts::{self, Ghost},
    print, print_json,
    progress::{self, Deed, Event},
    wrapped,
};

/// The folder of the exercises, below the root.
pub const FOLDER: &str = "exercises";
/// Where `reset` keeps what was there, below the folder of the exercises.
const KEPT: &str = ".kept";
/// What the twins' tests need and no app does.
const TESTS_ONLY: [&str; 4] = ["insta", "lab", "model", "tracing-test"];

const MANIFEST: &str = include_str!("../templates/exercise/Cargo.toml");
const README: &str = include_str!("../templates/exercise/README.md");
const PROMISES: &str = include_str!("../templates/exercise/promises.rs");
const INTERLEAVINGS: &str = include_str!("../templates/exercise/interleavings.rs");
const MODEL_MANIFEST: &str = include_str!("../templates/exercise/interleavings.toml");
const DYLIB: &str = include_str!("../templates/exercise/dylib.rs");
const DYLIB_MANIFEST: &str = include_str!("../templates/exercise/dylib.toml");
const SERVE: &str = include_str!("../templates/exercise/serve.rs");

/// The end of every `src/lib.rs`: what the promises are judged by.
pub const JUDGED: &str = "
// The promises: leave these lines here.
#[cfg(test)]
#[path = \"../tests/promises.rs\"]
mod promises;
";

/// The folder of the exercises.
pub fn exercises(root: &Path) -> PathBuf {
    root.join(FOLDER)
}

/// The folder of one exercise.
pub fn folder(root: &Path, slug: &str) -> PathBuf {
    exercises(root).join(slug)
}

/// The ghost that is meant: the one that is named, or the one in whose exercise the current folder is, or the one of the only
/// exercise.
///
/// # Errors
/// If there is no ghost of that name, or none is named and there is more than one exercise, or none.
pub fn meant(root: &Path, slug: Option<&str>) -> Result<&'static Ghost, Refusal> {
    if let Some(slug) = slug {
        return ghosts::find(slug);
    }
    let inside = || {
        let here = env::current_dir().ok()?.canonicalize().ok()?;
        let below = here.strip_prefix(exercises(root).canonicalize().ok()?).ok()?;
        let slug = below.iter().next()?.to_str()?;
        ghosts::ALL.iter().find(|ghost| ghost.slug == slug)
    };
    if let Some(ghost) = inside() {
        return Ok(ghost);
    }
    let there: Vec<&Ghost> = ghosts::ALL.iter().filter(|ghost| folder(root, ghost.slug).is_dir()).collect();
    match there[..] {
        [only] => Ok(only),
        [] => Err(Refusal::new("there is no exercise; `cargo ghosts start` makes one")),
        [first, ..] => Err(Refusal::new(format!(
            "there are {} exercises; name one, such as `{}`, or go into its folder in {FOLDER}/",
            there.len(),
            first.slug
        ))),
    }
}

/// The folder of an exercise that was started.
///
/// # Errors
/// If it is not there as it should be; the sentence says what to do.
pub fn standing(root: &Path, slug: &str) -> Result<PathBuf, Refusal> {
    let folder = folder(root, slug);
    let place = format!("{FOLDER}/{slug}");
    if !folder.exists() {
        return Err(Refusal::new(format!("there is no {place}; `cargo ghosts start {slug}` makes it")));
    }
    if !folder.is_dir() {
        return Err(Refusal::new(format!(
            "{place} is a file and no folder; move it away, then `cargo ghosts start {slug}` makes the exercise"
        )));
    }
    if let Some(gone) =
        ["Cargo.toml", "src/lib.rs", "tests/promises.rs"].iter().find(|file| !folder.join(file).is_file())
    {
        return Err(Refusal::new(format!(
            "{place}/{gone} is gone; `cargo ghosts reset {slug}` begins anew, and keeps aside what you have"
        )));
    }
    Ok(folder)
}

#[derive(Serialize)]
struct Started<'a> {
    schema: u32,
    slug: &'static str,
    folder: String,
    title: &'a str,
    symptom: &'a str,
    minutes: u32,
    difficulty: u8,
}

/// Makes the exercise of `slug`, or of the next ghost that is not solved.
///
/// # Errors
/// If it is there already, or cannot be written: nothing is left of it then.
pub fn start(root: &Path, slug: Option<&str>, json: bool) -> Result<bool, Refusal> {
    let ghost = match slug {
        Some(slug) => ghosts::find(slug)?,
        None => next(root)?,
    };
    let slug = ghost.slug;
    let case = case::read(root, slug)?;
    not_there(root, slug)?;
    // Another may have started it meanwhile.
    make(root, ghost, &case, false).or_else(|refusal| not_there(root, slug).and(Err(refusal)))?;
    recorded(root, slug, Deed::Started);
    if json {
        print_json(&Started {
            schema: 1,
            slug,
            folder: format!("{FOLDER}/{slug}"),
            title: &case.title,
            symptom: &case.symptom,
            minutes: case.minutes,
            difficulty: case.difficulty,
        })?;
    } else {
        print(&invitation(slug, &case))?;
    }
    Ok(true)
}

fn not_there(root: &Path, slug: &str) -> Result<(), Refusal> {
    if fs::symlink_metadata(folder(root, slug)).is_err() {
        return Ok(());
    }
    standing(root, slug)?;
    Err(Refusal::new(format!(
        "{FOLDER}/{slug} is there already; `cargo ghosts check {slug}` judges it, `cargo ghosts reset {slug}` begins anew"
    )))
}

/// Appends an event. That it could not be written is told, and no reason to stop.
pub(crate) fn recorded(root: &Path, slug: &str, deed: Deed) {
    if let Err(refusal) = progress::append(&exercises(root), &Event::now(slug, deed)) {
        anstream::eprintln!("ghosts: your progress was not recorded: {refusal}");
    }
}

/// The easiest ghost that is neither solved nor started, in the order of the tour.
///
/// # Errors
/// If there is none left, or the progress cannot be read.
pub fn next(root: &Path) -> Result<&'static Ghost, Refusal> {
    let progress = progress::read(&exercises(root).join(progress::FILE))?;
    let mut open = Vec::new();
    for ghost in ghosts::ALL.iter() {
        let solved = progress::summary(&progress.events, ghost.slug).state == progress::State::Solved;
        if !solved && !folder(root, ghost.slug).exists() {
            open.push((case::read(root, ghost.slug)?.difficulty, ghost));
        }
    }
    let easiest = open.into_iter().min_by_key(|(difficulty, _)| *difficulty);
    easiest.map(|(_, ghost)| ghost).ok_or_else(|| {
        Refusal::new("every ghost is started or solved; `cargo ghosts list` shows them, and a slug chooses one")
    })
}

fn invitation(slug: &str, case: &Case) -> String {
    let mut text = format!("{}, about {} minutes, difficulty {} of 3\n", case.title, case.minutes, case.difficulty);
    text.push_str(&wrapped(&case.symptom, ""));
    text.push_str(&format!(
        "\n  read      {FOLDER}/{slug}/README.md\n  change    {FOLDER}/{slug}/src/\n  then      cargo ghosts check {slug}\n  \
         stuck?    cargo ghosts hint {slug}\n"
    ));
    text
}

/// Writes the exercise beside its place first, so that nothing of it is there unless all is. What was there, if anything, is
/// moved to where this returns if it is made `anew`, and is left alone otherwise, with an error.
fn make(root: &Path, ghost: &Ghost, case: &Case, anew: bool) -> Result<Option<PathBuf>, Refusal> {
    let (slug, place) = (ghost.slug, folder(root, ghost.slug));
    let files = files(root, ghost, case)?;
    surroundings(root)?;
    let beside = exercises(root).join(format!(".new-{slug}-{}", process::id()));
    let swapped = || {
        files.iter().try_for_each(|(name, text)| write(&beside.join(name), text))?;
        if !anew || fs::symlink_metadata(&place).is_err() {
            // No folder is moved onto one that has files, whoever looked first.
            return fs::rename(&beside, &place).map(|()| None);
        }
        let kept = (1..).map(|number| exercises(root).join(KEPT).join(format!("{slug}-{number}")));
        let kept = kept.into_iter().find(|path| fs::symlink_metadata(path).is_err()).expect("one number is free");
        fs::create_dir_all(exercises(root).join(KEPT))?;
        fs::rename(&place, &kept)?;
        // If this fails, the learner's files go back to where they were.
        fs::rename(&beside, &place).or_else(|error| fs::rename(&kept, &place).and(Err(error)))?;
        Ok(Some(kept))
    };
    swapped().map_err(|error: io::Error| {
        // What cannot be removed either has a name that says what it is.
        let _ = fs::remove_dir_all(&beside);
        unwritable(&format!("{FOLDER}/{slug}"), &error)
    })
}

#[derive(Serialize)]
struct Begun {
    schema: u32,
    slug: &'static str,
    kept: Option<String>,
}

/// Makes the exercise anew. What was there is kept aside, and its path is printed.
///
/// # Errors
/// If it was never started, or cannot be written: everything is as it was then.
pub fn reset(root: &Path, ghost: &Ghost, json: bool) -> Result<bool, Refusal> {
    let (slug, case) = (ghost.slug, case::read(root, ghost.slug)?);
    if fs::symlink_metadata(folder(root, slug)).is_err() {
        return standing(root, slug).map(|_| true);
    }
    let kept = make(root, ghost, &case, true)?;
    recorded(root, slug, Deed::Reset);
    let kept = kept.map(|kept| kept.strip_prefix(root).unwrap_or(&kept).to_string_lossy().replace('\\', "/"));
    if json {
        print_json(&Begun { schema: 1, slug, kept })?;
    } else {
        let kept = kept.map(|kept| format!("; what you had is in {kept}")).unwrap_or_default();
        print(&format!("{FOLDER}/{slug} is as it was in the beginning{kept}\n"))?;
    }
    Ok(true)
}

/// What cargo and editors need to know in every exercise: written anew when the clone has moved or changed.
///
/// # Errors
/// If it cannot be written.
pub fn surroundings(root: &Path) -> Result<(), Refusal> {
    let manifest = manifest(root, "Cargo.toml")?;
    let dylib = placed(root, &manifest, DYLIB_MANIFEST)?;
    let mut config: Table = manifest.into_iter().filter(|(key, _)| key == "profile").collect();
    // An exercise is built again and again. Crates from outside are not touched by it.
    if let Some(dev) = config.get_mut("profile").and_then(|profile| profile.get_mut("dev")?.as_table_mut()) {
        dev.insert("incremental".to_owned(), Value::from(true));
    }
    let at = root.join("Cargo.toml").to_string_lossy().into_owned();
    // The root's alias is text, and cargo refuses to put a list in its place. Text is split at each space.
    let at = if at.contains(char::is_whitespace) { "../../Cargo.toml".to_owned() } else { at };
    let run = Value::from(format!("run --quiet --manifest-path {at} --package ghosts --"));
    config.insert("alias".to_owned(), Value::from(Table::from_iter([("ghosts".to_owned(), run)])));
    let target = Value::from("../target");
    config.insert("build".to_owned(), Value::from(Table::from_iter([("target-dir".to_owned(), target)])));
    let editor = "{\n  \"rust-analyzer.cargo.targetDir\": true\n}\n";
    for (name, text) in [
        (".cargo/config.toml", config.to_string()),
        (".vscode/settings.json", editor.to_owned()),
        (".dylib/Cargo.toml", dylib),
        (".dylib/lib.rs", DYLIB.to_owned()),
    ] {
        let path = exercises(root).join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            generated::write(&path, &text).map_err(|error| unwritable(&format!("{FOLDER}/{name}"), &error))?;
        }
    }
    Ok(())
}

/// What cannot be written, why, and what to do.
pub(crate) fn unwritable(name: &str, error: &io::Error) -> Refusal {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; everything is as it was: make room, and try again"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; work in a clone that you may write to"
        }
        _ => "; everything is as it was",
    };
    Refusal::new(format!("cannot write {name}: {error}{advice}"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

/// Every file of the exercise with its text.
///
/// # Errors
/// If a source cannot be read, or lacks what the exercise takes from it.
pub fn files(root: &Path, ghost: &Ghost, case: &Case) -> Result<Vec<(String, String)>, Refusal> {
    let slug = ghost.slug;
    let module = slug.replace('-', "_");
    let lib = text(root, &format!("cases/{slug}/src/lib.rs"))?;
    let (item, app) = if lib.contains("\npub fn layer") {
        ("layer", "|| {module}_spec::BoxedLayer::new({module}_exercise::layer())")
    } else {
        ("app", "{module}_exercise::app")
    };
    let shared = format!("cases/{slug}/src/shared.rs");
    let shared = root.join(&shared).exists().then(|| text(root, &shared)).transpose()?;
    let filled = |template: &str| {
        let template = template.replace("{app}", app).replace("{item}", item);
        template.replace("{slug}", slug).replace("{module}", &module)
    };
    let mut files = vec![
        ("Cargo.toml".to_owned(), filled(&package(root, shared.is_some())?)),
        ("Cargo.lock".to_owned(), text(root, "Cargo.lock")?),
        ("README.md".to_owned(), filled(&page(case, &lib, shared.is_some()))),
        ("src/lib.rs".to_owned(), without_cause(&lib) + JUDGED),
        ("tests/promises.rs".to_owned(), filled(PROMISES)),
        ("examples/serve.rs".to_owned(), filled(SERVE)),
        (".vscode/settings.json".to_owned(), "{\n  \"rust-analyzer.cargo.targetDir\": true\n}\n".to_owned()),
    ];
    if let Some(shared) = shared {
        let name = format!("cases/{slug}/tests/reproduces.rs");
        let tests = text(root, &name)?;
        let model = between(&tests, "// ANCHOR: model\n", "// ANCHOR_END: model\n").ok_or_else(|| {
            Refusal::new(format!("{name} has no `// ANCHOR: model`, from which the exercise has its model"))
        })?;
        files.push(("src/shared.rs".to_owned(), without_cause(&shared)));
        files.push(("tests/interleavings.rs".to_owned(), filled(INTERLEAVINGS).replace("{model}\n", model)));
        let package = placed(root, &manifest(root, "Cargo.toml")?, MODEL_MANIFEST)?;
        files.push(("tests/Cargo.toml".to_owned(), filled(&package)));
    }
    Ok(files)
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(between, _)| between)
}

/// The manifest: every exercise has the dependencies of all twins and their fixes, which so give nothing away.
fn package(root: &Path, shared: bool) -> Result<String, Refusal> {
    let mut used = BTreeSet::new();
    for (tree, tables) in [("cases", &["dependencies"] as &[&str]), ("fixed", &["dependencies", "dev-dependencies"])] {
        for slug in names(&root.join(tree)) {
            let twin = manifest(root, &format!("{tree}/{slug}/Cargo.toml"))?;
            used.extend(
                tables.iter().filter_map(|table| twin.get(*table)?.as_table()).flat_map(|table| table.keys().cloned()),
            );
        }
    }
    let workspace = manifest(root, "Cargo.toml")?;
    let stated = |name: &str| {
        let stated = workspace.get("workspace").and_then(|workspace| workspace.get("dependencies")?.get(name));
        stated.ok_or_else(|| Refusal::new(format!("Cargo.toml has no `{name}` for the exercises")))
    };
    let mut dependencies = String::new();
    let tests_only = |name: &str| TESTS_ONLY.contains(&name) || name.ends_with("-spec");
    for name in used.iter().filter(|name| !tests_only(name)) {
        dependencies.push_str(&format!("{name} = {}\n", stated(name)?));
    }
    Ok(placed(root, &workspace, MANIFEST)?
        .replace("{dependencies}", &dependencies)
        .replace("{tracing_subscriber}", &stated("tracing-subscriber")?.to_string())
        .replace("{interleavings}\n", if shared { "members = [\"tests\"]\n" } else { "" }))
}

/// A manifest that says of which folder it is, in the edition of this workspace.
fn placed(root: &Path, workspace: &Table, template: &str) -> Result<String, Refusal> {
    let edition = workspace.get("workspace").and_then(|workspace| workspace.get("package")?.get("edition")?.as_str());
    let edition = edition.ok_or_else(|| Refusal::new("Cargo.toml has no `edition` for the exercises"))?;
    let mut place = DefaultHasher::new();
    root.canonicalize().unwrap_or_else(|_| root.to_owned()).hash(&mut place);
    Ok(template.replace("{place}", &format!("{:x}", place.finish())).replace("{edition}", edition))
}

fn page(case: &Case, lib: &str, shared: bool) -> String {
    let header =
        lib.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let scenario: Vec<&str> = header.take_while(|line| *line != "# Cause").collect();
    let scenario = scenario.join("\n").replace("\n# Symptom\n", "\n## What on-call sees\n\n");
    let scenario = scenario.replace("\n# Trigger\n", "\n## How it comes about\n\n");
    let tries: String = case
        .tries
        .iter()
        .map(|line| {
            let curl = line.curl.replace("{base}", "http://127.0.0.1:3000");
            format!("\n```console\n$ {curl}\n```\n\n{}", wrapped(&line.shows, ""))
        })
        .collect();
    let interleavings =
        "$ cargo test --workspace         # and every order in which threads can meet in src/shared.rs\n";
    let told = "- `src/shared.rs` is what threads share. Its primitives come from `super::sync`, so that a test can try every order of\n  \
                their steps. Keep the names of its functions if you can; a fix that does not need it may remove it.\n";
    README
        .replace("{title}", &case.title)
        .replace("{symptom}", &case.symptom)
        .replace("{scenario}", scenario.trim())
        .replace("{minutes}", &case.minutes.to_string())
        .replace("{tries}", &tries)
        .replace("{interleavings}", if shared { interleavings } else { "" })
        .replace("{shared}", if shared { told } else { "" })
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

fn manifest(root: &Path, name: &str) -> Result<Table, Refusal> {
    text(root, name)?.parse().map_err(|error| Refusal::new(format!("{name}: {error}")))
}

/// A text file below the root, with line feeds only.
pub(crate) fn text(root: &Path, name: &str) -> Result<String, Refusal> {
    let text = fs::read_to_string(root.join(name));
    text.map(|text| text.replace("\r\n", "\n")).map_err(|error| Refusal::new(format!("cannot read {name}: {error}")))
}
