//! What a learner has done: one event a line in `exercises/progress.jsonl`, which only ever grows.
//!
//! A line is written whole in one call, so that two terminals do not mix theirs. A line that a crash has torn is skipped and
//! named by whoever reads, and the next event begins a line of its own.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use lab::{Outcome, Report};
use serde::{Deserialize, Serialize};

use crate::{
    Refusal,
    checkout::{Checkout, EXERCISES, unwritable},
};

/// The name of the file in the folder of the exercises.
pub const FILE: &str = "progress.jsonl";

/// The number of the form of a line; it changes when a reader of the old form would be misled.
pub const SCHEMA: u32 = 1;

/// One line: something that a learner did.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Event {
    /// The number of this form, now 1.
    pub schema: u32,
    /// When, in seconds since the beginning of 1970, UTC.
    pub at: u64,
    /// The ghost.
    pub slug: String,
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What a learner did.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Deed {
    /// The exercise was made.
    Started,
    /// The exercise was judged. What does not compile, or ends without a verdict, is not judged.
    Checked {
        /// The promises in the order of the specification.
        promises: Vec<Verdict>,
        /// What came of the model, where the ghost has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<Model>,
        /// What came of the hammer, where the ghost has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hammer: Option<Tried>,
    },
    /// A hint was taken for the first time.
    Hint {
        /// Which, from 1 to 4.
        rung: usize,
    },
    /// The solution was shown.
    Solution,
    /// All promises were kept for the first time, and neither the model nor the hammer, where there is one, had a breach.
    Solved,
    /// The exercise was put back to its beginning.
    Reset,
    /// A drill was answered.
    Drilled {
        /// What repeats it.
        seed: u64,
        /// Whether the ghost was named right.
        named: bool,
        /// How many of five answers were right; of four, before the service was asked for.
        points: usize,
        /// The seconds of the drill's clock that it took.
        seconds: u64,
    },
}

/// The verdict on one promise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Verdict {
    /// The key of the promise.
    pub key: String,
    /// Kept, broken or not judged.
    pub verdict: Outcome,
}

/// What came of the model of a ghost with shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// It holds in every interleaving.
    Holds,
    /// It fails in one.
    Fails,
    /// The fix has done away with the core that the model explores.
    NotApplicable,
}

/// What came of trying the races of a ghost on real threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// A breach was seen.
    Rejected,
    /// None was seen, which is no proof.
    NothingSeen,
    /// There was no try.
    NotTried,
}

/// What was read, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The events in the order of the file.
    pub events: Vec<Event>,
    /// The lines that are no events.
    pub unreadable: Vec<Unreadable>,
}

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// How far a learner has come with one ghost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The state; once solved it stays so.
    #[serde(flatten)]
    pub state: State,
    /// How many times it was judged.
    pub checks: usize,
    /// How many of the four hints were taken.
    pub hints: usize,
    /// Whether the solution was shown before it was solved.
    pub shown: bool,
    /// When it was first started, in seconds since the beginning of 1970.
    pub started_at: Option<u64>,
    /// When it was first solved.
    pub solved_at: Option<u64>,
    /// What came of the model in the last check; once solved, in the one that solved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// What came of the hammer in the same check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hammer: Option<Tried>,
    /// Whether it was reset since it was solved.
    #[serde(skip)]
    pub anew: bool,
}

impl Summary {
    /// What is to be said beside the state, if anything: what stands in the way although no promise says so, or how far a
    /// solution was judged.
    pub fn beside(&self) -> Option<&'static str> {
        match (&self.state, self.model, self.hammer) {
            (State::Checked { .. }, Some(Model::Fails), _) => {
                Some("the model FAILS: threads can meet so that it breaks")
            }
            (State::Checked { .. }, _, Some(Tried::Rejected)) => Some("REJECTED on real threads"),
            (State::Solved, Some(Model::Holds | Model::Fails), _) | (State::Solved, None, None) => None,
            (State::Solved, _, Some(Tried::NothingSeen)) => {
                Some("as far as the promises go; races tried, not explored")
            }
            (State::Solved, ..) => Some("as far as the promises go; races not judged"),
            _ => None,
        }
    }
}

/// How far a learner has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// There is no event of it.
    #[default]
    NotStarted,
    /// It was started, or reset, and not judged since.
    Started,
    /// It was judged and not solved.
    Checked {
        /// How many promises were kept when it was judged last.
        kept: usize,
        /// How many there are.
        of: usize,
    },
    /// It was solved, whatever has come of it since.
    Solved,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("not started"),
            Self::Started => f.write_str("started"),
            Self::Checked { kept, of } => write!(f, "{kept} of {of} kept"),
            Self::Solved => f.write_str("solved"),
        }
    }
}

impl Event {
    /// Something that is done now.
    pub fn now(slug: &str, deed: Deed) -> Self {
        // A clock that stands before 1970 is no reason to stop.
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { schema: SCHEMA, at, slug: slug.to_owned(), deed }
    }
}

