//! As much of a shell as the commands of `case.toml` need: lists, `&`, `wait`, `sleep`, `echo` in front of a pipe, and loops.

/// One command of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What is piped into it, if anything is.
    pub(super) piped: Vec<Feed>,
    /// Its words, the first of which is its name.
    pub(super) words: Vec<String>,
    /// Whether the next one begins at once.
    pub(super) behind: bool,
}

/// What feeds a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    Echo(String),
    Sleep(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
}

/// The commands of a line, with its loops unrolled.
///
/// # Errors
/// What is not understood, in words that follow the line.
pub(super) fn read(line: &str) -> Result<Vec<Step>, String> {
    let tokens = unrolled(&tokens(line)?)?;
    let (mut steps, mut piped, mut words, mut in_group) = (Vec::new(), Vec::new(), Vec::new(), false);
    for token in tokens.into_iter().chain([Token::Sign(';')]) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Sign('(') => in_group = true,
            Token::Sign(')') => {
                piped.extend(feed(&std::mem::take(&mut words))?);
                in_group = false;
            }
            Token::Sign(_) if in_group => piped.extend(feed(&std::mem::take(&mut words))?),
            Token::Sign('|') => piped.extend(feed(&std::mem::take(&mut words))?),
            Token::Sign(sign) => {
                let (piped, words) = (std::mem::take(&mut piped), std::mem::take(&mut words));
                if !words.is_empty() {
                    steps.push(Step { piped, words, behind: sign == '&' });
                }
            }
        }
    }
    Ok(steps)
}

/// The words and signs of a line.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut word) = (Vec::new(), None::<String>);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some(next) if next == letter => break,
                        // A loop's variable is none in single quotes.
                        Some('$') if letter == '\'' => return Err("has a `$` in single quotes".to_owned()),
                        Some(next) => word.push(next),
                        None => return Err("has a quote that does not end".to_owned()),
                    }
                }
            }
            ' ' => tokens.extend(word.take().map(Token::Word)),
            ';' | '&' | '|' | '(' | ')' => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::Sign(letter));
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

/// The tokens with `for NAME in WORDS; do BODY; done` as the body for each word.
fn unrolled(tokens: &[Token]) -> Result<Vec<Token>, String> {
    let is = |token: &Token, word: &str| matches!(token, Token::Word(there) if there == word);
    let Some(begin) = tokens.iter().position(|token| is(token, "for")) else { return Ok(tokens.to_vec()) };
    let (before, rest) = tokens.split_at(begin);
    let part = |word: &str| rest.iter().position(|token| is(token, word));
    let (Some(does), Some(done), Some(Token::Word(name))) = (part("do"), part("done"), rest.get(1)) else {
        return Err("has a loop without `do` and `done`".to_owned());
    };
    let (values, body, after) = (&rest[3..does], &rest[does + 1..done], &rest[done + 1..]);
    let mut all = before.to_vec();
    for value in values {
        let Token::Word(value) = value else { continue };
        all.extend(body.iter().map(|token| match token {
            Token::Word(word) => Token::Word(word.replace(&format!("${name}"), value)),
            sign => sign.clone(),
        }));
        if !matches!(body.last(), Some(Token::Sign(';' | '&'))) {
            all.push(Token::Sign(';'));
        }
    }
    all.extend(unrolled(after)?);
    Ok(all)
}

/// What a command in front of a pipe feeds into it.
fn feed(words: &[String]) -> Result<Option<Feed>, String> {
    match words {
        [] => Ok(None),
        [name, text] if name == "echo" => Ok(Some(Feed::Echo(format!("{text}\n")))),
        [name, seconds] if name == "sleep" => Ok(Some(Feed::Sleep(whole(seconds)?))),
        other => Err(format!("has `{}` in front of a pipe, where only `echo` and `sleep` may be", other.join(" "))),
    }
}

/// A number of seconds.
///
/// # Errors
/// What it is, if it is no whole number.
pub(super) fn whole(seconds: &str) -> Result<u64, String> {
    seconds.parse().map_err(|_| format!("has `{seconds}` where a whole number of seconds belongs"))
}

#[cfg(test)]
mod tests {
    use super::{Feed, read};

    /// The commands in one line each.
    fn told(line: &str) -> Vec<String> {
        let steps = read(line).expect("it can be read");
        let sign = |behind| if behind { " &" } else { "" };
        steps.iter().map(|step| format!("{}{}", step.words.join("|"), sign(step.behind))).collect()
    }

    #[test]
    fn a_list_is_its_commands() {
        assert_eq!(told("curl -H 'a: b c' x & sleep 1; wait"), ["curl|-H|a: b c|x &", "sleep|1", "wait"]);
    }

    #[test]
    fn a_loop_is_its_body_for_each_word() {
        assert_eq!(told(r#"for n in 1 2; do curl "r-$n"; done; wait"#), ["curl|r-1", "curl|r-2", "wait"]);
        assert_eq!(told("for n in 1 2; do curl $n & done; wait"), ["curl|1 &", "curl|2 &", "wait"]);
    }

    #[test]
    fn a_pipe_is_fed_in_time() {
        let steps = read("for n in 7; do (echo $n; sleep 3) | curl x & done").expect("it can be read");
        assert_eq!(steps[0].piped, [Feed::Echo("7\n".to_owned()), Feed::Sleep(3)]);
        assert!(steps[0].behind);
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        assert_eq!(
            read("cat x | curl y").unwrap_err(),
            "has `cat x` in front of a pipe, where only `echo` and `sleep` may be"
        );
        assert_eq!(read("curl 'x").unwrap_err(), "has a quote that does not end");
        assert_eq!(read("for n in 1; curl x").unwrap_err(), "has a loop without `do` and `done`");
    }
}
