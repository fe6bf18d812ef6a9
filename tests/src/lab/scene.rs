//! A scene: one run of an app in surroundings that the specification supplies, with its clock, transcript and logs.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::{
    feed::{self, Feed},
    guard::Proof,
    logs::LogLine,
    panics::Site,
    transcript::{Event, SceneRecord},
    wire::{Closed, Server},
};

/// How long a scene may wait, in virtual time, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a promise does not hold: what was expected, and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl Broken {
    /// A breach, told in a sentence.
    pub fn because(observed: impl Into<String>) -> Self {
        Self(observed.into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Closed> for Broken {
    fn from(closed: Closed) -> Self {
        Self(closed.to_string())
    }
}

/// Goes on if `holds`.
///
/// # Errors
/// What was `observed`, if not.
pub fn require(holds: bool, observed: impl Into<String>) -> Proof {
    if holds { Ok(()) } else { Err(Broken(observed.into())) }
}

/// Like [`require`], for what must be true *before* the fault: where it fails, the proof would be empty.
///
/// # Errors
/// What was `observed`, marked as the failure of a control.
pub fn control(works: bool, observed: impl Into<String>) -> Proof {
    require(works, format!("even before the fault: {}", observed.into()))
}

/// The place in which one promise is proven. Each promise gets its own.
#[derive(Clone)]
pub struct Lab {
    pub(super) stage: Stage,
}

impl Lab {
    /// Begins a scene: an empty transcript, no logs, time zero. Its `title` says what distinguishes it from its siblings.
    pub fn scene(&self, title: impl Into<String>) -> Scene {
        let runtime = Handle::current();
        let mut state = self.stage.state();
        if let Some(over) = state.record.take() {
            state.over.push(over);
        }
        state.record = Some(SceneRecord::new(title.into()));
        state.number += 1;
        state.began = Instant::now();
        state.patience = PATIENCE;
        state.logs.clear();
        state.ids.clear();
        let foreign = runtime.metrics().num_alive_tasks().saturating_sub(self.stage.own_tasks());
        Scene { stage: self.stage.clone(), number: state.number, runtime, tasks_before: foreign }
    }

    /// Adds a step that is taken after the promise's runtime was dropped and every blocking task has ended.
    pub fn afterwards(&self, step: impl FnOnce() -> Proof + Send + 'static) {
        self.stage.state().afterwards.push(Box::new(step));
    }
}

/// One run of an app. Clones are the same scene; they may be sent into the parts that the specification supplies.
#[derive(Clone)]
pub struct Scene {
    stage: Stage,
    number: usize,
    runtime: Handle,
    tasks_before: usize,
}

impl Scene {
    /// Serves `app` on an in-memory wire.
    pub fn serve(&self, app: Router) -> Server {
        Server::new(self.clone(), app)
    }

    /// A body whose frames come when the specification says so, and the handle that says so.
    pub fn feed(&self, lane: &str) -> (Feed, Body) {
        feed::feed(self.clone(), lane)
    }

    /// Virtual milliseconds since the scene began. Right on every thread, also on one without a runtime.
    pub fn now_ms(&self) -> u64 {
        let _clock = self.runtime.enter();
        let began = self.stage.state().began;
        u64::try_from(Instant::now().duration_since(began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a line of the transcript: `lane` did `what`, a verb phrase.
    pub fn note(&self, lane: &str, what: impl Into<String>) {
        let event = Event { at_ms: self.now_ms(), lane: lane.to_owned(), what: what.into() };
        let mut state = self.stage.state();
        if state.number == self.number
            && let Some(record) = &mut state.record
        {
            record.push(event);
        }
    }

    /// Lets everything run that can run without time passing, then one virtual millisecond go by.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// How long this scene may last, in virtual time, before the guard calls it an endless wait. 60 s unless said.
    pub fn patience(&self, patience: Duration) {
        self.stage.state().patience = patience;
    }

    /// The app's log lines so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.stage.state().logs.clone()
    }

    /// A stable name for an id that an implementation may choose freely: the first one seen is `id 1`, the next `id 2`.
    pub fn id(&self, raw: &str) -> String {
        let mut state = self.stage.state();
        let place = state.ids.iter().position(|known| known == raw).unwrap_or_else(|| {
            state.ids.push(raw.to_owned());
            state.ids.len() - 1
        });
        format!("id {}", place + 1)
    }

    /// How many tasks of the app's own making live now, more than when the scene began. The laboratory's are not counted,
    /// nor are the connections and streams that it serves. Exact at rest: after [`settle`](Scene::settle).
    pub fn app_tasks(&self) -> usize {
        let alive = self.runtime.metrics().num_alive_tasks();
        alive.saturating_sub(self.stage.own_tasks()).saturating_sub(self.tasks_before)
    }

    /// Spawns a task that counts as the laboratory's.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let counted = OwnTask::new(self.stage.0.clone());
        self.runtime.spawn(async move {
            let _counted = counted;
            task.await
        })
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What the guard, the hook, the log collector and the scenes of one promise share.
#[derive(Clone, Default)]
pub(super) struct Stage(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    own_tasks: AtomicUsize,
}

pub(super) type Step = Box<dyn FnOnce() -> Proof + Send>;

struct State {
    number: usize,
    began: Instant,
    patience: Duration,
    record: Option<SceneRecord>,
    over: Vec<SceneRecord>,
    logs: Vec<LogLine>,
    ids: Vec<String>,
    panicked: Option<String>,
    afterwards: Vec<Step>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            number: 0,
            began: Instant::now(),
            patience: PATIENCE,
            record: None,
            over: Vec::new(),
            logs: Vec::new(),
            ids: Vec::new(),
            panicked: None,
            afterwards: Vec::new(),
        }
    }
}

impl Stage {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_tasks(&self) -> usize {
        self.0.own_tasks.load(Ordering::SeqCst)
    }

    /// Starts the patience of the time before the first scene. Called inside the runtime.
    pub(super) fn open(&self) {
        self.state().began = Instant::now();
    }

    /// Ends when the current scene has lasted longer than it may, and says how long that is.
    pub(super) async fn impatience(&self) -> Duration {
        loop {
            let (until, patience) = {
                let state = self.state();
                (state.began + state.patience, state.patience)
            };
            if Instant::now() >= until {
                return patience;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Ends the last scene: what is still to be torn down belongs to no transcript.
    pub(super) fn close(&self) {
        self.state().number += 1;
    }

    pub(super) fn panicked(&self, site: Site) {
        let mut state = self.state();
        let what = match site {
            Site::Arranged => "panics, as the specification arranged".to_owned(),
            Site::App(place) => {
                state.panicked.get_or_insert_with(|| place.clone());
                format!("panics at {place}")
            }
        };
        state.write("app", what);
    }

    pub(super) fn logged(&self, line: LogLine) {
        let mut state = self.state();
        state.write("log", line.to_string());
        state.logs.push(line);
    }

    /// The place of the first panic that nobody arranged.
    pub(super) fn panic_site(&self) -> Option<String> {
        self.state().panicked.clone()
    }

    pub(super) fn take_afterwards(&self) -> Vec<Step> {
        std::mem::take(&mut self.state().afterwards)
    }

    pub(super) fn take_scenes(&self) -> Vec<SceneRecord> {
        let mut state = self.state();
        let last = state.record.take();
        let mut scenes = std::mem::take(&mut state.over);
        scenes.extend(last);
        scenes
    }
}

impl State {
    fn write(&mut self, lane: &str, what: String) {
        let at_ms = u64::try_from(Instant::now().duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        if let Some(record) = &mut self.record {
            record.push(Event { at_ms, lane: lane.to_owned(), what });
        }
    }
}

struct OwnTask(Arc<Shared>);

impl OwnTask {
    fn new(shared: Arc<Shared>) -> Self {
        shared.own_tasks.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for OwnTask {
    fn drop(&mut self) {
        self.0.own_tasks.fetch_sub(1, Ordering::SeqCst);
    }
}
