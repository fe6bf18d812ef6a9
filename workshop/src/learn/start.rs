//! How an exercise begins, and begins anew.

use std::{fs, io, path::Path, process};

use serde::Serialize;

use super::{exercise::Exercise, lock};
use crate::{
    Refusal,
    catalogue::{
        case::{self, Case},
        exercise_files::{files, surroundings},
        ghosts::{self, Ghost},
    },
    checkout::{Checkout, EXERCISES, unwritable},
    progress::{self, Deed, State},
    terminal::{print, print_json, wrapped},
};

/// Where `reset` keeps what was there, below the folder of the exercises.
const KEPT: &str = ".kept";

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
pub fn run(checkout: &Checkout, slug: Option<&str>, json: bool) -> Result<bool, Refusal> {
    let ghost = match slug {
        Some(slug) => ghosts::find(slug)?,
        None => next(checkout)?,
    };
    let exercise = Exercise::of(checkout, ghost);
    let case = case::read(checkout, ghost.slug)?;
    not_there(&exercise)?;
    // Another may have started it meanwhile.
    make(&exercise, &case, false).or_else(|refusal| not_there(&exercise).and(Err(refusal)))?;
    exercise.record(Deed::Started);
    if json {
        print_json(&Started {
            schema: 1,
            slug: ghost.slug,
            folder: exercise.place(),
            title: &case.title,
            symptom: &case.symptom,
            minutes: case.minutes,
            difficulty: case.difficulty,
        })?;
    } else {
        print(&invitation(&exercise, &case))?;
    }
    Ok(true)
}

fn not_there(exercise: &Exercise<'_>) -> Result<(), Refusal> {
    if !exercise.is_there() {
        return Ok(());
    }
    exercise.standing()?;
    Err(Refusal::new(format!(
        "{} already exists; `cargo ghosts check {slug}` judges it, `cargo ghosts reset {slug}` starts over",
        exercise.place(),
        slug = exercise.slug()
    )))
}

/// The easiest ghost that is neither solved nor started, in the order of the tour.
///
/// # Errors
/// If there is none left, or the progress cannot be read.
pub fn next(checkout: &Checkout) -> Result<&'static Ghost, Refusal> {
    let progress = progress::read(checkout)?;
    let mut open = Vec::new();
    for ghost in ghosts::ALL.iter() {
        let solved = progress.summary(ghost.slug).state == State::Solved;
        if !solved && !Exercise::of(checkout, ghost).folder().exists() {
            open.push((case::read(checkout, ghost.slug)?.difficulty, ghost));
        }
    }
    let easiest = open.into_iter().min_by_key(|(difficulty, _)| *difficulty);
    easiest.map(|(_, ghost)| ghost).ok_or_else(|| {
        Refusal::new("every ghost is started or solved; `cargo ghosts list` shows them, and a slug chooses one")
    })
}

fn invitation(exercise: &Exercise<'_>, case: &Case) -> String {
    let (place, slug) = (exercise.place(), exercise.slug());
    let mut text = format!("{}, about {} minutes, difficulty {} of 3\n", case.title, case.minutes, case.difficulty);
    text.push_str(&wrapped(&case.symptom, ""));
    text.push_str(&format!(
        "\n  read      {place}/README.md\n  change    {place}/src/\n  then      cargo ghosts watch {slug}\n  \
         or once   cargo ghosts check {slug}\n  \
         stuck?    cargo ghosts hint {slug}\n"
    ));
    text
}

/// Writes the exercise beside its place first, so that nothing of it is there unless all is. What was there, if anything, is
/// moved to where this returns, below the root, if it is made `anew`, and is left alone otherwise, with an error.
fn make(exercise: &Exercise<'_>, case: &Case, anew: bool) -> Result<Option<String>, Refusal> {
    let (checkout, slug, place) = (exercise.checkout, exercise.slug(), exercise.folder());
    let files = files(checkout, exercise.ghost, case)?;
    surroundings(checkout)?;
    let beside = checkout.exercises().join(format!(".new-{slug}-{}", process::id()));
    let swapped = || {
        lock::begin(exercise)?;
        files.iter().try_for_each(|(name, text)| write(&beside.join(name), text))?;
        if !anew || !exercise.is_there() {
            // No folder is moved onto one that has files, whoever looked first.
            return fs::rename(&beside, &place).map(|()| None);
        }
        let kept = (1..).map(|number| format!("{EXERCISES}/{KEPT}/{slug}-{number}"));
        let free = |name: &String| fs::symlink_metadata(checkout.path(name)).is_err();
        let kept = kept.into_iter().find(free).expect("one number is free");
        fs::create_dir_all(checkout.exercises().join(KEPT))?;
        let aside = checkout.path(&kept);
        fs::rename(&place, &aside)?;
        // If this fails, the learner's files go back to where they were.
        fs::rename(&beside, &place).or_else(|error| fs::rename(&aside, &place).and(Err(error)))?;
        Ok(Some(kept))
    };
    swapped().map_err(|error: io::Error| {
        // What cannot be removed either has a name that says what it is.
        let _ = fs::remove_dir_all(&beside);
        unwritable(&exercise.place(), &error)
    })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
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
pub fn reset(exercise: &Exercise<'_>, json: bool) -> Result<bool, Refusal> {
    let (slug, case) = (exercise.slug(), case::read(exercise.checkout, exercise.slug())?);
    if !exercise.is_there() {
        return exercise.standing().map(|_| true);
    }
    let kept = make(exercise, &case, true)?;
    exercise.record(Deed::Reset);
    if json {
        print_json(&Begun { schema: 1, slug, kept })?;
    } else {
        let kept = kept.map(|kept| format!("; what you had is in {kept}")).unwrap_or_default();
        print(&format!("{} is as it was at the start{kept}\n", exercise.place()))?;
    }
    Ok(true)
}
