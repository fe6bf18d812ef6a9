//! What a picture tells of a scene: its rows, in a reader's words, and in the middle lane what is hidden.
//!
//! A storyboard, `book/pictures/<slug>.toml`, says for each kind of event what is drawn and what becomes of the hidden state.
//! It leaves nothing out by itself: an event that no step draws has to be named among those that are left out. All words
//! are in one table, `book/pictures/words.toml`, so that they can be translated without touching a storyboard.

use std::collections::BTreeMap;

use lab::SceneRecord;
use serde::Deserialize;

use crate::{Refusal, checkout::Checkout};

/// The folder of the storyboards and of their words.
pub(crate) const FOLDER: &str = "book/pictures";

/// The storyboard of a ghost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storyboard {
    /// The first event that is drawn; what comes before it is the control, which is one line of the picture.
    pub(crate) begins: String,
    /// The last event that is drawn, if it is not the last of the scene; for the picture the scene ends with it.
    pub(crate) ends: Option<String>,
    /// What is in the cells at the beginning, by their names.
    #[serde(default)]
    pub(crate) first: BTreeMap<String, String>,
    /// What the hidden lane has beside each other: a cell of state each.
    pub(crate) cells: Cells,
    /// How wide the hidden lane is.
    #[serde(default = "usual_band")]
    pub(crate) band: f32,
    /// The step of the broken twin at which the failure happens: the first of this name, or with `#2` the second.
    pub(crate) fault: String,
    /// The step of the broken twin at which a user or an operator first sees it: likewise.
    pub(crate) noticed: String,
    /// The events that are not drawn.
    #[serde(default)]
    pub(crate) left_out: Vec<String>,
    /// Whether a state that begins and ends in one moment is none.
    #[serde(default)]
    pub(crate) settled: bool,
    /// Whether times are counted from the first event that is drawn, because the control took longer on one side.
    #[serde(default)]
    pub(crate) from_zero: bool,
    /// How the states look that are not plain.
    #[serde(default)]
    pub(crate) tones: BTreeMap<String, Tone>,
    /// What is drawn; of several that an event matches the first counts.
    pub(crate) step: Vec<Step>,
}

impl Storyboard {
    /// The storyboard of a ghost, if it has one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(checkout: &Checkout, slug: &str) -> Result<Option<Self>, Refusal> {
        let name = format!("{FOLDER}/{slug}.toml");
        if checkout.has(&name) { parsed(checkout, &name).map(Some) } else { Ok(None) }
    }
}

impl Words {
    /// The words of the pictures.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn read(checkout: &Checkout) -> Result<Self, Refusal> {
        parsed(checkout, &format!("{FOLDER}/words.toml"))
    }
}

fn parsed<T: serde::de::DeserializeOwned>(checkout: &Checkout, name: &str) -> Result<T, Refusal> {
    toml::from_str(&checkout.text(name)?).map_err(|error| Refusal::new(format!("{name}: {error}")))
}

fn usual_band() -> f32 {
    116.0
}

/// The cells of the hidden lane on each side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cells {
    pub(crate) broken: Vec<String>,
    pub(crate) fixed: Vec<String>,
}

/// How a state looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tone {
    /// Nothing is there.
    Empty,
    Plain,
    Good,
    Bad,
}

