//! A drill. It is a package of its own, which cargo builds when somebody asks for it: no first build has anything of it.

use clap::Args;

use crate::{
    Refusal,
    cargo::{become_it, cargo},
    catalogue::ghosts,
    checkout::Checkout,
};

/// What a drill is asked for.
#[derive(Clone, Debug, Args)]
pub struct Asked {
    /// The ghost; without it, the seed draws one, and nobody knows which
    pub slug: Option<String>,
    /// The same drill again
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// In this terminal, without a browser
    #[arg(long)]
    pub terminal: bool,
    /// A second symptom, which has nothing to do with the first
    #[arg(long)]
    pub hard: bool,
    /// Open the page in a browser
    #[arg(long, conflicts_with = "terminal")]
    pub open: bool,
    /// The trainer's screen too, for a group
    #[arg(long, conflicts_with = "terminal")]
    pub room: bool,
    /// The port of the page; 0 takes any free one
    #[arg(long, default_value_t = 3100)]
    pub port: u16,
}

impl Asked {
    /// The same as words of a command line.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.slug.iter().cloned().collect();
        words.extend(self.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
        let flags =
            [(self.terminal, "--terminal"), (self.hard, "--hard"), (self.open, "--open"), (self.room, "--room")];
        words.extend(flags.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag.to_owned()));
        words.extend(["--port".to_owned(), self.port.to_string()]);
        words
    }
}

/// Becomes the drill, which is built first where it is not yet.
///
/// # Errors
/// If the ghost is none, or cargo cannot be started.
pub fn run(checkout: &Checkout, asked: &Asked) -> Result<bool, Refusal> {
    if let Some(slug) = &asked.slug {
        ghosts::find(slug)?;
    }
    become_drills(checkout, &[], &asked.words())
}

/// Becomes the package of the drills.
pub(super) fn become_drills(checkout: &Checkout, features: &[&str], words: &[String]) -> Result<bool, Refusal> {
    let mut cargo = cargo(checkout.root());
    cargo.args(["run", "--quiet", "--config", "term.progress.when='always'", "--config", "term.progress.width=40"]);
    cargo.args(["--package", "drills"]);
    cargo.args(features.iter().flat_map(|feature| ["--features", feature])).arg("--").args(words);
    Err(Refusal::new(format!("cannot start cargo: {}", become_it(&mut cargo))))
}
