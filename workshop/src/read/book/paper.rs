//! The book on paper: Chromium prints the page in which mdBook has put all the others.

use std::{env, path::PathBuf};

use crate::Refusal;

/// What Chromium and its kin are called.
const BROWSERS: [&str; 6] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge"];
/// The variable that names one which is not in the path.
const VARIABLE: &str = "CHROMIUM";

/// Chromium, wherever it is.
///
/// # Errors
/// If it is nowhere: the sentence says how to get it.
pub(super) fn chromium() -> Result<PathBuf, Refusal> {
    if let Some(named) = env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from) {
        let missing = || Refusal::new(format!("{VARIABLE} names {}, and there is no such file", named.display()));
        return named.is_file().then(|| named.clone()).ok_or_else(missing);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let names = BROWSERS.map(|name| format!("{name}{}", env::consts::EXE_SUFFIX));
    let mut files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.find(|file| file.is_file()).ok_or_else(|| {
        Refusal::new(format!(
            "the PDF is printed by Chromium or Chrome, and neither is installed: install the package `chromium`, or set \
             {VARIABLE} to the program, or print the page print.html from any browser"
        ))
    })
}

#[cfg(feature = "book")]
pub use with_mdbook::write;

#[cfg(feature = "book")]
mod with_mdbook {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    use super::chromium;
    use crate::Refusal;

    const FILE: &str = "ghosts-in-the-middleware.pdf";

    /// Prints a built book into its own folder, and says where.
    ///
    /// # Errors
    /// If there is no Chromium, or it prints nothing.
    pub fn write(built: &Path) -> Result<PathBuf, Refusal> {
        let chromium = chromium()?;
        let file = built.join(FILE);
        let profile = built.join(".profile");
        let mut printing = Command::new(&chromium);
        printing
            .args(["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-dev-shm-usage", "--no-pdf-header-footer", "--generate-pdf-document-outline"])
            // It reads our own pages and nothing else; for the user root it would not start with its sandbox.
            .arg("--no-sandbox")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--print-to-pdf={}", file.display()))
            .arg(format!("file://{}", built.join("print.html").display()))
            .stdin(Stdio::null());
        let cannot = |why: String| Refusal::new(format!("{} cannot print the book: {why}", chromium.display()));
        let printed = printing.output().map_err(|error| cannot(error.to_string()))?;
        // What it wrote for itself is not the book's.
        let _ = fs::remove_dir_all(&profile);
        if !printed.status.success() || !file.is_file() {
            let said = String::from_utf8_lossy(&printed.stderr);
            return Err(cannot(said.lines().last().unwrap_or("it said nothing").to_owned()));
        }
        Ok(file)
    }
}
