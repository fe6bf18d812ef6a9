//! Layers that panic, hang or spin, in the call and when they are asked whether they are ready: what comes back is a
//! report. A process of its own, because a thread that spins is left behind and goes on.

use std::{
    future::{Pending, pending},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, response::Response};
use lab::{
    Limits, Report,
    hostile::{Manner, first_lines},
};
use tower::{BoxError, Service, ServiceExt, layer::layer_fn};
use unready_clone_spec::{BoxedLayer, Inner, judge};

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
    judge(Arc::new(layer), limits)
}

#[test]
fn a_layer_that_misbehaves_in_the_call_is_a_line_of_the_report() {
    // Nothing here reads a body: the subject is a layer.
    let manners = [Manner::PanicsInCall, Manner::WaitsForEver, Manner::Spins];
    let lines = first_lines(&manners, |manner, limits| {
        of_a_layer(move || manner.app().into_service::<Body>().map_err(BoxError::from), limits)
    });
    insta::assert_snapshot!(lines);
}

#[test]
fn a_layer_that_misbehaves_when_it_is_asked_is_a_line_of_the_report() {
    let manners = [Manner::PanicsInCall, Manner::WaitsForEver];
    let lines = first_lines(&manners, |manner, limits| of_a_layer(move || WhenAsked(manner), limits));
    insta::assert_snapshot!(lines);
}
