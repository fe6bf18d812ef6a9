//! Which look at a service tells the broken twin from the fixed one, under the same load: measured, and never said by hand.

use std::fmt::Write;

use crate::{
    classify::classify,
    evidence::{Evidence, Point},
    matrix::Run,
    services::{self, Which},
};

/// A look: what it is called, the number that it reads, and how far apart two numbers have to be beside twice the lower.
type Detector = (&'static str, fn(&Evidence, usize) -> f64, f64);

const DETECTORS: [Detector; 7] = [
    ("status codes", failed, 0.05),
    ("P99", |evidence, place| mean(evidence, place, |point| point.p99_ms), 20.0),
    ("first byte", |evidence, place| mean(evidence, place, |point| point.first_byte_ms), 20.0),
    ("WARN and ERROR", told, 3.0),
    ("in flight", |evidence, place| mean(evidence, place, |point| point.in_flight as f64), 2.0),
    ("tasks", |evidence, place| mean(evidence, place, tasks_alone), 3.0),
    ("the dependency", |evidence, place| mean(evidence, place, unusual), 1.0),
];

/// The table of these runs, as markdown.
pub fn table(runs: &[Run]) -> String {
    let names: Vec<&str> = DETECTORS.iter().map(|(name, ..)| *name).chain(["the rules"]).collect();
    let mut text = format!("| ghost | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (slug, _) in services::ALL {
        let of = |which: Which, seed: u64| {
            let run = runs.iter().find(|run| run.slug == slug && run.which == which && run.seed == seed);
            run.map(|run| &run.evidence)
        };
        let pairs: Vec<(&Evidence, &Evidence)> =
            (0..).map_while(|seed| Some((of(Which::Broken, seed)?, of(Which::Fixed, seed)?))).collect();
        let apart = |(_, read, apart): &Detector| {
            pairs.iter().filter(|(broken, fixed)| read(broken, 0) > 2.0 * read(fixed, 0) + apart).count()
        };
        let named = pairs.iter().filter(|(broken, _)| {
            classify(broken).causes.first().is_some_and(|cause| cause.ghost == slug)
        });
        let counts = DETECTORS.iter().map(apart).chain([named.count()]).map(|count| match count {
            0 => "–".to_owned(),
            count if count == pairs.len() => "sees it".to_owned(),
            count => format!("{count} of {}", pairs.len()),
        });
        writeln!(text, "| {slug} | {} |", counts.collect::<Vec<_>>().join(" | ")).expect("into a String");
    }
    text
}

fn after(evidence: &Evidence, place: usize) -> Vec<&Point> {
    let samples = evidence.samples.iter().filter(|sample| sample.at_s >= 20.0);
    samples.filter_map(|sample| sample.points.get(place)).collect()
}

fn mean(evidence: &Evidence, place: usize, of: fn(&Point) -> f64) -> f64 {
    let points = after(evidence, place);
    points.iter().map(|point| of(point)).sum::<f64>() / points.len().max(1) as f64
}

/// The share of requests that were answered 5xx or broke off.
fn failed(evidence: &Evidence, place: usize) -> f64 {
    let points = after(evidence, place);
    let sum = |of: fn(&Point) -> u64| points.iter().map(|point| of(point)).sum::<u64>() as f64;
    sum(|point| point.errors + point.broken) / sum(|point| point.requests).max(1.0)
}

/// How many lines of the service's own log are at WARN or ERROR.
fn told(evidence: &Evidence, place: usize) -> f64 {
    let lines = evidence.log.iter().filter(|line| line.from == evidence.services[place]);
    lines.filter(|line| ["WARN", "ERROR"].contains(&line.level.as_str())).count() as f64
}

fn tasks_alone(point: &Point) -> f64 {
    point.tasks.saturating_sub(point.connections) as f64
}

/// What is open, failed or given up there.
fn unusual(point: &Point) -> f64 {
    let dependency = &point.dependency;
    (dependency.open + dependency.failed + dependency.given_up) as f64
}
