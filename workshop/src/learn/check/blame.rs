//! Whose it is that an exercise cannot be built: the learner's, or what they have nothing to do with.

use std::path::{Path, PathBuf};

use crate::{
    checkout::{Checkout, EXERCISES},
    learn::{
        exercise::Exercise,
        judged::{Cause, Outcome},
    },
};

/// An error of the compiler's.
pub(super) struct Error {
    /// The true path of the manifest of the package.
    pub(super) manifest: PathBuf,
    /// Whether the package is the exercise, or in it.
    pub(super) is_own: bool,
    /// The files that it is in, as the package names them.
    pub(super) files: Vec<String>,
    /// As the compiler shows it.
    pub(super) text: String,
}

/// What a full disk sounds like. A linker that maps its output into memory gets a signal instead.
const DISK_FULL: [&str; 5] = [
    "No space left on device",
    "There is not enough space on the disk",
    "Disk quota exceeded",
    "(os error 28)",
    "ld terminated with signal 7 [Bus error]",
];

/// How cargo says that a crate from outside is not to be had.
const NOT_TO_BE_HAD: [&str; 8] = [
    "failed to download",
    "failed to get `",
    "Could not resolve host",
    "unable to update registry",
    "Unable to update registry",
    "failed to select a version",
    "no matching package named",
    "attempting to make an HTTP request, but --offline was specified",
];

/// What has stopped a build in which there is no test of the promises; `None` if it is a matter between cargo and the learner's
/// manifest.
pub(super) fn of(exercise: &Exercise<'_>, errors: &[Error], said: &str) -> Option<Outcome> {
    let slug = exercise.slug();
    let texts = |wanted: &dyn Fn(&Error) -> bool| -> String {
        errors.iter().filter(|error| wanted(error)).map(|error| error.text.as_str()).collect()
    };
    let all = texts(&|_| true);
    // A colour may stand between any two words.
    let (plain, said) =
        (anstream::adapter::strip_str(&all).to_string(), anstream::adapter::strip_str(said).to_string());
    let found = |words: &[&str]| {
        let mut lines = plain.lines().chain(said.lines());
        lines.find(|line| words.iter().any(|word| line.contains(word))).map(str::trim)
    };
    let stopped = |cause, sentence: String, said: String| Some(Outcome::NotBuilt { cause, sentence, said });
    if let Some(line) = found(&DISK_FULL) {
        let sentence = format!(
            "the disk is full, and {slug} could not be built; free some space (`cargo clean` at the root frees what \
             cargo has built), and try again"
        );
        return stopped(Cause::DiskFull, sentence, line.to_owned());
    }
    if let Some(line) = found(&["linker `"]).filter(|line| line.contains("not found")) {
        let sentence = format!(
            "there is no linker on this machine, and {slug} could not be built; install a C compiler (Debian: `apt install \
             gcc`; macOS: `xcode-select --install`; Windows: the Build Tools for Visual Studio), and try again"
        );
        return stopped(Cause::NoLinker, sentence, line.to_owned());
    }
    if let Some(error) = errors.iter().find(|error| !error.is_own) {
        let others = texts(&|other| other.manifest == error.manifest);
        if let Some(place) = within(exercise.checkout, &error.manifest) {
            let sentence = format!(
                "{place} of the clone does not compile, and your exercise is not the cause; `git status` shows what \
                 has changed there, and `git pull` brings the clone up to date"
            );
            return stopped(Cause::Clone, sentence, others);
        }
        let folder = error.manifest.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let sentence = format!(
            "the dependency {folder} does not compile; if you have added it to {}/Cargo.toml, choose another version, or \
             take it out",
            exercise.place()
        );
        return stopped(Cause::Dependency, sentence, others);
    }
    if let Some(line) = found(&["failed to run custom build command for"]) {
        let sentence =
            "the build script of a dependency fails; read what it says, and install what it needs".to_owned();
        return stopped(Cause::Dependency, sentence, format!("{line}\n{}", said.trim_end()));
    }
    if errors.is_empty() {
        found(&NOT_TO_BE_HAD)?;
        let sentence = format!(
            "cargo cannot get a dependency of {slug}; make sure that it can reach crates.io, or take out what you \
             have added to {}/Cargo.toml",
            exercise.place()
        );
        return stopped(Cause::Dependency, sentence, said.trim_end().to_owned());
    }
    let in_the_test = |error: &Error| error.files.iter().any(|file| file.ends_with("tests/promises.rs"));
    if errors.iter().all(in_the_test) && errors.iter().any(|error| is_of_an_older_clone(error, slug)) {
        let sentence = format!(
            "the clone is newer than {place}, whose tests/promises.rs calls something that is no longer there; \
             `cargo ghosts reset {slug}` makes it again and keeps what you have aside, so that you can copy \
             your src/ back",
            place = exercise.place()
        );
        return stopped(Cause::OlderExercise, sentence, all);
    }
    Some(Outcome::DoesNotCompile { errors: all })
}

