//! The command line of a drill, and the drill without a browser.

use std::{
    collections::BTreeSet,
    env, fs,
    future::poll_fn,
    io::{self, BufRead, Write},
    path::Path,
    sync::Arc,
    task::Poll,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Parser, Subcommand};
use ghosts::{
    Refusal,
    catalogue::case,
    checkout::Checkout,
    read::{classify, drill::Asked, serve},
    terminal::{folded, print, print_json},
};
use serde_json::Value;
use tokio::signal;

use crate::{
    Drill, Options,
    answer::{Answer, Grade},
    bundle, classify as classifier, detectors,
    evidence::{Evidence, Line, Sample},
    looks::Look,
    matrix::{self, Matrix, Measure, Run},
    page, services,
};

/// An incident to practise on: four services under load, one of them haunted.
#[derive(Debug, Parser)]
#[command(name = "drill", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The load of a drill: reads on standard input what to send, and ends with it
    #[command(hide = true)]
    Load,
    /// What an incident bundle, or the evidence of a drill, says it was
    Classify {
        #[command(flatten)]
        asked: classify::Asked,
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
}

/// What the process is to be.
#[derive(Debug)]
pub enum Wanted {
    /// The load of a drill.
    Load,
    /// What reads the evidence of one, and whether it reports as JSON.
    Classify(classify::Asked, bool),
    /// A drill.
    Drill(Asked),
}

impl Cli {
    /// What the process is to be.
    pub fn wanted(self) -> Wanted {
        match self.command {
            Some(Command::Load) => Wanted::Load,
            Some(Command::Classify { asked, json }) => Wanted::Classify(asked, json),
            None => Wanted::Drill(self.asked),
        }
    }
}

/// Runs a drill.
///
/// # Errors
/// If the ghost is none, the port is taken, or something cannot be started.
pub fn run(asked: &Asked) -> Result<(), Refusal> {
    let cannot = |error: io::Error| Refusal::new(format!("cannot start the drill: {error}"));
    let checkout = Checkout::here();
    // Any seed will do that differs from the last.
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64 % 1_000_000);
    let seed = asked.seed.unwrap_or_else(now);
    let program = env::current_exe().map_err(cannot)?;
    let options = Options { seed, slug: asked.slug.clone(), hard: asked.hard, speed: 1.0, program };
    if asked.terminal {
        let drill = Drill::begin(&checkout, &options)?;
        let grade = play(&drill, &mut io::stdin().lock(), &mut io::stdout());
        return match grade.map_err(cannot)? {
            Some(grade) => page::write_down(&checkout, &grade),
            None => Ok(()),
        };
    }
    // The port comes first: where it is taken, nothing else is begun.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        let listener = serve::bind(asked.port).await?;
        let address = listener.local_addr().map_err(cannot)?;
        let mut interrupted = Box::pin(signal::ctrl_c());
        // The first poll sets the handler up: whoever reads our first line may interrupt us.
        let _ = poll_fn(|cx| Poll::Ready(interrupted.as_mut().poll(cx))).await;
        let drill = Drill::begin(&checkout, &options)?;
        let base = format!("http://{address}");
        let room = if asked.room { format!("\nthe room's screen: {base}/room") } else { String::new() };
        let slug = asked.slug.as_ref().map_or(String::new(), |slug| format!("{slug} "));
        let hard = if asked.hard { " --hard" } else { "" };
        print(&format!(
            "a drill on {base}{room}\nseed {seed}: `cargo ghosts drill {slug}--seed {seed}{hard}` plays it again; Ctrl-C ends it\n"
        ))?;
        if asked.open {
            open(&base);
        }
        tokio::select! {
            served = page::serve(listener, drill.clone(), Some(checkout)) => served?,
            _ = interrupted => {}
        }
        print("\nthe drill is over\n")
    })
}

