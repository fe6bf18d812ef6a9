//! The exercise of a ghost: where it is, whether it is there, and how far its learner has come.

use std::{env, fs, path::PathBuf};

use toml::{Table, Value};

use crate::{
    Refusal,
    catalogue::{
        exercise_files::{FORMAT, in_the_clone},
        ghosts::{self, Ghost},
    },
    checkout::{Checkout, EXERCISES},
    progress::{self, Deed, Event, Summary},
};

/// The exercise of one ghost in a clone, whether it was started or not.
#[derive(Clone, Copy, Debug)]
pub struct Exercise<'a> {
    /// The clone.
    pub checkout: &'a Checkout,
    /// The ghost.
    pub ghost: &'static Ghost,
}

impl<'a> Exercise<'a> {
    /// The exercise of this ghost.
    pub fn of(checkout: &'a Checkout, ghost: &'static Ghost) -> Self {
        Self { checkout, ghost }
    }

    /// The exercise that is meant: of the ghost that is named, or the one in whose folder we are, or the one that was worked at
    /// last, or the only one.
    ///
    /// # Errors
    /// If there is no ghost of that name, or none is named and nothing says which of several is meant, or there is none.
    pub fn meant(checkout: &'a Checkout, slug: Option<&str>) -> Result<Self, Refusal> {
        if let Some(slug) = slug {
            return ghosts::find(slug).map(|ghost| Self::of(checkout, ghost));
        }
        let inside = || {
            let here = env::current_dir().ok()?.canonicalize().ok()?;
            let below = here.strip_prefix(checkout.exercises().canonicalize().ok()?).ok()?;
            let slug = below.iter().next()?.to_str()?;
            ghosts::ALL.iter().find(|ghost| ghost.slug == slug)
        };
        if let Some(ghost) = inside() {
            return Ok(Self::of(checkout, ghost));
        }
        let all = ghosts::ALL.iter().map(|ghost| Self::of(checkout, ghost));
        let there: Vec<Self> = all.filter(|exercise| exercise.folder().is_dir()).collect();
        let progress = progress::read(checkout).unwrap_or_default();
        let latest = progress.latest().find_map(|slug| there.iter().find(|exercise| exercise.slug() == slug));
        if let Some(latest) = latest {
            return Ok(*latest);
        }
        match there[..] {
            [only] => Ok(only),
            [] => Err(Refusal::new("there is no exercise yet; `cargo ghosts start` makes one")),
            [first, ..] => Err(Refusal::new(format!(
                "there are {} exercises; name one, such as `{}`, or go into its folder in {EXERCISES}/",
                there.len(),
                first.slug()
            ))),
        }
    }

    /// The name of its ghost.
    pub fn slug(&self) -> &'static str {
        self.ghost.slug
    }

    /// Its folder as it is shown and as the clone knows it, for instance `exercises/hidden-flush`.
    pub fn place(&self) -> String {
        format!("{EXERCISES}/{}", self.slug())
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.checkout.path(&self.place())
    }

    /// Whether there is anything in its place.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(self.folder()).is_ok()
    }

    /// Its folder, if it was started.
    ///
    /// # Errors
    /// If it is not there as it should be; the sentence says what to do.
    pub fn standing(&self) -> Result<PathBuf, Refusal> {
        let (folder, place, slug) = (self.folder(), self.place(), self.slug());
        if !folder.exists() {
            return Err(Refusal::new(format!("there is no {place}; `cargo ghosts start {slug}` makes it")));
        }
        if !folder.is_dir() {
            return Err(Refusal::new(format!(
                "{place} is a file, not a folder; move it away, then `cargo ghosts start {slug}` makes the exercise"
            )));
        }
        if let Some(gone) =
            ["Cargo.toml", "src/lib.rs", "tests/promises.rs"].iter().find(|file| !folder.join(file).is_file())
        {
            return Err(Refusal::new(format!(
                "{place}/{gone} is gone; `cargo ghosts reset {slug}` starts over, and keeps what you have aside"
            )));
        }
        in_the_clone(self.checkout, &place)?;
        self.of_this_clone()?;
        Ok(folder)
    }

    /// Cargo's own sentence would name a path that the clone had once.
    fn of_this_clone(&self) -> Result<(), Refusal> {
        // A manifest that is no TOML is named by cargo.
        let manifest: Table = self.checkout.text(&format!("{}/Cargo.toml", self.place()))?.parse().unwrap_or_default();
        let stated = manifest.get("package").and_then(|package| package.get("metadata")?.get("ghosts")?.get("format"));
        // The first exercises stated no number, and depended on one package for all specifications.
        let first = manifest.get("dev-dependencies").is_some_and(|tests| tests.get("spec").is_some());
        let format = stated.and_then(Value::as_integer).unwrap_or(if first { 1 } else { FORMAT });
        let (place, slug) = (self.place(), self.slug());
        if format < FORMAT {
            return Err(Refusal::new(format!(
                "{place} was started in an older clone; `cargo ghosts reset {slug}` makes it again and keeps what \
                 you have aside, so that you can copy your src/ back"
            )));
        }
        if format > FORMAT {
            return Err(Refusal::new(format!(
                "{place} was started in a newer clone; `git pull` brings this one up to date"
            )));
        }
        Ok(())
    }

    /// How far its learner has come.
    ///
    /// # Errors
    /// If the progress cannot be read.
    pub fn progress(&self) -> Result<Summary, Refusal> {
        progress::read(self.checkout).map(|progress| progress.summary(self.slug()))
    }

    /// Appends an event to the progress. That it could not be written is told, and no reason to stop.
    pub(crate) fn record(&self, deed: Deed) {
        if let Err(refusal) = progress::append(self.checkout, &Event::now(self.slug(), deed)) {
            anstream::eprintln!("ghosts: your progress was not recorded: {refusal}");
        }
    }
}
