//! Which look tells the broken twin from the fixed one: measured under the same load, or read from what the suites have
//! committed, and never said by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    io::Read,
};

use axum::{Router, body::to_bytes, http::StatusCode};
use flate2::read::MultiGzDecoder;
use ghosts::{
    Refusal,
    catalogue::{case, ghosts::ALL},
    checkout::Checkout,
};
use tokio::{
    runtime::Builder,
    time::{Duration, Instant, sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    classify::classify,
    evidence::{Evidence, Point},
    load,
    matrix::Run,
    part::Part,
    services::{self, Which},
};

/// Both tables, as the book has them.
///
/// # Errors
/// If something committed cannot be read.
pub fn page(checkout: &Checkout, runs: &[Run]) -> Result<String, Refusal> {
    Ok(format!("{}\n{}", before(checkout)?, running(runs)))
}

// ===== What a running service shows =====

/// A look: what it is called, and whether it tells the first from the second. The last needs somebody else, and the others are
/// on the service's own page.
type Detector = (&'static str, fn(&Evidence, &Evidence) -> bool);

const DETECTORS: [Detector; 8] = [
    ("status codes", |broken, fixed| apart(failed(broken), failed(fixed), 0.05)),
    ("P99", |broken, fixed| higher(broken, fixed, |point| point.p99_ms, 20.0)),
    ("first byte", |broken, fixed| higher(broken, fixed, |point| point.first_byte_ms, 20.0)),
    ("WARN and ERROR", |broken, fixed| apart(told(broken), told(fixed), 3.0)),
    ("alerts", |broken, fixed| !alerts(broken).is_subset(&alerts(fixed))),
    ("in flight", |broken, fixed| higher(broken, fixed, |point| point.in_flight as f64, 2.0)),
    ("tasks", |broken, fixed| higher(broken, fixed, tasks_alone, 3.0)),
    ("the dependency", |broken, fixed| {
        higher(broken, fixed, |point| point.dependency.open as f64, 1.0)
            || higher(broken, fixed, |point| point.dependency.failed as f64, 0.5)
            || higher(broken, fixed, |point| point.dependency.given_up as f64, 0.5)
    }),
];

/// Whether a number is more than twice the other, and more than this away from it.
fn apart(broken: f64, fixed: f64, by: f64) -> bool {
    broken > 2.0 * fixed + by
}

fn higher(broken: &Evidence, fixed: &Evidence, of: fn(&Point) -> f64, by: f64) -> bool {
    apart(mean(broken, of), mean(fixed, of), by)
}

/// What the looks at a running service see in these runs, and in which order they see most, as markdown.
pub fn running(runs: &[Run]) -> String {
    let mut names: Vec<&str> = DETECTORS.iter().map(|(name, ..)| *name).collect();
    names.push("the rules");
    let mut text = format!("| ghost | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let mut seen = vec![BTreeSet::new(); DETECTORS.len()];
    for (slug, _) in services::ALL {
        let of = |which: Which, seed: u64| {
            let run = runs.iter().find(|run| run.slug == slug && run.which == which && run.seed == seed);
            run.map(|run| &run.evidence)
        };
        let pairs: Vec<(&Evidence, &Evidence)> =
            (0..).map_while(|seed| Some((of(Which::Broken, seed)?, of(Which::Fixed, seed)?))).collect();
        let told = |(_, tells): &Detector| pairs.iter().filter(|(broken, fixed)| tells(broken, fixed)).count();
        let named = |broken: &Evidence| classify(broken).causes.first().is_some_and(|cause| cause.ghost == slug);
        let mut counts: Vec<usize> = DETECTORS.iter().map(told).collect();
        for (seen, count) in seen.iter_mut().zip(&counts) {
            if 2 * *count > pairs.len() {
                seen.insert(slug);
            }
        }
        counts.push(pairs.iter().filter(|(broken, _)| named(broken)).count());
        let counts = counts.into_iter().map(|count| match count {
            0 => "–".to_owned(),
            count if count == pairs.len() => "sees it".to_owned(),
            count => format!("{count} of {}", pairs.len()),
        });
        writeln!(text, "| `{slug}` | {} |", counts.collect::<Vec<_>>().join(" | ")).expect("into a String");
    }
    format!("<!-- ANCHOR: running -->\n{text}<!-- ANCHOR_END: running -->\n\n{}", order(&names, seen))
}

/// What is on the page of the service comes first: of that the look that sees most, then the one that sees most of the rest, and
/// so on; then the dependency, about which somebody else has to be asked.
fn order(names: &[&str], mut seen: Vec<BTreeSet<&str>>) -> String {
    let all = services::ALL.len();
    let mut text =
        "<!-- ANCHOR: order -->\n| look | alone | and of those not yet seen | together |\n|---|---|---|---|\n"
            .to_owned();
    let alone: Vec<usize> = seen.iter().map(BTreeSet::len).collect();
    let dependency = seen.len() - 1;
    let mut together = 0;
    loop {
        // Of those that see as many, the first.
        let best =
            (0..dependency).rev().max_by_key(|place| seen[*place].len()).filter(|place| !seen[*place].is_empty());
        let place = best.unwrap_or(dependency);
        let new = seen[place].clone();
        if new.is_empty() {
            break;
        }
        seen.iter_mut().for_each(|seen| seen.retain(|slug| !new.contains(slug)));
        together += new.len();
        let (name, alone) = (names[place], alone[place]);
        let new: Vec<String> = new.iter().map(|slug| format!("`{slug}`")).collect();
        writeln!(text, "| {name} | {alone} | {} | {together} of {all} |", new.join(", ")).expect("into a String");
    }
    text + "<!-- ANCHOR_END: order -->\n"
}

fn after(evidence: &Evidence) -> Vec<&Point> {
    let samples = evidence.samples.iter().filter(|sample| sample.at_s >= 20.0);
    samples.filter_map(|sample| sample.points.first()).collect()
}

fn mean(evidence: &Evidence, of: fn(&Point) -> f64) -> f64 {
    let points = after(evidence);
    points.iter().map(|point| of(point)).sum::<f64>() / points.len().max(1) as f64
}

/// The share of requests that were answered 5xx or broke off.
fn failed(evidence: &Evidence) -> f64 {
    share_of_failed(after(evidence))
}

fn share_of_failed<'a>(points: impl IntoIterator<Item = &'a Point>) -> f64 {
    let (failed, all) = points
        .into_iter()
        .fold((0, 0), |(failed, all), point| (failed + point.errors + point.broken, all + point.requests));
    failed as f64 / all.max(1) as f64
}

/// How many lines of the service's own log are at WARN or ERROR.
fn told(evidence: &Evidence) -> f64 {
    evidence.log.iter().filter(|line| ["WARN", "ERROR"].contains(&line.level.as_str())).count() as f64
}

fn tasks_alone(point: &Point) -> f64 {
    point.tasks.saturating_sub(point.connections) as f64
}

/// Which of the five alerts of the instruments fire, and for which route, with ten seconds for their five minutes.
fn alerts(evidence: &Evidence) -> BTreeSet<(&'static str, String)> {
    /// Of which routes it holds at the end of these points; it may be all of them.
    type Holds = fn(&[&Point]) -> Vec<String>;
    const ALERTS: [(&str, Holds, usize); 5] = [
        ("HttpLatencySpike", |points| all(spike(points)), 4),
        ("HttpErrorRatio", errors, 4),
        ("HttpInFlightOnlyGrows", |points| all(grow(points, |point| point.in_flight as f64)), 20),
        ("TasksOnlyGrow", |points| all(grow(points, tasks_alone)), 20),
        ("ProbesDisagree", |points| all(disagree(points)), 4),
    ];
    let points: Vec<&Point> = evidence.samples.iter().filter_map(|sample| sample.points.first()).collect();
    let mut fired = BTreeSet::new();
    for (name, holds, held_for) in ALERTS {
        let mut held = BTreeMap::<String, usize>::new();
        for end in 1..=points.len() {
            let now = holds(&points[..end]);
            held.retain(|route, _| now.contains(route));
            for route in now {
                let held = held.entry(route.clone()).or_default();
                *held += 1;
                if *held == held_for {
                    fired.insert((name, route));
                }
            }
        }
    }
    fired
}

/// An alert that knows no route.
fn all(holds: bool) -> Vec<String> {
    if holds { vec!["*".to_owned()] } else { Vec::new() }
}

/// The window of an alert.
const WINDOW: usize = 10;

/// What came before the window, at most six times as long, and the window.
fn windows<'a, 'b>(points: &'a [&'b Point]) -> Option<(&'a [&'b Point], &'a [&'b Point])> {
    let (before, window) = points.split_at(points.len().saturating_sub(WINDOW));
    (before.len() >= WINDOW).then(|| (&before[before.len().saturating_sub(6 * WINDOW)..], window))
}

