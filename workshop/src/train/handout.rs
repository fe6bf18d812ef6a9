//! A page for each ghost to hand out on paper: what on-call sees and what to type. Nothing on it tells the cause.

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::words::{self, Words};
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
    work: Vec<(String, String)>,
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
    let words = Words::read(checkout)?.handout;
    let handouts = chosen.into_iter().map(|ghost| handout(checkout, &words, ghost.slug));
    let handouts = handouts.collect::<Result<Vec<_>, _>>()?;
    if json {
        return print_json(&Handouts { schema: 1, handouts }).map(|()| true);
    }
    match format {
        Format::Text => {
            print(&handouts.iter().map(|handout| handout.text(&words)).collect::<Vec<_>>().join("\u{c}"))?;
        }
        Format::Markdown => {
            print(&handouts.iter().map(|handout| handout.markdown(&words)).collect::<Vec<_>>().join("\n---\n\n"))?;
        }
        Format::Html => print(&html(&words, &handouts))?,
    }
    Ok(true)
}

fn handout(checkout: &Checkout, words: &words::Handout, slug: &'static str) -> Result<Handout, Refusal> {
    let case = case::read(checkout, slug)?;
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name)?;
    let story = chapter.split_once(&format!("{STORY}\n")).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
    let story = story.ok_or_else(|| Refusal::new(format!("{name} lacks the heading `{STORY}`")))?;
    let paragraphs = story.split("\n\n").map(|paragraph| paragraph.trim().replace('\n', " "));
    // The choice of the next command stays in the book: its answers give the cause away.
    let told = |paragraph: &String| !paragraph.is_empty() && !paragraph.starts_with("{{#");
    let curls = case.tries.iter().map(|line| line.curl.replace("{base}", "http://127.0.0.1:3000"));
    Ok(Handout {
        slug,
        title: case.title,
        symptom: case.symptom,
        story: paragraphs.filter(told).collect(),
        see: [format!("cargo ghosts serve {slug}")].into_iter().chain(curls).collect(),
        work: vec![
            (format!("cargo ghosts start {slug}"), words.start.clone()),
            (format!("cargo ghosts watch {slug}"), words.watch.clone()),
            (format!("cargo ghosts hint {slug}"), words.hint.clone()),
        ],
    })
}

impl Handout {
    fn text(&self, words: &words::Handout) -> String {
        let mut text = format!("{} ({})\n{}\n\n{}\n", self.title, self.slug, self.symptom, words.story);
        for paragraph in &self.story {
            text.push('\n');
            text.push_str(&wrapped(paragraph, "  "));
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}\n\n{}\n\n", words.see, wrapped(&words.see_how, "  ").trim_end());
        text.extend(self.see.iter().map(|line| format!("  {}\n", typed(line, "").replace('\n', "\n  "))));
        let _ = write!(text, "\n{}\n\n", words.work);
        for (command, what) in &self.work {
            let _ = writeln!(text, "  {command:44}{what}");
        }
        for question in &words.questions {
            let _ = writeln!(text, "\n{question}\n\n  {line}\n\n  {line}", line = "_".repeat(76));
        }
        text
    }

    fn markdown(&self, words: &words::Handout) -> String {
        let story = self.story.join("\n\n");
        let mut text = format!("# {}\n\n*{}*\n\n## {}\n\n{story}\n", self.title, self.symptom, words.story);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {}\n\n{}\n\n```console\n", words.see, words.see_how);
        text.extend(self.see.iter().map(|line| format!("$ {}\n", typed(line, ""))));
        let _ = write!(text, "```\n\n## {}\n\n```console\n", words.work);
        for (command, what) in &self.work {
            let _ = writeln!(text, "$ {command:44}# {what}");
        }
        let _ = write!(text, "```\n\n## {}\n\n", words.write);
        text.extend(words.questions.iter().map(|question| format!("- {question}\n")));
        text
    }

