//! Which look at a service tells the broken twin from the fixed one, under the same load: measured, and never said by hand.

use std::{fmt::Write, path::Path};

use ghosts::{Refusal, checkout::Checkout};

use crate::{
    classify::classify,
    evidence::{Evidence, Point},
    matrix,
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

/// Measures the twins of all ghosts that can be drilled with each of these seeds; the table as markdown.
///
/// # Errors
/// If a case cannot be read, or a service cannot be served.
pub fn table(checkout: &Checkout, seeds: u64, program: &Path) -> Result<String, Refusal> {
    let slugs: Vec<&'static str> = services::ALL.iter().map(|(slug, _)| *slug).collect();
    let mut seen = vec![[0; DETECTORS.len()]; slugs.len()];
    let mut named = vec![0; slugs.len()];
    for seed in 0..seeds {
        let twins = |which: Which| slugs.iter().map(|slug| (*slug, which)).collect::<Vec<_>>();
        let measured = |which: Which| matrix::seen(checkout, &twins(which), seed, matrix::SPEED, program);
        let (broken, fixed) = (measured(Which::Broken)?, measured(Which::Fixed)?);
        let report = classify(&broken);
        for (place, slug) in slugs.iter().enumerate() {
            for (count, (_, read, apart)) in seen[place].iter_mut().zip(DETECTORS) {
                *count += u64::from(read(&broken, place) > 2.0 * read(&fixed, place) + apart);
            }
            let first = report.causes.iter().find(|cause| cause.service == broken.services[place]);
            named[place] += u64::from(first.is_some_and(|cause| cause.ghost == *slug));
        }
    }
    let names: Vec<&str> = DETECTORS.iter().map(|(name, ..)| *name).chain(["the rules"]).collect();
    let mut text = format!("| ghost | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (place, slug) in slugs.iter().enumerate() {
        let counts = seen[place].iter().chain([&named[place]]).map(|count| match *count {
            0 => "–".to_owned(),
            count if count == seeds => "sees it".to_owned(),
            count => format!("{count} of {seeds}"),
        });
        writeln!(text, "| {slug} | {} |", counts.collect::<Vec<_>>().join(" | ")).expect("into a String");
    }
    Ok(text)
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