/// Says what the evidence of a drill tells, or measures how often that is right.
///
/// # Errors
/// If there is no such evidence, or nothing can be measured.
pub fn classified(asked: &classify::Asked, json: bool) -> Result<(), Refusal> {
    let checkout = Checkout::here();
    if asked.all || asked.detectors {
        let runs = match &asked.from {
            Some(folder) => matrix::kept(folder)?,
            None => measured(&checkout, asked)?,
        };
        if asked.detectors {
            return print(&detectors::page(&checkout, &runs)?);
        }
        let measured = Matrix::of(&runs, matrix::SPEED);
        return if json { print_json(&measured) } else { print(&measured.markdown()) };
    }
    let file = asked.file.as_deref().ok_or_else(|| Refusal::new("name a bundle, a file of evidence, or --all"))?;
    let mut report = read(file).map_err(|why| Refusal::new(format!("cannot read {}: {why}", file.display())))?;
    for cause in &mut report.causes {
        cause.first = case::read(&checkout, cause.ghost)?.drill.and_then(|drill| drill.first.into_iter().next());
    }
    if json { print_json(&report) } else { print(&report.markdown()) }
}

/// What a bundle, the last of a folder of bundles, or the evidence of a drill says.
fn read(file: &Path) -> Result<classifier::Report, String> {
    let last = if file.is_dir() { Some(bundle::last_in(file)?) } else { None };
    let bytes = fs::read(last.as_deref().unwrap_or(file)).map_err(|error| {
        let name = "name a bundle (incident-….tar.gz), a folder of them, or what a drill's page has at /evidence.json";
        format!("{error}; {name}")
    })?;
    if bundle::is_one(&bytes) {
        return bundle::classified(&bytes);
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(
            "it is neither a bundle (incident-….tar.gz) nor what a drill's page has at /evidence.json".to_owned()
        );
    }
    let evidence: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    // A newer form may have other fields, too.
    if let Some(other) = evidence["schema"].as_u64().filter(|schema| *schema != 1) {
        return Err(format!("its schema is {other}, and 1 is what is read here; a newer clone may read it"));
    }
    let evidence: Evidence = serde_json::from_value(evidence).map_err(|error| error.to_string())?;
    Ok(classifier::classify(&evidence))
}

/// Measures what is asked for, and keeps what was seen where that is asked for, too.
fn measured(checkout: &Checkout, asked: &classify::Asked) -> Result<Vec<Run>, Refusal> {
    let program = env::current_exe().map_err(|error| Refusal::new(format!("cannot find this program: {error}")))?;
    let slugs: Vec<&'static str> = services::ALL.iter().map(|(slug, _)| *slug).collect();
    let others = asked.all && !asked.twins;
    let wanted = Measure { slugs: &slugs, seeds: asked.seeds, others, speed: matrix::SPEED, program: &program };
    let mut runs = Vec::new();
    matrix::measure(checkout, wanted, |run| {
        asked.keep.as_ref().map_or(Ok(()), |folder| run.keep(folder))?;
        runs.push(run);
        Ok(())
    })?;
    Ok(runs)
}

/// Opens a page in the browser of the desktop, where there is one.
fn open(base: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    if std::process::Command::new(program).arg(base).spawn().is_err() {
        // The address has been told already.
        let _ = print(&format!("no {program} to open it with\n"));
    }
}

const HELP: &str = "  stat                 the last second of each service
  trend SERVICE        one service over time
  routes SERVICE       what it is asked for
  log [oldest] [SERVICE] [TEXT]   the end of the log, or its beginning; the
                       lines of one (also `edge`, `#ops`), with this text
  waterfall SERVICE    its slowest request                      2 minutes
  tasks SERVICE        its tasks                                2 minutes
  dependency SERVICE   what its dependency has seen             2 minutes
  bundle SERVICE       all of it, with a report                 4 minutes
  ask SERVICE [METHOD] /PATH [NAME: VALUE]   a request of your own  1 minute
                       for example:
                       ask NAME POST /things/7 authorization: Bearer ada
                       A header of yours stands in for ours of that name.
  answer               name the service, the ghost, the layer, the first step
                       and the fix
  quit                 leave it
The prompt has two clocks: what looks cost counts on yours, and the services
run on in real time.
SAYS in the log is a person who talks, and may have nothing to do with it.
";

