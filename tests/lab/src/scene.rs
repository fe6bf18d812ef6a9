//! A scene: one run of an app in surroundings that the specification supplies, with its clock, transcript and logs.

use std::{
    collections::HashMap,
    fmt, mem,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use axum::{Router, body::Body, http::HeaderMap};
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::Instant};

use super::{
    attendance,
    feed::{self, Feed},
    guard::{Proof, Terms},
    leaving::Leaving,
    locked,
    logs::LogLine,
    panics::{self, Site},
    stillness::{self, HeldClock, Holding},
    transcript::{Event, SceneRecord},
    wire::{Closed, Server},
};

/// How long a scene may wait, in virtual time, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lane of what the stand-ins say.
const SAYS: &str = "says";

/// How many steps of a scene are kept apart.
const MOST_STEPS: usize = 500;

/// Why a promise does not hold: what was expected, and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl Broken {
    /// A breach, told in a sentence.
    pub fn because(observed: impl Into<String>) -> Self {
        Self(observed.into())
    }

    /// The breach with the scene in which it was seen, if there was one and the sentence does not name it already.
    pub(super) fn seen_in(self, scene: Option<&str>) -> Self {
        match scene {
            Some(scene) if !self.0.contains(scene) => Self(format!("in {scene}: {self}")),
            _ => self,
        }
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
    ///
    /// The scene before it is over: what its connections, and the clones of its [`Scene`], still do and log stands in no
    /// transcript. A task that its app has spawned and left behind is not told apart; let it end, or
    /// [`settle`](Scene::settle) after the clients left, before the next scene begins.
    ///
    /// # Panics
    /// Outside the runtime of the promise.
    pub fn scene(&self, title: impl Into<String>) -> Scene {
        self.stage.hear_the_apps_hook();
        let runtime = Handle::current();
        let began = Instant::now();
        let mut state = self.stage.state();
        state.end_scene();
        state.record = Some(SceneRecord::new(title.into()));
        state.number += 1;
        state.began = began;
        state.patience = PATIENCE;
        state.logs.clear();
        self.stage.0.patience_changed.notify_one();
        let foreign = runtime.metrics().num_alive_tasks().saturating_sub(self.stage.own_tasks());
        Scene { stage: self.stage.clone(), number: state.number, began, runtime, tasks_before: foreign }
    }

    /// Adds a step that is taken after the promise's runtime was dropped and every blocking task that had started has
    /// ended. The steps are taken in order; the first that fails is the last. It belongs to the scene in which it is added.
    pub fn afterwards(&self, step: impl FnOnce() -> Proof + Send + 'static) {
        let title = self.stage.title();
        let step = move || step().map_err(|broken| broken.seen_in(title.as_deref()));
        self.stage.state().afterwards.push(Box::new(step));
    }
}

/// One run of an app. Clones are the same scene; they may be sent into the parts that the specification supplies.
#[derive(Clone)]
pub struct Scene {
    stage: Stage,
    number: usize,
    began: Instant,
    runtime: Handle,
    tasks_before: usize,
}

impl Scene {
    /// Serves `app` on an in-memory wire.
    pub fn serve(&self, app: Router) -> Server {
        self.stage.hear_the_apps_hook();
        Server::new(self.clone(), app)
    }

    /// A body whose frames come when the specification says so, and the handle that says so.
    pub fn feed(&self, lane: &str) -> (Feed, Body) {
        feed::feed(self.clone(), lane, false)
    }

    /// Like [`feed`](Self::feed), of a source that must not be polled after its end, as most streams must not: doing it is a
    /// [breach](Self::breach).
    pub fn feed_that_ends_once(&self, lane: &str) -> (Feed, Body) {
        feed::feed(self.clone(), lane, true)
    }

    /// A part that the specification supplies was used as it must not be. The promise is broken, whatever else is seen; of
    /// several breaches the first counts.
    pub fn breach(&self, observed: impl Into<String>) {
        let mut state = self.stage.state();
        if state.number == self.number && !state.closed() && state.breach.is_none() {
            let title = state.title();
            state.breach = Some(Broken::because(observed).seen_in(title.as_deref()));
        }
    }

