//! Judges the layers of other crates and prints the rows as JSON: `field [PART OF A NAME]`. `cargo ghosts conform --field` runs
//! it and keeps what it prints.

mod adapters;
mod rows;

use std::process::ExitCode;

const LOCK: &str = include_str!("../Cargo.lock");

fn main() -> ExitCode {
    let part = std::env::args().nth(1);
    let printed = matrix::judge_all(rows::all(), part.as_deref(), LOCK)
        .and_then(|rows| serde_json::to_string_pretty(&rows).map_err(|error| error.to_string()));
    match printed {
        Ok(rows) => {
            println!("{rows}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("field: {sentence}");
            ExitCode::from(2)
        }
    }
}
