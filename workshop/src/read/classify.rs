//! The classifier of drills, which is in the package of the drills.

use std::path::{self, PathBuf};

use clap::{Args, value_parser};

use super::drill::become_drills;
use crate::{Refusal, checkout::Checkout};

/// What is to be classified.
#[derive(Clone, Debug, Args)]
pub struct Asked {
    /// The evidence: an incident bundle, a folder of them, or what a drill's page has at /evidence.json
    #[arg(required_unless_present_any = ["all", "detectors"])]
    pub file: Option<PathBuf>,
    /// Measure the classifier instead, with the twins and near misses under their load
    #[arg(long, conflicts_with = "file")]
    pub all: bool,
    /// Measure which look tells the broken twins from the fixed ones
    #[arg(long, conflicts_with_all = ["file", "all"])]
    pub detectors: bool,
    /// Only the twins, without the near misses
    #[arg(long, requires = "all")]
    pub twins: bool,
    /// How many seeds to measure the twins with
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Keep the evidence of each run below this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "from"])]
    pub keep: Option<PathBuf>,
    /// Measure nothing, and read the evidence that was kept there
    #[arg(long, value_name = "FOLDER", conflicts_with = "file")]
    pub from: Option<PathBuf>,
}

/// Becomes the classifier, which is built first where it is not yet.
///
/// # Errors
/// If cargo cannot be started.
pub fn run(checkout: &Checkout, asked: &Asked, json: bool) -> Result<bool, Refusal> {
    if json && asked.detectors {
        return Err(Refusal::new("the detectors are told as a table; leave --json out"));
    }
    let mut words = vec!["classify".to_owned()];
    // It is read from another folder than this one.
    let absolute = |path: &PathBuf| path::absolute(path).ok().map(|path| path.to_string_lossy().into_owned());
    words.extend(asked.file.as_ref().and_then(absolute));
    for (name, folder) in [("--keep", &asked.keep), ("--from", &asked.from)] {
        words.extend(folder.as_ref().and_then(absolute).into_iter().flat_map(|folder| [name.to_owned(), folder]));
    }
    words.extend(asked.all.then(|| "--all".to_owned()));
    words.extend(asked.detectors.then(|| "--detectors".to_owned()));
    words.extend(asked.twins.then(|| "--twins".to_owned()));
    words.extend(["--seeds".to_owned(), asked.seeds.to_string()]);
    words.extend(json.then(|| "--json".to_owned()));
    // The right fixes that are not ours are built for who measures them, and for nobody else.
    let features: &[&str] = if asked.all && !asked.twins { &["also-right"] } else { &[] };
    become_drills(checkout, features, &words)
}
