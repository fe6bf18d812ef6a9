//! What the bad layers are made of.

use std::pin::Pin;

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use conform::Subject;
use tower::Service;

use crate::Bad;

/// An axum middleware that is wrong.
pub(crate) fn app<F>(
    name: &'static str,
    breaks: &'static str,
    middleware: impl Fn(Request, Next) -> F + Clone + Send + Sync + 'static,
) -> Bad
where
    F: Future<Output = Response> + Send + 'static,
{
    let subject = Subject::app(move |routes: Router| routes.layer(from_fn(middleware.clone())));
    Bad { name, breaks, subject }
}

/// A middleware that does something wrong to each request.
pub(crate) fn on_request(name: &'static str, breaks: &'static str, wrong: fn(Request) -> Request) -> Bad {
    app(name, breaks, move |request, next: Next| next.run(wrong(request)))
}

/// A middleware that does something wrong to each answer.
pub(crate) fn on_response(name: &'static str, breaks: &'static str, wrong: fn(Response) -> Response) -> Bad {
    app(name, breaks, move |request, next: Next| async move { wrong(next.run(request).await) })
}

/// What a service of a bad layer answers with.
pub(crate) type Calling<S> =
    Pin<Box<dyn Future<Output = Result<<S as Service<Request>>::Response, <S as Service<Request>>::Error>> + Send>>;

/// A service that the bad layers are put round.
pub(crate) trait Inner:
    Service<Request, Future: Send + 'static, Response: Send, Error: Send> + Clone + Send + 'static
{
}

impl<S> Inner for S where
    S: Service<Request, Future: Send + 'static, Response: Send, Error: Send> + Clone + Send + 'static
{
}
