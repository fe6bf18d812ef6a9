//! The terminal: single keys, a clean screen, and everything as it was at the end.

use std::{
    env,
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

use super::view::Scroll;

/// What a learner asks for with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The hints that were taken, or the next one.
    Hint,
    /// Back to the start.
    Reset,
    /// What crossed the wire, or no longer.
    Show,
    /// The next ghost.
    Next,
    /// All ghosts, or no longer.
    List,
    /// The ghost of this number, from 1; only where a line is said.
    Number(usize),
    /// Judge now; in a list, go there.
    Check,
    /// Judge now, wherever we are.
    Judge,
    /// Another part of what there is no room for.
    Scroll(Scroll),
    /// Away with what is in the place of the verdict.
    Back,
    /// Stop for now, as Ctrl-Z does.
    Suspend,
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
            'l' => Self::List,
            'c' => Self::Judge,
            '\r' | '\n' => Self::Check,
            'j' => Self::Scroll(Scroll::Lines(1)),
            'k' => Self::Scroll(Scroll::Lines(-1)),
            ' ' => Self::Scroll(Scroll::Pages(1)),
            'q' => Self::Quit,
            _ => Self::Other,
        }
    }

    /// What a line asks for.
    fn said(line: &str) -> Self {
        let line = line.trim();
        line.parse().map_or_else(|_| Self::of(line.chars().next().unwrap_or('\n')), Self::Number)
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
    /// A line for each key, and output that grows: why there is no more.
    Lines(&'static str),
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
        let dumb = env::var_os("TERM").is_some_and(|name| name == "dumb");
        let manner = if both && dumb {
            Manner::Lines("This terminal can't move its cursor")
        } else if both && terminal::enable_raw_mode().is_ok() {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // Or the message is a staircase, and the shell does not echo.
                let _ = terminal::disable_raw_mode();
                before(info);
            }));
            Manner::Screen
        } else if lines {
            Manner::Lines("Standard input isn't a terminal")
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
            Manner::Lines(_) => drop(thread::spawn(move || {
                for line in io::stdin().lock().lines().map_while(Result::ok) {
                    tell(Input::Key(Key::said(&line)));
                }
                tell(Input::Key(Key::Quit));
            })),
            Manner::Silent => {}
        }
    }

    /// Takes the terminal over again: whoever has stopped us, a shell was there meanwhile.
    pub(super) fn take_again(&self) {
        if self.manner == Manner::Screen {
            // What is raw already is not made raw again, and the shell may have changed it.
            let _ = terminal::disable_raw_mode();
            let _ = terminal::enable_raw_mode();
        }
    }

    /// Does what Ctrl-Z does where the terminal is not raw: stops us and whoever has started us, and returns when we go on.
    pub(super) fn suspend(&self) {
        #[cfg(unix)]
        {
            let _ = terminal::disable_raw_mode();
            let _ = writeln!(io::stdout());
            let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
            self.take_again();
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

/// The columns and rows of the screen; 80 and 24 where none is told, or none is there, as in some containers.
pub(super) fn size() -> (usize, usize) {
    let (columns, rows) = terminal::size().unwrap_or_default();
    let or = |told: u16, otherwise| if told == 0 { otherwise } else { usize::from(told) };
    (or(columns, 80), or(rows, 24))
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
            KeyCode::Char('z') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Suspend,
            KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Other,
            KeyCode::Char(letter) => Key::of(letter),
            KeyCode::Enter => Key::Check,
            KeyCode::Esc => Key::Back,
            KeyCode::Up => Key::Scroll(Scroll::Lines(-1)),
            KeyCode::Down => Key::Scroll(Scroll::Lines(1)),
            KeyCode::PageUp => Key::Scroll(Scroll::Pages(-1)),
            KeyCode::PageDown => Key::Scroll(Scroll::Pages(1)),
            KeyCode::Home => Key::Scroll(Scroll::Begin),
            KeyCode::End => Key::Scroll(Scroll::End),
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
            ('c', Key::Judge),
            ('l', Key::List),
            ('q', Key::Quit),
        ] {
            assert_eq!(pressed(KeyCode::Char(letter), KeyModifiers::NONE), Some(Input::Key(key)), "{letter}");
        }
        assert_eq!(pressed(KeyCode::Enter, KeyModifiers::NONE), Some(Input::Key(Key::Check)));
        assert_eq!(pressed(KeyCode::Esc, KeyModifiers::NONE), Some(Input::Key(Key::Back)));
        assert_eq!(pressed(KeyCode::Char('z'), KeyModifiers::CONTROL), Some(Input::Key(Key::Suspend)));
        assert_eq!((Key::said(" 12 "), Key::said("hint"), Key::said("")), (Key::Number(12), Key::Hint, Key::Check));
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
