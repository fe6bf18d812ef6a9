//! What the suite found in crates of others, once more with no part of the suite: each test is the whole reproduction. Where
//! the fault is, the test says so and passes; when an update mends it, the test fails, and the verdict beside the matrix and
//! the draft in `reports/` are to follow. Crates of the ghosts' own workspace: `../tests/upstream.rs`.

use std::{
    any::Any,
    convert::Infallible,
    future::pending,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header},
    routing::get,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_http_cache::prelude::{CacheLayer, InMemoryBackend};

const AN_HOUR: Duration = Duration::from_secs(3600);
const NOT_READY: &str = "max requests in-flight; poll_ready must be called first";

fn asking() -> Request<Body> {
    Request::new(Body::empty())
}

async fn panic_of<T>(working: impl Future<Output = T>) -> Option<String> {
    let panic: Box<dyn Any + Send> = AssertUnwindSafe(working).catch_unwind().await.err()?;
    let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Some(fixed.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
}

/// `layer` round a limit that has places for 64: what the first request meets.
async fn before_a_limit<L, S>(layer: L) -> Option<String>
where
    L: Layer<
            tower::limit::ConcurrencyLimit<tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>,
            Service = S,
        >,
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
{
    let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("boo"))) });
    let inner = ServiceBuilder::new()
        .layer(layer)
        .layer(ConcurrencyLimitLayer::new(64))
        .service(tower::util::BoxCloneSyncService::new(inner));
    panic_of(async move { inner.oneshot(asking()).await.map(|_| ()).map_err(Into::into).expect("an answer") }).await
}

/// axum-response-cache 0.5.0. `call` calls a clone, while `self.inner` is what said that it was ready. A fix: take the
/// service that is ready out by `std::mem::replace` and leave the clone.
#[tokio::test]
async fn axum_response_cache_calls_a_service_that_is_not_ready() {
    let cache = axum_response_cache::CacheLayer::with_lifespan(AN_HOUR);
    assert_eq!(before_a_limit(cache).await.as_deref(), Some(NOT_READY));
}

/// axum-response-cache 0.5.0. The inner service is called on a hit, too, and what it returns is dropped. A fix: look the key
/// up before the call.
#[tokio::test]
async fn axum_response_cache_calls_its_service_on_a_hit() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Body::from("boo"))) }
    });
    let mut cache = axum_response_cache::CacheLayer::with_lifespan(AN_HOUR).layer(inner);
    for _ in 0..3 {
        cache.ready().await.expect("ready").call(asking()).await.expect("an answer");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3, "one miss, two hits");
}

fn boo()
-> impl Service<Request<Body>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone + Send + Sync
{
    service_fn(|_: Request<Body>| async { Ok(Response::new(Full::new(Bytes::from("boo")))) })
}

/// tower-http-cache 0.6.1. `poll_ready` reserves a place of the inner service, and `call` then waits for a place of a clone,
/// while the first is kept: behind a limit of one the first request waits for ever. A fix: hand the service that is ready to
/// the future by `std::mem::replace`.
#[tokio::test(start_paused = true)]
async fn tower_http_cache_waits_for_the_place_that_it_holds() {
    let cache = CacheLayer::builder(InMemoryBackend::new(100)).ttl(AN_HOUR).build();
    let mut service = ServiceBuilder::new().layer(cache).layer(ConcurrencyLimitLayer::new(1)).service(boo());
    let first = service.ready().await.expect("ready").call(asking());
    assert!(tokio::time::timeout(AN_HOUR, first).await.is_err());
}

/// The control: behind a limit of two there is a second place.
#[tokio::test(start_paused = true)]
async fn tower_http_cache_answers_where_there_is_a_second_place() {
    let cache = CacheLayer::builder(InMemoryBackend::new(100)).ttl(AN_HOUR).build();
    let mut service = ServiceBuilder::new().layer(cache).layer(ConcurrencyLimitLayer::new(2)).service(boo());
    let first = service.ready().await.expect("ready").call(asking());
    assert!(tokio::time::timeout(AN_HOUR, first).await.expect("an answer in time").is_ok());
}