/// A kind of event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Its name, and that of its words.
    pub(crate) name: String,
    /// What it has in common with a step of the other side, so that both are one row.
    pub(crate) row: Option<String>,
    /// Its lane and what it does, with `{name}` for what varies; [`END`] for the end of the scene.
    pub(crate) event: String,
    /// Between which lanes it crosses.
    pub(crate) from: Option<Place>,
    pub(crate) to: Option<Place>,
    /// At which side of the hidden lane it is told, if it crosses to nobody. Without it nothing is drawn but the state, in the
    /// row of the event before it.
    pub(crate) beside: Option<Place>,
    /// Who sends or receives it, where several share a lane; the words of a name.
    pub(crate) at: Option<String>,
    /// Whether it tells of what does not come.
    #[serde(default)]
    pub(crate) absent: bool,
    /// The cell at which it begins or ends, where it changes none, and at which the failure is marked, where it changes several.
    pub(crate) cell: Option<String>,
    /// What is then in the cells: the name of a state, `+name` or `-name` for an amount, or nothing.
    #[serde(default)]
    pub(crate) then: BTreeMap<String, String>,
    /// The same, on one side only.
    #[serde(default)]
    pub(crate) broken: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) fixed: BTreeMap<String, String>,
    /// What the event must have in common with the state of a cell: where the state is a model, this is how it is checked.
    #[serde(default)]
    pub(crate) agrees: BTreeMap<String, String>,
    /// The side on which it is drawn, if it is one.
    pub(crate) only: Option<Side>,
    /// How many of them are drawn; the others are more of the same.
    pub(crate) most: Option<usize>,
}

/// A lane of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Left,
    Hidden,
    Right,
}

/// A side of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Broken,
    Fixed,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Fixed => "fixed",
        }
    }
}

/// The event that stands for the end of a scene.
pub(crate) const END: &str = "the scene ends";

/// The words of the pictures: those of all, and those of each ghost.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Words(BTreeMap<String, BTreeMap<String, String>>);

impl Words {
    /// The words of this name, of the ghost or of all.
    pub(super) fn get(&self, slug: &str, name: &str) -> Result<&str, String> {
        let of = |table: &str| self.0.get(table).and_then(|words| words.get(name));
        let words = of(slug).or_else(|| of("all")).map(String::as_str);
        words.ok_or_else(|| format!("book/pictures/words.toml has no `{name}` for {slug}"))
    }

    /// The words of this name with what varies in its place.
    fn told(&self, slug: &str, name: &str, vars: &Vars) -> Result<String, String> {
        let mut told = self.get(slug, name)?.to_owned();
        for (var, value) in vars {
            told = told.replace(&format!("{{{var}}}"), value);
        }
        match told.contains('{') {
            true => Err(format!("the words `{name}` of {slug} ask for something that the event does not have: {told}")),
            false => Ok(told),
        }
    }
}

/// What varied in an event, by its name.
type Vars = BTreeMap<String, String>;

/// What a cell shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) tone: Tone,
    /// How much it holds, where that is counted.
    pub(super) amount: Option<u64>,
}

impl Shown {
    fn nothing() -> Self {
        Self { text: String::new(), tone: Tone::Empty, amount: None }
    }
}

/// A row of one side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) at_ms: u64,
    pub(super) step: String,
    pub(super) row: String,
    pub(super) label: String,
    pub(super) from: Option<Place>,
    pub(super) to: Option<Place>,
    pub(super) beside: Option<Place>,
    /// Who sends or receives it, where several share a lane.
    pub(super) at: Option<String>,
    /// Whether it tells of what does not come.
    pub(super) absent: bool,
    /// The cell at which it begins or ends, if it is one of several.
    pub(super) cell: Option<usize>,
    /// What the cells show from here on.
    pub(super) state: Vec<Shown>,
    pub(super) fault: bool,
    pub(super) noticed: bool,
}

impl Line {
    /// The lane beside the hidden one that has to do with it.
    pub(super) fn outer(&self) -> Option<Place> {
        let crosses = [self.to, self.from].into_iter().flatten().find(|place| *place != Place::Hidden);
        crosses.or(self.beside).filter(|place| *place != Place::Hidden)
    }
}

/// One side as it is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Whether there was a control.
    pub(super) control: bool,
    /// What the cells show at the beginning.
    pub(super) first: Vec<Shown>,
    pub(super) lines: Vec<Line>,
}

/// What is in a cell, and with what it came.
#[derive(Clone, Default)]
struct Cell {
    state: Option<(String, Vars)>,
    amount: u64,
}

