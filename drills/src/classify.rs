//! The classifier: what the evidence of a drill says it was. A few rules, each a question that on-call would ask; none knows a
//! service, a route or a header.

use std::fmt::Write;

use serde::Serialize;

use crate::evidence::{Evidence, Line, Point};

/// What a classifier says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The number of this form, now 1.
    pub schema: u32,
    /// The causes, the most likely first.
    pub causes: Vec<Cause>,
    /// What a bundle says besides, a sentence each. A drill's evidence says nothing besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<String>,
    /// What a bundle does not have, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_visible: Vec<String>,
    /// The ghosts whose rules ask for what is not visible: nothing is said of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_asked: Vec<&'static str>,
}

/// What a rule asks for, and evidence may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The requests, second by second.
    Requests,
    /// The tasks, second by second.
    Tasks,
    /// The calls of the dependency.
    Dependency,
    /// What the service has logged.
    Log,
}

/// All that a drill's evidence has.
pub const ALL_OF_IT: [Sight; 4] = [Sight::Requests, Sight::Tasks, Sight::Dependency, Sight::Log];

/// A cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cause {
    /// The service.
    pub service: String,
    /// The slug of the ghost.
    pub ghost: &'static str,
    /// How much of what the rule asks for is there, from 0 to 1.
    pub weight: f64,
    /// What was seen, a sentence each.
    pub evidence: Vec<String>,
    /// What to do first, where that is known: the cases say it, and not the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// A service, as the rules see it.
struct View<'a> {
    /// The first seconds, before most of what goes wrong begins.
    before: Vec<&'a Point>,
    /// What came after twenty seconds.
    after: Vec<&'a Point>,
    /// All of it.
    all: Vec<&'a Point>,
    /// What the service has logged.
    log: Vec<&'a Line>,
    /// Whether the calls of its dependency are seen.
    below: bool,
}

/// What a rule says, if it applies: how much of it is there, and what was seen.
type Found = Option<(f64, Vec<String>)>;

type Rule = fn(&View<'_>) -> Found;

const RULES: [(&str, Rule, &[Sight]); 15] = [
    ("leaked-permit", nothing_comes_back, &[Sight::Requests, Sight::Dependency]),
    ("ignored-deadline", work_outlives_its_answer, &[Sight::Requests, Sight::Dependency]),
    ("silenced-error", failures_are_not_told, &[Sight::Requests, Sight::Dependency, Sight::Log]),
    ("lying-health-check", all_is_green, &[Sight::Requests, Sight::Dependency]),
    ("blocked-log-channel", all_wait_for_one, &[Sight::Requests, Sight::Tasks, Sight::Dependency]),
    ("no-bulkhead", the_slow_take_all_places, &[Sight::Requests, Sight::Dependency]),
    ("orphan-task", what_runs_only_grows, &[Sight::Requests, Sight::Tasks, Sight::Dependency]),
    ("hidden-flush", the_first_byte_comes_last, &[Sight::Requests]),
    ("swallowed-panic", panics_are_no_errors, &[Sight::Requests, Sight::Log]),
    ("cancelled-cleanup", what_is_held_stays_held, &[Sight::Requests, Sight::Dependency]),
    ("unread-body", connections_stay_open, &[Sight::Requests, Sight::Dependency]),
    ("broken-chain", ends_are_missing, &[Sight::Requests, Sight::Tasks, Sight::Dependency]),
    ("unready-clone", what_was_not_asked_is_called, &[Sight::Log]),
    ("body-double-close", what_goes_wrong_there_is_not_told, &[Sight::Requests, Sight::Dependency]),
    ("layer-order", who_asks_comes_too_late, &[Sight::Requests, Sight::Dependency]),
];

/// The ghosts that a rule asks for. Those that change no number are for people.
pub fn ghosts() -> Vec<&'static str> {
    RULES.iter().map(|(ghost, ..)| *ghost).collect()
}

/// Until this second nothing has gone wrong yet.
const BEFORE_S: f64 = 12.0;
/// From this second on it is looked at.
const AFTER_S: f64 = 20.0;
/// What is less likely than this is no cause.
const LEAST: f64 = 0.5;

/// Ranks what may be the cause.
pub fn classify(evidence: &Evidence) -> Report {
    classify_what_is_seen(evidence, &ALL_OF_IT)
}

