//! The board: who has solved what, from the participants' progress files.
//!
//! Names and files come from other people. A name is escaped wherever it is shown, a line that is no event is left out and
//! named, and no file is read that is too large, a link or no file at all.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use textwrap::core::display_width;

use crate::{
    Refusal,
    catalogue::ghosts,
    html::escaped,
    progress::{self, Deed, Model, Progress, State, Summary, Tried},
    terminal::{print, print_json},
};

/// A day of work leaves some 100 KB.
const LARGEST: u64 = 4 << 20;
/// How many lines of one file are named when they are no events.
const NAMED: usize = 3;
/// What a terminal is wide, at least.
const COLUMNS: usize = 80;
const NAME: usize = 13;
const CELL: usize = 6;
/// How many ghosts stand side by side in a terminal.
const ABREAST: usize = (COLUMNS - NAME) / (CELL + 1);
/// How a board begins, so that no other file is written over.
const FIRST_LINES: &str = "<!DOCTYPE html>\n<!-- A board of ghosts. -->\n";

/// Everybody's progress.
#[derive(Debug, Default, Serialize)]
pub struct Board {
    schema: u32,
    ghosts: Vec<&'static str>,
    people: Vec<Person>,
    /// Names that several files have, a sentence each.
    named_alike: Vec<String>,
    /// What was left out, a sentence each.
    left_out: Vec<String>,
}

/// One participant.
#[derive(Debug, Serialize)]
struct Person {
    name: String,
    /// Which of those of this name, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
    file: String,
    /// For each ghost of the board, in its order.
    cells: Vec<Cell>,
    solved: usize,
    hints: usize,
    /// The drills that were answered, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    drills: Option<Drills>,
}

/// What came of a participant's drills.
#[derive(Debug, Default, Serialize)]
struct Drills {
    answered: usize,
    /// In how many of them the ghost was named right.
    named: usize,
}

/// How far one participant has come with one ghost.
#[derive(Debug, Serialize)]
struct Cell {
    slug: &'static str,
    #[serde(flatten)]
    summary: Summary,
    /// From the start to the solution.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
}

/// Prints the board of these files and folders, and writes it as HTML if asked to.
///
/// # Errors
/// If there is no progress file, or the HTML file cannot be written or is something else.
pub fn run(paths: &[PathBuf], html: Option<&Path>, json: bool) -> Result<bool, Refusal> {
    let board = Board::of(paths, ghosts::ALL.iter().map(|ghost| ghost.slug).collect())?;
    if let Some(file) = html {
        write(file, &board.html())?;
    }
    match (json, html) {
        (true, _) => print_json(&board)?,
        (false, Some(file)) => print(&format!("{}\nwrote {}\n", board.text(), file.display()))?,
        (false, None) => print(&board.text())?,
    }
    Ok(true)
}

impl Board {
    fn of(paths: &[PathBuf], ghosts: Vec<&'static str>) -> Result<Self, Refusal> {
        let (mut board, mut seen) = (Self { schema: 1, ghosts, ..Self::default() }, BTreeSet::new());
        for path in paths {
            let files = if path.is_dir() { found(path, &mut board.left_out)? } else { vec![path.clone()] };
            // A file may be named, and the folder that it is in.
            for file in files.into_iter().filter(|file| seen.insert(place(file))) {
                match read(&file) {
                    Ok(bytes) => board.add(&file, &bytes),
                    Err(why) => board.left_out.push(format!("{} is left out: {why}", shown(&file))),
                }
            }
        }
        if board.people.is_empty() {
            let why = board.left_out.first().map_or_else(String::new, |first| format!(" ({first})"));
            return Err(Refusal::new(format!(
                "there is no progress file here{why}; each participant sends exercises/{}, under a name of their own",
                progress::FILE
            )));
        }
        board.people.sort_by(|one, other| (&one.name, &one.file).cmp(&(&other.name, &other.file)));
        board.number();
        Ok(board)
    }

    /// People of one name are told apart by a number, and by where their files are.
    fn number(&mut self) {
        for alike in self.people.chunk_by_mut(|one, other| one.name == other.name).filter(|alike| alike.len() > 1) {
            let each = alike.iter().zip(1..).map(|(person, number)| format!("({number}) {}", person.file));
            let files: Vec<String> = each.collect();
            self.named_alike.push(format!("{} have the name {}: {}", files.len(), alike[0].name, files.join(", ")));
            for (person, number) in alike.iter_mut().zip(1..) {
                person.number = Some(number);
            }
        }
    }

