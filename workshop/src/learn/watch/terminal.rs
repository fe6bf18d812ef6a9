//! The terminal: single keys, a clean screen, and everything as it was at the end.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    panic, thread,
};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use crossterm::{
    cursor::MoveTo,
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    queue,
    terminal::{self, Clear, ClearType},
};

/// What a learner asks for with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The next hint.
    Hint,
    /// Back to the start.
    Reset,
    /// What crossed the wire, or no longer.
    Show,
    /// The next ghost.
    Next,
    /// Judge now.
    Check,
    /// The end.
    Quit,
    /// Another key.
    Other,
}

impl Key {
    fn of(letter: char) -> Self {
        match letter.to_ascii_lowercase() {
            'h' => Self::Hint,
            'r' => Self::Reset,
            's' => Self::Show,
            'n' => Self::Next,
            'c' | '\r' | '\n' => Self::Check,
            'q' => Self::Quit,
            _ => Self::Other,
        }
    }
}

/// What comes from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A key was pressed.
    Key(Key),
    /// The terminal has another size.
    Resized,
}

/// How the learner is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Both ends are a terminal: single keys and a clean screen.
    Screen,
    /// A line for each key, and output that grows.
    Lines,
    /// No keys, and output that grows.
    Silent,
}

/// The terminal, as it was found when this is dropped or the program panics.
#[derive(Debug)]
pub(super) struct Terminal {
    manner: Manner,
}

impl Terminal {
    /// Takes the terminal over if there is one; else lines are read, if `lines` says so.
    pub(super) fn take(lines: bool) -> Self {
        let both = io::stdin().is_terminal() && io::stdout().is_terminal();
        let manner = if both && terminal::enable_raw_mode().is_ok() {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // Or the message is a staircase, and the shell does not echo.
                let _ = terminal::disable_raw_mode();
                before(info);
            }));
            Manner::Screen
        } else if lines {
            Manner::Lines
        } else {
            Manner::Silent
        };
        Self { manner }
    }

    /// How the learner is met.
    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// Tells of each key, and of the end of the input as of [`Key::Quit`], on a thread of its own.
    pub(super) fn listen(&self, tell: impl Fn(Input) + Send + 'static) {
        match self.manner {
            Manner::Screen => drop(thread::spawn(move || {
                while let Ok(event) = event::read() {
                    if let Some(input) = input(&event) {
                        tell(input);
                    }
                }
                // The terminal is gone.
                tell(Input::Key(Key::Quit));
            })),
            Manner::Lines => drop(thread::spawn(move || {
                for line in io::stdin().lock().lines().map_while(Result::ok) {
                    tell(Input::Key(Key::of(line.trim().chars().next().unwrap_or('\n'))));
                }
                tell(Input::Key(Key::Quit));
            })),
            Manner::Silent => {}
        }
    }

    /// Writes the text: on a screen that is clean first, or below what is there. False if nobody reads any more.
    pub(super) fn write(&self, text: &str) -> bool {
        let written = if self.manner == Manner::Screen {
            let mut out = io::stdout().lock();
            queue!(out, MoveTo(0, 0))
                .and_then(|()| out.write_all(over(text, colour()).as_bytes()))
                .and_then(|()| queue!(out, Clear(ClearType::FromCursorDown)))
                .and_then(|()| out.flush())
        } else {
            let mut out = AutoStream::new(io::stdout(), colour()).lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        written.is_ok()
    }
}

/// The text as it is written over what is on the screen, and not after a clear of all, which fills what can be scrolled back
/// to. Without colours it clears the end of each line all the same.
fn over(text: &str, colour: ColorChoice) -> String {
    let text = if colour == ColorChoice::Never { strip_str(text).to_string() } else { text.to_owned() };
    text.trim_end_matches('\n').replace('\n', &format!("{}\r\n", Clear(ClearType::UntilNewLine)))
}

/// The columns and rows of the screen; 80 and 24 where none is told.
pub(super) fn size() -> (usize, usize) {
    terminal::size().map_or((80, 24), |(columns, rows)| (usize::from(columns), usize::from(rows)))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.manner == Manner::Screen {
            // There is nobody left to tell.
            let _ = terminal::disable_raw_mode();
            let _ = writeln!(io::stdout());
        }
    }
}

/// Whether our output is coloured.
pub(super) fn colour() -> ColorChoice {
    AutoStream::choice(&io::stdout())
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Resized),
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(Input::Key(match key.code {
            // Raw mode turns the signals of these keys off.
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
            KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Other,
            KeyCode::Char(letter) => Key::of(letter),
            KeyCode::Enter => Key::Check,
            _ => Key::Other,
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    fn pressed(code: KeyCode, modifiers: KeyModifiers) -> Option<Input> {
        input(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn the_end_of_each_line_is_cleared_with_and_without_colours() {
        let text = "\u{1b}[1mbold\u{1b}[0m\nplain\n";
        assert_eq!(over(text, ColorChoice::Never), "bold\u{1b}[K\r\nplain");
        assert_eq!(over(text, ColorChoice::Always), "\u{1b}[1mbold\u{1b}[0m\u{1b}[K\r\nplain");
    }

    #[test]
    fn each_key_asks_for_its_own() {
        for (letter, key) in [
            ('h', Key::Hint),
            ('R', Key::Reset),
            ('s', Key::Show),
            ('n', Key::Next),
            ('c', Key::Check),
            ('q', Key::Quit),
        ] {
            assert_eq!(pressed(KeyCode::Char(letter), KeyModifiers::NONE), Some(Input::Key(key)), "{letter}");
        }
        assert_eq!(pressed(KeyCode::Enter, KeyModifiers::NONE), Some(Input::Key(Key::Check)));
        assert_eq!(pressed(KeyCode::Esc, KeyModifiers::NONE), Some(Input::Key(Key::Other)));
    }

    #[test]
    fn the_keys_that_end_every_program_end_this_one() {
        for letter in ['c', 'd'] {
            let quit = Some(Input::Key(Key::Quit));
            assert_eq!(pressed(KeyCode::Char(letter), KeyModifiers::CONTROL), quit, "Ctrl-{letter}");
        }
        assert_eq!(pressed(KeyCode::Char('r'), KeyModifiers::CONTROL), Some(Input::Key(Key::Other)));
    }
}
