//! A judgement that can be called off: `ghosts check` as a process of its own, with all that it starts.

use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
};

use anstream::ColorChoice;

use super::terminal;
use crate::{
    Refusal,
    checkout::Checkout,
    learn::{exercise::Exercise, judged::Judged},
    terminal::{COLUMNS, columns},
};

/// How a refusal begins.
const REFUSAL: &str = "ghosts: ";

/// What a judgement says while it runs, and at its end.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// What goes on.
    Doing(String),
    /// What came of it; there is nothing more to come.
    Ended(Came),
}

/// What came of a judgement.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// It was judged, or it is said why not.
    Judged(Box<Judged>),
    /// It could not be judged, and this was said.
    Refused(String),
}

/// A judgement that runs. Dropped, it is called off, and nothing of it goes on.
#[derive(Debug)]
pub(super) struct Judgement(Child);

impl Judgement {
    /// Judges the exercise, and tells what is said on a thread of its own.
    ///
    /// # Errors
    /// If the runner cannot be started again.
    pub(super) fn begin(
        exercise: &Exercise<'_>,
        tell: impl Fn(Said) + Send + Clone + 'static,
    ) -> Result<Self, Refusal> {
        let mut command = runner(exercise.checkout, ["check", exercise.slug(), "--json"])?;
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(cannot_start)?;
        let (mut out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let tell_doing = tell.clone();
        let rest = thread::spawn(move || {
            let mut rest = String::new();
            for line in BufReader::new(err).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                // What is refused is said last, and over several lines.
                if rest.is_empty() && !line.starts_with(REFUSAL) {
                    tell_doing(Said::Doing(line));
                } else {
                    rest.push_str(&(line + "\n"));
                }
            }
            rest
        });
        thread::spawn(move || {
            let mut said = Vec::new();
            // A pipe that breaks is the end, too.
            let _ = out.read_to_end(&mut said);
            let rest = rest.join().unwrap_or_default();
            let came = match serde_json::from_slice(&said) {
                Ok(judged) => Came::Judged(Box::new(judged)),
                Err(_) if rest.is_empty() => Came::Refused("The judgement was stopped from outside.\n".to_owned()),
                Err(_) => Came::Refused(rest.trim_start_matches(REFUSAL).to_owned()),
            };
            tell(Said::Ended(came));
        });
        Ok(Self(child))
    }
}

impl Drop for Judgement {
    fn drop(&mut self) {
        // It may have ended by itself.
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        #[cfg(windows)]
        let _ = Command::new("taskkill").args(["/F", "/T", "/PID", &self.0.id().to_string()]).output();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command of the runner prints.
///
/// # Errors
/// If the runner cannot be started again.
pub(super) fn told<const N: usize>(checkout: &Checkout, words: [&str; N]) -> Result<String, Refusal> {
    let output = runner(checkout, words)?.output().map_err(cannot_start)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// This program once more, as our own terminal wants it.
fn runner<const N: usize>(checkout: &Checkout, words: [&str; N]) -> Result<Command, Refusal> {
    let mut command = Command::new(env::current_exe().map_err(cannot_start)?);
    command.args(words.map(OsStr::new)).current_dir(checkout.root()).env(COLUMNS, columns().to_string());
    if terminal::colour() != ColorChoice::Never {
        command.env("CLICOLOR_FORCE", "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn cannot_start(error: io::Error) -> Refusal {
    Refusal::new(format!("cannot start the runner again ({error}): quit this watch and start another"))
}
