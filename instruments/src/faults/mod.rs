//! The fault layer: what happens to a service when something goes wrong, tried on purpose. A rule file says to which requests.
//!
//! ```
//! use axum::{Router, routing::get};
//! use instruments::Faults;
//!
//! # fn main() -> Result<(), instruments::faults::BadRules> {
//! // Off, unless INSTRUMENTS_FAULTS names a rule file.
//! let faults = Faults::from_env()?;
//! let app: Router = Router::new()
//!     .route("/parcels/{id}", get(async || "on its way"))
//!     .layer(faults);
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! # The rule file
//!
//! ```
//! # let text = r#"
//! seed = 7                        # the same seed, the same requests: two runs are equal
//!
//! [[rule]]                        # the first rule that fits, and that the share falls on, is done
//! route = "/parcels/{id}"         # a template; left out, each route
//! method = "GET"                  # left out, each method
//! header = "x-chaos: slow"        # or only a name; left out, each request
//! share = 0.25                    # of the requests that fit; left out, each of them
//! delay-ms = 300                  # and then what follows, or the service itself
//!
//! [[rule]]
//! header = "x-chaos"
//! status = 503                    # refused, with the header `x-fault: refused`, and the service isn't called
//! # "#;
//! # instruments::Faults::from_text(text).unwrap();
//! ```
//!
//! Besides `delay-ms` a rule does one thing at most:
//!
//! | key | what happens |
//! |---|---|
//! | `status = 503` | refuses with this status, from 400 to 599 |
//! | `reset = true` | the head, and then an error: the connection breaks, or the stream of HTTP/2 |
//! | `stall-after = 100` | the head and 100 bytes of the body, and then nothing more |
//! | `cut-after = 100` | the head and 100 bytes of the body, and then an error |
//! | `panic = true` | panics, in the future that answers |
//!
//! `n`-th request that fits rule `r`: whether the share falls on it depends on the seed, `r` and `n`, and on nothing else.
//!
//! # While it runs
//!
//! [`Faults::watch`] reads the file again when it has changed. A bad one keeps the last good one and says so: as an event at `ERROR`,
//! and in [`Faults::state`]. Each fault is counted as `faults_injected_total`, with the label `kind`.

mod body;
mod rules;
mod service;

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use serde::Serialize;
use tower_layer::Layer;

pub use body::{Broken, FaultyBody};
pub use rules::BadRules;
pub use service::{Faulty, ResponseFuture};

use crate::{
    locked,
    routes::{MATCHED, Template},
};
use rules::Rules;

/// Names the rule file.
pub const VARIABLE: &str = "INSTRUMENTS_FAULTS";
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A rule file that is longer is refused.
const LONGEST: u64 = 1 << 20;

/// A layer that does what a rule file says. See the [module docs](self).
#[derive(Clone)]
pub struct Faults {
    /// None where it is off: requests then pass untouched.
    on: Option<Arc<On>>,
    template: Template,
}

struct On {
    path: Option<PathBuf>,
    rules: RwLock<Arc<Rules>>,
    read: Mutex<Read>,
}

struct Read {
    /// What was read last, good or bad.
    text: Result<String, String>,
    generation: u64,
    refused: Option<String>,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FaultState {
    /// Whether it is on at all.
    pub on: bool,
    /// How many rules are in force.
    pub rules: usize,
    /// How many good rule files there have been.
    pub generation: u64,
    /// Why the last file was refused, if it was.
    pub refused: Option<String>,
}

impl Faults {
    /// Does nothing.
    pub fn off() -> Self {
        Self { on: None, template: MATCHED }
    }

    /// Off, unless [`VARIABLE`] names a rule file.
    ///
    /// # Errors
    ///
    /// Where it names one that cannot be read or makes no sense: whoever turned it on wants to know.
    pub fn from_env() -> Result<Self, BadRules> {
        match env::var_os(VARIABLE) {
            None => Ok(Self::off()),
            Some(path) if path.is_empty() => Ok(Self::off()),
            Some(path) => Self::from_file(path),
        }
    }

    /// On, with the rules of this file.
    ///
    /// # Errors
    ///
    /// Where it cannot be read or makes no sense.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, BadRules> {
        let path = path.into();
        let text = load(&path).map_err(BadRules)?;
        let rules = Rules::parse(&text).map_err(|BadRules(why)| BadRules(format!("{}: {why}", path.display())))?;
        Ok(Self::with(Some(path), text, rules))
    }

    /// On, with these rules.
    ///
    /// # Errors
    ///
    /// Where they make no sense.
    pub fn from_text(text: &str) -> Result<Self, BadRules> {
        Ok(Self::with(None, text.to_owned(), Rules::parse(text)?))
    }

    fn with(path: Option<PathBuf>, text: String, rules: Rules) -> Self {
        let read = Mutex::new(Read { text: Ok(text), generation: 1, refused: None });
        let on = On { path, rules: RwLock::new(Arc::new(rules)), read };
        Self { on: Some(Arc::new(on)), template: MATCHED }
    }

    /// Finds the route otherwise, as [`Observe::route`](crate::Observe::route) does.
    pub fn route(self, template: Template) -> Self {
        Self { template, ..self }
    }

    /// Reads the file again whenever it has changed, for ever: spawn it. Ends at once where there is no file. It compares the text, so
    /// that network drives and the links of a mounted configuration do no harm.
    ///
    /// ```
    /// use instruments::Faults;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let faults = Faults::off();
    /// tokio::spawn(faults.clone().watch());
    /// # }
    /// ```
    pub async fn watch(self) {
        let Some(on) = &self.on else { return };
        let Some(path) = on.path.clone() else { return };
        loop {
            tokio::time::sleep(LOOK).await;
            let path = path.clone();
            let Ok(text) = tokio::task::spawn_blocking(move || load(&path)).await else { return };
            on.take(text);
        }
    }

    /// What is in force now.
    pub fn state(&self) -> FaultState {
        let Some(on) = &self.on else { return FaultState { on: false, rules: 0, generation: 0, refused: None } };
        let read = locked(&on.read);
        let rules = on.rules().len();
        FaultState { on: true, rules, generation: read.generation, refused: read.refused.clone() }
    }
}

impl On {
    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, text: Result<String, String>) {
        let mut read = locked(&self.read);
        if read.text == text {
            return;
        }
        match text.clone().map_err(BadRules).and_then(|text| Rules::parse(&text)) {
            Ok(rules) => {
                read.generation += 1;
                read.refused = None;
                tracing::warn!(target: "instruments::faults", rules = rules.len(), generation = read.generation, "new rules");
                *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
            }
            Err(BadRules(why)) => {
                tracing::error!(target: "instruments::faults", why, "bad rules: the last good ones stay");
                read.refused = Some(why);
            }
        }
        read.text = text;
    }
}

/// The text of the file, or a sentence.
fn load(path: &Path) -> Result<String, String> {
    let told = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let length = fs::metadata(path).map_err(told)?.len();
    if length > LONGEST {
        return Err(format!("{} has {length} bytes, and {LONGEST} is the most", path.display()));
    }
    fs::read_to_string(path).map_err(told)
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.clone() }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("state", &self.state()).finish_non_exhaustive()
    }
}
