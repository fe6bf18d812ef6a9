//! A `Layer` whose response future ends the visit, with a status or in its `PinnedDrop`. A preflight is a visit, too.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tokio::{sync::mpsc::UnboundedSender, time::timeout};
use tower::{Layer, Service};
use tower_http::catch_panic::CatchPanicLayer;

/// The reading room: the `records`, and those of the `partners` under `/partners`.
///
/// The `register` gets the visit's `x-request-id`, `opened`, `closed` or `abandoned`, and with `closed` the status. A request
/// without `authorization: Bearer …` is a 401, a body above `limit` a 413, and one that is not answered within `budget` a 408.
pub fn app(
    records: Router,
    partners: Router,
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
    limit: usize,
    budget: Duration,
) -> Router {
    records
        .nest("/partners", partners)
        .layer(DefaultBodyLimit::max(limit))
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(Room { limit, budget }, admit))
        .layer(AttendLayer { register })
}

#[derive(Clone)]
struct Room {
    limit: usize,
    budget: Duration,
}

/// Puts the register round everything.
#[derive(Clone)]
struct AttendLayer {
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
}

impl<S> Layer<S> for AttendLayer {
    type Service = Attend<S>;

    fn layer(&self, inner: S) -> Attend<S> {
        Attend { inner, register: self.register.clone() }
    }
}

#[derive(Clone)]
struct Attend<S> {
    inner: S,
    register: UnboundedSender<(String, String, Option<StatusCode>)>,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Attend<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = request.headers().get("x-request-id").cloned().unwrap_or(HeaderValue::from_static("unknown"));
        let _ = self.register.send((named(&id), "opened".to_owned(), None));
        ResponseFuture { inner: self.inner.call(request), register: self.register.clone(), id: Some(id) }
    }
}

pin_project! {
    /// The answer, and what is owed to the register as long as there is an id.
    struct ResponseFuture<F> {
        #[pin]
        inner: F,
        register: UnboundedSender<(String, String, Option<StatusCode>)>,
        id: Option<HeaderValue>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(id) = this.id.take() {
                let _ = this.register.send((named(&id), "abandoned".to_owned(), None));
            }
        }
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for ResponseFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(id) = this.id.take() {
            let _ = this.register.send((named(&id), "closed".to_owned(), Some(response.status())));
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            response.headers_mut().insert("x-request-id", id);
        }
        Poll::Ready(Ok(response))
    }
}

fn named(id: &HeaderValue) -> String {
    String::from_utf8_lossy(id.as_bytes()).into_owned()
}

/// Lets in whoever may come in, for as long as they may stay.
async fn admit(State(room): State<Room>, request: Request, next: Next) -> Result<Response, StatusCode> {
    if is_preflight(&request) {
        return Ok(allow());
    }
    authenticate(&request)?;
    measure(&request, room.limit)?;
    let answer = timeout(room.budget, next.run(request)).await;
    answer.map_err(|_| StatusCode::REQUEST_TIMEOUT)
}

/// Whoever has no credentials gets no further.
fn authenticate(request: &Request) -> Result<(), StatusCode> {
    let bearer = |value: &HeaderValue| value.as_bytes().starts_with(b"Bearer ");
    if request.headers().get(AUTHORIZATION).is_some_and(bearer) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

/// A body that says it is too large is not read. One that does not say so is counted by whoever reads it.
fn measure(request: &Request, limit: usize) -> Result<(), StatusCode> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(()) }
}

/// Whether a browser asks what it may send, before it sends credentials.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser may send.
fn allow() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "*"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, x-request-id"),
    ];
    (StatusCode::NO_CONTENT, headers, Body::empty()).into_response()
}
