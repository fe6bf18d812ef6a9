//! The classifier, measured: the twins and near misses under their load, and what it says of each.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use ghosts::{
    Refusal,
    catalogue::{case, ghosts::ALL},
    checkout::Checkout,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    classify::classify,
    evidence::{Evidence, Point},
    field::{Field, Plot, Stand},
    looks,
    services::Which,
};

/// How much faster than a clock it is measured.
pub const SPEED: f64 = 4.0;
/// How many seconds of a drill are measured.
pub const SECONDS: f64 = 80.0;

/// What came of the measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Matrix {
    /// The number of this form, now 1.
    pub schema: u32,
    /// How many seeds the twins were measured with.
    pub seeds: u64,
    /// What was said of each.
    pub rows: Vec<Row>,
    /// How much faster than a clock it was measured.
    pub speed: f64,
    /// What was seen of the fixed twins.
    #[serde(skip)]
    fixed: BTreeMap<&'static str, Vec<f64>>,
}

/// What was said of one twin or near miss.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The ghost.
    pub slug: &'static str,
    /// `broken`, `fixed`, or the name of a near miss.
    pub twin: String,
    /// Whether the load shows that it is not the fixed twin: a number of the bundle's report is more than twice the fixed
    /// twin's, or less than half of it. No rule has a part in this.
    pub shows: bool,
    /// How often each ghost was said first; `-` where nothing was said.
    pub first: Vec<(&'static str, usize)>,
    /// How often its own ghost was among the first three.
    pub among_three: usize,
}

