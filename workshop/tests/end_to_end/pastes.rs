//! Every near miss and every right fix, pasted into its exercise by a learner: what `check` says to them.

use std::fs;

use ghosts::{
    catalogue::{
        case::{self, MODEL},
        exercise_files::without_cause,
        generated,
        ghosts::ALL,
    },
    checkout::Checkout,
};
use lab::Report;
use serde_json::Value;

use crate::learner::{Learner, err, out};

/// Near misses that may be accepted, "as far as the promises go". The reason: two threads have to meet for what is wrong in its
/// core, which no promise brings about, and seldom happens on real threads; and the model of the exercise does not play the core,
/// because it has other functions, or is the broken one, which an app that keeps each promise need not share.
const LAID_TO_REST: [(&str, &str); 3] = [
    ("body-double-close", "last-owner"),
    ("blocked-log-channel", "looks-then-closes"),
    ("blocked-log-channel", "flag-beside-the-lock"),
];

/// What the fixes take from the root of their crate.
const SYNC: &str = "mod sync {\n    pub(crate) use std::sync::*;\n}\n";

#[test]
fn near_misses_are_rejected_and_right_fixes_accepted() {
    let copy = Learner::with_a_clone("pastes");
    for ghost in ALL.iter() {
        let exercise = Exercise::started(&copy, ghost.slug);
        exercise.near_misses_are_rejected();
        exercise.right_fixes_are_accepted();
    }
}

/// An exercise, into which one fix after the other is pasted.
struct Exercise<'a> {
    copy: &'a Learner,
    slug: &'a str,
    /// What follows the app in `src/lib.rs`, and is none of a fix.
    rest: String,
    /// The broken twin's core, on which some fixes build.
    core: Option<String>,
}

/// What `check` says.
#[derive(Debug, PartialEq)]
struct Verdict {
    code: Option<i32>,
    broken: Vec<String>,
    /// Whether it looks like the near miss that it is.
    named: bool,
}

impl<'a> Exercise<'a> {
    fn started(copy: &'a Learner, slug: &'a str) -> Self {
        let started = copy.ghosts(&["start", slug]);
        assert_eq!(started.status.code(), Some(0), "{slug}: {}", err(&started));
        let app = source(&format!("cases/{slug}/src/lib.rs")).expect("the broken twin");
        let lib = copy.read(&format!("exercises/{slug}/src/lib.rs"));
        let rest = lib.strip_prefix(&app).expect("an exercise begins with the app of its broken twin").to_owned();
        Self { copy, slug, rest, core: source(&format!("cases/{slug}/src/shared.rs")) }
    }

    /// Those that `case.toml` tells; tidy compares them with the files.
    fn near_misses_are_rejected(&self) {
        let slug = self.slug;
        let known = generated::verdicts(&Checkout::here(), slug).expect("the generated verdicts");
        for told in case::read(&Checkout::here(), slug).expect("a case").near_misses {
            let file = format!("cases/{slug}/src/near_misses/{}.rs", told.name.replace('-', "_"));
            let breaks = known.near_misses.iter().find(|near_miss| near_miss.name == told.name);
            let broken = breaks.expect("the verdict on each near miss").broken.clone();
            assert!(if told.breaks == MODEL { broken.is_empty() } else { broken.contains(&told.breaks) }, "{file}");
            let laid_to_rest = LAID_TO_REST.contains(&(slug, &told.name));
            // What breaks all that the broken twin breaks looks like the beginning.
            let named = !laid_to_rest && broken != known.broken;
            let verdict = self.verdict(&file, &told.name);
            // On real threads it may be found out, and need not.
            let code = verdict.code.filter(|code| laid_to_rest && *code == 0).or(Some(1));
            assert_eq!(verdict, Verdict { code, broken, named }, "{file}");
        }
    }

    /// Ours, and every file of those that are not ours.
    fn right_fixes_are_accepted(&self) {
        let slug = self.slug;
        let folder = format!("fixed/{slug}/tests/also_right");
        let mut files: Vec<String> = fs::read_dir(Checkout::here().path(&folder))
            .expect("a folder of right fixes")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("names here are plain"))
            .filter(|name| name.ends_with(".rs"))
            .map(|name| format!("{folder}/{name}"))
            .collect();
        files.sort();
        assert!(files.len() >= 2, "{folder} has two right fixes at least");
        files.push(format!("fixed/{slug}/src/lib.rs"));
        for file in files {
            let expected = Verdict { code: Some(0), broken: Vec::new(), named: false };
            assert_eq!(self.verdict(&file, ""), expected, "{file}");
        }
    }

    /// Pastes the fix in `file`, and checks.
    fn verdict(&self, file: &str, name: &str) -> Verdict {
        let (lib, core) = pasted(file);
        self.copy.write(&format!("exercises/{}/src/lib.rs", self.slug), &(lib + &self.rest));
        if let Some(core) = core.as_ref().or(self.core.as_ref()) {
            self.copy.write(&format!("exercises/{}/src/shared.rs", self.slug), core);
        }
        let check = self.copy.ghosts(&["check", self.slug, "--json"]);
        let judged: Value =
            serde_json::from_slice(&check.stdout).unwrap_or_else(|_| panic!("{file}: {}{}", out(&check), err(&check)));
        let report: Report =
            serde_json::from_value(judged["report"].clone()).unwrap_or_else(|_| panic!("{file}: {judged}"));
        let like = judged["looks_like"].as_array().expect("near misses");
        Verdict {
            code: check.status.code(),
            broken: report.broken().into_iter().map(str::to_owned).collect(),
            named: like.iter().any(|like| like["name"] == name),
        }
    }
}

/// The fix in `file` as it stands in `src/lib.rs` of an exercise, and its core as `src/shared.rs`, if it has one of its own.
/// What its crate has elsewhere is at the root here: the twin's core, one that near misses share, and `sync`.
fn pasted(file: &str) -> (String, Option<String>) {
    let mut lib = source(file).expect("a fix");
    let (folder, name) = file.trim_end_matches(".rs").rsplit_once('/').expect("a file in a folder");
    let mut core = if name == "lib" { "shared.rs".to_owned() } else { format!("{name}/shared.rs") };
    let is_elsewhere =
        |line: &&str| line.starts_with("#[path = \"../../../../cases/") || line == &format!("#[path = \"{core}\"]");
    if let Some(elsewhere) = lib.lines().find(is_elsewhere).map(|line| format!("{line}\n")) {
        lib = lib.replace(&elsewhere, "");
    }
    if let Some(shares) = lib.lines().find_map(|line| line.strip_prefix("use super::")) {
        let (module, _) = shares.split_once("::").expect("a module of several near misses");
        core = format!("{module}/shared.rs");
        lib = lib.replace(&format!("use super::{module}::"), "use crate::shared::");
    }
    if lib.contains("shared::") && !lib.contains("mod shared;") {
        lib.push_str("mod shared;\n");
    }
    if (lib.contains("mod shared;") || lib.contains("crate::")) && !lib.contains("mod sync {") {
        lib.push_str(SYNC);
    }
    (lib, source(&format!("{folder}/{core}")))
}

/// A source of this clone as a learner would have written it, if there is one of that name.
fn source(name: &str) -> Option<String> {
    Checkout::here().text(name).ok().map(|text| without_cause(&text))
}
