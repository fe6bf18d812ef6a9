//! The tour: every specification on the broken twin, the near misses and the fixed twin, in one table.
//!
//! A near miss is held against the promise that it is known for, which is enough to reject it. What else it breaks is seen by the
//! tests of its case, and told by `show --near-misses`. One that only the model rejects keeps every promise; to see that takes as long
//! as a fixed twin, so its case's tests see it, and the tour does not.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use lab::{Limits, Report, abreast};
use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{
        case::{self, Case, MODEL},
        ghosts::{self, Ghost},
    },
    checkout::Checkout,
    terminal::{print, print_json, wrapped},
};

/// What takes too long for a tour.
const LEFT_OUT: &str = "Not judged here: whether an app leaves the rest alone, races on real threads,\n\
                        and the near misses that only a model rejects. cargo test judges them.";

/// The verdicts on every ghost.
#[derive(Debug, Serialize)]
pub struct Tour {
    schema: u32,
    /// What was judged on no app.
    not_judged: [&'static str; 3],
    ghosts: Vec<Row>,
    as_it_should_be: bool,
}

/// The verdicts on one ghost.
#[derive(Debug, Serialize)]
pub struct Row {
    slug: &'static str,
    symptom: String,
    promises: usize,
    kept_by_broken_twin: usize,
    broken_by_broken_twin: Vec<String>,
    near_misses: Vec<NearMissVerdict>,
    kept_by_fixed_twin: usize,
    /// What is not as it should be, a sentence each.
    amiss: Vec<String>,
}

/// The verdict on one near miss.
#[derive(Debug, Serialize)]
struct NearMissVerdict {
    name: &'static str,
    /// The promise that it is known for, or `model`.
    breaks: String,
    /// The same promise, if it broke that.
    broken: Vec<String>,
    /// Nothing where only the model rejects it.
    rejected: Option<bool>,
}

/// Judges every ghost and prints the table.
///
/// # Errors
/// If a `case.toml` is wrong.
pub fn run(checkout: &Checkout, json: bool) -> Result<bool, Refusal> {
    let tour = judge(checkout)?;
    if json {
        print_json(&tour)?
    } else {
        print(&tour.table())?
    }
    Ok(tour.as_it_should_be)
}

/// Judges every ghost.
///
/// # Errors
/// If a `case.toml` is wrong.
pub fn judge(checkout: &Checkout) -> Result<Tour, Refusal> {
    let cases = ghosts::ALL.iter().map(|ghost| case::read(checkout, ghost.slug)).collect::<Result<Vec<_>, _>>()?;
    let mut reports = judge_all(&ghosts::ALL, &cases).into_iter();
    let rows = ghosts::ALL.iter().zip(cases).map(|(ghost, case)| {
        let count = 2 + ghost.near_misses.len();
        row(ghost, &case, &reports.by_ref().take(count).collect::<Vec<_>>())
    });
    let ghosts: Vec<Row> = rows.collect();
    let as_it_should_be = ghosts.iter().all(|row| row.amiss.is_empty());
    let not_judged = ["leaves-the-rest-alone", "races on real threads", "near misses that only a model rejects"];
    Ok(Tour { schema: 1, not_judged, ghosts, as_it_should_be })
}

type Job<'a> = Box<dyn FnOnce() -> Option<Report> + Send + 'a>;

/// The reports of each ghost's broken twin, fixed twin and near misses, in this order, judged on every core. None of a near miss
/// that only the model rejects.
fn judge_all(ghosts: &[Ghost], cases: &[Case]) -> Vec<Option<Report>> {
    let scenes = Limits { beside: false, ..Limits::default() };
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (ghost, case) in ghosts.iter().zip(cases) {
        let twins: [Job<'_>; 2] =
            [Box::new(move || Some(ghost.broken(scenes))), Box::new(move || Some(ghost.fixed(scenes)))];
        let near_misses = ghost.near_misses.iter().map(|near_miss| -> Job<'_> {
            let told = case.near_misses.iter().find(|told| told.name == near_miss.name);
            match told.map(|told| &*told.breaks) {
                Some(MODEL) => Box::new(|| None),
                only => Box::new(move || Some(near_miss.judge(Limits { only, ..scenes }))),
            }
        });
        jobs.extend(twins.into_iter().chain(near_misses));
    }
    abreast(jobs, |job| job())
}

fn row(ghost: &Ghost, case: &Case, reports: &[Option<Report>]) -> Row {
    let [Some(broken), Some(fixed), near @ ..] = reports else { unreachable!("each twin is judged") };
    let mut amiss = Vec::new();
    if broken.broken().is_empty() {
        amiss.push("the broken twin breaks no promise".to_owned());
    }
    for key in not_kept(fixed) {
        amiss.push(format!("the fixed twin does not keep `{key}`"));
    }
    let names: Vec<&str> = ghost.near_misses.iter().map(|near_miss| near_miss.name).collect();
    let told: Vec<&str> = case.near_misses.iter().map(|near_miss| near_miss.name.as_str()).collect();
    if names != told {
        amiss.push(format!("case.toml and near_misses::ALL name different near misses: {told:?} and {names:?}"));
    }
    let near_misses: Vec<NearMissVerdict> = names
        .iter()
        .zip(&case.near_misses)
        .zip(near)
        .map(|((name, told), report)| {
            let broken = report.as_ref().map_or_else(Vec::new, Report::broken);
            let rejected = report.is_some().then(|| broken.contains(&&*told.breaks));
            if rejected == Some(false) {
                amiss.push(format!("the near miss `{name}` does not break `{}`", told.breaks));
            }
            let broken = broken.into_iter().map(str::to_owned).collect();
            NearMissVerdict { name, breaks: told.breaks.clone(), broken, rejected }
        })
        .collect();
    Row {
        slug: ghost.slug,
        symptom: case.symptom.clone(),
        promises: broken.promises.len(),
        kept_by_broken_twin: broken.kept(),
        broken_by_broken_twin: broken.broken().into_iter().map(str::to_owned).collect(),
        near_misses,
        kept_by_fixed_twin: fixed.kept(),
        amiss,
    }
}

fn not_kept(report: &Report) -> impl Iterator<Item = &str> {
    let kept = lab::Outcome::Kept;
    report.promises.iter().filter(move |judged| judged.outcome != kept).map(|judged| judged.key.as_str())
}

impl Tour {
    /// The table, with colours.
    pub fn table(&self) -> String {
        let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
        let mut table =
            format!("{bold}{:28}{:>12}{:>20}{:>14}{bold:#}\n", "ghost", "broken keeps", "near misses", "fixed keeps");
        for row in &self.ghosts {
            row.write(&mut table, dim);
        }
        let _ = match self.ghosts.iter().map(|row| row.amiss.len()).sum::<usize>() {
            0 => writeln!(
                table,
                "\n{} ghosts: each haunts its broken twin, each near miss is rejected, and each\n\
                 fixed twin keeps every promise. Next: cargo ghosts show {}",
                self.ghosts.len(),
                self.ghosts.first().map_or("", |row| row.slug)
            ),
            1 => writeln!(table, "\n1 verdict isn't as expected."),
            many => writeln!(table, "\n{many} verdicts aren't as expected."),
        };
        let _ = writeln!(table, "{LEFT_OUT}");
        table
    }
}

impl Row {
    fn write(&self, table: &mut String, dim: Style) {
        let (red, green) = (AnsiColor::Red.on_default(), AnsiColor::Green.on_default());
        let broken = format!("{} of {}", self.kept_by_broken_twin, self.promises);
        let fixed = format!("{} of {}", self.kept_by_fixed_twin, self.promises);
        let colour = if self.amiss.is_empty() { green } else { red };
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "\n{:28}{red}{broken:>12}{red:#}{:>20}{colour}{fixed:>14}{colour:#}",
            self.slug,
            self.rejected()
        );
        let _ = writeln!(table, "  {dim}{}{dim:#}", self.symptom);
        for sentence in &self.amiss {
            let _ = write!(table, "{red}{}{red:#}", wrapped(sentence, "  "));
        }
    }

    /// For instance `6 + 2 by model`.
    fn rejected(&self) -> String {
        let count = |rejected| self.near_misses.iter().filter(|near| near.rejected == rejected).count();
        match count(None) {
            0 => count(Some(true)).to_string(),
            model => format!("{} + {model} by model", count(Some(true))),
        }
    }
}
