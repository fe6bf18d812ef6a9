//! The command line as a person meets it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    copy::of_the_workspace,
    ghosts,
    learner::{err, out},
    read, run,
};

#[test]
fn the_tour_is_the_default_and_all_is_as_it_should_be() {
    let tour = read(&[]);
    assert_eq!(tour.status.code(), Some(0), "{}", out(&tour));
    insta::assert_snapshot!("tour", out(&tour));
}

#[test]
fn a_near_miss_that_does_not_break_what_it_is_known_for_makes_the_tour_fail() {
    let copy = of_the_workspace("tour");
    let case = copy.join("cases/hidden-flush/case.toml");
    let told = fs::read_to_string(&case).expect("case.toml");
    // The first three near misses: a promise that the first keeps, one that is not there, and no promise at all for the third,
    // which breaks three.
    let told = ["small-event-when-quiet", "event-before-clock", "event-before-clock"]
        .into_iter()
        .zip(["trailers-survive", "a-promise-that-is-none", "model"])
        .fold(told, |told, (right, wrong)| {
            told.replacen(&format!("breaks = \"{right}\""), &format!("breaks = \"{wrong}\""), 1)
        });
    fs::write(&case, told).expect("case.toml");

    let tour = ghosts(&[]).current_dir(&copy).output().expect("the runner starts");

    assert_eq!(tour.status.code(), Some(1), "{}", out(&tour));
    insta::assert_snapshot!("tour_with_wrong_verdicts", out(&tour));
}

#[test]
fn without_chromium_there_is_no_pdf_and_the_sentence_says_what_to_do() {
    let printed =
        ghosts(&["book", "--pdf"]).env("PATH", "").env_remove("CHROMIUM").output().expect("the runner starts");
    assert_eq!(printed.status.code(), Some(2), "{}", out(&printed));
    assert_eq!(out(&printed), "");
    let said = err(&printed);
    assert!(said.lines().count() == 1 && said.contains("install the package `chromium`"), "{said}");
}

#[test]
fn no_line_is_wider_than_80_columns() {
    for arguments in
        [&[] as &[&str], &["show", "hidden-flush"], &["show", "hidden-flush", "--near-misses"], &["--help"]]
    {
        for line in out(&read(arguments)).lines() {
            // The tables of interleavings quote source lines and may be 100 wide.
            let most = if line.contains("shared.rs:") || line.contains("| ") { 100 } else { 80 };
            assert!(line.chars().count() <= most, "{arguments:?} prints {line:?}");
        }
    }
}

#[test]
fn a_near_miss_is_shown_by_how_it_differs_from_the_broken_twin() {
    let shown = out(&read(&["show", "hidden-flush", "--near-misses"]));
    let (_, shown) = shown.split_once("Near miss: smaller-buffer\n").expect("the near miss");
    let (difference, report) = shown.split_once("promises kept").expect("its report");
    assert!(difference.contains("  -const BLOCK: usize = 8 * 1024;\n  +const BLOCK: usize = 256;\n"), "{difference}");
    assert!(report.contains("small-event-when-quiet"), "{report}");
    let json = out(&read(&["show", "hidden-flush", "--near-misses", "--json"]));
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let names = |list: &str| -> Vec<String> {
        let list = value[list].as_array().expect("a list").iter();
        list.map(|pair| pair[0].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("near_miss_differences"), names("near_misses"));
}

#[test]
fn there_is_no_colour_but_on_a_terminal() {
    for arguments in [&[] as &[&str], &["show", "hidden-flush"], &["diff", "hidden-flush"]] {
        assert!(!out(&read(arguments)).contains('\u{1b}'), "{arguments:?}");
    }
}

#[test]
fn a_mistyped_slug_is_answered_with_the_nearest() {
    let refused = run(&["show", "hiden-flush"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(err(&refused), "ghosts: there is no ghost `hiden-flush`; did you mean `hidden-flush`?\n");
    assert_eq!(out(&refused), "");
}

#[test]
fn a_slug_that_is_like_none_is_answered_with_where_to_look() {
    let refused = run(&["diff", "../../x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(err(&refused), "ghosts: there is no ghost `../../x`; `cargo run` lists them\n");
}

#[test]
fn json_is_one_document_with_a_schema_number() {
    for arguments in [&["--json"] as &[&str], &["show", "hidden-flush", "--json"], &["diff", "hidden-flush", "--json"]]
    {
        let output = read(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(value["schema"], 1, "{arguments:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child = ghosts(&["show", "hidden-flush"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("the runner ends");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(err(&ended), "");
}

#[test]
fn a_busy_port_is_one_clear_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound listener").port().to_string();
    let refused = run(&["serve", "hidden-flush", "--port", &port]);
    assert_eq!(refused.status.code(), Some(2));
    let sentence =
        format!("ghosts: port {port} is taken; choose another with --port N, or --port 0 for any free one\n");
    assert_eq!(err(&refused), sentence);
    assert_eq!(out(&refused), "");
}

#[test]
fn serve_says_what_to_try_before_anything_else() {
    let mut child =
        ghosts(&["serve", "hidden-flush", "--port", "0"]).stdout(Stdio::piped()).spawn().expect("the runner starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first: Vec<String> = lines.map_while(Result::ok).take(6).collect();
    child.kill().expect("it runs until it is ended");
    child.wait().expect("it has ended");
    assert!(first[0].starts_with("hidden-flush, broken twin, on http://127.0.0.1:"), "{first:?}");
    assert!(first.iter().any(|line| line.trim_start().starts_with("curl ")), "{first:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_serve_cleanly() {
    let mut child = ghosts(&["serve", "hidden-flush", "--fixed", "--port", "0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    // The last line of the document: it serves from now on.
    while line.trim_end() != "}" {
        line.clear();
        stdout.read_line(&mut line).expect("it prints JSON");
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is everywhere");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
}

#[test]
fn new_refuses_a_name_that_is_none() {
    for name in ["Hidden-Flush", "flush", "../evil", "hidden-flush", "a--b", "case-07"] {
        let refused = run(&["new", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(!err(&refused).is_empty(), "{name}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    assert_eq!(run(&["shwo"]).status.code(), Some(2));
    assert_eq!(run(&["serve", "hidden-flush", "--port", "many"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = out(&run(&["man"]));
    assert!(page.contains(".TH ghosts 1"), "{page}");
    assert!(page.contains("cargo ghosts serve hidden\\-flush"), "{page}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("man");
    let written = run(&["man", "--into", &folder.to_string_lossy()]);
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    for name in ["ghosts.1", "ghosts-show.1", "ghosts-serve.1", "ghosts-completions.1"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
}

#[test]
fn completions_are_for_shells_that_there_are() {
    assert!(out(&run(&["completions", "bash"])).contains("complete -F _ghosts"));
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn a_watch_is_for_people() {
    let refused = run(&["watch", "hidden-flush", "--json"]);
    assert_eq!(refused.status.code(), Some(2));
    let sentence = "ghosts: watch is for people; `cargo ghosts check --json` judges once, as JSON\n";
    assert_eq!((out(&refused).as_str(), err(&refused).as_str()), ("", sentence));
}
