//! Wherever a clone can lie: at a path with spaces and other letters, inside another workspace, moved, behind a link, and under a
//! configuration of cargo that its owner has elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ghosts::catalogue::ghosts::ALL;

use crate::{
    copy::of_the_workspace,
    ghosts,
    learner::{err, out},
};

/// A folder with a clone in it; it is removed when it is dropped.
struct Place {
    folder: PathBuf,
    clone: PathBuf,
}

impl Place {
    /// Each test has a name of its own. The path has a space and a letter that is no ASCII whatever it is.
    fn with_a_clone(name: &str) -> Self {
        let clone = of_the_workspace(&format!("Spukhäuser {name}/ghosts in here"));
        Self { folder: clone.parent().expect("a folder").to_owned(), clone }
    }

    fn start(&self, slugs: &[&str]) {
        for slug in slugs {
            let started = ghosts(&["start", slug]).current_dir(&self.clone).output().expect("the runner starts");
            assert_eq!(started.status.code(), Some(0), "{}", err(&started));
        }
    }

    fn move_to(&mut self, name: &str) {
        let there = self.folder.join(name);
        fs::rename(&self.clone, &there).expect("a folder of our own");
        self.clone = there;
    }

    /// In place of the runner, a program without dependencies that says where it is and what it is told.
    fn with_a_small_runner(&self) {
        let write = |name: &str, text: &str| fs::write(self.clone.join(name), text).expect("a file of our own");
        let workspace = "[workspace]\nmembers = [\"workshop\"]\nexclude = [\"exercises\"]\nresolver = \"3\"\n";
        write("Cargo.toml", &format!("{workspace}\n[profile.dev]\ndebug = false\nincremental = false\n"));
        fs::remove_file(self.clone.join("Cargo.lock")).expect("a file of our own");
        fs::remove_dir_all(self.clone.join("workshop")).expect("a folder of our own");
        fs::create_dir_all(self.clone.join("workshop/src")).expect("a folder of our own");
        write("workshop/Cargo.toml", "[package]\nname = \"ghosts\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        let main = "fn main() { println!(\"{:?}\", std::env::args().skip(1).collect::<Vec<_>>()); }\n";
        write("workshop/src/main.rs", main);
    }

    /// What `cargo ghosts check --json` says in a folder. It is quiet, and has built into the one tree.
    fn called(&self, folder: &Path) -> String {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["ghosts", "check", "--json"]).current_dir(folder).env_remove("CARGO_TARGET_DIR");
        let called = cargo.env_remove("CARGO_INCREMENTAL").output().expect("cargo starts");
        assert!(called.status.success(), "{}: {}", folder.display(), err(&called));
        assert!(!err(&called).contains("Running"), "{}", err(&called));
        out(&called)
    }

    fn built(&self) -> std::time::SystemTime {
        let binary = self.clone.join("target/debug").join(format!("ghosts{}", std::env::consts::EXE_SUFFIX));
        fs::metadata(binary).and_then(|metadata| metadata.modified()).expect("it was built")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

const WHERE: [&str; 6] = [
    "",
    "exercises",
    "exercises/hidden-flush",
    "exercises/hidden-flush/src",
    "exercises/hidden-flush/tests",
    "exercises/body-double-close/examples",
];

#[test]
fn the_runner_is_called_from_every_folder_and_built_once() {
    let mut place = Place::with_a_clone("alias");
    // Another workspace round it, which does not have it as a member.
    fs::write(place.folder.join("Cargo.toml"), "[workspace]\nmembers = [\"nothing\"]\n").expect("a file");
    place.start(&["hidden-flush", "body-double-close"]);
    place.with_a_small_runner();
    let said = "[\"check\", \"--json\"]\n";
    for folder in WHERE {
        assert_eq!(place.called(&place.clone.join(folder)), said, "{folder}");
    }
    let built = place.built();
    for folder in WHERE {
        place.called(&place.clone.join(folder));
    }
    assert_eq!(place.built(), built, "it was built again");
    assert!(!place.clone.join("exercises/target").exists());

    // Nothing has to be called at the root first.
    place.move_to("renamed, and elsewhere");
    for folder in WHERE {
        assert_eq!(place.called(&place.clone.join(folder)), said, "{folder}, moved");
    }
    #[cfg(unix)]
    {
        let link = place.folder.join("link");
        std::os::unix::fs::symlink(&place.clone, &link).expect("a link");
        assert_eq!(place.called(&link.join("exercises/hidden-flush/src")), said);
    }
}

#[test]
fn an_exercise_of_an_older_clone_is_given_what_it_lacks() {
    let place = Place::with_a_clone("older");
    place.start(&["hidden-flush"]);
    let config = place.clone.join("exercises/hidden-flush/.cargo/config.toml");
    let now = fs::read_to_string(&config).expect("a file");
    fs::remove_file(&config).expect("a file of our own");
    place.start(&["unread-body"]);
    assert_eq!(fs::read_to_string(&config).expect("a file"), now);
    let others = ALL.iter().filter(|ghost| place.clone.join("exercises").join(ghost.slug).exists());
    assert_eq!(others.count(), 2, "and nothing is made that was not started");
}

#[test]
fn where_the_owner_of_the_machine_builds_the_exercises_build_too() {
    let place = Place::with_a_clone("owner");
    let (inner, home) = (place.clone.join("exercises/.cargo/config.toml"), place.folder.join("home"));
    let says_where = || fs::read_to_string(&inner).expect("a file").contains("target-dir");
    let config = "[build]\ntarget-dir = \"elsewhere\"\n";
    let start = |slug: &str| {
        let mut start = ghosts(&["start", slug]);
        let started = start.current_dir(&place.clone).env("CARGO_HOME", &home).output().expect("the runner starts");
        assert_eq!(started.status.code(), Some(0), "{}", err(&started));
    };
    start("hidden-flush");
    assert!(says_where(), "beside what the root builds");
    fs::create_dir_all(&home).and_then(|()| fs::write(home.join("config.toml"), config)).expect("a file");
    start("unread-body");
    assert!(!says_where(), "the owner has said where");
    fs::write(home.join("config.toml"), "").expect("a file");
    start("unready-clone");
    assert!(says_where());
    // The folders above it are asked as well.
    fs::create_dir_all(place.folder.join(".cargo")).expect("a folder");
    fs::write(place.folder.join(".cargo/config.toml"), config).expect("a file");
    start("leaked-permit");
    assert!(!says_where());
}

#[cfg(unix)]
#[test]
fn an_exercise_behind_a_link_is_refused_with_what_to_do() {
    let place = Place::with_a_clone("link");
    place.start(&["hidden-flush"]);
    let check = || {
        let check = ghosts(&["check", "hidden-flush"]).current_dir(&place.clone).output().expect("the runner starts");
        assert_eq!((check.status.code(), &*out(&check)), (Some(2), ""), "{}", err(&check));
        err(&check)
    };
    let told = "is a symbolic link, and cargo does not find the clone from the folder that it leads to; move that folder \
                 here, and leave a link to it in its old place\n";
    for name in ["exercises/hidden-flush", "exercises"] {
        let (here, there) = (place.clone.join(name), place.folder.join("there"));
        fs::rename(&here, &there).expect("a folder of our own");
        std::os::unix::fs::symlink(&there, &here).expect("a link");
        assert_eq!(check(), format!("ghosts: {name} {told}"));
        fs::remove_file(&here).and_then(|()| fs::rename(&there, &here)).expect("our own");
    }
}
