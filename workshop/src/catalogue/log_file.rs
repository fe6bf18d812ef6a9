//! The log of `blocked-log-channel` in a real file or named pipe, for `serve --log`: one that stops when its reader does.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
};

use axum::Router;
use blocked_log_channel_spec::{Log, Spec, StandIns};
use lab::Ghost;
use tokio::{io::AsyncReadExt, runtime::Handle, select};

use crate::Refusal;

/// The one ghost whose log can go to a file.
pub const OF: &str = Spec::SLUG;

/// What `serve` tells of it.
pub const TOLD: &str = "--log PATH sends the log to a file, or to a named pipe (mkfifo) on Linux and macOS: the log stops when \
                        nobody reads the pipe.";

/// A twin of [`OF`] whose log goes to `path`. Call it inside a runtime.
///
/// # Errors
/// If no file can be there.
pub fn serve(fixed: bool, path: &Path) -> Result<Router, Refusal> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(Refusal::new(format!("cannot write the log to {}: no file can be there", path.display())));
    }
    let (path, runtime) = (path.to_owned(), Handle::current());
    let stand_ins = StandIns::shipped_by(|log| {
        // A thread of its own: to open a named pipe and to write to it waits for a reader.
        thread::spawn(move || match ship(&runtime, log, &path) {
            Ok(()) => lab::say("log: closed"),
            Err(error) => lab::say(format_args!("log: {error}")),
        });
    });
    let app = if fixed { blocked_log_channel_fixed::app } else { blocked_log_channel::app };
    Ok(Spec::serve(app, stand_ins))
}

/// Writes what comes until the log is closed, but nothing while the switch is off.
fn ship(runtime: &Handle, log: Log, path: &PathBuf) -> io::Result<()> {
    let Log { mut end, mut stopped } = log;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut bytes = [0; 1024];
    loop {
        let next = async {
            loop {
                // The switch goes with the server.
                if stopped.wait_for(|stopped| !stopped).await.is_err() {
                    return Ok(0);
                }
                select! {
                    biased;
                    _ = stopped.changed() => {}
                    read = end.read(&mut bytes) => return read,
                }
            }
        };
        match runtime.block_on(next)? {
            0 => return Ok(()),
            read => file.write_all(&bytes[..read])?,
        }
    }
}
