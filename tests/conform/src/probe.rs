//! The service behind the layer. Its instances have a readiness of their own, it takes whatever body the layer makes of the
//! request's, and what it answers is the clause's choice.

use std::{
    convert::Infallible,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use http::{Request, Response};
use lab::{Scene, SourceError, locked};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tower::{BoxError, Service};

use crate::body::plain;

/// What the inner service may fail with. Implemented for the three error types that layers are written for.
pub trait Fault: Send + 'static + sealed::Sealed {
    /// Whether there is such an error at all.
    const FALLIBLE: bool;
    /// The error with this cause.
    fn of(cause: SourceError) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for lab::SourceError {}
    impl Sealed for tower::BoxError {}
    impl Sealed for std::convert::Infallible {}
}

impl Fault for SourceError {
    const FALLIBLE: bool = true;

    fn of(cause: SourceError) -> Self {
        cause
    }
}

impl Fault for BoxError {
    const FALLIBLE: bool = true;

    fn of(cause: SourceError) -> Self {
        cause.into()
    }
}

impl Fault for Infallible {
    const FALLIBLE: bool = false;

    fn of(cause: SourceError) -> Self {
        unreachable!("a clause lets a service fail that cannot: {cause}")
    }
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, SourceError>> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Scene, Request<Body>) -> Answering + Send + Sync>;
/// A handler that knows its scene, if there is one.
pub(crate) type Answerer = Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>;
pub(crate) type Answers = Arc<dyn Fn(&mut Response<Body>) + Send + Sync>;

/// What all instances of one scene's inner service share. On real threads there is no scene, and nothing is noted.
pub(crate) struct Back {
    scene: Option<Scene>,
    pub(crate) places: Arc<Semaphore>,
    answerer: Answerer,
    answers: Answers,
    evidence: Arc<Evidence>,
    state: Mutex<State>,
}

/// What explains a breach. It outlives the scene.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// A call was made where nothing was reserved.
    pub(crate) called_unready: AtomicBool,
    /// The inner service was called more often than the layer.
    pub(crate) called_again: AtomicBool,
}

#[derive(Default)]
pub(crate) struct State {
    instances: usize,
    /// How often the layer was called.
    pub(crate) asked: usize,
    /// How many calls there were, and how many have not ended.
    pub(crate) calls: usize,
    pub(crate) running: usize,
    /// How many instances have a place that they were not called for yet.
    pub(crate) reserved: usize,
    /// The first call that was made where nothing was reserved.
    pub(crate) unready: Option<String>,
    /// Whether the service is out of order for good.
    pub(crate) out_of_order: bool,
    /// When calls were given up, in milliseconds.
    pub(crate) given_up: Vec<u64>,
}

/// What a service says that is out of order.
pub(crate) const OUT_OF_ORDER: &str = "out of order";

impl Back {
    pub(crate) fn new(
        scene: Option<Scene>,
        places: usize,
        answerer: Answerer,
        answers: Answers,
        evidence: Arc<Evidence>,
    ) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places));
        Arc::new(Self { scene, places, answerer, answers, evidence, state: Mutex::default() })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn note(&self, what: impl Into<String>) {
        if let Some(scene) = &self.scene {
            scene.note("service", what);
        }
    }

    fn serve(self: &Arc<Self>, request: Request<Body>, place: Option<OwnedSemaphorePermit>) -> Answering {
        let mut state = self.state();
        if state.out_of_order {
            return Box::pin(async { Err(SourceError(OUT_OF_ORDER.to_owned())) });
        }
        state.calls += 1;
        state.running += 1;
        if state.calls > state.asked {
            self.evidence.called_again.store(true, Ordering::SeqCst);
        }
        drop(state);
        let visit = Visit { back: self.clone(), over: false, _place: place };
        let answer = (self.answerer)(request);
        let answers = self.answers.clone();
        Box::pin(async move {
            let mut visit = visit;
            let answer = answer.await;
            visit.over = true;
            answer.map(|mut answer| {
                answers(&mut answer);
                answer
            })
        })
    }
}

/// One call, until its answer is there or its future is dropped.
struct Visit {
    back: Arc<Back>,
    over: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let now = self.back.scene.as_ref().map_or(0, Scene::now_ms);
        let mut state = self.back.state();
        state.running -= 1;
        if !self.over {
            state.given_up.push(now);
            drop(state);
            self.back.note("a call is given up");
        }
    }
}

/// The inner service that a [`Subject`](crate::Subject) is put round. A clone of it has reserved nothing.
pub struct Probe<E = SourceError> {
    back: Arc<Back>,
    number: Option<usize>,
    waiting: PollSemaphore,
    place: Option<OwnedSemaphorePermit>,
    error: PhantomData<fn() -> E>,
}

impl<E> Probe<E> {
    pub(crate) fn new(back: Arc<Back>) -> Self {
        let waiting = PollSemaphore::new(back.places.clone());
        Self { back, number: None, waiting, place: None, error: PhantomData }
    }

    /// Instances are numbered in the order in which they are used: many are cloned and never are.
    fn number(&mut self) -> usize {
        let back = &self.back;
        *self.number.get_or_insert_with(|| {
            let mut state = back.state();
            state.instances += 1;
            state.instances
        })
    }
}

impl<E> Clone for Probe<E> {
    fn clone(&self) -> Self {
        Self::new(self.back.clone())
    }
}

impl<E> Drop for Probe<E> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.back.state().reserved -= 1;
        }
    }
}

impl<E> fmt::Debug for Probe<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<E, B> Service<Request<B>> for Probe<E>
where
    E: Fault,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = E;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let number = self.number();
        if self.back.state().out_of_order {
            return Poll::Ready(Err(E::of(SourceError(OUT_OF_ORDER.to_owned()))));
        }
        if self.place.is_none() {
            self.place = ready!(self.waiting.poll_acquire(cx));
            self.back.state().reserved += 1;
            self.back.note(format!("instance {number} reserves a place"));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (number, place) = (self.number(), self.place.take());
        let asked = format!("{} {}", request.method(), request.uri());
        if place.is_some() {
            self.back.state().reserved -= 1;
            self.back.note(format!("instance {number} is called: {asked}"));
        } else {
            self.back.note(format!("instance {number} is called, and has no place: {asked}"));
            self.back.evidence.called_unready.store(true, Ordering::SeqCst);
            let told = format!("{asked} was called on an instance that has not been ready since its last call");
            self.back.state().unready.get_or_insert(told);
        }
        let answer = self.back.serve(request.map(plain), place);
        Box::pin(async move { answer.await.map_err(E::of) })
    }
}