    fn add(&mut self, file: &Path, bytes: &[u8]) {
        let read = progress::parse(bytes);
        for unreadable in read.unreadable.iter().take(NAMED) {
            let why: String = printable(&unreadable.to_string()).chars().take(160).collect();
            self.left_out.push(format!("{}, {why}", shown(file)));
        }
        if read.unreadable.len() > NAMED {
            let more = read.unreadable.len() - NAMED;
            self.left_out.push(format!("{}: {} more", shown(file), counted(more, "line", "lines")));
        }
        // A participant's file begins with what they did.
        if read.events.is_empty() {
            self.left_out.push(format!("{} is left out: it has no events", shown(file)));
            return;
        }
        let foreign = read.events.iter().filter(|event| !self.ghosts.contains(&&*event.slug)).count();
        if foreign > 0 {
            let events = counted(foreign, "event", "events");
            self.left_out.push(format!("{}: {events} of ghosts that are not in this clone", shown(file)));
        }
        let cells: Vec<Cell> = self.ghosts.iter().map(|slug| cell(&read, slug)).collect();
        self.people.push(Person {
            name: printable(&name(file)),
            number: None,
            file: shown(file),
            solved: cells.iter().filter(|cell| cell.summary.state == State::Solved).count(),
            hints: cells.iter().map(|cell| cell.summary.hints).sum(),
            drills: drills(&read),
            cells,
        });
    }

    /// Who has named how many ghosts in drills, a sentence each.
    fn drilled(&self) -> Vec<String> {
        let told = |person: &Person| {
            let Drills { answered, named } = person.drills.as_ref()?;
            Some(format!("{} named {named} of {}", person.shown(), counted(*answered, "ghost", "ghosts")))
        };
        self.people.iter().filter_map(told).collect()
    }

    /// How many have solved the ghost in this column.
    fn solved(&self, column: usize) -> usize {
        self.people.iter().filter(|person| person.cells[column].summary.state == State::Solved).count()
    }
}

/// The progress files of a folder: `<name>.jsonl`, `<name>/progress.jsonl` and `<name>/exercises/progress.jsonl`.
fn found(folder: &Path, left_out: &mut Vec<String>) -> Result<Vec<PathBuf>, Refusal> {
    let cannot = |error: io::Error| Refusal::new(format!("cannot read the folder {}: {error}", shown(folder)));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let own = [path.join(progress::FILE), path.join("exercises").join(progress::FILE)];
        if metadata.is_symlink() {
            left_out.push(format!("{} is left out: it is a link", shown(&path)));
        } else if metadata.is_dir() {
            files.extend(own.into_iter().find(|file| fs::symlink_metadata(file).is_ok()));
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The whole of a file, if it is one and not too large.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::symlink_metadata(file).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let read = fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(error.to_string()),
        Ok(_) if bytes.len() as u64 > LARGEST => Err(format!("it is larger than {} MB", LARGEST >> 20)),
        Ok(_) => Ok(bytes),
    }
}

/// Where a file is, whatever way leads there. A link is not followed: it is no file of its own.
fn place(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(absolute.file_name()).map_or(absolute.clone(), |(folder, name)| folder.join(name))
}

/// Whose file it is: its own name or, where that says nothing, the name of the folder that it was copied from.
fn name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if file.file_name().is_none_or(|name| name != progress::FILE) {
        return stem;
    }
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folders = absolute.ancestors().skip(1).filter_map(Path::file_name);
    folders.map(|folder| folder.to_string_lossy().into_owned()).find(|folder| folder != "exercises").unwrap_or(stem)
}

fn drills(progress: &Progress) -> Option<Drills> {
    let named: Vec<bool> = progress
        .events
        .iter()
        .filter_map(|event| match event.deed {
            Deed::Drilled { named, .. } => Some(named),
            _ => None,
        })
        .collect();
    let right = named.iter().filter(|named| **named).count();
    (!named.is_empty()).then_some(Drills { answered: named.len(), named: right })
}

fn cell(progress: &Progress, slug: &'static str) -> Cell {
    let summary = progress.summary(slug);
    let seconds = summary.solved_at.zip(summary.started_at).and_then(|(end, begin)| end.checked_sub(begin));
    Cell { slug, summary, seconds }
}

