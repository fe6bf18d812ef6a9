//! A learner's copy of each ghost, and the commands round it, but for what takes a build: that is in the end-to-end suite.

use std::{fs, sync::Mutex, thread};

use ghosts::{
    catalogue::{
        case,
        exercise_files::{self, JUDGED, without_cause},
        ghosts::ALL,
    },
    checkout::Checkout,
    learn::{exercise::Exercise, solution},
    progress::{self, Deed, Event, Model, Tried, Verdict},
};

use crate::learner::{Learner, err, out};

fn refused(output: &std::process::Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}{}", out(output), err(output));
    assert_eq!(out(output), "");
    err(output)
}

fn done(output: &std::process::Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", out(output), err(output));
    out(output)
}

/// The files of the exercise of each ghost.
fn exercises() -> impl Iterator<Item = (&'static str, Vec<(String, String)>)> {
    ALL.iter().map(|ghost| {
        let case = case::read(&Checkout::here(), ghost.slug).expect("a case");
        (ghost.slug, exercise_files::files(&Checkout::here(), ghost, &case).expect("its files"))
    })
}

#[test]
fn an_exercise_does_not_give_its_cause_away() {
    for (slug, files) in exercises() {
        let twin = Checkout::here().text(&format!("cases/{slug}/src/lib.rs")).expect("the broken twin");
        let cause = twin.lines().skip_while(|line| *line != "//! # Cause").skip(1).take_while(|line| *line != "//!");
        let told: Vec<&str> = cause.map(|line| line.trim_start_matches("//! ")).collect();
        assert!(!told.is_empty(), "{slug}");
        for (name, text) in files.iter().filter(|(name, _)| name != "Cargo.lock") {
            for given_away in ["ANCHOR", "# Cause", "# Cost", "# Start here", "near_miss", "expect(clippy", "reason ="]
            {
                let allowed = name == "tests/interleavings.rs" && given_away == "reason =";
                assert!(allowed || !text.contains(given_away), "{slug}: {name} has `{given_away}`");
            }
            for line in &told {
                assert!(!text.contains(line), "{slug}: {name} tells the cause: {line}");
            }
        }
    }
}

#[test]
fn comments_inside_the_defect_go_and_those_that_say_what_it_is_for_stay() {
    let source = "//! A desk.\n//!\n//! # Symptom\n//! Late.\n//!\n//! # Cause\n//! A lock.\n//!\n//! # Cost\n//! Much.\n\n\
                  use std::mem;\n\n#[doc(hidden)]\npub mod near_misses;\n\n// Kept.\n// ANCHOR: defect\n/// Counts.\n\
                  #[expect(\n    clippy::await_holding_lock,\n    reason = \"it is\"\n)]\nfn count() {\n    // Held too long.\n    \
                  drop(1);\n}\n// ANCHOR_END: defect\n// Kept too.\n";
    let expected = "//! A desk.\n//!\n//! # Symptom\n//! Late.\n\nuse std::mem;\n\n// Kept.\n/// Counts.\nfn count() {\n    \
                    drop(1);\n}\n// Kept too.\n";
    assert_eq!(without_cause(source), expected);
}

#[test]
fn an_exercise_has_the_code_of_its_twin() {
    let code = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        lines.filter(|line| *line != "#[doc(hidden)]" && *line != "pub mod near_misses;").map(str::to_owned).collect()
    };
    for (slug, files) in exercises() {
        for (name, text) in files.iter().filter(|(name, _)| name.starts_with("src/") && name.ends_with(".rs")) {
            let twin = Checkout::here().text(&format!("cases/{slug}/{name}")).expect("a file of the twin");
            let text = if name == "src/lib.rs" { text.strip_suffix(JUDGED).expect("its end") } else { text };
            if !twin.contains("#[expect(") {
                assert_eq!(code(text), code(&twin), "{slug}: {name}");
            }
        }
    }
}