fn spike(points: &[&Point]) -> bool {
    let slow = |points: &[&Point]| points.iter().map(|point| point.p99_ms).sum::<f64>() / points.len() as f64;
    windows(points).is_some_and(|(before, window)| slow(window) > 2.5 * slow(before))
}

fn errors(points: &[&Point]) -> Vec<String> {
    let Some((_, window)) = windows(points) else { return Vec::new() };
    let mut routes = BTreeMap::<&str, (u64, u64)>::new();
    for route in window.iter().flat_map(|point| &point.routes) {
        let (errors, requests) = routes.entry(&route.route).or_default();
        *errors += route.errors;
        *requests += route.requests;
    }
    let failing = routes.into_iter().filter(|(_, (errors, requests))| *errors as f64 > 0.05 * *requests as f64);
    let mut failing: Vec<String> = failing.map(|(route, _)| route.to_owned()).collect();
    // What breaks off is not told by route.
    failing.extend(all(share_of_failed(window.iter().copied()) > 0.05));
    failing
}

fn grow(points: &[&Point], of: fn(&Point) -> f64) -> bool {
    let Some(until) = points.len().checked_sub(WINDOW + 2).filter(|until| *until >= WINDOW) else { return false };
    let (before, window) = (&points[until - WINDOW..until], &points[points.len() - WINDOW..]);
    let least = window.iter().map(|point| of(point)).fold(f64::INFINITY, f64::min);
    least > before.iter().map(|point| of(point)).fold(0.0, f64::max)
}

