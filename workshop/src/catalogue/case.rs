//! `case.toml`: what a case *is*. This is the only place that reads it.

use std::{collections::BTreeMap, ops::Range};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::{Refusal, checkout::Checkout};

/// What a case is: everything about it that is neither code nor produced by code.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The name of the ghost as a person says it.
    pub title: String,
    /// The part of the catalogue that it belongs to.
    pub family: Family,
    /// What production sees, in one line of the tour.
    pub symptom: String,
    /// How long a group needs for it.
    pub minutes: u32,
    /// From 1, plain, to 3, demanding.
    pub difficulty: u8,
    /// What people can do afterwards, a sentence; it may tell the cause.
    pub objective: String,
    /// Where to look, what to ask, the mechanism, the fix.
    pub hints: Vec<String>,
    /// The promise whose scene the picture shows; without it, the first that the broken twin breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// What to try against `ghosts serve`.
    #[serde(rename = "try")]
    pub tries: Vec<Try>,
    /// What has happened before on-call is woken: commands that bring the broken twin there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub night: Option<String>,
    /// What on-call may type next.
    #[serde(default, rename = "choice", skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// The tempting wrong fixes, in the order of `near_misses::ALL`.
    #[serde(rename = "near_miss")]
    pub near_misses: Vec<NearMiss>,
    /// Why the fixed twin is as it is, for `ghosts solution`.
    #[serde(default, rename = "reason", skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Upstream threads that were read.
    #[serde(rename = "thread")]
    pub threads: Vec<Thread>,
    /// The versions in which it was seen.
    pub seen: Vec<Seen>,
    /// How it is practised on; without it, no drill draws this ghost. Whoever is shown the case is not shown the drill.
    #[serde(default, skip_serializing)]
    pub drill: Option<Drill>,
}

/// The families of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// What a layer remembers.
    State,
    /// What a layer forwards.
    Streams,
    /// What a layer hides.
    Failure,
    /// When a layer ends.
    Time,
    /// Where a layer stands.
    Order,
    /// What a layer cannot carry.
    Load,
}

impl Family {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Streams => "streams",
            Self::Failure => "failure",
            Self::Time => "time",
            Self::Order => "order",
            Self::Load => "load",
        }
    }
}

/// One line to paste into a second terminal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// A curl line; `{base}` stands for the address of the server.
    pub curl: String,
    /// What it shows with the broken twin, and what with the fixed one.
    pub shows: String,
    /// Whether the chapter shows what it prints: for so many seconds the terminals are watched after the command has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<u32>,
}

/// A command for on-call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// What is typed; `{base}` stands for the address of the server, and `server.log` has what its terminal has shown.
    pub run: String,
    /// What it costs, in the story's minutes: nobody has measured them.
    pub minutes: u32,
    /// What its output tells, a sentence or two.
    pub tells: String,
    /// Whether it is the one that tells the most.
    #[serde(default)]
    pub best: bool,
}

/// A tempting wrong fix.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NearMiss {
    /// Its name in `near_misses::ALL`.
    pub name: String,
    /// Why it tempts.
    pub tempts: String,
    /// The key of the promise that it breaks, or `model`.
    pub breaks: String,
    /// Which lines of its difference from the broken twin the chapter shows; see [`difference::told`](super::difference::told).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shows: Vec<String>,
}

/// Why a piece of the difference of the twins is as it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What stands in a line that changes.
    pub code: String,
    /// Why it changes, a sentence.
    pub why: String,
}

/// An upstream thread.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// `owner/name` on GitHub.
    pub repository: String,
    /// The number of the issue or pull request.
    pub number: u32,
    /// What it shows.
    pub shows: String,
}

/// Versions of a crate in which the failure was seen.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The crate.
    #[serde(rename = "crate")]
    pub library: String,
    /// Its versions.
    pub versions: String,
    /// What was seen in them.
    pub note: String,
}

/// What a drill makes of a ghost: what on-call is told, what clients do, and what would have told the ghost.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// What the service is called behind the edge. It does not tell the ghost.
    pub service: String,
    /// The pager's texts, of which a seed draws one: what somebody who calls has seen, or a machine has measured. None tells why.
    pub pager: Vec<String>,
    /// From which second on it is true, where that is not told by the load.
    #[serde(default)]
    pub begins_s: u64,
    /// How long on-call has, in minutes of the drill's clock.
    pub minutes: u32,
    /// Where a balancer asks whether it is well, if it has such a place.
    #[serde(default)]
    pub health: Option<String>,
    /// Where in the service the fault is.
    pub layer: String,
    /// What helps first, before anybody knows why: one of [`MITIGATIONS`] at least.
    pub first: Vec<String>,
    /// Why that helps now, a sentence.
    pub helps: String,
    /// What lays it to rest.
    pub fix: String,
    /// The evidence that would have told it, a sentence each.
    pub told: Vec<String>,
    /// What others say meanwhile that has nothing to do with it.
    pub herrings: Vec<String>,
    /// What its fixed twin refuses under this load, and is right to refuse: a sentence that names the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub honest: Option<String>,
    /// What clients do.
    pub load: Vec<Load>,
}