impl Storyboard {
    /// The scene as this storyboard tells it.
    pub(super) fn told(&self, slug: &str, words: &Words, side: Side, scene: &SceneRecord) -> Result<Told, String> {
        let names = if side == Side::Broken { &self.cells.broken } else { &self.cells.fixed };
        let first =
            |name: &String| Cell { state: self.first.get(name).map(|state| (state.clone(), Vars::new())), amount: 0 };
        let mut cells: Vec<Cell> = names.iter().map(first).collect();
        let mut events: Vec<(u64, String)> =
            scene.events.iter().map(|event| (event.at_ms, format!("{} {}", event.lane, event.what))).collect();
        let begins = events.iter().position(|(_, event)| matched(&self.begins, event).is_some());
        let begins = begins.ok_or_else(|| format!("the {} twin's scene has no \"{}\"", side.name(), self.begins))?;
        let is_last = |(_, event): &(u64, String)| {
            self.ends.as_ref().is_some_and(|ends| matched(ends, event).is_some()) && !self.leaves_out(event)
        };
        if let Some(drawn) = events[begins..].iter().position(is_last) {
            events.truncate(begins + drawn + 1);
        }
        events.push((events.last().map_or(0, |(at_ms, _)| *at_ms), END.to_owned()));
        let mut told = Told { control: begins > 0, first: self.shown(slug, words, &cells)?, lines: Vec::new() };
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let zero_ms = if self.from_zero { events[begins].0 } else { 0 };
        for (at_ms, event) in events[begins..].iter().map(|(at_ms, event)| (at_ms - zero_ms, event)) {
            let mut found = self.step.iter().filter(|step| step.only.is_none_or(|only| only == side));
            let Some((step, vars)) = found.find_map(|step| Some((step, matched(&step.event, event)?))) else {
                if event == END || self.leaves_out(event) {
                    continue;
                }
                return Err(format!(
                    "no step of {slug} draws \"{event}\" of the {} twin, nor is it left out",
                    side.name()
                ));
            };
            self.agreed(step, &vars, names, &cells)
                .map_err(|why| format!("{slug}, {}: at \"{event}\" {why}", side.name()))?;
            let before = self.shown(slug, words, &cells)?;
            self.becomes(step, side, &vars, names, &mut cells)?;
            let state = self.shown(slug, words, &cells)?;
            if step.from.or(step.to).or(step.beside).is_none() {
                told.lines
                    .last_mut()
                    .filter(|line| line.at_ms == at_ms)
                    .ok_or("a state changes where nothing is drawn")?
                    .state = state;
                continue;
            }
            let count = seen.entry(&step.name).or_default();
            *count += 1;
            if step.most.is_some_and(|most| *count > most) {
                continue;
            }
            let cell = match &step.cell {
                Some(cell) => self.cell(&filled(cell, &vars), side)?,
                None => changed(&before, &state),
            };
            told.lines.push(Line {
                at_ms,
                step: step.name.clone(),
                row: step.row.as_ref().unwrap_or(&step.name).clone(),
                label: words.told(slug, &step.name, &vars)?,
                from: step.from,
                to: step.to,
                beside: step.beside,
                at: step.at.as_ref().map(|at| words.get(slug, at).map(str::to_owned)).transpose()?,
                absent: step.absent,
                cell,
                state,
                fault: side == Side::Broken && self.fault == nth(&step.name, *count),
                noticed: side == Side::Broken && self.noticed == nth(&step.name, *count),
            });
        }
        if self.settled {
            settle(&mut told);
        }
        let marks = |mark: fn(&Line) -> bool| told.lines.iter().filter(|line| mark(line)).count();
        if side == Side::Broken && (marks(|line| line.fault), marks(|line| line.noticed)) != (1, 1) {
            return Err(format!("the broken twin has no `{}` or no `{}`", self.fault, self.noticed));
        }
        Ok(told)
    }

