//! The story of one ghost.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use lab::Report;
use serde::Serialize;
use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

use crate::{
    Refusal,
    catalogue::{
        case::{self, Case},
        difference, generated,
        ghosts::{Ghost, NearMiss},
    },
    checkout::Checkout,
    terminal::{self, columns, print, print_json, wrapped},
};

#[derive(Serialize)]
struct Story<'a> {
    schema: u32,
    slug: &'static str,
    case: &'a Case,
    broken: Report,
    fixed: Report,
    near_misses: Vec<(&'static str, Report)>,
    /// How each near miss differs from the broken twin, in the same order.
    near_miss_differences: Vec<(&'static str, String)>,
    interleavings: Vec<generated::Interleaving>,
}

/// Prints the story.
///
/// # Errors
/// If `case.toml` is wrong or an interleaving cannot be read.
pub fn run(checkout: &Checkout, ghost: &Ghost, near_misses: bool, json: bool) -> Result<bool, Refusal> {
    let case = case::read(checkout, ghost.slug)?;
    let near: &[NearMiss] = if near_misses { &ghost.near_misses } else { &[] };
    let difference =
        |near_miss: &NearMiss| Ok((near_miss.name, difference::near_miss(checkout, ghost.slug, near_miss.name)?));
    let judged = ghost.judge(near_misses);
    let story = Story {
        schema: 1,
        slug: ghost.slug,
        case: &case,
        broken: judged.broken,
        fixed: judged.fixed,
        near_misses: near.iter().map(|near_miss| near_miss.name).zip(judged.near_misses).collect(),
        near_miss_differences: near.iter().map(difference).collect::<Result<_, Refusal>>()?,
        interleavings: generated::interleavings(checkout, ghost.slug)?,
    };
    if json {
        print_json(&story)?
    } else {
        print(&story.text())?
    }
    Ok(story.fixed.all_kept() && !story.broken.broken().is_empty())
}

impl Story<'_> {
    fn text(&self) -> String {
        let slug = self.slug;
        let bold = Style::new().bold();
        let mut text = format!("{bold}{}{bold:#} ({slug})\n{}\n", self.case.title, self.case.symptom);
        heading(&mut text, "The broken twin", &format!("cases/{slug}/src/lib.rs"));
        text.push_str(&coloured(&self.broken.to_string()));
        heading(&mut text, "The fixed twin, in the same scenes", &format!("fixed/{slug}/src/lib.rs"));
        text.push_str(&coloured(&self.fixed.beside(&self.broken).to_string()));
        for interleaving in &self.interleavings {
            heading(&mut text, &interleaving.title, &interleaving.file);
            text.push_str(&interleaving.text);
        }
        let near_misses = self.near_misses.iter().zip(&self.near_miss_differences).zip(&self.case.near_misses);
        for (((name, report), (_, difference)), told) in near_misses {
            let file = format!("{}/{}.rs", difference::near_misses(slug), name.replace('-', "_"));
            heading(&mut text, &format!("Near miss: {name}"), &file);
            text.push_str(&wrapped(&format!("Why it tempts: {}", told.tempts), "  "));
            text.push('\n');
            text.push_str(&terminal::difference(&folded(difference), "  "));
            text.push('\n');
            text.push_str(&coloured(&report.verdicts().to_string()));
        }
        heading(&mut text, "Where to read on", "");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  what laid it to rest   cargo ghosts diff {slug}");
        let _ = writeln!(text, "  in a second terminal   cargo ghosts serve {slug}");
        let _ = writeln!(text, "  the promises           tests/{slug}/src/lib.rs");
        if self.near_misses.is_empty() {
            let _ = writeln!(text, "  the tempting fixes     cargo ghosts show {slug} --near-misses");
        }
        for thread in &self.case.threads {
            let _ = writeln!(text, "  {}#{}", thread.repository, thread.number);
            text.push_str(&wrapped(&thread.shows, "    "));
        }
        text
    }
}

fn heading(text: &mut String, title: &str, file: &str) {
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{bold}{title}{bold:#}\n{dim}{file}{dim:#}\n");
}

/// A difference whose lines are at most as wide as other text is, after two spaces: what goes on begins with the same sign.
fn folded(unified: &str) -> String {
    let width = columns().clamp(40, 80) - 2;
    let fold = |line: &str| {
        let code = line.trim_start_matches(['+', '-', ' ']);
        let sign = line.get(..1).unwrap_or_default();
        let rest = format!("{sign}{:1$}", "", line.len() - code.len() + 3);
        let options = textwrap::Options::new(width).subsequent_indent(&rest);
        // A line of code breaks at its spaces, and first where it is full.
        let options = options.word_separator(WordSeparator::AsciiSpace).word_splitter(WordSplitter::NoHyphenation);
        textwrap::fill(line, options.wrap_algorithm(WrapAlgorithm::FirstFit)) + "\n"
    };
    unified.lines().map(fold).collect()
}

/// The report with its words of verdict coloured.
fn coloured(report: &str) -> String {
    let (red, green) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default());
    let mut text = String::new();
    for line in report.lines() {
        let line = match (line.strip_prefix("  BROKEN"), line.strip_prefix("  kept")) {
            (Some(rest), _) => format!("  {red}BROKEN{red:#}{rest}"),
            (_, Some(rest)) => format!("  {green}kept{green:#}{rest}"),
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}