fn disagree(points: &[&Point]) -> bool {
    let Some((_, window)) = windows(points) else { return false };
    let probes: Vec<u16> = window.iter().filter_map(|point| point.probe).collect();
    if probes.is_empty() {
        return false;
    }
    let red = probes.iter().filter(|status| **status >= 500).count() as f64 / probes.len() as f64;
    let traffic = share_of_failed(window.iter().copied());
    (red < 0.05 && traffic > 0.5) || (red > 0.5 && traffic < 0.05)
}

// ===== What is looked at before it runs =====

/// What each look before the service runs sees of every ghost, as markdown: from what the suites have committed, and from one
/// request to each twin.
///
/// # Errors
/// If something committed cannot be read.
pub fn before(checkout: &Checkout) -> Result<String, Refusal> {
    let mut text = "<!-- ANCHOR: before -->\n| ghost | compiler and lints | happy-path test | conformance suite | loom | its specification |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    let (lints, suite) = (checkout.text("book/lints.md")?, checkout.text("book/src/generated/conform/matrix.md")?);
    let mut slugs: Vec<&str> = ALL.iter().map(|ghost| ghost.slug).collect();
    slugs.sort_unstable();
    for slug in slugs {
        let row = |table: &str, begins: String| {
            let row = table.lines().find(|line| line.starts_with(&begins))?;
            row.trim_end_matches(['|', ' ']).rsplit(" | ").next().map(str::to_owned)
        };
        let lint = match row(&lints, format!("| `{slug}` |")) {
            Some(expected) if expected != "none" => format!("sees it: {expected}"),
            _ => "–".to_owned(),
        };
        let snapshot = format!("cases/{slug}/tests/snapshots/reproduces__broken.snap");
        let report = fs::read_to_string(checkout.root().join(&snapshot))
            .map_err(|error| Refusal::new(format!("cannot read {snapshot}: {error}")))?;
        // Where it is no row of the suite's page, its specification holds it against the suite, if it is a middleware.
        let rest = report.lines().find(|line| line.ends_with(" leaves-the-rest-alone"));
        let clauses = match row(&suite, format!("| [`{slug}`]({slug}.md) | broken |")) {
            None if rest.is_none() => "not visible",
            None if rest.is_some_and(|rest| rest.starts_with("  kept ")) => "–",
            Some(falls) if falls.starts_with("nothing") => "–",
            None | Some(_) => "sees it",
        };
        let snapshots = format!("cases/{slug}/tests/snapshots");
        let there = |file: String| checkout.root().join(file).exists();
        let loom = if there(format!("{snapshots}/reproduces__interleaving-broken.snap")) {
            "sees it"
        } else if there(format!("cases/{slug}/src/shared.rs")) {
            "–"
        } else {
            "not visible"
        };
        let broken = report.lines().filter(|line| line.starts_with("  BROKEN ")).count();
        let specification = if broken > 0 { "sees it" } else { "–" };
        let happy = match happy(checkout, slug)? {
            None => "no drill",
            Some(true) => "–",
            Some(false) => "sees it",
        };
        writeln!(text, "| `{slug}` | {lint} | {happy} | {clauses} | {loom} | {specification} |")
            .expect("into a String");
    }
    Ok(text + "<!-- ANCHOR_END: before -->\n")
}

