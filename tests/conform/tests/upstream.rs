//! What the suite and the chapters found in published crates, once more with no part of the suite: each test is the whole
//! reproduction. Where the fault is, the test says so and passes; when an update mends it, the test fails, and the verdict
//! beside the matrix and the draft in `field/reports/` are to follow. Crates outside this workspace: `field/tests/upstream.rs`.

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, pending},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
    middleware::{Next, from_extractor, from_fn},
    routing::get,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_http::{
    compression::{CompressionLayer, predicate::SizeAbove},
    decompression::DecompressionLayer,
    timeout::{RequestBodyTimeoutLayer, ResponseBodyDeadlineLayer, ResponseBodyTimeoutLayer},
};

fn asking() -> Request<Body> {
    Request::new(Body::empty())
}

fn asking_for(coding: &'static str) -> Request<Body> {
    Request::builder().header(header::ACCEPT_ENCODING, coding).body(Body::empty()).expect("a request")
}

async fn panic_of<T>(working: impl Future<Output = T>) -> Option<String> {
    let panic: Box<dyn Any + Send> = AssertUnwindSafe(working).catch_unwind().await.err()?;
    let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Some(fixed.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
}

const NOT_READY: &str = "max requests in-flight; poll_ready must be called first";

/// axum 0.8.9. `FromExtractor::call` keeps `self.inner.clone()` and calls that clone, while `self.inner` is what said that
/// it was ready. A fix: `let clone = self.inner.clone(); let svc = std::mem::replace(&mut self.inner, clone)`.
#[tokio::test]
async fn axum_from_extractor_calls_a_service_that_is_not_ready() {
    let app = Router::new()
        .route("/", get(|| async { "boo" }))
        .layer(ServiceBuilder::new().layer(from_extractor::<HeaderMap>()).layer(ConcurrencyLimitLayer::new(64)));
    assert_eq!(panic_of(app.oneshot(asking())).await.as_deref(), Some(NOT_READY));
}

/// The control: `from_fn` in its place calls the service that is ready.
#[tokio::test]
async fn axum_from_fn_calls_the_one_that_is_ready() {
    let passes = from_fn(async |request: axum::extract::Request, next: Next| next.run(request).await);
    let app = Router::new()
        .route("/", get(|| async { "boo" }))
        .layer(ServiceBuilder::new().layer(passes).layer(ConcurrencyLimitLayer::new(64)));
    assert_eq!(app.oneshot(asking()).await.expect("an answer").status(), StatusCode::OK);
}

/// Three times a hundred bytes, of a stream that panics when it is polled after its end.
fn three_frames() -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(0, |n| async move { (n < 3).then(|| (Ok(Bytes::from(vec![b'a'; 100])), n + 1)) })
}

/// tower-http 0.7.1 (tower-rs/tower-http#732). The body of a compressed answer polls its source once more after `None`.
/// A fix: remember the end where the source is turned into a reader.
#[tokio::test]
async fn tower_http_compression_polls_its_source_after_the_end() {
    let app =
        Router::new().route("/", get(|| async { Body::from_stream(three_frames()) })).layer(CompressionLayer::new());
    let answer = app.oneshot(asking_for("gzip")).await.expect("an answer");
    let told = panic_of(answer.into_body().collect()).await;
    assert_eq!(told.as_deref(), Some("Unfold must not be polled after it returned `Poll::Ready(None)`"));
}

/// The control: the same stream, fused.
#[tokio::test]
async fn tower_http_compression_reads_a_fused_source() {
    let app = Router::new()
        .route("/", get(|| async { Body::from_stream(three_frames().boxed().fuse()) }))
        .layer(CompressionLayer::new());
    let answer = app.oneshot(asking_for("gzip")).await.expect("an answer");
    assert!(!answer.into_body().collect().await.expect("a body").to_bytes().is_empty());
}

async fn length_of(app: Router, method: Method) -> Option<String> {
    let request = Request::builder().method(method).body(Body::empty()).expect("a request");
    let answer = app.oneshot(request).await.expect("an answer");
    answer.headers().get(header::CONTENT_LENGTH).map(|length| length.to_str().expect("digits").to_owned())
}

