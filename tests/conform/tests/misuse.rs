//! Layers that panic, wait, spin, exit or never let anything through, and contracts that are wrong: one clear line each.

use std::{
    panic::panic_any,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use conform::{Conformance, Contract, Limits, Outcome, Probe, Subject, check, judge};
use tower::{Layer, Service, layer::layer_fn, layer::util::Identity};

/// What a report says of the first clause, and of how many others it says anything.
fn first(report: &Conformance) -> (Option<&str>, usize) {
    let first = report.clause("lets-through").and_then(|judged| judged.observed.as_deref());
    (first, report.clauses.len() - report.keys(Outcome::NotJudged).len())
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Construction,
    Layer,
    PollReady,
    Call,
    Future,
}

#[derive(Clone)]
struct Panics<S> {
    place: Place,
    inner: S,
}

impl<S> Layer<S> for Panics<()> {
    type Service = Panics<S>;

    fn layer(&self, inner: S) -> Panics<S> {
        here(self.place, Place::Layer);
        Panics { place: self.place, inner }
    }
}

impl Service<Request> for Panics<Probe> {
    type Response = Response;
    type Error = conform::lab::SourceError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        here(self.place, Place::PollReady);
        Service::<Request>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        here(self.place, Place::Call);
        let (place, answer) = (self.place, self.inner.call(request));
        Box::pin(async move {
            here(place, Place::Future);
            answer.await
        })
    }
}

fn here(place: Place, this: Place) {
    if place == this {
        panic_any("a panic of the layer's own");
    }
}

#[test]
fn a_panic_is_told_with_its_place_and_the_rest_is_not_judged() {
    for place in [Place::Construction, Place::Layer, Place::PollReady, Place::Call, Place::Future] {
        let subject = Subject::layer(move || {
            here(place, Place::Construction);
            Panics { place, inner: () }
        });
        let report = check(subject, &Contract::transparent());
        let (observed, judged) = first(&report);
        let observed = observed.unwrap_or_default();
        assert!(observed.starts_with("the app panicked at tests/conform/tests/misuse.rs:"), "{observed}");
        assert_eq!(judged, 1);
        assert!(!report.conforms());
    }
}

#[test]
fn a_panic_in_each_body_is_one_finding() {
    let subject = Subject::app(|routes| {
        routes.layer(from_fn(async |request: Request, next: Next| {
            next.run(request).await.map(|body| {
                Body::from_stream(futures_util::StreamExt::map(
                    body.into_data_stream(),
                    |_| -> Result<bytes::Bytes, axum::Error> { panic_any("a panic of the layer's own") },
                ))
            })
        }))
    });
    let report = check(subject, &Contract::transparent());
    assert!(report.findings().contains(&"lets-through"), "{report}");
    assert!(report.keys(Outcome::NotJudged).is_empty(), "{report}");
    let panicked = report
        .clauses
        .iter()
        .filter(|judged| judged.observed.as_deref().is_some_and(|seen| seen.contains("panicked at")));
    assert!(panicked.skip(1).all(|judged| judged.cause.as_deref() == Some("lets-through")), "{report}");
}

#[test]
fn a_layer_that_waits_for_ever_is_told() {
    let subject = Subject::app(|routes| {
        routes.layer(from_fn(async |_: Request, _: Next| -> Response { std::future::pending().await }))
    });
    let report = check(subject, &Contract::transparent());
    assert_eq!(first(&report), (Some("still waiting after 60 s of virtual time, which only tokio's timers follow"), 1));
}

#[test]
fn a_layer_that_spins_is_told_and_the_rest_is_not_judged() {
    let subject = Subject::layer(|| {
        layer_fn(|inner| {
            tower::ServiceExt::map_request(inner, |request: Request| {
                while request.method() == "OPTIONS" {
                    std::hint::spin_loop();
                    if std::hint::black_box(is_over()) {
                        break;
                    }
                }
                request
            })
        })
    });
    let limits = Limits { unresponsive: Duration::from_millis(500), ..Limits::default() };
    let report = judge(subject, &Contract::transparent(), limits);
    OVER.store(true, std::sync::atomic::Ordering::SeqCst);
    let spins = report.clause("methods-pass").and_then(|judged| judged.observed.as_deref());
    assert_eq!(spins, Some("the app did not yield: it spins, or it blocks its thread"));
    assert_eq!(report.findings(), ["methods-pass"]);
    assert!(!report.keys(Outcome::NotJudged).is_empty());
}

