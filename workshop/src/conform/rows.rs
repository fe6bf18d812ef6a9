//! The layers of tower, tower-http and axum that cost this workspace no further crate, with what they declare. Layers of other
//! crates, and those with codecs of their own, are in `tests/conform/field`.

use std::{future::ready, time::Duration};

use axum::{
    Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_extractor, from_fn, from_fn_with_state, map_request, map_response},
    response::Response,
};
use conform::{Subject, lab::SourceError};
use matrix::{Row, coded, sending};
use tower::{BoxError, ServiceBuilder};

const AN_HOUR: Duration = Duration::from_secs(3600);
const SET: HeaderName = HeaderName::from_static("x-set");

/// Every row, in the order of the page.
pub(super) fn all() -> Vec<Row> {
    [tower(), heads(), bodies(), coders(), axum()].into_iter().flatten().collect()
}

/// Tries nothing again.
#[derive(Clone, Debug)]
struct Never;

impl<Req, Res, E> tower::retry::Policy<Req, Res, E> for Never {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Req, _: &mut Result<Res, E>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, _: &Req) -> Option<Req> {
        None
    }
}

fn tower() -> Vec<Row> {
    use tower::{buffer, filter, limit, load_shed, retry, spawn_ready, timeout, util};
    let of = |name, put, subject| Row::new("tower", name, put, subject);
    vec![
        of("BufferLayer", "new(8)", Subject::layer(|| buffer::BufferLayer::<Request>::new(8)))
            .changes("backpressure-passed-on", "is ready while it has a slot")
            .changes("readiness-error-passed", "has said that it is ready before it asks")
            .changes("same-task", "its worker calls"),
        of("ConcurrencyLimitLayer", "new(64)", Subject::layer(|| limit::ConcurrencyLimitLayer::new(64))),
        of("GlobalConcurrencyLimitLayer", "new(64)", Subject::layer(|| limit::GlobalConcurrencyLimitLayer::new(64))),
        of(
            "RateLimitLayer",
            "new(1000, 1 s)",
            Subject::unclonable(|| limit::RateLimitLayer::new(1000, Duration::from_secs(1))),
        ),
        of("LoadShedLayer", "new()", Subject::layer(load_shed::LoadShedLayer::new))
            .changes("backpressure-passed-on", "is always ready, and sheds"),
        of("TimeoutLayer", "new(1 h)", Subject::layer(|| timeout::TimeoutLayer::new(AN_HOUR))),
        of("FilterLayer", "new(Ok)", Subject::layer(|| filter::FilterLayer::new(Ok::<Request, BoxError>))),
        of(
            "AsyncFilterLayer",
            "new(|request| ready(Ok(request)))",
            Subject::layer(|| filter::AsyncFilterLayer::new(|request: Request| ready(Ok::<_, BoxError>(request)))),
        ),
        of("RetryLayer", "new(never)", Subject::layer(|| retry::RetryLayer::new(Never))),
        of("SpawnReadyLayer", "new()", Subject::unclonable(spawn_ready::SpawnReadyLayer::new)),
        of(
            "map_request",
            "map_request(|request| request)",
            Subject::layer(|| ServiceBuilder::new().map_request(|request: Request| request)),
        ),
        of(
            "map_response",
            "map_response(|response| response)",
            Subject::layer(|| ServiceBuilder::new().map_response(|response: Response| response)),
        ),
        of(
            "map_err",
            "map_err(|error| error)",
            Subject::layer(|| ServiceBuilder::new().map_err(|error: SourceError| error)),
        ),
        of(
            "map_result",
            "map_result(|result| result)",
            Subject::layer(|| ServiceBuilder::new().map_result(|result: Result<Response, SourceError>| result)),
        ),
        of(
            "then",
            "then(ready)",
            Subject::layer(|| ServiceBuilder::new().then(ready::<Result<Response, SourceError>>)),
        ),
        of(
            "and_then",
            "and_then(|response| ready(Ok(response)))",
            Subject::layer(|| {
                ServiceBuilder::new().and_then(|response: Response| ready(Ok::<_, SourceError>(response)))
            }),
        ),
        of(
            "map_future",
            "MapFutureLayer::new(|future| future)",
            Subject::layer(|| util::MapFutureLayer::new(|future| future)),
        ),
        of(
            "option_layer, none",
            "option_layer(None)",
            Subject::layer(|| util::option_layer(None::<limit::ConcurrencyLimitLayer>)),
        ),
        of(
            "option_layer, some",
            "option_layer(Some(limit))",
            Subject::layer(|| util::option_layer(Some(limit::ConcurrencyLimitLayer::new(64)))),
        ),
        of(
            "BoxCloneServiceLayer",
            "new(Identity::new())",
            Subject::layer(|| util::BoxCloneServiceLayer::new(tower::layer::util::Identity::new())),
        ),
    ]
}