/// tower-http 0.7.1. `TimeoutBody` has neither `size_hint` nor `is_end_stream`, so that no answer behind it has a length.
/// A fix: the two methods of `DeadlineBody`, which stands beside it.
#[tokio::test]
async fn tower_http_timeout_body_loses_the_length_of_an_answer() {
    let app = Router::new().route("/", get(|| async { "boo" }));
    let timed = app.clone().layer(ResponseBodyTimeoutLayer::new(Duration::from_secs(10)));
    let bounded = app.clone().layer(ResponseBodyDeadlineLayer::new(Duration::from_secs(10)));
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(length_of(app.clone(), method.clone()).await.as_deref(), Some("3"));
        assert_eq!(length_of(timed.clone(), method.clone()).await, None);
        assert_eq!(length_of(bounded.clone(), method).await.as_deref(), Some("3"), "the control");
    }
}

/// The same of a request: an inner service no longer sees that it has no body.
#[tokio::test]
async fn tower_http_timeout_body_loses_the_end_of_a_request() {
    let ends = |service_sees_the_end: bool| async move {
        let inner = service_fn(move |request: Request<_>| async move {
            let body: &tower_http::timeout::TimeoutBody<Body> = request.body();
            assert_eq!((body.is_end_stream(), body.size_hint().exact().is_some()), (service_sees_the_end, false));
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        RequestBodyTimeoutLayer::new(Duration::from_secs(10)).layer(inner).oneshot(asking()).await
    };
    assert!(asking().body().is_end_stream());
    ends(false).await.expect("an answer");
}

fn no_content() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// The headers that a client sees of `service` over HTTP/2.
async fn over_http2<S, B>(service: S) -> HeaderMap
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(
        server.auto_date_header(false).serve_connection(TokioIo::new(theirs), TowerToHyperService::new(service)),
    );
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours));
    let (mut sender, connection) = client.await.expect("a connection");
    tokio::spawn(connection);
    let request = Request::builder().uri("http://ghosts.test/").body(Empty::<Bytes>::new()).expect("a request");
    sender.send_request(request).await.expect("an answer").headers().clone()
}

/// tower-http 0.7.1. `DecompressionBody` passes `size_hint` on where nothing is decoded (tower-rs/tower-http#501), but not
/// `is_end_stream`. Hyper then writes `content-length: 0` for a 204, which RFC 9110, 8.6 forbids. A fix: pass it on, as
/// `CompressionBody` does.
#[tokio::test]
async fn tower_http_decompression_hides_the_end_of_an_empty_body() {
    assert!(no_content().body().is_end_stream());
    let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(no_content()) });
    let answer = DecompressionLayer::new().layer(inner).oneshot(asking()).await.expect("an answer");
    assert_eq!((answer.body().is_end_stream(), answer.body().size_hint().exact()), (false, Some(0)));

    let inner = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(no_content()) });
    assert_eq!(over_http2(inner).await.get(header::CONTENT_LENGTH), None);
    assert_eq!(over_http2(DecompressionLayer::new().layer(inner)).await[header::CONTENT_LENGTH], "0");
}

/// axum 0.8.9. A route gives each answer the length that its body knows, a 204 too; over HTTP/2 the client gets it, and
/// RFC 9110, 8.6 forbids it. A fix: set no length for 1xx and 204 (tokio-rs/axum#3741 is on the same lines and `HEAD`).
#[tokio::test]
async fn axum_router_gives_a_204_a_length() {
    let app = Router::new().route("/", get(|| async { StatusCode::NO_CONTENT }));
    assert_eq!(over_http2(app).await[header::CONTENT_LENGTH], "0");
}

/// tower-http 0.7.1. With a predicate that lets empty bodies through, an answer that can have no body gets a coding and
/// twenty bytes of gzip's head and tail. A fix: never compress 204 and 304, whatever the predicate says.
#[tokio::test]
async fn tower_http_compression_gives_a_body_to_answers_that_have_none() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let app = Router::new()
            .route("/", get(move || async move { status }))
            .layer(CompressionLayer::new().compress_when(SizeAbove::new(0)));
        let answer = app.oneshot(asking_for("gzip")).await.expect("an answer");
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip", "{status}");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes().len(), 20, "{status}");
    }
}