/// Plays a drill on this input and output: what came of it, or nothing where it was left.
///
/// # Errors
/// If the output cannot be written.
pub fn play(drill: &Arc<Drill>, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<Option<Grade>> {
    let haunted = &drill.draw.haunted().drill;
    writeln!(out, "{}\n", folded(&format!("PAGE  {}", drill.draw.pager)))?;
    writeln!(
        out,
        "The page has come early: what it tells of begins in the first half minute.\nUntil then all may be well."
    )?;
    writeln!(out, "You have {} minutes. Seed {}. `help` lists what you can do.", haunted.minutes, drill.draw.seed)?;
    let mut told_late = false;
    loop {
        if drill.late() && !told_late {
            told_late = true;
            writeln!(out, "\nThe time is over: {} minutes. You can go on; an answer counts as late.", haunted.minutes)?;
        }
        write!(out, "\n{}, real {} s > ", minutes(drill.clock()), drill.second() as u64)?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let service = |place: usize| words.get(place).copied().unwrap_or_default().to_owned();
        let look = match words.first().copied() {
            None => continue,
            Some("help") => {
                out.write_all(HELP.as_bytes())?;
                continue;
            }
            Some("stat") => {
                stat(drill, out)?;
                continue;
            }
            Some("trend") => {
                trend(drill, &service(1), out)?;
                continue;
            }
            Some("routes") => {
                routes(drill, &service(1), out)?;
                continue;
            }
            Some("log") => {
                let told = log(&drill.lines_since(0), &names(drill), &words[1..]);
                out.write_all(folded(&told).as_bytes())?;
                continue;
            }
            Some("waterfall") => Look::Waterfall { service: service(1) },
            Some("tasks") => Look::Tasks { service: service(1) },
            Some("dependency") => Look::Dependency { service: service(1) },
            Some("bundle") => Look::Bundle { service: service(1) },
            Some("ask") => {
                writeln!(out, "asking …")?;
                // The method may be left out, and what follows the path is a header.
                let named = words.get(2).is_some_and(|word| !word.starts_with('/'));
                let path = if named { 3 } else { 2 };
                let method = if named { service(2) } else { String::new() };
                let header = words.get(path + 1..).unwrap_or_default().join(" ");
                Look::Ask { service: service(1), method, path: service(path), header }
            }
            Some("answer") => match answer(drill, input, out)? {
                Said::Answer(given) => {
                    let grade = drill.answer(given);
                    out.write_all(told(&grade).as_bytes())?;
                    return Ok(Some(grade));
                }
                Said::Cancelled => continue,
                Said::Ended => return Ok(None),
            },
            Some("quit" | "exit") => return Ok(None),
            Some(other) => {
                writeln!(out, "there is no `{}`; `help` lists what there is", other.escape_debug())?;
                continue;
            }
        };
        match drill.runtime().block_on(drill.look(&look)) {
            Ok(shown) => writeln!(out, "{} ({} min)\n{}", shown.title, shown.minutes, folded(&shown.text))?,
            Err(refusal) => writeln!(out, "{refusal}")?,
        }
    }
}

fn minutes(seconds: f64) -> String {
    format!("{:02}:{:02}", seconds as u64 / 60, seconds as u64 % 60)
}

/// How many lines of the log are shown.
const LINES: usize = 20;

/// The end of the log, or with `oldest` its beginning; of the lines of one that speaks, if the first word names it, and of those
/// with the rest as their text.
fn log(lines: &[Line], services: &[&str], words: &[&str]) -> String {
    let (oldest, words) = match words {
        ["oldest", rest @ ..] => (true, rest),
        words => (false, words),
    };
    let speaks = |word: &str| services.contains(&word) || ["edge", "#ops"].contains(&word);
    let (from, words) = match words {
        [word, rest @ ..] if speaks(word) => (Some(*word), rest),
        words => (None, words),
    };
    let filter = words.join(" ");
    // Lines that have dropped out may have had it.
    let dropped = lines.first().is_some_and(|line| line.number > 0);
    let among = if dropped { format!(" among the last {} lines", lines.len()) } else { String::new() };
    let has = |line: &&Line| {
        let text = format!("{} {} {}", line.from, line.level, line.text).to_lowercase();
        from.is_none_or(|from| line.from == from) && text.contains(&filter.to_lowercase())
    };
    let found: Vec<&Line> = lines.iter().filter(has).collect();
    if found.is_empty() {
        let of = from.map_or(String::new(), |from| format!(" of {from}"));
        let edge =
            if from.is_some_and(|from| services.contains(&from)) { "; the edge may have some: `log edge`" } else { "" };
        return match filter.is_empty() {
            true => format!("there is no line{of}{among}{edge}\n"),
            false => format!("no line{of} has `{}`{among}{edge}\n", filter.escape_debug()),
        };
    }
    let shown = if oldest { &found[..found.len().min(LINES)] } else { &found[found.len().saturating_sub(LINES)..] };
    let mut text = String::new();
    for line in shown {
        text += &format!("{:>7.1} s {:5} {}: {}\n", line.at_ms as f64 / 1e3, line.level, line.from, line.text);
    }
    if shown.len() < found.len() {
        let end = match (oldest, dropped) {
            (true, false) => "oldest",
            (true, true) => "oldest that are kept",
            (false, _) => "latest; `log oldest` has the others",
        };
        text += &format!("{} of {} lines, the {end}\n", shown.len(), found.len());
    }
    text
}

fn routes(drill: &Drill, service: &str, out: &mut impl Write) -> io::Result<()> {
    let Some(place) = names(drill).iter().position(|name| *name == service) else {
        return no_service(drill, service, out);
    };
    let samples = drill.samples_since(0);
    let points = samples.iter().filter_map(|sample| sample.points.get(place));
    let seen: BTreeSet<&str> = points.flat_map(|point| &point.routes).map(|route| route.route.as_str()).collect();
    for route in seen {
        writeln!(out, "  {route}")?;
    }
    let known = &drill.draw.services[place].drill;
    for (method, path) in known.examples() {
        writeln!(out, "for example `ask {service} {method} {path}`")?;
    }
    match &known.health {
        Some(health) => writeln!(out, "its health: `ask {service} {health}`"),
        None => writeln!(out, "no route of it tells its health"),
    }
}

fn no_service(drill: &Drill, service: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "there is no service `{}`; there are {}", service.escape_debug(), names(drill).join(", "))
}

