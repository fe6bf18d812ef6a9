//! All that a trainer needs for one day, in one folder: run sheet, slides, handouts, answers, mails and an evaluation.

use std::{fmt::Write, fs, path::Path};

use serde::Serialize;

use super::{agenda, handout, slides};
use crate::{
    Refusal,
    catalogue::{
        case::{self, Case, Family},
        ghosts::{self, Ghost},
    },
    checkout::Checkout,
    html::{escaped, inline},
    terminal::{print, print_json},
};

const INVITATION: &str = include_str!("../../templates/pack/invitation.txt");
const FOLLOW_UP: &str = include_str!("../../templates/pack/follow-up.txt");
/// What everybody is asked at the end, beside the objectives.
const ASKED: [&str; 4] = [
    "One place in my own service that I look at tomorrow:",
    "What I would have merged this morning, and wouldn't now:",
    "What took too long, and what went too fast:",
    "What was wrong or missing in the room, on my machine or in the book:",
];

#[derive(Serialize)]
struct Pack {
    schema: u32,
    ghosts: Vec<String>,
    written: Vec<String>,
}

/// Writes the pack of a day of so many minutes into a folder that is not there yet, or has nothing in it.
///
/// # Errors
/// If the minutes do not fit the ghosts, a source cannot be read, or the folder has something in it or cannot be written.
pub fn run(
    checkout: &Checkout,
    folder: &Path,
    minutes: u32,
    people: Option<u32>,
    families: &[Family],
    json: bool,
) -> Result<bool, Refusal> {
    let agenda = agenda::planned(checkout, minutes, people, families)?;
    let slugs = agenda.ghosts.clone();
    let mut day = Vec::new();
    for slug in &slugs {
        day.push((ghosts::find(slug)?, case::read(checkout, slug)?));
    }
    let chosen: Vec<&'static Ghost> = day.iter().map(|(ghost, _)| *ghost).collect();
    let files = [
        ("answers.html", answers(&day)),
        ("evaluation.html", evaluation(&day)),
        ("follow-up.txt", follow_up(&day)),
        ("handouts.html", handout::page(checkout, &chosen)?),
        ("invitation.txt", invitation(minutes, &day)),
        ("run-sheet.md", agenda.markdown()),
        ("slides.html", slides::page(checkout, &chosen)?),
    ];
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Refusal::new(format!("{} has something in it; name a new folder", folder.display())));
    }
    let cannot = |error| Refusal::new(format!("cannot write into {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(cannot)?;
    let mut written = Vec::new();
    for (name, text) in &files {
        let file = folder.join(name);
        fs::write(&file, text).map_err(cannot)?;
        written.push(file.display().to_string());
    }
    if json {
        print_json(&Pack { schema: 1, ghosts: slugs, written })?;
    } else {
        print(&written.iter().map(|file| format!("wrote {file}\n")).collect::<String>())?;
    }
    Ok(true)
}

fn invitation(minutes: u32, day: &[(&Ghost, Case)]) -> String {
    let symptoms: String = day.iter().map(|(_, case)| format!("  - {}\n", case.symptom)).collect();
    INVITATION
        .replace("{minutes}", &minutes.to_string())
        .replace("{symptoms}", &symptoms)
        .replace("{rust}", env!("CARGO_PKG_RUST_VERSION"))
}

fn follow_up(day: &[(&Ghost, Case)]) -> String {
    let solutions: String =
        day.iter().map(|(ghost, _)| format!("    cargo ghosts solution {}\n", ghost.slug)).collect();
    FOLLOW_UP.replace("{solutions}\n", &solutions)
}

/// One sheet for the trainer: what people can do afterwards, the cause, the fix, and what rejects each near miss.
fn answers(day: &[(&Ghost, Case)]) -> String {
    let mut html = String::new();
    for (ghost, case) in day {
        // Writing to a String cannot fail.
        let _ = writeln!(
            html,
            "<section>\n<h1>{}</h1>\n<p><em>{}</em></p>\n<p><b>Afterwards:</b> {}</p>\n<p><b>Cause:</b> {}</p>\n\
             <p><b>Fix:</b> {}</p>\n<table>\n<tr><th>tempting fix</th><th>why it tempts</th><th>what rejects it</th></tr>",
            escaped(&case.title),
            escaped(&case.symptom),
            inline(&case.objective),
            inline(&case.hints[2]),
            inline(&case.hints[3])
        );
        for near_miss in &case.near_misses {
            let (name, tempts, breaks) = (&near_miss.name, inline(&near_miss.tempts), &near_miss.breaks);
            let _ = writeln!(html, "<tr><td>{name}</td><td>{tempts}</td><td>{breaks}</td></tr>");
        }
        let _ = writeln!(
            html,
            "</table>\n<pre>cargo ghosts show {slug} --near-misses\ncargo ghosts diff {slug}</pre>\n</section>",
            slug = ghost.slug
        );
    }
    handout::paper("Answers", &html)
}

fn evaluation(day: &[(&Ghost, Case)]) -> String {
    let mut html = "<section>\n<h1>What it was worth</h1>\n<p>No name. It takes three minutes.</p>\n<table>\n\
                    <tr><th>Since today</th><th>no</th><th>partly</th><th>yes</th></tr>\n"
        .to_owned();
    for (_, case) in day {
        let objective = case.objective.strip_prefix("You ").map_or(case.objective.clone(), |rest| format!("I {rest}"));
        let _ = writeln!(html, "<tr><td>{}</td><td></td><td></td><td></td></tr>", inline(&objective));
    }
    html.push_str("</table>\n");
    html.extend(ASKED.iter().map(|asked| format!("<p class=\"write\">{}</p>\n", escaped(asked))));
    handout::paper("Evaluation", &(html + "</section>\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Vec<(&'static Ghost, Case)> {
        ghosts::ALL.iter().map(|ghost| (ghost, case::read(&Checkout::here(), ghost.slug).unwrap())).collect()
    }

    #[test]
    fn the_mails_have_no_gap_but_those_for_the_trainer() {
        for mail in [invitation(90, &day()), follow_up(&day())] {
            assert!(!mail.contains(['{', '}']), "{mail}");
            assert!(mail.starts_with("Subject: ") && mail.ends_with("[your name]\n"), "{mail}");
            assert!(mail.lines().all(|line| line.len() <= 80), "{mail}");
        }
        assert!(invitation(90, &day()).contains("90\nminutes"), "{}", invitation(90, &day()));
        assert!(follow_up(&day()).contains("    cargo ghosts solution hidden-flush\n"));
    }

    #[test]
    fn the_invitation_tells_no_cause() {
        let mail = invitation(90, &day());
        for (_, case) in day() {
            assert!(mail.contains(&case.symptom));
            assert!(!mail.contains(&case.objective) && !mail.contains(&case.title), "{mail}");
        }
    }

    #[test]
    fn the_answer_sheet_has_every_near_miss_and_the_evaluation_every_objective() {
        let (answers, evaluation) = (answers(&day()), evaluation(&day()));
        for (_, case) in day() {
            assert!(case.objective.starts_with("You can ") && case.objective.ends_with('.'), "{}", case.objective);
            assert!(evaluation.contains(&inline(&case.objective.replacen("You", "I", 1))), "{evaluation}");
            for near_miss in &case.near_misses {
                assert!(answers.contains(&format!("<td>{}</td>", near_miss.name)), "{}", near_miss.name);
            }
        }
    }
}