    fn section(&self, words: &words::Handout) -> String {
        let (story, see, how) = (escaped(&words.story), escaped(&words.see), escaped(&words.see_how));
        let mut html = format!("<section>\n<h1>{}</h1>\n", escaped(&self.title));
        let _ = writeln!(html, "<p><em>{}</em></p>\n<h2>{story}</h2>", escaped(&self.symptom));
        for paragraph in &self.story {
            let _ = writeln!(html, "<p>{}</p>", inline(paragraph));
        }
        let commands: String = self.see.iter().map(|line| format!("$ {}\n", on_lines(line))).collect();
        let _ = writeln!(html, "<h2>{see}</h2>\n<p>{how}</p>");
        let _ = writeln!(html, "<pre>{commands}</pre>\n<h2>{}</h2>", escaped(&words.work));
        let line = |(command, what): &(String, String)| format!("$ {}\n", escaped(&format!("{command:44}# {what}")));
        let work: String = self.work.iter().map(line).collect();
        let _ = writeln!(html, "<pre>{work}</pre>\n<h2>{}</h2>", escaped(&words.write));
        html.extend(words.questions.iter().map(|question| format!("<p class=\"write\">{}</p>\n", escaped(question))));
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
    let words = Words::read(checkout)?.handout;
    let handouts = chosen.iter().map(|ghost| handout(checkout, &words, ghost.slug)).collect::<Result<Vec<_>, _>>()?;
    Ok(html(&words, &handouts))
}

fn html(words: &words::Handout, handouts: &[Handout]) -> String {
    paper(&words.title, &handouts.iter().map(|handout| handout.section(words)).collect::<String>())
}

/// One file to print from a browser, a page for each section.
pub(super) fn paper(title: &str, sections: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{sections}</body>\n</html>\n",
        escaped(title)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The words of a text, without what stands round them.
    fn words_of(text: &str) -> Vec<String> {
        let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    }

    /// What gives the cause away: names in code, and runs of four words.
    fn giveaways(text: &str) -> BTreeSet<String> {
        let code = text.split('`').skip(1).step_by(2).map(|name| words_of(name).join(" "));
        code.chain(words_of(text).windows(4).map(|run| run.join(" "))).filter(|run| !run.is_empty()).collect()
    }

    #[test]
    fn no_handout_gives_the_cause_away() {
        let said = Words::read(&Checkout::here()).unwrap().handout;
        for ghost in ghosts::ALL.iter() {
            let lib = Checkout::here().text(&format!("cases/{}/src/lib.rs", ghost.slug)).unwrap();
            let header: Vec<&str> = lib.lines().map_while(|line| line.strip_prefix("//!")).collect();
            let header = header.join("\n");
            let cause = header.split("# Cause").nth(1).unwrap().split("# Cost").next().unwrap();
            let case = case::read(&Checkout::here(), ghost.slug).unwrap();
            // What the symptom and the curl lines say is no secret, also where the cause says it again.
            let mut known = giveaways(&case.symptom);
            known.extend(case.tries.iter().flat_map(|line| words_of(&line.curl)));
            let handout = handout(&Checkout::here(), &said, ghost.slug).unwrap();
            for page in [handout.text(&said), handout.markdown(&said), handout.section(&said)] {
                assert!(!page.contains("{{"), "{page}");
                let page = format!(" {} ", words_of(&page).join(" "));
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
        let said = Words::read(&Checkout::here()).unwrap().handout;
        let handout = handout(&Checkout::here(), &said, "hidden-flush").unwrap();
        for page in [handout.text(&said), handout.markdown(&said), handout.section(&said)] {
            for line in ["cargo ghosts serve hidden-flush", "curl -sN --compressed http://127.0.0.1:3000/builds/7/log"]
            {
                assert!(page.lines().any(|there| there.ends_with(line)), "{page}");
            }
        }
    }

    #[test]
    fn every_sentence_is_from_the_chapter_or_can_be_translated() {
        let here = Checkout::here();
        let said = Words::signed(&here).handout;
        for ghost in ghosts::ALL.iter() {
            let own = [format!("book/src/{}.md", ghost.slug), format!("cases/{}/case.toml", ghost.slug)];
            let sources = own.map(|name| here.text(&name).unwrap()).join("\n");
            let page = handout(&here, &said, ghost.slug).unwrap().section(&said);
            assert_eq!(words::lost(&page, &sources), [""; 0], "{}", ghost.slug);
        }
    }

    #[test]
    fn each_command_is_a_line_of_its_own() {
        let said = Words::read(&Checkout::here()).unwrap().handout;
        let page = handout(&Checkout::here(), &said, "hidden-flush").unwrap().section(&said);
        let lines = page.lines().filter(|line| line.trim_start_matches("<pre>").starts_with("$ ")).count();
        assert_eq!(lines, 6, "{page}");
    }
}
