//! What on-call may type at 3 a.m.: each command on a broken twin of its own, after what has happened that night.

use std::fmt::Write;

use super::{LOG_FILE, Shown, played, terminal};
use crate::{
    Refusal,
    catalogue::{
        case::{Case, Choice},
        ghosts::Ghost,
    },
    html::{escaped, inline},
};

/// What a reader has to know of the choices.
const TOLD: &str = "Each answers with what the broken twin prints. The minutes are the story's: nobody measured them.";

/// What each choice of the case shows.
///
/// # Errors
/// If a command is not understood, or does not end.
pub fn play<'a>(ghost: &'static Ghost, case: &'a Case) -> Result<Vec<(&'a Choice, Shown)>, Refusal> {
    let shown = |choice: &'a Choice| {
        let night = case.night.iter().map(|night| (night.as_str(), 0));
        let commands: Vec<_> = night.chain([(choice.run.as_str(), 0)]).collect();
        Ok((choice, played(ghost, &commands, false)?.pop().unwrap_or_default()))
    };
    case.choices.iter().map(shown).collect()
}

/// The choices for a chapter: each is a fold, so that nobody reads an answer before the command is chosen.
///
/// # Errors
/// As [`play`].
pub(in crate::make) fn page(ghost: &'static Ghost, case: &Case) -> Result<String, Refusal> {
    let mut html = format!(
        "<div class=\"choices\" lang=\"en\" translate=\"no\">\n<p><b>Choose the next command.</b> {TOLD}</p>\n"
    );
    for (choice, shown) in play(ghost, case)? {
        let command = choice.run.replace("{base}", "http://127.0.0.1:3000");
        let best = if choice.best { " best" } else { "" };
        let minutes = if choice.minutes == 1 { "1 minute".to_owned() } else { format!("{} minutes", choice.minutes) };
        let timed = shown.client.iter().any(|line| line.at_ms >= 50);
        // Writing to a String cannot fail.
        let _ = writeln!(
            html,
            "<details class=\"choice{best}\">\n<summary><code>{}</code> <small>{minutes}</small></summary>",
            escaped(&command)
        );
        terminal(&mut html, "client", &shown.client, timed);
        let most = if choice.best { " <b>This tells the most.</b>" } else { "" };
        let _ = write!(html, "<p>{}{most}</p>\n</details>\n", inline(&choice.tells));
    }
    if let Some(night) = &case.night {
        let night = escaped(&night.replace("{base}", "http://127.0.0.1:3000"));
        let _ = writeln!(html, "<p class=\"night\">Before each of them this was run: <code>{night}</code></p>");
    }
    if case.choices.iter().any(|choice| choice.run.ends_with(LOG_FILE)) {
        let _ =
            writeln!(html, "<p class=\"night\"><code>{LOG_FILE}</code> is what the server's terminal has shown.</p>");
    }
    html.push_str("</div>\n");
    Ok(html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::{case, ghosts},
        checkout::Checkout,
    };

    #[test]
    fn each_choice_has_the_night_behind_it() {
        let ghost = ghosts::find("leaked-permit").expect("a ghost");
        let case = case::read(&Checkout::here(), ghost.slug).expect("a case");
        let played = play(ghost, &case).expect("it can be played");
        let (_, told) = played.iter().find(|(choice, _)| choice.run == "curl -s {base}/stock/cups").expect("a choice");
        let lines: Vec<&str> = told.client.iter().map(|line| &*line.text).collect();
        assert_eq!(lines[0], "none of 2 connections came back in 2000 ms");
        assert!(lines[1].starts_with("r-1 has one for 32"), "{lines:?}");
        let (_, said) = played.iter().find(|(choice, _)| choice.run == "cat server.log").expect("a choice");
        assert_eq!(said.client[1].text, "database: connection 1 is asked: stock mugs");
    }
}