    /// The moments of this scene at which a client may leave: in the midst of each step so far, and when all is at rest after
    /// the steps of one instant. Play the scene once to its end, ask for its moments, and play it again for each with a client that
    /// [leaves then](super::Connection::leaves_at).
    pub fn moments_to_leave(&self) -> Vec<Leaving> {
        Leaving::at_each(&self.stage.state().steps)
    }

    /// Does something once the step with this number, from 0, is taken: in the midst of it.
    pub(super) fn at_step(&self, step: usize, deed: impl FnOnce() + Send + 'static) {
        self.stage.state().deeds.push((step, Box::new(deed)));
    }

    /// Virtual milliseconds since the scene began. Right on every thread, also on one without a runtime. When the proof is
    /// over, the time at which it ended.
    pub fn now_ms(&self) -> u64 {
        whole_ms(self.stage.now().duration_since(self.began))
    }

    /// Writes a line of the transcript: `lane` did `what`, a verb phrase. Nothing, when another scene has begun.
    pub fn note(&self, lane: &str, what: impl Into<String>) {
        let event = Event { at_ms: self.now_ms(), lane: lane.to_owned(), what: what.into() };
        let mut state = self.stage.state();
        if state.number != self.number || state.closed() {
            return;
        }
        let step = state.steps.len();
        // An endless source would fill the memory.
        if step < MOST_STEPS {
            state.steps.push((event.at_ms, format!("{} {}", event.lane, event.what)));
        }
        if let Some(record) = &mut state.record {
            record.push(event);
        }
        if state.deeds.is_empty() {
            return;
        }
        let (due, later) = mem::take(&mut state.deeds).into_iter().partition(|(at, _)| *at == step);
        state.deeds = later;
        drop(state);
        // They note, too.
        let due: Vec<(usize, Deed)> = due;
        due.into_iter().for_each(|(_, deed)| deed());
    }

    /// Lets everything run that can run without time passing, then one virtual millisecond go by.
    ///
    /// Time does not pass by itself while a closure of `spawn_blocking` runs: where the specification holds such a closure
    /// at a gate, it moves the clock with `tokio::time::advance`.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Holds the clock, until what is returned is dropped: time passes by `tokio::time::advance` only, also while nothing can
    /// run. For the time in which the app may be at work on a thread of its own, a `std::thread` or a pool's, for which the
    /// clock would not wait.
    ///
    /// An app that does nothing for a sixth of [`Limits::unresponsive`](super::Limits::unresponsive) by the wall clock waits
    /// for time to pass, or for ever. The clock then goes on by itself, in this promise and those after it.
    ///
    /// ```
    /// # use std::{thread, time::Duration};
    /// # use lab::{Asked, Lab, Limits, Proof, Specification, require};
    /// # use tokio::{sync::oneshot, time::timeout};
    /// # async fn proof(lab: Lab, _: ()) -> Proof {
    /// let scene = lab.scene("a thread of its own");
    /// let held = scene.hold_the_clock();
    /// let (tell, told) = oneshot::channel();
    /// thread::spawn(move || tell.send("sealed"));
    /// let in_time = timeout(Duration::from_secs(1), told).await;
    /// require(in_time == Ok(Ok("sealed")), "the clock did not wait")?;
    /// drop(held);
    /// # Ok(())
    /// # }
    /// # let report = Specification::of("doc", ()).promise(Asked::new("a", "A."), proof).judge(Limits::default());
    /// # assert!(report.all_kept(), "{report}");
    /// ```
    pub fn hold_the_clock(&self) -> HeldClock {
        self.stage.0.holding.hold(&self.runtime)
    }

    /// Gives threads that nobody can wait for many turns to do what they have left to do. Time does not pass meanwhile. It
    /// is no proof that they are done: what is judged afterwards must not be held against an app that is merely slow.
    pub async fn let_threads_run(&self) {
        stillness::let_threads_run(&self.runtime).await;
    }

    /// How long this scene may last, in virtual time, before the guard calls it an endless wait. 60 s unless said.
    pub fn patience(&self, patience: Duration) {
        let mut state = self.stage.state();
        if state.number == self.number {
            state.patience = patience;
            self.stage.0.patience_changed.notify_one();
        }
    }