/// tower-http-cache 0.6.1, default policy. A body of unknown length is collected before it is answered, although
/// `allow_streaming_bodies` is off: the answer of an event stream never comes. A fix: pass such a body through.
#[tokio::test(start_paused = true)]
async fn tower_http_cache_never_answers_with_an_event_stream() {
    let inner = service_fn(|_: Request<Body>| async {
        let events = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from("data: boo\n\n"))), ()))
        });
        let answer = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        Ok::<_, Infallible>(answer.body(StreamBody::new(Box::pin(events))).expect("an answer"))
    });
    let service = CacheLayer::builder(InMemoryBackend::new(100)).build().layer(inner);
    assert!(tokio::time::timeout(AN_HOUR, service.oneshot(asking())).await.is_err());
}

/// Ten bytes, a trailer, the end; a panic when it is polled after that.
struct Trailing(u8);

impl http_body::Body for Trailing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0 += 1;
        let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
        match self.0 {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from("<p>boo</p>"))))),
            2 => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([sum]))))),
            3 => Poll::Ready(None),
            _ => panic!("polled after the end"),
        }
    }
}

/// tower-livereload 0.10.3. The script is added where the body has ended, so behind its trailers, and the body is polled
/// once more after that. A fix: put the script out before a frame of trailers, and remember the end.
#[tokio::test]
async fn tower_livereload_sends_its_script_after_the_trailers() {
    let page = || async { ([(header::CONTENT_TYPE, "text/html")], Body::new(Trailing(0))) };
    let app = Router::new().route("/", get(page)).layer(tower_livereload::LiveReloadLayer::new());
    let mut body = app.oneshot(asking()).await.expect("an answer").into_body();
    let mut trailers = Vec::new();
    for _ in 0..3 {
        trailers.push(body.frame().await.expect("a frame").expect("no error").is_trailers());
    }
    assert_eq!(trailers, [false, true, false]);
    assert_eq!(panic_of(body.frame()).await.as_deref(), Some("polled after the end"));
}

/// tower-livereload 0.10.3. Answers into which nothing is put lose their length, too: no body of the two that it wraps round
/// has a `size_hint`. A fix: pass it on, and add the script's length where there is one.
#[tokio::test]
async fn tower_livereload_loses_the_length_of_what_it_leaves_alone() {
    let answer = || async { ([(header::CONTENT_TYPE, "application/json")], "{}") };
    let app = Router::new().route("/", get(answer));
    let reloading = app.clone().layer(tower_livereload::LiveReloadLayer::new());
    assert_eq!(app.oneshot(asking()).await.expect("an answer").headers()[header::CONTENT_LENGTH], "2");
    assert_eq!(reloading.oneshot(asking()).await.expect("an answer").headers().get(header::CONTENT_LENGTH), None);
}

/// tower-http 0.5.2 and 0.6.2 (tower-rs/tower-http#561, in 0.6.4): the authorisation is asked, and then a clone is called.
#[tokio::test]
async fn older_async_require_authorization_calls_a_service_that_is_not_ready() {
    let passes = |request: Request<Body>| async move { Ok::<_, Response<Body>>(request) };
    let layer = tower_http_05::auth::AsyncRequireAuthorizationLayer::new(passes);
    assert_eq!(before_a_limit(layer).await.as_deref(), Some(NOT_READY));
    let layer = tower_http_06::auth::AsyncRequireAuthorizationLayer::new(passes);
    assert_eq!(before_a_limit(layer).await.as_deref(), Some(NOT_READY));
    let layer = tower_http::auth::AsyncRequireAuthorizationLayer::new(passes);
    assert_eq!(before_a_limit(layer).await, None, "0.7.1");
}