    /// Where this cell is on a side: nowhere, if only the other side has it.
    fn cell(&self, cell: &str, side: Side) -> Result<Option<usize>, String> {
        let (own, other) = match side {
            Side::Broken => (&self.cells.broken, &self.cells.fixed),
            Side::Fixed => (&self.cells.fixed, &self.cells.broken),
        };
        if other.iter().any(|name| name == cell) && !own.iter().any(|name| name == cell) {
            return Ok(None);
        }
        place(own, cell, side).map(Some)
    }

    fn leaves_out(&self, event: &str) -> bool {
        self.left_out.iter().any(|pattern| matched(pattern, event).is_some())
    }

    fn agreed(&self, step: &Step, vars: &Vars, names: &[String], cells: &[Cell]) -> Result<(), String> {
        for (cell, var) in &step.agrees {
            // A cell of the other side has nothing to say here.
            let Some(index) = names.iter().position(|name| name == &filled(cell, vars)) else { continue };
            let held = cells[index].state.as_ref().and_then(|(_, held)| held.get(var));
            if held != vars.get(var) {
                return Err(format!("the model's `{var}` is {held:?} and the transcript's {:?}", vars.get(var)));
            }
        }
        Ok(())
    }

    fn becomes(
        &self,
        step: &Step,
        side: Side,
        vars: &Vars,
        names: &[String],
        cells: &mut [Cell],
    ) -> Result<(), String> {
        let own = if side == Side::Broken { &step.broken } else { &step.fixed };
        for (cell, then) in step.then.iter().chain(own) {
            let cell = &mut cells[place(names, &filled(cell, vars), side)?];
            let number = |var: &str| {
                vars.get(var)
                    .and_then(|value| value.parse::<u64>().ok())
                    .ok_or_else(|| format!("`{var}` is not a number"))
            };
            if let Some(var) = then.strip_prefix('+') {
                cell.amount += number(var)?;
            } else if let Some(var) = then.strip_prefix('-') {
                let less = number(var)?;
                cell.amount = cell.amount.checked_sub(less).ok_or("more went out than came in")?;
                cell.state = Some(("none".to_owned(), Vars::new()));
            } else if then.is_empty() {
                *cell = Cell::default();
            } else {
                cell.state = Some((then.clone(), vars.clone()));
            }
        }
        Ok(())
    }

    fn shown(&self, slug: &str, words: &Words, cells: &[Cell]) -> Result<Vec<Shown>, String> {
        let shown = |cell: &Cell| {
            if cell.amount > 0 {
                let vars = Vars::from([("amount".to_owned(), cell.amount.to_string())]);
                return Ok(Shown {
                    text: words.told(slug, "amount", &vars)?,
                    tone: self.tone("amount"),
                    amount: Some(cell.amount),
                });
            }
            match &cell.state {
                None => Ok(Shown::nothing()),
                Some((name, vars)) => {
                    Ok(Shown { text: words.told(slug, name, vars)?, tone: self.tone(name), amount: None })
                }
            }
        };
        cells.iter().map(shown).collect()
    }

    fn tone(&self, state: &str) -> Tone {
        self.tones.get(state).copied().unwrap_or(Tone::Plain)
    }
}

/// Which of the cells of a side has this name.
fn place(names: &[String], cell: &str, side: Side) -> Result<usize, String> {
    let place = names.iter().position(|name| name == cell);
    place.ok_or_else(|| format!("there is no cell `{cell}` on the {} side", side.name()))
}

/// The one cell that changes; none if several do.
fn changed(before: &[Shown], after: &[Shown]) -> Option<usize> {
    let mut changed = (0..after.len()).filter(|cell| before[*cell] != after[*cell]);
    changed.next().filter(|_| changed.next().is_none())
}

/// The name of a step with its number, if that is not the first.
fn nth(name: &str, count: usize) -> String {
    if count == 1 { name.to_owned() } else { format!("{name}#{count}") }
}

