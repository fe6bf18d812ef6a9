//! The ways into the suite: what `subject!` picks, and what a layer can be shown.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use conform::{Conformance, Contract, Limits, Outcome, Subject, check, subject, the_rest};
use http_body::Frame;
use http_body_util::BodyExt;
use tower::{layer::util::Identity, limit::RateLimitLayer};

fn does_not_apply(report: &Conformance, key: &str) -> bool {
    assert!(report.conforms(), "{report}");
    report.keys(Outcome::NotApplicable).contains(&key)
}

#[test]
fn the_macro_picks_what_fits() {
    let report = check(subject!(Identity::new()), &Contract::transparent());
    assert!(report.keys(Outcome::NotApplicable).is_empty(), "{report}");

    let middleware = subject!(from_fn(async |request: Request, next: Next| next.run(request).await));
    let report = check(middleware, &Contract::transparent());
    assert!(does_not_apply(&report, "service-error-unchanged"));
    assert!(!does_not_apply(&report, "same-over-http1"));

    let report = check(subject!(RateLimitLayer::new(500, Duration::from_secs(1))), &Contract::transparent());
    assert!(does_not_apply(&report, "same-over-http1"));
    assert!(!does_not_apply(&report, "service-error-unchanged"));
}

/// Refuses whom it does not know, and breaks private answers.
fn picky() -> Subject {
    Subject::app(|routes| {
        routes.layer(from_fn(async |request: Request, next: Next| {
            if !request.headers().contains_key("authorization") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            let mut answer: Response = next.run(request).await;
            if answer.headers().get("cache-control").is_some_and(|control| control == "private") {
                answer.headers_mut().remove("etag");
            }
            answer
        }))
    })
}

#[test]
fn a_layer_is_shown_what_it_acts_on() {
    let known = || {
        picky().asking(|request| {
            request.headers_mut().insert("authorization", HeaderValue::from_static("token"));
        })
    };
    let report = check(known(), &Contract::transparent());
    assert!(report.conforms(), "{report}");

    let private = known().answering(|answer| {
        answer.headers_mut().insert("cache-control", HeaderValue::from_static("private"));
    });
    let report = check(private, &Contract::transparent());
    assert_eq!(report.findings(), ["response-head-kept"], "{report}");
}

/// Where the contract says that a layer waits for whole bodies, nobody has to say what that means for each clause.
#[test]
fn what_follows_from_a_declared_change_does_not_apply() {
    let report = check(Subject::app(|routes| routes.layer(from_fn(collecting))), &collects());
    assert!(report.conforms(), "{report}");
    let why = report.clause("response-streams").and_then(|judged| judged.observed.clone());
    assert_eq!(why.as_deref(), Some("it follows from head-before-body, which the contract changes"));
}

/// A clause that does not apply says nothing of a panic that was seen all the same.
#[test]
fn a_panic_in_a_task_is_told_where_a_clause_does_not_apply() {
    let panics = Subject::app(|routes| {
        routes.layer(from_fn(async |request: Request, next: Next| {
            let answer = collecting(request, next).await;
            drop(tokio::spawn(async { std::panic::panic_any("a panic of the layer's own") }));
            answer
        }))
    });
    let report = check(panics, &collects());
    let streams = report.clause("response-streams").expect("it is one of the clauses");
    let observed = streams.observed.as_deref().unwrap_or_default();
    assert_eq!(streams.outcome, Outcome::Broken, "{report}");
    assert!(observed.starts_with("the app panicked at tests/conform/tests/entries.rs:"), "{observed}");
}

async fn collecting(request: Request, next: Next) -> Response {
    let (parts, body) = next.run(request).await.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, bytes.into()),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// The contract of [`collecting`].
fn collects() -> Contract {
    Contract::transparent()
        .changes("head-before-body", "it waits for the whole body")
        .changes("trailers-kept", "it keeps no trailers")
        .changes("body-error-after-its-bytes", "a body that fails is a 502")
        .touches("response header content-length")
}

/// A specification that judges one promise only, in the process that is left where an app spins, judges all of its clauses.
#[test]
fn the_rest_is_judged_where_one_promise_only_is() {
    let limits = Limits { only: Some("leaves-the-rest-alone"), ..Limits::default() };
    let (proof, _) = the_rest(
        Subject::app(|routes| routes.layer(from_fn(collecting))),
        &Contract::transparent(),
        &["head-before-body"],
        limits,
    );
    assert!(proof.expect_err("it waits for bodies").to_string().contains("head-before-body: "));
}

#[test]
fn a_request_body_that_is_changed_on_purpose_is_no_breach() {
    let loud = || {
        Subject::app(|routes| {
            routes.layer(from_fn(async |request: Request, next: Next| {
                let loud = |frame: Frame<Bytes>| frame.map_data(|data| data.to_ascii_uppercase().into());
                next.run(request.map(|body| Body::new(body.map_frame(loud)))).await
            }))
        })
    };
    let report = check(loud(), &Contract::transparent());
    assert!(report.findings().contains(&"bytes-once-in-order"), "{report}");
    let report = check(loud(), &Contract::transparent().touches("request body"));
    assert!(!report.broken().contains(&"bytes-once-in-order"), "{report}");
}

#[test]
fn trailers_that_came_otherwise_are_told() {
    let signs = Subject::app(|routes| {
        routes.layer(from_fn(async |request: Request, next: Next| {
            let sign = |frame: Frame<Bytes>| match frame.into_trailers() {
                Ok(mut trailers) => {
                    trailers.insert("x-signed", HeaderValue::from_static("by nobody"));
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            };
            next.run(request).await.map(|body| Body::new(body.map_frame(sign)))
        }))
    });
    let report = check(signs, &Contract::transparent());
    let observed = report.clause("trailers-kept").and_then(|judged| judged.observed.as_deref()).unwrap_or_default();
    assert!(observed.contains("got the trailers ") && observed.contains("x-signed: by nobody"), "{observed}");
}
