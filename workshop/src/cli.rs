//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    Refusal,
    catalogue::ghosts,
    checkout::Checkout,
    completions,
    conform::measured,
    learn::{check, exercise::Exercise, hints, list, solution, start, watch},
    make::{regenerate, skeleton},
    read::{
        book::{self, Wanted},
        classify, diff, drill, serve, show, tour,
    },
    train::trainer,
};

/// The ghosts of the middleware: failures that pass review and haunt production.
#[derive(Debug, Parser)]
#[command(name = "ghosts", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without it, the tour: every ghost and its verdicts in one table
    #[command(subcommand)]
    command: Option<Command>,
    /// Report as JSON
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run                                       the tour
  cargo ghosts show hidden-flush                  the story of one ghost
  cargo ghosts serve hidden-flush                 the broken twin, for curl
  cargo ghosts serve hidden-flush --fixed --port 0
  cargo ghosts diff hidden-flush                  what laid it to rest
  cargo ghosts start hidden-flush                 the broken twin, yours to fix
  cargo ghosts check hidden-flush                 whether it is laid to rest
  cargo ghosts watch hidden-flush                 the same, on every save
  cargo run -- book                               the book, in a browser";

#[derive(Debug, Subcommand)]
enum Command {
    /// The story of one ghost: its symptom, and the reports of its twins
    #[command(after_help = "Examples:
  cargo ghosts show hidden-flush
  cargo ghosts show hidden-flush --near-misses
  cargo ghosts show hidden-flush --json")]
    Show {
        /// The ghost
        slug: String,
        /// The near misses too: how each differs from the broken twin, and its report
        #[arg(long)]
        near_misses: bool,
    },
    /// One twin on a real socket on 127.0.0.1, until Ctrl-C
    #[command(after_help = "Examples:
  cargo ghosts serve hidden-flush
  cargo ghosts serve hidden-flush --fixed --port 0")]
    Serve {
        /// The ghost
        slug: String,
        /// The fixed twin instead of the broken one
        #[arg(long)]
        fixed: bool,
        /// The port; 0 takes any free one
        #[arg(long, default_value_t = 3000)]
        port: u16,
        /// Where the log of blocked-log-channel goes: a file, or a named pipe
        #[arg(long, value_name = "PATH")]
        log: Option<PathBuf>,
    },
    /// An incident to practise on: four services, one of them haunted
    ///
    /// The first time, it is built: that takes a minute or two.
    #[command(after_help = "Examples:
  cargo ghosts drill
  cargo ghosts drill --seed 1 --open
  cargo ghosts drill --terminal
  cargo ghosts drill --room")]
    Drill {
        #[command(flatten)]
        asked: drill::Asked,
        #[command(flatten)]
        without: WithoutJson,
    },
    /// What an incident bundle, or the evidence of a drill, says it was
    #[command(after_help = "Examples:
  curl -s http://127.0.0.1:3100/evidence.json > evidence.json
  cargo ghosts classify evidence.json
  cargo ghosts classify /var/lib/shop/bundles
  cargo ghosts classify --all --seeds 1")]
    Classify {
        #[command(flatten)]
        asked: classify::Asked,
    },
    /// The difference between the twins
    #[command(after_help = "Examples:
  cargo ghosts diff hidden-flush")]
    Diff {
        /// The ghost
        slug: String,
    },
    /// An exercise: the broken twin, yours to fix
    #[command(after_help = "Examples:
  cargo ghosts start
  cargo ghosts start hidden-flush")]
    Start {
        /// The ghost; without it, the next one
        slug: Option<String>,
    },
    /// Your exercise, built and judged by the promises
    #[command(after_help = "Examples:
  cargo ghosts check hidden-flush
  cd exercises/hidden-flush && cargo ghosts check
  cargo ghosts check hidden-flush --wire
  cargo ghosts check hidden-flush --junit verdicts.xml")]
    Check {
        /// The ghost; without it, the folder's own or the one you worked on last
        slug: Option<String>,
        /// Write the verdicts to this file too, as JUnit XML
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Show also what crossed the wire, where a promise is broken
        #[arg(long)]
        wire: bool,
    },
    /// The next of four hints, from where to look to the fix
    #[command(after_help = "Examples:
  cargo ghosts hint hidden-flush
  cargo ghosts hint hidden-flush --again
  cd exercises/hidden-flush && cargo ghosts hint")]
    Hint {
        /// The ghost; without it, the folder's own or the one you worked on last
        slug: Option<String>,
        /// Show the hints that you have taken again, and take no new one
        #[arg(long)]
        again: bool,
    },
    /// The fix as a diff against your files, each piece with its reason
    #[command(after_help = "Examples:
  cargo ghosts solution hidden-flush
  cargo ghosts solution hidden-flush --yes")]
    Solution {
        /// The ghost; without it, the folder's own or the one you worked on last
        slug: Option<String>,
        /// Don't ask, even if the ghost isn't laid to rest yet
        #[arg(long)]
        yes: bool,
    },
    /// Your exercise as it was at the start; what you have is kept aside
    #[command(after_help = "Examples:
  cargo ghosts reset hidden-flush")]
    Reset {
        /// The ghost; without it, the folder's own or the one you worked on last
        slug: Option<String>,
    },
    /// All ghosts, and how far you've come with each
    #[command(after_help = "Examples:
  cargo ghosts list
  cargo ghosts list --json")]
    List,
    /// The skeleton of a new ghost, and the lines to add by hand
    #[command(after_help = "Examples:
  cargo ghosts new silver-lining")]
    New {
        /// Its name, kebab-case, by mechanism
        slug: String,
    },
    /// Published layers, judged by the conformance suite
    #[command(after_help = "Examples:
  cargo ghosts conform
  cargo ghosts conform TimeoutLayer --json
  cargo ghosts conform --field")]
    Conform {
        /// Part of the names of the rows to judge; without it, all
        part: Option<String>,
        /// The layers of other crates, in a workspace of their own: builds some 300 of them, judges, and keeps the result
        #[arg(long)]
        field: bool,
    },
    /// Every generated file that's committed, made again
    #[command(after_help = "Examples:
  cargo ghosts regenerate")]
    Regenerate,
    /// The book, built and served on 127.0.0.1 until Ctrl-C
    #[command(after_help = "Examples:
  cargo run -- book
  cargo run -- book --build
  cargo run -- book --pdf")]
    Book {
        /// Build it into book/book and serve nothing
        #[arg(long)]
        build: bool,
        /// Print it into book/book as a PDF, with Chromium
        #[arg(long, conflicts_with = "build")]
        pdf: bool,
        /// The port; 0 takes any free one
        #[arg(long, default_value_t = 3001)]
        port: u16,
        #[command(flatten)]
        without: WithoutJson,
    },
    /// Completions for a shell
    ///
    /// They complete the command `ghosts`, which `cargo install --path workshop` installs.
    #[command(after_help = "Examples:
  source <(ghosts completions bash)
  ghosts completions zsh > ~/.zfunc/_ghosts
  ghosts completions fish > ~/.config/fish/completions/ghosts.fish
  ghosts completions powershell | Out-String | Invoke-Expression")]
    Completions {
        /// The shell
        shell: Shell,
        #[command(flatten)]
        without: WithoutJson,
    },
    /// The page of the manual
    #[command(after_help = "Examples:
  cargo ghosts man > ghosts.1 && man ./ghosts.1
  cargo ghosts man --into target/man")]
    Man {
        /// Write a page for each command as well, into this folder
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        #[command(flatten)]
        without: WithoutJson,
    },
    /// Your exercise, judged on every save
    #[command(after_help = "Examples:
  cargo ghosts watch hidden-flush
  cd exercises/hidden-flush && cargo ghosts watch
  cargo ghosts watch hidden-flush --manual-run")]
    Watch {
        /// The ghost; without it, the folder's own or the one you worked on last
        slug: Option<String>,
        /// Judge when you press a key, where file events don't arrive (WSL, network drives)
        #[arg(long)]
        manual_run: bool,
        #[command(flatten)]
        without: WithoutJson,
    },
    /// What a trainer needs.
    #[command(flatten)]
    Trainer(trainer::Command),
}