/// A name as it can be shown: what would move the cursor, change a colour or turn the direction is spelt out.
fn printable(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Minutes, hours or days, whatever is short.
fn short(seconds: u64) -> String {
    match seconds / 60 {
        minutes @ ..100 => format!("{minutes}m"),
        minutes @ ..6_000 => format!("{}h", minutes / 60),
        minutes @ ..144_000 => format!("{}d", minutes / 1440),
        _ => "99d".to_owned(),
    }
}

impl Person {
    /// The name as it is shown: the number comes first, since a long name is cut.
    fn shown(&self) -> String {
        self.number.map_or_else(|| self.name.clone(), |number| format!("({number}) {}", self.name))
    }
}

impl Cell {
    /// In few columns: six, but for the rarest.
    fn short(&self) -> String {
        let mut text = match &self.summary.state {
            State::NotStarted => "-".to_owned(),
            State::Started => "..".to_owned(),
            State::Checked { kept, of } => format!("{kept}/{of}"),
            State::Solved => self.seconds.map_or_else(|| "yes".to_owned(), short),
        };
        if self.model_fails() {
            text.push('m');
        }
        if self.is_rejected() {
            text.push('h');
        }
        if self.summary.hints > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "+{}", self.summary.hints);
        }
        if self.summary.shown {
            text.push('*');
        }
        text
    }

    fn style(&self) -> Style {
        match self.summary.state {
            State::NotStarted => Style::new().dimmed(),
            State::Started => Style::new(),
            State::Checked { .. } => AnsiColor::Yellow.on_default(),
            State::Solved => AnsiColor::Green.on_default(),
        }
    }

    /// The same in words, for HTML: the state, and below it the rest.
    fn long(&self) -> (String, String) {
        let state = match &self.summary.state {
            State::NotStarted => String::new(),
            State::Solved => "solved".to_owned(),
            state => state.to_string(),
        };
        let mut rest = Vec::new();
        rest.extend(self.seconds.map(|seconds| match short(seconds) {
            text if text.ends_with('m') => format!("{} min", text.trim_end_matches('m')),
            text if text.ends_with('h') => format!("{} h", text.trim_end_matches('h')),
            text => format!("{} d", text.trim_end_matches('d')),
        }));
        if self.summary.hints > 0 {
            rest.push(counted(self.summary.hints, "hint", "hints"));
        }
        if self.summary.shown {
            rest.push("solution seen".to_owned());
        }
        if self.model_fails() {
            rest.push("model fails".to_owned());
        }
        if self.is_rejected() {
            rest.push("rejected on real threads".to_owned());
        }
        if self.summary.state == State::Solved && self.summary.beside().is_some() {
            let tried = self.summary.hammer == Some(Tried::NothingSeen);
            rest.push(if tried { "races tried" } else { "races not judged" }.to_owned());
        }
        // A number stays on the line of its unit.
        let rest: Vec<String> = rest.iter().map(|part| part.replace(' ', "\u{a0}")).collect();
        (state, rest.join(", "))
    }

    /// Whether the model stood in the way when it was judged last.
    fn model_fails(&self) -> bool {
        self.summary.model == Some(Model::Fails) && matches!(self.summary.state, State::Checked { .. })
    }

    /// Whether the hammer did.
    fn is_rejected(&self) -> bool {
        self.summary.hammer == Some(Tried::Rejected) && matches!(self.summary.state, State::Checked { .. })
    }

    fn class(&self) -> &'static str {
        match self.summary.state {
            State::NotStarted => "none",
            State::Started => "started",
            State::Checked { .. } => "checked",
            State::Solved => "solved",
        }
    }
}

