//! Judges a learner's exercise: builds it, runs the tests that it has, and says what came of it.
//!
//! [`judge`] is the whole of it and returns plain data, [`Judged`]; [`render`] makes a page of that for a terminal.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use lab::Report;

use self::process::Test;
use super::{
    building::{Building, Meanwhile},
    exercise::Exercise,
    judged::{Interleavings, Judged, LooksLike, Outcome},
    junit,
};
use crate::{
    Refusal,
    catalogue::{
        case::{self, MODEL},
        exercise_files::{JUDGED, surroundings},
        generated,
    },
    checkout::unwritable,
    progress::{self, Deed, Model, State},
    terminal::{print, print_json},
};

mod page;
mod process;

pub use page::render;

/// More near misses than this look alike, and naming them says nothing.
const MOST_ALIKE: usize = 3;

/// Judges an exercise. Tells what goes on meanwhile, from a thread of its own.
///
/// # Errors
/// If the exercise is not there, or cargo cannot begin to build it.
pub fn judge(exercise: &Exercise<'_>, tell: &(dyn Fn(Meanwhile<'_>) + Sync)) -> Result<Judged, Refusal> {
    let (checkout, slug) = (exercise.checkout, exercise.slug());
    let folder = exercise.standing()?;
    surroundings(checkout)?;
    if !folder.join("Cargo.lock").exists() {
        let copied = fs::copy(checkout.path("Cargo.lock"), folder.join("Cargo.lock"));
        copied.map_err(|error| unwritable(&format!("{}/Cargo.lock", exercise.place()), &error))?;
    }
    let has_model = checkout.has(&format!("cases/{slug}/src/shared.rs"));
    let unexplorable = unexplorable(&folder);
    let put_back = format!("tests/promises.rs is to be as it was, and src/lib.rs is to end with\n{JUDGED}");
    let promises = |binary: PathBuf| {
        process::run::<Report>(&folder, &binary, "promises::every_promise_is_kept", put_back.trim_end())
    };
    let interleavings = |binary: PathBuf| {
        let put_back = "tests/interleavings.rs is to be as it was";
        process::run(&folder, &binary, "every_interleaving_holds", put_back)
    };
    let (built, told, explored) = thread::scope(|threads| {
        let (mut judging, mut exploring) = (None, None);
        let explore = has_model && unexplorable.is_none();
        let built = process::build(exercise, explore, tell, |test| match test {
            Test::Promises(binary) => judging = Some(threads.spawn(move || promises(binary))),
            Test::Interleavings(binary) => exploring = Some(threads.spawn(move || interleavings(binary))),
        });
        let ended = "waiting for a process does not panic";
        let told = judging.map(|judging| judging.join().expect(ended));
        (built, told, exploring.map(|exploring| exploring.join().expect(ended)))
    });
    let built = built?;
    let Some(told) = told else {
        return Ok(Judged { schema: 1, slug, outcome: Outcome::DoesNotCompile { errors: built.errors } });
    };
    let report = match told? {
        Ok(report) => report,
        Err(ended) => {
            let outcome = Outcome::EndedWithoutVerdict { how: ended.to_string(), said: ended.said().to_owned() };
            return Ok(Judged { schema: 1, slug, outcome });
        }
    };
    // A core that was wrong and has not been touched, in an app that is right, is not used as the model plays it.
    let untouched = code(&checkout.path(&format!("cases/{slug}/src/shared.rs"))) == code(&folder.join("src/shared.rs"));
    let held = match explored.transpose()? {
        Some(Ok(Err(_))) if untouched && report.all_kept() => {
            let why =
                "src/shared.rs is as it was, and the app keeps every promise: it does not share what the model plays";
            Some(Interleavings::NotApplicable { why: why.to_owned() })
        }
        Some(Ok(Ok(explored))) => Some(Interleavings::Hold { explored }),
        Some(Ok(Err(table))) => Some(Interleavings::Fail { table }),
        Some(Err(ended)) => Some(Interleavings::NotApplicable { why: format!("the model {ended}") }),
        None => None,
    };
    let interleavings = has_model.then(|| {
        held.unwrap_or_else(|| {
            let why = unexplorable.map(str::to_owned).unwrap_or_else(|| {
            format!(
                "tests/interleavings.rs does not compile with this src/shared.rs ({}); adapt `explored` there to your \
                 functions, and they are explored",
                built.first_of_model
            )
        });
            Interleavings::NotApplicable { why }
        })
    });
    let looks_like = looks_like(exercise, &report, interleavings.as_ref())?;
    Ok(Judged { schema: 1, slug, outcome: Outcome::Judged { report, looks_like, interleavings } })
}