    /// Takes a step on an OS thread of its own, and waits for it. The step has the clock of the scene, its runtime (it may
    /// spawn) and its logs; a panic in it goes on in the caller.
    ///
    /// ```
    /// # use lab::{Asked, Lab, Limits, Proof, Specification, require};
    /// # async fn proof(lab: Lab, _: ()) -> Proof {
    /// let scene = lab.scene("another thread");
    /// let here = std::thread::current().id();
    /// let there = scene.on_another_thread(|| std::thread::current().id());
    /// require(here != there, "the step was taken here")
    /// # }
    /// # let report = Specification::of("doc", ()).promise(Asked::new("a", "A."), proof).judge(Limits::default());
    /// # assert!(report.all_kept(), "{report}");
    /// ```
    pub fn on_another_thread<T: Send>(&self, step: impl FnOnce() -> T + Send) -> T {
        let attended = || {
            let _attended = attendance::attend(self.stage.clone());
            let _runtime = self.runtime.enter();
            step()
        };
        thread::scope(|threads| threads.spawn(attended).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Polls a future once, [on another thread](Scene::on_another_thread), with a waker that does nothing: the specification
    /// decides who is polled when. A new thread each time, as a work-stealing runtime may do.
    pub fn poll_elsewhere<F: Future<Output: Send> + Send + ?Sized>(&self, future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        self.on_another_thread(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop())))
    }

    /// The app's log lines so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.stage.state().logs.clone()
    }

    /// A stable name for an id that an implementation may choose freely: the first one seen is `id 1`, the next `id 2`.
    /// Wherever the transcript has the id, also in what came before, the report prints the name. An id that a client sent in
    /// a header, before any answer had it, keeps its own name: it is the same in each run.
    pub fn id(&self, raw: &str) -> String {
        self.stage.state().name_of_id(raw)
    }

    /// Takes down the headers of a request, or of an answer.
    pub(super) fn headers_cross(&self, headers: &HeaderMap, from_client: bool) {
        let mut state = self.stage.state();
        for value in headers.values() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            state.headers.entry(value).or_insert(from_client);
        }
    }

    /// `who` waits for `what`, until what is returned is dropped: if the wait has no end, the report says so. A client that
    /// waits for an answer, or for something in it, says so by itself.
    pub fn waits(&self, who: &str, what: impl fmt::Display) -> Waits {
        let mut state = self.stage.state();
        state.waits_begun += 1;
        let number = state.waits_begun;
        state.waits.push((number, format!("{who} for {what}")));
        Waits { stage: self.stage.clone(), number }
    }

    /// What the app's log lines have in this field are such ids too, from now on.
    pub fn ids_are_logged_as(&self, field: &'static str) {
        self.stage.state().id_field = Some(field);
    }

    /// How many tasks of the app's own making live now, more than when the scene began. The laboratory's are not counted,
    /// nor are the connections and streams that it serves, nor closures in `spawn_blocking`. Exact at rest: after
    /// [`settle`](Scene::settle), and if no task of an earlier scene's app has ended in this one.
    pub fn app_tasks(&self) -> usize {
        let alive = self.runtime.metrics().num_alive_tasks();
        alive.saturating_sub(self.stage.own_tasks()).saturating_sub(self.tasks_before)
    }

    /// Spawns a task that counts as the laboratory's. What is logged in it belongs to this scene, and to no later one.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(OwnTask::new(self, task))
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("number", &self.number).finish_non_exhaustive()
    }
}