impl Board {
    /// The board for a terminal of 80 columns.
    fn text(&self) -> String {
        let bold = Style::new().bold();
        let mut text = String::new();
        let columns: Vec<usize> = (0..self.ghosts.len()).collect();
        for part in columns.chunks(ABREAST) {
            for &column in part {
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "{:>3}  {:40}{} of {} solved",
                    column + 1,
                    self.ghosts[column],
                    self.solved(column),
                    self.people.len()
                );
            }
            let numbers: String = part.iter().map(|column| format!(" {:>CELL$}", column + 1)).collect();
            let _ = writeln!(text, "\n{bold}{:NAME$}{numbers}{bold:#}", "");
            for person in &self.people {
                text.push_str(&fitted(&person.shown()));
                for &column in part {
                    let cell = &person.cells[column];
                    let style = cell.style();
                    let _ = write!(text, " {style}{:>CELL$}{style:#}", cell.short());
                }
                text.push('\n');
            }
            text.push('\n');
        }
        text.push_str("12m solved after 12 minutes   4/6 promises kept         .. started\n");
        text.push_str("+2  hints taken               *   the solution shown    m  the model fails\n");
        text.push_str("h   rejected on real threads\n");
        let drilled = self.drilled();
        let lists = [("Drills", &drilled), ("Same name", &self.named_alike), ("Left out", &self.left_out)];
        for (heading, sentences) in lists {
            if !sentences.is_empty() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "\n{heading}:");
            }
            for sentence in sentences {
                let options = textwrap::Options::new(COLUMNS).initial_indent("  ").subsequent_indent("    ");
                text.push_str(&(textwrap::fill(sentence, options) + "\n"));
            }
        }
        text
    }

    /// The board as one file: no script, nothing from elsewhere.
    fn html(&self) -> String {
        let mut html = FIRST_LINES.to_owned();
        html.push_str("<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        html.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n");
        // Should a name ever get through, there is nothing that it could run or load.
        html.push_str(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
        );
        let _ = writeln!(html, "<title>The board</title>\n<style>{STYLE}</style>\n</head>\n<body>");
        let all: usize = self.people.iter().map(|person| person.solved).sum();
        let people = self.people.len();
        let (who, what) = (counted(people, "person", "people"), counted(self.ghosts.len(), "ghost", "ghosts"));
        let _ = writeln!(html, "<h1>The board</h1>\n<p>{who}, {what}, {all} laid to rest</p>");
        html.push_str("<div class=\"wide\">\n<table>\n<thead>\n<tr><th scope=\"col\">Name</th>");
        for (column, slug) in self.ghosts.iter().enumerate() {
            let solved = self.solved(column);
            let _ = write!(html, "<th scope=\"col\">{}<small>{solved} of {people}</small></th>", escaped(slug));
        }
        html.push_str("<th scope=\"col\">Solved</th><th scope=\"col\">Hints</th></tr>\n</thead>\n<tbody>\n");
        for person in &self.people {
            let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escaped(&person.shown()));
            for cell in &person.cells {
                let (state, rest) = cell.long();
                let _ = write!(html, "<td class=\"{}\">{state}<small>{rest}</small></td>", cell.class());
            }
            let _ = writeln!(html, "<td>{}</td><td>{}</td></tr>", person.solved, person.hints);
        }
        html.push_str("</tbody>\n</table>\n</div>\n");
        html.push_str("<p>The time is from the start to the solution. Hints count once each.</p>\n");
        let drilled = self.drilled();
        let lists = [("Drills", &drilled), ("Same name", &self.named_alike), ("Left out", &self.left_out)];
        for (heading, sentences) in lists {
            if !sentences.is_empty() {
                let items: String = sentences.iter().map(|text| format!("<li>{}</li>\n", escaped(text))).collect();
                let _ = writeln!(html, "<h2>{heading}</h2>\n<ul>\n{items}</ul>");
            }
        }
        html + "</body>\n</html>\n"
    }
}

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --fore: #1c1e21; --line: #c9ced6; --dim: #5a6270;
  --solved: #cdeccf; --checked: #fdeebf; --started: #e4e9f2; }
