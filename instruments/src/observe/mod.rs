//! The response hook: what became of each request, told when its body has ended and not when its head was sent.
//!
//! ```
//! use axum::{Router, routing::get};
//! use instruments::Observe;
//!
//! let app: Router = Router::new()
//!     .route("/parcels/{id}", get(async || "on its way"))
//!     .layer(Observe::new());
//! # let _ = app;
//! ```
//!
//! # What it tells
//!
//! Through the facade [`metrics`], to whichever recorder the service has installed. Install it before the first request: a series
//! is looked up once, when it is first needed.
//!
//! | name | kind | unit | labels |
//! |---|---|---|---|
//! | `http_requests_total` | counter | requests | `route`, `method`, `status`, `outcome` |
//! | `http_requests_in_flight` | gauge | requests | `route`, `method` |
//! | `http_response_head_seconds` | histogram | seconds until the head | `route`, `method`, `status` |
//! | `http_response_first_byte_seconds` | histogram | seconds until the first byte of the body | `route`, `method`, `status` |
//! | `http_request_duration_seconds` | histogram | seconds until the end | `route`, `method`, `status` |
//! | `http_response_bytes_total` | counter | bytes of the body | `route`, `method`, `status` |
//!
//! `status` is a class, `2xx` to `5xx`, or `none` when there was no head. `route` is the template, `/parcels/{id}`, and `unmatched`
//! where there is none; after [`MOST_ROUTES`] of them it is `other`. So the number of series is bounded by routes × methods ×
//! classes of status, whatever clients send.
//!
//! As an event of [`tracing`] with the target `instruments::observe`, one for each request: at `DEBUG` when it was complete, at
//! `WARN` otherwise. And to each function given to [`Observe::then`].
//!
//! # Outcomes
//!
//! See [`Outcome`]. A body that is dropped after as many bytes as its `content-length` says is complete: hyper does not ask it for
//! its end. So is one that no client is shown, as for `HEAD`.
//!
//! # Where to put it
//!
//! Outside everything that it should time, and inside a layer that catches panics: what is caught further in is an answer 500 and
//! no panic here. axum tells the template to layers on a `Router`, and not to what is put round it.

mod body;
mod record;
mod series;
mod service;

use std::{fmt, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use tokio::time::Instant;
use tower_layer::Layer;

pub use body::ObservedBody;
pub use service::{Observed, ResponseFuture};

use crate::routes::MATCHED;
pub use crate::routes::{MOST_ROUTES, Template};
use series::Series;

type Hook = Arc<dyn Fn(&Seen) + Send + Sync>;

/// A layer that tells what became of each request. See the [module docs](self).
#[derive(Clone)]
pub struct Observe {
    shared: Arc<Shared>,
}

#[derive(Clone)]
pub(crate) struct Shared {
    template: Template,
    hooks: Vec<Hook>,
    series: Arc<Series>,
}

impl Observe {
    /// Observes by axum's route templates.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { template: MATCHED, hooks: Vec::new(), series: Arc::default() }) }
    }

    /// Finds the route otherwise, where axum does not route.
    ///
    /// ```
    /// use instruments::Observe;
    /// let observe = Observe::new().route(|uri, _| match uri.path() {
    ///     "/health" => Some("/health"),
    ///     path if path.starts_with("/parcels/") => Some("/parcels/{id}"),
    ///     _ => None,
    /// });
    /// # let _ = observe;
    /// ```
    pub fn route(self, template: Template) -> Self {
        Self { shared: Arc::new(Shared { template, ..Shared::clone(&self.shared) }) }
    }

    /// Calls `hook` at each request's end, on the task that ended it. It should not block.
    ///
    /// ```
    /// use instruments::{Observe, observe::Outcome};
    /// let observe = Observe::new().then(|seen| {
    ///     if seen.outcome == Outcome::Panicked {
    ///         eprintln!("{} {} panicked after {:?}", seen.method, seen.route, seen.last);
    ///     }
    /// });
    /// # let _ = observe;
    /// ```
    pub fn then(self, hook: impl Fn(&Seen) + Send + Sync + 'static) -> Self {
        let mut shared = Shared::clone(&self.shared);
        shared.hooks.push(Arc::new(hook));
        Self { shared: Arc::new(shared) }
    }
}

impl Default for Observe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observe").field("hooks", &self.shared.hooks.len()).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, shared: self.shared.clone() }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The body was sent to its end.
    Complete,
    /// The service or the body said that it failed.
    Failed,
    /// The future or the body was dropped before its end: the client has left, or a layer outside has given up.
    Abandoned,
    /// The service, its future or its body panicked.
    Panicked,
}

impl Outcome {
    /// The label of the series: `complete`, `failed`, `abandoned` or `panicked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Panicked => "panicked",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of one request. Durations count from the call of the service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// The template of the route, as it is in the label.
    pub route: Arc<str>,
    /// The method. Extension methods are themselves here, and `other` in the label.
    pub method: Method,
    /// The status, if there was a head.
    pub status: Option<StatusCode>,
    /// When the service was called.
    pub start: Instant,
    /// The time until the head.
    pub head: Option<Duration>,
    /// The time until the first byte of the body, if it has one.
    pub first: Option<Duration>,
    /// The time until the last byte, or until the request ended otherwise.
    pub last: Duration,
    /// How many bytes of the body were handed on.
    pub bytes: u64,
    /// How it ended.
    pub outcome: Outcome,
}