/// The control: the default predicate asks for 32 bytes.
#[tokio::test]
async fn tower_http_compression_leaves_them_empty_by_default() {
    let app = Router::new().route("/", get(|| async { StatusCode::NO_CONTENT })).layer(CompressionLayer::new());
    let answer = app.oneshot(asking_for("gzip")).await.expect("an answer");
    assert_eq!(answer.headers().get(header::CONTENT_ENCODING), None);
    assert!(answer.into_body().collect().await.expect("a body").to_bytes().is_empty());
}

/// tower-http 0.7.1. How much of a source that is always ready goes into the encoder, in one poll, before a byte comes out.
/// Not a fault, and in no documentation: an encoder asks its source until it is pending.
#[tokio::test]
async fn tower_http_gzip_takes_a_mebibyte_of_text_before_the_first_byte() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let source = stream::iter(0..16 * 1024).map(move |n: u32| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from(format!("{n:>8}").repeat(128)))
    });
    let mut answer = Some(Response::new(Body::from_stream(source)));
    let inner = service_fn(move |_: Request<Body>| {
        let answer = answer.take().expect("one request");
        async move { Ok::<_, Infallible>(answer) }
    });
    let answer = CompressionLayer::new().layer(inner).oneshot(asking_for("gzip")).await.expect("an answer");
    let mut body = std::pin::pin!(answer.into_body());
    let first = body.frame().now_or_never().expect("one poll").expect("a frame").expect("bytes");
    assert!(first.is_data());
    let kibibytes = taken.load(Ordering::Relaxed);
    assert!(kibibytes > 1024, "{kibibytes} KiB");
}

/// tower 0.5.3. The worker of a `Buffer` calls the inner service; a panic in that call ends the worker, and every clone of
/// the buffer fails from then on. Its documentation tells of errors, and not of panics. A fix: catch the panic, answer that
/// request with an error and go on, or say so in `Buffer`'s documentation.
#[tokio::test]
async fn tower_buffer_is_closed_for_ever_by_a_panic_in_call() {
    let inner = service_fn(|request: u32| {
        assert!(request != 13, "boo");
        async move { Ok::<_, Infallible>(request) }
    });
    let mut buffer = ServiceBuilder::new().buffer(8).service(inner);
    let mut twin = buffer.clone();
    assert_eq!(buffer.ready().await.expect("ready").call(1).await.expect("an answer"), 1);
    let told = buffer.ready().await.expect("ready").call(13).await.expect_err("the panic");
    assert_eq!(told.to_string(), "buffer's worker closed unexpectedly");
    let told = match twin.ready().await {
        Ok(ready) => ready.call(1).await.expect_err("no worker"),
        Err(told) => told,
    };
    assert_eq!(told.to_string(), "buffer's worker closed unexpectedly");
}

/// What hyper's client makes of a complete answer, when `rest` is what follows the first frame of its request: whether it
/// could send another request within an hour, and whether the connection has ended by then.
async fn an_hour_after_the_answer(rest: impl Future<Output = ()> + Send + 'static) -> (bool, bool) {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))]);
    let body = StreamBody::new(frames.chain(stream::once(rest).filter_map(|()| async { None })).boxed());
    let request = Request::post("/").header(header::HOST, "ghosts.test").body(body).expect("a request");
    let answering = tokio::spawn(async move {
        let mut seen = Vec::new();
        while !seen.ends_with(b"1\r\nx\r\n") {
            assert!(theirs.read_buf(&mut seen).await.expect("the request") > 0);
        }
        theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nboo").await.expect("the answer");
        theirs
    });
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "boo");
    let _theirs = answering.await.expect("the server");
    let reusable =
        tokio::time::timeout(Duration::from_secs(3600), sender.ready()).await.is_ok_and(|ready| ready.is_ok());
    (reusable, connection.is_finished())
}

/// hyper 1.12.0 (hyperium/hyper#4176). When the answer is complete and the request's body is still coming, the client's
/// connection can neither be used nor does it end. A fix: close it (hyperium/hyper#4179 proposes that).
#[tokio::test(start_paused = true)]
async fn hyper_client_stays_where_its_answer_came_before_the_end_of_its_request() {
    assert_eq!(an_hour_after_the_answer(pending()).await, (false, false));
}

/// The control: the same connection can be used again once the request has ended.
#[tokio::test(start_paused = true)]
async fn hyper_client_is_ready_again_where_its_request_ends() {
    assert_eq!(an_hour_after_the_answer(tokio::time::sleep(Duration::from_secs(1))).await, (true, false));
}
