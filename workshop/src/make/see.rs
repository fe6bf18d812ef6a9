//! What two terminals show: the commands of `case.toml` against both twins with their stand-ins, in virtual time.
//!
//! The wire is the laboratory's, and curl is played: end to end, the same commands in a shell with the real curl print the
//! same.

use std::{fmt::Write, io, sync::Arc};

use lab::{Asked, Event, Lab, Limits, Scene, Specification};
use tokio::time::{Duration, sleep};
use tracing_subscriber::util::SubscriberInitExt;

use crate::{
    Refusal,
    catalogue::{case::Case, ghosts::Ghost},
    html::escaped,
    read::serve,
};

pub mod choices;
mod curl;
mod shell;

/// The file into which the server of a choice writes what it says.
const LOG_FILE: &str = "server.log";
/// The lane in which the commands stand.
const TYPES: &str = "types";
/// The lane of the app's log, as `ghosts serve` prints it.
const LOGS: &str = "logs";
/// The lanes of the server's terminal: what the stand-ins say, the log, and panics.
const SERVER: [&str; 3] = ["says", LOGS, "app"];

/// What one command and its server show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The command, with `{base}` for the address of the server.
    pub command: String,
    /// What it prints.
    pub client: Vec<Line>,
    /// What the server's terminal prints meanwhile.
    pub server: Vec<Line>,
}

/// A line of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it came, in milliseconds after its command.
    pub at_ms: u64,
    /// What it says.
    pub text: String,
}

/// What the commands show that are watched in the chapter, one after the other, of one twin.
///
/// # Errors
/// If a command is not understood, or does not end.
pub fn play(ghost: &'static Ghost, case: &Case, fixed: bool) -> Result<Vec<Shown>, Refusal> {
    let watched = case.tries.iter().filter_map(|told| Some((told.curl.as_str(), told.watched?)));
    played(ghost, &watched.collect::<Vec<_>>(), fixed)
}

/// What these commands show, one after the other, each watched for so many seconds after it has ended.
fn played(ghost: &'static Ghost, commands: &[(&str, u32)], fixed: bool) -> Result<Vec<Shown>, Refusal> {
    let cannot = |command: &str, why: &str| {
        Refusal::new(format!("cases/{}/case.toml: the command `{command}` {why}", ghost.slug))
    };
    let mut lines = Vec::new();
    for &(command, watched) in commands {
        let steps = shell::read(command).map_err(|why| cannot(command, &why))?;
        lines.push((command.to_owned(), steps, u64::from(watched)));
    }
    let proof = async move |lab: Lab, (): ()| {
        let scene = lab.scene(String::new());
        let _log = logged_to(&scene).set_default();
        let server = Arc::new(scene.serve(ghost.stage(fixed)));
        for (command, steps, watched) in lines {
            scene.note(TYPES, command);
            run(&scene, &server, &steps).await.map_err(lab::Broken::because)?;
            // What is done at the end of the command is seen.
            sleep(Duration::from_secs(watched) + Duration::from_millis(1)).await;
        }
        Ok(())
    };
    let asked = Asked::new("seen", "What two terminals show.");
    let report = Specification::of(ghost.slug, ()).promise(asked, proof).judge(Limits::default());
    let judged = report.promises.first();
    let events = judged.and_then(|judged| judged.scenes.last()).map(|scene| &scene.events[..]).unwrap_or_default();
    let mut all = told(events);
    // A panic of the app is for the reader to see, and breaks nothing here.
    let (Some(last), true) = (all.last(), all.len() == commands.len()) else {
        let why = judged.and_then(|judged| judged.observed.clone()).unwrap_or_default();
        return Err(cannot(commands[all.len().saturating_sub(1)].0, &why));
    };
    if let Some(why) = judged.and_then(|judged| judged.observed.as_ref()).filter(|why| !why.contains("panicked")) {
        return Err(cannot(&last.command, why));
    }
    for place in 0..all.len() {
        if let Some(read) =
            of_the_log(&all[place].command, &all[..place]).map_err(|why| cannot(&all[place].command, &why))?
        {
            all[place].client = read;
        }
    }
    Ok(all)
}

/// What `cat server.log` and `grep WORDS server.log` print, where the server's terminal has been written into that file.
fn of_the_log(command: &str, before: &[Shown]) -> Result<Option<Vec<Line>>, String> {
    let steps = shell::read(command)?;
    let words = steps.first().map(|step| step.words.iter().map(String::as_str).collect::<Vec<_>>());
    let wanted = match words.as_deref() {
        Some(["cat", LOG_FILE]) => "",
        Some(["grep", wanted, LOG_FILE]) => wanted,
        _ => return Ok(None),
    };
    let lines = before.iter().flat_map(|shown| &shown.server).filter(|line| line.text.contains(wanted));
    Ok(Some(lines.map(|line| Line { at_ms: 0, text: line.text.clone() }).collect()))
}

