//! A run sheet for a trainer: what to show, what to let them do and when to stop, to the minute.

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{
        case::{self, Case, Family},
        ghosts,
        typed::typed,
    },
    checkout::Checkout,
    terminal::{print, print_json, wrapped},
};

/// Nobody sits for longer than about this without a break.
const STRETCH: u32 = 90;
/// From here on there is a break.
const WITH_BREAK: u32 = 120;
const BREAK: u32 = 10;

/// What a run sheet is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal or a printer, at most 80 columns wide
    Text,
    /// For a wiki, as a table with the commands
    Markdown,
}

/// A run sheet.
#[derive(Debug, Serialize)]
pub struct Agenda {
    schema: u32,
    minutes: u32,
    people: Option<u32>,
    /// How they sit, in words.
    groups: String,
    pub(super) ghosts: Vec<String>,
    before: Vec<Reminder>,
    blocks: Vec<Block>,
}

/// What has to be done before the day.
#[derive(Debug, Serialize)]
struct Reminder {
    when: &'static str,
    what: &'static str,
    commands: Vec<String>,
}

/// A part of the workshop, from one offset to another.
#[derive(Debug, Serialize)]
struct Block {
    /// Minutes since the beginning.
    from: u32,
    /// Minutes since the beginning.
    to: u32,
    part: Part,
    /// The ghost it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    title: String,
    what: String,
    commands: Vec<String>,
}

/// What happens in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Opening,
    Show,
    Do,
    Debrief,
    Break,
    Closing,
}

/// A ghost that a group can meet.
#[derive(Clone, Debug)]
struct Candidate {
    slug: String,
    case: Case,
}

/// Prints a run sheet of exactly so many minutes.
///
/// # Errors
/// If the minutes are too few or too many for the ghosts of these families.
pub fn run(
    checkout: &Checkout,
    minutes: u32,
    people: Option<u32>,
    families: &[Family],
    format: Format,
    json: bool,
) -> Result<bool, Refusal> {
    let agenda = planned(checkout, minutes, people, families)?;
    match format {
        _ if json => print_json(&agenda)?,
        Format::Text => print(&agenda.text())?,
        Format::Markdown => print(&agenda.markdown())?,
    }
    Ok(true)
}

/// The run sheet of exactly so many minutes.
///
/// # Errors
/// As [`run`].
pub(super) fn planned(
    checkout: &Checkout,
    minutes: u32,
    people: Option<u32>,
    families: &[Family],
) -> Result<Agenda, Refusal> {
    let mut candidates = Vec::new();
    for ghost in ghosts::ALL.iter() {
        candidates.push(Candidate { slug: ghost.slug.to_owned(), case: case::read(checkout, ghost.slug)? });
    }
    plan(&candidates, minutes, people, families)
}

fn plan(all: &[Candidate], minutes: u32, people: Option<u32>, families: &[Family]) -> Result<Agenda, Refusal> {
    let of_family = |candidate: &&Candidate| families.is_empty() || families.contains(&candidate.case.family);
    let candidates: Vec<&Candidate> = all.iter().filter(of_family).collect();
    let Some(shortest) = candidates.iter().map(|candidate| candidate.case.minutes).min() else {
        return Err(Refusal::new("no ghost belongs to these families; leave --families out for all"));
    };
    let most = 2 * candidates.iter().map(|candidate| candidate.case.minutes).sum::<u32>();
    let Some(left) = left(minutes).filter(|left| *left >= shortest) else {
        return Err(Refusal::new(format!(
            "{minutes} minutes are too few: with opening and closing, the shortest of these ghosts takes {}",
            shortest + 2 * round(0)
        )));
    };
    if left > most {
        let fills = (0..minutes.min(2 * most + WITH_BREAK)).rev().find(|minutes| self::left(*minutes) <= Some(most));
        return Err(Refusal::new(format!(
            "{minutes} minutes are too many: these ghosts fill {} at most; name more families, or ask for less",
            fills.unwrap_or(most)
        )));
    }
    let chosen = choose(&candidates, left);
    // A break stands between two ghosts.
    let breaks = breaks(minutes).min(chosen.len() as u32 - 1);
    let lengths = stretched(&chosen, minutes - 2 * round(minutes) - breaks * BREAK);
    let mut sheet = Sheet { at: 0, blocks: Vec::new() };
    sheet.opening(round(minutes), minutes);
    let mut breaks_left = breaks;
    for (index, (candidate, length)) in chosen.iter().zip(&lengths).enumerate() {
        sheet.ghost(candidate, *length, people);
        // A break comes when half of the next ghost would be past its time, or when only so many places are left.
        let next = lengths.get(index + 1).map_or(0, |next| next / 2);
        let due = minutes * (breaks - breaks_left + 1) / (breaks + 1);
        if breaks_left > 0 && (sheet.at + next >= due || chosen.len() - 1 - index <= breaks_left as usize) {
            sheet.pause();
            breaks_left -= 1;
        }
    }
    sheet.closing(minutes);
    Ok(Agenda {
        schema: 1,
        minutes,
        people,
        groups: groups(people),
        ghosts: chosen.iter().map(|candidate| candidate.slug.clone()).collect(),
        before: before(),
        blocks: sheet.blocks,
    })
}

