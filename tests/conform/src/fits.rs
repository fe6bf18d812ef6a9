//! Which of the constructors of [`Subject`] a layer fits, found out at compile time for [`subject!`](crate::subject).
//!
//! A method is looked for on `&&Make`, then on `&Make`, then on `Make`: the first trait whose bounds hold is taken.

use std::convert::Infallible;

use axum::body::Body;
use http::{Request, Response};
use lab::SourceError;
use tower::{BoxError, Layer, Service};

use crate::{Probe, Subject};

/// A constructor of layers.
#[derive(Debug)]
pub struct Make<F>(pub F);

/// Fits [`Subject::layer`].
pub trait Fallible {
    /// The subject.
    fn subject(&self) -> Subject;
}

/// Fits [`Subject::infallible`].
pub trait Unfailing {
    /// The subject.
    fn subject(&self) -> Subject;
}

/// Fits [`Subject::unclonable`].
pub trait Unclonable {
    /// The subject.
    fn subject(&self) -> Subject;
}

impl<F, L, B> Fallible for &&Make<F>
where
    F: Fn() -> L + Clone + Send + Sync + 'static,
    L: Layer<Probe<SourceError>>,
    L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn subject(&self) -> Subject {
        Subject::layer(self.0.clone())
    }
}

impl<F, L, B> Unfailing for &Make<F>
where
    F: Fn() -> L + Clone + Send + Sync + 'static,
    L: Layer<Probe<Infallible>>,
    L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn subject(&self) -> Subject {
        Subject::infallible(self.0.clone())
    }
}

impl<F, L, B> Unclonable for Make<F>
where
    F: Fn() -> L + Clone + Send + Sync + 'static,
    L: Layer<Probe<SourceError>>,
    L::Service:
        Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static> + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn subject(&self) -> Subject {
        Subject::unclonable(self.0.clone())
    }
}

/// A [`Subject`] of a layer, by whichever of [`Subject::layer`], [`Subject::infallible`] and [`Subject::unclonable`] it fits.
///
/// Where it fits none, the compiler says only that there is no method `subject`: call the constructor that it should fit, and
/// the compiler says why it does not.
///
/// ```
/// use conform::{Contract, subject};
/// let report = conform::check(subject!(tower::layer::util::Identity::new()), &Contract::transparent());
/// assert!(report.conforms(), "{report}");
/// ```
#[macro_export]
macro_rules! subject {
    ($layer:expr) => {{
        #[allow(unused_imports, reason = "one of the three is used")]
        use $crate::fits::{Fallible as _, Unclonable as _, Unfailing as _};
        (&&&$crate::fits::Make(|| $layer)).subject()
    }};
}
