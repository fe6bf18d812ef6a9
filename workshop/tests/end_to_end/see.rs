//! What the chapters show in *See it* was played in virtual time. Here a shell and the real curl do the same on a socket.

use std::process::Command;

use ghosts::{
    catalogue::{case, ghosts::ALL},
    checkout::Checkout,
    make::see::{self, choices},
};

use crate::serving::Serving;

#[test]
fn a_shell_with_curl_prints_what_the_chapters_show() {
    // leaked-permit is served with SQLite here, which words its refusals otherwise; the tests of `sqlite` talk to it.
    for ghost in ALL.iter().filter(|ghost| ghost.slug != "leaked-permit") {
        let case = case::read(&Checkout::here(), ghost.slug).expect("a case");
        for fixed in [false, true] {
            let played = see::play(ghost, &case, fixed).expect("it can be played");
            let twin = Serving::start(ghost.slug, fixed);
            for shown in &played {
                let told =
                    case.tries.iter().find(|told| told.curl == shown.command).expect("it is a command of the case");
                let base = format!("http://{}", twin.address);
                let printed = in_a_shell(&shown.command.replace("{base}", &base), told.watched.unwrap_or_default());
                let at = format!("{}, fixed: {fixed}: {}", ghost.slug, shown.command);
                assert_eq!(likened(printed.lines()), likened(shown.client.iter().map(|line| &*line.text)), "{at}");
            }
            // A line may come after the answer, and the last command may be watched too briefly on a slow machine.
            let mut said = Vec::new();
            let server = played.iter().flat_map(|shown| &shown.server).map(|line| &*line.text);
            for line in likened(server.filter(|line| !line.starts_with("(std)"))) {
                let at = loop {
                    if let Some(at) = said.iter().position(|there| *there == line) {
                        break at;
                    }
                    match twin.next() {
                        Some(next) => said.extend(likened([next.trim()].into_iter())),
                        None => panic!("{}, fixed: {fixed}: no {line:?} in {said:?}", ghost.slug),
                    }
                };
                said.remove(at);
            }
        }
    }
}

#[test]
fn a_shell_with_curl_prints_what_the_choices_show() {
    for ghost in ALL.iter().filter(|ghost| ghost.slug != "leaked-permit") {
        let case = case::read(&Checkout::here(), ghost.slug).expect("a case");
        // What the server has said is compared above.
        for (choice, shown) in choices::play(ghost, &case).expect("it can be played") {
            if !choice.run.contains("curl ") {
                continue;
            }
            let twin = Serving::start(ghost.slug, false);
            let base = format!("http://{}", twin.address);
            if let Some(night) = &case.night {
                in_a_shell(&night.replace("{base}", &base), 0);
            }
            let printed = in_a_shell(&choice.run.replace("{base}", &base), 0);
            let at = format!("{}: {}", ghost.slug, choice.run);
            assert_eq!(likened(printed.lines()), likened(shown.client.iter().map(|line| &*line.text)), "{at}");
        }
    }
}

/// What a command prints in a shell; the next one may begin when it was watched for so many seconds.
fn in_a_shell(command: &str, watched: u32) -> String {
    // What one curl prints comes in one piece: curl writes an error in several, and those of two may mingle.
    let whole = "curl() { printed=$(command curl \"$@\" 2>&1; printf .); printf %s \"${printed%.}\"; }";
    let line = format!("{whole}\n{command}; sleep {watched}");
    let output = Command::new("sh").args(["-c", &line]).output().expect("there is a shell");
    String::from_utf8(output.stdout).expect("text")
}

/// The lines without the server's date and without times, which are never twice the same. Two that are printed at the same
/// moment may come in either order.
fn likened<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_a_time = |word: &&str, next: Option<&&str>| {
        next.is_some_and(|next| ["ms", "s", "milliseconds"].contains(next))
            && word.starts_with(|digit: char| digit.is_ascii_digit())
    };
    let mut all: Vec<String> = lines
        .filter(|line| !line.starts_with("date: "))
        // On a socket, some milliseconds of the budget are gone when the bank is told.
        .map(|line| match line.split_once("x-budget-ms: ") {
            Some((before, left)) => format!("{before}x-budget-ms: some{}", left.trim_start_matches(char::is_numeric)),
            None => line.to_owned(),
        })
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let without = words
                .iter()
                .enumerate()
                .map(|(place, word)| if is_a_time(word, words.get(place + 1)) { "some" } else { *word });
            without.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        })
        .collect();
    all.sort();
    all
}