/// See [`Scene::waits`].
#[must_use = "dropping it ends the wait"]
pub struct Waits {
    stage: Stage,
    number: usize,
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").finish_non_exhaustive()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.stage.state().waits.retain(|(number, _)| *number != self.number);
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

// ===== Stage =====

/// What the guard, the hook, the log collector and the scenes of one promise share.
#[derive(Clone)]
pub(super) struct Stage(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    own_tasks: AtomicUsize,
    patience_changed: Notify,
    /// Whether no other specification is judged meanwhile.
    alone: bool,
    holding: Holding,
}

/// What happens in the midst of a step.
type Deed = Box<dyn FnOnce() + Send>;

pub(super) type Step = Box<dyn FnOnce() -> Proof + Send>;

struct State {
    /// The number of the current scene; 0 before the first.
    number: usize,
    clock: Clock,
    /// When the current scene began.
    began: Instant,
    patience: Duration,
    record: Option<SceneRecord>,
    over: Vec<SceneRecord>,
    logs: Vec<LogLine>,
    /// The ids that have a name, each with its number.
    ids: HashMap<String, usize>,
    /// The values of headers that have crossed the wire, and whether it was a client that sent them first.
    headers: HashMap<String, bool>,
    /// Who waits for what now, in the order in which they began.
    waits: Vec<(usize, String)>,
    waits_begun: usize,
    id_field: Option<&'static str>,
    /// Where the app panicked first, and in which scene.
    panicked: Option<(String, Option<String>)>,
    arranged: Option<String>,
    /// The first use of a supplied part that must not be.
    breach: Option<Broken>,
    /// What was noted in the current scene, in words, and when.
    steps: Vec<(u64, String)>,
    deeds: Vec<(usize, Deed)>,
    afterwards: Vec<Step>,
}

enum Clock {
    /// The paused clock of this runtime, which must be entered to read it.
    Of(Handle),
    /// The proof is over.
    Stopped(Instant),
}

impl Stage {
    /// Opens the stage; its time begins. The runtime is the promise's own.
    pub(super) fn open(runtime: &Handle, terms: &Terms) -> Self {
        let _clock = runtime.enter();
        let state = State {
            number: 0,
            clock: Clock::Of(runtime.clone()),
            began: Instant::now(),
            patience: PATIENCE,
            record: None,
            over: Vec::new(),
            logs: Vec::new(),
            ids: HashMap::new(),
            headers: HashMap::new(),
            waits: Vec::new(),
            waits_begun: 0,
            id_field: None,
            panicked: None,
            arranged: None,
            breach: None,
            steps: Vec::new(),
            deeds: Vec::new(),
            afterwards: Vec::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            own_tasks: AtomicUsize::new(0),
            patience_changed: Notify::new(),
            alone: terms.alone,
            holding: terms.holding.clone(),
        }))
    }

    /// The app's hook, if it has one, is heard as the laboratory's is.
    fn hear_the_apps_hook(&self) {
        if self.0.alone {
            panics::adopt_the_apps_hook();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0.state)
    }

    /// The time of the promise's clock, on whatever thread.
    fn now(&self) -> Instant {
        let runtime = match &self.state().clock {
            Clock::Of(runtime) => runtime.clone(),
            Clock::Stopped(at) => return *at,
        };
        let _clock = runtime.enter();
        Instant::now()
    }

    fn own_tasks(&self) -> usize {
        self.0.own_tasks.load(Ordering::SeqCst)
    }

    /// Ends when the current scene has lasted longer than it may, and says how long that is, and who waits for what.
    pub(super) async fn impatience(&self) -> (Duration, Vec<String>) {
        loop {
            let (until, patience) = {
                let state = self.state();
                (state.began.checked_add(state.patience), state.patience)
            };
            let waited = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.0.patience_changed.notified() => {}
                () = waited => return (patience, self.waits()),
            }
        }
    }

    /// Ends the last scene and stops the clock: what is still to be torn down belongs to no transcript.
    pub(super) fn close(&self) {
        let now = self.now();
        // The handle goes: it would keep the runtime, which keeps the stage.
        self.state().clock = Clock::Stopped(now);
    }

    /// Takes down a panic that happened on a thread of this promise.
    pub(super) fn panicked(&self, site: Site) {
        let now = self.now();
        let mut state = self.state();
        let what = match site {
            Site::Arranged(place) => {
                state.arranged = Some(place);
                "panics, as the specification arranged".to_owned()
            }
            Site::App(place) => {
                let what = format!("panics at {place}");
                let title = state.title();
                state.panicked.get_or_insert((place, title));
                what
            }
        };
        if state.is_of_this_scene() {
            state.write(now, "app", what);
        }
    }

    /// Takes down what a stand-in says.
    pub(super) fn said(&self, line: String) {
        let now = self.now();
        let mut state = self.state();
        if state.is_of_this_scene() && !state.closed() {
            state.write(now, SAYS, line);
        }
    }

    /// Takes down a log line of a thread of this promise.
    pub(super) fn logged(&self, line: LogLine) {
        let now = self.now();
        let mut state = self.state();
        if state.is_of_this_scene() && !state.closed() {
            state.write(now, "log", line.to_string());
            for (key, value) in &line.fields {
                if state.id_field == Some(key.as_str()) {
                    state.name_of_id(value);
                }
            }
            state.logs.push(line);
        }
    }

    /// What distinguishes the current scene from its siblings.
    pub(super) fn title(&self) -> Option<String> {
        self.state().title()
    }

    /// Who waits for what now.
    fn waits(&self) -> Vec<String> {
        self.state().waits.iter().map(|(_, what)| what.clone()).collect()
    }

    /// The place of the first panic that nobody arranged, and its scene.
    pub(super) fn panic_site(&self) -> Option<(String, Option<String>)> {
        self.state().panicked.clone()
    }

    /// The place of the last panic of the specification's own making.
    pub(super) fn arranged_site(&self) -> Option<String> {
        self.state().arranged.clone()
    }

    /// The first breach of a part that the specification supplies.
    pub(super) fn take_breach(&self) -> Option<Broken> {
        self.state().breach.take()
    }

    pub(super) fn take_afterwards(&self) -> Vec<Step> {
        std::mem::take(&mut self.state().afterwards)
    }

    /// Like [`take_scenes`](Self::take_scenes), of an app that is given up: how far it has come with the last one depends on
    /// the machine, so that only its beginning is kept.
    pub(super) fn take_beginnings(&self) -> Vec<SceneRecord> {
        let mut scenes = self.take_scenes();
        if let Some(last) = scenes.last_mut() {
            last.keep_the_beginning();
        }
        scenes
    }

    /// How many scenes have begun.
    pub(super) fn scenes_begun(&self) -> usize {
        self.state().number
    }

    pub(super) fn take_scenes(&self) -> Vec<SceneRecord> {
        let mut state = self.state();
        state.end_scene();
        std::mem::take(&mut state.over)
    }
}

