//! Judges a learner's exercise: builds it, runs the tests that it has, and says what came of it.
//!
//! [`judge`] is the whole of it and returns plain data, [`Judged`].

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use lab::{Heard, Report, hammer::Hammered};

use self::process::Test;
use super::{
    building::{Building, Meanwhile},
    exercise::Exercise,
    judged::{Interleavings, Judged, LooksLike, Outcome},
    junit, lock,
};
use crate::{
    Refusal,
    catalogue::{
        case::{self, MODEL},
        exercise_files::{JUDGED, has_hammer, surroundings},
        generated,
    },
    progress::{self, Deed, Model, State, Tried},
    terminal::{print, print_json, watched},
};

mod blame;
mod page;
mod process;

pub use page::{Detail, Page, page};

/// More near misses than this look alike, and naming them says nothing.
const MOST_ALIKE: usize = 3;
/// Said while the races are tried.
const TRIES: &str = "every promise is kept; now trying its races on real threads, for 2 s";

/// Judges an exercise. Tells what goes on meanwhile, from a thread of its own.
///
/// # Errors
/// If the exercise is not there, or cargo cannot begin to build it.
pub fn judge(exercise: &Exercise<'_>, tell: &(dyn Fn(Meanwhile<'_>) + Sync)) -> Result<Judged, Refusal> {
    let (checkout, slug) = (exercise.checkout, exercise.slug());
    let folder = exercise.standing()?;
    surroundings(checkout)?;
    lock::refresh(exercise)?;
    let has_model = checkout.has(&format!("cases/{slug}/src/shared.rs"));
    let unexplorable = unexplorable(&folder);
    let gone = |test: &str, put_back: &str| {
        Refusal::new(format!("the test `{test}` of the exercise is gone; {}", put_back.trim_end()))
    };
    let promises = |binary: PathBuf| {
        let test = "promises::every_promise_is_kept";
        let put_back = format!("put tests/promises.rs back as it was, and end src/lib.rs with\n{JUDGED}");
        let heard: Heard<Report> = process::run(&folder, &binary, test, tell)?.ok_or_else(|| gone(test, &put_back))?;
        let all_kept = heard.result.as_ref().is_ok_and(Report::all_kept);
        let hammered = has_hammer(checkout, slug).then(|| tried(&folder, &binary, all_kept, tell)).transpose()?;
        Ok::<_, Refusal>((heard, hammered))
    };
    let interleavings = |binary: PathBuf| {
        let test = "every_interleaving_holds";
        let heard: Heard<Result<usize, String>> = process::run(&folder, &binary, test, tell)?
            .ok_or_else(|| gone(test, "put tests/interleavings.rs back as it was"))?;
        Ok::<_, Refusal>(heard.result)
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
    if let Some(stopped) = built.stopped {
        return Ok(Judged::new(slug, stopped));
    }
    let (heard, hammer) = told.expect("what was not stopped was judged")?;
    let report = match heard.result {
        Ok(report) => report,
        Err(ended) => {
            let outcome = Outcome::EndedWithoutVerdict { how: ended.to_string(), said: ended.said().to_owned() };
            return Ok(Judged::new(slug, outcome));
        }
    };
    // A core that was wrong and has not been touched, in an app that is right, is not used as the model plays it.
    let untouched = code(&checkout.path(&format!("cases/{slug}/src/shared.rs"))) == code(&folder.join("src/shared.rs"));
    let held = match explored.transpose()? {
        Some(Ok(Err(_))) if untouched && report.all_kept() => {
            let why =
                "src/shared.rs is unchanged, and the app keeps every promise: it does not share what the model plays";
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
                    "tests/interleavings.rs does not compile with this src/shared.rs ({}); adapt `explored` there to \
                     your functions, and the model explores them",
                    built.first_of_model
                )
            });
            Interleavings::NotApplicable { why }
        })
    });
    let looks_like = looks_like(exercise, &report, interleavings.as_ref())?;
    let first = report.broken().first().map(|key| (*key).to_owned());
    let said = heard.said.into_iter().find(|said| first.is_some() && said.promise == first);
    let said = said.map(|said| said.last).unwrap_or_default();
    let warnings = built.warnings;
    Ok(Judged::new(slug, Outcome::Judged { report, looks_like, interleavings, hammer, said, warnings }))
}