/// The folder of a package below the root, with `/` between the folders.
fn within(checkout: &Checkout, manifest: &Path) -> Option<String> {
    let root = checkout.root().canonicalize().ok()?;
    let place = manifest.parent()?.strip_prefix(root).ok()?;
    let parts = place.iter().map(|part| part.to_string_lossy());
    let place = parts.collect::<Vec<_>>().join("/");
    // What a learner has made beside the exercises is none of the clone's.
    let is_ours = !place.starts_with("target") && (!place.starts_with(EXERCISES) || place.ends_with("/.dylib"));
    is_ours.then_some(place)
}

/// Whether something is missing in the laboratory or the specification that the exercise's own test calls. What it calls of
/// the learner's crate may be missing too, and that is an error of theirs.
fn is_of_an_older_clone(error: &Error, slug: &str) -> bool {
    let specification = format!("{}_spec", slug.replace('-', "_"));
    let text = anstream::adapter::strip_str(&error.text).to_string();
    let first = text.lines().next().unwrap_or_default();
    let of_ours =
        first.contains(&specification) || ["`lab", "lab::", "crate `lab`"].iter().any(|lab| first.contains(lab));
    let is_missing = ["E0432", "E0433", "E0425", "E0405", "E0412", "E0576", "E0603"];
    let imports = text.lines().any(|line| line.contains("use ") && line.contains(&specification));
    is_missing.iter().any(|code| first.contains(code)) && (of_ours || imports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ghosts;

    fn cause(errors: &[Error], said: &str) -> Option<Cause> {
        let checkout = Checkout::here();
        let exercise = Exercise::of(&checkout, ghosts::find("hidden-flush").expect("a ghost"));
        match of(&exercise, errors, said)? {
            Outcome::NotBuilt { cause, .. } => Some(cause),
            Outcome::DoesNotCompile { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    fn error(manifest: PathBuf, is_own: bool, file: &str, text: &str) -> Error {
        Error { manifest, is_own, files: vec![file.to_owned()], text: text.to_owned() }
    }

    fn own(file: &str, text: &str) -> Error {
        error(PathBuf::from("/clone/exercises/hidden-flush/Cargo.toml"), true, file, text)
    }

    #[test]
    fn the_machine_is_blamed_for_what_is_the_machines() {
        let full =
            "error: linking with `cc` failed: exit status: 1\n  = note: ld: final link failed: No space left on device";
        assert_eq!(cause(&[own("src/lib.rs", full)], ""), Some(Cause::DiskFull));
        let full =
            "error: failed to write `/clone/exercises/target/x`\n\nCaused by:\n  No space left on device (os error 28)";
        assert_eq!(cause(&[], full), Some(Cause::DiskFull));
        let missing =
            "\u{1b}[91merror\u{1b}[0m: linker `cc` not found\n  |\n  = note: No such file or directory (os error 2)";
        assert_eq!(cause(&[own("src/lib.rs", missing)], ""), Some(Cause::NoLinker));
    }

    #[test]
    fn a_dependency_is_blamed_for_what_is_the_dependencys() {
        let offline =
            "error: failed to get `serde` as a dependency\n\nCaused by:\n  Could not resolve host: index.crates.io";
        assert_eq!(cause(&[], offline), Some(Cause::Dependency));
        let manifest = PathBuf::from("/home/.cargo/registry/src/index.crates.io-1/odd-1.0.0/Cargo.toml");
        assert_eq!(cause(&[error(manifest, false, "src/lib.rs", "error: no")], ""), Some(Cause::Dependency));
    }

    #[test]
    fn the_clone_is_blamed_for_its_own_trees() {
        let root = Checkout::here().root().canonicalize().expect("it is there");
        let broken = error(root.join("tests/lab/Cargo.toml"), false, "src/lib.rs", "error: expected item");
        assert_eq!(cause(&[broken], ""), Some(Cause::Clone));
        let gone = "error[E0432]: unresolved import `hidden_flush_spec::check`\n --> exercises/hidden-flush/tests/promises.rs:6:5";
        assert_eq!(cause(&[own("tests/promises.rs", gone)], ""), Some(Cause::OlderExercise));
        let gone = "error[E0425]: cannot find function `in_exercise` in crate `lab`";
        assert_eq!(cause(&[own("tests/promises.rs", gone)], ""), Some(Cause::OlderExercise));
    }

    #[test]
    fn the_learner_is_told_of_what_is_theirs() {
        let wrong = own("src/lib.rs", "error[E0308]: mismatched types");
        assert_eq!(cause(&[wrong], ""), None);
        let renamed = "error[E0425]: cannot find value `app` in the crate root";
        assert_eq!(cause(&[own("tests/promises.rs", renamed)], ""), None);
        let signature = "error[E0308]: mismatched types\n --> tests/promises.rs:10:66";
        assert_eq!(cause(&[own("tests/promises.rs", signature)], ""), None);
        assert!(
            of(&Exercise::of(&Checkout::here(), ghosts::find("hidden-flush").expect("a ghost")), &[], "error: TOML")
                .is_none()
        );
    }
}
