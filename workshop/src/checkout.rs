//! A clone of this repository: everything in it is read and written by its name below the root, with `/` between folders.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
};

use crate::Refusal;

/// The folder of the exercises, below the root.
pub const EXERCISES: &str = "exercises";

/// A clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The clone in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The clone in the nearest folder above the current one, or else the one that this binary was built from.
    pub fn here() -> Self {
        let is_clone = |folder: &&Path| folder.join("workshop/Cargo.toml").is_file() && folder.join("cases").is_dir();
        let here = env::current_dir().unwrap_or_default();
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(""));
        Self::at(here.ancestors().find(is_clone).unwrap_or(built))
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where something of this name is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder of the exercises.
    pub fn exercises(&self) -> PathBuf {
        self.path(EXERCISES)
    }

    /// Whether there is something of this name.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The names in a folder, sorted; none where there is no such folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names_in(&self.path(folder))
    }

    /// A text file, with line feeds only.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn text(&self, name: &str) -> Result<String, Refusal> {
        let text = fs::read_to_string(self.path(name));
        text.map(|text| text.replace("\r\n", "\n"))
            .map_err(|error| Refusal::new(format!("cannot read {name}: {error}")))
    }

    /// Writes beside the file first, so that a full disk leaves the old one whole; each process at a place of its own.
    ///
    /// # Errors
    /// If it cannot be written. Nothing is left of it then.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.path(name).parent().map_or(Ok(()), fs::create_dir_all)?;
        self.replace(name, text)
    }

    /// Writes it as [`Checkout::write`] does, and makes no folder for it.
    ///
    /// # Errors
    /// As there, and if its folder is not there.
    pub fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.path(name);
        let beside = path.with_extension(format!("new-{}", process::id()));
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
    }
}

/// The names in any folder, sorted; none where there is no such folder.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// What cannot be written, why, and what to do.
pub(crate) fn unwritable(name: &str, error: &io::Error) -> Refusal {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; nothing was changed: free some space, and try again"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; work in a clone that you can write to"
        }
        _ => "; nothing was changed",
    };
    Refusal::new(format!("cannot write {name}: {error}{advice}"))
}