/// Tries the races, if every promise is kept: whoever has broken one is told so at once.
fn tried(
    folder: &Path,
    binary: &Path,
    all_kept: bool,
    tell: &(dyn Fn(Meanwhile<'_>) + Sync),
) -> Result<Hammered, Refusal> {
    let not_tried = |why: String| Hammered::NotTried { why };
    if !all_kept {
        return Ok(not_tried("that is done once every promise is kept".to_owned()));
    }
    tell(Meanwhile::Tells(TRIES));
    let test = "promises::races_are_tried";
    Ok(match process::run::<Hammered>(folder, binary, test, tell)?.map(|heard| heard.result) {
        Some(Ok(hammered)) => hammered,
        Some(Err(ended)) => not_tried(format!("the hammer {ended}")),
        None => not_tried(format!(
            "tests/promises.rs has no test `{}`; `cargo ghosts reset` makes the exercise again, with that test",
            test.trim_start_matches("promises::")
        )),
    })
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

/// The near misses that break exactly what `report` breaks, and of which the same was observed. What the broken twin breaks
/// looks like the beginning.
fn looks_like(
    exercise: &Exercise<'_>,
    report: &Report,
    interleavings: Option<&Interleavings>,
) -> Result<Vec<LooksLike>, Refusal> {
    let (checkout, slug, broken) = (exercise.checkout, exercise.slug(), report.broken());
    let known = generated::verdicts(checkout, slug)?;
    let judged = report.kept() + broken.len() == report.promises.len();
    let failing = match interleavings {
        Some(Interleavings::Fail { table }) => Some(table),
        _ => None,
    };
    let fails = failing.map(|table| last_line(table));
    if !judged || broken.is_empty() && fails.is_none() || known.broken == broken {
        return Ok(Vec::new());
    }
    let observed: Vec<(String, String)> = report
        .promises
        .iter()
        .filter(|judged| broken.contains(&&*judged.key))
        .map(|judged| (judged.key.clone(), generated::comparable(judged.observed.as_deref().unwrap_or_default())))
        .collect();
    let tables = generated::interleavings(checkout, slug)?;
    let table_of = |name: &str| tables.iter().find(|table| table.name == format!("interleaving-{name}"));
    let same_end = |name: &str| table_of(name).is_some_and(|theirs| Some(last_line(&theirs.text)) == fails);
    let same_steps =
        |name: &str| failing.zip(table_of(name)).is_some_and(|(table, theirs)| steps(table) == steps(&theirs.text));
    let mut alike = Vec::new();
    for told in case::read(checkout, slug)?.near_misses {
        let breaks_these = known.near_misses.iter().any(|near| near.name == told.name && near.broken == broken);
        let seen_alike = breaks_these
            && if broken.is_empty() {
                told.breaks == MODEL && same_end(&told.name)
            } else {
                told.breaks != MODEL && generated::observed(checkout, slug, &told.name)? == observed
            };
        if seen_alike {
            alike.push(LooksLike { name: told.name, tempts: told.tempts, page: format!("book/src/{slug}.md") });
        }
    }
    // Several may end alike. The one whose threads took the same steps is the one that was written.
    if alike.iter().any(|near| same_steps(&near.name)) {
        alike.retain(|near| same_steps(&near.name));
    }
    Ok(if alike.len() <= MOST_ALIKE { alike } else { Vec::new() })
}

/// What the threads do in a table of steps, without the lines of the source: number, thread and step.
fn steps(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).take(3).collect())
        .collect()
}

/// What a table of steps ends with: what is broken.
fn last_line(table: &str) -> &str {
    table.trim_end().lines().next_back().unwrap_or_default()
}

/// Judges, records and prints, with what crossed the wire if `wire` says so; writes JUnit XML to `junit` as well, if it is
/// given.
///
/// # Errors
/// As [`judge`]; if it could not be built, and that is nothing that the learner wrote; and if the XML cannot be written.
pub fn run_once(exercise: &Exercise<'_>, junit: Option<&Path>, wire: bool, json: bool) -> Result<bool, Refusal> {
    let (building, begun) = (Building::default(), Instant::now());
    let mut judged = judge(exercise, &|meanwhile| building.tell(meanwhile))?;
    let took = begun.elapsed();
    drop(building);
    record(exercise, &judged);
    let refusal = match &judged.outcome {
        Outcome::NotBuilt { sentence, .. } if json => Some(sentence.clone()),
        Outcome::NotBuilt { sentence, said, .. } => {
            let said = anstream::adapter::strip_str(said).to_string();
            Some(format!("{sentence}\n\n{}", said.trim_end()))
        }
        _ => None,
    };
    let written = junit.map(|path| {
        let written = junit::document(&judged, took).and_then(|text| fs::write(path, text));
        written.map_err(|error| Refusal::new(format!("cannot write {}: {error}", path.display())))
    });
    if json {
        if !watched() {
            plain(&mut judged.outcome);
        }
        print_json(&judged)?;
    } else if refusal.is_none() {
        print(&page(exercise, &judged, if wire { Detail::Wire } else { Detail::All }).text())?;
    }
    // The verdict is on the screen, whatever came of the file.
    written.transpose()?;
    refusal.map_or(Ok(judged.is_accepted()), |sentence| Err(Refusal::new(sentence)))
}

/// Without the compiler's colours.
fn plain(outcome: &mut Outcome) {
    let strip = |text: &mut String| *text = anstream::adapter::strip_str(text).to_string();
    match outcome {
        Outcome::DoesNotCompile { errors } => strip(errors),
        Outcome::NotBuilt { said, .. } | Outcome::EndedWithoutVerdict { said, .. } => strip(said),
        Outcome::Judged { warnings, said, .. } => {
            warnings.iter_mut().for_each(strip);
            strip(said);
        }
    }
}

/// Appends what came of a check to the learner's progress. What was not judged leaves no event.
pub fn record(exercise: &Exercise<'_>, judged: &Judged) {
    let Outcome::Judged { report, interleavings, hammer, .. } = &judged.outcome else { return };
    let model = interleavings.as_ref().map(|interleavings| match interleavings {
        Interleavings::Hold { .. } => Model::Holds,
        Interleavings::Fail { .. } => Model::Fails,
        Interleavings::NotApplicable { .. } => Model::NotApplicable,
    });
    let hammer = hammer.as_ref().map(|hammered| match hammered {
        Hammered::Rejected { .. } => Tried::Rejected,
        Hammered::NothingSeen { .. } => Tried::NothingSeen,
        Hammered::NotTried { .. } => Tried::NotTried,
    });
    exercise.record(Deed::Checked { promises: progress::verdicts(report), model, hammer });
    if judged.is_accepted() {
        let before = exercise.progress().unwrap_or_default();
        if before.state != State::Solved {
            exercise.record(Deed::Solved);
        }
    }
}
