use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

/// The number of the JSON form; it changes when a reader of the old form would be misled.
pub(super) const SCHEMA: u32 = 1;

/// The tasks that ran at one moment, as JSON.
///
/// ```json
/// {
///   "schema": 1,
///   "at_ms": 5000,
///   "unnamed": 4,
///   "tasks": [
///     { "id": 7, "name": "flush", "place": "src/main.rs:31:5", "age_ms": 4200, "state": "waiting", "polls": 3 }
///   ]
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The number of this form, now 1.
    pub schema: u32,
    /// Milliseconds since the list was made.
    pub at_ms: u64,
    /// How many tasks of the runtime the list does not know. None where the snapshot was taken outside a runtime.
    pub unnamed: Option<u64>,
    /// The listed tasks, the oldest first.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// A number that no other task of the list has.
    pub id: u64,
    /// The name that it was given.
    pub name: String,
    /// Where it was spawned: file, line and column.
    pub place: String,
    /// Milliseconds since it was spawned.
    pub age_ms: u64,
    /// What it is doing.
    pub state: State,
    /// How often it was polled.
    pub polls: u64,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has not been polled.
    New,
    /// It is being polled.
    Running,
    /// Something has to wake it.
    Waiting,
}

impl Snapshot {
    /// The snapshot as JSON, one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers only")
    }

    /// Reads what [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    ///
    /// Where the text is torn, is something else, or has another schema number.
    pub fn from_json(text: &str) -> Result<Self, UnreadableSnapshot> {
        let read: Self = serde_json::from_str(text).map_err(|error| UnreadableSnapshot(error.to_string()))?;
        match read.schema {
            SCHEMA => Ok(read),
            other => Err(UnreadableSnapshot(format!("its schema is {other}, and {SCHEMA} is what is read here"))),
        }
    }

    /// What has changed until `later`, by name and place, the most grown first.
    pub fn difference(&self, later: &Self) -> Difference {
        let ids = |snapshot: &Self| snapshot.tasks.iter().map(|task| task.id).collect::<BTreeSet<_>>();
        let (before, after) = (ids(self), ids(later));
        let mut groups = BTreeMap::<(&str, &str), Group>::new();
        for task in &self.tasks {
            let group = groups.entry((&task.name, &task.place)).or_default();
            group.before += 1;
            group.ended += u64::from(!after.contains(&task.id));
        }
        for task in &later.tasks {
            let group = groups.entry((&task.name, &task.place)).or_default();
            group.after += 1;
            group.started += u64::from(!before.contains(&task.id));
            group.oldest_ms = group.oldest_ms.max(task.age_ms);
        }
        let named =
            groups.into_iter().map(|((name, place), group)| Group { name: name.into(), place: place.into(), ..group });
        let mut groups: Vec<Group> = named.collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.growth()));
        Difference { schema: SCHEMA, ms: later.at_ms.saturating_sub(self.at_ms), groups }
    }
}

/// What has changed between two snapshots of one list. Its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Difference {
    /// The number of this form, now 1.
    pub schema: u32,
    /// Milliseconds between the two.
    pub ms: u64,
    /// Each name and place that either snapshot has, the most grown first.
    pub groups: Vec<Group>,
}

/// The tasks of one name that were spawned at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// The name.
    pub name: String,
    /// Where they were spawned: file, line and column.
    pub place: String,
    /// How many the first snapshot has.
    pub before: u64,
    /// How many the second has.
    pub after: u64,
    /// How many the second has and the first has not.
    pub started: u64,
    /// How many the first has and the second has not. What began and ended between the two is in neither.
    pub ended: u64,
    /// The age of the oldest in the second, in milliseconds.
    pub oldest_ms: u64,
}

impl Group {
    /// How many more there are; negative where there are fewer.
    pub fn growth(&self) -> i64 {
        self.after.cast_signed() - self.before.cast_signed()
    }
}

impl Difference {
    /// The groups of which no task has ended, and that have grown by at least `threshold` tasks.
    pub fn only_growing(&self, threshold: u64) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |group| group.ended == 0 && group.started >= threshold.max(1))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "after {} ms", self.ms)?;
        for group in &self.groups {
            let Group { name, place, before, after, started, ended, oldest_ms } = group;
            let grows = if *ended == 0 && *started > 0 { ", only grows" } else { "" };
            writeln!(
                f,
                "{:+5}  {name} at {place}: {before} -> {after}, {ended} ended, oldest {oldest_ms} ms{grows}",
                group.growth()
            )?;
        }
        Ok(())
    }
}

/// What was read is no snapshot; the sentence says why.
#[derive(Debug)]
pub struct UnreadableSnapshot(String);

impl fmt::Display for UnreadableSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no snapshot of tasks: {}", self.0)
    }
}

impl std::error::Error for UnreadableSnapshot {}