fn of_http(name: &'static str, put: &'static str, subject: Subject) -> Row {
    Row::new("tower-http", name, put, subject)
}

fn heads() -> Vec<Row> {
    use tower_http::{
        add_extension, catch_panic, cors, csrf, normalize_path, on_early_drop, propagate_header, request_id,
        sensitive_headers, set_header, set_status, timeout, trace,
    };
    let one = HeaderValue::from_static("1");
    let (request_one, response_one) = (one.clone(), one);
    vec![
        of_http("TraceLayer", "new_for_http()", Subject::layer(trace::TraceLayer::new_for_http)),
        of_http("TraceLayer, gRPC", "new_for_grpc()", Subject::layer(trace::TraceLayer::new_for_grpc)),
        of_http(
            "TimeoutLayer",
            "with_status_code(504, 1 h)",
            Subject::layer(|| timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, AN_HOUR)),
        ),
        of_http(
            "SetRequestHeaderLayer",
            "overriding(x-set, 1)",
            Subject::layer(move || set_header::SetRequestHeaderLayer::overriding(SET, request_one.clone())),
        )
        .touches("request header x-set"),
        of_http(
            "SetResponseHeaderLayer",
            "overriding(x-set, 1)",
            Subject::layer(move || set_header::SetResponseHeaderLayer::overriding(SET, response_one.clone())),
        )
        .touches("response header x-set"),
        of_http("SetStatusLayer", "new(202)", Subject::layer(|| set_status::SetStatusLayer::new(StatusCode::ACCEPTED)))
            .changes("upgrade-passes", "a 101 gets the status, too")
            .changes("extended-connect-passes", "a 200 gets the status, too")
            .touches("response status"),
        of_http(
            "SetRequestIdLayer",
            "x_request_id(MakeRequestUuid)",
            Subject::layer(|| request_id::SetRequestIdLayer::x_request_id(request_id::MakeRequestUuid)),
        )
        .touches("request header x-request-id"),
        of_http(
            "PropagateRequestIdLayer",
            "x_request_id()",
            Subject::layer(request_id::PropagateRequestIdLayer::x_request_id),
        ),
        of_http(
            "PropagateHeaderLayer",
            "new(x-propagated)",
            Subject::layer(|| propagate_header::PropagateHeaderLayer::new(HeaderName::from_static("x-propagated"))),
        ),
        of_http(
            "SetSensitiveHeadersLayer",
            "new([authorization])",
            Subject::layer(|| sensitive_headers::SetSensitiveHeadersLayer::new([header::AUTHORIZATION])),
        ),
        of_http(
            "NormalizePathLayer",
            "trim_trailing_slash()",
            Subject::layer(normalize_path::NormalizePathLayer::trim_trailing_slash),
        )
        .touches("request uri"),
        of_http("AddExtensionLayer", "new(7_u8)", Subject::layer(|| add_extension::AddExtensionLayer::new(7_u8))),
        of_http("CatchPanicLayer", "new()", Subject::layer(catch_panic::CatchPanicLayer::new)),
        of_http("CorsLayer", "permissive()", Subject::layer(cors::CorsLayer::permissive))
            .touches("response header access-control-allow-origin")
            .touches("response header access-control-expose-headers")
            .changes("methods-pass", "answers every OPTIONS itself (tower-rs/tower-http#497: intended)"),
        of_http(
            "CsrfLayer",
            "new(), sec-fetch-site: same-origin",
            Subject::layer(csrf::CsrfLayer::new).asking(sending("sec-fetch-site", "same-origin")),
        ),
        of_http("OnEarlyDropLayer", "builder()", Subject::layer(on_early_drop::OnEarlyDropLayer::builder)),
    ]
}

fn bodies() -> Vec<Row> {
    use tower_http::{limit, map_request_body, map_response_body, metrics, timeout};
    vec![
        of_http(
            "RequestBodyTimeoutLayer",
            "new(1 h)",
            Subject::layer(|| timeout::RequestBodyTimeoutLayer::new(AN_HOUR)),
        ),
        of_http(
            "ResponseBodyTimeoutLayer",
            "new(1 h)",
            Subject::layer(|| timeout::ResponseBodyTimeoutLayer::new(AN_HOUR)),
        ),
        of_http(
            "RequestBodyDeadlineLayer",
            "new(1 h)",
            Subject::layer(|| timeout::RequestBodyDeadlineLayer::new(AN_HOUR)),
        ),
        of_http(
            "ResponseBodyDeadlineLayer",
            "new(1 h)",
            Subject::layer(|| timeout::ResponseBodyDeadlineLayer::new(AN_HOUR)),
        ),
        of_http("RequestBodyLimitLayer", "new(1 GiB)", Subject::layer(|| limit::RequestBodyLimitLayer::new(1 << 30))),
        of_http(
            "MapRequestBodyLayer",
            "new(Body::new)",
            Subject::layer(|| map_request_body::MapRequestBodyLayer::new(Body::new::<Body>)),
        ),
        of_http(
            "MapResponseBodyLayer",
            "new(Body::new)",
            Subject::layer(|| map_response_body::MapResponseBodyLayer::new(Body::new::<Body>)),
        ),
        of_http("InFlightRequestsLayer", "pair().0", Subject::layer(|| metrics::InFlightRequestsLayer::pair().0)),
    ]
}

