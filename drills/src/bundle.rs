//! An incident bundle, as the classifier reads it: what it holds as evidence, and what it does not hold.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use instruments::{bundle, tasks::Snapshot};
use serde_json::{Map, Value};

use crate::{
    classify::{Cause, Report, Sight, classify_what_is_seen},
    evidence::{End, Ended, Evidence, Line, Point, Sample},
};

/// What speaks for the response hook in a bundle's log.
const OBSERVE: &str = "instruments::observe";
/// How many seconds of requests are needed: the rules compare the first of them with the last.
const LEAST_S: usize = 32;
/// So many tasks of one place that only grow are told.
const LEAST_TASKS: u64 = 5;
/// A course is no longer than the log of a bundle.
const MOST_S: u64 = 3600;

/// Whether these bytes begin as a bundle does.
pub fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The last bundle in a folder of them.
///
/// # Errors
/// If the folder has none; the sentence says so.
pub fn last_in(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // Their names sort by their age.
    let last = names.filter(|name| name.starts_with("incident-") && name.ends_with(".tar.gz")).max();
    last.map(|name| folder.join(name)).ok_or_else(|| {
        "there is no bundle in this folder; bundles are called incident-….tar.gz, and `POST /debug/bundles` takes one"
            .to_owned()
    })
}