/// tower-resilience-timelimiter 0.9.0 (joshrotenberg/tower-resilience#286).
#[tokio::test]
async fn older_time_limiter_calls_a_service_that_is_not_ready() {
    let layer = tower_resilience_timelimiter_09::TimeLimiterLayer::builder().timeout_duration(AN_HOUR).build();
    assert_eq!(before_a_limit(layer).await.as_deref(), Some(NOT_READY));
    let layer = tower_resilience::timelimiter::TimeLimiterLayer::builder().timeout_duration(AN_HOUR).build();
    assert_eq!(before_a_limit(layer).await, None, "0.13");
}

/// tower-http 0.5.2 (tower-rs/tower-http#501 and #535): bodies that are neither coded nor decoded lose what is known of them.
#[tokio::test]
async fn older_compression_loses_the_length_of_what_it_leaves_alone() {
    let inner = || service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("boo"))) });
    let length = |hint: http_body::SizeHint| hint.exact();
    let answer =
        tower_http_05::compression::CompressionLayer::new().layer(inner()).oneshot(asking()).await.expect("an answer");
    assert_eq!(length(answer.body().size_hint()), None);
    let answer = tower_http_05::decompression::DecompressionLayer::new()
        .layer(inner())
        .oneshot(asking())
        .await
        .expect("an answer");
    assert_eq!(length(answer.body().size_hint()), None);
    let answer =
        tower_http::compression::CompressionLayer::new().layer(inner()).oneshot(asking()).await.expect("an answer");
    assert_eq!(length(answer.body().size_hint()), Some(3), "0.7.1");
    let answer =
        tower_http::decompression::DecompressionLayer::new().layer(inner()).oneshot(asking()).await.expect("an answer");
    assert_eq!(length(answer.body().size_hint()), Some(3), "0.7.1");
}

/// tower-http 0.5.2 and 0.6.2 have what is told of 0.7.1 in `../tests/upstream.rs` (tower-rs/tower-http#732).
#[tokio::test]
async fn older_compression_polls_its_source_after_the_end() {
    let source = || {
        stream::unfold(
            0,
            |n| async move { (n < 3).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'a'; 100])), n + 1)) },
        )
    };
    let gzip = || Request::builder().header(header::ACCEPT_ENCODING, "gzip").body(Body::empty()).expect("a request");
    let app = Router::new().route("/", get(move || async move { Body::from_stream(source()) }));
    let polled = Some("Unfold must not be polled after it returned `Poll::Ready(None)`");
    let answer = app.clone().layer(tower_http_05::compression::CompressionLayer::new()).oneshot(gzip()).await;
    assert_eq!(panic_of(answer.expect("an answer").into_body().collect()).await.as_deref(), polled);
    let answer = app.layer(tower_http_06::compression::CompressionLayer::new()).oneshot(gzip()).await;
    assert_eq!(panic_of(answer.expect("an answer").into_body().collect()).await.as_deref(), polled);
}

/// How many KiB of a source that is always ready are taken, in one poll, before the first byte of `coding` comes out.
async fn read_ahead(coding: &'static str, mebibytes: u32) -> usize {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let mut state = 7u32;
    let noise = stream::iter(0..mebibytes * 1024).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        let bytes = (0..1024).map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        });
        Ok::<_, Infallible>(Bytes::from_iter(bytes))
    });
    let mut answer = Some(Response::new(Body::from_stream(noise)));
    let inner = service_fn(move |_: Request<Body>| {
        let answer = answer.take().expect("one request");
        async move { Ok::<_, Infallible>(answer) }
    });
    let request = Request::builder().header(header::ACCEPT_ENCODING, coding).body(Body::empty()).expect("a request");
    let answer =
        tower_http::compression::CompressionLayer::new().layer(inner).oneshot(request).await.expect("an answer");
    let mut body = Box::pin(answer.into_body());
    body.frame().now_or_never().expect("one poll").expect("a frame").expect("bytes");
    taken.load(Ordering::Relaxed)
}

