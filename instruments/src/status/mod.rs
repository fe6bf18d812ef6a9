//! Status pages: what a service is doing now, under `/debug`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use instruments::{Chain, Status, Tasks};
//!
//! # fn main() -> Result<(), instruments::status::BadToken> {
//! let (chain, tasks) = (Chain::new(), Tasks::new());
//! // Off, unless INSTRUMENTS_TOKEN has a token.
//! let status = Status::from_env()?.tasks(&tasks).chain(&chain);
//! let app: Router = Router::new()
//!     .route("/parcels/{id}", get(async || "on its way"))
//!     .layer(chain.mark("handler"))
//!     .merge(status.router());
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! ```console
//! $ curl -H "authorization: Bearer $INSTRUMENTS_TOKEN" http://127.0.0.1:3000/debug/requests
//! ```
//!
//! | page | what it shows |
//! |---|---|
//! | `GET /debug` | the pages that there are |
//! | `GET /debug/tasks` | a [`Snapshot`](crate::tasks::Snapshot) of the tasks |
//! | `GET /debug/requests` | the requests in flight, the oldest first, with age and layer |
//! | `GET /debug/layers` | what each layer has taken, as [`LayerTimes`](crate::chain::LayerTimes) |
//! | `GET /debug/waterfall.svg` | the slowest of the last requests |
//! | `GET /debug/trace.json` | the last requests, for Perfetto |
//! | `GET /debug/heat.svg` | the heat map |
//! | `GET /debug/resources` | each [`Resource`] of the service: pools, breakers |
//! | `GET /debug/faults` | which fault rules are in force |
//! | `GET /debug/bundles` | the names of the incident bundles that are there |
//! | `POST /debug/bundles` | takes one, and answers with its name five seconds later |
//!
//! # What keeps them closed
//!
//! - Each request needs the token, as `authorization: Bearer …`; without it the answer is 401. A query is refused with 400: a token
//!   in one would be in every log on the way.
//! - An address, or a network /64 of IPv6, has [`MOST`] requests in any minute, with the right token or not. Beyond them it is told
//!   429, with `retry-after`. The address is that of the connection: serve with
//!   `into_make_service_with_connect_info::<SocketAddr>()`, or all share one. No header can change it.
//! - `cache-control: no-store` on each answer.
//! - Values whose field or header has a secret name are not shown; see [`redact`].
//!
//! An answer is one snapshot, taken in one piece and held in memory: a client that does not read it holds nothing else.

mod limit;
mod pages;

use std::{env, fmt, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::Value;

use crate::{Bundles, Chain, Faults, Heat, Tasks, redact};
use limit::Limit;
pub use limit::MOST;

/// Has the token that the pages want.
pub const VARIABLE: &str = "INSTRUMENTS_TOKEN";
/// The shortest token that is taken.
const SHORTEST: usize = 16;

/// Something of the service that has a state of its own: a pool, a breaker, a queue.
///
/// ```
/// use instruments::status::Resource;
/// use serde_json::{Value, json};
///
/// struct Pool { idle: usize, waiting: usize }
///
/// impl Resource for Pool {
///     fn snapshot(&self) -> Value {
///         json!({ "idle": self.idle, "waiting": self.waiting })
///     }
/// }
/// ```
pub trait Resource: Send + Sync {
    /// Its state, taken under one lock, so that its parts belong together. It should not block.
    fn snapshot(&self) -> Value;
}

/// The status pages. See the [module docs](self).
#[derive(Clone, Default)]
pub struct Status {
    token: Option<Arc<str>>,
    tasks: Option<Tasks>,
    chain: Option<Chain>,
    heat: Option<Heat>,
    faults: Option<Faults>,
    bundles: Option<Bundles>,
    resources: Vec<(&'static str, Arc<dyn Resource>)>,
    limit: Arc<Limit>,
}

/// The token is one that could be guessed, or that no header can have.
#[derive(Debug)]
pub struct BadToken(());

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token of the status pages needs at least {SHORTEST} characters, visible ones of ASCII")
    }
}

impl std::error::Error for BadToken {}

impl Status {
    /// Pages that want this token.
    ///
    /// # Errors
    ///
    /// Where the token is shorter than 16 characters, or has one that is not visible ASCII.
    pub fn new(token: &str) -> Result<Self, BadToken> {
        if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken(()));
        }
        Ok(Self { token: Some(token.into()), ..Self::default() })
    }

    /// Pages that want the token in [`VARIABLE`]. Where it is not set there are no pages: the router has no route.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_env() -> Result<Self, BadToken> {
        match env::var(VARIABLE) {
            Ok(token) => Self::new(&token),
            Err(env::VarError::NotPresent) => Ok(Self::default()),
            Err(env::VarError::NotUnicode(_)) => Err(BadToken(())),
        }
    }

    /// Shows these tasks.
    pub fn tasks(mut self, tasks: &Tasks) -> Self {
        self.tasks = Some(tasks.clone());
        self
    }

    /// Shows the requests of this chain, and its layers.
    pub fn chain(mut self, chain: &Chain) -> Self {
        self.chain = Some(chain.clone());
        self
    }

    /// Shows this heat map.
    pub fn heat(mut self, heat: &Heat) -> Self {
        self.heat = Some(heat.clone());
        self
    }

    /// Shows which rules are in force.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.faults = Some(faults.clone());
        self
    }

    /// Lists these bundles, and takes one when it is asked.
    pub fn bundles(mut self, bundles: &Bundles) -> Self {
        self.bundles = Some(bundles.clone());
        self
    }

    /// Shows a part of the service under this name.
    pub fn resource(mut self, name: &'static str, resource: Arc<dyn Resource>) -> Self {
        self.resources.push((name, resource));
        self
    }

    /// The routes under `/debug`, to be merged into the service's.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        if self.token.is_none() {
            return Router::new();
        }
        let guard = from_fn_with_state(self.clone(), guarded);
        pages::routes(self).route_layer(guard)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("on", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// Lets a request through to a page, or refuses it with a sentence.
async fn guarded(State(status): State<Status>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip());
    let mut answer = if let Err(wait) = status.limit.take(peer) {
        let mut refused =
            refused(StatusCode::TOO_MANY_REQUESTS, "too many requests for status pages from this address");
        refused.headers_mut().insert(RETRY_AFTER, wait.into());
        refused
    } else if request.uri().query().is_some() {
        refused(StatusCode::BAD_REQUEST, "status pages take no query, and a token only in the header authorization")
    } else if !status.allows(request.headers()) {
        let mut refused =
            refused(StatusCode::UNAUTHORIZED, "status pages need their token in the header authorization");
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        refused
    } else {
        next.run(request).await
    };
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}

impl Status {
    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return false };
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        // Two of them could mean two things to two readers.
        let (Some(sent), None) = (sent.next(), sent.next()) else { return false };
        sent.as_bytes().strip_prefix(b"Bearer ").is_some_and(|sent| same(sent, token.as_bytes()))
    }
}

/// Takes as long for any two texts of the same length: how far they agree is not to be measured.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