/// The same, where not all is seen: a rule that asks for something else is not asked.
pub fn classify_what_is_seen(evidence: &Evidence, seen: &[Sight]) -> Report {
    let asked = |needs: &[Sight]| needs.iter().all(|needed| seen.contains(needed));
    let mut causes = Vec::new();
    for (place, service) in evidence.services.iter().enumerate() {
        let between = |from: f64, until: f64| {
            let samples = evidence.samples.iter().filter(|sample| (from..until).contains(&sample.at_s));
            samples.filter_map(|sample| sample.points.get(place)).collect::<Vec<_>>()
        };
        let view = View {
            before: between(0.0, BEFORE_S),
            after: between(AFTER_S, f64::INFINITY),
            all: between(0.0, f64::INFINITY),
            log: evidence.log.iter().filter(|line| line.from == *service).collect(),
            below: seen.contains(&Sight::Dependency),
        };
        let too_short = view.before.is_empty() || view.after.len() < 10;
        for (ghost, rule, needs) in RULES {
            // What is read from the log alone can be read at once.
            if !asked(needs) || (too_short && needs != [Sight::Log]) {
                continue;
            }
            if let Some((weight, evidence)) = rule(&view).filter(|(weight, _)| *weight >= LEAST) {
                causes.push(Cause { service: service.clone(), ghost, weight, evidence, first: None });
            }
        }
    }
    causes.sort_by(|one, other| other.weight.total_cmp(&one.weight));
    let not_asked = RULES.iter().filter(|(.., needs)| !asked(needs)).map(|(ghost, ..)| *ghost).collect();
    Report { schema: 1, causes, besides: Vec::new(), not_visible: Vec::new(), not_asked }
}

impl Report {
    /// The report as markdown.
    pub fn markdown(&self) -> String {
        let mut text = "# What it may be\n".to_owned();
        if self.causes.is_empty() {
            text += "\nNothing that is known here. That rules nothing out.\n";
        }
        for (place, cause) in self.causes.iter().enumerate() {
            let (number, percent) = (place + 1, cause.weight * 100.0);
            write!(text, "\n## {number}. `{}` in {}, {percent:.0} %\n\n", cause.ghost, cause.service)
                .expect("a String");
            for seen in &cause.evidence {
                writeln!(text, "- {seen}").expect("a String");
            }
            if let Some(first) = &cause.first {
                writeln!(text, "\nFirst: {first}.").expect("a String");
            }
        }
        for (title, sentences) in [("What it says besides", &self.besides), ("Not visible", &self.not_visible)] {
            if !sentences.is_empty() {
                write!(text, "\n## {title}\n\n- {}\n", sentences.join("\n- ")).expect("a String");
            }
        }
        if !self.not_asked.is_empty() {
            let ghosts: Vec<String> = self.not_asked.iter().map(|ghost| format!("`{ghost}`")).collect();
            writeln!(text, "\nSo nothing is said of {}.", ghosts.join(", ")).expect("a String");
        }
        text
    }
}

// ===== The rules =====

/// Does everything wait in vain, while the dependency is not even asked, or asked by a few, and is as quick as ever?
fn nothing_comes_back(view: &View<'_>) -> Found {
    let end = last(&view.after, 15);
    let refused = share(sum(end, |point| point.errors), sum(end, |point| point.requests));
    let (asked, before) = (mean(end, calls), mean(&view.before, calls));
    let (waits, waited) = (mean(end, |point| point.p50_ms), mean(&view.before, |point| point.p50_ms));
    let (in_flight, open) = (mean(end, |point| point.in_flight as f64), mean(end, open));
    let (takes, took) =
        (mean(end, |point| point.dependency.mean_ms), mean(&view.before, |point| point.dependency.mean_ms));
    if sum(end, |point| point.requests) < 5.0 || before <= 0.0 || waits < 5.0 * waited.max(10.0) {
        return None;
    }
    let idle = 1.0 - (asked / before).min(1.0);
    let mut evidence = vec![
        format!(
            "{} of the last requests are refused, after {waits:.0} ms each; before, one took {waited:.0} ms",
            percent(refused)
        ),
        format!(
            "its dependency had {before:.1} calls a second, and has {asked:.1} now: they wait for something inside"
        ),
    ];
    // A place or two may be left, for which all of them wait.
    let outside = 1.0 - (open / in_flight.max(1.0)).min(1.0);
    // Where nothing ends there and something is open, they may wait for that.
    let likely = if asked == 0.0 && open > 0.5 { 0.65 } else { 0.9 };
    let queue = if in_flight >= 4.0 && takes <= 2.0 * took { likely * outside } else { 0.0 };
    if queue > LEAST {
        evidence.push(format!("{in_flight:.0} requests are in flight, and {open:.1} calls are open there"));
    }
    Some((refused.min(idle).max(queue), evidence))
}

/// Does the dependency work for requests that were refused late, and come back to rest?
fn work_outlives_its_answer(view: &View<'_>) -> Found {
    let after = &view.after;
    let (open, in_flight) = (mean(after, open), mean(after, |point| point.in_flight as f64));
    let refused = share(sum(after, |point| point.errors), sum(after, |point| point.requests));
    let given_up = share(sum(after, |point| point.dependency.given_up), sum(after, |point| point.dependency.calls));
    let (half, slowest) = (mean(after, |point| point.p50_ms), mean(after, |point| point.p99_ms));
    if open < in_flight + 2.0 || refused < 0.03 || given_up > 0.1 || slowest < 4.0 * half || grows(after, self::open) {
        return None;
    }
    Some((
        (1.4 - in_flight / open).min(1.0),
        vec![
            format!(
                "{open:.1} calls are open at its dependency, and {in_flight:.1} requests in flight: the rest is for requests that are over"
            ),
            format!("{} of the requests are refused, and none of the calls is given up", percent(refused)),
        ],
    ))
}