/// What a bundle says it may be.
///
/// # Errors
/// If it is none, or its form is newer; the sentence says what is wrong with it.
pub fn classified(bytes: &[u8]) -> Result<Report, String> {
    let parts = bundle::read(bytes).map_err(|why| why.to_string())?;
    let part = |name: &str| {
        let part = parts.iter().find(|part| part.name == name)?;
        Some(String::from_utf8_lossy(&part.bytes).into_owned())
    };
    let manifest: Value = part("manifest.json")
        .and_then(|text| serde_json::from_str(&text).ok())
        .filter(Value::is_object)
        .ok_or("this is no bundle: its manifest.json is no JSON object")?;
    match manifest["schema"].as_u64() {
        Some(1) => {}
        Some(other) => {
            return Err(format!("its schema is {other}, and 1 is what is read here; a newer clone may read it"));
        }
        None => return Err("this is no bundle: its manifest.json has no schema".to_owned()),
    }
    let service = manifest["versions"].as_object().and_then(|versions| versions.keys().next());
    let service = service.map_or("the service", String::as_str);

    let log = part("logs.jsonl").map(|text| Log::read(&text, service));
    let tasks = tasks(part("tasks-before.json"), part("tasks-after.json"))?;
    let (seen, not_visible) = sights(log.as_ref(), tasks.is_some());
    let evidence = log.as_ref().map(|log| log.evidence(service)).unwrap_or_default();
    let mut report = classify_what_is_seen(&evidence, &seen);
    if let Some((before, after)) = &tasks {
        let grown = only_grown(service, before, after);
        // It is told by the tasks alone, where the rule would ask for more.
        report.not_asked.retain(|ghost| grown.as_ref().is_none_or(|grown| grown.ghost != *ghost));
        report.causes.extend(grown);
        report.causes.sort_by(|one, other| other.weight.total_cmp(&one.weight));
    }

    let reason = manifest["reason"].as_str().unwrap_or("of something unknown");
    report.besides.push(format!("it was taken because: {reason}"));
    let cut: Vec<&str> = manifest["cut"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !cut.is_empty() {
        report.besides.push(format!("cut, and so not whole: {}", cut.join(", ")));
    }
    report.besides.extend(log.as_ref().map(Log::told));
    report.besides.extend(tasks.map(|(before, after)| {
        let (from, to) = (before.tasks.len(), after.tasks.len());
        format!("named tasks: {from}, and {to} after {} ms", after.at_ms.saturating_sub(before.at_ms))
    }));
    report.besides.extend(part("metrics.txt").and_then(|text| totals(&text)));
    report.besides.extend(part("trace.json").and_then(|text| slowest(&text)));
    report.not_visible = not_visible;
    Ok(report)
}

fn sights(log: Option<&Log>, tasks: bool) -> (Vec<Sight>, Vec<String>) {
    let (mut seen, mut not_visible) = (Vec::new(), Vec::new());
    match log {
        None => not_visible.push("its log: it was not given to the bundles".to_owned()),
        Some(log) => {
            seen.push(Sight::Log);
            let seconds = log.seconds();
            if log.complete == 0 {
                not_visible.push(format!(
                    "its requests, second by second: the log that the bundles are given has to keep `{OBSERVE}` at DEBUG"
                ));
            } else if seconds < LEAST_S {
                not_visible.push(format!(
                    "its requests for long enough: the log has {seconds} s of them, and {LEAST_S} s are compared"
                ));
            } else {
                seen.push(Sight::Requests);
            }
        }
    }
    not_visible.push(
        if tasks {
            "its tasks, second by second: there are two snapshots"
        } else {
            "its tasks: they were not given to the bundles"
        }
        .to_owned(),
    );
    not_visible.push("the calls of its dependency: no instrument stands there".to_owned());
    (seen, not_visible)
}

/// What `logs.jsonl` holds.
struct Log {
    lines: Vec<Line>,
    /// The requests that have ended, with the millisecond.
    ended: Vec<(u64, Ended)>,
    /// How many of them were complete: those are told at DEBUG.
    complete: usize,
    unreadable: usize,
}

impl Log {
    fn read(text: &str, service: &str) -> Self {
        let mut log = Self { lines: Vec::new(), ended: Vec::new(), complete: 0, unreadable: 0 };
        for line in text.lines() {
            let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
                log.unreadable += 1;
                continue;
            };
            let at_ms = fields.get("ms").and_then(Value::as_u64).unwrap_or_default();
            if fields.get("target").and_then(Value::as_str) == Some(OBSERVE) {
                let ended = ended(&fields);
                log.complete += usize::from(ended.how == End::Complete);
                log.ended.push((at_ms, ended));
                continue;
            }
            let level = fields.get("level").and_then(Value::as_str).unwrap_or_default().to_owned();
            // As in a drill, where the log's level is INFO.
            if ["DEBUG", "TRACE"].contains(&level.as_str()) {
                continue;
            }
            let number = log.lines.len() as u64;
            log.lines.push(Line { number, at_ms, from: service.to_owned(), level, text: said(&fields) });
        }
        log
    }

    /// From the first request to the last.
    fn seconds(&self) -> usize {
        let times = || self.ended.iter().map(|(at_ms, _)| at_ms / 1000);
        let course = times().min().zip(times().max());
        course.map_or(0, |(first, last)| (last - first).min(MOST_S - 1) as usize + 1)
    }

    fn evidence(&self, service: &str) -> Evidence {
        let from = self.ended.iter().map(|(at_ms, _)| at_ms / 1000).min().unwrap_or_default();
        let mut seconds = vec![Vec::new(); self.seconds()];
        for (at_ms, ended) in &self.ended {
            if let Some(second) = seconds.get_mut((at_ms / 1000 - from) as usize) {
                second.push(ended.clone());
            }
        }
        let samples = seconds.iter().enumerate();
        Evidence {
            schema: 1,
            services: vec![service.to_owned()],
            samples: samples.map(|(at, ended)| Sample { at_s: at as f64, points: vec![Point::of(ended)] }).collect(),
            log: self.lines.clone(),
        }
    }

    fn told(&self) -> String {
        let (lines, ended) = (self.lines.len(), self.ended.len());
        let loud = self.lines.iter().filter(|line| ["WARN", "ERROR"].contains(&line.level.as_str())).count();
        let mut told =
            format!("lines of its log: {lines}, of them at WARN or ERROR: {loud}; ends of requests in it: {ended}");
        if self.unreadable > 0 {
            told = format!("{told}; lines that cannot be read: {}", self.unreadable);
        }
        told
    }
}

fn ended(fields: &Map<String, Value>) -> Ended {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    Ended {
        route: text("route").to_owned(),
        preflight: text("method") == "OPTIONS",
        status: fields.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok()),
        how: match text("outcome") {
            "complete" => End::Complete,
            "abandoned" => End::Left,
            _ => End::Broken,
        },
        head_ms: number("head_ms"),
        first_ms: number("first_ms"),
        last_ms: number("last_ms").unwrap_or_default(),
    }
}

