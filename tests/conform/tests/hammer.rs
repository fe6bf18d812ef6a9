//! Layers whose callers get into each other's way on two threads, and on one thread never.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use conform::{
    Contract, Subject, check, hammer,
    lab::{
        SourceError,
        hammer::{Force, Hammered},
        lingering::linger,
        locked,
    },
};
use tokio::sync::Notify;
use tower::{
    Layer, ServiceBuilder, ServiceExt, layer::layer_fn, limit::ConcurrencyLimitLayer, service_fn, util::BoxCloneService,
};

type Inner = BoxCloneService<Request, Response, SourceError>;

/// Calls what comes in with the next request, which `passes` has seen first.
fn round<P, F>(passes: P) -> impl Layer<conform::Probe, Service = Inner>
where
    P: Fn(Inner, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, SourceError>> + Send + 'static,
{
    layer_fn(move |probe: conform::Probe| {
        let (passes, inner) = (passes.clone(), probe.map_request(|request: Request| request).boxed_clone());
        service_fn(move |request| passes(inner.clone(), request)).boxed_clone()
    })
}

/// The request lies in a cell for a moment, as if to be logged.
fn by_way_of_a_cell() -> impl Layer<conform::Probe, Service = Inner> {
    let cell = Arc::new(Mutex::new(None));
    round(move |inner, request| {
        *locked(&cell) = Some(request.uri().clone());
        linger();
        let path = locked(&cell).clone();
        async move {
            let (mut parts, body) = request.into_parts();
            parts.uri = path.unwrap_or(parts.uri);
            inner.oneshot(Request::from_parts(parts, body)).await
        }
    })
}

/// One at a time. Who finds it taken looks, and then waits to be told.
fn one_at_a_time() -> impl Layer<conform::Probe, Service = Inner> {
    #[derive(Default)]
    struct Door {
        taken: AtomicBool,
        freed: Notify,
    }
    struct Inside(Arc<Door>);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.taken.store(false, SeqCst);
            self.0.freed.notify_waiters();
        }
    }
    let door = Arc::<Door>::default();
    round(move |inner, request| {
        let door = door.clone();
        async move {
            while door.taken.swap(true, SeqCst) {
                linger();
                door.freed.notified().await;
            }
            let _inside = Inside(door);
            linger();
            inner.oneshot(request).await
        }
    })
}

/// A thread lingers where the other must come: it takes a fraction of this time.
fn falls(subject: Subject) -> String {
    match hammer(subject, Force { time: Duration::from_secs(300), tries: u64::MAX }) {
        Hammered::Rejected { observed, .. } => observed,
        other => panic!("{other}"),
    }
}

#[test]
fn a_cell_that_all_requests_share_is_seen_on_two_threads_only() {
    let subject = Subject::layer(by_way_of_a_cell);
    let alone = check(subject.clone(), &Contract::transparent());
    // What each service_fn does: it is always ready.
    assert_eq!(alone.broken(), ["backpressure-passed-on", "readiness-error-passed"], "{alone}");
    let observed = falls(subject);
    assert!(observed.starts_with("two requests came at once"), "{observed}");
    assert!(observed.contains("the answer to /"), "{observed}");
}

#[test]
fn a_wake_that_comes_between_the_look_and_the_wait_is_missed() {
    let observed = falls(Subject::layer(one_at_a_time));
    assert!(observed.contains("all is at rest, and /"), "{observed}");
}

#[test]
fn nothing_is_seen_of_layers_that_are_right() {
    let buffered = || ServiceBuilder::new().buffer(4);
    let right = [
        Subject::layer(tower::layer::util::Identity::new),
        Subject::layer(|| ConcurrencyLimitLayer::new(1)),
        Subject::layer(buffered),
        Subject::app(|routes| routes.layer(ConcurrencyLimitLayer::new(2))),
    ];
    for subject in right {
        let hammered = hammer(subject, Force { time: Duration::from_secs(600), tries: 200 });
        assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
    }
}

#[test]
fn a_layer_that_answers_by_itself_is_not_tried() {
    let refuses = || round(|_, _| async { Ok(Response::new(Body::from("no"))) });
    let hammered = hammer(Subject::layer(refuses), Force::default());
    assert!(matches!(hammered, Hammered::NotTried { .. }), "{hammered}");
}
