//! The command `drills`, which `cargo ghosts drill` starts. Called with `load` it is the load of a drill.

use std::process::ExitCode;

use clap::Parser;
use drills::terminal::{Cli, Wanted};

fn main() -> ExitCode {
    let done = match Cli::parse().wanted() {
        Wanted::Load => drills::load::run(),
        Wanted::Classify(asked, json) => drills::terminal::classified(&asked, json),
        Wanted::Drill(asked) => drills::terminal::run(&asked),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // Standard error may be closed too; there is nobody left to tell.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("drill: {refusal}\n").as_bytes());
            ExitCode::from(2)
        }
    }
}
