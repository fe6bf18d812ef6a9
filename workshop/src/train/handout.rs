//! A page for each ghost to hand out on paper: what on-call sees and what to type. Nothing on it tells the cause.

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{
        case,
        ghosts::{self, Ghost},
        typed::typed,
    },
    checkout::Checkout,
    html::{escaped, inline},
    terminal::{print, print_json, wrapped},
};

const STORY: &str = "## The page at 3 a.m.";
/// What people write down before they compare.
const QUESTIONS: [&str; 3] = [
    "The line that you object to:",
    "What you would change:",
    "What you would have to see from outside to believe in the change:",
];

/// What a handout is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// At most 80 columns wide, a form feed between two ghosts
    Text,
    /// For a wiki
    Markdown,
    /// One file to print from a browser, a page for each ghost
    Html,
}

#[derive(Serialize)]
struct Handouts {
    schema: u32,
    handouts: Vec<Handout>,
}

/// The page of one ghost.
#[derive(Debug, Serialize)]
struct Handout {
    slug: &'static str,
    title: String,
    symptom: String,
    /// What on-call sees, a paragraph each.
    story: Vec<String>,
    /// To see it: the server in one terminal, the others in a second.
    see: Vec<String>,
    /// To lay it to rest.
    work: Vec<(String, &'static str)>,
}

/// Prints the handout of a ghost, or of all of them.
///
/// # Errors
/// If neither or both are asked for, or a chapter or `case.toml` cannot be read.
pub fn run(checkout: &Checkout, slug: Option<&str>, all: bool, format: Format, json: bool) -> Result<bool, Refusal> {
    let chosen: Vec<&'static Ghost> = match (slug, all) {
        (Some(slug), false) => vec![ghosts::find(slug)?],
        (None, true) => ghosts::ALL.iter().collect(),
        _ => return Err(Refusal::new("name one ghost, or give --all for a page of each; `cargo run` lists them")),
    };
    let handouts = chosen.into_iter().map(|ghost| handout(checkout, ghost.slug)).collect::<Result<Vec<_>, _>>()?;
    if json {
        return print_json(&Handouts { schema: 1, handouts }).map(|()| true);
    }
    match format {
        Format::Text => print(&handouts.iter().map(Handout::text).collect::<Vec<_>>().join("\u{c}"))?,
        Format::Markdown => print(&handouts.iter().map(Handout::markdown).collect::<Vec<_>>().join("\n---\n\n"))?,
        Format::Html => print(&html(&handouts))?,
    }
    Ok(true)
}

fn handout(checkout: &Checkout, slug: &'static str) -> Result<Handout, Refusal> {
    let case = case::read(checkout, slug)?;
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name)?;
    let story = chapter.split_once(&format!("{STORY}\n")).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
    let story = story.ok_or_else(|| Refusal::new(format!("{name} lacks the heading `{STORY}`")))?;
    let paragraphs = story.split("\n\n").map(|paragraph| paragraph.trim().replace('\n', " "));
    let curls = case.tries.iter().map(|line| line.curl.replace("{base}", "http://127.0.0.1:3000"));
    Ok(Handout {
        slug,
        title: case.title,
        symptom: case.symptom,
        story: paragraphs.filter(|paragraph| !paragraph.is_empty() && !paragraph.starts_with("{{#")).collect(),
        see: [format!("cargo ghosts serve {slug}")].into_iter().chain(curls).collect(),
        work: vec![
            (format!("cargo ghosts start {slug}"), "your own copy"),
            (format!("cargo ghosts watch {slug}"), "a verdict on every save"),
            (format!("cargo ghosts hint {slug}"), "if you are stuck; there are four, one a call"),
        ],
    })
}

impl Handout {
    fn text(&self) -> String {
        let mut text = format!("{} ({})\n{}\n\nThe page at 3 a.m.\n", self.title, self.slug, self.symptom);
        for paragraph in &self.story {
            text.push('\n');
            text.push_str(&wrapped(paragraph, "  "));
        }
        text.push_str("\nSee it: the first line in one terminal, the others in a second\n\n");
        text.extend(self.see.iter().map(|line| format!("  {}\n", typed(line, "").replace('\n', "\n  "))));
        text.push_str("\nLay it to rest\n\n");
        for (command, what) in &self.work {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {command:44}{what}");
        }
        for question in QUESTIONS {
            let _ = writeln!(text, "\n{question}\n\n  {line}\n\n  {line}", line = "_".repeat(76));
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n*{}*\n\n{STORY}\n\n{}\n", self.title, self.symptom, self.story.join("\n\n"));
        text.push_str("\n## See it\n\nThe first line in one terminal, the others in a second:\n\n```console\n");
        text.extend(self.see.iter().map(|line| format!("$ {}\n", typed(line, ""))));
        text.push_str("```\n\n## Lay it to rest\n\n```console\n");
        for (command, what) in &self.work {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "$ {command:44}# {what}");
        }
        text.push_str("```\n\n## Write down\n\n");
        text.extend(QUESTIONS.iter().map(|question| format!("- {question}\n")));
        text
    }