#[test]
fn a_layer_that_spins_in_a_child_is_told_and_what_is_left_is_judged_in_another() {
    let report =
        conform::in_child("a_layer_that_spins_in_a_child_is_told_and_what_is_left_is_judged_in_another", || {
            let subject = Subject::layer(|| {
                layer_fn(|inner| {
                    tower::ServiceExt::map_request(inner, |request: Request| {
                        while request.method() == "OPTIONS" {
                            std::hint::spin_loop();
                        }
                        request
                    })
                })
            });
            let limits = Limits { unresponsive: Duration::from_secs(5), ..Limits::default() };
            judge(subject, &Contract::transparent(), limits)
        });
    let report = report.expect("it does not end its process");
    assert_eq!(report.findings(), ["methods-pass"]);
    assert!(report.keys(Outcome::NotJudged).is_empty(), "{report}");
    let whole = check(Subject::layer(Identity::new), &Contract::transparent());
    assert_eq!(report.keys(Outcome::NotApplicable), whole.keys(Outcome::NotApplicable));
}

static OVER: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn is_over() -> bool {
    OVER.load(std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn a_layer_that_exits_is_told() {
    let judged = conform::in_child("a_layer_that_exits_is_told", || {
        let subject = Subject::app(|routes| {
            routes.layer(from_fn(async |_: Request, _: Next| -> Response { std::process::exit(0) }))
        });
        check(subject, &Contract::transparent())
    });
    let ended = judged.map(|report| report.to_string()).expect_err("it exits");
    assert_eq!(ended.to_string(), "ended without a verdict: the app took its process down (exit code 0)");
}

#[test]
fn a_layer_that_lets_nothing_through_is_told_what_to_do() {
    let subject = Subject::app(|routes| {
        routes.layer(from_fn(async |request: Request, next: Next| {
            if request.headers().contains_key("authorization") {
                return next.run(request).await;
            }
            axum::response::IntoResponse::into_response(axum::http::StatusCode::UNAUTHORIZED)
        }))
    });
    let report = check(subject.clone(), &Contract::transparent());
    let told = "the answer was 401 Unauthorized, and the inner service was called 0 times";
    assert_eq!(first(&report), (Some(told), 1));
    insta::assert_snapshot!("lets_nothing_through", report);
    let asking = subject.asking(|request| {
        request.headers_mut().insert("authorization", axum::http::HeaderValue::from_static("token"));
    });
    let report = check(asking, &Contract::transparent());
    assert!(report.conforms(), "{report}");
}

#[test]
fn a_contract_that_is_wrong_is_told_and_the_rest_is_judged() {
    let contract = Contract::transparent()
        .changes("trailer-kept", "a slip")
        .changes("trailers-kept", "it has none")
        .changes("trailers-kept", "it has none")
        .touches("response head x-id")
        .touches("response header X-Id");
    let report = check(Subject::layer(Identity::new), &contract);
    assert!(!report.conforms());
    assert!(report.keys(Outcome::NotJudged).is_empty());
    assert_eq!(
        report.faults,
        [
            "the contract changes `trailer-kept`, and no clause is called that; `trailers-kept` is",
            "the contract changes `trailers-kept` twice",
            "the contract touches `response head x-id`, and no part of a message is called that",
            "the contract touches `response header X-Id`, and no part of a message is called that",
        ]
    );
    let report = judge(
        Subject::layer(Identity::new),
        &Contract::transparent(),
        Limits { only: Some("trailers"), ..Limits::default() },
    );
    assert_eq!(report.faults, ["only `trailers` is to be judged, and no clause is called that"]);
    assert!(!report.conforms());
}

#[test]
fn a_stale_declaration_is_told_and_does_not_count() {
    let contract = Contract::transparent().changes("same-task", "it had a worker once").touches("response header x-id");
    let report = check(Subject::layer(Identity::new), &contract);
    assert!(report.conforms(), "{report}");
    assert_eq!(report.stale(), ["same-task", "response header x-id"]);
    insta::assert_snapshot!("stale", report);
}

#[tokio::test]
async fn a_check_works_inside_a_runtime() {
    let report = check(Subject::layer(Identity::new), &Contract::transparent());
    assert!(report.conforms(), "{report}");
}