fn names(drill: &Drill) -> Vec<&str> {
    drill.draw.services.iter().map(|drawn| drawn.drill.service.as_str()).collect()
}

const COLUMNS: &str = "req/s  4xx  5xx broken    P50    P95    P99 flight tasks inbound";

fn stat(drill: &Drill, out: &mut impl Write) -> io::Result<()> {
    let samples = drill.samples_since(0);
    let Some(last) = samples.last() else { return writeln!(out, "the first second is not over") };
    writeln!(out, "{:12} {COLUMNS}", "")?;
    for (place, name) in names(drill).iter().enumerate() {
        writeln!(out, "{name:12} {}", row(last, place))?;
    }
    Ok(())
}

fn trend(drill: &Drill, service: &str, out: &mut impl Write) -> io::Result<()> {
    let Some(place) = names(drill).iter().position(|name| *name == service) else {
        return no_service(drill, service, out);
    };
    writeln!(out, "{:>12} {COLUMNS}", "second")?;
    let samples = drill.samples_since(0);
    let every = (samples.len() / 20).max(1);
    for sample in samples.iter().rev().step_by(every).collect::<Vec<_>>().into_iter().rev() {
        writeln!(out, "{:>12.0} {}", sample.at_s, row(sample, place))?;
    }
    Ok(())
}

fn row(sample: &Sample, place: usize) -> String {
    let point = &sample.points[place];
    format!(
        "{:5} {:4} {:4} {:6} {:6.0} {:6.0} {:6.0} {:6} {:5} {:7}",
        point.requests,
        point.refused,
        point.errors,
        point.broken,
        point.p50_ms,
        point.p95_ms,
        point.p99_ms,
        point.in_flight,
        point.tasks,
        point.connections
    )
}

/// What came of the questions.
enum Said {
    Answer(Answer),
    Cancelled,
    /// There is no more input.
    Ended,
}

/// Something to choose: what it is, and what is shown beside it.
type Choice = (String, String);

