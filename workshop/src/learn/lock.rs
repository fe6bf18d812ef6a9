//! The lock file of an exercise: the root's, as long as the learner has not changed it.
//!
//! A lock file that is older than the root's costs a build of all that has changed since. One that the learner has changed is
//! theirs.

use std::{collections::BTreeSet, fs, io};

use toml::{Table, Value};

use super::exercise::Exercise;
use crate::{
    Refusal,
    checkout::{EXERCISES, unwritable},
};

/// Where it is kept which lock file of the root an exercise has.
fn begun_with(exercise: &Exercise<'_>) -> String {
    format!("{EXERCISES}/.locks/{}.lock", exercise.slug())
}

/// Keeps in mind that the exercise has the root's lock file of now.
///
/// # Errors
/// If that cannot be written.
pub(super) fn begin(exercise: &Exercise<'_>) -> io::Result<()> {
    let root = fs::read_to_string(exercise.checkout.path("Cargo.lock"))?;
    exercise.checkout.write(&begun_with(exercise), &root)
}

/// Gives the exercise the root's lock file, if it has none, or an older one that nobody has changed.
///
/// # Errors
/// If it cannot be written.
pub(super) fn refresh(exercise: &Exercise<'_>) -> Result<(), Refusal> {
    let checkout = exercise.checkout;
    let name = format!("{}/Cargo.lock", exercise.place());
    let root = checkout.text("Cargo.lock")?;
    let (now, begun) = (checkout.text(&name).ok(), checkout.text(&begun_with(exercise)).ok());
    let older = |begun: &String| *begun != root;
    let untouched = |now: &str, begun: &str| crates(now).is_subset(&crates(begun));
    let stale = match (&now, &begun) {
        (None, _) => true,
        (Some(now), Some(begun)) => older(begun) && untouched(now, begun),
        (Some(_), None) => false,
    };
    if !stale {
        return Ok(());
    }
    let written = checkout.write(&name, &root).and_then(|()| begin(exercise));
    written.map_err(|error| unwritable(&name, &error))
}

/// The crates from outside, with their versions. Cargo leaves out what an exercise does not need, and adds the exercise itself.
fn crates(lock: &str) -> BTreeSet<String> {
    let lock: Table = lock.parse().unwrap_or_default();
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let outside = packages.filter(|package| package.get("source").is_some());
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    outside.map(|package| format!("{} {}", text(package, "name"), text(package, "version"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue::ghosts, checkout::Checkout};

    fn locked(crates: &[&str]) -> String {
        let of = |name: &&str| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"registry\"\n");
        crates.iter().map(of).collect()
    }

    #[test]
    fn a_lock_file_that_nobody_has_changed_follows_the_roots() {
        let checkout = Checkout::at(std::env::temp_dir().join(format!("ghosts-lock-{}", std::process::id())));
        let exercise = Exercise::of(&checkout, ghosts::find("hidden-flush").expect("a ghost"));
        let name = format!("{}/Cargo.lock", exercise.place());
        let now = || checkout.text(&name).expect("a lock file");
        let write = |name: &str, text: &str| checkout.write(name, text).expect("a file of our own");

        write("Cargo.lock", &locked(&["axum", "tokio"]));
        refresh(&exercise).expect("there was none");
        assert_eq!(now(), locked(&["axum", "tokio"]));
        // Cargo leaves out what it does not need.
        write(&name, &locked(&["axum"]));
        refresh(&exercise).expect("nothing to do");
        assert_eq!(now(), locked(&["axum"]));

        write("Cargo.lock", &locked(&["axum", "tokio", "tower"]));
        refresh(&exercise).expect("it is older");
        assert_eq!(now(), locked(&["axum", "tokio", "tower"]));

        write(&name, &locked(&["axum", "mine"]));
        write("Cargo.lock", &locked(&["axum", "hyper"]));
        refresh(&exercise).expect("it is the learner's");
        assert_eq!(now(), locked(&["axum", "mine"]));
        fs::remove_dir_all(checkout.root()).expect("a folder of our own");
    }
}
