//! The commands of the trainer's side.

use std::{num::NonZeroU32, path::PathBuf};

use clap::Subcommand;

use super::{agenda, board, handout, kit, pack, preflight, slides};
use crate::{Refusal, catalogue::case::Family, checkout::Checkout};

/// The commands for whoever runs a workshop, and for those who prepare for one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A run sheet for exactly that many minutes
    #[command(after_help = "Examples:
  cargo ghosts agenda --minutes 90 --people 12
  cargo ghosts agenda --minutes 180 --families time,streams
  cargo ghosts agenda --minutes 60 --format markdown > agenda.md")]
    Agenda {
        /// How long the workshop is
        #[arg(long)]
        minutes: u32,
        /// How many people take part
        #[arg(long)]
        people: Option<NonZeroU32>,
        /// Only ghosts of these families
        #[arg(long, value_delimiter = ',')]
        families: Vec<Family>,
        /// The output format
        #[arg(long, default_value = "text")]
        format: agenda::Format,
    },
    /// The page of a ghost to hand out, without its cause
    #[command(after_help = "Examples:
  cargo ghosts handout hidden-flush
  cargo ghosts handout --all --format html > handouts.html")]
    Handout {
        /// The ghost
        slug: Option<String>,
        /// A page for each ghost
        #[arg(long)]
        all: bool,
        /// The output format
        #[arg(long, default_value = "text")]
        format: handout::Format,
    },
    /// Pages for the big screen, one idea each, with notes
    ///
    /// One HTML file. Arrow keys turn them, N opens the notes in a second window, F fills the screen.
    #[command(after_help = "Examples:
  cargo ghosts slides hidden-flush leaked-permit > slides.html
  cargo ghosts slides --all > slides.html")]
    Slides {
        /// The ghosts, in the order of the day
        #[arg(value_name = "SLUG")]
        slugs: Vec<String>,
        /// Those of every ghost
        #[arg(long)]
        all: bool,
    },
    /// All that a day of a workshop needs, in a new folder
    ///
    /// Run sheet, slides, handouts, answers, an evaluation, and the mails before and after.
    #[command(after_help = "Examples:
  cargo ghosts pack monday --minutes 90 --people 12")]
    Pack {
        /// Where to write it
        folder: PathBuf,
        /// How long the workshop is
        #[arg(long)]
        minutes: u32,
        /// How many people come
        #[arg(long)]
        people: Option<NonZeroU32>,
        /// Only ghosts of these families
        #[arg(long, value_delimiter = ',')]
        families: Vec<Family>,
    },
    /// Who has solved what, from the participants' progress files
    #[command(after_help = "Examples:
  cargo ghosts board ada.jsonl bob.jsonl
  cargo ghosts board collected/
  cargo ghosts board collected/ --html board.html")]
    Board {
        /// Progress files, each named after its participant, or folders of them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Write it to one HTML file as well
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Whether this machine is ready for a workshop
    ///
    /// Run it a week before, with a network: it fetches every source and builds everything once.
    #[command(after_help = "Examples:
  cargo ghosts preflight
  cargo ghosts preflight --kit ghosts-kit.tar.gz")]
    Preflight {
        /// Take all sources from this kit first; you need no network then
        #[arg(long, value_name = "FILE")]
        kit: Option<PathBuf>,
    },
    /// The repository and all sources in one file, for a bad network
    #[command(after_help = "Examples:
  cargo ghosts kit
  cargo ghosts kit /media/stick/ghosts-kit.tar.gz")]
    Kit {
        /// Where to write it
        #[arg(default_value = "ghosts-kit.tar.gz")]
        file: PathBuf,
    },
}

/// Does as the command says.
///
/// # Errors
/// As the command says.
pub fn run(checkout: &Checkout, command: Command, json: bool) -> Result<bool, Refusal> {
    match command {
        Command::Agenda { minutes, people, families, format } => {
            agenda::run(checkout, minutes, people.map(NonZeroU32::get), &families, format, json)
        }
        Command::Handout { slug, all, format } => handout::run(checkout, slug.as_deref(), all, format, json),
        Command::Slides { slugs, all } => slides::run(checkout, &slugs, all, json),
        Command::Pack { folder, minutes, people, families } => {
            pack::run(checkout, &folder, minutes, people.map(NonZeroU32::get), &families, json)
        }
        Command::Board { paths, html } => board::run(&paths, html.as_deref(), json),
        Command::Preflight { kit } => preflight::run(checkout, kit.as_deref(), json),
        Command::Kit { file } => kit::run(checkout, &file, json),
    }
}
