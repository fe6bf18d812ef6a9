//! What the commands print for machines has the form that the book documents. What takes a build, and the kit, is held against it
//! in the end-to-end suite.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use clap::CommandFactory;
use ghosts::{
    cli::Cli,
    learn::judged::{Cause, Interleavings, Judged, LooksLike, Outcome},
    make::regenerate,
};
use lab::hammer::Hammered;
use serde_json::{Value, json};

use crate::{
    forms::Forms,
    ghosts,
    learner::{Learner, err, out},
    read, run,
};

fn heading(command: &str) -> String {
    format!("cargo ghosts {command} --json")
}

/// Holds what a command prints against the page.
fn hold(forms: &Forms, heading: &str, output: &std::process::Output) {
    let document = serde_json::from_slice(&output.stdout);
    forms.hold(heading, &document.unwrap_or_else(|error| panic!("{heading}: {error}: {}{}", out(output), err(output))));
}

#[test]
fn every_command_that_reports_is_documented_and_no_other_takes_json() {
    let forms = Forms::documented();
    let mut documented: Vec<&str> = forms.headings().filter(|heading| heading.starts_with("cargo ")).collect();
    let mut said = vec!["cargo run -- --json".to_owned()];
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let silent = command.get_arguments().any(|argument| argument.get_id() == "json" && argument.is_hide_set());
        if silent {
            let rest = if name == "completions" { &["bash"] as &[&str] } else { &[] };
            let refused = run(&[&[name], rest, &["--json"]].concat());
            assert_eq!((refused.status.code(), &*out(&refused)), (Some(2), ""), "{name}");
            assert!(!out(&run(&[name, "--help"])).contains("--json"), "{name}");
        } else {
            said.push(heading(name));
        }
    }
    said.sort();
    documented.sort_unstable();
    assert_eq!(documented, said);
}