#[test]
fn a_ghost_with_shared_state_has_its_model_in_the_exercise() {
    for (slug, files) in exercises() {
        let shared = Checkout::here().has(&format!("cases/{slug}/src/shared.rs"));
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["src/shared.rs", "tests/interleavings.rs", "tests/Cargo.toml"] {
            assert_eq!(names.contains(&name), shared, "{slug}: {name}");
        }
    }
}

#[test]
fn the_solution_gives_a_reason_for_every_piece() {
    let copy = Learner::with_a_clone("solution");
    for ghost in ALL.iter() {
        done(&copy.ghosts(&["start", ghost.slug]));
        let solution = solution::of(&Exercise::of(copy.checkout(), ghost)).expect("a solution");
        assert!(!solution.hunks.is_empty() && !solution.fix.is_empty(), "{}", ghost.slug);
        let reasons = case::read(copy.checkout(), ghost.slug).expect("a case").reasons;
        for reason in &reasons {
            let told = solution.hunks.iter().any(|hunk| hunk.reasons.contains(&reason.why));
            assert!(told, "cases/{}/case.toml: no piece changes `{}`", ghost.slug, reason.code);
        }
        for hunk in solution.hunks.iter().filter(|_| !reasons.is_empty()) {
            assert!(!hunk.reasons.is_empty(), "cases/{}/case.toml has no reason for\n{}", ghost.slug, hunk.text);
        }
    }
}

#[test]
fn start_makes_the_easiest_and_check_need_not_be_told_which() {
    let copy = Learner::with_a_clone("start");
    let said = refused(&copy.ghosts(&["hint"]));
    assert_eq!(said, "ghosts: there is no exercise yet; `cargo ghosts start` makes one\n");
    let said = done(&copy.ghosts(&["start"]));
    assert!(said.contains("The captured context, about 20 minutes, difficulty 1 of 3"), "{said}");
    assert!(said.contains("exercises/closure-captured-state/README.md"), "{said}");
    let hint = done(&copy.ghosts(&["hint"]));
    assert!(hint.contains("cargo ghosts hint closure-captured-state"), "{hint}");
    let next = done(&copy.ghosts(&["start", "--json"]));
    let next: serde_json::Value = serde_json::from_str(&next).expect("JSON");
    assert_eq!((&next["schema"], &next["slug"]), (&1.into(), &"extension-collision".into()));
    // Cargo tells packages apart by name and version: another clone may build into the same target directory.
    let mut exercises = exercises();
    let (_, here) = exercises.find(|(slug, _)| *slug == "extension-collision").expect("a ghost");
    let manifest = here.iter().find(|(name, _)| name == "Cargo.toml").expect("a manifest");
    let version = |text: &str| text.lines().find(|line| line.starts_with("version")).map(str::to_owned);
    assert_ne!(version(&manifest.1), version(&copy.read("exercises/extension-collision/Cargo.toml")));
    // A dynamic library it tells apart by name only.
    let version = version(&copy.read("exercises/extension-collision/Cargo.toml")).expect("a version");
    let (_, place) = version.split_once('+').expect("the place");
    assert!(copy.read("exercises/.dylib/Cargo.toml").contains(&format!("name = \"lab_{place}")));
    // The slug is that of the folder, from any depth.
    let hint = done(&copy.ghosts_in("exercises/extension-collision/src", &["hint"]));
    assert!(hint.contains("1 of 4, where to look") && hint.contains("cargo ghosts hint extension-collision"), "{hint}");
    // Elsewhere it is the one that was worked at last, as long as it is there.
    for folder in ["exercises", ""] {
        let hint = done(&copy.ghosts_in(folder, &["hint"]));
        assert!(hint.contains("extension-collision"), "{hint}");
    }
    done(&copy.ghosts(&["hint", "closure-captured-state"]));
    let hint = done(&copy.ghosts(&["hint", "--again"]));
    assert!(hint.contains("closure-captured-state"), "{hint}");
    fs::remove_dir_all(copy.root().join("exercises/closure-captured-state")).expect("a folder of our own");
    let hint = done(&copy.ghosts(&["hint", "--again"]));
    assert!(hint.contains("extension-collision"), "{hint}");
    // Without progress nothing says which.
    done(&copy.ghosts(&["start", "unread-body"]));
    fs::remove_file(copy.root().join("exercises/progress.jsonl")).expect("a file of our own");
    let said = refused(&copy.ghosts(&["hint"]));
    assert!(
        said.starts_with("ghosts: there are 2 exercises; name one, such as `extension-collision`, or go into"),
        "{said}"
    );
}

