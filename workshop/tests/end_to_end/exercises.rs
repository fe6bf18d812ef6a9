//! A learner's exercises, built and judged: those that nobody has touched, wrong fixes and right ones, and hostile ones.

use std::{fs, process::Output};

use ghosts::{
    catalogue::{
        exercise_files::{JUDGED, without_cause},
        generated,
        ghosts::ALL,
    },
    checkout::Checkout,
};
use serde_json::Value;

use crate::{
    forms::Forms,
    learner::{Learner, err, out},
};

const LIB: &str = "exercises/hidden-flush/src/lib.rs";

/// What `check --json` has printed, in a form that the book documents.
fn judged(output: &Output) -> Value {
    let judged = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}{}", out(output), err(output)));
    Forms::documented().hold("cargo ghosts check --json", &judged);
    judged
}

fn broken(judged: &Value) -> Vec<&str> {
    let promises = judged["report"]["promises"].as_array().expect("a report");
    let broken = promises.iter().filter(|promise| promise["outcome"] == "broken");
    broken.map(|promise| promise["key"].as_str().expect("a key")).collect()
}

fn promises(judged: &Value) -> usize {
    judged["report"]["promises"].as_array().expect("a report").len()
}

/// What was printed, whatever the lines are broken at.
fn words(output: &Output) -> String {
    out(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A source of this clone as a learner would have written it.
fn pasted(name: &str) -> String {
    without_cause(&Checkout::here().text(name).expect("a source of this clone"))
        + if name.ends_with("shared.rs") { "" } else { JUDGED }
}

#[test]
fn exercises_are_judged() {
    // A space, and a letter that is no ASCII: a clone may lie at any path.
    let copy = Learner::with_a_clone("Übungen in here");
    every_exercise_begins_as_its_broken_twin(&copy);
    a_half_solved_exercise_is_judged_by_plain_cargo_too(&copy);
    fixes_are_told_from_near_misses(&copy);
    the_model_is_judged_and_may_not_apply(&copy);
    a_core_looks_like_the_one_whose_threads_took_the_same_steps(&copy);
    what_the_program_and_the_compiler_say_is_shown(&copy);
    those_are_blamed_whose_it_is(&copy);
    hostile_exercises_get_no_verdict_or_a_bad_one(&copy);
}

fn every_exercise_begins_as_its_broken_twin(copy: &Learner) {
    for ghost in ALL.iter() {
        let slug = ghost.slug;
        assert_eq!(copy.ghosts(&["start", slug]).status.code(), Some(0), "{slug}");
        let check = copy.ghosts(&["check", slug, "--json"]);
        assert_eq!(check.status.code(), Some(1), "{slug}: {}", err(&check));
        let judged = judged(&check);
        let known = generated::verdicts(&Checkout::here(), slug).expect("the generated verdicts");
        assert_eq!(broken(&judged), known.broken, "{slug}");
        assert_eq!(judged["looks_like"], Value::Array(Vec::new()), "{slug}");
        let has_model = Checkout::here().has(&format!("cases/{slug}/src/shared.rs"));
        assert_eq!(judged["interleavings"]["outcome"] == "fail", has_model, "{slug}: {judged}");
        let folder = format!("exercises/{slug}");
        // The example is built too, nothing is warned of, and the sources stand as rustfmt has them.
        for arguments in [&["test", "--workspace", "--no-run"] as &[&str], &["fmt", "--all", "--check"]] {
            let output = copy.cargo_in(&folder, arguments);
            assert!(output.status.success(), "{slug}: {arguments:?}: {}{}", out(&output), err(&output));
            assert!(!err(&output).contains("warning"), "{slug}: {arguments:?}: {}", err(&output));
        }
    }
}

fn a_half_solved_exercise_is_judged_by_plain_cargo_too(copy: &Learner) {
    let test = copy.cargo_in("exercises/hidden-flush", &["test"]);
    assert_eq!(test.status.code(), Some(101));
    assert_eq!(out(&test).matches("hidden-flush: 8 of 11 promises kept").count(), 1, "{}", out(&test));
    let test = copy.cargo_in("exercises/ignored-deadline", &["test", "--workspace", "--no-fail-fast"]);
    for failed in ["ignored-deadline: ", "broken: the client was told 504, and the order was charged"] {
        assert!(out(&test).contains(failed), "{failed}: {}", out(&test));
    }
    // No cargo at the root knows of the exercises.
    let metadata = copy.cargo_in("", &["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    assert!(metadata.status.success() && !out(&metadata).contains("-exercise"));
}

fn fixes_are_told_from_near_misses(copy: &Learner) {
    copy.write(LIB, &pasted("cases/hidden-flush/src/near_misses/flush_timer.rs"));
    let check = copy.ghosts(&["check", "hidden-flush"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(
        words(&check).contains("It breaks the same promises, in the same way, as flush-timer, a tempting fix:"),
        "{}",
        out(&check)
    );
    let right = ["fixed/hidden-flush/src/lib.rs", "fixed/hidden-flush/tests/also_right/compression_layer.rs"];
    for name in right {
        copy.write(LIB, &pasted(name));
        let check = copy.ghosts_in("exercises/hidden-flush/src", &["check"]);
        assert_eq!(check.status.code(), Some(0), "{name}: {}{}", out(&check), err(&check));
        assert!(out(&check).contains("hidden-flush: 11 of 11 promises kept"), "{}", out(&check));
        assert!(out(&check).contains("\nLaid to rest: "), "{}", out(&check));
    }
    let progress = copy.read("exercises/progress.jsonl");
    assert_eq!(progress.matches("\"event\":\"solved\"").count(), 1, "{progress}");
}

fn the_model_is_judged_and_may_not_apply(copy: &Learner) {
    let folder = "exercises/ignored-deadline";
    let twin = |file: &str| pasted(&format!("fixed/ignored-deadline/src/{file}"));
    copy.write(&format!("{folder}/src/lib.rs"), &twin("lib.rs"));
    copy.write(&format!("{folder}/src/shared.rs"), &twin("shared.rs"));
    let check = copy.ghosts(&["check", "ignored-deadline"]);
    assert_eq!(check.status.code(), Some(0), "{}{}", out(&check), err(&check));
    assert!(out(&check).contains("\n  holds       in all "), "{}", out(&check));
    // Each promise is kept, and only the model sees that two threads can come between.
    let racy = twin("shared.rs").replace("!self.settled.swap(true, SeqCst)", "!self.settled.load(SeqCst)");
    copy.write(&format!("{folder}/src/shared.rs"), &racy);
    let check = copy.ghosts(&["check", "ignored-deadline", "--json"]);
    let racy = judged(&check);
    assert_eq!((check.status.code(), &racy["interleavings"]["outcome"]), (Some(1), &"fail".into()), "{racy}");
    assert_eq!(racy["laid_to_rest"], false, "{racy}");
    let list = copy.ghosts(&["list"]);
    assert!(out(&list).contains("the model FAILS"), "{}", out(&list));
    // The core has another function now: it cannot be explored, and the promises are judged all the same.
    copy.write(&format!("{folder}/src/lib.rs"), &twin("lib.rs").replace(".expire()", ".close()"));
    copy.write(&format!("{folder}/src/shared.rs"), &twin("shared.rs").replace("fn expire(", "fn close("));
    let check = copy.ghosts(&["check", "ignored-deadline"]);
    assert_eq!(check.status.code(), Some(0), "{}{}", out(&check), err(&check));
    assert!(
        words(&check).contains("tests/interleavings.rs does not compile with this src/shared.rs (no function"),
        "{}",
        out(&check)
    );
    assert!(words(&check).contains("tried ") && words(&check).contains("times on real threads, nothing seen"));
    assert!(out(&check).contains("\nEvery promise is kept, and no race was seen."), "{}", out(&check));
    assert!(!out(&check).contains("Laid to rest"), "{}", out(&check));
    let test = copy.cargo_in(folder, &["test"]);
    assert!(test.status.success(), "{}{}", out(&test), err(&test));
    // There is no core any more.
    copy.write(&format!("{folder}/src/lib.rs"), &pasted("fixed/ignored-deadline/tests/also_right/no_task.rs"));
    fs::remove_file(copy.root().join(folder).join("src/shared.rs")).expect("a file of our own");
    let check = copy.ghosts(&["check", "ignored-deadline"]);
    assert_eq!(check.status.code(), Some(0), "{}{}", out(&check), err(&check));
    assert!(words(&check).contains("`mod shared` any more"), "{}", out(&check));
}

fn a_core_looks_like_the_one_whose_threads_took_the_same_steps(copy: &Learner) {
    let racy = pasted("cases/body-double-close/src/near_misses/load_then_store/shared.rs");
    copy.write("exercises/body-double-close/src/lib.rs", &pasted("fixed/body-double-close/src/lib.rs"));
    copy.write("exercises/body-double-close/src/shared.rs", &racy.replace("crate::sync", "super::sync"));
    let judged = judged(&copy.ghosts(&["check", "body-double-close", "--json"]));
    // The slot is given back twice by another near miss too, whose threads take other steps.
    let names: Vec<_> = judged["looks_like"].as_array().expect("a list").iter().map(|near| &near["name"]).collect();
    assert_eq!(names, ["load-then-store"], "{judged}");
}

fn what_the_program_and_the_compiler_say_is_shown(copy: &Learner) {
    let begin = "pub fn app(logs: Router) -> Router {\n";
    let broken = pasted("cases/hidden-flush/src/lib.rs");
    assert!(broken.contains(begin));
    let deeds = "    println!(\"an app is made\");\n    dbg!(2);\n    tokio::time::sleep(std::time::Duration::ZERO);\n";
    copy.write(LIB, &broken.replace(begin, &format!("{begin}{deeds}")));
    let check = copy.ghosts(&["check", "hidden-flush"]);
    assert_eq!(check.status.code(), Some(1), "{}{}", out(&check), err(&check));
    let told = words(&check);
    for shown in [
        "its last output:",
        "an app is made",
        "[exercises/hidden-flush/src/lib.rs:",
        "warning: unused `Sleep` that must be used --> exercises/hidden-flush/src/lib.rs:",
    ] {
        assert!(told.contains(shown), "{shown}: {}", out(&check));
    }
    copy.write(LIB, &broken.replace(begin, &format!("{begin}    panic!(\"not what {{}} thought\", 1 + 1);\n")));
    let check = copy.ghosts(&["check", "hidden-flush"]);
    assert!(words(&check).contains("not what 2 thought"), "{}", out(&check));
    assert!(words(&check).contains("panicked at exercises/hidden-flush/src/lib.rs:"), "{}", out(&check));
    copy.write(LIB, &broken.replace(begin, &format!("{begin}    let x: u8 = \"no number\";\n")));
    let check = copy.ghosts(&["check", "hidden-flush"]);
    assert!(words(&check).contains("--> exercises/hidden-flush/src/lib.rs:"), "{}", out(&check));
}

fn those_are_blamed_whose_it_is(copy: &Learner) {
    copy.write(LIB, &pasted("cases/hidden-flush/src/lib.rs"));
    let blamed = |cause: &str, sentence: &str| {
        let check = copy.ghosts(&["check", "hidden-flush", "--json", "--junit", "verdicts.xml"]);
        assert_eq!(check.status.code(), Some(2), "{}{}", out(&check), err(&check));
        let judged = judged(&check);
        assert_eq!((&judged["outcome"], &judged["cause"]), (&"not-built".into(), &cause.into()), "{judged}");
        assert!(err(&check).contains(sentence), "{}", err(&check));
        assert!(copy.read("verdicts.xml").contains("name=\"can-be-built\""), "{cause}");
    };
    // A specification that is not what it was when the exercise began.
    let (test, specification) = ("exercises/hidden-flush/tests/promises.rs", "tests/hidden-flush/src/lib.rs");
    let promises = copy.read(test);
    copy.write(test, &promises.replace("_spec::check", "_spec::judge_it").replace(" check(", " judge_it("));
    blamed("older-exercise", "`cargo ghosts reset hidden-flush` makes it again");
    copy.write(test, &promises);
    // What the clone has beside the exercise.
    let whole = copy.read(specification);
    copy.write(specification, &format!("{whole}\nnonsense\n"));
    blamed("clone", "tests/hidden-flush of the clone does not compile, and your exercise is not the cause");
    copy.write(specification, &whole);
    // A crate that the learner has added.
    let (manifest, lock) = ("exercises/hidden-flush/Cargo.toml", "exercises/hidden-flush/Cargo.lock");
    let (before, locked) = (copy.read(manifest), copy.read(lock));
    copy.write(manifest, &before.replace("[dependencies]\n", "[dependencies]\nodd = { path = \"../odd\" }\n"));
    copy.write("exercises/odd/Cargo.toml", "[package]\nname = \"odd\"\nedition = \"2024\"\n[workspace]\n");
    copy.write("exercises/odd/src/lib.rs", "nonsense");
    blamed("dependency", "the dependency odd does not compile");
    copy.write(manifest, &before);
    copy.write(lock, &locked);
}

fn hostile_exercises_get_no_verdict_or_a_bad_one(copy: &Learner) {
    let fixed = pasted("fixed/hidden-flush/src/lib.rs");
    let begins = |deed: &str| {
        let begin = "pub fn app(logs: Router) -> Router {\n";
        assert!(fixed.contains(begin));
        fixed.replace(begin, &format!("{begin}    {deed}\n"))
    };
    let check = |lib: &str| {
        copy.write(LIB, lib);
        let check = copy.ghosts(&["check", "hidden-flush", "--json"]);
        assert_eq!(check.status.code(), Some(1), "{}{}", out(&check), err(&check));
        judged(&check)
    };
    let panics = check(&begins("assert!(std::env::args().count() == 0, \"hostile\");"));
    assert_eq!(broken(&panics).len(), promises(&panics), "{panics}");
    assert!(panics.to_string().contains("the app panicked at src/lib.rs:"), "{panics}");
    for (deed, how) in [
        ("std::process::exit(0);", "ended without a verdict: the app took its process down (exit code 0)"),
        ("std::process::abort();", "ended without a verdict: the app took its process down"),
    ] {
        let ends = check(&begins(deed));
        assert_eq!(ends["outcome"], "ended-without-verdict", "{deed}: {ends}");
        assert!(ends["how"].as_str().expect("a sentence").starts_with(how), "{ends}");
    }
    let waits = check(&fixed.replace("let accepted = ", "std::future::pending::<()>().await;\n    let accepted = "));
    assert_eq!(broken(&waits).len(), promises(&waits), "{waits}");
    assert!(waits.to_string().contains("still waiting after"), "{waits}");
    let refused = check(&begins("let x: u8 = \"no number\";"));
    assert_eq!(refused["outcome"], "does-not-compile", "{refused}");
    assert!(refused["errors"].as_str().expect("text").contains("error[E0308]: mismatched types"), "{refused}");
    let half_saved = check(&fixed[..fixed.len() / 2]);
    assert_eq!(half_saved["outcome"], "does-not-compile", "{half_saved}");
    // Without its end, nothing says what it is held against.
    copy.write(LIB, fixed.strip_suffix(JUDGED).expect("its end"));
    let refused = copy.ghosts(&["check", "hidden-flush"]);
    assert_eq!(refused.status.code(), Some(2), "{}{}", out(&refused), err(&refused));
    assert!(err(&refused).ends_with(&format!("and end src/lib.rs with\n{JUDGED}")), "{}", err(&refused));
    let manifest = copy.read("exercises/hidden-flush/Cargo.toml");
    copy.write("exercises/hidden-flush/Cargo.toml", &manifest.replace("[lib]\n", "[lib]\ntest = false\n"));
    let refused = copy.ghosts(&["check", "hidden-flush"]);
    assert_eq!(refused.status.code(), Some(2), "{}{}", out(&refused), err(&refused));
    assert!(err(&refused).contains("keeps cargo from building the library's tests"), "{}", err(&refused));
    fs::remove_file(copy.root().join("exercises/hidden-flush/Cargo.toml")).expect("a file of our own");
    assert_eq!(copy.ghosts(&["check", "hidden-flush"]).status.code(), Some(2));
}