/// tower-http 0.7.1 with brotli 8 (tower-rs/tower-http#287 and #356 tell of its default quality). Incompressible bytes from
/// a source that is always ready: brotli takes mebibytes before the first byte comes out, zstd a block, gzip its buffer. Not a
/// fault of the layer, and in no documentation. A fix: a quality meant for answers that are made as they are sent.
#[tokio::test]
async fn tower_http_brotli_takes_mebibytes_before_the_first_byte() {
    let (brotli, zstd, gzip) = (read_ahead("br", 12).await, read_ahead("zstd", 1).await, read_ahead("gzip", 1).await);
    assert!(brotli > 4 * 1024 && zstd <= 256 && gzip <= 64, "brotli {brotli} KiB, zstd {zstd} KiB, gzip {gzip} KiB");
}

/// Connects well but for the first time.
struct Manager {
    first: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>,
    connects: AtomicUsize,
}

impl bb8::ManageConnection for Manager {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        if self.connects.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.first)().await;
        }
        Ok(())
    }

    async fn is_valid(&self, (): &mut ()) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, (): &mut ()) -> bool {
        false
    }
}

/// A pool of one: what its first and second `get` come to, half a minute each.
async fn two_gets(first: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>) -> [bool; 2] {
    let pool = bb8::Pool::builder().max_size(1).build_unchecked(Manager { first, connects: AtomicUsize::new(0) });
    [pool.get().await.is_ok(), pool.get().await.is_ok()]
}

/// bb8 0.9.1. A `connect` that panics keeps its place: the approval is given back by an error and by a connection, and not
/// where it is dropped. A fix: give it back in its `Drop`.
#[tokio::test(start_paused = true)]
async fn bb8_keeps_the_place_of_a_connect_that_panicked() {
    assert_eq!(two_gets(|| Box::pin(async { panic!("boo") })).await, [false, false]);
}

/// bb8 0.9.1. `connection_timeout` bounds `get`, and not a `connect`: one that hangs keeps its place as long. A fix: bound
/// the attempt, too.
#[tokio::test(start_paused = true)]
async fn bb8_keeps_the_place_of_a_connect_that_hangs() {
    assert_eq!(two_gets(|| Box::pin(pending())).await, [false, false]);
}

/// The control.
#[tokio::test(start_paused = true)]
async fn bb8_connects_again_after_a_slow_connect() {
    assert_eq!(two_gets(|| Box::pin(tokio::time::sleep(Duration::from_secs(40)))).await, [false, true]);
}

/// tower-resilience 0.13: documented (joshrotenberg/tower-resilience#443), so no fault; why the matrix has it as declared.
#[tokio::test]
async fn tower_resilience_errors_have_no_source() {
    let inner = service_fn(|(): ()| async { Err::<(), _>(std::io::Error::other("out of paper")) });
    let layer = tower_resilience::timelimiter::TimeLimiterLayer::builder().timeout_duration(AN_HOUR).build();
    let error = layer.layer(inner).oneshot(()).await.expect_err("an error");
    assert!(std::error::Error::source(&error).is_none());
}

/// axum-htmx 0.8.1. `AutoVaryLayer` puts senders into the request's extensions and holds the answer back until each of them is
/// used or dropped. An answer that keeps the request's head (a stream that looks at it as it goes) is never sent. A fix: once
/// the inner service has answered, take what has been told by `try_recv`, and do not wait.
#[tokio::test(start_paused = true)]
async fn axum_htmx_auto_vary_holds_an_answer_that_keeps_its_request() {
    let events = async |request: axum::extract::Request| {
        let (head, _) = request.into_parts();
        Body::from_stream(stream::repeat(head).map(|head| Ok::<_, Infallible>(head.uri.to_string())))
    };
    let app = Router::new().route("/", get(events));
    let varying = app.clone().layer(axum_htmx::AutoVaryLayer);
    assert!(tokio::time::timeout(AN_HOUR, app.oneshot(asking())).await.is_ok(), "the control");
    assert!(tokio::time::timeout(AN_HOUR, varying.oneshot(asking())).await.is_err());
}
