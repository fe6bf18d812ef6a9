//! What the chapters show in *See it* was played in virtual time. Here a shell and the real curl do the same on a socket.

use std::process::Command;

use ghosts::{
    catalogue::{case, ghosts::ALL},
    checkout::Checkout,
    make::see,
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
            let mut said = likened(twin.stop().iter().map(|line| line.trim()));
            let server = played.iter().flat_map(|shown| &shown.server).map(|line| &*line.text);
            for line in likened(server.filter(|line| !line.starts_with("(std)"))) {
                let at = said.iter().position(|there| *there == line);
                let at = at.unwrap_or_else(|| panic!("{}, fixed: {fixed}: no {line:?} in {said:?}", ghost.slug));
                said.remove(at);
            }
        }
    }
}

/// What a command prints in a shell; the next one may begin when it was watched for so many seconds.
fn in_a_shell(command: &str, watched: u32) -> String {
    let line = format!("exec 2>&1; {command}; sleep {watched}");
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
        // On a socket, a millisecond of the budget may be gone when the bank is told.
        .map(|line| line.replace("x-budget-ms: 1999", "x-budget-ms: 2000"))
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
