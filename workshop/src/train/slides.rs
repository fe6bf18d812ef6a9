//! Pages for the big screen, made from what the book is made from: one idea a slide, with notes for whoever speaks. One HTML
//! file that needs nothing else.

use std::fmt::Write;

use serde::Serialize;

use super::words::{self, Words};
use crate::{
    Refusal,
    catalogue::{
        case::{self, Case},
        generated::FOLDER,
        ghosts::{self, Ghost},
        typed::typed,
    },
    checkout::Checkout,
    html::{escaped, inline},
    terminal::{print, print_json},
};

/// The most lines of code on a slide.
const LINES: usize = 18;
/// The page around the slides, with its style and its script.
const PAGE: &str = include_str!("../../templates/slides.html");
/// The pictures and terminals are those of the book.
const PICTURES: &str = include_str!("../../../book/css/pictures.css");

#[derive(Serialize)]
struct Slides {
    schema: u32,
    slides: Vec<Slide>,
}

/// One idea.
#[derive(Debug, Serialize)]
struct Slide {
    /// The ghost that it is about; none at the beginning and at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<&'static str>,
    title: String,
    /// What the room sees below the title, as HTML.
    html: String,
    /// What only the speaker sees, as HTML.
    notes: String,
}

/// Prints the slides of some ghosts, or of all of them.
///
/// # Errors
/// If none are asked for, or a chapter, a generated file or a `case.toml` cannot be read.
pub fn run(checkout: &Checkout, slugs: &[String], all: bool, json: bool) -> Result<bool, Refusal> {
    let chosen: Vec<&'static Ghost> = match (slugs.is_empty(), all) {
        (true, true) => ghosts::ALL.iter().collect(),
        (false, false) => slugs.iter().map(|slug| ghosts::find(slug)).collect::<Result<_, _>>()?,
        _ => return Err(Refusal::new("name one ghost or more, or say --all; `cargo run` lists them")),
    };
    if json {
        let words = Words::read(checkout)?;
        return print_json(&Slides { schema: 1, slides: slides(checkout, &words.slides, &chosen)? }).map(|()| true);
    }
    print(&page(checkout, &chosen)?)?;
    Ok(true)
}

