//! What does *your* layer leave alone? One call holds any `tower` layer over an HTTP service, or what an axum app puts round its
//! routes, against what such a middleware has to preserve: readiness, concurrency, cancellation, streaming, back-pressure,
//! lengths, trailers, errors, upgrades, over HTTP/1.1 and HTTP/2.
//!
//! # A layer
//!
//! ```
//! use conform::{Contract, Subject};
//! use tower_http::timeout::TimeoutLayer;
//!
//! // As a test of your own.
//! fn my_layer_conforms() {
//!     let timeout = || TimeoutLayer::with_status_code(http::StatusCode::GATEWAY_TIMEOUT, std::time::Duration::from_secs(900));
//!     let report = conform::check(Subject::layer(timeout), &Contract::transparent());
//!     assert!(report.conforms(), "{report}");
//! }
//! # my_layer_conforms();
//! ```
//!
//! The subject is a *constructor*: the layer is made anew for each scene. [`Subject::layer`] fits most layers,
//! [`Subject::infallible`] those that want a service which cannot fail, as axum's do, [`Subject::boxed`] those that want
//! `BoxError`, and [`Subject::unclonable`] those whose service cannot be cloned. [`subject!`] picks one of them.
//!
//! # What an axum app puts round its routes
//!
//! ```
//! use axum::{Router, extract::Request, middleware::{Next, from_fn}};
//! use conform::{Contract, Subject};
//! use tower_http::catch_panic::CatchPanicLayer;
//!
//! fn with_middleware(routes: Router) -> Router {
//!     routes.layer(CatchPanicLayer::new()).layer(from_fn(async |request: Request, next: Next| next.run(request).await))
//! }
//!
//! let report = conform::check(Subject::app(with_middleware), &Contract::transparent());
//! assert!(report.conforms(), "{report}");
//! ```
//!
//! # A layer that changes things on purpose
//!
//! A [`Contract`] says what: a part of a message that is touched, or a clause that is not kept, with the reason. Each is an
//! expectation. A declared change that is not seen is told as *stale*.
//!
//! ```
//! use axum::{body::Body, http::{HeaderValue, StatusCode}, response::Response};
//! use conform::{Contract, Outcome, Subject, lab::SourceError};
//! use tower::ServiceBuilder;
//!
//! let stamp = || ServiceBuilder::new().then(async |answer: Result<Response, SourceError>| {
//!     let mut answer = answer.unwrap_or_else(|_| {
//!         let mut refused = Response::new(Body::empty());
//!         *refused.status_mut() = StatusCode::BAD_GATEWAY;
//!         refused
//!     });
//!     answer.headers_mut().insert("x-served-by", HeaderValue::from_static("us"));
//!     Ok::<_, SourceError>(answer)
//! });
//! let contract = Contract::transparent()
//!     .touches("response header x-served-by")
//!     .changes("late-readiness-error-told", "an error becomes a 502")
//!     .changes("service-error-unchanged", "an error becomes a 502");
//! let report = conform::check(Subject::layer(stamp), &contract);
//! assert_eq!(report.stale(), ["late-readiness-error-told"], "its poll_ready tells that error all the same");
//! assert!(report.conforms(), "{report}");
//! ```
//!
//! Where a layer acts only on some traffic it has to be shown that: [`Subject::asking`] changes the requests,
//! [`Subject::answering`] the answers of the inner service, and [`Subject::decoding`] undoes what a layer makes of a body, so
//! that its bytes can be compared. A clause that is kept otherwise says only that the layer leaves alone what it does not act on.
//!
//! # How to read a report
//!
//! - A clause has a [`Level`]: what it *must* keep stands in the documentation that [`Clause::source`] names, what it *should* keep a
//!   client or a service can rely on. [`Conformance::conforms`] counts both, and no *info*.
//! - One cause is one finding: what falls only because of it *also follows*.
//! - `observed` says what was seen, the transcript under it how it came to that, in virtual time; `cargo ghosts show` tells what it
//!   becomes in production.
//! - What has no meaning is *not applicable*: no `poll_ready` of an app, no errors of a service that cannot fail.
//!
//! A layer that panics, waits for ever, or spins is told in one line. One that ends the process ends the test: judge it with
//! [`in_child`].
//!
//! # What it does not see
//!
//! Clocks that are not tokio's do not move: set the limits of a layer that has one high. State of the whole process is shared by the
//! scenes. Its scenes are played on one thread; two are tried by [`hammer`]. A response body that must be `Sync` needs an adapter.
//!
//! # All clauses
//!
//! [`clauses`] lists them with level and source.
//!
//! ```
//! for clause in conform::clauses() {
//!     println!("{:28} {:?}: {} [{}]", clause.key, clause.level, clause.sentence, clause.source);
//! }
//! ```

mod body;
mod clauses;
mod contract;
#[doc(hidden)]
pub mod fits;
mod hammer;
mod judge;
mod probe;
mod report;
mod rest;
mod stand;
mod subject;

pub use clauses::{Clause, Level, clauses};
pub use contract::Contract;
pub use hammer::hammer;
pub use judge::{check, judge};
pub use lab::{self, Ended, Limits, in_child};
pub use probe::{Fault, Probe};
pub use report::{Conformance, Judged, Outcome};
pub use rest::the_rest;
pub use subject::Subject;
