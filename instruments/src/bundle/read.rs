//! A bundle, read by somebody who does not trust it.

use std::{
    fmt,
    io::{self, Read},
    path::Component,
};

use flate2::read::GzDecoder;

use super::MOST_BYTES;

/// More parts than any bundle has.
const MOST_PARTS: usize = 32;
/// What the archive may unpack to, with its headers.
const MOST_UNPACKED: u64 = ((MOST_BYTES + 2_048) * MOST_PARTS) as u64;

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Its name: a single one, no path.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What was read is no bundle; the sentence says why.
#[derive(Debug)]
pub struct BadBundle(String);

impl fmt::Display for BadBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no bundle: {}", self.0)
    }
}

impl std::error::Error for BadBundle {}

/// Reads a whole bundle into memory, within the bounds that [`Bundles`](super::Bundles) keeps. Nothing is written anywhere.
///
/// # Errors
///
/// Where it is torn or something else, or has a part with a path, a link, a name twice or more bytes than a part has, whatever
/// its head claims.
pub fn read(bundle: impl Read) -> Result<Vec<Part>, BadBundle> {
    let torn = |error: io::Error| BadBundle(format!("it is torn or something else ({error})"));
    let mut unpacked = GzDecoder::new(bundle).take(MOST_UNPACKED);
    let mut archive = tar::Archive::new(&mut unpacked);
    let mut parts = Vec::<Part>::new();
    for entry in archive.entries().map_err(torn)? {
        let mut entry = entry.map_err(torn)?;
        let name = name(&entry)?;
        if !entry.header().entry_type().is_file() {
            return Err(BadBundle(format!("{name:?} is a link or something else that is no file")));
        }
        if entry.size() > MOST_BYTES as u64 {
            return Err(BadBundle(format!("{name:?} claims {} bytes, and {MOST_BYTES} is the most", entry.size())));
        }
        if parts.iter().any(|part| part.name == name) {
            return Err(BadBundle(format!("{name:?} is there twice")));
        }
        if parts.len() == MOST_PARTS {
            return Err(BadBundle(format!("it has more than {MOST_PARTS} parts")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(torn)?;
        if bytes.len() as u64 != entry.size() {
            return Err(BadBundle(format!("it ends in the middle of {name:?}")));
        }
        parts.push(Part { name, bytes });
    }
    // The checksum stands at the very end.
    io::copy(&mut unpacked, &mut io::sink()).map_err(torn)?;
    if unpacked.limit() == 0 {
        return Err(BadBundle(format!("it unpacks to more than {MOST_UNPACKED} bytes")));
    }
    if parts.first().is_none_or(|part| part.name != "manifest.json") {
        return Err(BadBundle("it does not begin with manifest.json".to_owned()));
    }
    Ok(parts)
}

/// A single name, that stays where it is unpacked.
fn name(entry: &tar::Entry<'_, impl Read>) -> Result<String, BadBundle> {
    let bad = |shown: String| BadBundle(format!("a part is called {shown:?}, which is no plain name"));
    let path = entry.path().map_err(|_| bad(String::from_utf8_lossy(&entry.path_bytes()).into_owned()))?;
    let mut components = path.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) if name.to_str().is_some_and(|name| !name.contains(['\\', ':'])) => {
            Ok(name.to_string_lossy().into_owned())
        }
        _ => Err(bad(path.display().to_string())),
    }
}