/// The file with the slides of some ghosts.
///
/// # Errors
/// If a chapter, a generated file or a `case.toml` cannot be read.
pub(super) fn page(checkout: &Checkout, chosen: &[&'static Ghost]) -> Result<String, Refusal> {
    let words = Words::read(checkout)?.slides;
    let mut sections = String::new();
    for slide in slides(checkout, &words, chosen)? {
        // Writing to a String cannot fail.
        let _ = writeln!(
            sections,
            "<section>\n<h1>{}</h1>\n{}\n<aside>\n{}\n</aside>\n</section>",
            inline(&slide.title),
            slide.html.trim_end(),
            slide.notes.trim_end()
        );
    }
    let mut page = PAGE.replace("{pictures}", PICTURES);
    for (place, said) in [
        ("{deck}", &words.title),
        ("{keys}", &words.keys),
        ("{notes}", &words.notes),
        ("{place}", &words.place),
        ("{next}", &words.next),
        ("{end}", &words.end),
    ] {
        page = page.replace(place, &escaped(said).replace('"', "&quot;"));
    }
    Ok(page.replace("{slides}", &sections))
}

fn slides(checkout: &Checkout, words: &words::Slides, chosen: &[&'static Ghost]) -> Result<Vec<Slide>, Refusal> {
    let mut slides = vec![Slide {
        slug: None,
        title: words.title.clone(),
        html: paragraphs(&[&words.about]),
        notes: paragraphs(&[&words.tour, &words.begin]),
    }];
    for ghost in chosen {
        slides.extend(of_ghost(checkout, words, ghost.slug)?);
    }
    slides.push(Slide {
        slug: None,
        title: words.last.clone(),
        html: paragraphs(&[&words.last_say]),
        notes: paragraphs(&[&words.last_notes]),
    });
    Ok(slides)
}

fn of_ghost(checkout: &Checkout, words: &words::Slides, slug: &'static str) -> Result<Vec<Slide>, Refusal> {
    let case = case::read(checkout, slug)?;
    let name = format!("book/src/{slug}.md");
    let chapter = checkout.text(&name)?;
    let section = |heading: &str| {
        let (_, rest) = chapter.split_once(&format!("\n## {heading}\n")).unwrap_or_default();
        rest.split("\n## ").next().unwrap_or_default()
    };
    let mut slides = Vec::new();
    let mut add = |title: &str, html: String, notes: String| {
        slides.push(Slide { slug: Some(slug), title: title.to_owned(), html, notes });
    };
    let about = words
        .measure
        .replace("{minutes}", &case.minutes.to_string())
        .replace("{difficulty}", &case.difficulty.to_string())
        .replace("{objective}", &case.objective);
    add(&case.title, paragraphs(&[&case.symptom]), paragraphs(&[&about]) + &markdown(section("For the trainer")));
    for (place, paragraph) in prose(section("The page at 3 a.m.")).into_iter().enumerate() {
        let notes = if place == 0 { &*words.story_notes } else { "" };
        add(&words.story, paragraphs(&[&*paragraph]), paragraphs(&[notes]));
    }
    add(&words.see, commands(&[format!("cargo ghosts serve {slug}")]), paragraphs(&[&words.serve_notes]));
    for told in &case.tries {
        let typed = typed(&told.curl, "http://127.0.0.1:3000");
        add(&words.see, commands(&[typed]), paragraphs(&[&told.shows, &words.see_notes]));
    }
    for (before, code) in listings(checkout, section("The code that passed review"))? {
        add(&words.code, paragraphs(&[&*before]) + &code, paragraphs(&[&words.code_notes]));
    }
    add(
        &words.turn,
        commands(&["start", "watch", "hint"].map(|command| format!("cargo ghosts {command} {slug}"))),
        paragraphs(&[&words.turn_notes]),
    );
    add(&words.fixes, paragraphs(&[&words.fixes_say]), paragraphs(&[&words.fixes_notes]));
    for near_miss in case.near_misses.iter().filter(|near_miss| !near_miss.shows.is_empty()) {
        let file = checkout.text(&format!("{FOLDER}/{slug}/near-miss-{}.md", near_miss.name))?;
        let (difference, rejected) = fence(&file);
        let title = words.tempting.replace("{name}", &near_miss.name.replace('-', " "));
        let tempts = paragraphs(&[&near_miss.tempts]) + &listing(difference);
        add(&title, tempts, paragraphs(&[&words.tempting_notes]));
        add(&title, rejected.to_owned(), paragraphs(&[&words.rejected_notes]));
    }
    add_pictures(checkout, words, slug, &case, &mut add);
    if let Some(rule) = rule(section("What happens")) {
        add(&words.rule, paragraphs(&[&*rule]), paragraphs(&[&case.hints[2]]));
    }
    for (before, code) in listings(checkout, section("The fix"))? {
        add(&words.fix, paragraphs(&[&*before]) + &code, paragraphs(&[&case.hints[3]]));
    }
    Ok(slides)
}

/// What the two terminals showed, and what happens, as the book shows them.
fn add_pictures(
    checkout: &Checkout,
    words: &words::Slides,
    slug: &str,
    case: &Case,
    add: &mut impl FnMut(&str, String, String),
) {
    let shown = |name: &str| checkout.text(&format!("{FOLDER}/{slug}/{name}")).ok();
    if let Some(seen) = shown("see.html") {
        let parts = seen.split("<pre class=\"typed\"").skip(1);
        for part in parts {
            let part = part.trim_end().strip_suffix("</div>").unwrap_or(part);
            let html = format!("<div class=\"see\"><pre class=\"typed\"{part}</div>");
            add(&words.seen, html, paragraphs(&[&words.seen_notes]));
        }
    }
    if let Some(picture) = shown("timeline.html") {
        add(&words.happens, picture, paragraphs(&[&case.hints[1], &case.hints[2]]));
    }
}

/// The paragraphs of a section: neither code, nor what is included or folded, nor a heading.
fn prose(section: &str) -> Vec<String> {
    let (mut inside, mut paragraphs, mut folded) = (false, vec![String::new()], false);
    for line in section.lines() {
        inside ^= line.starts_with("```");
        folded = (folded || line.starts_with("<details")) && !line.starts_with("</details");
        let other = inside || folded || ["```", "{{", "#", "<", "|"].iter().any(|sign| line.starts_with(sign));
        if other || line.is_empty() {
            paragraphs.push(String::new());
        } else {
            let last = paragraphs.last_mut().expect("there is one");
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(line.trim());
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

/// Each included piece of a source in a section, with the paragraph before it.
fn listings(checkout: &Checkout, section: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut found = Vec::new();
    let mut before = "";
    for (place, part) in section.split("```").enumerate() {
        if place % 2 == 0 {
            before = part;
            continue;
        }
        let included = part.split_once("{{#include ").and_then(|(_, rest)| rest.split_once("}}"));
        let source = included.map(|(source, _)| source.split_once(':').unwrap_or((source, "")));
        if let Some((file, anchor)) = source.filter(|(file, _)| file.ends_with(".rs")) {
            // A page stands in book/src; a listing in steps is generated there.
            let file = file.strip_prefix("../../").map_or_else(|| format!("book/src/{file}"), str::to_owned);
            let code = anchored(&checkout.text(&file)?, anchor);
            let said = prose(before).pop().unwrap_or_default();
            found.extend(pieces(&code).iter().map(|piece| (said.clone(), listing(piece))));
        }
    }
    Ok(found)
}

/// The code in pieces that can be read from the last row, each to an empty line if there is one.
fn pieces(code: &str) -> Vec<String> {
    let lines: Vec<&str> = code.lines().collect();
    let (mut rest, mut pieces) = (&lines[..], Vec::new());
    while rest.len() > LINES {
        let blank = rest[..LINES].iter().rposition(|line| line.is_empty()).filter(|place| *place > LINES / 3);
        let (piece, other) = rest.split_at(blank.map_or(LINES, |place| place + 1));
        pieces.push(piece.join("\n"));
        rest = other;
    }
    pieces.push(rest.join("\n"));
    pieces
}

/// What stands between the two marks of an anchor, without marks, and as far to the left as it goes.
fn anchored(source: &str, anchor: &str) -> String {
    let mut lines: Vec<&str> = source.lines().collect();
    if !anchor.is_empty() {
        let at = |mark: &str| lines.iter().position(|line| line.trim() == format!("// {mark}: {anchor}"));
        if let (Some(begin), Some(end)) = (at("ANCHOR"), at("ANCHOR_END")) {
            lines = lines[begin + 1..end].to_vec();
        }
    }
    lines.retain(|line| !line.trim().starts_with("// ANCHOR"));
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let margin = written.map(|line| line.len() - line.trim_start().len()).min().unwrap_or_default();
    lines.iter().map(|line| format!("{}\n", line.get(margin..).unwrap_or_default())).collect()
}

/// The first block of code of a text, and what follows it.
fn fence(text: &str) -> (&str, &str) {
    let block = text.split_once("```").and_then(|(_, rest)| rest.split_once('\n')?.1.split_once("```\n"));
    block.map_or(("", text), |(code, rest)| (code, rest.trim()))
}

/// The last sentence in bold letters, which is the rule of its chapter.
fn rule(section: &str) -> Option<String> {
    let parts: Vec<&str> = section.split("**").collect();
    let rule = parts.iter().enumerate().filter(|(place, _)| place % 2 == 1).map(|(_, part)| *part).next_back()?;
    let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut letters = rule.chars();
    let first = letters.next()?;
    let whole = first.to_uppercase().chain(letters).collect::<String>();
    Some(format!("{}.", whole.trim_end_matches('.')))
}

fn paragraphs(texts: &[&str]) -> String {
    let written = texts.iter().filter(|text| !text.is_empty());
    written.map(|text| format!("<p>{}</p>\n", inline(text))).collect()
}

fn commands(lines: &[String]) -> String {
    let lines: String = lines.iter().flat_map(|command| command.lines()).map(|line| escaped(line) + "\n").collect();
    format!("<pre class=\"typed\">{lines}</pre>\n")
}

/// A piece of code; in a difference, what goes and what comes has its colour.
fn listing(code: &str) -> String {
    let line = |line: &str| match line.chars().next() {
        Some('+') => format!("<ins>{}</ins>\n", escaped(line)),
        Some('-') => format!("<del>{}</del>\n", escaped(line)),
        _ => escaped(line) + "\n",
    };
    format!("<pre class=\"code\">{}</pre>\n", code.lines().map(line).collect::<String>())
}

/// The notes of a chapter's fold for the trainer: its paragraphs, lists and tables, each line of which is one.
fn markdown(section: &str) -> String {
    let mut blocks = vec![String::new()];
    for line in section.lines().map(str::trim) {
        let begins = line.starts_with(['|', '-']) || line.split_once(". ").is_some_and(|(number, _)| number.len() < 3);
        if line.is_empty() || begins {
            blocks.push(String::new());
        }
        let out = line.starts_with(['<', '{']) || line.starts_with("|---");
        if !out && !line.is_empty() {
            let last = blocks.last_mut().expect("there is one");
            let line = line.trim_matches('|').trim().replace(" | ", ": ");
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(&line);
        }
    }
    paragraphs(&blocks.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(slug: &'static str) -> Vec<Slide> {
        let words = Words::read(&Checkout::here()).unwrap().slides;
        of_ghost(&Checkout::here(), &words, slug).unwrap()
    }

    fn titles(slug: &'static str) -> Vec<String> {
        told(slug).into_iter().map(|slide| slide.title).collect()
    }

    #[test]
    fn every_sentence_is_from_the_chapter_or_can_be_translated() {
        let here = Checkout::here();
        let words = Words::signed(&here).slides;
        for ghost in ghosts::ALL.iter() {
            let slug = ghost.slug;
            let names = fs::read_dir(here.path(&format!("{FOLDER}/{slug}"))).unwrap();
            let names = names.map(|file| file.unwrap().path().display().to_string());
            let generated: String = names.map(|name| fs::read_to_string(name).unwrap()).collect();
            let own = [format!("book/src/{slug}.md"), format!("cases/{slug}/case.toml")];
            let sources = own.map(|name| here.text(&name).unwrap()).join("\n") + &generated;
            let slides = slides(&here, &words, &[ghost]).unwrap();
            let page = |slide: &Slide| format!("<h1>{}</h1>{}{}", inline(&slide.title), slide.html, slide.notes);
            let pages: String = slides.iter().map(page).collect();
            assert_eq!(words::lost(&pages, &sources), [""; 0], "{slug}");
        }
    }

    #[test]
    fn a_ghost_is_told_in_the_order_of_a_workshop() {
        let mut titles = titles("hidden-flush");
        titles.dedup();
        let expected = [
            "The hidden flush",
            "The page at 3 a.m.",
            "See it",
            "The code that passed review",
            "Your turn",
            "Which fix did not work?",
            "Tempting: flush timer",
            "Tempting: event stream exempt",
            "Tempting: now or never",
            "Broken and fixed",
            "What happens",
            "The rule",
            "The fix",
        ];
        assert_eq!(titles, expected);
    }

    #[test]
    fn every_ghost_has_every_part_and_says_nothing_of_the_cause_before_its_turn() {
        for ghost in ghosts::ALL.iter() {
            let titles = titles(ghost.slug);
            for part in ["The page at 3 a.m.", "The code that passed review", "Your turn", "What happens", "The fix"] {
                assert!(titles.iter().any(|title| title == part), "{} has no slide \"{part}\"", ghost.slug);
            }
            let tempting = titles.iter().filter(|title| title.starts_with("Tempting: ")).count();
            assert_eq!(tempting, 6, "{}: three near misses, two slides each", ghost.slug);
            for slide in told(ghost.slug) {
                assert!(!slide.html.contains("{{#") && !slide.notes.contains("{{#"), "{}: {slide:?}", ghost.slug);
                assert!(!slide.html.is_empty(), "{}: {slide:?}", ghost.slug);
            }
        }
    }

    #[test]
    fn code_is_what_stands_between_the_marks() {
        let source = "fn a() {\n    // ANCHOR: defect\n    if b {\n        c();\n    }\n    // ANCHOR_END: defect\n}\n";
        assert_eq!(anchored(source, "defect"), "if b {\n    c();\n}\n");
        assert_eq!(fence("```diff\n-a\n+b\n```\n\n<div>\n"), ("-a\n+b\n", "<div>"));
        assert_eq!(listing("-a <\n b\n"), "<pre class=\"code\"><del>-a &lt;</del>\n b\n</pre>\n");
    }

    #[test]
    fn long_code_is_shown_in_pieces() {
        let long: String =
            (1..=30).map(|line| if line == 10 { "\n".to_owned() } else { format!("{line}\n") }).collect();
        let pieces = pieces(&long);
        assert_eq!(pieces.len(), 3);
        assert!(pieces[0].ends_with("9\n") && pieces[1].starts_with("11\n"), "{pieces:?}");
        assert_eq!(pieces.join("\n") + "\n", long);
    }

    #[test]
    fn the_rule_is_a_sentence() {
        assert_eq!(rule("**One.** So: **a timeout\nbounds a wait.** Yes."), Some("A timeout bounds a wait.".into()));
        assert_eq!(rule("No rule."), None);
    }

    #[test]
    fn notes_have_paragraphs_lists_and_tables() {
        let fold = "<details>\n<summary>How</summary>\n\nOne\ntwo.\n\n1. **Three.** Four\n   five.\n2. Six.\n\n\
                    | a | b |\n|---|---|\n| 5 | c |\n\n</details>\n";
        let expected = "<p>One two.</p>\n<p>1. <strong>Three.</strong> Four five.</p>\n<p>2. Six.</p>\n\
                        <p>a: b</p>\n<p>5: c</p>\n";
        assert_eq!(markdown(fold), expected);
    }
}
