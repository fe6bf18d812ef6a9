//! Places that are counted by hand.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::extract::Request;
use conform::Subject;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    Bad,
    support::{Calling, Inner},
};

const PLACES: usize = 64;

pub(crate) fn all() -> Vec<Bad> {
    let counting = |name, breaks, when| Bad { name, breaks, subject: Subject::layer(move || Counting { when }) };
    vec![
        counting("gives-back-at-the-end", "nothing-left-reserved", When::AtTheEnd),
        counting("guards-from-the-first-poll", "unpolled-future-releases", When::FromTheFirstPoll),
        counting("counts-when-ready", "ready-service-releases", When::FromTheCall),
        Bad {
            name: "hands-out-two",
            breaks: "nothing-left-reserved",
            subject: Subject::layer(|| layer_fn(|inner| KeepsThePrevious { inner, previous: Vec::new() })),
        },
    ]
}

/// From when on a place is sure to be given back.
#[derive(Clone, Copy)]
enum When {
    AtTheEnd,
    FromTheFirstPoll,
    FromTheCall,
}

#[derive(Clone)]
struct Counting {
    when: When,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        let places = Arc::new(Semaphore::new(PLACES));
        Counted { inner, when: self.when, waiting: PollSemaphore::new(places.clone()), places, has_place: false }
    }
}

struct Counted<S> {
    inner: S,
    when: When,
    places: Arc<Semaphore>,
    waiting: PollSemaphore,
    has_place: bool,
}

impl<S: Clone> Clone for Counted<S> {
    fn clone(&self) -> Self {
        let waiting = PollSemaphore::new(self.places.clone());
        Self { inner: self.inner.clone(), when: self.when, places: self.places.clone(), waiting, has_place: false }
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        if self.has_place && !matches!(self.when, When::FromTheCall) {
            self.places.add_permits(1);
        }
    }
}

/// Gives a place back.
struct Place(Arc<Semaphore>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl<S: Inner> Service<Request> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.inner.poll_ready(cx))?;
        if !self.has_place {
            ready!(self.waiting.poll_acquire(cx)).expect("never closed").forget();
            self.has_place = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        self.has_place = false;
        let (answer, place) = (self.inner.call(request), Place(self.places.clone()));
        match self.when {
            When::AtTheEnd => Box::pin(async move {
                let places = place.0.clone();
                std::mem::forget(place);
                let answer = answer.await;
                places.add_permits(1);
                answer
            }),
            When::FromTheFirstPoll => {
                let places = self.places.clone();
                std::mem::forget(place);
                Box::pin(async move {
                    let _place = Place(places);
                    answer.await
                })
            }
            When::FromTheCall => Box::pin(async move {
                let _place = place;
                answer.await
            }),
        }
    }
}

/// Asks a new instance after each call, and keeps those that it had asked.
struct KeepsThePrevious<S> {
    inner: S,
    previous: Vec<S>,
}

impl<S: Clone> Clone for KeepsThePrevious<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), previous: Vec::new() }
    }
}

impl<S: Inner> Service<Request> for KeepsThePrevious<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        let next = self.inner.clone();
        let mut used = std::mem::replace(&mut self.inner, next);
        let answer = used.call(request);
        // For a retry that never comes: it is made ready, and not called.
        let _ = used.poll_ready(&mut Context::from_waker(std::task::Waker::noop()));
        self.previous.push(used);
        Box::pin(answer)
    }
}