/// Does it fail, and does its log have a line for it, and none that says so?
fn failures_are_not_told(view: &View<'_>) -> Found {
    let failed = sum(&view.after, |point| point.errors + point.broken);
    let below = sum(&view.after, |point| point.dependency.failed);
    let told = view.log.iter().filter(|line| ["ERROR", "WARN"].contains(&line.level.as_str())).count();
    let lines = view.log.len() as f64;
    if failed < 5.0 || below < failed / 2.0 || lines < failed / 2.0 || told > 0 {
        return None;
    }
    Some((
        0.9,
        vec![
            format!("{failed:.0} requests have failed, and {below:.0} calls of its dependency"),
            format!("of {lines:.0} lines in its log none is a WARN or an ERROR"),
        ],
    ))
}

/// Does its dependency fail each call, while requests or probe are answered as if nothing was, or requests alone? Or does the
/// probe say no for long, while no call fails?
fn all_is_green(view: &View<'_>) -> Found {
    let red = |point: &&Point| point.probe.is_some_and(|status| status >= 400) && point.dependency.failed == 0;
    let longest = view.after.split(|point| !red(point)).map(<[_]>::len).max().unwrap_or_default();
    let red = (longest >= 8)
        .then(|| format!("for {longest} seconds the probe said no, and no call of its dependency failed"));
    let down = |point: &&&Point| point.dependency.failed > 0 && point.dependency.served == 0 && point.requests > 0;
    let down: Vec<&Point> = view.after.iter().filter(down).copied().collect();
    if down.len() < 5 {
        return red.map(|evidence| (0.8, vec![evidence]));
    }
    let (failed, told) = (sum(&down, |point| point.dependency.failed), sum(&down, |point| point.errors));
    let quiet = 1.0 - share(told, failed).min(1.0);
    let probes: Vec<u16> = down.iter().filter_map(|point| point.probe).collect();
    let green = share(probes.iter().filter(|status| **status < 400).count() as f64, probes.len() as f64);
    let mut evidence = vec![format!(
        "in {} seconds each call of its dependency failed, {failed:.0} in all, and {told:.0} requests were answered as an error",
        down.len()
    )];
    if !probes.is_empty() {
        evidence.push(format!("in {} of them the probe was answered that all is well", percent(green)));
    }
    let weight = if probes.is_empty() { quiet * 0.8 } else { quiet.max(green * 0.9) };
    let asked = sum(&down, |point| point.requests);
    let goes_on = failed >= 0.7 * asked;
    if goes_on {
        evidence
            .push(format!("{asked:.0} requests came meanwhile: whatever the probe says, nobody sends them elsewhere"));
    }
    let alone = only_the_probe_is_told(view);
    let weight = [(red.is_some(), 0.8), (alone.is_some(), 0.75), (goes_on, 0.6)]
        .iter()
        .filter(|(is, _)| *is)
        .fold(weight, |so_far, (_, at_least)| so_far.max(*at_least));
    evidence.extend(alone);
    evidence.extend(red);
    Some((weight, evidence))
}

fn only_the_probe_is_told(view: &View<'_>) -> Option<String> {
    let told = |point: &&&Point| {
        let down = point.probe.is_some_and(|status| status >= 400) && point.dependency.served == 0;
        down && point.requests >= 3 && 3 * point.errors <= point.requests
    };
    let told: Vec<&Point> = view.after.iter().filter(told).copied().collect();
    let (asked, failed) = (sum(&told, |point| point.requests), sum(&told, |point| point.errors));
    (told.len() >= 5).then(|| {
        format!(
            "for {} seconds the probe said no and its dependency served nothing, and of {asked:.0} requests {failed:.0} were answered as an error",
            told.len()
        )
    })
}

/// Do all requests stop at once, and go on at once, while the dependency has something open? It may be tasks that wait for them.
fn all_wait_for_one(view: &View<'_>) -> Found {
    let answered = |point: &Point| point.requests.saturating_sub(point.left);
    let stands = |point: &&Point| answered(point) == 0 && point.in_flight >= 4 && point.dependency.calls == 0;
    let longest = view.after.split(|point| !stands(point)).map(<[_]>::len).max().unwrap_or_default();
    let goes_on = last(&view.after, view.after.len()).windows(2).filter(|two| stands(&two[0]) && answered(two[1]) > 0);
    let goes_on = goes_on.map(|two| answered(two[1])).max().unwrap_or_default();
    let refused = share(sum(&view.after, |point| point.errors), sum(&view.after, |point| point.requests));
    if longest < 5 || refused > 0.05 {
        return tasks_wait_for_one(view);
    }
    let most = view.after.iter().map(|point| point.in_flight).max().unwrap_or_default();
    let mut evidence = vec![format!(
        "for {longest} seconds no request was answered, up to {most} were in flight, and none was refused"
    )];
    if goes_on > 0 {
        evidence.push(format!("then {goes_on} ended in a second: they had waited for one thing"));
    }
    Some((if goes_on > 0 { 0.95 } else { 0.7 }, evidence))
}