#[test]
fn an_exercise_that_is_there_is_never_overwritten() {
    let copy = Learner::with_a_clone("overwritten");
    done(&copy.ghosts(&["start", "hidden-flush"]));
    copy.write("exercises/hidden-flush/src/lib.rs", "mine");
    let said = refused(&copy.ghosts(&["start", "hidden-flush"]));
    assert!(said.starts_with("ghosts: exercises/hidden-flush already exists; `cargo ghosts check"), "{said}");
    assert_eq!(copy.read("exercises/hidden-flush/src/lib.rs"), "mine");
}

#[test]
fn of_those_who_start_at_once_one_wins_and_nothing_is_half_made() {
    let copy = Learner::with_a_clone("at-once");
    let all = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for slug in ALL.iter().map(|ghost| ghost.slug).flat_map(|slug| [slug; 3]) {
            let (copy, all) = (&copy, &all);
            threads.spawn(move || {
                let output = copy.ghosts(&["start", slug]);
                all.lock().expect("nobody panics with it").push((slug, output));
            });
        }
    });
    let all = all.into_inner().expect("nobody panicked");
    for ghost in ALL.iter() {
        let slug = ghost.slug;
        let outputs = all.iter().filter(|(of, _)| *of == slug).map(|(_, output)| output);
        let (won, late): (Vec<_>, Vec<_>) = outputs.partition(|output| output.status.success());
        assert_eq!((won.len(), late.len()), (1, 2), "{slug}: {late:?}");
        for output in late {
            let said = refused(output);
            assert!(said.starts_with(&format!("ghosts: exercises/{slug} already exists; ")), "{said}");
        }
        let case = case::read(copy.checkout(), slug).expect("a case");
        for (name, text) in exercise_files::files(copy.checkout(), ghost, &case).expect("its files") {
            assert_eq!(copy.read(&format!("exercises/{slug}/{name}")), text, "{slug}: {name}");
        }
    }
    for folder in ["exercises", "exercises/.cargo", "exercises/.vscode"] {
        for entry in fs::read_dir(copy.root().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("names here are plain");
            assert!(!name.contains("new-") && name != ".kept", "{folder} has {name}");
        }
    }
    let progress = copy.read("exercises/progress.jsonl");
    assert_eq!(progress.matches("\"event\":\"started\"").count(), ALL.len(), "{progress}");
}

#[test]
fn reset_keeps_aside_what_was_there() {
    let copy = Learner::with_a_clone("reset");
    done(&copy.ghosts(&["start", "hidden-flush"]));
    let beginning = copy.read("exercises/hidden-flush/src/lib.rs");
    for (number, mine) in ["mine", "mine again"].into_iter().enumerate() {
        copy.write("exercises/hidden-flush/src/lib.rs", mine);
        copy.write("exercises/hidden-flush/notes.md", mine);
        let kept = format!("exercises/.kept/hidden-flush-{}", number + 1);
        let said = done(&copy.ghosts(&["reset", "hidden-flush"]));
        assert_eq!(said, format!("exercises/hidden-flush is as it was at the start; what you had is in {kept}\n"));
        assert_eq!(copy.read(&format!("{kept}/src/lib.rs")), mine);
        assert_eq!(copy.read(&format!("{kept}/notes.md")), mine);
        assert_eq!(copy.read("exercises/hidden-flush/src/lib.rs"), beginning);
    }
}