/// The minutes for opening, and for closing.
fn round(minutes: u32) -> u32 {
    if minutes < WITH_BREAK { 5 } else { 10 }
}

fn breaks(minutes: u32) -> u32 {
    if minutes < WITH_BREAK { 0 } else { (minutes - 1) / STRETCH }
}

/// The minutes for the ghosts, if there are any.
fn left(minutes: u32) -> Option<u32> {
    minutes.checked_sub(2 * round(minutes) + breaks(minutes) * BREAK)
}

/// The plainest first, from as many families as there are, as long as they fit.
fn choose<'a>(candidates: &[&'a Candidate], left: u32) -> Vec<&'a Candidate> {
    let (mut chosen, mut rest): (Vec<&Candidate>, _) = (Vec::new(), candidates.to_vec());
    let sum = |chosen: &[&Candidate]| chosen.iter().map(|candidate| candidate.case.minutes).sum::<u32>();
    loop {
        rest.retain(|candidate| sum(&chosen) + candidate.case.minutes <= left);
        let of_its_family =
            |candidate: &Candidate| chosen.iter().filter(|other| other.case.family == candidate.case.family).count();
        let plainest = (0..rest.len())
            .min_by_key(|&place| (of_its_family(rest[place]), rest[place].case.difficulty, rest[place].case.minutes));
        match plainest {
            Some(place) => chosen.push(rest.remove(place)),
            None => break,
        }
    }
    // Rather one long ghost than short ones that are drawn out to more than double.
    let longer = candidates.iter().filter(|candidate| candidate.case.minutes <= left);
    if let Some(long) = longer.max_by_key(|candidate| candidate.case.minutes)
        && 2 * sum(&chosen) < left
    {
        chosen = vec![long];
    }
    chosen.sort_by_key(|candidate| candidate.case.difficulty);
    chosen
}

/// The minutes of each ghost: its own, and its share of what is left over, so that the sum is exact.
fn stretched(chosen: &[&Candidate], left: u32) -> Vec<u32> {
    let sum: u32 = chosen.iter().map(|candidate| candidate.case.minutes).sum();
    let (mut before, mut given) = (0, 0);
    let share = |candidate: &&Candidate| {
        before += candidate.case.minutes;
        let length = left * before / sum - given;
        given += length;
        length
    };
    chosen.iter().map(share).collect()
}

struct Sheet {
    at: u32,
    blocks: Vec<Block>,
}

impl Sheet {
    fn add(&mut self, minutes: u32, part: Part, slug: Option<&str>, title: String, what: String, commands: &[String]) {
        let (from, to) = (self.at, self.at + minutes);
        self.at = to;
        let slug = slug.map(str::to_owned);
        self.blocks.push(Block { from, to, part, slug, title, what, commands: commands.to_vec() });
    }

    fn opening(&mut self, minutes: u32, all: u32) {
        let what = format!(
            "Show the tour: each ghost passes review and is seen on the wire. Say that nobody has to finish, that a wrong \
             fix is worth as much as a right one, and that you end on time, after {all} minutes."
        );
        self.add(minutes, Part::Opening, None, "Opening".to_owned(), what, &["cargo run".to_owned()]);
    }

    fn ghost(&mut self, candidate: &Candidate, length: u32, people: Option<u32>) {
        let Candidate { slug, case } = candidate;
        let (show, debrief) = (case.minutes / 5, case.minutes * 3 / 10);
        let practice = length - show - debrief;
        let tries = case.tries.iter().map(|line| line.curl.replace("{base}", "http://127.0.0.1:3000"));
        let commands: Vec<String> = [format!("cargo ghosts serve {slug}")].into_iter().chain(tries).collect();
        let what = "Type the lines on the big screen, and explain nothing. Let the group say what is odd.";
        self.add(show, Part::Show, Some(slug), format!("{}: show", case.title), what.to_owned(), &commands);

        let (half, stop) = (self.at + practice / 2, self.at + practice);
        let seats = if people == Some(1) { "Alone" } else { "In pairs" };
        let what = format!(
            "{seats}: read the exercise's README.md and its src/ in silence, agree on a fix, then let `watch` judge \
             it. At {}, anyone who's stuck takes a hint. Stop at {}, solved or not: hands off the \
             keyboards.",
            clock(half),
            clock(stop)
        );
        let commands = ["start", "watch", "hint"].map(|command| format!("cargo ghosts {command} {slug}"));
        self.add(practice, Part::Do, Some(slug), format!("{}: let them do", case.title), what, &commands);

        let what = "Collect the fixes without comment. Find each among the near misses, and read out the promise that it \
                     breaks. Then read the difference between the twins, and ask where your own service has this \
                     ghost.";
        let commands = [format!("cargo ghosts show {slug} --near-misses"), format!("cargo ghosts diff {slug}")];
        self.add(debrief, Part::Debrief, Some(slug), format!("{}: debrief", case.title), what.to_owned(), &commands);
    }

