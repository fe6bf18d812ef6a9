//! All ghosts, and how far the learner has come with each.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{
        case::{self, Family},
        ghosts::ALL,
    },
    checkout::{Checkout, EXERCISES},
    progress::{self, State, Summary, Unreadable},
    terminal::{print, print_json},
};

/// The list.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    schema: u32,
    /// The ghosts, in the order of the tour.
    pub ghosts: Vec<Row>,
    /// The lines of the progress that could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// One ghost.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub slug: &'static str,
    /// What production sees.
    pub symptom: String,
    /// Its family.
    pub family: Family,
    /// How long it takes.
    pub minutes: u32,
    /// From 1 to 3.
    pub difficulty: u8,
    /// How far the learner has come.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Every ghost with the learner's progress.
///
/// # Errors
/// If a `case.toml` is wrong or the progress cannot be read.
pub fn list(checkout: &Checkout) -> Result<List, Refusal> {
    let progress = progress::read(checkout)?;
    let row = |slug: &'static str| {
        let case = case::read(checkout, slug)?;
        let summary = progress.summary(slug);
        let case::Case { symptom, family, minutes, difficulty, .. } = case;
        Ok(Row { slug, symptom, family, minutes, difficulty, summary })
    };
    let ghosts = ALL.iter().map(|ghost| row(ghost.slug)).collect::<Result<_, Refusal>>()?;
    Ok(List { schema: 1, ghosts, unreadable: progress.unreadable })
}

/// Prints the list.
///
/// # Errors
/// As [`list`].
pub fn run(checkout: &Checkout, json: bool) -> Result<bool, Refusal> {
    let list = list(checkout)?;
    if json {
        print_json(&list)?;
    } else {
        print(&list.table())?;
    }
    Ok(true)
}

impl List {
    fn table(&self) -> String {
        let (bold, green) = (Style::new().bold(), AnsiColor::Green.on_default());
        let red = AnsiColor::Red.on_default().bold();
        let widest = self.ghosts.iter().map(|row| row.slug.len()).max().unwrap_or(0);
        let mut text = format!("{bold}{:widest$}  family   minutes  difficulty  state{bold:#}\n", "ghost");
        for row in &self.ghosts {
            let style = if row.summary.state == State::Solved { green } else { Style::new() };
            let hints = match row.summary.hints {
                0 => String::new(),
                1 => ", 1 hint".to_owned(),
                hints => format!(", {hints} hints"),
            };
            text.push_str(&format!(
                "{:widest$}  {:7}  {:7}  {:10}  {style}{}{style:#}{hints}\n",
                row.slug,
                row.family.name(),
                row.minutes,
                format!("{} of 3", row.difficulty),
                row.summary.state,
            ));
            if let Some(beside) = row.summary.beside() {
                let style = if row.summary.state == State::Solved { Style::new().dimmed() } else { red };
                text.push_str(&format!("{:widest$}  {style}{beside}{style:#}\n", ""));
            }
        }
        for unreadable in &self.unreadable {
            text.push_str(&format!("\nskipped in {EXERCISES}/{}: {unreadable}\n", progress::FILE));
        }
        text
    }
}