/// The verdicts of a report.
pub fn verdicts(report: &Report) -> Vec<Verdict> {
    let promises = report.promises.iter();
    promises.map(|judged| Verdict { key: judged.key.clone(), verdict: judged.outcome }).collect()
}

/// Adds an event to the file of a clone.
///
/// # Errors
/// If the file cannot be written, or a newer version of the workshop has written to it. It is as it was then, but for a torn
/// line where the disk is full.
pub fn append(checkout: &Checkout, event: &Event) -> Result<(), Refusal> {
    let newer = |line: &[u8]| !line.starts_with(OURS) && self::event(line).is_err_and(|why| why == NEWER);
    let (name, path) = (format!("{EXERCISES}/{FILE}"), checkout.exercises().join(FILE));
    let lines = bytes(&path)?;
    if let Some(line) = lines.split(|byte| *byte == b'\n').position(newer).map(|index| index + 1) {
        return Err(Refusal::new(format!("{name}, line {line}: {NEWER}; update this clone with `git pull`")));
    }
    let line = serde_json::to_string(event).map_err(io::Error::other);
    let written = line.and_then(|line| write_line(&path, &line));
    written.map_err(|error| unwritable(&name, &error))
}

const NEWER: &str = "a newer version of this workshop wrote it";

/// The beginning of what this version writes. A file of many events is not parsed whenever one more is added.
const OURS: &[u8] = b"{\"schema\":1,";