/// The lines of a source file that are code.
fn code(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(str::to_owned).collect()
}

/// Why the model cannot be built, where that is plain beforehand.
fn unexplorable(folder: &Path) -> Option<&'static str> {
    if !folder.join("tests/interleavings.rs").exists() {
        return Some("tests/interleavings.rs is gone");
    }
    let lib = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
    let declares = |line: &str| !line.trim_start().starts_with("//") && line.contains("mod shared");
    (!lib.lines().any(declares)).then_some("src/lib.rs has no `mod shared` any more")
}

/// The near misses that break exactly what `report` breaks. What the broken twin breaks looks like the beginning.
fn looks_like(
    exercise: &Exercise<'_>,
    report: &Report,
    interleavings: Option<&Interleavings>,
) -> Result<Vec<LooksLike>, Refusal> {
    let broken = report.broken();
    let known = generated::verdicts(exercise.checkout, exercise.slug())?;
    let judged = report.kept() + broken.len() == report.promises.len();
    let laid_to_rest = broken.is_empty() && !matches!(interleavings, Some(Interleavings::Fail { .. }));
    if !judged || laid_to_rest || known.broken == broken {
        return Ok(Vec::new());
    }
    let alike: Vec<_> = known.near_misses.iter().filter(|near_miss| near_miss.broken == broken).collect();
    let case = case::read(exercise.checkout, exercise.slug())?;
    let told = case.near_misses.into_iter().filter(|told| {
        let by_model = broken.is_empty() == (told.breaks == MODEL);
        by_model && alike.iter().any(|near_miss| near_miss.name == told.name)
    });
    let page = format!("book/src/{}.md", exercise.slug());
    let alike: Vec<LooksLike> =
        told.map(|told| LooksLike { name: told.name, tempts: told.tempts, page: page.clone() }).collect();
    Ok(if alike.len() <= MOST_ALIKE { alike } else { Vec::new() })
}

/// Judges, records and prints, with what crossed the wire if `wire` says so; writes JUnit XML to `junit` as well, if it is
/// given.
///
/// # Errors
/// As [`judge`]; and if the XML cannot be written.
pub fn run_once(exercise: &Exercise<'_>, junit: Option<&Path>, wire: bool, json: bool) -> Result<bool, Refusal> {
    let building = Building::default();
    let mut judged = judge(exercise, &|meanwhile| building.tell(meanwhile))?;
    drop(building);
    record(exercise, &judged);
    if let Some(path) = junit {
        let written = junit::document(&judged).and_then(|text| fs::write(path, text));
        written.map_err(|error| Refusal::new(format!("cannot write {}: {error}", path.display())))?;
    }
    if json {
        if let Outcome::DoesNotCompile { errors } = &mut judged.outcome {
            *errors = anstream::adapter::strip_str(errors).to_string();
        }
        print_json(&judged)?;
    } else {
        print(&render(exercise, &judged, wire))?;
    }
    Ok(judged.laid_to_rest())
}

/// Appends what came of a check to the learner's progress. What was not judged leaves no event.
pub fn record(exercise: &Exercise<'_>, judged: &Judged) {
    let Outcome::Judged { report, interleavings, .. } = &judged.outcome else { return };
    let model = interleavings.as_ref().map(|interleavings| match interleavings {
        Interleavings::Hold { .. } => Model::Holds,
        Interleavings::Fail { .. } => Model::Fails,
        Interleavings::NotApplicable { .. } => Model::NotApplicable,
    });
    exercise.record(Deed::Checked { promises: progress::verdicts(report), model });
    if judged.laid_to_rest() {
        let before = exercise.progress().unwrap_or_default();
        if before.state != State::Solved {
            exercise.record(Deed::Solved);
        }
    }
}