fn tasks_wait_for_one(view: &View<'_>) -> Found {
    let waits = |point: &&Point| point.dependency.calls == 0 && point.dependency.open > 0;
    let more = |run: &[&Point]| run.last().zip(run.first()).map_or(0.0, |(end, begin)| beyond(end) - beyond(begin));
    let run = view.after.split(|point| !waits(point)).filter(|run| run.len() >= 5);
    let run = run.max_by(|one, other| more(one).total_cmp(&more(other)))?;
    let (grown, least) = (more(run), view.after.iter().map(|point| beyond(point)).fold(f64::INFINITY, f64::min));
    if grown < 10.0 || grown < 4.0 * least.max(1.0) {
        return None;
    }
    Some((
        0.8,
        vec![format!(
            "for {} seconds its dependency had one call open and began none, and meanwhile {grown:.0} tasks came and none went",
            run.len()
        )],
    ))
}

/// Is a quick kind of request refused, because a slow kind has the places? Or does nothing stand between them at all?
fn the_slow_take_all_places(view: &View<'_>) -> Found {
    let failed = share(sum(&view.after, |point| point.dependency.failed), sum(&view.after, calls_of));
    let routes = routes(&view.after);
    let quick =
        routes.iter().filter(|route| route.served_ms > 0.0).min_by(|a, b| a.served_ms.total_cmp(&b.served_ms))?;
    let slow = routes.iter().max_by(|a, b| a.served_ms.total_cmp(&b.served_ms))?;
    if slow.served_ms < 5.0 * quick.served_ms || failed > 0.02 {
        return None;
    }
    let ratio = slow.served_ms / quick.served_ms;
    let slower = format!("another route of the same service takes {ratio:.0} times as long");
    if quick.refused >= 0.05 {
        let refused = format!(
            "{} of the requests of a quick route are refused, and no call of the dependency has failed",
            percent(quick.refused)
        );
        return Some((0.9_f64.min(0.6 + quick.refused), vec![refused, slower]));
    }
    let (was, is) = (mean(&view.before, open), mean(last(&view.after, 20), open));
    let busy = slow.busy_ms / routes.iter().map(|route| route.busy_ms).sum::<f64>();
    if slow.refused > 0.0 || is < 5.0 * was.max(1.0) || busy < 0.8 {
        return None;
    }
    let places = format!(
        "{was:.0} calls were open at its dependency, and then {is:.0}: {} of the time is the slow route's, and none of it is refused",
        percent(busy)
    );
    Some((0.7, vec![places, slower]))
}

/// Do tasks and what is open at the dependency only grow, while the requests in flight don't?
fn what_runs_only_grows(view: &View<'_>) -> Found {
    let in_flight = |point: &Point| point.in_flight as f64;
    let (tasks, open) = (grows(&view.after, beyond), grows(&view.after, open));
    let failed = sum(&view.after, |point| point.errors + point.dependency.failed);
    if !tasks || grows(&view.after, in_flight) || failed > 0.0 {
        return None;
    }
    let (from, to) = ends(&view.after, beyond);
    let (opened, now) = ends(&view.after, self::open);
    Some((
        if open { 0.95 } else { 0.7 },
        vec![
            format!("tasks beside those of its connections: {from:.0}, and then {to:.0}; they never came down"),
            format!("open at its dependency: {opened:.0}, and then {now:.0}; the requests in flight did not grow"),
        ],
    ))
}

/// Do handlers panic, and is that no error, or none with an answer? Or does every request fail since one of them did?
fn panics_are_no_errors(view: &View<'_>) -> Found {
    let panics = view.log.iter().filter(|line| line.text.contains("panicked")).count() as f64;
    let failed = sum(&view.after, |point| point.errors + point.broken);
    if panics < 3.0 {
        return None;
    }
    if failed <= panics / 4.0 {
        return Some((
            0.95,
            vec![format!("its log tells of {panics:.0} panics, and {failed:.0} requests ended as an error")],
        ));
    }
    let cut = sum(&view.after, |point| point.broken);
    if cut > failed / 2.0 {
        let ends = format!("of {failed:.0} requests that failed, {cut:.0} broke off and were answered nothing");
        return Some((0.8, vec![format!("its log tells of {panics:.0} panics"), ends]));
    }
    let end = last(&view.after, 15);
    let lost = share(sum(end, |point| point.errors + point.broken), sum(end, |point| point.requests));
    if lost < 0.9 || !view.below || mean(end, calls) > 0.1 * mean(&view.before, calls) {
        return None;
    }
    let now = format!("{} of the last requests fail, and its dependency is not asked any more", percent(lost));
    Some((0.85, vec![format!("its log tells of {panics:.0} panics"), now]))
}

/// Does the dependency refuse more and more since clients leave, and is that no error?
fn what_is_held_stays_held(view: &View<'_>) -> Found {
    let left = sum(&view.all, |point| point.left);
    let refused = |points: &[&Point]| share(sum(points, |point| point.dependency.failed), sum(points, calls_of));
    let (before, end) = (refused(&view.before), refused(last(&view.after, 20)));
    let failed = share(sum(&view.after, |point| point.errors), sum(&view.after, |point| point.requests));
    if left < 1.0 || end < before + 0.1 || end < 3.0 * before || failed > 0.02 {
        return None;
    }
    Some((
        0.85,
        vec![
            format!("{left:.0} clients have left before their answer"),
            format!(
                "its dependency refused {} of its calls before, and {} in the end; none is told as an error",
                percent(before),
                percent(end)
            ),
        ],
    ))
}

