//! A line for a shell, over as many lines as 80 columns ask for: it can be pasted as it stands.

/// What is left of 80 columns beside a prompt and an indentation.
const WIDTH: usize = 76;

/// The line for the base address `base`, broken where the shell goes on by itself, or else behind a backslash.
pub(crate) fn typed(curl: &str, base: &str) -> String {
    let line = curl.replace("{base}", base);
    if line.len() <= WIDTH {
        return line;
    }
    let mut lines = vec![String::new()];
    for command in commands(&line) {
        let last = lines.last_mut().expect("there is one");
        let place = last.len() + usize::from(!last.is_empty()) + command.join(" ").len();
        if place <= WIDTH || last.is_empty() && command.join(" ").len() <= WIDTH {
            push(last, &command.join(" "));
            continue;
        }
        if !last.is_empty() {
            lines.push("  ".to_owned());
        }
        for word in command {
            let last = lines.last_mut().expect("there is one");
            // Two columns are for the backslash.
            if last.trim().is_empty() || last.len() + 1 + word.len() <= WIDTH - 2 {
                push(last, word);
            } else {
                last.push_str(" \\");
                lines.push(format!("    {word}"));
            }
        }
    }
    lines.join("\n")
}

/// Adds a word behind a blank, but for the first of a line.
fn push(line: &mut String, word: &str) {
    if !line.trim().is_empty() {
        line.push(' ');
    }
    line.push_str(word);
}

/// The words of each command, with the sign behind which a shell goes on in the next line.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let mut commands = vec![Vec::new()];
    for word in words(line) {
        commands.last_mut().expect("there is one").push(word);
        if word.ends_with(';') || ["&", "|", "do"].contains(&word) {
            commands.push(Vec::new());
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// The parts between blanks that stand in no quotes.
fn words(line: &str) -> Vec<&str> {
    let (mut quote, mut from, mut words) = (None, 0, Vec::new());
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => {
                words.push(&line[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    words.push(&line[from..]);
    words
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, typed};
    use crate::{
        catalogue::{case, ghosts},
        checkout::Checkout,
    };

    #[test]
    fn every_line_of_every_case_fits_and_says_the_same() {
        for ghost in ghosts::ALL.iter() {
            for told in case::read(&Checkout::here(), ghost.slug).unwrap().tries {
                let lines = typed(&told.curl, "http://127.0.0.1:3000");
                assert!(lines.lines().all(|line| line.len() <= WIDTH), "{lines}");
                let one: Vec<&str> =
                    lines.lines().map(|line| line.trim_start().trim_end_matches('\\').trim_end()).collect();
                assert_eq!(one.join(" "), told.curl.replace("{base}", "http://127.0.0.1:3000"));
            }
        }
    }

    #[test]
    fn a_line_is_broken_behind_a_command_or_else_behind_a_word() {
        let base = "http://127.0.0.1:3000";
        assert_eq!(typed("curl {base}/a; curl {base}/b", base), format!("curl {base}/a; curl {base}/b"));
        let long = "for n in 1 2; do curl -s {base}/stock/a-rather-long-name-for-a-plate; done; curl -s {base}/'a; b'";
        let expected = format!(
            "for n in 1 2; do\n  curl -s {base}/stock/a-rather-long-name-for-a-plate; done;\n  curl -s {base}/'a; b'"
        );
        assert_eq!(typed(long, base), expected);
        let one = "curl -sS -m 3 -H 'transfer-encoding: chunked' -d letters -w '%{http_code}' {base}/upload";
        let expected = format!(
            "curl -sS -m 3 -H 'transfer-encoding: chunked' -d letters -w '%{{http_code}}' \\\n    {base}/upload"
        );
        assert_eq!(typed(one, base), expected);
    }
}