impl Drill {
    /// What an everyday request looks like: methods and paths.
    pub fn examples(&self) -> Vec<(String, String)> {
        let mut examples = Vec::new();
        for load in self.load.iter().filter(|load| load.from_s == 0) {
            let method = load.method.clone().unwrap_or_else(|| "GET".to_owned());
            let example = (method, load.path.replace("{n}", "7"));
            if !examples.contains(&example) {
                examples.push(example);
            }
        }
        examples
    }

    /// The seconds in which something begins or ends that brings the fault out.
    pub fn turns(&self) -> Vec<u64> {
        let loads = self.load.iter().flat_map(|load| [Some(load.from_s), load.until_s]);
        loads.flatten().chain([self.begins_s]).filter(|second| *second > 0).collect()
    }

    /// The last second in which the fault may still be unseen.
    pub fn begins(&self) -> u64 {
        self.load.iter().map(|load| load.from_s).chain([self.begins_s]).max().unwrap_or_default()
    }
}

/// Requests of one kind, as clients send them in a drill.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Where it goes below the service; `{n}` is the number of the request.
    pub path: String,
    /// The method, if it is not GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A request each so many milliseconds.
    pub every_ms: u64,
    /// From this second of the drill on.
    #[serde(default)]
    pub from_s: u64,
    /// Until this second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<u64>,
    /// After so many milliseconds the client leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_ms: Option<u64>,
    /// Its body, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends: Option<String>,
    /// In how many milliseconds the body is sent, in four pieces; without it, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends_ms: Option<u64>,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// What on-call may do first in a drill, before anybody knows the cause.
pub const MITIGATIONS: [&str; 8] = [
    "restart the instance",
    "take the instance out of rotation by hand",
    "roll back the last deploy",
    "turn away one class of requests",
    "switch the part off that is slow or down",
    "add instances",
    "make the client's timeout longer",
    "keep it running, and collect evidence for the owner",
];

/// What `breaks` says of a near miss that only the model rejects.
pub const MODEL: &str = "model";

/// What must be true of a case beyond its shape, with the place of what is not.
#[derive(Deserialize)]
struct Checked {
    symptom: Spanned<String>,
    difficulty: Spanned<u8>,
    hints: Spanned<Vec<String>>,
    minutes: Spanned<u32>,
    drill: Option<CheckedDrill>,
}

#[derive(Deserialize)]
struct CheckedDrill {
    pager: Spanned<Vec<String>>,
    minutes: Spanned<u32>,
    first: Spanned<Vec<String>>,
    told: Spanned<Vec<String>>,
    herrings: Spanned<Vec<String>>,
    load: Spanned<Vec<Load>>,
}

/// The longest symptom that fits a line of the tour.
const SYMPTOM: usize = 76;

/// Reads `cases/<slug>/case.toml`.
///
/// # Errors
/// If it is missing or wrong: the sentence names file, line and key.
pub fn read(checkout: &Checkout, slug: &str) -> Result<Case, Refusal> {
    let name = format!("cases/{slug}/case.toml");
    parse(&name, &checkout.text(&name)?)
}