#[test]
fn what_cannot_be_judged_is_one_clear_sentence() {
    let copy = Learner::with_a_clone("refused");
    let said = refused(&copy.ghosts(&["check", "hidden-flush"]));
    assert_eq!(said, "ghosts: there is no exercises/hidden-flush; `cargo ghosts start hidden-flush` makes it\n");
    let said = refused(&copy.ghosts(&["start", "hiden-flush"]));
    assert_eq!(said, "ghosts: there is no ghost `hiden-flush`; did you mean `hidden-flush`?\n");
    for path in ["../../x", "/etc", "..", "hidden-flush/src", ""] {
        let said = refused(&copy.ghosts(&["start", path]));
        assert!(said.starts_with(&format!("ghosts: there is no ghost `{path}`; ")), "{said}");
    }
    assert!(!copy.root().join("exercises").exists());
    copy.write("exercises/hidden-flush", "a file");
    for command in ["check", "start", "solution"] {
        let said = refused(&copy.ghosts(&[command, "hidden-flush"]));
        assert_eq!(
            said,
            "ghosts: exercises/hidden-flush is a file, not a folder; move it away, then `cargo ghosts start \
                     hidden-flush` makes the exercise\n"
        );
    }
    // Whoever says reset means it, and the file is kept.
    done(&copy.ghosts(&["reset", "hidden-flush"]));
    assert_eq!(copy.read("exercises/.kept/hidden-flush-1"), "a file");
    fs::remove_file(copy.root().join("exercises/hidden-flush/Cargo.toml")).expect("a file of our own");
    let said = refused(&copy.ghosts(&["check", "hidden-flush"]));
    assert_eq!(
        said,
        "ghosts: exercises/hidden-flush/Cargo.toml is gone; `cargo ghosts reset hidden-flush` starts over, and keeps \
                 what you have aside\n"
    );
}

#[test]
fn an_exercise_of_an_older_or_newer_clone_is_told_and_can_be_made_anew() {
    let copy = Learner::with_a_clone("formats");
    let manifest = "exercises/hidden-flush/Cargo.toml";
    done(&copy.ghosts(&["start", "hidden-flush"]));
    let now = copy.read(manifest);
    let stated = format!("format = {}\n", exercise_files::FORMAT);
    assert!(now.contains(&stated), "{now}");
    let first = now
        .replace(&format!("[package.metadata.ghosts]\n{stated}"), "")
        .replace("lab = { package = \"ghosts-lab\", path = \"../../tests/lab\" }", "spec = { path = \"../../tests\" }");
    for (older, sentence) in [
        (
            first,
            "exercises/hidden-flush was started in an older clone; `cargo ghosts reset hidden-flush` makes it again",
        ),
        (now.replace(&stated, "format = 1000\n"), "exercises/hidden-flush was started in a newer clone; `git pull`"),
    ] {
        copy.write(manifest, &older);
        let said = refused(&copy.ghosts(&["check", "hidden-flush"]));
        assert!(said.contains(sentence), "{said}");
    }
    done(&copy.ghosts(&["reset", "hidden-flush"]));
    assert_eq!(copy.read(manifest), now);
}

#[test]
fn a_manifest_that_is_nonsense_stops_cargo_in_its_own_exercise_only() {
    let copy = Learner::with_a_clone("manifest");
    for slug in ["hidden-flush", "swallowed-panic"] {
        done(&copy.ghosts(&["start", slug]));
    }
    copy.write("exercises/hidden-flush/Cargo.toml", "[package\nname = 7");
    let said = refused(&copy.ghosts(&["check", "hidden-flush"]));
    assert!(said.starts_with("ghosts: cargo cannot build exercises/hidden-flush; fix what it names, or"), "{said}");
    assert!(said.contains("Cargo.toml"), "{said}");
    for folder in ["", "exercises/swallowed-panic"] {
        let metadata = copy.cargo_in(folder, &["metadata", "--no-deps", "--offline", "--format-version", "1"]);
        assert!(metadata.status.success(), "{folder}: {}", err(&metadata));
    }
}