/// Does what is open at the dependency only grow, by as much as fails there, and the tasks with it? Or has nothing moved since a
/// call failed?
fn connections_stay_open(view: &View<'_>) -> Found {
    let failed = sum(&view.after, |point| point.dependency.failed);
    let (from, to) = (mean(&view.before, open), mean(last(&view.after, 5), open));
    let in_flight = mean(last(&view.after, 5), |point| point.in_flight as f64);
    let refused = share(sum(&view.after, |point| point.errors), sum(&view.after, |point| point.requests));
    // A busy second opens a few more: it has to be more for most of the time.
    let third = view.after.len() / 3;
    let halfway = mean(&view.after[third..2 * third], open);
    let stays = to >= from + 15.0 && halfway >= from + 10.0 && !falls(&view.after, open);
    if failed < 5.0 || refused < 0.03 || to < 5.0 * in_flight.max(1.0) || !stays {
        return nothing_moves_since_a_failure(view);
    }
    Some((
        0.9,
        vec![
            format!(
                "open at its dependency: {from:.0}, and then {to:.0}, with {in_flight:.0} requests in flight; it never fell"
            ),
            format!("{failed:.0} calls have failed there, and {} of the requests", percent(refused)),
        ],
    ))
}

fn nothing_moves_since_a_failure(view: &View<'_>) -> Found {
    let stands = |point: &&&Point| point.dependency.calls == 0 && point.dependency.open > 0 && point.in_flight > 0;
    let still = view.all.iter().rev().take_while(stands).count();
    let failure = view.all.len().checked_sub(still + 5).map(|from| &view.all[from..view.all.len() - still])?;
    let failed = sum(failure, |point| point.dependency.failed);
    if still < 20 || failed == 0.0 {
        return None;
    }
    Some((
        0.8,
        vec![format!(
            "for {still} seconds its dependency has been asked nothing, and has something open; just before, a call failed there"
        )],
    ))
}

/// Does what has begun elsewhere not end there, while nothing else grows?
fn ends_are_missing(view: &View<'_>) -> Found {
    let failed = sum(&view.after, |point| point.errors + point.dependency.failed);
    let in_flight = |point: &Point| point.in_flight as f64;
    if !grows(&view.after, open) || grows(&view.after, beyond) || grows(&view.after, in_flight) || failed > 0.0 {
        return None;
    }
    let (from, to) = ends(&view.after, open);
    Some((
        0.9,
        vec![
            format!("what it has begun elsewhere and not ended: {from:.0}, and then {to:.0}"),
            "neither its tasks nor its requests in flight grow, and none fails".to_owned(),
        ],
    ))
}

/// Does the first byte come with the last, long after the head? Or do heads come, and bodies not end any more?
fn the_first_byte_comes_last(view: &View<'_>) -> Found {
    let busy: Vec<&Point> = view.after.iter().filter(|point| point.requests > 0).copied().collect();
    let (head, first) = (mean(&busy, |point| point.head_ms), mean(&busy, |point| point.first_byte_ms));
    let whole = mean(&busy, |point| point.p95_ms);
    if whole < 5.0 * head + 50.0 {
        return None;
    }
    let times = format!(
        "the head comes after {head:.0} ms, the first byte after {first:.0} ms, and the last after {whole:.0} ms"
    );
    if first >= 0.8 * whole {
        return Some(((first / whole).min(0.95), vec![times]));
    }
    let leave = |points: &[&Point]| share(sum(points, |point| point.left), sum(points, |point| point.requests));
    let (before, end) = (leave(&view.before), leave(last(&view.after, 20)));
    (before < 0.1 && end > 0.5)
        .then(|| (0.7, vec![times, format!("{} of the clients leave before the last", percent(end))]))
}

/// Do handlers panic because what they call has not been asked whether it is ready? Whoever insists on that says it in these words.
fn what_was_not_asked_is_called(view: &View<'_>) -> Found {
    let says = |line: &&&Line| line.text.contains("panicked") && line.text.contains("poll_ready");
    let panics = view.log.iter().filter(says).count();
    if panics < 3 {
        return None;
    }
    Some((
        0.98,
        vec![format!(
            "its log tells of {panics} panics, each because `poll_ready` comes first, and what was called has reserved nothing"
        )],
    ))
}

/// Do calls of the dependency go wrong among others that go well, and does no client get to know, neither by a 5xx nor by a 4xx?
fn what_goes_wrong_there_is_not_told(view: &View<'_>) -> Found {
    let failed = sum(&view.after, |point| point.dependency.failed);
    let told = sum(&view.after, |point| point.errors + point.broken + point.refused);
    let wrong = |points: &[&Point]| share(sum(points, |point| point.dependency.failed), sum(points, calls_of));
    let (before, after) = (wrong(&view.before), wrong(&view.after));
    let fails: Vec<&Point> = view.after.iter().filter(|point| point.dependency.failed > 0).copied().collect();
    // Where all fail for a while, it is down.
    let among = share(fails.iter().filter(|point| point.dependency.served > 0).count() as f64, fails.len() as f64);
    if failed < 5.0 || told > 0.2 * failed || after < before + 0.05 || among < 0.7 {
        return None;
    }
    Some((
        0.8,
        vec![
            format!(
                "{} of the calls of its dependency went wrong before, and {} since: {failed:.0}, each among others that went well",
                percent(before),
                percent(after)
            ),
            format!("{told:.0} requests were refused or failed: what goes wrong there is answered as if it was well"),
        ],
    ))
}