/// In place of the `--json` of all commands, for those that report nothing: it is not offered, and refused.
#[derive(Clone, Copy, Debug, Args)]
struct WithoutJson {
    #[arg(long = "json", id = "json", hide = true)]
    asked: bool,
}

impl WithoutJson {
    fn heeded(self, command: &str, instead: &str) -> Result<(), Refusal> {
        if !self.asked {
            return Ok(());
        }
        Err(Refusal::new(format!("`{command}` has nothing to report as JSON; {instead}")))
    }
}

/// Does as the command line says.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(refusal) => {
            // Standard error may be closed too; there is nobody left to tell.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("ghosts: {refusal}\n").as_bytes());
            ExitCode::from(2)
        }
    }
}

/// Whether every verdict is as it should be.
fn dispatch(cli: Cli) -> Result<bool, Refusal> {
    let checkout = Checkout::here();
    let meant = |slug: Option<String>| Exercise::meant(&checkout, slug.as_deref());
    match cli.command {
        None => tour::run(&checkout, cli.json),
        Some(Command::Show { slug, near_misses }) => show::run(&checkout, ghosts::find(&slug)?, near_misses, cli.json),
        Some(Command::Serve { slug, fixed, port, log }) => {
            serve::run(&checkout, ghosts::find(&slug)?, fixed, port, log.as_deref(), cli.json)
        }
        Some(Command::Drill { asked, without }) => {
            without.heeded("drill", "what came of it is in exercises/progress.jsonl")?;
            drill::run(&checkout, &asked)
        }
        Some(Command::Classify { asked }) => classify::run(&checkout, &asked, cli.json),
        Some(Command::Diff { slug }) => diff::run(&checkout, ghosts::find(&slug)?, cli.json),
        Some(Command::Start { slug }) => start::run(&checkout, slug.as_deref(), cli.json),
        Some(Command::Check { slug, junit, wire }) => check::run_once(&meant(slug)?, junit.as_deref(), wire, cli.json),
        Some(Command::Hint { slug, again }) => hints::run(&meant(slug)?, again, cli.json),
        Some(Command::Solution { slug, yes }) => solution::run(&meant(slug)?, yes, cli.json),
        Some(Command::Reset { slug }) => start::reset(&meant(slug)?, cli.json),
        Some(Command::List) => list::run(&checkout, cli.json),
        Some(Command::New { slug }) => skeleton::run(&checkout, &slug, cli.json),
        Some(Command::Conform { part, field }) => measured::run(&checkout, part.as_deref(), field, cli.json),
        Some(Command::Regenerate) => regenerate::run(&checkout, cli.json),
        Some(Command::Book { build, pdf, port, without }) => {
            without.heeded("book", "leave --json out")?;
            let wanted = match (pdf, build) {
                (true, _) => Wanted::Printed,
                (_, true) => Wanted::Built,
                _ => Wanted::Served(port),
            };
            book::run(&checkout, wanted)
        }
        Some(Command::Completions { shell, without }) => {
            without.heeded("completions", "what it prints is for a shell")?;
            completions::run(Cli::command(), shell)
        }
        Some(Command::Man { into, without }) => {
            without.heeded("man", "what it prints is for man")?;
            completions::man(Cli::command(), into.as_deref())
        }
        Some(Command::Watch { slug, manual_run, without }) => {
            watch::run(&meant(slug)?, manual_run, cli.json || without.asked)
        }
        Some(Command::Trainer(command)) => trainer::run(&checkout, command, cli.json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_completes_every_command() {
        let command = Cli::command();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let script = completions::script(Cli::command(), shell);
            for command in command.get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn bash_and_zsh_complete_the_slugs() {
        for shell in [Shell::Bash, Shell::Zsh] {
            let script = completions::script(Cli::command(), shell);
            for ghost in ghosts::ALL.iter() {
                assert!(script.contains(ghost.slug), "{shell}: {}", ghost.slug);
            }
        }
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n"), "`ghosts {}` shows no example", command.get_name());
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