fn answer(drill: &Drill, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<Said> {
    let choices = &drill.draw.choices;
    let plain =
        |texts: Vec<&str>| -> Vec<Choice> { texts.into_iter().map(|text| (text.to_owned(), String::new())).collect() };
    let texts = |texts: &BTreeSet<String>| plain(texts.iter().map(String::as_str).collect());
    let questions = [
        ("Which service is it?", plain(names(drill))),
        ("Which ghost is it?", choices.ghosts.clone()),
        ("Where is the fault?", texts(&choices.layers)),
        ("What do you do first?", plain(choices.firsts.iter().map(String::as_str).collect())),
        ("And what lays it to rest?", texts(&choices.fixes)),
    ];
    let mut chosen: Vec<String> = Vec::new();
    let mut asked = None;
    loop {
        let question = questions.get(chosen.len());
        if asked != Some(chosen.len()) {
            match question {
                Some((question, of)) => {
                    writeln!(out, "\n{question}")?;
                    for (number, (choice, title)) in of.iter().enumerate() {
                        let line = format!("{:>4}  {choice:24} {title}", number + 1);
                        writeln!(out, "{}", folded(line.trim_end()))?;
                    }
                }
                None => {
                    writeln!(out, "\nYour answer:")?;
                    for ((question, _), answer) in questions.iter().zip(&chosen) {
                        writeln!(out, "{}", folded(&format!("  {question:26} {answer}")))?;
                    }
                }
            }
        }
        asked = Some(chosen.len());
        let prompt = match question {
            Some(_) => "number, or its beginning; `back`; an empty line cancels > ",
            None => "Enter grades, `back` changes > ",
        };
        write!(out, "{prompt}")?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(Said::Ended);
        }
        match (line.trim(), question) {
            ("", Some(_)) => {
                writeln!(out, "nothing is answered")?;
                return Ok(Said::Cancelled);
            }
            ("", None) => break,
            ("back", _) => {
                if chosen.pop().is_none() {
                    writeln!(out, "this is the first question; an empty line cancels")?;
                }
            }
            (typed, Some((_, of))) => match meant(typed, of) {
                Ok(choice) => chosen.push(choice),
                Err(why) => writeln!(out, "{why}")?,
            },
            (_, None) => writeln!(out, "there is no such choice")?,
        }
    }
    let mut chosen = chosen.into_iter();
    let mut next = || chosen.next().unwrap_or_default();
    Ok(Said::Answer(Answer { service: next(), ghost: next(), layer: next(), first: next(), fix: next() }))
}

/// The choice that is meant by its number, its text or the beginning of that, or what is shown beside it.
fn meant(typed: &str, of: &[Choice]) -> Result<String, String> {
    if let Ok(number) = typed.parse::<usize>() {
        let chosen = number.checked_sub(1).and_then(|place| of.get(place));
        return chosen.map(|(choice, _)| choice.clone()).ok_or_else(|| format!("a number from 1 to {}", of.len()));
    }
    let plain = |text: &str| text.replace('`', "").to_lowercase();
    let typed = plain(typed);
    let begins = |(choice, title): &&Choice| plain(choice).starts_with(&typed) || plain(title).starts_with(&typed);
    let found: Vec<&Choice> = of.iter().filter(begins).collect();
    match found.as_slice() {
        [(choice, _)] => Ok(choice.clone()),
        [] => Err(format!("none begins with `{}`; a number from 1 to {} does it, too", typed.escape_debug(), of.len())),
        // One of them may be the beginning of the others.
        several => {
            several.iter().find(|(choice, _)| plain(choice) == typed).map(|(choice, _)| choice.clone()).ok_or_else(
                || {
                    let names: Vec<&str> = several.iter().map(|(choice, _)| choice.as_str()).collect();
                    format!("several begin with `{}`: {}", typed.escape_debug(), names.join(", "))
                },
            )
        }
    }
}

