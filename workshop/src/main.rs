//! The command `ghosts`. `cargo run` without arguments is the tour.

use std::process::ExitCode;

use clap::Parser;
use ghosts::cli::Cli;

fn main() -> ExitCode {
    ghosts::cli::run(Cli::parse())
}