/// A line as a log shows it: the message, and then the other fields.
fn said(fields: &Map<String, Value>) -> String {
    let message = fields.get("message").and_then(Value::as_str).unwrap_or_default();
    let ours = ["ms", "level", "target", "message"];
    let others = fields.iter().filter(|(name, _)| !ours.contains(&name.as_str()));
    others.fold(message.to_owned(), |text, (name, value)| format!("{text} {name}={value}"))
}

fn tasks(before: Option<String>, after: Option<String>) -> Result<Option<(Snapshot, Snapshot)>, String> {
    let Some((before, after)) = before.zip(after) else { return Ok(None) };
    let read = |name: &str, text: &str| Snapshot::from_json(text).map_err(|why| format!("{name}: {why}"));
    Ok(Some((read("tasks-before.json", &before)?, read("tasks-after.json", &after)?)))
}

/// Do tasks of one place begin and none of them end? It is what the rule for a running service asks for, in two snapshots.
fn only_grown(service: &str, before: &Snapshot, after: &Snapshot) -> Option<Cause> {
    let difference = before.difference(after);
    let seconds = difference.ms as f64 / 1e3;
    let grown = difference.only_growing(LEAST_TASKS).map(|group| {
        let (name, place) = (&group.name, &group.place);
        format!("in {seconds:.0} s {} tasks `{name}` began at {place}, and none ended", group.started)
    });
    let evidence: Vec<String> = grown.collect();
    (!evidence.is_empty()).then(|| Cause {
        service: service.to_owned(),
        ghost: "orphan-task",
        weight: 0.6,
        evidence,
        first: None,
    })
}

/// The counters, which have no course over time.
fn totals(metrics: &str) -> Option<String> {
    let (mut all, mut failed, mut broken, mut left, mut in_flight) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        if series.starts_with("http_requests_total{") {
            all += value;
            for (is, sum) in [
                (series.contains("status=\"5xx\""), &mut failed),
                (series.contains("outcome=\"failed\"") || series.contains("outcome=\"panicked\""), &mut broken),
                (series.contains("outcome=\"abandoned\""), &mut left),
            ] {
                *sum += if is { value } else { 0.0 };
            }
        } else if series.starts_with("http_requests_in_flight{") {
            in_flight += value;
        }
    }
    (all > 0.0).then(|| {
        format!(
            "since its start: {all} requests, {failed} of them 5xx, {broken} broken off, {left} left by their clients; {in_flight} are in flight"
        )
    })
}

/// The slowest of the last requests, and where most of its time went.
fn slowest(trace: &str) -> Option<String> {
    let trace: Value = serde_json::from_str(trace).ok()?;
    let events = trace["traceEvents"].as_array()?;
    let mut names = BTreeMap::new();
    for event in events.iter().filter(|event| event["name"] == "thread_name") {
        names.insert(event["tid"].as_u64()?, event["args"]["name"].as_str()?);
    }
    let calls: Vec<&Value> = events.iter().filter(|event| event["cat"] == "call").collect();
    let slowest = calls.iter().copied().max_by(|one, other| micros(one, "/dur").total_cmp(&micros(other, "/dur")))?;
    // How long each layer had it to itself, and how long its body went on.
    let within = calls.iter().filter(|event| event["tid"] == slowest["tid"]);
    let times = within.flat_map(|event| {
        let name = event["name"].as_str().unwrap_or_default();
        [
            (micros(event, "/args/itself_us"), format!("in `{name}` itself")),
            (micros(event, "/args/body_us"), format!("for the body of `{name}`")),
        ]
    });
    let (longest, place) = times.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some(format!(
        "the slowest of the last requests, {}, took {:.0} ms, of them {:.0} ms {place}",
        names.get(&slowest["tid"].as_u64()?)?,
        micros(slowest, "/dur") / 1e3,
        longest / 1e3
    ))
}

fn micros(event: &Value, of: &str) -> f64 {
    event.pointer(of).and_then(Value::as_f64).unwrap_or_default()
}