/// A grade, as text.
fn told(grade: &Grade) -> String {
    let mut text = format!("\nIt was {} in `{}`: {}.\n\n", grade.slug, grade.service, grade.title);
    let first = grade.right.first.join("; or: ");
    for (what, right, given, was) in [
        ("the service", grade.place, &grade.given.service, &grade.service),
        ("the ghost", grade.ghost, &grade.given.ghost, &grade.slug),
        ("the layer", grade.layer, &grade.given.layer, &grade.right.layer),
        ("first", grade.first, &grade.given.first, &first),
        ("the fix", grade.fix, &grade.given.fix, &grade.right.fix),
    ] {
        text += &if right {
            format!("  {what:12} right: {given}\n")
        } else {
            format!("  {what:12} wrong: you said {given}; it was {was}\n")
        };
    }
    if !grade.first {
        text += &format!("\nWhy that helps first: {}\n", grade.right.helps);
    }
    text += &format!(
        "\n{} of 5, after {} min {} s on your clock{}.\n\nWhat would have told it:\n",
        grade.points(),
        grade.took_s as u64 / 60,
        grade.took_s as u64 % 60,
        if grade.late { ", too late" } else { "" }
    );
    for told in &grade.told {
        text += &format!("  - {told}\n");
    }
    text += "\nWhat had nothing to do with it:\n";
    for herring in &grade.herrings {
        text += &format!("  - {herring}\n");
    }
    text += &format!(
        "\nThe chapter: book/src/{0}.md, or `cargo ghosts book`. The twin: `cargo ghosts show {0}`.\n",
        grade.slug
    );
    folded(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_looked_through_by_who_speaks_and_by_the_whole_rest() {
        let line = |number: u64, from: &str, text: &str| Line {
            number,
            at_ms: 1000 * number,
            from: from.to_owned(),
            level: "WARN".to_owned(),
            text: text.to_owned(),
        };
        let mut lines: Vec<Line> = (0..30).map(|number| line(number, "edge", &format!("stock GET {number}"))).collect();
        lines.push(line(30, "stock", "Lock Timeout of mugs"));
        let said = |typed: &str| log(&lines, &["stock", "gate"], &typed.split_whitespace().collect::<Vec<_>>());
        assert_eq!(said("stock"), "   30.0 s WARN  stock: Lock Timeout of mugs\n");
        assert_eq!(said("lock timeout"), said("stock"));
        assert_eq!(said("edge GET 7"), "    7.0 s WARN  edge: stock GET 7\n");
        assert!(said("oldest edge").starts_with("    0.0 s WARN  edge: stock GET 0\n"));
        assert!(said("").ends_with("\n20 of 31 lines, the latest; `log oldest` has the others\n"));
        assert_eq!(said("gate"), "there is no line of gate; the edge may have some: `log edge`\n");
        assert_eq!(said("timeout lock"), "no line has `timeout lock`\n");
        lines.remove(0);
        let said = |typed: &str| log(&lines, &["stock", "gate"], &typed.split_whitespace().collect::<Vec<_>>());
        assert_eq!(said("#ops"), "there is no line of #ops among the last 30 lines\n");
        assert_eq!(said("timeout lock"), "no line has `timeout lock` among the last 30 lines\n");
        assert!(said("oldest").ends_with("\n20 of 30 lines, the oldest that are kept\n"));
    }

    #[test]
    fn a_choice_is_meant_by_its_number_its_text_or_its_beginning() {
        let of = [("leaked-permit", "The leaked permit"), ("the log", ""), ("the `log` of others", "")];
        let of = of.map(|(choice, title)| (choice.to_owned(), title.to_owned()));
        for (typed, expected) in [
            ("1", Ok("leaked-permit")),
            ("leaked-permit", Ok("leaked-permit")),
            ("LEA", Ok("leaked-permit")),
            ("the lea", Ok("leaked-permit")),
            ("the log", Ok("the log")),
            ("the log o", Ok("the `log` of others")),
            ("the lo", Err("several begin with `the lo`: the log, the `log` of others")),
            ("4", Err("a number from 1 to 3")),
            ("nine", Err("none begins with `nine`; a number from 1 to 3 does it, too")),
        ] {
            let said = meant(typed, &of);
            assert_eq!(said.as_deref().map_err(String::as_str), expected, "{typed}");
        }
    }
}