impl State {
    fn closed(&self) -> bool {
        matches!(self.clock, Clock::Stopped(_))
    }

    /// Whether what runs on this thread now is of the current scene, as far as one can tell.
    fn is_of_this_scene(&self) -> bool {
        attendance::scene_of_this_task().is_none_or(|number| number == self.number)
    }

    fn title(&self) -> Option<String> {
        self.record.as_ref().map(|record| record.title.clone())
    }

    /// The name of an id in this scene: its own, if it is a client's.
    fn name_of_id(&mut self, raw: &str) -> String {
        match self.headers.get(raw) {
            Some(true) => raw.to_owned(),
            _ => format!("id {}", self.number_of_id(raw)),
        }
    }

    fn number_of_id(&mut self, raw: &str) -> usize {
        if let Some(known) = self.ids.get(raw) {
            return *known;
        }
        let number = self.ids.len() + 1;
        self.ids.insert(raw.to_owned(), number);
        number
    }

    fn end_scene(&mut self) {
        self.id_field = None;
        self.headers.clear();
        self.steps.clear();
        self.deeds.clear();
        let ids = std::mem::take(&mut self.ids);
        if let Some(mut over) = self.record.take() {
            over.rename(&ids);
            self.over.push(over);
        }
    }

    fn write(&mut self, now: Instant, lane: &str, what: String) {
        let at_ms = whole_ms(now.duration_since(self.began));
        if let Some(record) = &mut self.record {
            record.push(Event { at_ms, lane: lane.to_owned(), what });
        }
    }
}

/// A task of the laboratory's. It is counted, and knows its scene while it is polled and while it is dropped.
struct OwnTask<T> {
    stage: Stage,
    scene: usize,
    task: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T> OwnTask<T> {
    fn new(scene: &Scene, task: impl Future<Output = T> + Send + 'static) -> Self {
        scene.stage.0.own_tasks.fetch_add(1, Ordering::SeqCst);
        Self { stage: scene.stage.clone(), scene: scene.number, task: Some(Box::pin(task)) }
    }
}

impl<T> Future for OwnTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let scene = self.scene;
        let task = self.task.as_mut().expect("it goes when the task is dropped");
        attendance::in_scene(scene, || task.as_mut().poll(cx))
    }
}

impl<T> Drop for OwnTask<T> {
    fn drop(&mut self) {
        self.stage.0.own_tasks.fetch_sub(1, Ordering::SeqCst);
        attendance::in_scene(self.scene, || self.task = None);
    }
}