/// Is a preflight refused for who asks, though it cannot say so yet? Or does some request wait for long, and is it never refused
/// and its call never given up: does a deadline stand too far inside?
fn who_asks_comes_too_late(view: &View<'_>) -> Found {
    let preflights = sum(&view.after, |point| point.preflights_refused);
    if preflights >= 5.0 {
        let seen = format!(
            "{preflights:.0} times `OPTIONS` was answered 401, 403 or 429: whoever asks whether they may ask has no credentials yet"
        );
        return Some((0.9, vec![seen]));
    }
    let slow = |point: &&&Point| point.p99_ms >= 1000.0 && point.p99_ms >= 10.0 * point.p50_ms.max(1.0);
    let slow: Vec<&Point> = view.after.iter().filter(slow).copied().collect();
    let routes = routes(&view.after);
    let times = || routes.iter().map(|route| route.served_ms);
    let ratio = times().fold(0.0, f64::max) / times().fold(f64::INFINITY, f64::min).max(1.0);
    let oldest = view.after.iter().map(|point| point.dependency.oldest_ms).fold(0.0, f64::max);
    let waits = slow.iter().map(|point| point.p99_ms).fold(0.0, f64::max);
    let ends = sum(&view.after, |point| {
        point.errors + point.broken + point.left + point.dependency.failed + point.dependency.given_up
    });
    // What waits does so for the dependency, and has it: nobody queues before it.
    let queue = mean(&view.after, |point| point.in_flight as f64) - mean(&view.after, open);
    if slow.len() < 5 || ends > 0.0 || ratio > 5.0 || oldest < 0.5 * waits || queue.abs() > 2.0 {
        return None;
    }
    Some((
        0.6,
        vec![format!(
            "in {} seconds a request took {waits:.0} ms at most where half take {:.0} ms, while a call of its dependency went on; none is refused, and no call is given up",
            slow.len(),
            mean(&slow, |point| point.p50_ms)
        )],
    ))
}

// ===== What the rules count with =====

fn calls(point: &Point) -> f64 {
    point.dependency.calls as f64
}

fn calls_of(point: &Point) -> u64 {
    point.dependency.calls
}

/// Tasks beside those of its connections.
fn beyond(point: &Point) -> f64 {
    point.tasks as f64 - point.connections as f64
}

fn open(point: &Point) -> f64 {
    point.dependency.open as f64
}

fn sum(points: &[&Point], of: impl Fn(&Point) -> u64) -> f64 {
    points.iter().map(|point| of(point)).sum::<u64>() as f64
}

fn mean(points: &[&Point], of: impl Fn(&Point) -> f64) -> f64 {
    points.iter().map(|point| of(point)).sum::<f64>() / points.len().max(1) as f64
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn last<'a, 'b>(points: &'a [&'b Point], count: usize) -> &'a [&'b Point] {
    &points[points.len().saturating_sub(count)..]
}

/// The mean of the first and of the last third.
fn ends(points: &[&Point], of: impl Fn(&Point) -> f64) -> (f64, f64) {
    let third = points.len() / 3;
    (mean(&points[..third], &of), mean(&points[points.len() - third..], &of))
}

/// Whether something is higher in each quarter than in the one before, and in the end twice what it was.
fn grows(points: &[&Point], of: impl Fn(&Point) -> f64) -> bool {
    let quarters: Vec<f64> = points.chunks(points.len().div_ceil(4)).map(|quarter| mean(quarter, &of)).collect();
    let (first, end) = (quarters[0], quarters[quarters.len() - 1]);
    quarters.is_sorted_by(|one, next| one < next) && end > first + 3.0 && end > 1.5 * first
}

/// Whether something ever falls by more than a quarter from one fifth to the next.
fn falls(points: &[&Point], of: impl Fn(&Point) -> f64) -> bool {
    let fifths: Vec<f64> = points.chunks(points.len().div_ceil(5)).map(|fifth| mean(fifth, &of)).collect();
    fifths.windows(2).any(|two| two[1] < 0.75 * two[0])
}

/// A route over the whole time.
struct Routed {
    refused: f64,
    served_ms: f64,
    /// How long those that were served took together.
    busy_ms: f64,
}

