//! The trainer's commands as a person meets them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use crate::{
    ghosts,
    learner::{err, out},
    run,
};

/// A folder of a test, which is removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ghosts-trainer-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_run_sheet_names_no_command_that_is_not_there() {
    let sheet = out(&run(&["agenda", "--minutes", "180"]));
    let commands = sheet.lines().filter_map(|line| line.trim().strip_prefix("cargo ghosts "));
    let mut known = 0;
    for command in commands.filter_map(|command| command.split(' ').next()) {
        assert_eq!(run(&[command, "--help"]).status.code(), Some(0), "{command}");
        known += 1;
    }
    assert!(known > 10, "{sheet}");
}

#[test]
fn a_run_sheet_that_cannot_be_made_says_why() {
    let refused = run(&["agenda", "--minutes", "5"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).starts_with("ghosts: 5 minutes are too few: "), "{}", err(&refused));
    assert_eq!(out(&refused), "");
    for wrong in
        [&["agenda"] as &[&str], &["agenda", "--minutes", "-1"], &["agenda", "--minutes", "90", "--people", "0"]]
    {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let refused = run(&["agenda", "--minutes", "90", "--families", "space"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("possible values: state, streams, failure, time"), "{}", err(&refused));
}

#[test]
fn a_handout_is_of_one_ghost_or_of_all() {
    let page = run(&["handout", "hidden-flush"]);
    assert_eq!(page.status.code(), Some(0));
    assert!(out(&page).starts_with("The hidden flush (hidden-flush)\n"), "{}", out(&page));
    let pages = out(&run(&["handout", "--all"]));
    assert_eq!(pages.split('\u{c}').count(), ghosts::catalogue::ghosts::ALL.len());
    for wrong in [&["handout"] as &[&str], &["handout", "hidden-flush", "--all"], &["handout", "hiden-flush"]] {
        let refused = run(wrong);
        assert_eq!((refused.status.code(), &*out(&refused)), (Some(2), ""), "{wrong:?}");
    }
}

#[test]
fn slides_are_of_the_named_ghosts_in_their_order() {
    let page = out(&run(&["slides", "leaked-permit", "hidden-flush"]));
    let at = |title: &str| page.find(&format!("<h1>{title}</h1>")).expect(title);
    assert!(at("The leaked permit") < at("The hidden flush") && !page.contains("The unread body"));
    assert!(at("The hidden flush") < at("One place in your own service"));
    for wrong in [&["slides"] as &[&str], &["slides", "hidden-flush", "--all"], &["slides", "hiden-flush"]] {
        let refused = run(wrong);
        assert_eq!((refused.status.code(), &*out(&refused)), (Some(2), ""), "{wrong:?}");
    }
}

#[test]
fn a_pack_has_all_that_a_day_needs_and_overwrites_nothing() {
    let folder = Folder::new("pack");
    let monday = folder.path("monday");
    let packed = run(&["pack", &monday, "--minutes", "90", "--people", "12"]);
    assert_eq!((packed.status.code(), &*err(&packed)), (Some(0), ""));
    let sheet = fs::read_to_string(folder.0.join("monday/run-sheet.md")).expect("a run sheet");
    assert!(sheet.contains("90 minutes with 12 people"), "{sheet}");
    let mut names: Vec<String> = fs::read_dir(&monday)
        .expect("the folder")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let expected = ["answers.html", "evaluation.html", "follow-up.txt", "handouts.html", "invitation.txt"];
    assert_eq!(names, [&expected as &[&str], &["run-sheet.md", "slides.html"]].concat());
    // Slides, handouts and answers are of the ghosts of the run sheet, and of no others.
    for file in ["slides.html", "handouts.html", "answers.html"] {
        let page = fs::read_to_string(folder.0.join("monday").join(file)).expect(file);
        for (title, there) in [("The captured context", true), ("The body that closes twice", false)] {
            assert_eq!(page.contains(&format!("<h1>{title}</h1>")), there, "{file}: {title}");
        }
    }
    let refused = run(&["pack", &monday, "--minutes", "90"]);
    assert_eq!((refused.status.code(), &*out(&refused)), (Some(2), ""));
    assert!(err(&refused).contains("monday has something in it; name a new folder"), "{}", err(&refused));
}

#[test]
fn a_board_is_one_file_that_stands_by_itself() {
    let folder = Folder::new("board");
    let solved = "{\"schema\":1,\"at\":60,\"slug\":\"hidden-flush\",\"event\":\"solved\"}\n";
    fs::write(folder.0.join("ada.jsonl"), solved).expect("a file");
    let (collected, html) = (folder.path(""), folder.path("board.html"));
    let board = run(&["board", &collected, "--html", &html]);
    assert_eq!(board.status.code(), Some(0), "{}", err(&board));
    assert!(out(&board).ends_with("board.html\n"), "{}", out(&board));
    let page = fs::read_to_string(&html).expect("it was written");
    for foreign in ["<script", "http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let refused = run(&["board", &folder.path("nobody")]);
    assert_eq!((refused.status.code(), &*out(&refused)), (Some(2), ""));
}

#[test]
fn every_command_of_the_trainer_speaks_json() {
    let folder = Folder::new("json");
    let started = "{\"schema\":1,\"at\":60,\"slug\":\"hidden-flush\",\"event\":\"started\"}\n";
    fs::write(folder.0.join("ada.jsonl"), started).expect("a file");
    for arguments in
        [&["agenda", "--minutes", "90"] as &[&str], &["handout", "--all"], &["board", &folder.path("ada.jsonl")]]
    {
        let output = ghosts(arguments).arg("--json").output().expect("the runner starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(value["schema"], 1, "{arguments:?}");
    }
}

/// The preflight where there is no Rust, no home and nothing to find a program by: it builds nothing then.
fn without_surroundings(arguments: &[&str]) -> Output {
    let mut command = ghosts(&["preflight"]);
    command.args(arguments).env_clear().env("CARGO", "/no/such/cargo").env("RUSTC", "/no/such/rustc");
    command.output().expect("the runner starts")
}

#[test]
fn a_preflight_without_any_surroundings_is_red_and_does_not_panic() {
    let red = without_surroundings(&[]);
    assert_eq!((red.status.code(), &*err(&red)), (Some(1), ""));
    let said = out(&red);
    assert!(said.starts_with("RED  toolchain   rustc cannot be started: "), "{said}");
    assert!(said.contains("\nRED  build       was not tried\n"), "{said}");
    assert!(said.contains(" lines are red: this machine is not ready.\n"), "{said}");
}

#[test]
fn a_preflight_in_json_has_a_line_for_each_thing() {
    let red = without_surroundings(&["--json"]);
    assert_eq!(red.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&red.stdout).expect("JSON");
    assert_eq!((&value["schema"], &value["ready"]), (&1.into(), &false.into()));
    let names: Vec<&str> =
        value["checks"].as_array().expect("a list").iter().filter_map(|check| check["name"].as_str()).collect();
    assert_eq!(
        names,
        ["toolchain", "disk", "clone", "build", "port 3000", "port 3001", "terminal", "file events"],
        "{value}"
    );
}

#[test]
fn a_kit_that_is_none_stops_the_preflight_before_it_begins() {
    let folder = Folder::new("kit");
    fs::write(folder.0.join("kit.tar.gz"), "noise").expect("a file");
    let refused = run(&["preflight", "--kit", &folder.path("kit.tar.gz")]);
    assert_eq!((refused.status.code(), &*out(&refused)), (Some(2), ""));
    assert!(err(&refused).contains("kit.tar.gz is not a kit: "), "{}", err(&refused));
    assert!(!Path::new(&folder.path("vendor")).exists());
}