/// The subscriber of `ghosts serve`, which writes into the scene.
fn logged_to(scene: &Scene) -> impl SubscriberInitExt + use<> {
    let scene = scene.clone();
    serve::log(move || Noting(scene.clone()))
}

/// Takes each line of a log down in a scene.
struct Noting(Scene);

impl io::Write for Noting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.note(LOGS, String::from_utf8_lossy(line).trim());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn run(scene: &Scene, server: &Arc<lab::Server>, steps: &[shell::Step]) -> Result<(), String> {
    let mut behind = Vec::new();
    for step in steps {
        match step.words.first().map(String::as_str) {
            Some("sleep") => {
                let seconds = step.words.get(1).map_or(Ok(0), |seconds| shell::whole(seconds))?;
                sleep(Duration::from_secs(seconds)).await;
            }
            Some("wait") => {
                for client in std::mem::take(&mut behind) {
                    ended(client).await?;
                }
            }
            // What it prints is found out afterwards.
            Some("cat" | "grep") if step.words.last().is_some_and(|file| file == LOG_FILE) => {}
            Some("curl") => {
                let (scene, server, step) = (scene.clone(), server.clone(), step.clone());
                let at_once = step.behind;
                let client = scene.clone();
                let client = client.spawn(async move { curl::run(scene, &server, &step.words, &step.piped).await });
                if at_once {
                    behind.push(client);
                } else {
                    ended(client).await?;
                }
            }
            other => return Err(format!("has `{}`, which is not played", other.unwrap_or_default())),
        }
    }
    for client in behind {
        ended(client).await?;
    }
    Ok(())
}

async fn ended(client: tokio::task::JoinHandle<Result<(), String>>) -> Result<(), String> {
    client.await.map_err(|error| error.to_string())?
}

/// The terminals, from the transcript.
fn told(events: &[Event]) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut began = 0;
    let mut whole_line = true;
    for event in events {
        if event.lane == TYPES {
            began = event.at_ms;
            whole_line = true;
            all.push(Shown { command: event.what.clone(), ..Shown::default() });
        }
        let Some(now) = all.last_mut() else { continue };
        let at_ms = event.at_ms - began;
        if event.lane == curl::PRINTS {
            for text in event.what.split_inclusive('\n') {
                match now.client.last_mut().filter(|_| !whole_line) {
                    Some(line) => line.text.push_str(text.trim_end_matches('\n')),
                    None => now.client.push(Line { at_ms, text: text.trim_end_matches('\n').to_owned() }),
                }
                whole_line = text.ends_with('\n');
            }
        } else if SERVER.contains(&event.lane.as_str()) {
            // What std prints of a panic has more lines, and a place that is another on each machine.
            let text = match event.what.strip_prefix("panics at ") {
                Some(place) if event.lane == "app" => format!("(std) a thread panicked at {place}"),
                _ if event.lane == "app" => "(std) a thread panicked, in the stand-in".to_owned(),
                _ => event.what.clone(),
            };
            now.server.push(Line { at_ms, text });
        }
    }
    all
}

/// What both twins show, for a chapter: side by side where there is room, and once where they show the same.
///
/// # Errors
/// If a command is not understood.
pub(super) fn page(ghost: &'static Ghost, case: &Case) -> Result<String, Refusal> {
    let (broken, fixed) = (play(ghost, case, false)?, play(ghost, case, true)?);
    let mut html = "<div class=\"see\" lang=\"en\" translate=\"no\">\n".to_owned();
    for (broken, fixed) in broken.iter().zip(&fixed) {
        let command = broken.command.replace("{base}", "http://127.0.0.1:3000");
        let lines = [&broken.client, &broken.server, &fixed.client, &fixed.server];
        let timed = lines.iter().any(|lines| lines.iter().any(|line| line.at_ms >= 50));
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<pre class=\"typed\" tabindex=\"0\">$ {}</pre>", escaped(&command));
        html.push_str("<div class=\"twins\">\n");
        if broken == fixed {
            terminals(&mut html, "both", "both twins", broken, timed);
        } else {
            terminals(&mut html, "broken", "broken", broken, timed);
            terminals(&mut html, "fixed", "fixed", fixed, timed);
        }
        html.push_str("</div>\n");
    }
    html.push_str("</div>\n");
    Ok(html)
}