/// Takes away what a cell held for no time: nothing before the moment, and nothing after it.
fn settle(told: &mut Told) {
    for cell in 0..told.first.len() {
        let mut before = told.first[cell].clone();
        for moment in told.lines.chunk_by_mut(|one, other| one.at_ms == other.at_ms) {
            let after = moment.last().map_or_else(Shown::nothing, |line| line.state[cell].clone());
            if before.amount.is_none() && after.amount.is_none() {
                for line in moment.iter_mut().filter(|line| line.state[cell].amount.is_some()) {
                    line.state[cell] = before.clone();
                }
            }
            before = after;
        }
    }
}

/// What varies in the text, if it is as the pattern has it.
pub(super) fn matched(pattern: &str, text: &str) -> Option<Vars> {
    let mut vars = Vars::new();
    let mut rest = text;
    let mut parts = pattern.split('{');
    rest = rest.strip_prefix(parts.next()?)?;
    for part in parts {
        let (name, literal) = part.split_once('}')?;
        let at = if literal.is_empty() { rest.len() } else { rest.find(literal)? };
        vars.insert(name.to_owned(), rest[..at].to_owned());
        rest = &rest[at + literal.len()..];
    }
    vars.remove("");
    rest.is_empty().then_some(vars)
}

fn filled(text: &str, vars: &Vars) -> String {
    vars.iter().fold(text.to_owned(), |text, (var, value)| text.replace(&format!("{{{var}}}"), value))
}

