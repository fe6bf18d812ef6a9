//! Apps that panic, wait for ever or spin, given to each specification: what comes back is a report, line by line. A process
//! of its own, because a thread that spins is left behind and goes on.

use std::{
    future::{Pending, pending},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures_util::stream;
use spec::{
    Limits, Report,
    lab::Outcome,
    unready_clone::{BoxedLayer, Inner},
};
use tower::{BoxError, Service, ServiceExt, layer::layer_fn};

/// How an app misbehaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    PanicsInCall,
    PanicsInPollFrame,
    WaitsForEver,
    Spins,
}

fn hostile(manner: Manner) -> Router {
    Router::new().fallback(move || async move {
        match manner {
            Manner::PanicsInCall => panic!("boo"),
            Manner::PanicsInPollFrame => {
                let boo = stream::poll_fn(|_| -> Poll<Option<Result<Bytes, std::io::Error>>> { panic!("boo") });
                Response::new(Body::from_stream(boo))
            }
            Manner::WaitsForEver => pending().await,
            Manner::Spins => loop {
                std::hint::spin_loop();
            },
        }
    })
}

/// A service that misbehaves when it is asked whether it is ready.
#[derive(Clone)]
struct WhenAsked(Manner);

impl Service<Request> for WhenAsked {
    type Response = Response;
    type Error = BoxError;
    type Future = Pending<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.0 {
            Manner::WaitsForEver => Poll::Pending,
            _ => panic!("boo"),
        }
    }

    fn call(&mut self, _: Request) -> Self::Future {
        pending()
    }
}

/// The report of a layer that leads to `service` and never to the one that it was put round.
fn of_a_layer<S>(service: impl Fn() -> S + Copy + Send + Sync + 'static, limits: Limits<'_>) -> Report
where
    S: Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static,
{
    let layer = move || BoxedLayer::new(layer_fn(move |_: Inner| service()));
    spec::unready_clone::judge(Arc::new(layer), limits)
}

fn reports(manner: Manner, limits: Limits<'_>) -> [Report; 9] {
    [
        spec::body_double_close::judge(Arc::new(move |_, _, _| hostile(manner)), limits),
        spec::closure_captured_state::judge(Arc::new(move |_, _| hostile(manner)), limits),
        spec::hidden_flush::judge(Arc::new(move |_| hostile(manner)), limits),
        spec::ignored_deadline::judge(Arc::new(move |_, _, _, _| hostile(manner)), limits),
        spec::leaked_permit::judge(Arc::new(move |_, _, _| hostile(manner)), limits),
        spec::lying_health_check::judge(Arc::new(move |_, _, _| hostile(manner)), limits),
        spec::swallowed_panic::judge(Arc::new(move |_, _, _, _| hostile(manner)), limits),
        spec::unread_body::judge(Arc::new(move |_| hostile(manner)), limits),
        of_a_layer(move || hostile(manner).into_service::<Body>().map_err(BoxError::from), limits),
    ]
}

/// The first promise of each specification, with what was seen.
fn first_lines(reports: &[Report]) -> String {
    let line = |report: &Report| {
        let first = &report.promises[0];
        assert_eq!(first.outcome, Outcome::Broken, "{report}");
        format!("{}: {}: {}\n", report.ghost, first.key, first.observed.as_deref().unwrap_or_default())
    };
    reports.iter().map(line).collect()
}

#[test]
fn a_panic_in_the_call_is_a_line_of_each_report() {
    let reports = reports(Manner::PanicsInCall, Limits::default());
    insta::assert_snapshot!("panics-in-call", first_lines(&reports));
}

#[test]
fn a_panic_in_the_body_is_a_line_of_each_report() {
    let reports = reports(Manner::PanicsInPollFrame, Limits::default());
    // The last reads no body: its subject is a layer.
    insta::assert_snapshot!("panics-in-poll-frame", first_lines(&reports[..8]));
}

#[test]
fn a_layer_that_misbehaves_when_it_is_asked_is_a_line_of_its_report() {
    let reports = [Manner::PanicsInCall, Manner::WaitsForEver]
        .map(|manner| of_a_layer(move || WhenAsked(manner), Limits::default()));
    insta::assert_snapshot!("when-asked", first_lines(&reports));
}

#[test]
fn an_endless_wait_is_a_line_of_each_report() {
    let reports = reports(Manner::WaitsForEver, Limits::default());
    insta::assert_snapshot!("waits-for-ever", first_lines(&reports));
}

#[test]
fn a_spin_is_a_line_of_each_report_and_the_rest_is_not_judged() {
    let reports = reports(Manner::Spins, Limits { unresponsive: Duration::from_secs(1), only: None });
    for report in &reports {
        let rest = &report.promises[1..];
        assert!(rest.iter().all(|judged| judged.outcome == Outcome::NotJudged), "{report}");
    }
    insta::assert_snapshot!("spins", first_lines(&reports));
}