/// Whether the broken twin answers what the fixed one does, when it is asked once for each thing that its clients ask for from
/// the beginning, one after the other, and that the fixed one answers well: status and body are looked at. Nothing where nobody
/// knows how to serve it.
fn happy(checkout: &Checkout, slug: &'static str) -> Result<Option<bool>, Refusal> {
    let Some((serve, drill)) = services::of(slug).zip(case::read(checkout, slug)?.drill) else { return Ok(None) };
    let everyday: Vec<case::Load> = drill.load.into_iter().filter(|load| load.from_s == 0).collect();
    let answers = |which: Which| {
        // Its clock moves when nothing else does, so that nobody waits.
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.map_err(|error| Refusal::new(format!("cannot start a runtime: {error}")))?;
        Ok::<_, Refusal>(runtime.block_on(async {
            let app = serve(which, &Part::new(Instant::now(), 1.0));
            // A service that looks round first has done so.
            sleep(SETTLED).await;
            let mut answers = Vec::new();
            for (kind, load) in everyday.iter().enumerate() {
                answers.push(answer(app.clone(), kind, load).await);
            }
            answers
        }))
    };
    let (broken, fixed) = (answers(Which::Broken)?, answers(Which::Fixed)?);
    let well = broken.iter().zip(&fixed).filter(|(_, (status, _))| status.is_success());
    let same: Vec<bool> = well.map(|(broken, fixed)| broken == fixed).collect();
    if same.is_empty() {
        return Err(Refusal::new(format!("{slug}: its fixed twin answers nothing well")));
    }
    Ok(Some(same.into_iter().all(|same| same)))
}

/// How long a service has run when it is first asked.
const SETTLED: Duration = Duration::from_secs(2);

/// The status, and the text; a stream that never ends has no whole text.
async fn answer(app: Router, kind: usize, load: &case::Load) -> (StatusCode, Option<Vec<u8>>) {
    let answer = app.oneshot(load::asks(kind, "", load, 0)).await.unwrap_or_else(|never| match never {});
    let (status, gzip) = (answer.status(), answer.headers().contains_key("content-encoding"));
    let bytes = timeout(load::PATIENCE, to_bytes(answer.into_body(), usize::MAX)).await;
    let Ok(Ok(bytes)) = bytes else { return (status, None) };
    if !gzip {
        return (status, Some(bytes.to_vec()));
    }
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(&*bytes).read_to_end(&mut text);
    (status, read.ok().map(|_| text))
}