#[test]
fn hints_come_one_a_call_and_all_can_be_read_again() {
    let copy = Learner::with_a_clone("hints");
    for (number, tells) in ["where to look", "what to ask", "the mechanism", "the fix"].into_iter().enumerate() {
        let said = done(&copy.ghosts(&["hint", "hidden-flush"]));
        assert!(said.starts_with(&format!("{} of 4, {tells}\n", number + 1)), "{said}");
        assert_eq!(said.matches(" of 4, ").count(), 1, "{said}");
    }
    let said = done(&copy.ghosts(&["hint", "hidden-flush"]));
    assert_eq!(said.matches(" of 4, ").count(), 4, "{said}");
    // Whoever has solved it without hints may read them all, and has still taken none.
    progress::append(copy.checkout(), &Event::now("swallowed-panic", Deed::Solved)).expect("a line");
    let said = done(&copy.ghosts(&["hint", "swallowed-panic"]));
    assert_eq!(said.matches(" of 4, ").count(), 4, "{said}");
    let list = done(&copy.ghosts(&["list"]));
    let line = |slug: &str| list.lines().find(|line| line.starts_with(slug)).expect("a line").to_owned();
    assert!(line("hidden-flush").ends_with("2 of 3      not started, 4 hints"), "{list}");
    assert!(line("swallowed-panic").ends_with("solved"), "{list}");
}

#[test]
fn hints_are_read_again_without_taking_one_and_a_reset_closes_them() {
    let copy = Learner::with_a_clone("again");
    let said = refused(&copy.ghosts(&["hint", "hidden-flush", "--again"]));
    assert_eq!(said, "ghosts: you have taken no hint yet; `cargo ghosts hint hidden-flush` gives the first\n");
    for taken in 1..=2 {
        done(&copy.ghosts(&["hint", "hidden-flush"]));
        for _ in 0..2 {
            let said = done(&copy.ghosts(&["hint", "hidden-flush", "--again"]));
            assert_eq!(said.matches(" of 4, ").count(), taken, "{said}");
        }
    }
    done(&copy.ghosts(&["start", "swallowed-panic"]));
    progress::append(copy.checkout(), &Event::now("swallowed-panic", Deed::Solved)).expect("a line");
    done(&copy.ghosts(&["reset", "swallowed-panic"]));
    let said = done(&copy.ghosts(&["hint", "swallowed-panic"]));
    assert!(said.starts_with("1 of 4, where to look\n") && said.matches(" of 4, ").count() == 1, "{said}");
}

