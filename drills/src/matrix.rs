//! The classifier, measured: the twins, near misses and right fixes under their load, and what it says of each.

use std::{collections::BTreeSet, fmt::Write, fs, io, path::Path, time::Duration};

use ghosts::{
    Refusal,
    catalogue::{case, ghosts::ALL},
    checkout::Checkout,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    classify::{classify, ghosts},
    evidence::{Evidence, Line, Point, Sample},
    field::{Field, Plot, Stand},
    looks,
    services::{self, Which},
};

/// How much faster than a clock it is measured.
pub const SPEED: f64 = 4.0;
/// How many seconds of a drill are measured.
pub const SECONDS: f64 = 80.0;
/// How many services stand side by side.
const SIDE_BY_SIDE: usize = 17;
/// How many seeds the near misses and the right fixes are measured with, at most: there are many of them.
const OTHERS_SEEDS: u64 = 3;

/// What was seen of a twin in one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The ghost.
    pub slug: &'static str,
    /// Which twin.
    pub which: Which,
    /// The seed of its load.
    pub seed: u64,
    /// What was seen of it, and of nothing else.
    pub evidence: Evidence,
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Measure<'a> {
    /// The ghosts.
    pub slugs: &'a [&'static str],
    /// How many seeds.
    pub seeds: u64,
    /// Whether the near misses and the right fixes are measured too.
    pub others: bool,
    /// How much faster than a clock.
    pub speed: f64,
    /// The program that drives the load when it is called with `load`.
    pub program: &'a Path,
}

/// What came of the measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// The number of this form, now 2.
    pub schema: u32,
    /// How many seeds the twins were measured with.
    pub seeds: u64,
    /// What was said of each.
    pub rows: Vec<Row>,
    /// How much faster than a clock it was measured.
    pub speed: f64,
}