/// The rows of both sides, aligned: what is the same step at the same moment is one row.
pub(super) fn aligned(broken: &[Line], fixed: &[Line]) -> Vec<[Option<Line>; 2]> {
    let same = |one: &Line, other: &Line| (one.at_ms, &one.row) == (other.at_ms, &other.row);
    let (n, m) = (broken.len(), fixed.len());
    let mut common = vec![vec![0; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[i][j] = match same(&broken[i], &fixed[j]) {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut rows) = (0, 0, Vec::new());
    while i < n || j < m {
        let both = i < n && j < m && same(&broken[i], &fixed[j]);
        // Time goes down on both sides, so of two that differ the earlier is first.
        let left = i < n
            && (j == m
                || broken[i].at_ms < fixed[j].at_ms
                || (broken[i].at_ms == fixed[j].at_ms && common[i + 1][j] >= common[i][j + 1]));
        rows.push(match (both, left) {
            (true, _) => [Some(broken[i].clone()), Some(fixed[j].clone())],
            (false, true) => [Some(broken[i].clone()), None],
            (false, false) => [None, Some(fixed[j].clone())],
        });
        i += usize::from(both || left);
        j += usize::from(both || !left);
    }
    rows
}

#[cfg(test)]
mod tests {
    use lab::Event;

    use super::*;

    const STORY: &str = r#"
        begins = "ada {}"
        cells = { broken = ["held"], fixed = ["held"] }
        fault = "in"
        noticed = "out"
        settled = true
        left_out = ["log {}"]
        [[step]]
        name = "in"
        event = "ada puts {bytes} in"
        from = "left"
        to = "hidden"
        then = { held = "+bytes" }
        [[step]]
        name = "out"
        event = "bob takes {bytes}"
        from = "hidden"
        to = "right"
        then = { held = "-bytes" }
        [[step]]
        name = "kept"
        event = "ada leaves {bytes} here"
        from = "left"
        to = "hidden"
        then = { held = "kept" }
        [[step]]
        name = "found"
        event = "bob finds {bytes}"
        from = "hidden"
        to = "right"
        agrees = { held = "bytes" }
    "#;
    const WORDS: &str = "[all]\n[box]\nin = 'in'\nout = 'out'\nkept = '{bytes}'\nfound = 'found'\namount = '{amount} B'\nnone = 'empty'";

    fn told(side: Side, events: &[(u64, &str, &str)]) -> Result<Told, String> {
        let event =
            |&(at_ms, lane, what): &(u64, &str, &str)| Event { at_ms, lane: lane.to_owned(), what: what.to_owned() };
        let scene = SceneRecord { title: String::new(), events: events.iter().map(event).collect(), left_out: 0 };
        let (story, words): (Storyboard, Words) = (toml::from_str(STORY).unwrap(), toml::from_str(WORDS).unwrap());
        story.told("box", &words, side, &scene)
    }

    fn held(told: &Told) -> Vec<&str> {
        told.lines.iter().map(|line| line.state[0].text.as_str()).collect()
    }

    #[test]
    fn a_pattern_says_what_varies() {
        let vars = matched("{who} sends \"{}\" ({bytes} bytes){}", "ada sends \"x\" (7 bytes), as 3").unwrap();
        assert_eq!(vars.into_iter().collect::<Vec<_>>(), [("bytes".into(), "7".into()), ("who".into(), "ada".into())]);
        assert!(matched("ada gets {}", "bob gets 200").is_none());
        assert!(matched("ada gets 200", "ada gets 200 (x)").is_none());
    }

    #[test]
    fn what_is_held_is_what_went_in_and_has_not_come_out() {
        let told = told(Side::Broken, &[(0, "ada", "puts 7 in"), (1, "ada", "puts 3 in"), (2, "bob", "takes 10")]);
        // Only one step of each name is marked.
        let told = told.unwrap();
        assert_eq!(held(&told), ["7 B", "10 B", "empty"]);
        assert_eq!(
            told.lines.iter().map(|line| (line.fault, line.noticed)).collect::<Vec<_>>(),
            [(true, false), (false, false), (false, true)]
        );
    }

    #[test]
    fn what_is_held_for_no_time_is_not_held() {
        let told = told(
            Side::Fixed,
            &[(0, "ada", "puts 7 in"), (0, "bob", "takes 7"), (1, "ada", "puts 3 in"), (2, "bob", "takes 3")],
        );
        assert_eq!(held(&told.unwrap()), ["", "empty", "3 B", "empty"]);
    }

    #[test]
    fn no_event_is_left_out_without_a_word() {
        assert!(told(Side::Fixed, &[(0, "ada", "puts 7 in"), (0, "log", "INFO 7")]).is_ok());
        let said = told(Side::Fixed, &[(0, "ada", "puts 7 in"), (0, "bob", "sneezes")]).unwrap_err();
        assert_eq!(said, "no step of box draws \"bob sneezes\" of the fixed twin, nor is it left out");
    }

    #[test]
    fn a_model_that_does_not_agree_with_the_transcript_is_refused() {
        assert!(told(Side::Fixed, &[(0, "ada", "leaves 7 here"), (1, "bob", "finds 7")]).is_ok());
        let said = told(Side::Fixed, &[(0, "ada", "leaves 7 here"), (1, "bob", "finds 8")]).unwrap_err();
        assert!(said.contains("the model's `bytes` is Some(\"7\") and the transcript's Some(\"8\")"), "{said}");
        let said = told(Side::Fixed, &[(0, "ada", "puts 7 in"), (1, "bob", "takes 8")]).unwrap_err();
        assert!(said.contains("more went out than came in"), "{said}");
    }

    #[test]
    fn an_arrow_has_to_do_with_the_one_cell_that_it_changes() {
        let shows = |texts: [&str; 2]| texts.map(|text| Shown { text: text.to_owned(), ..Shown::nothing() });
        assert_eq!(changed(&shows(["a", "b"]), &shows(["a", "c"])), Some(1));
        assert_eq!(changed(&shows(["a", "b"]), &shows(["c", "d"])), None);
        assert_eq!(changed(&shows(["a", "b"]), &shows(["a", "b"])), None);
        assert!(place(&["a".to_owned()], "b", Side::Fixed).is_err());
    }

    #[test]
    fn a_failure_that_does_not_happen_is_not_drawn() {
        let said = told(Side::Broken, &[(0, "ada", "puts 7 in")]).unwrap_err();
        assert_eq!(said, "the broken twin has no `in` or no `out`");
    }
}