@media (prefers-color-scheme: dark) { :root { --back: #16181d; --fore: #e6e8ec; --line: #3b414c; --dim: #a4acba;
  --solved: #1d4a26; --checked: #554511; --started: #2a3140; } }
body { background: var(--back); color: var(--fore); font: 15px/1.35 system-ui, sans-serif; margin: 1.5em; }
h1 { font-size: 1.5em; margin: 0; }
h2 { font-size: 1.1em; }
p, li, small { color: var(--dim); }
li { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid var(--line); padding: .25em .5em; text-align: left; vertical-align: top; }
thead th { font-size: .85em; hyphens: manual; vertical-align: bottom; }
td[class] { min-width: 5.5em; width: 9em; }
tbody th { font-weight: 600; max-width: 14em; min-width: 7em; overflow-wrap: anywhere; }
tbody tr { break-inside: avoid; }
small { display: block; font-size: .8em; font-weight: normal; }
.solved { background: var(--solved); }
.checked { background: var(--checked); }
.started { background: var(--started); }
.solved small, .checked small, .started small { color: inherit; }
@media print { body { margin: 0; font-size: 10px; } }
";

/// A name in its column: cut where it is too long, filled up where it is short.
fn fitted(name: &str) -> String {
    let mut fitted = String::new();
    for letter in name.chars() {
        if display_width(&fitted) + display_width(letter.encode_utf8(&mut [0; 4])) > NAME - 1 {
            break;
        }
        fitted.push(letter);
    }
    if fitted.len() < name.len() {
        fitted.pop();
        fitted.push('~');
    }
    let missing = NAME.saturating_sub(display_width(&fitted));
    fitted + &" ".repeat(missing)
}

/// Writes beside the file first, so that a full disk leaves the old board whole.
fn write(file: &Path, html: &str) -> Result<(), Refusal> {
    let shown = shown(file);
    match fs::read(file) {
        Ok(there) if !there.starts_with(FIRST_LINES.as_bytes()) => {
            return Err(Refusal::new(format!("{shown} exists and is not a board; choose another name")));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Refusal::new(format!("cannot write {shown}: {error}")));
        }
        _ => {}
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let written = fs::write(&beside, html).and_then(|()| fs::rename(&beside, file));
    written.map_err(|error| {
        // Half a board is of use to nobody.
        let _ = fs::remove_file(&beside);
        Refusal::new(format!("cannot write {shown}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use lab::Outcome;

    use super::*;
    use crate::progress::{Deed, Event, Verdict};

    const GHOSTS: [&str; 9] = [
        "closure-captured-state",
        "hidden-flush",
        "body-double-close",
        "swallowed-panic",
        "ignored-deadline",
        "stale-key-cache",
        "retry-replays-body",
        "unready-clone",
        "half-closed-upgrade",
    ];

    /// A folder with these files, which is removed with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn with(files: &[(&str, &[u8])]) -> Self {
            static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("ghosts-board-{}-{number}", std::process::id()));
            for (name, bytes) in files {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            Self(folder)
        }

        fn board(&self) -> Board {
            Board::of(std::slice::from_ref(&self.0), GHOSTS.to_vec()).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn line(at: u64, slug: &str, deed: Deed) -> String {
        serde_json::to_string(&Event { schema: progress::SCHEMA, at, slug: slug.to_owned(), deed }).unwrap() + "\n"
    }

    fn checked(kept: usize, of: usize) -> Deed {
        let verdict = |number| if number < kept { Outcome::Kept } else { Outcome::Broken };
        let promises = (0..of).map(|number| Verdict { key: format!("promise-{number}"), verdict: verdict(number) });
        Deed::Checked { promises: promises.collect(), model: Some(Model::Fails), hammer: None }
    }

    /// Solved after twelve minutes, with two hints; then another one, half done.
    fn ada() -> String {
        let mut text = line(1_000, "hidden-flush", Deed::Started);
        text += &line(1_100, "hidden-flush", checked(4, 9));
        text += &line(1_200, "hidden-flush", Deed::Hint { rung: 1 });
        text += &line(1_300, "hidden-flush", Deed::Hint { rung: 2 });
        text += &line(1_720, "hidden-flush", Deed::Solved);
        text += &line(1_800, "body-double-close", Deed::Started);
        text + &line(1_900, "body-double-close", checked(10, 10))
    }

    #[test]
    fn whoever_has_answered_drills_is_told_of_with_them() {
        let drilled = |named| Deed::Drilled { seed: 1, named, points: 2, seconds: 300 };
        let text = line(1, "hidden-flush", drilled(true)) + &line(2, "leaked-permit", drilled(false));
        let mut board = Board { schema: 1, ghosts: vec!["hidden-flush"], ..Board::default() };
        board.add(Path::new("ada.jsonl"), text.as_bytes());
        board.add(Path::new("ben.jsonl"), line(5, "hidden-flush", Deed::Started).as_bytes());
        assert!(board.text().contains("\nDrills:\n  ada named 1 of 2 ghosts\n"), "{}", board.text());
        assert!(board.html().contains("<h2>Drills</h2>\n<ul>\n<li>ada named 1 of 2 ghosts</li>\n</ul>"));
    }

    #[test]
    fn a_board_tells_who_has_solved_what() {
        let bob = line(5, "swallowed-panic", Deed::Started);
        let files = [("ada.jsonl", ada()), ("bob/progress.jsonl", bob.clone()), ("zoë/exercises/progress.jsonl", bob)];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_bytes()));
        insta::assert_snapshot!("board", anstream::adapter::strip_str(&Folder::with(&files).board().text()));
        let html = Folder::with(&files).board().html();
        assert!(html.contains("<td class=\"solved\">solved<small>12\u{a0}min, 2\u{a0}hints</small></td>"), "{html}");
        assert!(html.contains("<td class=\"checked\">10 of 10 kept<small>model\u{a0}fails</small></td>"), "{html}");
        assert!(html.contains("<th scope=\"row\">zoë</th>"), "{html}");
    }

    #[test]
    fn a_board_of_nine_ghosts_is_80_columns_wide() {
        let mut text = String::new();
        for slug in GHOSTS {
            text += &line(0, slug, Deed::Started);
            text += &line(1, slug, Deed::Hint { rung: 4 });
            text += &line(1, slug, Deed::Solution);
            text += &line(999_999_999, slug, Deed::Solved);
        }
        let name = "Wolfeschlegelsteinhausenbergerdorff 龍龍龍.jsonl";
        let board = Folder::with(&[(name, text.as_bytes()), ("broken.jsonl", b"noise\n[]\n")]).board().text();
        for line in anstream::adapter::strip_str(&board).to_string().lines() {
            assert!(display_width(line) <= COLUMNS, "{line:?}");
        }
        assert!(board.contains("99d+4*"), "{board}");
    }

    #[test]
    fn a_name_does_nothing_in_a_browser() {
        let name = "<script>alert(1)<!--\"onload='x'.jsonl";
        let html = Folder::with(&[(name, ada().as_bytes())]).board().html();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("<!--").count(), 1, "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;!--"), "{html}");
    }

    #[cfg(unix)]
    #[test]
    fn a_name_does_nothing_in_a_terminal() {
        let name = "\u{1b}[2J\u{7}evil\u{202e}\nnext\r.jsonl";
        let board = Folder::with(&[(name, ada().as_bytes())]).board();
        for shown in [anstream::adapter::strip_str(&board.text()).to_string(), board.html()] {
            assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{shown:?}");
            assert!(shown.replace("&#123;", "{").contains("\\u{1b}"), "{shown:?}");
        }
    }

    #[test]
    fn what_a_line_says_does_nothing_in_a_terminal() {
        let noise = "{\"schema\":1,\"at\":0,\"slug\":\"x\",\"event\":\"\\u001b[2J<script>\"}\n";
        let board = Folder::with(&[("ada.jsonl", (noise.to_owned() + &ada()).as_bytes())]).board();
        assert_eq!(board.left_out.len(), 1);
        assert!(board.left_out[0].contains("line 1: not an event"), "{:?}", board.left_out);
        assert!(!board.text().contains("\u{1b}[2J"), "{}", board.text());
        assert!(!board.html().contains("<script>"), "{}", board.html());
    }

    #[test]
    fn a_file_without_an_end_is_left_out_and_named() {
        let long = vec![b'x'; 10 << 20];
        let board = Folder::with(&[("long.jsonl", &long), ("ada.jsonl", ada().as_bytes())]).board();
        assert_eq!(board.people.len(), 1);
        assert_eq!(board.left_out.len(), 1);
        assert!(board.left_out[0].ends_with("long.jsonl is left out: it is larger than 4 MB"), "{:?}", board.left_out);
    }

    #[test]
    fn lines_that_are_no_events_cost_no_others() {
        let newer = "{\"schema\":2,\"at\":\"noon\"}\n";
        let foreign = line(1, "silver-lining", Deed::Solved);
        let text = format!("noise\n{newer}{}{foreign}[]\n{{}}\n\"\n", ada());
        let board = Folder::with(&[("ada.jsonl", text.as_bytes())]).board();
        assert_eq!((board.people[0].solved, board.people[0].hints), (1, 2));
        let said = board.left_out.join("\n");
        assert!(said.contains("ada.jsonl, line 2: a newer version of this workshop wrote it"), "{said}");
        assert!(said.contains("ada.jsonl: 2 lines more"), "{said}");
        assert!(said.contains("ada.jsonl: 1 event of ghosts that are not in this clone"), "{said}");
    }

    #[test]
    fn a_clock_that_was_put_back_gives_no_time() {
        let text = line(u64::MAX, "hidden-flush", Deed::Started) + &line(1, "hidden-flush", Deed::Solved);
        let board = Folder::with(&[("ada.jsonl", text.as_bytes())]).board();
        assert_eq!(board.people[0].cells[1].short(), "yes");
        let text = line(0, "hidden-flush", Deed::Started) + &line(u64::MAX, "hidden-flush", Deed::Solved);
        let board = Folder::with(&[("ada.jsonl", text.as_bytes())]).board();
        assert_eq!(board.people[0].cells[1].short(), "99d");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = Folder::with(&[("ada.jsonl", ada().as_bytes())]);
        std::os::unix::fs::symlink("/dev/zero", folder.0.join("zero.jsonl")).unwrap();
        std::os::unix::fs::symlink("..", folder.0.join("up")).unwrap();
        let board = folder.board();
        assert_eq!((board.people.len(), board.left_out.len()), (1, 2), "{:?}", board.left_out);
        assert!(Board::of(&[folder.0.join("zero.jsonl")], GHOSTS.to_vec()).is_err());
    }

    #[test]
    fn a_file_that_is_no_board_is_not_written_over() {
        let folder = Folder::with(&[("ada.jsonl", ada().as_bytes())]);
        let refused = write(&folder.0.join("ada.jsonl"), &folder.board().html()).unwrap_err().to_string();
        assert!(refused.ends_with("ada.jsonl exists and is not a board; choose another name"), "{refused}");
        assert_eq!(fs::read_to_string(folder.0.join("ada.jsonl")).unwrap(), ada());
        for _ in 0..2 {
            write(&folder.0.join("board.html"), &folder.board().html()).unwrap();
        }
        assert!(write(&folder.0.join("no/such/board.html"), "").is_err());
    }

    #[test]
    fn people_of_one_name_are_told_apart() {
        let bob = line(5, "swallowed-panic", Deed::Started);
        let (ada, bob) = (ada(), bob.as_bytes());
        let folder = Folder::with(&[("ada.jsonl", ada.as_bytes()), ("b/ada.jsonl", bob), ("bob.jsonl", bob)]);
        // The first is named twice, and is one person.
        let paths = ["", "b/ada.jsonl", "ada.jsonl"].map(|name| folder.0.join(name));
        let board = Board::of(&paths, GHOSTS.to_vec()).unwrap();
        let people: Vec<_> = board.people.iter().map(|person| (person.shown(), person.solved)).collect();
        assert_eq!(people, [("(1) ada".to_owned(), 1), ("(2) ada".to_owned(), 0), ("bob".to_owned(), 0)]);
        for page in [board.text(), board.html()] {
            assert!(page.contains("Same name") && page.contains("2 have the name ada: (1) "), "{page}");
        }
    }

    #[test]
    fn what_is_no_progress_is_no_person() {
        let junk: [(&str, &[u8]); 4] = [
            ("ada.jsonl", &[0, 159, 146, 150]),
            ("empty.jsonl", b""),
            ("notes.jsonl", b"to do: mend it\n"),
            ("zoe.jsonl", b"{\"schema\":1,\"at\":1,\"slug\":\"hidden-flush\",\"event\":\"started\"}\n"),
        ];
        let board = Folder::with(&junk).board();
        assert_eq!(board.people.iter().map(|person| &*person.name).collect::<Vec<_>>(), ["zoe"]);
        assert_eq!(board.left_out.iter().filter(|why| why.ends_with("it has no events")).count(), 3);
        assert!(board.html().contains("<p>1 person, "), "{}", board.html());
        assert!(Board::of(&[Folder::with(&junk[..3]).0.clone()], GHOSTS.to_vec()).is_err());
    }

    #[test]
    fn where_there_is_no_progress_it_is_said() {
        let folder = Folder::with(&[("readme.txt", b"")]);
        let refused = Board::of(std::slice::from_ref(&folder.0), GHOSTS.to_vec()).unwrap_err().to_string();
        assert!(refused.starts_with("there is no progress file here; "), "{refused}");
        let refused = Board::of(&[folder.0.join("lost.jsonl")], GHOSTS.to_vec()).unwrap_err().to_string();
        assert!(refused.contains("lost.jsonl is left out: "), "{refused}");
    }

    #[test]
    fn a_name_is_cut_and_filled_to_its_column() {
        assert_eq!(fitted("ada"), "ada          ");
        assert_eq!(fitted("maximiliane-von-stein"), "maximiliane~ ");
        assert_eq!(display_width(&fitted("龍龍龍龍龍龍龍龍龍")), NAME);
    }
}