/// Serves these twins under their load; each run is handed on as soon as it is over.
///
/// # Errors
/// If a case cannot be read, a service cannot be served, or `done` fails.
pub fn measure(
    checkout: &Checkout,
    wanted: Measure<'_>,
    mut done: impl FnMut(Run) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    for seed in 0..wanted.seeds {
        let mut twins: Vec<(&'static str, Which)> = Vec::new();
        for which in [Which::Fixed, Which::Broken] {
            twins.extend(wanted.slugs.iter().map(|slug| (*slug, which)));
        }
        if wanted.others && seed < OTHERS_SEEDS {
            twins.extend(wanted.slugs.iter().flat_map(|slug| others(slug).into_iter().map(|which| (*slug, which))));
        }
        for twins in twins.chunks(SIDE_BY_SIDE) {
            let evidence = seen(checkout, twins, seed, wanted.speed, wanted.program)?;
            for (place, (slug, which)) in twins.iter().enumerate() {
                done(Run { slug, which: *which, seed, evidence: alone(&evidence, place) })?;
            }
        }
    }
    Ok(())
}

/// The near misses of a ghost, and the right fixes that are not ours.
fn others(slug: &str) -> Vec<Which> {
    let near_misses = ALL.iter().filter(|ghost| ghost.slug == slug).flat_map(|ghost| &ghost.near_misses);
    let right = services::also_right(slug).into_iter().map(Which::AlsoRight);
    near_misses.map(|near_miss| Which::NearMiss(near_miss.name)).chain(right).collect()
}

/// What was seen of the service in this place.
fn alone(evidence: &Evidence, place: usize) -> Evidence {
    let name = &evidence.services[place];
    let samples = evidence.samples.iter().filter_map(|sample| {
        let point = sample.points.get(place)?.clone();
        Some(Sample { at_s: sample.at_s, points: vec![point] })
    });
    let log = evidence.log.iter().filter(|line| line.from == *name);
    Evidence {
        schema: evidence.schema,
        services: vec![name.clone()],
        samples: samples.collect(),
        log: log.cloned().collect::<Vec<Line>>(),
    }
}

/// What is seen of these twins in one run, side by side.
///
/// # Errors
/// If a case cannot be read, or a service cannot be served.
pub fn seen(
    checkout: &Checkout,
    twins: &[(&'static str, Which)],
    seed: u64,
    speed: f64,
    program: &Path,
) -> Result<Evidence, Refusal> {
    let mut names = BTreeSet::new();
    let stands = twins.iter().map(|(slug, which)| {
        let drill = case::read(checkout, slug)?.drill;
        let mut drill = drill.ok_or_else(|| Refusal::new(format!("{slug} has no drill")))?;
        // The edge tells them apart by their names.
        let name = drill.service.clone();
        for number in 2.. {
            if names.insert(drill.service.clone()) {
                break;
            }
            drill.service = format!("{name}-{number}");
        }
        Ok(Stand { slug, which: *which, drill, slowed: false })
    });
    let stands = stands.collect::<Result<Vec<_>, Refusal>>()?;
    let field = Field::begin(Plot { stands, said: Vec::new(), seed, speed, program })?;
    let mut ticks = field.ticks();
    let come = async {
        while field.samples_since(0).last().is_none_or(|sample| sample.at_s < SECONDS) {
            // It tells as long as it is there.
            let _ = ticks.changed().await;
        }
    };
    let limit = Duration::from_secs_f64(3.0 * SECONDS / speed);
    let came = field.runtime().block_on(async { timeout(limit, come).await });
    came.map_err(|_| Refusal::new("the machine is too busy to measure anything"))?;
    Ok(field.evidence())
}

impl Run {
    /// Writes what was seen below this folder, as a file of evidence.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<(), Refusal> {
        let folder = folder.join(self.slug).join(self.which.to_string());
        let written = serde_json::to_vec(&self.evidence).map_err(io::Error::from).and_then(|text| {
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{}.json", self.seed)), text)
        });
        written.map_err(|error| Refusal::new(format!("cannot write below {}: {error}", folder.display())))
    }
}

/// Reads what [`Run::keep`] has written.
///
/// # Errors
/// If a file is not what was written, or there is none.
pub fn kept(folder: &Path) -> Result<Vec<Run>, Refusal> {
    let mut runs = Vec::new();
    for (slug, _) in services::ALL {
        for which in [Which::Broken, Which::Fixed].into_iter().chain(others(slug)) {
            for seed in 0.. {
                let file = folder.join(slug).join(which.to_string()).join(format!("{seed}.json"));
                let Ok(text) = fs::read(&file) else { break };
                let evidence = serde_json::from_slice(&text)
                    .map_err(|error| Refusal::new(format!("cannot read {}: {error}", file.display())))?;
                runs.push(Run { slug, which, seed, evidence });
            }
        }
    }
    if runs.is_empty() {
        return Err(Refusal::new(format!("there is no kept evidence in {}", folder.display())));
    }
    Ok(runs)
}

/// What was said of one twin, near miss or right fix.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The ghost.
    pub slug: &'static str,
    /// `broken`, `fixed`, or a name.
    pub twin: String,
    /// What it is.
    pub kind: Kind,
    /// Whether the rules were written without a look at its evidence: near misses in odd places of their list were kept apart.
    pub held_out: bool,
    /// Whether the load shows that it is not the fixed twin.
    pub shows: Shows,
    /// How often each ghost was said first; `-` where nothing was said.
    pub first: Vec<(&'static str, usize)>,
    /// How often its own ghost was among the first three.
    pub among_three: usize,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The broken twin.
    Broken,
    /// The fixed twin.
    Fixed,
    /// A near miss.
    NearMiss,
    /// A right fix that is not ours.
    AlsoRight,
}

/// What the load shows of a twin. A number differs if with each of its seeds it is more than twice the highest of the fixed twin
/// and of every right fix, or less than half of their lowest, and more than a rounding away. No rule has a part in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shows {
    /// No number differs.
    Nothing,
    /// A number differs as the broken twin's does: what is seen of the ghost is seen of this, too.
    Ghost,
    /// Numbers differ, and none as the broken twin's: it fails in another way.
    Other,
}

/// What is counted of each row, and what it is called.
type Count<'a> = (&'static str, &'a dyn Fn(&Row) -> usize);

impl Row {
    fn said(&self, what: &str) -> usize {
        self.first.iter().filter(|(said, _)| *said == what).map(|(_, count)| count).sum()
    }

    fn runs(&self) -> usize {
        self.first.iter().map(|(_, count)| count).sum()
    }
}

impl Matrix {
    /// What the rules say of these runs.
    pub fn of(runs: &[Run], speed: f64) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for run in runs {
            let twin = run.which.to_string();
            let place = rows.iter().position(|row| row.slug == run.slug && row.twin == twin).unwrap_or_else(|| {
                let kind = match run.which {
                    Which::Broken => Kind::Broken,
                    Which::Fixed => Kind::Fixed,
                    Which::NearMiss(_) => Kind::NearMiss,
                    Which::AlsoRight(_) => Kind::AlsoRight,
                };
                let shows = shows(runs, run.slug, run.which);
                let held_out = held_out(run.slug, run.which);
                rows.push(Row { slug: run.slug, twin, kind, held_out, shows, first: Vec::new(), among_three: 0 });
                rows.len() - 1
            });
            let row = &mut rows[place];
            let report = classify(&run.evidence);
            let said = || report.causes.iter().map(|cause| cause.ghost);
            let first = said().next().unwrap_or("-");
            match row.first.iter_mut().find(|(known, _)| *known == first) {
                Some((_, count)) => *count += 1,
                None => row.first.push((first, 1)),
            }
            row.among_three += usize::from(said().take(3).any(|said| said == run.slug));
        }
        rows.sort_by_key(|row| (row.slug, row.kind));
        let seeds = runs.iter().map(|run| run.seed + 1).max().unwrap_or_default();
        Self { schema: 2, seeds, rows, speed }
    }

    /// The matrix as markdown, without those of which nothing is seen and nothing said.
    pub fn markdown(&self) -> String {
        let mut text = "| ghost | twin | what the load shows | said first | own ghost among the first three |\n\
                        |---|---|---|---|---|\n"
            .to_owned();
        // Of most others there is nothing to see, and nothing is said: they are counted below.
        let quiet =
            |row: &&Row| row.kind >= Kind::NearMiss && row.shows == Shows::Nothing && row.said("-") == row.runs();
        for row in self.rows.iter().filter(|row| !quiet(row)) {
            let said: Vec<String> = row.first.iter().map(|(slug, count)| format!("{slug} {count}")).collect();
            let (slug, said, three, runs) = (row.slug, said.join(", "), row.among_three, row.runs());
            let twin = match row.kind {
                Kind::AlsoRight => format!("{} (right)", row.twin),
                _ => row.twin.clone(),
            };
            let shows = match row.shows {
                Shows::Nothing => "nothing",
                Shows::Ghost => "the ghost",
                Shows::Other => "something else",
            };
            writeln!(text, "| {slug} | {twin} | {shows} | {said} | {three} of {runs} |").expect("into a String");
        }
        let mut tell = |what: &str, twins: &dyn Fn(&Row) -> bool, counts: &[Count<'_>]| {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| twins(row)).collect();
            let runs: usize = rows.iter().map(|row| row.runs()).sum();
            let counts = counts.iter().map(|(name, right)| {
                let right: usize = rows.iter().map(|row| right(row)).sum();
                format!("{name} {right} of {runs}")
            });
            let (all, counts) = (rows.len(), counts.collect::<Vec<_>>().join(", "));
            write!(text, "\n- {what} ({all}): {counts}.").expect("into a String");
        };
        let own = |row: &Row| row.said(row.slug);
        let three = |row: &Row| row.among_three;
        let nothing = |row: &Row| row.said("-");
        let named: [Count<'_>; 3] =
            [("the right ghost first", &own), ("among three", &three), ("nothing claimed", &nothing)];
        let quiet: [Count<'_>; 1] = [("nothing claimed", &nothing)];
        let seen = |row: &Row| row.shows != Shows::Nothing;
        let near_miss = |row: &Row| row.kind == Kind::NearMiss;
        let ruled = |row: &Row| ghosts().contains(&row.slug);
        let shown = |row: &Row| near_miss(row) && row.shows == Shows::Ghost;
        tell("Broken twins that the load shows", &|row| row.kind == Kind::Broken && seen(row), &named);
        tell("Near misses that the load shows", &|row| near_miss(row) && seen(row), &named);
        tell("Of these, those that show the ghost", &shown, &named);
        tell("Of these, those of a ghost that has a rule", &|row| shown(row) && ruled(row), &named);
        tell("Of these, those that were held out", &|row| shown(row) && ruled(row) && row.held_out, &named);
        tell("Near misses that show something else", &|row| near_miss(row) && row.shows == Shows::Other, &named);
        tell("Near misses of which nothing is seen", &|row| near_miss(row) && !seen(row), &quiet);
        tell("Fixed twins", &|row| row.kind == Kind::Fixed, &quiet);
        tell("Right fixes that are not ours", &|row| row.kind == Kind::AlsoRight, &quiet);
        text.push('\n');
        text
    }
}

/// Whether it is a near miss in an odd place.
fn held_out(slug: &str, which: Which) -> bool {
    others(slug)
        .iter()
        .position(|other| *other == which)
        .is_some_and(|place| matches!(which, Which::NearMiss(_)) && place % 2 == 1)
}

/// What the load shows of this twin.
fn shows(runs: &[Run], slug: &str, which: Which) -> Shows {
    let of = |wanted: &dyn Fn(Which) -> bool| {
        let runs = runs.iter().filter(|run| run.slug == slug && wanted(run.which));
        runs.map(|run| numbers(&run.evidence)).collect::<Vec<_>>()
    };
    let right = of(&|other| matches!(other, Which::Fixed | Which::AlsoRight(_)) && other != which);
    let (broken, own) = (of(&|other| other == Which::Broken), of(&|other| other == which));
    let differences = |own: &[Numbers]| (0..NUMBERS).map(|place| differs(&right, own, place)).collect::<Vec<_>>();
    let (ghost, own) = (differences(&broken), differences(&own));
    if own.iter().all(|way| *way == 0) {
        Shows::Nothing
    } else if ghost.iter().zip(&own).any(|(ghost, own)| *own != 0 && ghost == own) {
        Shows::Ghost
    } else {
        Shows::Other
    }
}

const NUMBERS: usize = 18;

/// The means of what the evidence has, after the first seconds, and how far each has to be away for more than a rounding.
type Numbers = [(f64, f64); NUMBERS];

fn numbers(evidence: &Evidence) -> Numbers {
    let samples = evidence.samples.iter().filter(|sample| sample.at_s >= 20.0);
    let points: Vec<&Point> = samples.filter_map(|sample| sample.points.first()).collect();
    let all = points.len().max(1) as f64;
    let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(|point| of(point)).sum::<f64>() / all;
    let mut numbers = [(0.0, 0.0); NUMBERS];
    let report = looks::rows(&Point::default()).map(|(name, _)| name);
    for (row, name) in report.iter().enumerate() {
        let apart = if name.ends_with("in ms") { 20.0 } else { 1.0 };
        numbers[row] = (mean(&|point| looks::rows(point)[row].1), apart);
    }
    let lines =
        |levels: &[&str]| evidence.log.iter().filter(|line| levels.contains(&line.level.as_str())).count() as f64 / all;
    // What fails is rare: one in ten seconds is no rounding.
    numbers[report.len()..].copy_from_slice(&[
        (mean(&|point| (point.errors + point.broken) as f64), 0.1),
        (mean(&|point| point.refused as f64), 0.1),
        (mean(&|point| point.left as f64), 0.1),
        (mean(&|point| f64::from(u8::from(point.probe.is_some_and(|status| status >= 400)))), 0.1),
        (mean(&|point| point.dependency.failed as f64), 0.1),
        (mean(&|point| point.dependency.given_up as f64), 0.1),
        (lines(&["WARN", "ERROR"]), 0.1),
    ]);
    numbers
}

/// Whether this number is above what is right with each seed, or below, or neither.
fn differs(right: &[Numbers], own: &[Numbers], place: usize) -> i8 {
    let of = |numbers: &Numbers| numbers[place].0;
    let apart = own.first().map_or(0.0, |numbers| numbers[place].1);
    let highest = right.iter().map(of).fold(0.0, f64::max);
    let lowest = right.iter().map(of).fold(f64::INFINITY, f64::min);
    if own.iter().all(|own| of(own) > 2.0 * highest + apart) {
        1
    } else if own.iter().all(|own| 2.0 * of(own) + apart < lowest) {
        -1
    } else {
        0
    }
}
