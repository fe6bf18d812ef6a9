//! The incident bundle: one archive of what the other parts know, to be taken before a restart throws it away.
//!
//! ```
//! use instruments::{Bundles, Logs, Observe, Tasks};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let folder = std::env::temp_dir().join(format!("instruments-example-{}", std::process::id()));
//! let (tasks, logs) = (Tasks::new(), Logs::new());
//! let bundles = Bundles::new(&folder).version("shop", "1.4.2").version("commit", "50ba480").tasks(&tasks).logs(&logs);
//! // On SIGQUIT, and at ten panics in ten seconds, which the response hook tells of.
//! let observe = Observe::new().then(bundles.recorder());
//! tokio::spawn(bundles.clone().watch());
//! # let _ = observe;
//!
//! let path = bundles.take("asked").await.expect("the disk has room");
//! let parts = instruments::bundle::read(std::fs::File::open(path).unwrap()).unwrap();
//! assert!(parts.iter().any(|part| part.name == "tasks-difference.txt"));
//! # std::fs::remove_dir_all(folder).unwrap();
//! # }
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | `manifest.json` | why and when it was taken, the versions, the generation of the configuration, what was cut |
//! | `tasks-before.json`, `tasks-after.json` | two snapshots, [`APART`] apart |
//! | `tasks-difference.txt` | what has changed between them, by place |
//! | `requests.txt` | the requests in flight, each as a table of its layers |
//! | `trace.json`, `waterfall.svg` | the last requests for Perfetto, and the slowest of them |
//! | `layers.json`, `heat.svg` | what each layer has taken; time by latency |
//! | `metrics.txt`, `logs.jsonl` | what a scrape would be told; the last minutes of the log |
//!
//! # Bounds
//!
//! A part is cut at [`MOST_BYTES`], the log at its beginning and anything else at its end. Writing may take [`LONGEST`]. The archive is
//! written aside and renamed, so that a file with its name is whole; the last [`KEPT`] of them stay. One is taken at a time. The folder
//! is to belong to this process alone.
//!
//! On Unix a process that watches SIGQUIT does not end on it any more.

mod read;
mod write;

use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

pub use read::{BadBundle, Part, read};

use crate::{
    Chain, Heat, Logs, Tasks, locked,
    observe::{Outcome, Seen},
    tasks::Snapshot,
};

/// How far the two snapshots of tasks are apart.
pub const APART: Duration = Duration::from_secs(5);
/// How long writing may take.
pub const LONGEST: Duration = Duration::from_secs(30);
/// How many bundles are kept.
pub const KEPT: usize = 3;
/// The most bytes of a part.
pub const MOST_BYTES: usize = 4 << 20;
/// So many panics within [`PANICKING`] take a bundle.
pub const PANICS: usize = 10;
/// Within how long.
pub const PANICKING: Duration = Duration::from_secs(10);

type Told<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Takes incident bundles. A clone takes the same. See the [module docs](self).
#[derive(Clone)]
pub struct Bundles {
    folder: PathBuf,
    versions: Vec<(String, String)>,
    generation: Option<Told<u64>>,
    metrics: Option<Told<String>>,
    tasks: Option<Tasks>,
    chain: Option<Chain>,
    heat: Option<Heat>,
    logs: Option<Logs>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    taking: AtomicBool,
    /// How many were taken: two of one second are told apart.
    taken: AtomicU64,
    panics: Mutex<VecDeque<Instant>>,
    panicking: Notify,
}

/// A bundle was not taken; the sentence says why.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotTaken {
    /// Another one is being taken.
    AlreadyTaking,
    /// Writing took longer than [`LONGEST`].
    TooSlow,
    /// The disk is full, or the folder cannot be written.
    Disk(io::Error),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyTaking => f.write_str("a bundle is being taken already"),
            Self::TooSlow => write!(f, "writing the bundle took longer than {LONGEST:?}"),
            Self::Disk(error) => write!(f, "the bundle could not be written: {error}"),
        }
    }
}

impl std::error::Error for NotTaken {}