fn coders() -> Vec<Row> {
    use tower_http::{compression::CompressionLayer, decompression};
    vec![
        of_http("CompressionLayer, not asked", "new()", Subject::layer(CompressionLayer::new))
            .touches("response header vary"),
        coded(of_http(
            "CompressionLayer, gzip",
            "new(), accept-encoding: gzip",
            Subject::layer(CompressionLayer::new).asking(sending("accept-encoding", "gzip")),
        )),
        of_http("DecompressionLayer", "new()", Subject::layer(decompression::DecompressionLayer::new))
            .touches("request header accept-encoding"),
        of_http("RequestDecompressionLayer", "new()", Subject::layer(decompression::RequestDecompressionLayer::new)),
    ]
}

async fn passed_on(request: Request, next: Next) -> Response {
    next.run(request).await
}

/// What many services put round their routes.
fn usual_stack(routes: Router) -> Router {
    use tower_http::{catch_panic, compression, cors, request_id, timeout, trace};
    routes.layer(
        ServiceBuilder::new()
            .layer(request_id::SetRequestIdLayer::x_request_id(request_id::MakeRequestUuid))
            .layer(trace::TraceLayer::new_for_http())
            .layer(request_id::PropagateRequestIdLayer::x_request_id())
            .layer(catch_panic::CatchPanicLayer::new())
            .layer(timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, AN_HOUR))
            .layer(cors::CorsLayer::permissive())
            .layer(compression::CompressionLayer::new()),
    )
}

fn axum() -> Vec<Row> {
    let of = |name, put, subject| Row::new("axum", name, put, subject);
    vec![
        of("from_fn", "from_fn(|request, next| next.run(request))", Subject::infallible(|| from_fn(passed_on))),
        of(
            "from_fn, in a Router",
            "Router::layer(from_fn(..))",
            Subject::app(|routes| routes.layer(from_fn(passed_on))),
        ),
        of(
            "from_fn_with_state",
            "from_fn_with_state((), ..)",
            Subject::infallible(|| {
                from_fn_with_state((), async |_: axum::extract::State<()>, request: Request, next: Next| {
                    next.run(request).await
                })
            }),
        ),
        of(
            "map_request",
            "map_request(|request| request)",
            Subject::infallible(|| map_request(async |request: Request| request)),
        ),
        of(
            "map_response",
            "map_response(|response| response)",
            Subject::infallible(|| map_response(async |response: Response| response)),
        ),
        of("from_extractor", "from_extractor::<HeaderMap>()", Subject::infallible(from_extractor::<HeaderMap>)),
        of(
            "HandleErrorLayer",
            "new(|error| 502)",
            Subject::layer(|| {
                HandleErrorLayer::new(async |error: SourceError| (StatusCode::BAD_GATEWAY, error.to_string()))
            }),
        )
        .changes("backpressure-passed-on", "asks for readiness in the call, so that its errors become answers")
        .changes("readiness-error-passed", "errors become answers")
        .changes("late-readiness-error-told", "errors become answers")
        .changes("service-error-unchanged", "errors become answers"),
        of(
            "Router::fallback_service",
            "Router::new().fallback_service(routes)",
            Subject::app(|routes| Router::new().fallback_service(routes)),
        ),
        of("Router::merge", "Router::new().merge(routes)", Subject::app(|routes| Router::new().merge(routes))),
        coded(of(
            "a usual stack",
            "request id, trace, catch panic, timeout, CORS, compression; accept-encoding: gzip",
            Subject::app(usual_stack).asking(sending("accept-encoding", "gzip")),
        ))
        .touches("request header x-request-id")
        .touches("response header x-request-id")
        .touches("response header access-control-allow-origin")
        .touches("response header access-control-expose-headers")
        .changes("methods-pass", "CorsLayer answers every OPTIONS itself (tower-rs/tower-http#497: intended)"),
    ]
}
