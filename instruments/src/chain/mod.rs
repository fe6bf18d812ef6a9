//! The chain trace: in which layer of a stack the time goes.
//!
//! Each layer is given a name where it is put into the stack. The innermost name is for what is inside all of them.
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, http::StatusCode, routing::get};
//! use instruments::Chain;
//! use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer};
//! use tower_http::timeout::TimeoutLayer;
//!
//! let chain = Chain::new();
//! let app: Router = Router::new().route("/parcels/{id}", get(async || "on its way")).layer(
//!     ServiceBuilder::new()
//!         .layer(chain.named("timeout", TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(30))))
//!         .layer(chain.named("limit", ConcurrencyLimitLayer::new(64)))
//!         .layer(chain.mark("handler")),
//! );
//! # let _ = app;
//! ```
//!
//! # What is attributed to a layer
//!
//! | time | from … to |
//! |---|---|
//! | `ready` | its first `poll_ready` that had to wait, until it was ready. It counts apart, and not as *before* or *inner* of anything |
//! | `before` | its call, until it calls the next name inward |
//! | `inner` | all calls of the next name inward, until their heads; where two run at once, the time counts once |
//! | `after` | the last head from inside, until its own |
//! | `itself` | its call until its head, without `inner` and the readiness of what is inside. Between two tries of a retry it is this |
//! | `body` | its head until its body's end |
//!
//! Whatever has no name belongs to the nearest name outside it. A layer that makes a new request and leaves the extensions behind
//! cuts the chain: what is inside it begins a trace of its own.
//!
//! # What is kept
//!
//! The last [`KEPT`] requests that have ended, [`MOST_SPANS`] calls of each; those in flight; and for each name a histogram.

mod body;
mod chrome;
mod service;
mod trace;
mod waterfall;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hdrhistogram::Histogram;
use http::{Method, Request};
use serde::Serialize;
use tokio::time::Instant;
use tower_layer::{Identity, Layer};

pub use body::TimedBody;
pub use service::{ResponseFuture, Timed};
pub use trace::{Span, Times, Trace};

use crate::{
    locked,
    routes::{MATCHED, Names, Template},
};
use trace::{Nanos, Tracing};

/// How many requests that have ended are kept.
pub const KEPT: usize = 64;
/// How many calls of one request are kept; what a retry does beyond them is not.
pub const MOST_SPANS: usize = 32;
/// The longest time that the histograms tell apart, in microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// The names of a stack, and where the time went. A clone is the same chain. See the [module docs](self).
#[derive(Clone)]
pub struct Chain {
    shared: Arc<Shared>,
    template: Template,
}

struct Shared {
    start: Instant,
    next: AtomicU64,
    routes: Names,
    open: Mutex<HashMap<u64, Arc<Tracing>>>,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    kept: VecDeque<Arc<Tracing>>,
    /// What was kept long enough, to be used again: a request then allocates nothing for its trace.
    spare: Vec<Arc<Tracing>>,
    by_layer: Vec<Layered>,
}

/// What one name has taken.
struct Layered {
    name: &'static str,
    itself: Histogram<u32>,
    /// Sums.
    all: Nanos,
}

impl Chain {
    /// A chain of axum's routes.
    pub fn new() -> Self {
        let shared = Shared {
            start: Instant::now(),
            next: AtomicU64::new(1),
            routes: Names::default(),
            open: Mutex::default(),
            ended: Mutex::default(),
        };
        Self { shared: Arc::new(shared), template: MATCHED }
    }

    /// Finds the route otherwise, as [`Observe::route`](crate::Observe::route) does.
    pub fn route(self, template: Template) -> Self {
        Self { template, ..self }
    }

    /// The layer itself, and round it a clock of this name.
    pub fn named<L>(&self, name: &'static str, layer: L) -> NamedLayer<L> {
        NamedLayer { chain: self.clone(), name, layer }
    }

    /// A clock with no layer in it: for what is inside all layers.
    pub fn mark(&self, name: &'static str) -> NamedLayer<Identity> {
        self.named(name, Identity::new())
    }

    /// The requests in flight, the oldest first.
    pub fn open(&self) -> Vec<Trace> {
        let now = self.shared.now();
        let mut open: Vec<Trace> = locked(&self.shared.open).values().map(|tracing| tracing.told(now)).collect();
        open.sort_by_key(|trace| trace.id);
        open
    }

    /// The last requests that have ended, the oldest first.
    pub fn ended(&self) -> Vec<Trace> {
        let now = self.shared.now();
        locked(&self.shared.ended).kept.iter().map(|tracing| tracing.told(now)).collect()
    }