    fn pause(&mut self) {
        let what = "Leave the last report on the big screen. Help anyone whose machine is giving trouble.".to_owned();
        self.add(BREAK, Part::Break, None, "Break".to_owned(), what, &[]);
    }

    fn closing(&mut self, end: u32) {
        let what =
            "Each person writes down one place in their own service to look at tomorrow. Say how to go on alone.";
        let commands = ["cargo ghosts list", "cargo run -- book"].map(str::to_owned);
        self.add(end - self.at, Part::Closing, None, "Closing".to_owned(), what.to_owned(), &commands);
    }
}

fn groups(people: Option<u32>) -> String {
    match people {
        None => "pairs, one keyboard each".to_owned(),
        Some(1) => "one person, alone".to_owned(),
        Some(2) => "1 pair, one keyboard".to_owned(),
        Some(3) => "one group of three, one keyboard".to_owned(),
        Some(people) if people % 2 == 0 => format!("{} pairs, one keyboard each", people / 2),
        Some(5) => "1 pair and one group of three, one keyboard each".to_owned(),
        Some(people) => format!("{} pairs and one group of three, one keyboard each", people / 2 - 1),
    }
}

fn before() -> Vec<Reminder> {
    vec![
        Reminder {
            when: "A week before",
            what: "Everybody clones the repository and runs the preflight, which builds everything once. Ask for its lines.",
            commands: vec!["cargo ghosts preflight".to_owned()],
        },
        Reminder {
            when: "The day before",
            what: "Put the kit on a USB stick, in case the room's network is bad. Print the handouts.",
            commands: vec!["cargo ghosts kit".to_owned(), "cargo ghosts handout --all".to_owned()],
        },
    ]
}

/// Hours and minutes since the beginning.
fn clock(minutes: u32) -> String {
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

impl Agenda {
    fn title(&self) -> String {
        let people = self.people.map_or_else(String::new, |people| format!(" with {people} people"));
        format!("Ghosts in the Middleware: {} minutes{people}", self.minutes).replace(" 1 people", " 1 person")
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.title(), self.groups);
        for reminder in &self.before {
            let _ = writeln!(text, "\n{}", reminder.when);
            text.push_str(&wrapped(reminder.what, "  "));
            text.extend(reminder.commands.iter().map(|command| format!("    {command}\n")));
        }
        for block in &self.blocks {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{} to {}  {}", clock(block.from), clock(block.to), block.title);
            text.push_str(&wrapped(&block.what, "  "));
            text.extend(
                block.commands.iter().map(|command| format!("    {}\n", typed(command, "").replace('\n', "\n    "))),
            );
        }
        text
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}.\n\n", self.title(), capital(&self.groups));
        for reminder in &self.before {
            let commands = inline(&reminder.commands);
            let _ = writeln!(text, "- **{}.** {} {commands}", reminder.when, reminder.what);
        }
        text.push_str("\n| from | to | minutes | what | commands |\n|---|---|---|---|---|\n");
        for block in &self.blocks {
            let (from, to, minutes) = (clock(block.from), clock(block.to), block.to - block.from);
            let commands = inline(&block.commands);
            let _ = writeln!(text, "| {from} | {to} | {minutes} | **{}.** {} | {commands} |", block.title, block.what);
        }
        text
    }
}

/// Commands as they stand in a cell of a table.
fn inline(commands: &[String]) -> String {
    let quoted: Vec<String> = commands.iter().map(|command| format!("`{}`", command.replace('|', "\\|"))).collect();
    quoted.join("<br>")
}

fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FAMILIES: [Family; 6] =
        [Family::State, Family::Streams, Family::Failure, Family::Time, Family::Order, Family::Load];

    fn candidates() -> Vec<Candidate> {
        let read = |slug: &str| Candidate { slug: slug.to_owned(), case: case::read(&Checkout::here(), slug).unwrap() };
        ghosts::ALL.iter().map(|ghost| read(ghost.slug)).collect()
    }

    fn in_order(agenda: &Agenda, minutes: u32) {
        let mut at = 0;
        for block in &agenda.blocks {
            assert_eq!(block.from, at, "{minutes}: {block:?}");
            assert!(block.to > at, "{minutes}: {block:?}");
            at = block.to;
        }
        assert_eq!(at, minutes);
        let once: BTreeSet<&String> = agenda.ghosts.iter().collect();
        assert_eq!(once.len(), agenda.ghosts.len(), "{minutes}: {:?}", agenda.ghosts);
        let done = agenda.blocks.iter().filter(|block| block.part == Part::Do);
        assert_eq!(done.count(), agenda.ghosts.len(), "{minutes}");
    }

    #[test]
    fn every_length_comes_out_to_the_minute_and_no_ghost_comes_twice() {
        let all = candidates();
        for minutes in 45..=240 {
            let agenda = plan(&all, minutes, Some(12), &[]).unwrap();
            in_order(&agenda, minutes);
        }
    }

    #[test]
    fn the_families_are_obeyed_whatever_the_length() {
        let all = candidates();
        for first in FAMILIES {
            for second in FAMILIES {
                for minutes in 45..=240 {
                    let Ok(agenda) = plan(&all, minutes, None, &[first, second]) else { continue };
                    in_order(&agenda, minutes);
                    for slug in &agenda.ghosts {
                        let family = all.iter().find(|candidate| candidate.slug == *slug).unwrap().case.family;
                        assert!([first, second].contains(&family), "{minutes}: {slug}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_ghost_gets_less_than_its_minutes_or_more_than_double() {
        let all = candidates();
        for minutes in 45..=240 {
            let agenda = plan(&all, minutes, None, &[]).unwrap();
            for candidate in all.iter().filter(|candidate| agenda.ghosts.contains(&candidate.slug)) {
                let blocks = agenda.blocks.iter().filter(|block| block.slug.as_ref() == Some(&candidate.slug));
                let length: u32 = blocks.map(|block| block.to - block.from).sum();
                let own = candidate.case.minutes;
                assert!((own..=2 * own).contains(&length), "{minutes}: {} has {length}", candidate.slug);
            }
        }
    }

    #[test]
    fn from_two_hours_on_there_is_a_break_between_two_ghosts() {
        let all = candidates();
        for minutes in 45..=240 {
            let agenda = plan(&all, minutes, None, &[]).unwrap();
            let breaks: Vec<usize> =
                (0..agenda.blocks.len()).filter(|place| agenda.blocks[*place].part == Part::Break).collect();
            assert_eq!(breaks.is_empty(), minutes < 120, "{minutes}");
            for place in breaks {
                assert_eq!(agenda.blocks[place - 1].part, Part::Debrief, "{minutes}");
                assert_eq!(agenda.blocks[place + 1].part, Part::Show, "{minutes}");
            }
        }
    }

    #[test]
    fn too_few_minutes_are_answered_with_the_least() {
        let refused =
            |minutes, families: &[Family]| plan(&candidates(), minutes, None, families).unwrap_err().to_string();
        assert_eq!(
            refused(10, &[]),
            "10 minutes are too few: with opening and closing, the shortest of these ghosts takes 30"
        );
        for family in FAMILIES {
            let said = refused(1, &[family]);
            let least: u32 = said.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(plan(&candidates(), least, None, &[family]).is_ok(), "{said}");
            assert!(plan(&candidates(), least - 1, None, &[family]).is_err(), "{said}");
        }
    }

    #[test]
    fn too_many_minutes_are_answered_with_the_most() {
        for minutes in [0, 6_000, u32::MAX] {
            assert!(plan(&candidates(), minutes, None, &[]).is_err());
        }
        let said = plan(&candidates(), 500, None, &[Family::Time]).unwrap_err().to_string();
        let most: u32 = said.split(' ').nth(8).unwrap().parse().unwrap();
        assert!(plan(&candidates(), most, None, &[Family::Time]).is_ok(), "{said}");
        assert!(plan(&candidates(), most + 1, None, &[Family::Time]).is_err(), "{said}");
        assert!(said.starts_with("500 minutes are too many: these ghosts fill "), "{said}");
    }

    #[test]
    fn everybody_has_a_place() {
        assert_eq!(groups(Some(12)), "6 pairs, one keyboard each");
        assert_eq!(groups(Some(13)), "5 pairs and one group of three, one keyboard each");
        assert_eq!(groups(Some(5)), "1 pair and one group of three, one keyboard each");
        assert_eq!(groups(Some(1)), "one person, alone");
    }

    #[test]
    fn a_run_sheet_can_be_followed() {
        let known = ["closure-captured-state", "hidden-flush", "swallowed-panic"];
        let all: Vec<Candidate> =
            candidates().into_iter().filter(|candidate| known.contains(&&*candidate.slug)).collect();
        let agenda = plan(&all, 90, Some(12), &[]).unwrap();
        insta::assert_snapshot!("agenda", agenda.text());
        insta::assert_snapshot!("agenda_markdown", agenda.markdown());
    }
}