fn write_line(path: &Path, line: &str) -> io::Result<()> {
    // Whoever takes a hint before the exercise has no such folder yet.
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    // What was torn stays a line of its own.
    let line = if last == [b'\n'] { format!("{line}\n") } else { format!("\n{line}\n") };
    // One call, so that no other writer comes in between.
    if file.write(line.as_bytes())? < line.len() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// The events of a clone; none where there is no file of them.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(checkout: &Checkout) -> Result<Progress, Refusal> {
    bytes(&checkout.exercises().join(FILE)).map(|bytes| parse(&bytes))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Refusal> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Refusal::new(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Reads events, whoever has written them.
pub fn parse(bytes: &[u8]) -> Progress {
    let mut progress = Progress::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match event(line) {
            Ok(event) => progress.events.push(event),
            Err(why) => progress.unreadable.push(Unreadable { line: index + 1, why }),
        }
    }
    progress
}

fn event(line: &[u8]) -> Result<Event, String> {
    #[derive(Deserialize)]
    struct Form {
        schema: u32,
    }
    let unlike = |error: serde_json::Error| format!("not an event: {error}");
    let form: Form = serde_json::from_slice(line).map_err(unlike)?;
    if form.schema > SCHEMA {
        return Err(NEWER.to_owned());
    }
    serde_json::from_slice(line).map_err(unlike)
}

impl Progress {
    /// How far the learner of these events has come with `slug`.
    pub fn summary(&self, slug: &str) -> Summary {
        let mut summary = Summary::default();
        for event in self.events.iter().filter(|event| event.slug == slug) {
            let solved = summary.state == State::Solved;
            match &event.deed {
                Deed::Started => {
                    summary.started_at.get_or_insert(event.at);
                }
                Deed::Checked { model, hammer, .. } => {
                    summary.checks += 1;
                    if !solved {
                        (summary.model, summary.hammer) = (*model, *hammer);
                    }
                }
                Deed::Hint { rung } => summary.hints = summary.hints.max(*rung),
                Deed::Solution => summary.shown |= !solved,
                Deed::Solved => {
                    summary.solved_at.get_or_insert(event.at);
                }
                Deed::Reset if solved => summary.anew = true,
                Deed::Reset => (summary.model, summary.hammer) = (None, None),
                Deed::Drilled { .. } => {}
            }
            summary.state = match &event.deed {
                _ if solved => State::Solved,
                Deed::Solved => State::Solved,
                Deed::Started | Deed::Reset => State::Started,
                Deed::Checked { promises, .. } => State::Checked {
                    kept: promises.iter().filter(|promise| promise.verdict == Outcome::Kept).count(),
                    of: promises.len(),
                },
                Deed::Hint { .. } | Deed::Solution | Deed::Drilled { .. } => summary.state,
            };
        }
        summary
    }

    /// The ghosts that were worked at, the last one first.
    pub fn latest(&self) -> impl Iterator<Item = &str> {
        let exercises = self.events.iter().filter(|event| !matches!(event.deed, Deed::Drilled { .. }));
        exercises.rev().map(|event| event.slug.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: u64, deed: Deed) -> Event {
        Event { schema: SCHEMA, at, slug: "hidden-flush".to_owned(), deed }
    }

    fn checked(verdicts: &[Outcome]) -> Deed {
        let promises = verdicts.iter().map(|&verdict| Verdict { key: "a-promise".to_owned(), verdict });
        Deed::Checked { promises: promises.collect(), model: Some(Model::Fails), hammer: None }
    }

    fn clone(name: &str) -> Checkout {
        let folder = std::env::temp_dir().join(format!("ghosts-progress-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join(EXERCISES)).unwrap();
        Checkout::at(folder)
    }

    #[test]
    fn every_event_is_read_as_it_was_written() {
        let clone = clone("whole");
        let both = [Outcome::Kept, Outcome::NotJudged];
        let deeds = [Deed::Started, checked(&both), Deed::Hint { rung: 1 }, Deed::Solution, Deed::Solved, Deed::Reset];
        let events: Vec<Event> = deeds.into_iter().enumerate().map(|(at_s, deed)| at(at_s as u64, deed)).collect();
        for event in &events {
            append(&clone, event).unwrap();
        }
        assert_eq!(read(&clone).unwrap(), Progress { events, unreadable: Vec::new() });
        let text = fs::read_to_string(clone.exercises().join(FILE)).unwrap();
        assert_eq!(text.lines().next().unwrap(), r#"{"schema":1,"at":0,"slug":"hidden-flush","event":"started"}"#);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            r#"{"schema":1,"at":1,"slug":"hidden-flush","event":"checked","promises":[{"key":"a-promise","verdict":"kept"},{"key":"a-promise","verdict":"not-judged"}],"model":"fails"}"#
        );
        fs::remove_dir_all(clone.root()).unwrap();
    }

    #[test]
    fn a_torn_line_is_named_and_costs_no_other() {
        let clone = clone("torn");
        append(&clone, &at(1, Deed::Started)).unwrap();
        let whole = fs::read(clone.exercises().join(FILE)).unwrap();
        fs::write(clone.exercises().join(FILE), [&whole[..], &whole[..20]].concat()).unwrap();
        append(&clone, &at(2, Deed::Solved)).unwrap();
        let progress = read(&clone).unwrap();
        assert_eq!(progress.events, [at(1, Deed::Started), at(2, Deed::Solved)]);
        assert_eq!(progress.unreadable.len(), 1);
        assert!(progress.unreadable[0].to_string().starts_with("line 2: not an event: "), "{:?}", progress.unreadable);
        fs::remove_dir_all(clone.root()).unwrap();
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_as_it_is() {
        let clone = clone("newer");
        let newer = "{\"schema\":2,\"at\":\"noon\"}\n";
        fs::write(clone.exercises().join(FILE), newer).unwrap();
        let said = append(&clone, &at(1, Deed::Started)).unwrap_err().to_string();
        assert_eq!(
            said,
            "exercises/progress.jsonl, line 1: a newer version of this workshop wrote it; update this clone with \
             `git pull`"
        );
        assert_eq!(fs::read_to_string(clone.exercises().join(FILE)).unwrap(), newer);
        fs::remove_dir_all(clone.root()).unwrap();
    }

    #[test]
    fn lines_that_are_no_events_are_skipped() {
        let good = r#"{"schema":1,"at":3,"slug":"hidden-flush","event":"started","from":"a later hand"}"#;
        let text = format!("\n[]\n{good}\r\n{{\"schema\":1}}\nnoise\n");
        let progress = parse(&[text.as_bytes(), b"\xff\xfe\n"].concat());
        assert_eq!(progress.events, [at(3, Deed::Started)]);
        let lines: Vec<usize> = progress.unreadable.iter().map(|unreadable| unreadable.line).collect();
        assert_eq!(lines, [2, 4, 5, 6]);
    }

    #[test]
    fn many_writers_at_once_lose_nothing() {
        let clone = clone("many");
        std::thread::scope(|threads| {
            for writer in 0..8 {
                let clone = &clone;
                threads.spawn(move || {
                    for event in 0..25 {
                        append(clone, &at(writer * 100 + event, checked(&[Outcome::Broken; 40]))).unwrap();
                    }
                });
            }
        });
        let progress = read(&clone).unwrap();
        assert_eq!((progress.events.len(), progress.unreadable.len()), (200, 0));
        fs::remove_dir_all(clone.root()).unwrap();
    }

    #[test]
    fn a_summary_tells_how_far_a_learner_has_come() {
        let mut progress = Progress::default();
        let mut after = |event: Event| {
            progress.events.push(event);
            progress.summary("hidden-flush")
        };
        assert_eq!(after(at(10, Deed::Started)).state, State::Started);
        assert_eq!(after(at(20, checked(&[Outcome::Kept, Outcome::Broken]))).state, State::Checked { kept: 1, of: 2 });
        assert_eq!(after(at(30, Deed::Hint { rung: 2 })).hints, 2);
        assert_eq!(after(at(40, Deed::Reset)).state, State::Started);
        assert_eq!(after(at(50, Deed::Solved)).state, State::Solved);
        assert_eq!(after(at(60, Deed::Solution)).state, State::Solved);
        let last = after(at(70, checked(&[Outcome::Broken, Outcome::Broken])));
        let expected = Summary {
            state: State::Solved,
            checks: 2,
            hints: 2,
            shown: false,
            started_at: Some(10),
            solved_at: Some(50),
            model: None,
            hammer: None,
            anew: false,
        };
        assert_eq!(last, expected);
        assert_eq!(progress.summary("ignored-deadline"), Summary::default());
    }
}