    /// What each name has taken since the chain was made, in the order in which the names were first seen at a request's end.
    pub fn by_layer(&self) -> Vec<LayerTimes> {
        locked(&self.shared.ended).by_layer.iter().map(Layered::told).collect()
    }

    /// The requests that have ended, as a file for Perfetto or `chrome://tracing`: the JSON form of the Trace Event Format.
    ///
    /// ```
    /// let chain = instruments::Chain::new();
    /// assert!(chain.to_chrome().starts_with(r#"{"displayTimeUnit":"ms","traceEvents":["#));
    /// ```
    pub fn to_chrome(&self) -> String {
        chrome::file(&self.ended())
    }

    fn begin<B>(&self, request: &Request<B>) -> Arc<Tracing> {
        let route = self.shared.routes.name((self.template)(request.uri(), request.extensions()));
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let spare = locked(&self.shared.ended).spare.pop();
        let mut tracing = spare.unwrap_or_default();
        match Arc::get_mut(&mut tracing) {
            Some(again) => again.begin(id, request.method().clone(), route),
            // Somebody still reads it.
            None => tracing = Arc::new(Tracing::new(id, request.method().clone(), route)),
        }
        locked(&self.shared.open).insert(id, tracing.clone());
        tracing
    }

    fn end(&self, tracing: &Arc<Tracing>) {
        locked(&self.shared.open).remove(&tracing.id);
        let mut ended = locked(&self.shared.ended);
        tracing.each(|name, times| {
            let found = ended.by_layer.iter().position(|layered| layered.name == name);
            let at = found.unwrap_or_else(|| {
                ended.by_layer.push(Layered::new(name));
                ended.by_layer.len() - 1
            });
            ended.by_layer[at].add(times);
        });
        ended.kept.push_back(tracing.clone());
        if ended.kept.len() > KEPT
            && let Some(oldest) = ended.kept.pop_front()
            && ended.spare.len() < KEPT
        {
            ended.spare.push(oldest);
        }
    }
}

impl Shared {
    /// Nanoseconds since the chain was made.
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("open", &locked(&self.shared.open).len()).finish_non_exhaustive()
    }
}

/// A layer with a clock round it. See [`Chain::named`].
#[derive(Clone, Debug)]
pub struct NamedLayer<L> {
    chain: Chain,
    name: &'static str,
    layer: L,
}

impl<S, L: Layer<S>> Layer<S> for NamedLayer<L> {
    type Service = Timed<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        Timed::new(self.layer.layer(inner), self.chain.clone(), self.name)
    }
}

/// What the requests that have ended spent in one layer. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerTimes {
    /// The name of the layer.
    pub name: String,
    /// How often it was called.
    pub calls: u64,
    /// The median of its own time.
    pub itself_p50_us: u64,
    /// The 99th percentile of its own time.
    pub itself_p99_us: u64,
    /// The longest of its own times.
    pub itself_max_us: u64,
    /// The sum of the times inside it.
    pub inner_us: u64,
    /// The sum of the times it waited to be ready.
    pub ready_us: u64,
    /// The sum of the times before it called inward.
    pub before_us: u64,
    /// The sum of the times from the last head from inside to its own.
    pub after_us: u64,
    /// The sum of the times from head to the body's end.
    pub body_us: u64,
}

impl Layered {
    fn new(name: &'static str) -> Self {
        // Two digits: 27 KB a name.
        let itself = Histogram::new_with_max(LONGEST_US, 2).expect("the bounds are in order");
        Self { name, itself, all: Nanos::default() }
    }

    fn add(&mut self, times: &Nanos) {
        self.itself.saturating_record(times.itself / 1_000);
        self.all.inner += times.inner;
        self.all.ready += times.ready;
        self.all.before += times.before;
        self.all.after += times.after;
        self.all.body += times.body;
    }

    fn told(&self) -> LayerTimes {
        let Nanos { inner, ready, before, after, body, .. } = self.all;
        LayerTimes {
            name: self.name.to_owned(),
            calls: self.itself.len(),
            itself_p50_us: self.itself.value_at_quantile(0.5),
            itself_p99_us: self.itself.value_at_quantile(0.99),
            itself_max_us: self.itself.max(),
            inner_us: inner / 1_000,
            ready_us: ready / 1_000,
            before_us: before / 1_000,
            after_us: after / 1_000,
            body_us: body / 1_000,
        }
    }
}

/// What a request carries inward: its trace, and the call that it is in.
#[derive(Clone)]
struct Inside {
    tracing: Arc<Tracing>,
    span: usize,
}

impl Default for Tracing {
    fn default() -> Self {
        Self::new(0, Method::GET, Arc::from(""))
    }
}
