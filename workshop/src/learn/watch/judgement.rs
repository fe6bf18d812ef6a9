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
    learn::{building, exercise::Exercise},
    terminal::{COLUMNS, columns},
};

/// What a judgement says while it runs, and at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What cargo is doing.
    Doing(&'static str),
    /// All that it printed; there is nothing more to come.
    Ended(String),
}

/// A judgement that runs. Dropped, it is called off, and nothing of it goes on.
#[derive(Debug)]
pub(super) struct Judgement(Child);

impl Judgement {
    /// Judges the exercise, and tells what is said on a thread of its own; with `wire`, also what crossed the wire.
    ///
    /// # Errors
    /// If the runner cannot be started again.
    pub(super) fn begin(
        exercise: &Exercise<'_>,
        wire: bool,
        tell: impl Fn(Said) + Send + Clone + 'static,
    ) -> Result<Self, Refusal> {
        let mut command = runner(exercise.checkout, ["check", exercise.slug()])?;
        if wire {
            command.arg("--wire");
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(cannot_start)?;
        let (mut out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let tell_doing = tell.clone();
        let rest = thread::spawn(move || {
            let mut rest = String::new();
            for line in BufReader::new(err).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                match [building::WAITS, building::BUILDS].into_iter().find(|doing| *doing == line) {
                    Some(doing) => tell_doing(Said::Doing(doing)),
                    None => rest.push_str(&(line + "\n")),
                }
            }
            rest
        });
        thread::spawn(move || {
            let mut said = Vec::new();
            // A pipe that breaks is the end, too.
            let _ = out.read_to_end(&mut said);
            let rest = rest.join().unwrap_or_default();
            tell(Said::Ended(String::from_utf8_lossy(&said).into_owned() + &rest));
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
    Refusal::new(format!("cannot start the runner again ({error}): end this watch and begin another"))
}