impl Bundles {
    /// Bundles go into this folder, which is made when the first is taken.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            versions: Vec::new(),
            generation: None,
            metrics: None,
            tasks: None,
            chain: None,
            heat: None,
            logs: None,
            state: Arc::default(),
        }
    }

    /// A version of the service or of a part of it, as it is known at the start: `env!("CARGO_PKG_VERSION")`, the commit.
    pub fn version(mut self, of: &str, version: &str) -> Self {
        self.versions.push((of.to_owned(), version.to_owned()));
        self
    }

    /// The generation of the configuration that is in force.
    pub fn generation(mut self, generation: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.generation = Some(Arc::new(generation));
        self
    }

    /// What a scrape would be told.
    pub fn metrics(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(text));
        self
    }

    /// These tasks.
    pub fn tasks(mut self, tasks: &Tasks) -> Self {
        self.tasks = Some(tasks.clone());
        self
    }

    /// The requests and layers of this chain.
    pub fn chain(mut self, chain: &Chain) -> Self {
        self.chain = Some(chain.clone());
        self
    }

    /// This heat map.
    pub fn heat(mut self, heat: &Heat) -> Self {
        self.heat = Some(heat.clone());
        self
    }

    /// These lines of the log.
    pub fn logs(mut self, logs: &Logs) -> Self {
        self.logs = Some(logs.clone());
        self
    }

    /// Takes a bundle, which takes [`APART`] and the time to write it, and returns its path. Requests go on meanwhile: files are
    /// written on a thread of their own.
    ///
    /// # Errors
    ///
    /// See [`NotTaken`]. Nothing is left behind then.
    pub async fn take(&self, reason: &str) -> Result<PathBuf, NotTaken> {
        if self.state.taking.swap(true, Ordering::AcqRel) {
            return Err(NotTaken::AlreadyTaking);
        }
        let taking = Taking(self.state.clone());
        let before = self.tasks.as_ref().map(Tasks::snapshot);
        if before.is_some() {
            sleep(APART).await;
        }
        let after = self.tasks.as_ref().map(Tasks::snapshot);
        let given_up = Arc::new(AtomicBool::new(false));
        let (this, reason, late) = (self.clone(), reason.to_owned(), given_up.clone());
        let writing = tokio::task::spawn_blocking(move || {
            // Held until the thread is done with the file, whoever waits.
            let _taking = taking;
            this.write(&reason, before.zip(after), &late)
        });
        let written = match timeout(LONGEST, writing).await {
            Ok(Ok(written)) => written.map_err(NotTaken::Disk),
            Ok(Err(panicked)) => Err(NotTaken::Disk(io::Error::other(panicked))),
            Err(_) => {
                given_up.store(true, Ordering::Release);
                Err(NotTaken::TooSlow)
            }
        };
        match &written {
            Ok(path) => tracing::warn!(target: "instruments::bundle", path = %path.display(), "a bundle was taken"),
            Err(error) => tracing::error!(target: "instruments::bundle", %error, "no bundle was taken"),
        }
        written
    }

    /// What [`Observe::then`](crate::Observe::then) is given, so that panics take a bundle.
    pub fn recorder(&self) -> impl Fn(&Seen) + Send + Sync + 'static {
        let state = self.state.clone();
        move |seen| {
            if seen.outcome == Outcome::Panicked {
                state.panicked(Instant::now());
            }
        }
    }

    /// Takes a bundle on SIGQUIT and when panics come in a row, for ever: spawn it. Where there is no SIGQUIT it watches panics alone.
    pub async fn watch(self) {
        let mut quits = Quits::new();
        loop {
            let reason = tokio::select! {
                () = quits.next() => "sigquit",
                () = self.state.panicking.notified() => "panics",
            };
            // What came of it is logged.
            let _ = self.take(reason).await;
        }
    }

    /// The bundles that are there, the oldest first.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be read. One that is not there has no bundles.
    pub fn list(&self) -> io::Result<Vec<PathBuf>> {
        write::list(&self.folder)
    }

    fn write(&self, reason: &str, tasks: Option<(Snapshot, Snapshot)>, given_up: &AtomicBool) -> io::Result<PathBuf> {
        let mut parts = Vec::<(&str, String)>::new();
        if let Some((before, after)) = tasks {
            parts.push(("tasks-before.json", before.to_json()));
            parts.push(("tasks-after.json", after.to_json()));
            parts.push(("tasks-difference.txt", before.difference(&after).to_string()));
        }
        if let Some(chain) = &self.chain {
            parts.push(("requests.txt", chain.open().iter().map(|trace| format!("{trace}\n")).collect()));
            parts.push(("trace.json", chain.to_chrome()));
            let slowest = chain.ended().into_iter().max_by_key(crate::chain::Trace::age);
            parts.extend(slowest.map(|trace| ("waterfall.svg", trace.to_svg())));
            parts.push(("layers.json", json!(chain.by_layer()).to_string()));
        }
        parts.extend(self.heat.as_ref().map(|heat| ("heat.svg", heat.to_svg())));
        parts.extend(self.metrics.as_ref().map(|metrics| ("metrics.txt", metrics())));
        parts.extend(self.logs.as_ref().map(|logs| ("logs.jsonl", logs.text())));
        let cut: Vec<&str> = parts.iter_mut().filter_map(|(name, text)| cut(name, text).then_some(*name)).collect();
        let seconds = write::unix_seconds();
        let versions: serde_json::Map<String, Value> =
            self.versions.iter().map(|(of, version)| (of.clone(), version.as_str().into())).collect();
        let manifest = json!({
            "schema": 1,
            "reason": reason,
            "unix_seconds": seconds,
            "versions": versions,
            "generation": self.generation.as_ref().map(|generation| generation()),
            "cut": cut,
        });
        parts.insert(0, ("manifest.json", manifest.to_string()));
        let n = self.state.taken.fetch_add(1, Ordering::Relaxed);
        write::write(&self.folder, seconds, n, &parts, given_up)
    }
}

/// Cuts a part that is too long, at the end that matters less.
fn cut(name: &str, text: &mut String) -> bool {
    if text.len() <= MOST_BYTES {
        return false;
    }
    if name == "logs.jsonl" {
        let from = text.len() - MOST_BYTES;
        let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text.drain(..from);
    } else {
        let to = (0..=MOST_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(to);
    }
    true
}

/// While a bundle is being taken.
struct Taking(Arc<State>);

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.taking.store(false, Ordering::Release);
    }
}

impl State {
    fn panicked(&self, now: Instant) {
        let mut panics = locked(&self.panics);
        panics.push_back(now);
        while panics.front().is_some_and(|at| now.duration_since(*at) > PANICKING) {
            panics.pop_front();
        }
        if panics.len() >= PANICS {
            panics.clear();
            self.panicking.notify_one();
        }
    }
}

/// The signal, where there is one.
#[cfg(unix)]
struct Quits(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Quits {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::quit()).ok())
    }

    async fn next(&mut self) {
        if let Some(quits) = &mut self.0
            && quits.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
struct Quits;

#[cfg(not(unix))]
impl Quits {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

impl fmt::Debug for Bundles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundles").field("folder", &self.folder).finish_non_exhaustive()
    }
}