fn parse(name: &str, text: &str) -> Result<Case, Refusal> {
    let at = |span: Option<Range<usize>>| {
        let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
        before.matches('\n').count() + 1
    };
    let refused = |error: toml::de::Error| {
        Refusal::new(format!("{name}:{}: {}", at(error.span()), error.message().trim().replace('\n', " ")))
    };
    let case: Case = toml::from_str(text).map_err(refused)?;
    let checked: Checked = toml::from_str(text).map_err(refused)?;
    let wrong = |key: &str, span: Range<usize>, why: &str| {
        Err(Refusal::new(format!("{name}:{}: `{key}` {why}", at(Some(span)))))
    };
    if checked.symptom.get_ref().chars().count() > SYMPTOM {
        return wrong("symptom", checked.symptom.span(), &format!("is longer than {SYMPTOM} characters"));
    }
    if !(1..=3).contains(checked.difficulty.get_ref()) {
        return wrong("difficulty", checked.difficulty.span(), "is 1, 2 or 3");
    }
    if checked.hints.get_ref().len() != 4 {
        return wrong(
            "hints",
            checked.hints.span(),
            "has four rungs: where to look, what to ask, the mechanism, the fix",
        );
    }
    if *checked.minutes.get_ref() == 0 {
        return wrong("minutes", checked.minutes.span(), "is more than 0");
    }
    if let Some(drill) = checked.drill {
        if *drill.minutes.get_ref() == 0 {
            return wrong("minutes", drill.minutes.span(), "is more than 0");
        }
        let known = |first: &String| MITIGATIONS.contains(&first.as_str());
        if drill.first.get_ref().is_empty() || !drill.first.get_ref().iter().all(known) {
            return wrong("first", drill.first.span(), &format!("is one of {MITIGATIONS:?} at least"));
        }
        let lists = [("pager", &drill.pager), ("told", &drill.told), ("herrings", &drill.herrings)];
        let said = |list: &[String]| !list.is_empty() && list.iter().all(|text| !text.trim().is_empty());
        if let Some((key, list)) = lists.into_iter().find(|(_, list)| !said(list.get_ref())) {
            return wrong(key, list.span(), "has a sentence at least, and none is empty");
        }
        if drill.load.get_ref().is_empty() || drill.load.get_ref().iter().any(|load| load.every_ms == 0) {
            return wrong("load", drill.load.span(), "is one kind of request at least, and `every_ms` is more than 0");
        }
    }
    Ok(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"title = "The example"
family = "state"
symptom = "Something is wrong."
minutes = 10
difficulty = 1
objective = "You can tell."
hints = ["a", "b", "c", "d"]
try = []
near_miss = []
thread = []
seen = []
"#;

    fn refusal(text: &str) -> String {
        parse("cases/example/case.toml", text).expect_err("a wrong case").to_string()
    }

    #[test]
    fn a_whole_case_is_read() {
        assert_eq!(parse("case.toml", GOOD).unwrap().title, "The example");
    }

    #[test]
    fn the_picture_may_be_chosen() {
        let text = GOOD.replace("try = []", "picture = \"a-promise\"\ntry = []");
        assert_eq!(parse("case.toml", GOOD).unwrap().picture, None);
        assert_eq!(parse("case.toml", &text).unwrap().picture.as_deref(), Some("a-promise"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let said = refusal(&GOOD.replace("minutes = 10", "minuets = 10"));
        assert!(said.starts_with("cases/example/case.toml:4: unknown field `minuets`"), "{said}");
    }

    #[test]
    fn a_missing_key_is_named() {
        let said = refusal(&GOOD.replace("minutes = 10\n", ""));
        assert!(said.contains("missing field `minutes`"), "{said}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let said = refusal(&GOOD.replace("minutes = 10", "minutes = \"ten\""));
        assert!(said.starts_with("cases/example/case.toml:4: invalid type: string \"ten\", expected u32"), "{said}");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_line() {
        let said = refusal(&GOOD.replace("difficulty = 1", "difficulty = 4"));
        assert_eq!(said, "cases/example/case.toml:5: `difficulty` is 1, 2 or 3");
        let said = refusal(&GOOD.replace(", \"d\"", ""));
        assert!(said.starts_with("cases/example/case.toml:7: `hints` has four rungs"), "{said}");
    }

    #[test]
    fn a_drill_that_cannot_be_played_is_named_with_its_line() {
        let drill = "[drill]\nservice = \"a\"\npager = [\"b\"]\nminutes = 15\nlayer = \"c\"\nfirst = [\"add instances\"]\nhelps = \"g\"\nfix = \"d\"\n\
                     told = [\"e\"]\nherrings = [\"f\"]\n[[drill.load]]\npath = \"/\"\nevery_ms = 100\n";
        let good = format!("{GOOD}{drill}");
        assert_eq!(parse("case.toml", &good).unwrap().drill.unwrap().load[0].every_ms, 100);
        let said = refusal(&good.replace("minutes = 15", "minutes = 0"));
        assert_eq!(said, "cases/example/case.toml:15: `minutes` is more than 0");
        let said = refusal(&good.replace("add instances", "panic"));
        assert!(said.starts_with("cases/example/case.toml:17: `first` is one of [\"restart the instance\""), "{said}");
        let said = refusal(&good.replace("told = [\"e\"]", "told = []"));
        assert_eq!(said, "cases/example/case.toml:20: `told` has a sentence at least, and none is empty");
        let said = refusal(&good.replace("pager = [\"b\"]", "pager = [\"b\", \" \"]"));
        assert_eq!(said, "cases/example/case.toml:14: `pager` has a sentence at least, and none is empty");
        let said = refusal(&good.replace("pager = [\"b\"]", "pager = \"b\""));
        assert!(
            said.starts_with("cases/example/case.toml:14: invalid type: string \"b\", expected a sequence"),
            "{said}"
        );
        let said = refusal(&good.replace("every_ms = 100", "every_ms = 0"));
        assert!(said.contains("`load` is one kind of request at least"), "{said}");
    }

    #[test]
    fn a_text_that_is_no_toml_is_named_with_its_line() {
        let said = refusal(&GOOD.replace("family = ", "family "));
        assert!(said.starts_with("cases/example/case.toml:2: "), "{said}");
    }
}
