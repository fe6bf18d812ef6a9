//! A drill, played.

use std::{fs, io::Cursor, process};

use drills::{answer::Answer, looks::Look, page, terminal};
use ghosts::{
    checkout::Checkout,
    progress::{self, Deed},
};

use crate::support::{quick, until};

#[test]
fn the_terminal_plays_a_drill_to_its_end() {
    let drill = quick(5, Some("leaked-permit"));
    until(&drill, 50.0);
    let choices = drill.draw.choices.clone();
    let number = |place: Option<usize>| place.expect("a choice") + 1;
    let right = &drill.draw.haunted().drill;
    let ghost = number(choices.ghosts.iter().position(|(slug, _)| slug == "leaked-permit"));
    let layer = number(choices.layers.iter().position(|layer| *layer == right.layer));
    let first = number(choices.firsts.iter().position(|first| *first == right.first[0]));
    let fix = number(choices.fixes.iter().position(|fix| *fix == right.fix));
    let typed = format!(
        "help\nstat\ntrend stock\nroutes stock\nroutes nowhere\nlog\nnonsense\ndependency nowhere\ndependency stock\nask stock /stock/cups\nask stock\nask stock /stock/cups identity\nbundle stock\nbundle stock\nbundle stock\nanswer\nback\nsto\n\nanswer\n99\nstock\nleaked-p\nback\n{ghost}\n{layer}\n{first}\n{fix}\n\n"
    );
    let mut shown = Vec::new();
    let grade = terminal::play(&drill, &mut Cursor::new(typed), &mut shown).expect("it prints").expect("a grade");
    let shown = String::from_utf8(shown).expect("text");
    assert_eq!(grade.points(), 5, "{shown}");
    for expected in [
        "there is no `nonsense`; `help` lists what there is",
        "there is no service `nowhere`; there are ",
        "  /stock/{item}\nfor example `ask stock GET /stock/cups`\nno route of it tells its health\n",
        "\nThe time is over: 15 minutes. You can go on; an answer counts as late.\n",
        "stock: GET /stock/cups (1 min)\nGET /stock/cups\n503",
        "`identity` is no header: type it as NAME: VALUE; nothing was asked\n",
        "a request needs a path: `ask stock /PATH`; nothing was asked\n",
        "What the edge last logged of it\nWARN stock GET /stock/{item} 503 ",
        " real ",
        "What its dependency has seen in the last minute",
        "503 Service Unavailable",
        "none of 8 connections came back in 800 ms",
        "this is the first question; an empty line cancels\n",
        "nothing is answered\n",
        "a number from 1 to 4\n",
        "leaked-permit            The leaked permit\n",
        "Enter grades, `back` changes > ",
        "  Which service is it?       stock\n",
        "  the layer    right: ",
        "It was leaked-permit in `stock`: The leaked permit.",
        "5 of 5, after ",
    ] {
        assert!(shown.contains(expected), "{expected:?} is missing:\n{shown}");
    }
}

#[test]
fn what_costs_nothing_is_there_from_the_beginning_and_a_drill_can_be_left() {
    let drill = quick(6, Some("cancelled-cleanup"));
    until(&drill, 60.0);
    for left in ["quit", "exit"] {
        let mut shown = Vec::new();
        let typed = format!("help\nstat\nlog oldest EDITOR\nask editor\nlog no such words\n{left}\n");
        assert_eq!(terminal::play(&drill, &mut Cursor::new(typed), &mut shown).expect("it prints"), None);
        let shown = String::from_utf8(shown).expect("text");
        for expected in [
            "The page has come early: ",
            "SAYS in the log is a person who talks",
            "authorization: Bearer ada",
            " 4xx  5xx broken",
            "no line has `no such words`",
        ] {
            assert!(shown.contains(expected), "{expected:?} is missing:\n{shown}");
        }
    }
    let refused: u64 = drill.samples_since(0).iter().map(|sample| sample.points[drill.draw.haunted].refused).sum();
    assert!(refused > 10, "the locks are refused: {refused}");
    assert_eq!(drill.bought(), [], "none of it costs a minute");
}

#[test]
fn what_was_answered_wrong_stands_beside_what_was_right() {
    let drill = quick(5, Some("leaked-permit"));
    let other = 1 + usize::from(drill.draw.haunted == 0);
    let typed = format!("answer\n{other}\nbroken-chain\nthe way\nadd\n1\n\n");
    let mut shown = Vec::new();
    terminal::play(&drill, &mut Cursor::new(typed), &mut shown).expect("it prints").expect("a grade");
    // Where a line ends is for the terminal to say.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = words(&String::from_utf8(shown).expect("text"));
    for expected in [
        "  the ghost    wrong: you said broken-chain; it was leaked-permit\n",
        "  the layer    wrong: you said the way on which log lines leave; it was the pool in front of the database\n",
        "  first        wrong: you said add instances; it was restart the instance\n",
        "\nWhy that helps first: ",
        "0 of 5, after ",
    ] {
        assert!(shown.contains(&words(expected)), "{expected:?} is missing:\n{shown}");
    }
}

#[test]
fn a_look_costs_its_minutes_and_none_is_to_be_had_afterwards() {
    let drill = quick(2, None);
    until(&drill, 3.0);
    let service = drill.draw.services[0].drill.service.clone();
    let look = Look::Tasks { service };
    let (clock, second) = (drill.clock(), drill.second());
    drill.runtime().block_on(drill.look(&look)).expect("a look");
    let cost = drill.clock() - drill.second() - (clock - second);
    assert!((119.0..121.0).contains(&cost), "{cost}");
    let took = drill.answer(Answer::default()).took_s;
    assert_eq!(drill.clock(), took);
    let said = drill.runtime().block_on(drill.look(&look)).unwrap_err().to_string();
    assert_eq!(said, "the drill is over");
}

#[test]
fn a_request_of_ones_own_can_have_a_header() {
    let drill = quick(1, Some("closure-captured-state"));
    until(&drill, 10.0);
    let header = "authorization: Bearer eve".to_owned();
    let ask = Look::Ask { service: "desk".to_owned(), method: String::new(), path: "/orders".to_owned(), header };
    let shown = drill.runtime().block_on(drill.look(&ask)).expect("a look").text;
    assert!(shown.contains("200 OK") && shown.contains("x-user: "), "{shown}");
    assert!(!shown.contains("x-user: eve"), "others overtake her: {shown}");
}

#[test]
fn the_first_answer_counts() {
    let drill = quick(2, None);
    let first = drill.answer(Answer::default());
    let again = Answer { ghost: first.slug.clone(), ..Answer::default() };
    assert_eq!(drill.answer(again), first);
}

#[test]
fn what_came_of_it_is_in_the_progress() {
    let folder = std::env::temp_dir().join(format!("drills-{}-{}", process::id(), crate::support::unique()));
    let clone = Checkout::at(&folder);
    let drill = quick(2, None);
    let grade = drill.answer(Answer { ghost: drill.draw.haunted().slug.to_owned(), ..Answer::default() });
    page::write_down(&clone, &grade).expect("it is written");
    let written = progress::read(&clone).expect("it is read");
    let [event] = written.events.as_slice() else { panic!("{written:?}") };
    assert_eq!(event.slug, grade.slug);
    assert!(matches!(event.deed, Deed::Drilled { seed: 2, named: true, points: 1, .. }), "{event:?}");
    fs::remove_dir_all(folder).expect("it was there");
}