#[test]
fn whoever_reads_prints_the_documented_forms() {
    let forms = Forms::documented();
    hold(&forms, "cargo run -- --json", &read(&["--json"]));
    // One with shared state, and one without.
    for arguments in
        [&["show", "body-double-close", "--near-misses", "--json"] as &[&str], &["show", "unread-body", "--json"]]
    {
        hold(&forms, &heading("show"), &read(arguments));
    }
    hold(&forms, &heading("diff"), &read(&["diff", "hidden-flush", "--json"]));
    // These break clauses, change some, and have some that do not apply.
    for part in ["BufferLayer", "CompressionLayer"] {
        hold(&forms, &heading("conform"), &run(&["conform", part, "--json"]));
    }

    let mut serve = ghosts(&["serve", "hidden-flush", "--port", "0", "--json"]);
    let mut child = serve.stdout(Stdio::piped()).spawn().expect("the runner starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let mut text = String::new();
    for line in lines {
        text += &line;
        if line == "}" {
            break;
        }
    }
    child.kill().and_then(|()| child.wait()).expect("it runs until it is ended");
    forms.hold(&heading("serve"), &serde_json::from_str(&text).expect("JSON"));
}

#[test]
fn what_a_learner_does_is_printed_and_kept_in_the_documented_forms() {
    let (forms, copy) = (Forms::documented(), Learner::with_a_clone("machines"));
    for arguments in [
        &["start", "hidden-flush"] as &[&str],
        &["hint", "hidden-flush"],
        &["solution", "hidden-flush", "--yes"],
        &["reset", "hidden-flush"],
        &["new", "silver-lining"],
    ] {
        hold(&forms, &heading(arguments[0]), &copy.ghosts(&[arguments, &["--json"]].concat()));
    }
    let kept = copy.read("exercises/progress.jsonl");
    let checked = "{\"schema\":1,\"at\":1,\"slug\":\"unread-body\",\"event\":\"checked\",\
                   \"promises\":[{\"key\":\"a\",\"verdict\":\"kept\"}],\"model\":\"holds\",\"hammer\":\"nothing-seen\"}\n";
    let drilled = "{\"schema\":1,\"at\":2,\"slug\":\"unread-body\",\"event\":\"drilled\",\"seed\":1,\"named\":true,\
                   \"points\":4,\"seconds\":300}\n";
    copy.write("exercises/progress.jsonl", &format!("{kept}{checked}{drilled}noise\n"));
    for line in kept.lines().chain(checked.lines()).chain(drilled.lines()) {
        forms.hold("exercises/progress.jsonl", &serde_json::from_str(line).expect("JSON"));
    }
    hold(&forms, &heading("list"), &copy.ghosts(&["list", "--json"]));
    // What it would have to make is not there to be read.
    let missing = "book/src/generated/hidden-flush/verdicts.json";
    fs::remove_file(copy.root().join(missing)).expect("our own file");
    // In this process, in which every ghost is judged once for all tests; the end-to-end suite runs the command.
    let done = regenerate::write(copy.checkout()).expect("every source can be read");
    let done = serde_json::to_value(&done).expect("JSON");
    forms.hold(&heading("regenerate"), &done);
    assert_eq!(done["written"], json!([missing]), "{done:#}");
}

#[test]
fn whatever_comes_of_a_check_has_a_documented_form() {
    let report = || lab::Report { schema: 1, ghost: "hidden-flush".to_owned(), promises: Vec::new() };
    let text = || "text".to_owned();
    let alike = LooksLike { name: text(), tempts: text(), page: text() };
    let judged = |looks_like, interleavings, hammer, said, warnings| Outcome::Judged {
        report: report(),
        looks_like,
        interleavings,
        hammer,
        said,
        warnings,
    };
    let causes = [Cause::DiskFull, Cause::NoLinker, Cause::Dependency, Cause::Clone, Cause::OlderExercise];
    let interleavings = [
        Interleavings::Hold { explored: 7 },
        Interleavings::Fail { table: text() },
        Interleavings::NotApplicable { why: text() },
    ];
    let hammered = [
        Hammered::Rejected { observed: text(), tries: 7 },
        Hammered::NothingSeen { tries: 7 },
        Hammered::NotTried { why: text() },
    ];
    let mut outcomes = vec![
        Outcome::DoesNotCompile { errors: text() },
        Outcome::EndedWithoutVerdict { how: text(), said: text() },
        judged(Vec::new(), None, None, String::new(), Vec::new()),
    ];
    outcomes.extend(causes.map(|cause| Outcome::NotBuilt { cause, sentence: text(), said: text() }));
    outcomes.extend(
        interleavings
            .into_iter()
            .zip(hammered)
            .map(|(model, hammer)| judged(vec![alike.clone()], Some(model), Some(hammer), text(), vec![text()])),
    );
    let forms = Forms::documented();
    for outcome in outcomes {
        let judged = Judged::new("hidden-flush", outcome);
        forms.hold(&heading("check"), &serde_json::to_value(&judged).expect("JSON"));
    }
}

#[test]
fn what_a_trainer_does_is_printed_in_the_documented_forms() {
    let (forms, copy) = (Forms::documented(), Learner::with_a_clone("machines of a trainer"));
    for arguments in [
        &["agenda", "--minutes", "240", "--people", "3", "--json"] as &[&str],
        &["agenda", "--minutes", "60", "--json"],
        &["handout", "--all", "--json"],
        &["slides", "hidden-flush", "--json"],
    ] {
        hold(&forms, &heading(arguments[0]), &run(arguments));
    }
    hold(&forms, &heading("pack"), &copy.ghosts(&["pack", "monday", "--minutes", "60", "--json"]));
    let solved = |at: u32, event: &str| {
        format!("{{\"schema\":1,\"at\":{at},\"slug\":\"hidden-flush\",\"event\":\"{event}\"}}\n")
    };
    for name in ["collected/ada.jsonl", "collected/ada/progress.jsonl"] {
        copy.write(name, &(solved(1, "started") + &solved(60, "solved")));
    }
    copy.write("collected/noise.jsonl", "noise\n");
    let board = copy.ghosts(&["board", "collected", "--json"]);
    hold(&forms, &heading("board"), &board);
    let board: Value = serde_json::from_slice(&board.stdout).expect("JSON");
    assert_eq!(board["people"][1]["number"], 2, "{board:#}");

    let mut preflight = ghosts(&["preflight", "--json"]);
    preflight.env_clear().env("CARGO", "/no/such/cargo").env("RUSTC", "/no/such/rustc").current_dir(copy.root());
    hold(&forms, &heading("preflight"), &preflight.output().expect("the runner starts"));
}