#[test]
fn the_list_says_what_the_promises_do_not() {
    let copy = Learner::with_a_clone("beside");
    let checked = |slug, model, hammer| {
        let promises = vec![Verdict { key: "a-promise".to_owned(), verdict: lab::Outcome::Kept }];
        progress::append(copy.checkout(), &Event::now(slug, Deed::Checked { promises, model, hammer }))
            .expect("a line");
    };
    checked("body-double-close", Some(Model::Fails), Some(Tried::NothingSeen));
    checked("leaked-permit", None, Some(Tried::Rejected));
    checked("ignored-deadline", Some(Model::NotApplicable), Some(Tried::NothingSeen));
    progress::append(copy.checkout(), &Event::now("ignored-deadline", Deed::Solved)).expect("a line");
    let list = done(&copy.ghosts(&["list"]));
    let below = |slug: &str| {
        let mut lines = list.lines().skip_while(|line| !line.starts_with(slug));
        (lines.next().unwrap_or_default().to_owned(), lines.next().unwrap_or_default().trim().to_owned())
    };
    let (state, beside) = below("body-double-close");
    assert!(state.ends_with("1 of 1 kept") && beside.starts_with("the model FAILS"), "{list}");
    assert_eq!(below("leaked-permit").1, "REJECTED on real threads", "{list}");
    let (state, beside) = below("ignored-deadline");
    assert!(state.ends_with("solved") && beside.ends_with("races tried, not explored"), "{list}");
    let json: serde_json::Value = serde_json::from_str(&done(&copy.ghosts(&["list", "--json"]))).expect("JSON");
    let row = |slug: &str| {
        let rows = json["ghosts"].as_array().expect("a list").iter();
        rows.clone().find(|row| row["slug"] == slug).cloned().expect("a row")
    };
    assert_eq!(
        (&row("body-double-close")["model"], &row("leaked-permit")["hammer"]),
        (&"fails".into(), &"rejected".into())
    );
    for line in list.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn an_exercise_of_a_ghost_with_races_has_a_test_that_tries_them() {
    for (slug, files) in exercises() {
        let (_, test) = files.iter().find(|(name, _)| name == "tests/promises.rs").expect("the promises");
        let has_hammer = exercise_files::has_hammer(&Checkout::here(), slug);
        assert_eq!(test.contains("fn races_are_tried()"), has_hammer, "{slug}: {test}");
        assert!(!test.contains('{') || !test.contains("{app}") && !test.contains("{module}"), "{slug}: {test}");
    }
}

#[test]
fn the_solution_is_not_shown_to_whoever_has_not_asked_for_it() {
    let copy = Learner::with_a_clone("unasked");
    done(&copy.ghosts(&["start", "hidden-flush"]));
    // There is no terminal here to ask at.
    let said = refused(&copy.ghosts(&["solution", "hidden-flush"]));
    assert!(said.starts_with("ghosts: you have not laid hidden-flush to rest yet; "), "{said}");
    let said = done(&copy.ghosts(&["solution", "hidden-flush", "--yes"]));
    assert!(said.contains("+                Poll::Pending if this.unflushed > 0 => return this.flush(),"), "{said}");
    let ours = Checkout::here().text("fixed/hidden-flush/src/lib.rs").expect("the fixed twin");
    copy.write("exercises/hidden-flush/src/lib.rs", &(without_cause(&ours) + JUDGED));
    progress::append(copy.checkout(), &Event::now("hidden-flush", Deed::Solved)).expect("a line");
    let said = done(&copy.ghosts(&["solution", "hidden-flush"]));
    assert!(said.contains("Your files and ours are the same."), "{said}");
}

#[test]
fn progress_of_a_newer_version_is_left_alone_and_what_cannot_be_read_is_named() {
    let copy = Learner::with_a_clone("newer");
    let newer = "{\"schema\":7,\"at\":\"noon\"}\n";
    copy.write("exercises/progress.jsonl", newer);
    let started = copy.ghosts(&["start", "hidden-flush"]);
    done(&started);
    assert_eq!(
        err(&started),
        "ghosts: your progress was not recorded: exercises/progress.jsonl, line 1: a newer version of this workshop \
                 wrote it; update this clone with `git pull`\n"
    );
    assert_eq!(copy.read("exercises/progress.jsonl"), newer);
    let list = done(&copy.ghosts(&["list"]));
    assert!(list.contains("skipped in exercises/progress.jsonl: line 1: a newer version"), "{list}");
    copy.write("exercises/progress.jsonl", "{\"schema\":1,\"at\":1,\"slug\":\"hid");
    done(&copy.ghosts(&["hint", "hidden-flush"]));
    let list = done(&copy.ghosts(&["list"]));
    assert!(list.contains("skipped in exercises/progress.jsonl: line 1: not an event: EOF"), "{list}");
    assert!(list.contains("not started, 1 hint"), "{list}");
}

#[test]
fn every_command_of_a_learner_speaks_json() {
    let copy = Learner::with_a_clone("json");
    for arguments in [
        &["start", "hidden-flush"] as &[&str],
        &["hint", "hidden-flush"],
        &["list"],
        &["solution", "hidden-flush", "--yes"],
        &["reset", "hidden-flush"],
    ] {
        let text = done(&copy.ghosts(&[arguments, &["--json"]].concat()));
        let value: serde_json::Value = serde_json::from_str(&text).expect("one document");
        assert_eq!(value["schema"], 1, "{arguments:?}");
    }
}

#[test]
fn no_line_for_a_learner_is_wider_than_80_columns() {
    let copy = Learner::with_a_clone("narrow");
    let mut text = String::new();
    for ghost in ALL.iter() {
        text.push_str(&done(&copy.ghosts(&["start", ghost.slug])));
        (0..5).for_each(|_| text.push_str(&done(&copy.ghosts(&["hint", ghost.slug]))));
    }
    text.push_str(&done(&copy.ghosts(&["list"])));
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}
