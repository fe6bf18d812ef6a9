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
    evidence::Evidence,
    field::{Field, Plot, Stand},
    services::{self, Which},
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
}

/// What was said of one twin or near miss.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The ghost.
    pub slug: &'static str,
    /// `broken`, `fixed`, or the name of a near miss.
    pub twin: String,
    /// How often each ghost was said first; `-` where nothing was said.
    pub first: BTreeMap<&'static str, usize>,
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
    program: &Path,
) -> Result<Matrix, Refusal> {
    let mut matrix = Matrix { schema: 1, seeds, rows: Vec::new() };
    for seed in 0..seeds {
        for which in [Which::Broken, Which::Fixed] {
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
    program: &Path,
) -> Result<Evidence, Refusal> {
    let stands = twins.iter().map(|(slug, which)| {
        let drill = case::read(checkout, slug)?.drill;
        let drill = drill.ok_or_else(|| Refusal::new(format!("{slug} has no drill")))?;
        Ok(Stand { slug, which: *which, drill, slowed: false })
    });
    let stands = stands.collect::<Result<Vec<_>, Refusal>>()?;
    let field = Field::begin(Plot { stands, said: Vec::new(), seed, speed: SPEED, program })?;
    let mut ticks = field.ticks();
    let come = async {
        while field.samples_since(0).last().is_none_or(|sample| sample.at_s < SECONDS) {
            // It tells as long as it is there.
            let _ = ticks.changed().await;
        }
    };
    let limit = Duration::from_secs_f64(3.0 * SECONDS / SPEED);
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
        let evidence = seen(checkout, twins, seed, program)?;
        let report = classify(&evidence);
        for ((slug, which), service) in twins.iter().zip(&evidence.services) {
            let said: Vec<&'static str> =
                report.causes.iter().filter(|cause| cause.service == *service).map(|cause| cause.ghost).collect();
            let twin = match which {
                Which::Broken => "broken",
                Which::Fixed => "fixed",
                Which::NearMiss(name) => name,
            };
            let place = self.rows.iter().position(|row| row.slug == *slug && row.twin == twin).unwrap_or_else(|| {
                let (first, twin) = (BTreeMap::new(), twin.to_owned());
                self.rows.push(Row { slug, twin, first, among_three: 0 });
                self.rows.len() - 1
            });
            let row = &mut self.rows[place];
            *row.first.entry(said.first().copied().unwrap_or("-")).or_default() += 1;
            row.among_three += usize::from(said.iter().take(3).any(|said| said == slug));
        }
        Ok(())
    }

    /// The matrix as markdown.
    pub fn markdown(&self) -> String {
        let mut text =
            "| ghost | twin | said first | own ghost among the first three |\n|---|---|---|---|\n".to_owned();
        for row in &self.rows {
            let runs: usize = row.first.values().sum();
            let said: Vec<String> = row.first.iter().map(|(slug, count)| format!("{slug} {count}")).collect();
            let (slug, twin, said, three) = (row.slug, &row.twin, said.join(", "), row.among_three);
            writeln!(text, "| {slug} | {twin} | {said} | {three} of {runs} |").expect("into a String");
        }
        let count = |twins: &dyn Fn(&Row) -> bool, right: &dyn Fn(&Row) -> usize| {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| twins(row)).collect();
            let runs: usize = rows.iter().flat_map(|row| row.first.values()).sum();
            format!("{} of {runs}", rows.iter().map(|row| right(row)).sum::<usize>())
        };
        let own = |row: &Row| row.first.get(row.slug).copied().unwrap_or_default();
        let nothing = |row: &Row| row.first.get("-").copied().unwrap_or_default();
        let three = |row: &Row| row.among_three;
        let is = |twin: &'static str| move |row: &Row| row.twin == twin;
        let near_miss = |row: &Row| place_of(&row.twin) == 2;
        writeln!(
            text,
            "\nBroken twins: the right ghost first {}, among three {}. Fixed twins: nothing claimed {}. Near misses: the right \
             ghost first {}, among three {}, nothing claimed {}.",
            count(&is("broken"), &own),
            count(&is("broken"), &three),
            count(&is("fixed"), &nothing),
            count(&near_miss, &own),
            count(&near_miss, &three),
            count(&near_miss, &nothing)
        )
        .expect("into a String");
        text
    }
}

/// The ghosts that can be measured.
pub fn slugs() -> Vec<&'static str> {
    services::ALL.iter().map(|(slug, _)| *slug).collect()
}
