//! What a shell wants of the command line: completions, and the pages of the manual.

use std::{fs, path::Path};

use clap::{CommandFactory, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::{Refusal, cli::Cli, ghosts, print};

/// Prints the completions of one shell.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(shell: Shell) -> Result<bool, Refusal> {
    print(&script(shell))?;
    Ok(true)
}

/// Prints the page `ghosts(1)`, or writes it and one for each command into a folder.
///
/// # Errors
/// If the folder cannot be written, or standard output.
pub fn man(into: Option<&Path>) -> Result<bool, Refusal> {
    let Some(folder) = into else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).expect("a vector takes every byte");
        print(&String::from_utf8(page).expect("the help is text"))?;
        return Ok(true);
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| Refusal::new(format!("cannot write the pages into {}: {error}", folder.display())))?;
    print(&format!("the pages are in {0}; read one with: man {0}/ghosts.1\n", folder.display()))?;
    Ok(true)
}

/// The completions of one shell. Where a command wants the slug of a ghost, those of bash and zsh know them all; clap's
/// generators for the other shells complete commands and options only.
fn script(shell: Shell) -> String {
    let slugs = || PossibleValuesParser::new(ghosts::ALL.iter().map(|ghost| ghost.slug));
    let mut command = Cli::command().mut_subcommands(|command| {
        // The slug of a new ghost is none of these.
        let wanted = command.get_name() != "new" && command.get_arguments().any(|argument| argument.get_id() == "slug");
        if wanted { command.mut_arg("slug", |argument| argument.value_parser(slugs())) } else { command }
    });
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "ghosts", &mut script);
    String::from_utf8(script).expect("the help is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_completes_every_command() {
        let command = Cli::command();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let script = script(shell);
            for command in command.get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn bash_and_zsh_complete_the_slugs() {
        for shell in [Shell::Bash, Shell::Zsh] {
            let script = script(shell);
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