/// Measures the twins of these ghosts with each of these seeds, and their near misses with the first, if they are asked for.
///
/// # Errors
/// If a case cannot be read, or a service cannot be served.
pub fn measure(
    checkout: &Checkout,
    slugs: &[&'static str],
    seeds: u64,
    near_misses: bool,
    speed: f64,
    program: &Path,
) -> Result<Matrix, Refusal> {
    let mut matrix = Matrix { schema: 1, seeds, rows: Vec::new(), speed, fixed: BTreeMap::new() };
    for seed in 0..seeds {
        for which in [Which::Fixed, Which::Broken] {
            matrix.add(checkout, &slugs.iter().map(|slug| (*slug, which)).collect::<Vec<_>>(), seed, program)?;
        }
    }
    let known = |slug: &str| {
        ALL.iter()
            .filter(|ghost| ghost.slug == slug)
            .flat_map(|ghost| ghost.near_misses.iter().map(|near_miss| near_miss.name))
            .collect::<Vec<_>>()
    };
    let most = slugs.iter().map(|slug| known(slug).len()).max().unwrap_or_default();
    for place in 0..if near_misses { most } else { 0 } {
        let stands = slugs.iter().filter_map(|slug| Some((*slug, Which::NearMiss(known(slug).get(place)?))));
        matrix.add(checkout, &stands.collect::<Vec<_>>(), 0, program)?;
    }
    matrix.rows.sort_by_key(|row| (row.slug, place_of(&row.twin)));
    Ok(matrix)
}

fn place_of(twin: &str) -> usize {
    ["broken", "fixed"].iter().position(|known| *known == twin).unwrap_or(2)
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
    let stands = twins.iter().map(|(slug, which)| {
        let drill = case::read(checkout, slug)?.drill;
        let drill = drill.ok_or_else(|| Refusal::new(format!("{slug} has no drill")))?;
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

impl Matrix {
    fn add(
        &mut self,
        checkout: &Checkout,
        twins: &[(&'static str, Which)],
        seed: u64,
        program: &Path,
    ) -> Result<(), Refusal> {
        let evidence = seen(checkout, twins, seed, self.speed, program)?;
        let report = classify(&evidence);
        for (place, ((slug, which), service)) in twins.iter().zip(&evidence.services).enumerate() {
            let numbers = numbers(&evidence, place);
            if *which == Which::Fixed {
                self.fixed.entry(slug).or_insert_with(|| numbers.clone());
            }
            let shows = self.fixed.get(slug).is_some_and(|fixed| differ(fixed, &numbers));
            let said: Vec<&'static str> =
                report.causes.iter().filter(|cause| cause.service == *service).map(|cause| cause.ghost).collect();
            let twin = match which {
                Which::Broken => "broken",
                Which::Fixed => "fixed",
                Which::NearMiss(name) => name,
            };
            let place = self.rows.iter().position(|row| row.slug == *slug && row.twin == twin).unwrap_or_else(|| {
                let (first, twin) = (Vec::new(), twin.to_owned());
                self.rows.push(Row { slug, twin, shows, first, among_three: 0 });
                self.rows.len() - 1
            });
            let row = &mut self.rows[place];
            let first = said.first().copied().unwrap_or("-");
            match row.first.iter_mut().find(|(known, _)| *known == first) {
                Some((_, count)) => *count += 1,
                None => row.first.push((first, 1)),
            }
            row.among_three += usize::from(said.iter().take(3).any(|said| said == slug));
        }
        Ok(())
    }

    /// The matrix as markdown, without the near misses of which nothing is seen and nothing said.
    pub fn markdown(&self) -> String {
        let mut text =
            "| ghost | twin | the load shows it | said first | own ghost among the first three |\n|---|---|---|---|---|\n".to_owned();
        // Of most near misses there is nothing to see, and nothing is said: they are counted below.
        let quiet =
            |row: &&Row| place_of(&row.twin) == 2 && !row.shows && row.first.iter().all(|(said, _)| *said == "-");
        for row in self.rows.iter().filter(|row| !quiet(row)) {
            let runs: usize = row.first.iter().map(|(_, count)| count).sum();
            let said: Vec<String> = row.first.iter().map(|(slug, count)| format!("{slug} {count}")).collect();
            let (slug, twin, said, three) = (row.slug, &row.twin, said.join(", "), row.among_three);
            let shows = if row.shows { "yes" } else { "no" };
            writeln!(text, "| {slug} | {twin} | {shows} | {said} | {three} of {runs} |").expect("into a String");
        }
        let count = |twins: &dyn Fn(&Row) -> bool, right: &dyn Fn(&Row) -> usize| {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| twins(row)).collect();
            let runs: usize = rows.iter().flat_map(|row| &row.first).map(|(_, count)| count).sum();
            format!("{} of {runs}", rows.iter().map(|row| right(row)).sum::<usize>())
        };
        let said =
            |row: &Row, what: &str| row.first.iter().filter(|(said, _)| *said == what).map(|(_, count)| count).sum();
        let own = |row: &Row| said(row, row.slug);
        let nothing = |row: &Row| said(row, "-");
        let three = |row: &Row| row.among_three;
        let is = |twin: &'static str| move |row: &Row| row.twin == twin;
        let near_miss = |shows: bool| move |row: &Row| place_of(&row.twin) == 2 && row.shows == shows;
        writeln!(
            text,
            "\n- Broken twins: the right ghost first {}, among three {}.\n- Fixed twins: nothing claimed {}.\n- Near misses that \
             the load shows: the right ghost first {}, among three {}.\n- Other near misses: nothing claimed {}.",
            count(&is("broken"), &own),
            count(&is("broken"), &three),
            count(&is("fixed"), &nothing),
            count(&near_miss(true), &own),
            count(&near_miss(true), &three),
            count(&near_miss(false), &nothing)
        )
        .expect("into a String");
        text
    }
}

/// The means of what a bundle's report has, after the first seconds.
fn numbers(evidence: &Evidence, place: usize) -> Vec<f64> {
    let points =
        evidence.samples.iter().filter(|sample| sample.at_s >= 20.0).filter_map(|sample| sample.points.get(place));
    let rows: Vec<_> = points.map(looks::rows).collect();
    let mean = |row: usize| rows.iter().map(|point| point[row].1).sum::<f64>() / rows.len().max(1) as f64;
    (0..looks::rows(&Point::default()).len()).map(mean).collect()
}

/// Whether one of the numbers is more than twice the other, and more than a rounding away.
fn differ(one: &[f64], other: &[f64]) -> bool {
    one.iter().zip(other).any(|(one, other)| one.max(*other) > 2.0 * one.min(*other) + 1.0)
}
