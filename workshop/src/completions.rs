//! What a shell wants of a command line: completions, and the pages of the manual.

use std::{fs, path::Path};

use clap::{Command, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::{Refusal, catalogue::ghosts, terminal::print};

/// Prints the completions of one shell.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn run(command: Command, shell: Shell) -> Result<bool, Refusal> {
    print(&script(command, shell))?;
    Ok(true)
}

/// Prints the page `ghosts(1)`, or writes it and one for each command into a folder.
///
/// # Errors
/// If the folder cannot be written, or standard output.
pub(crate) fn man(command: Command, into: Option<&Path>) -> Result<bool, Refusal> {
    let Some(folder) = into else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).expect("a vector takes every byte");
        print(&String::from_utf8(page).expect("the help is text"))?;
        return Ok(true);
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|error| Refusal::new(format!("cannot write the pages into {}: {error}", folder.display())))?;
    print(&format!("the pages are in {0}; read one with: man {0}/ghosts.1\n", folder.display()))?;
    Ok(true)
}

/// The completions of one shell. Where a command wants the slug of a ghost, those of bash and zsh know them all; clap's
/// generators for the other shells complete commands and options only.
pub(crate) fn script(command: Command, shell: Shell) -> String {
    let slugs = || PossibleValuesParser::new(ghosts::ALL.iter().map(|ghost| ghost.slug));
    let mut command = command.mut_subcommands(|command| {
        // The slug of a new ghost is none of these.
        let wanted = command.get_name() != "new" && command.get_arguments().any(|argument| argument.get_id() == "slug");
        if wanted { command.mut_arg("slug", |argument| argument.value_parser(slugs())) } else { command }
    });
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "ghosts", &mut script);
    String::from_utf8(script).expect("the help is text")
}