    fn section(&self) -> String {
        let mut html = format!("<section>\n<h1>{}</h1>\n", escaped(&self.title));
        let _ = writeln!(html, "<p><em>{}</em></p>\n<h2>The page at 3 a.m.</h2>", escaped(&self.symptom));
        for paragraph in &self.story {
            let _ = writeln!(html, "<p>{}</p>", inline(paragraph));
        }
        let see: String = self.see.iter().map(|line| format!("$ {}\n", on_lines(line))).collect();
        let _ = writeln!(html, "<h2>See it</h2>\n<p>The first line in one terminal, the others in a second:</p>");
        let _ = writeln!(html, "<pre>{see}</pre>\n<h2>Lay it to rest</h2>");
        let line = |(command, what): &(String, &str)| format!("$ {}# {what}\n", escaped(&format!("{command:44}")));
        let work: String = self.work.iter().map(line).collect();
        let _ = writeln!(html, "<pre>{work}</pre>\n<h2>Write down</h2>");
        html.extend(QUESTIONS.iter().map(|question| format!("<p class=\"write\">{}</p>\n", escaped(question))));
        html + "</section>\n"
    }
}

/// A command as it is typed, as HTML.
fn on_lines(command: &str) -> String {
    typed(command, "").lines().map(escaped).collect::<Vec<_>>().join("\n")
}

const STYLE: &str = "body{font:11pt/1.45 Georgia,serif;max-width:44em;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em;margin-bottom:0}h2{font-size:1.1em;margin-bottom:.3em}p{margin:.5em 0}\
pre{font:9.5pt/1.4 monospace;white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f3;padding:.6em}\
table{border-collapse:collapse;width:100%}td,th{border:1px solid #888;font-size:.9em;padding:.3em .5em;text-align:left;\
vertical-align:top}\
.write{border-bottom:1px solid #888;padding-bottom:3.2em}\
section+section{break-before:page;margin-top:4em}\
@media print{body{margin:0;max-width:none}section+section{margin-top:0}}";

/// The handouts of some ghosts as one file to print.
///
/// # Errors
/// If a chapter or `case.toml` cannot be read.
pub(super) fn page(checkout: &Checkout, chosen: &[&'static Ghost]) -> Result<String, Refusal> {
    let handouts = chosen.iter().map(|ghost| handout(checkout, ghost.slug)).collect::<Result<Vec<_>, _>>()?;
    Ok(html(&handouts))
}

fn html(handouts: &[Handout]) -> String {
    paper("Handouts", &handouts.iter().map(Handout::section).collect::<String>())
}

/// One file to print from a browser, a page for each section.
pub(super) fn paper(title: &str, sections: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{sections}</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The words of a text, without what stands round them.
    fn words(text: &str) -> Vec<String> {
        let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    }

    /// What gives the cause away: names in code, and runs of four words.
    fn giveaways(text: &str) -> BTreeSet<String> {
        let code = text.split('`').skip(1).step_by(2).map(|name| words(name).join(" "));
        code.chain(words(text).windows(4).map(|run| run.join(" "))).filter(|run| !run.is_empty()).collect()
    }

    #[test]
    fn no_handout_gives_the_cause_away() {
        for ghost in ghosts::ALL.iter() {
            let lib = Checkout::here().text(&format!("cases/{}/src/lib.rs", ghost.slug)).unwrap();
            let header: Vec<&str> = lib.lines().map_while(|line| line.strip_prefix("//!")).collect();
            let header = header.join("\n");
            let cause = header.split("# Cause").nth(1).unwrap().split("# Cost").next().unwrap();
            let case = case::read(&Checkout::here(), ghost.slug).unwrap();
            // What the symptom and the curl lines say is no secret, also where the cause says it again.
            let mut known = giveaways(&case.symptom);
            known.extend(case.tries.iter().flat_map(|line| words(&line.curl)));
            let handout = handout(&Checkout::here(), ghost.slug).unwrap();
            for page in [handout.text(), handout.markdown(), handout.section()] {
                let page = format!(" {} ", words(&page).join(" "));
                for told in [cause, &case.hints[2], &case.hints[3]] {
                    for run in giveaways(told).difference(&known) {
                        assert!(!page.contains(&format!(" {run} ")), "the handout of {} says \"{run}\"", ghost.slug);
                    }
                }
            }
        }
    }

    #[test]
    fn the_commands_of_the_symptom_are_there() {
        let handout = handout(&Checkout::here(), "hidden-flush").unwrap();
        for page in [handout.text(), handout.markdown(), handout.section()] {
            for line in ["cargo ghosts serve hidden-flush", "curl -sN --compressed http://127.0.0.1:3000/builds/7/log"]
            {
                assert!(page.lines().any(|there| there.ends_with(line)), "{page}");
            }
        }
    }

    #[test]
    fn each_command_is_a_line_of_its_own() {
        let page = handout(&Checkout::here(), "hidden-flush").unwrap().section();
        let lines = page.lines().filter(|line| line.trim_start_matches("<pre>").starts_with("$ ")).count();
        assert_eq!(lines, 6, "{page}");
    }
}