/// What the first command shows, as plain text: the broken twin at the left, the fixed one at the right.
///
/// # Errors
/// If a command is not understood.
pub(super) fn text(ghost: &'static Ghost, case: &Case) -> Result<String, Refusal> {
    let (broken, fixed) = (play(ghost, case, false)?, play(ghost, case, true)?);
    let mut text = String::new();
    for (broken, fixed) in broken.iter().zip(&fixed).take(1) {
        let columns = [("broken", &broken.client), ("fixed", &fixed.client)].map(|(twin, lines)| {
            let stamps = stamps(lines);
            let lines = stamps.into_iter().zip(lines).map(|(stamp, line)| format!("{stamp:7}{}", line.text));
            [twin.to_owned()].into_iter().chain(lines).collect::<Vec<_>>()
        });
        let [left, right] = columns;
        let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0) + 8;
        let _ = writeln!(text, "$ {}\n", broken.command.replace("{base}", "http://127.0.0.1:3000"));
        for row in 0..left.len().max(right.len()) {
            let cell = |column: &[String]| column.get(row).cloned().unwrap_or_default();
            let _ = writeln!(text, "{}", format!("{:width$}{}", cell(&left), cell(&right)).trim_end());
        }
    }
    Ok(text)
}

/// The time of each line, where it is another than that of the line before.
fn stamps(lines: &[Line]) -> Vec<String> {
    let tenths: Vec<u64> = lines.iter().map(|line| (line.at_ms + 50) / 100).collect();
    let changes = |(place, now): (usize, &u64)| match place.checked_sub(1).and_then(|before| tenths.get(before)) {
        Some(before) if before == now => String::new(),
        _ => format!("{}.{} s", now / 10, now % 10),
    };
    tenths.iter().enumerate().map(changes).collect()
}

fn terminals(html: &mut String, class: &str, title: &str, shown: &Shown, timed: bool) {
    let _ = writeln!(html, "<figure class=\"{class}\">\n<figcaption>{title}</figcaption>");
    terminal(html, "client", &shown.client, timed);
    if !shown.server.is_empty() {
        html.push_str("<p>in the server's terminal</p>\n");
        terminal(html, "server", &shown.server, timed);
    }
    html.push_str("</figure>\n");
}

fn terminal(html: &mut String, class: &str, lines: &[Line], timed: bool) {
    let _ = write!(html, "<pre class=\"{class}\" tabindex=\"0\">");
    if lines.is_empty() {
        html.push_str("<span><i>(nothing)</i></span>");
    }
    for (stamp, line) in stamps(lines).iter().zip(lines) {
        html.push_str("<span>");
        if timed {
            let _ = write!(html, "<b>{stamp}</b>");
        }
        let _ = write!(html, "<span>{}</span></span>", escaped(&line.text));
    }
    html.push_str("</pre>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::{case, ghosts},
        checkout::Checkout,
    };

    fn hidden_flush(fixed: bool) -> Vec<Shown> {
        let ghost = ghosts::find("hidden-flush").expect("a ghost");
        let case = case::read(&Checkout::here(), ghost.slug).expect("a case");
        play(ghost, &case, fixed).expect("it can be played")
    }

    #[test]
    fn lines_come_when_they_came() {
        let times = |shown: &Shown| shown.client.iter().map(|line| line.at_ms).collect::<Vec<_>>();
        let (broken, fixed) = (hidden_flush(false), hidden_flush(true));
        assert_eq!(times(&broken[0]), [5000; 5]);
        assert_eq!(times(&fixed[0]), [1000, 2000, 3000, 4000, 5000]);
        assert_eq!(broken[1], fixed[1]);
    }

    #[test]
    fn the_log_is_what_the_server_has_said() {
        let line = |text: &str| Line { at_ms: 7, text: text.to_owned() };
        let before = [Shown { server: vec![line("INFO up"), line("WARN late")], ..Shown::default() }];
        let read = |command| {
            let lines = of_the_log(command, &before).unwrap();
            lines.map(|lines| lines.into_iter().map(|line| line.text).collect::<Vec<_>>())
        };
        assert_eq!(read("cat server.log"), Some(vec!["INFO up".to_owned(), "WARN late".to_owned()]));
        assert_eq!(read("grep 'WARN la' server.log"), Some(vec!["WARN late".to_owned()]));
        assert_eq!(read("grep ERROR server.log"), Some(Vec::new()));
        assert_eq!(read("curl {base}/"), None);
    }

    #[test]
    fn a_command_that_cannot_be_played_is_named() {
        let ghost = ghosts::find("hidden-flush").expect("a ghost");
        let mut case = case::read(&Checkout::here(), ghost.slug).expect("a case");
        case.tries[0].curl = "curl --fail {base}/builds/7/log".to_owned();
        let said = play(ghost, &case, false).unwrap_err().to_string();
        assert!(said.contains("`curl --fail {base}/builds/7/log` has `--fail`, which is not played"), "{said}");
    }
}
