//! The archive on the disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use flate2::{Compression, write::GzEncoder};

use super::KEPT;

const PREFIX: &str = "incident-";
const SUFFIX: &str = ".tar.gz";
/// Where an archive is while it is written. What a process that was killed has left is overwritten.
const ASIDE: &str = ".incident.partial";

pub(super) fn write(
    folder: &Path,
    seconds: u64,
    n: u64,
    parts: &[(&str, String)],
    given_up: &AtomicBool,
) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let aside = folder.join(ASIDE);
    let path = folder.join(format!("{PREFIX}{seconds:012}-{n:04}{SUFFIX}"));
    let written = pack(&aside, seconds, parts).and_then(|()| {
        if given_up.load(Ordering::Acquire) {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        fs::rename(&aside, &path)
    });
    if let Err(error) = written {
        // The first error is the one to be told.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    // The new one is there, whatever becomes of the old ones.
    for old in list(folder).unwrap_or_default().iter().rev().skip(KEPT) {
        if let Err(error) = fs::remove_file(old) {
            tracing::warn!(target: "instruments::bundle", path = %old.display(), %error, "an old bundle stays");
        }
    }
    Ok(path)
}

fn pack(path: &Path, seconds: u64, parts: &[(&str, String)]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    // For the eyes of whoever runs the service.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut archive = tar::Builder::new(GzEncoder::new(options.open(path)?, Compression::fast()));
    for (name, text) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()
}

/// The bundles in a folder, the oldest first: their names sort so.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bundles = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            bundles.push(path);
        }
    }
    bundles.sort();
    Ok(bundles)
}

/// The time of the wall, for people who look at the bundle later.
#[expect(clippy::disallowed_types, reason = "a file is dated by the calendar, and nothing is decided by it")]
pub(super) fn unix_seconds() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
