use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use instruments::{Observe, observe::MOST_ROUTES};
use tokio::time::sleep;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::support::Recorded;

/// What `then` was told, a line each.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn observe(&self) -> Observe {
        let told = self.0.clone();
        Observe::new().then(move |seen| {
            let millis = |time: Duration| time.as_millis();
            told.lock().unwrap().push(format!(
                "{} {} {:?} head {:?} first {:?} last {} bytes {} {}",
                seen.method,
                seen.route,
                seen.status.map(|status| status.as_u16()),
                seen.head.map(millis),
                seen.first.map(millis),
                seen.last.as_millis(),
                seen.bytes,
                seen.outcome
            ));
        })
    }

    fn only(&self) -> String {
        let told = self.0.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    }
}

fn asked(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

/// The answer of a service that takes 10 ms for the head, and then 10 ms for each frame.
async fn slow(frames: Vec<Result<Frame<Bytes>, BoxError>>) -> Response<Body> {
    sleep(Duration::from_millis(10)).await;
    let frames = futures(frames);
    Response::new(Body::new(StreamBody::new(frames)))
}

fn futures(
    frames: Vec<Result<Frame<Bytes>, BoxError>>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> {
    futures_util::stream::unfold(frames.into_iter(), async |mut frames| {
        sleep(Duration::from_millis(10)).await;
        Some((frames.next()?, frames))
    })
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_body_counts_and_not_the_head() {
    let told = Told::default();
    let app = Router::new().route("/parcels/{id}", get(async || slow(vec![data("on "), data("its way")]).await));
    let app = app.layer(told.observe());
    let answer = app.oneshot(asked("GET", "/parcels/7")).await.unwrap();
    assert!(told.0.lock().unwrap().is_empty(), "the head is no end");
    answer.into_body().collect().await.unwrap();
    assert_eq!(told.only(), "GET /parcels/{id} Some(200) head Some(10) first Some(20) last 40 bytes 10 complete");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_has_failed_though_its_status_is_200() {
    let told = Told::default();
    let app = Router::new().route("/", get(async || slow(vec![data("half"), Err("the disk is gone".into())]).await));
    let answer = app.layer(told.observe()).oneshot(asked("GET", "/")).await.unwrap();
    answer.into_body().collect().await.unwrap_err();
    assert_eq!(told.only(), "GET / Some(200) head Some(10) first Some(20) last 30 bytes 4 failed");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_has_no_status() {
    let told = Told::default();
    let fails = service_fn(async |_: Request<Body>| {
        sleep(Duration::from_millis(5)).await;
        Err::<Response<Body>, &str>("refused")
    });
    told.observe().layer(fails).oneshot(asked("PUT", "/x")).await.unwrap_err();
    assert_eq!(told.only(), "PUT unmatched None head None first None last 5 bytes 0 failed");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_head_or_after_it_has_abandoned_the_request() {
    let told = Told::default();
    let app = Router::new().route("/", get(async || slow(vec![data("a"), data("b")]).await)).layer(told.observe());
    let request = app.clone().oneshot(asked("GET", "/"));
    tokio::time::timeout(Duration::from_millis(5), request).await.unwrap_err();
    let mut answer = app.oneshot(asked("GET", "/")).await.unwrap();
    answer.frame().await.unwrap().unwrap();
    sleep(Duration::from_millis(5)).await;
    drop(answer);
    assert_eq!(
        *told.0.lock().unwrap(),
        [
            "GET / None head None first None last 5 bytes 0 abandoned",
            "GET / Some(200) head Some(10) first Some(20) last 25 bytes 1 abandoned",
        ]
    );
}

/// Panics where it is told to.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Call,
    Poll,
    Body,
}

impl Service<Request<Body>> for At {
    type Response = Response<Panics>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Panics>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let at = *self;
        assert!(at != At::Call, "in call");
        Box::pin(async move {
            assert!(at != At::Poll, "in the future");
            Ok(Response::new(Panics))
        })
    }
}

struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("in the body")
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_wherever_it_is_caught() {
    for (at, status) in
        [(At::Call, "None head None"), (At::Poll, "None head None"), (At::Body, "Some(200) head Some(0)")]
    {
        // tokio catches it: the future is dropped by the panic. `catch_unwind`: it is dropped later.
        let told = Told::default();
        let service = told.observe().layer(at);
        let whole = async |service: instruments::observe::Observed<At>| {
            let answer = service.oneshot(asked("GET", "/")).await.unwrap();
            answer.into_body().collect().await.map(|_| ())
        };
        let spawned = service.clone();
        tokio::spawn(async move { whole(spawned).await }).await.unwrap_err();
        let caught = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(whole(service))).await;
        assert!(caught.is_err());
        let expected = format!("GET unmatched {status} first None last 0 bytes 0 panicked");
        assert_eq!(*told.0.lock().unwrap(), [expected.clone(), expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_asked_for_its_end_is_complete() {
    // As hyper does: with the last promised byte, or where no client is shown a body, it drops the body.
    for (method, status, length, reads, outcome) in [
        ("GET", 200, Some("4"), 1, "complete"),
        ("GET", 200, Some("5"), 1, "abandoned"),
        ("GET", 200, Some("nonsense"), 1, "abandoned"),
        ("GET", 200, Some("0"), 0, "complete"),
        ("HEAD", 200, Some("4"), 0, "complete"),
        ("GET", 304, Some("4"), 0, "complete"),
        ("GET", 204, None, 0, "complete"),
        ("CONNECT", 200, None, 0, "complete"),
        ("CONNECT", 400, None, 0, "abandoned"),
        ("GET", 101, None, 0, "complete"),
    ] {
        let told = Told::default();
        let service = service_fn(async |_: Request<Body>| {
            let mut answer = slow(vec![data("four")]).await;
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(length) = length {
                answer.headers_mut().insert("content-length", length.parse().unwrap());
            }
            Ok::<_, Infallible>(answer)
        });
        let mut answer = told.observe().layer(service).oneshot(asked(method, "/")).await.unwrap();
        for _ in 0..reads {
            answer.frame().await.unwrap().unwrap();
        }
        drop(answer);
        let told = told.only();
        assert!(told.ends_with(outcome), "{method} {status} {length:?}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_it_is_at_its_end_is_not_asked_again() {
    let told = Told::default();
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("whole"))));
    let mut answer = told.observe().layer(service).oneshot(asked("GET", "/")).await.unwrap();
    assert_eq!(answer.body().size_hint().exact(), Some(5));
    answer.frame().await.unwrap().unwrap();
    assert!(answer.body().is_end_stream());
    assert_eq!(told.only(), "GET unmatched Some(200) head Some(0) first Some(0) last 0 bytes 5 complete");
}

#[tokio::test(start_paused = true)]
async fn the_series_are_what_the_docs_say() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let app =
        Router::new().route("/parcels/{id}", get(async || slow(vec![data("on its way")]).await)).layer(Observe::new());
    app.clone().oneshot(asked("GET", "/parcels/1")).await.unwrap().into_body().collect().await.unwrap();
    drop(app.clone().oneshot(asked("GET", "/parcels/2")).await.unwrap());
    let _open = app.clone().oneshot(asked("GET", "/parcels/3")).await.unwrap();
    app.oneshot(asked("BREW", "/coffee")).await.unwrap();
    insta::assert_snapshot!(recorded.lines());
}

#[tokio::test(start_paused = true)]
async fn what_clients_send_makes_no_label() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let app = Router::new().route("/parcels/{id}", get(async || "on its way")).layer(Observe::new());
    for n in 0..2_000 {
        app.clone().oneshot(asked(&format!("M{n}"), &format!("/nothing/{n}"))).await.unwrap();
        app.clone().oneshot(asked("GET", &format!("/parcels/{n}"))).await.unwrap();
    }
    // Two routes with one method and one class each: a gauge and five series by class.
    assert_eq!(recorded.count(), 2 * 6, "{}", recorded.lines());
}

#[tokio::test(start_paused = true)]
async fn a_template_that_lets_the_request_through_ends_in_other() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let service = Observe::new().route(|uri, _| Some(uri.path())).layer(service);
    for n in 0..MOST_ROUTES + 50 {
        service.clone().oneshot(asked("GET", &format!("/{n}"))).await.unwrap();
    }
    assert_eq!(recorded.count(), (MOST_ROUTES + 1) * 6);
    let others = "http_requests_total{route=other method=GET status=2xx outcome=complete} 50";
    assert!(recorded.lines().contains(others));
}
