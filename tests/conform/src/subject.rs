//! What is held against the clauses: a layer or an app, with its types taken off.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use http::{Request, Response};
use lab::SourceError;
use tower::{BoxError, Layer, Service};

use crate::{
    body::plain,
    probe::{Answers, Back, Fault, Probe},
};

type Make = Arc<dyn Fn(Arc<Back>) -> Box<dyn Erased> + Send + Sync>;
type Asking = Arc<dyn Fn(&mut Request<Body>) + Send + Sync>;
type Decoding = Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>;

/// A layer, or what an app puts round its routes, and what it has to be shown.
///
/// Each constructor takes a constructor: a layer is made anew for each scene, so that no scene sees what another left in it.
/// A limit of the layer's own should be above what a scene asks for, which is at most 128 requests, and a timeout above a second.
#[derive(Clone)]
pub struct Subject {
    make: Make,
    asking: Asking,
    pub(crate) answers: Answers,
    pub(crate) decoding: Option<Decoding>,
    pub(crate) fallible: bool,
    pub(crate) clonable: bool,
    /// Whether readiness is asked for outside. axum asks its routes when a request is there.
    pub(crate) has_readiness: bool,
}

impl Subject {
    /// A layer round a service that can fail. Its service can be cloned. This fits most layers; see
    /// [`infallible`](Self::infallible) for axum's own, and [`unclonable`](Self::unclonable).
    ///
    /// ```
    /// use conform::{Contract, Subject};
    /// use tower::limit::ConcurrencyLimitLayer;
    ///
    /// let subject = Subject::layer(|| ConcurrencyLimitLayer::new(500));
    /// let report = conform::check(subject, &Contract::transparent());
    /// assert!(report.conforms(), "{report}");
    /// ```
    pub fn layer<L, B>(make: impl Fn() -> L + Send + Sync + 'static) -> Self
    where
        L: Layer<Probe<SourceError>>,
        L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
            + Clone
            + Send
            + 'static,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        Self::of::<SourceError>(true, move |back| clonable(make().layer(Probe::<SourceError>::new(back))))
    }

    /// A layer round a service that cannot fail, as axum's own want it.
    pub fn infallible<L, B>(make: impl Fn() -> L + Send + Sync + 'static) -> Self
    where
        L: Layer<Probe<Infallible>>,
        L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
            + Clone
            + Send
            + 'static,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        Self::of::<Infallible>(true, move |back| clonable(make().layer(Probe::<Infallible>::new(back))))
    }

    /// A layer that wants a service whose error is `tower::BoxError`.
    pub fn boxed<L, B>(make: impl Fn() -> L + Send + Sync + 'static) -> Self
    where
        L: Layer<Probe<BoxError>>,
        L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
            + Clone
            + Send
            + 'static,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        Self::of::<BoxError>(true, move |back| clonable(make().layer(Probe::<BoxError>::new(back))))
    }

    /// A layer whose service cannot be cloned. No server can use it as it is, so that the clauses about the wire do not apply.
    pub fn unclonable<L, B>(make: impl Fn() -> L + Send + Sync + 'static) -> Self
    where
        L: Layer<Probe<SourceError>>,
        L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
            + Send
            + 'static,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        Self::of::<SourceError>(false, move |back| single(make().layer(Probe::<SourceError>::new(back))))
    }

    /// What an axum app puts round its routes. The clauses about `poll_ready` do not apply: axum asks its routes for readiness
    /// when a request is there.
    pub fn app(make: impl Fn(Router) -> Router + Send + Sync + 'static) -> Self {
        let mut subject = Self::of::<Infallible>(true, move |back| {
            clonable(make(Router::new().fallback_service(Probe::<Infallible>::new(back))))
        });
        subject.has_readiness = false;
        subject
    }

    fn of<E: Fault>(clonable: bool, make: impl Fn(Arc<Back>) -> Box<dyn Erased> + Send + Sync + 'static) -> Self {
        Self {
            make: Arc::new(make),
            asking: Arc::new(|_| {}),
            answers: Arc::new(|_| {}),
            decoding: None,
            fallible: E::FALLIBLE,
            clonable,
            has_readiness: true,
        }
    }

    /// What each request carries, so that the layer lets it through or acts on it: a credential, an `accept-encoding`, the
    /// address of the peer.
    pub fn asking(mut self, asking: impl Fn(&mut Request<Body>) + Send + Sync + 'static) -> Self {
        self.asking = Arc::new(asking);
        self
    }

    /// What each answer of the inner service carries, so that the layer acts on it: a cookie, a `cache-control`. What this does
    /// to the body has to keep what the clause says of it.
    pub fn answering(mut self, answering: impl Fn(&mut Response<Body>) + Send + Sync + 'static) -> Self {
        self.answers = Arc::new(answering);
        self
    }

    /// Undoes what the layer makes of a whole response body, so that bytes can be compared. It is used for answers that have a
    /// `content-encoding` which the inner service has not given them.
    pub fn decoding(mut self, decoding: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.decoding = Some(Arc::new(decoding));
        self
    }

    pub(crate) fn make(&self, back: Arc<Back>) -> Wrapped {
        Wrapped { service: (self.make)(back.clone()), back }
    }

    /// The same without the layer.
    pub(crate) fn without(&self) -> Self {
        let make: Make = Arc::new(|back| clonable(Probe::<SourceError>::new(back)));
        Self { make, ..self.clone() }
    }

    pub(crate) fn ask(&self, request: &mut Request<Body>) {
        (self.asking)(request);
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("fallible", &self.fallible)
            .field("clonable", &self.clonable)
            .field("has_readiness", &self.has_readiness)
            .finish_non_exhaustive()
    }
}

pub(crate) type Calling = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

trait Erased: Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
    fn call(&mut self, request: Request<Body>) -> Calling;
    fn twin(&self) -> Option<Box<dyn Erased>>;
}

struct Typed<S> {
    service: S,
    twin: fn(&S) -> Option<Box<dyn Erased>>,
}

impl<S, B> Erased for Typed<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static> + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Calling {
        let answer = self.service.call(request);
        Box::pin(async move { answer.await.map(|answer| answer.map(plain)).map_err(Into::into) })
    }

    fn twin(&self) -> Option<Box<dyn Erased>> {
        (self.twin)(&self.service)
    }
}

fn clonable<S, B>(service: S) -> Box<dyn Erased>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    Box::new(Typed { service, twin: |service| Some(clonable(service.clone())) })
}

fn single<S, B>(service: S) -> Box<dyn Erased>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static> + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    Box::new(Typed { service, twin: |_| None })
}

/// The service that the layer made, without its types. It counts its calls.
pub(crate) struct Wrapped {
    service: Box<dyn Erased>,
    back: Arc<Back>,
}

impl Wrapped {
    /// A clone, where there can be one.
    pub(crate) fn twin(&self) -> Option<Self> {
        Some(Self { service: self.service.twin()?, back: self.back.clone() })
    }
}

impl Service<Request<Body>> for Wrapped {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Calling;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Calling {
        self.back.state().asked += 1;
        self.service.call(request)
    }
}