fn routes(points: &[&Point]) -> Vec<Routed> {
    let mut names: Vec<&str> =
        points.iter().flat_map(|point| &point.routes).map(|route| route.route.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let told = names.into_iter().filter_map(|name| {
        let seen: Vec<_> = points.iter().flat_map(|point| &point.routes).filter(|route| route.route == name).collect();
        let (requests, errors) = seen.iter().fold((0, 0), |(a, b), route| (a + route.requests, b + route.errors));
        let whole: f64 = seen.iter().map(|route| route.served_ms * (route.requests - route.errors) as f64).sum();
        (requests >= 5).then(|| Routed {
            refused: errors as f64 / requests as f64,
            served_ms: whole / (requests - errors).max(1) as f64,
            busy_ms: whole,
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Dependency, Sample};

    fn evidence(point: impl Fn(u32) -> Point) -> Evidence {
        let samples = (1..80).map(|second| Sample { at_s: f64::from(second), points: vec![point(second)] });
        Evidence { schema: 1, services: vec!["some".to_owned()], samples: samples.collect(), log: Vec::new() }
    }

    fn calm() -> Point {
        let dependency = Dependency { calls: 8, served: 8, ..Dependency::default() };
        Point {
            requests: 8,
            p50_ms: 40.0,
            p95_ms: 42.0,
            p99_ms: 42.0,
            head_ms: 40.0,
            first_byte_ms: 40.0,
            dependency,
            ..Point::default()
        }
    }

    #[test]
    fn nothing_is_claimed_of_a_calm_service() {
        assert_eq!(classify(&evidence(|_| calm())).causes, []);
    }

    #[test]
    fn a_pool_that_is_empty_for_good_is_told_with_its_evidence() {
        let mut report = classify(&evidence(|second| match second {
            ..30 => calm(),
            _ => Point { errors: 8, p50_ms: 800.0, dependency: Dependency::default(), ..calm() },
        }));
        let [cause] = report.causes.as_mut_slice() else { panic!("{report:?}") };
        assert_eq!((cause.ghost, cause.service.as_str()), ("leaked-permit", "some"));
        cause.first = Some("restart".to_owned());
        let text = report.markdown();
        assert!(
            text.starts_with(
                "# What it may be\n\n## 1. `leaked-permit` in some, 100 %\n\n- 100 % of the last requests"
            ),
            "{text}"
        );
        assert!(text.ends_with("\nFirst: restart.\n"), "{text}");
    }

    #[test]
    fn a_service_that_fails_for_a_while_and_recovers_is_none() {
        let report = classify(&evidence(|second| match second {
            30..45 => Point { errors: 8, p50_ms: 800.0, dependency: Dependency::default(), ..calm() },
            _ => calm(),
        }));
        assert_eq!(report.causes, []);
    }

    /// What is said of a service that is calm until second 30.
    fn said(point: impl Fn(u32) -> Point) -> Vec<&'static str> {
        let report = classify(&evidence(|second| if second < 30 { calm() } else { point(second) }));
        report.causes.iter().map(|cause| cause.ghost).collect()
    }

    #[test]
    fn a_pool_with_one_place_left_is_told_by_who_waits_outside() {
        let queue = |requests| Point {
            in_flight: 25,
            p50_ms: 800.0,
            dependency: Dependency { calls: requests, served: requests, open: 1, ..Dependency::default() },
            ..calm()
        };
        assert_eq!(said(|_| queue(6)), ["leaked-permit"]);
        // It waits for a dependency that is slow.
        let slow = |second| {
            let mut point = queue(6);
            point.dependency = Dependency { open: 25, mean_ms: 800.0, ..point.dependency };
            if second < 30 { calm() } else { point }
        };
        assert_eq!(classify(&evidence(slow)).causes, []);
    }

    #[test]
    fn a_probe_that_lies_is_told_in_both_directions() {
        let fails = Dependency { calls: 8, failed: 8, ..Dependency::default() };
        let down = |errors, probe| Point { errors, probe: Some(probe), dependency: fails.clone(), ..calm() };
        assert_eq!(said(|_| down(8, 200)), ["lying-health-check"]);
        assert_eq!(said(|_| down(1, 503)), ["lying-health-check"]);
        // It is told, and nobody goes elsewhere.
        assert_eq!(said(|_| down(8, 503)), ["lying-health-check"]);
        let turns_away =
            |_| Point { dependency: Dependency { calls: 1, failed: 1, ..Dependency::default() }, ..down(8, 503) };
        assert_eq!(said(turns_away), [""; 0]);
        assert_eq!(said(|_| Point { probe: Some(503), ..calm() }), ["lying-health-check"]);
    }

    #[test]
    fn tasks_that_pile_up_before_one_call_are_told() {
        let open = Dependency { open: 1, ..Dependency::default() };
        let piles = |second: u32| Point { tasks: u64::from(4 * second), dependency: open.clone(), ..calm() };
        assert_eq!(said(|second| if second < 50 { piles(second - 29) } else { calm() }), ["blocked-log-channel"]);
        assert_eq!(said(|second| if second < 50 { piles(1) } else { calm() }), [""; 0]);
    }

    #[test]
    fn a_slow_kind_that_nothing_stops_is_told_and_one_that_is_turned_away_is_not() {
        let routes = |refused| {
            let route = |route: &str, requests, errors, served_ms| {
                let (route, refused) = (route.to_owned(), 0);
                crate::evidence::Route { route, requests, errors, served_ms, refused }
            };
            vec![route("quick", 7, 0, 60.0), route("slow", 3, refused, 4000.0)]
        };
        let open = |open| Dependency { open, ..calm().dependency };
        assert_eq!(said(|_| Point { routes: routes(0), dependency: open(40), ..calm() }), ["no-bulkhead"]);
        assert_eq!(said(|_| Point { routes: routes(2), dependency: open(40), ..calm() }), [""; 0]);
        assert_eq!(said(|_| Point { routes: routes(0), dependency: open(2), ..calm() }), [""; 0]);
    }

    #[test]
    fn a_panic_is_told_where_it_is_no_answer_and_where_it_is_the_last_one() {
        let log = |evidence: &mut Evidence| {
            evidence.log = (0..9)
                .map(|number| Line {
                    number,
                    at_ms: 40_000,
                    from: "some".to_owned(),
                    level: "ERROR".to_owned(),
                    text: "panicked".to_owned(),
                })
                .collect();
        };
        let said = |point: Point| {
            let mut evidence = evidence(|second| if second < 30 { calm() } else { point.clone() });
            log(&mut evidence);
            classify(&evidence).causes.iter().map(|cause| cause.ghost).collect::<Vec<_>>()
        };
        assert_eq!(said(Point { broken: 1, ..calm() }), ["swallowed-panic"]);
        assert_eq!(said(Point { errors: 8, dependency: Dependency::default(), ..calm() }), ["swallowed-panic"]);
        assert_eq!(said(Point { errors: 1, ..calm() }), [""; 0]);
    }

    #[test]
    fn a_call_of_what_is_not_ready_is_told_by_its_panic_and_before_what_becomes_of_panics() {
        let mut evidence = evidence(|second| if second < 30 { calm() } else { Point { broken: 2, ..calm() } });
        let text = "a handler panicked: max requests in-flight; poll_ready must be called first".to_owned();
        let (from, level) = ("some".to_owned(), "ERROR".to_owned());
        evidence.log = vec![Line { number: 0, at_ms: 40_000, from, level, text }; 9];
        let said: Vec<_> = classify(&evidence).causes.iter().map(|cause| cause.ghost).collect();
        assert_eq!(said, ["unready-clone", "swallowed-panic"]);
    }

    #[test]
    fn a_connection_that_nothing_passes_since_a_failure_is_told_before_what_it_looks_like() {
        let still = Dependency { open: 1, ..Dependency::default() };
        let said = said(|second| match second {
            30 => Point { dependency: Dependency { failed: 1, ..calm().dependency }, ..calm() },
            _ => Point { requests: 6, left: 6, in_flight: 90, p50_ms: 8000.0, dependency: still.clone(), ..calm() },
        });
        assert_eq!(said, ["unread-body", "blocked-log-channel", "leaked-permit"]);
    }

    #[test]
    fn bodies_that_do_not_end_any_more_are_told() {
        let body = |left| Point { left, head_ms: 1.0, first_byte_ms: 200.0, p95_ms: 8000.0, ..calm() };
        assert_eq!(said(|_| body(6)), ["hidden-flush"]);
        assert_eq!(said(|_| body(0)), [""; 0]);
        // They have always left: it is a stream without an end.
        assert_eq!(classify(&evidence(|_| body(6))).causes, []);
    }

    #[test]
    fn what_the_probe_alone_is_told_is_told() {
        let failed = Dependency { calls: 1, failed: 1, ..Dependency::default() };
        let down = |errors| Point { errors, probe: Some(503), dependency: failed.clone(), ..calm() };
        assert_eq!(said(|_| down(1)), ["lying-health-check"]);
        assert_eq!(said(|_| down(7)), [""; 0]);
    }

    #[test]
    fn what_goes_wrong_at_the_dependency_and_is_told_nobody_is_told() {
        let wrong = |told| {
            let dependency = Dependency { served: 5, failed: 3, ..calm().dependency };
            Point { refused: told, dependency, ..calm() }
        };
        assert_eq!(said(|_| wrong(0)), ["body-double-close"]);
        assert_eq!(said(|_| wrong(3)), [""; 0]);
        // It has always been so: that is how it speaks.
        assert_eq!(classify(&evidence(|_| wrong(0))).causes, []);
    }

    #[test]
    fn a_preflight_that_is_refused_and_a_wait_without_an_end_are_told() {
        assert_eq!(said(|_| Point { refused: 2, preflights_refused: 2, ..calm() }), ["layer-order"]);
        assert_eq!(said(|_| Point { refused: 2, ..calm() }), [""; 0]);
        let waits = |errors| {
            let dependency = Dependency { open: 1, oldest_ms: 2800.0, ..calm().dependency };
            Point { errors, p99_ms: 3000.0, in_flight: 1, dependency, ..calm() }
        };
        assert_eq!(said(|_| waits(0)), ["layer-order"]);
        assert_eq!(said(|_| waits(1)), [""; 0]);
    }

    #[test]
    fn evidence_that_is_too_short_claims_nothing() {
        let mut short = evidence(|_| Point { errors: 8, ..calm() });
        short.samples.truncate(5);
        assert_eq!(classify(&short).causes, []);
        assert_eq!(classify(&Evidence::default()).causes, []);
    }
}
