//! All that a trainer needs for one day, in one folder: run sheet, slides, handouts, answers, mails and an evaluation.

use std::{fmt::Write, fs, path::Path};

use serde::Serialize;

use super::{
    agenda, handout, slides,
    words::{self, Words},
};
use crate::{
    Refusal,
    catalogue::{
        case::{self, Case, Family},
        ghosts::{self, Ghost},
    },
    checkout::Checkout,
    html::{escaped, inline},
    terminal::{print, print_json, wrapped},
};

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
    let words = Words::read(checkout)?;
    let files = [
        ("answers.html", answers(&words.answers, &day)),
        ("evaluation.html", evaluation(&words.evaluation, &day)),
        ("follow-up.txt", follow_up(&words.mails.follow_up, &day)),
        ("handouts.html", handout::page(checkout, &chosen)?),
        ("invitation.txt", invitation(&words, minutes, &day)),
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

fn invitation(words: &Words, minutes: u32, day: &[(&Ghost, Case)]) -> String {
    let symptoms: String = day.iter().map(|(_, case)| format!("  - {}\n", case.symptom)).collect();
    words
        .mails
        .invitation
        .replace("{first_build}", wrapped(&words.first_build, "").trim_end())
        .replace("{minutes}", &minutes.to_string())
        .replace("{symptoms}", &symptoms)
        .replace("{rust}", env!("CARGO_PKG_RUST_VERSION"))
}

fn follow_up(mail: &str, day: &[(&Ghost, Case)]) -> String {
    let solutions: String =
        day.iter().map(|(ghost, _)| format!("    cargo ghosts solution {}\n", ghost.slug)).collect();
    mail.replace("{solutions}\n", &solutions)
}

/// One sheet for the trainer: what people can do afterwards, the cause, the fix, and what rejects each near miss.
fn answers(words: &words::Answers, day: &[(&Ghost, Case)]) -> String {
    let mut html = String::new();
    let [afterwards, cause, fix, near_miss, tempts, rejects] =
        [&words.afterwards, &words.cause, &words.fix, &words.near_miss, &words.tempts, &words.rejects]
            .map(|said| escaped(said));
    for (ghost, case) in day {
        // Writing to a String cannot fail.
        let _ = writeln!(
            html,
            "<section>\n<h1>{}</h1>\n<p><em>{}</em></p>\n<p><b>{afterwards}</b> {}</p>\n<p><b>{cause}</b> {}</p>\n\
             <p><b>{fix}</b> {}</p>\n<table>\n<tr><th>{near_miss}</th><th>{tempts}</th><th>{rejects}</th></tr>",
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
    handout::paper(&words.title, &html)
}

fn evaluation(words: &words::Evaluation, day: &[(&Ghost, Case)]) -> String {
    let grades: String = words.grades.iter().map(|grade| format!("<th>{}</th>", escaped(grade))).collect();
    let empty = "<td></td>".repeat(words.grades.len());
    let mut html = format!(
        "<section>\n<h1>{}</h1>\n<p>{}</p>\n<table>\n<tr><th>{}</th>{grades}</tr>\n",
        escaped(&words.heading),
        escaped(&words.how),
        escaped(&words.since)
    );
    for (_, case) in day {
        let objective = case.objective.strip_prefix("You ").map_or(case.objective.clone(), |rest| format!("I {rest}"));
        let _ = writeln!(html, "<tr><td>{}</td>{empty}</tr>", inline(&objective));
    }
    html.push_str("</table>\n");
    html.extend(words.asked.iter().map(|asked| format!("<p class=\"write\">{}</p>\n", escaped(asked))));
    handout::paper(&words.title, &(html + "</section>\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Vec<(&'static Ghost, Case)> {
        ghosts::ALL.iter().map(|ghost| (ghost, case::read(&Checkout::here(), ghost.slug).unwrap())).collect()
    }

    #[test]
    fn the_mails_have_no_gap_but_those_for_the_trainer() {
        let words = Words::read(&Checkout::here()).unwrap();
        let (invitation, follow_up) = (invitation(&words, 90, &day()), follow_up(&words.mails.follow_up, &day()));
        for mail in [&invitation, &follow_up] {
            assert!(!mail.contains(['{', '}']), "{mail}");
            assert!(mail.starts_with("Subject: ") && mail.ends_with("[your name]\n"), "{mail}");
            assert!(mail.lines().all(|line| line.len() <= 80), "{mail}");
        }
        assert!(invitation.contains("90\nminutes"), "{invitation}");
        assert!(follow_up.contains("    cargo ghosts solution hidden-flush\n"));
    }

    #[test]
    fn the_invitation_tells_no_cause() {
        let mail = invitation(&Words::read(&Checkout::here()).unwrap(), 90, &day());
        for (_, case) in day() {
            assert!(mail.contains(&case.symptom));
            assert!(!mail.contains(&case.objective) && !mail.contains(&case.title), "{mail}");
        }
    }

    #[test]
    fn the_answer_sheet_has_every_near_miss_and_the_evaluation_every_objective() {
        let words = Words::read(&Checkout::here()).unwrap();
        let (answers, evaluation) = (answers(&words.answers, &day()), evaluation(&words.evaluation, &day()));
        for (_, case) in day() {
            assert!(case.objective.starts_with("You can ") && case.objective.ends_with('.'), "{}", case.objective);
            assert!(evaluation.contains(&inline(&case.objective.replacen("You", "I", 1))), "{evaluation}");
            for near_miss in &case.near_misses {
                assert!(answers.contains(&format!("<td>{}</td>", near_miss.name)), "{}", near_miss.name);
            }
        }
    }

    #[test]
    fn every_sentence_is_from_a_case_or_can_be_translated() {
        let here = Checkout::here();
        let words = Words::signed(&here);
        let cases = ghosts::ALL.iter().map(|ghost| here.text(&format!("cases/{}/case.toml", ghost.slug)).unwrap());
        let sources: String = cases.collect();
        let evaluation = evaluation(&words.evaluation, &day()).replace("I can", "You can");
        for page in [evaluation, answers(&words.answers, &day())] {
            let (_, page) = page.split_once("<body>").unwrap();
            assert_eq!(words::lost(page, &sources), [""; 0]);
        }
    }
}
