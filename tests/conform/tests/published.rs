//! Published layers: what they keep, and what they break truly. Each row that breaks something says so here, with the reason.

use std::time::Duration;

use axum::{
    body::Body,
    error_handling::HandleErrorLayer,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::{Next, from_extractor, from_fn, map_request, map_response},
    response::Response,
};
use conform::{Contract, Subject, lab::SourceError};
use tower::{BoxError, ServiceBuilder, buffer::BufferLayer, layer::util::Identity, limit, util};
use tower_http::{catch_panic, compression, cors, request_id, timeout, trace};

const LONG: Duration = Duration::from_secs(24 * 3600);

struct Row {
    name: &'static str,
    subject: Subject,
    contract: Contract,
}

fn row(name: &'static str, subject: Subject) -> Row {
    Row { name, subject, contract: Contract::transparent() }
}

impl Row {
    fn touches(mut self, part: &str) -> Self {
        self.contract = self.contract.touches(part);
        self
    }

    fn changes(mut self, key: &str, reason: &str) -> Self {
        self.contract = self.contract.changes(key, reason);
        self
    }

    fn asking(mut self, name: &'static str, value: &'static str) -> Self {
        self.subject = self.subject.asking(move |request| {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        });
        self
    }
}

/// Lets each request through.
async fn allowed(request: Request<Body>) -> Request<Body> {
    request
}

fn of_tower() -> Vec<Row> {
    vec![
        row("Identity", Subject::layer(Identity::new)),
        row("ConcurrencyLimitLayer", Subject::layer(|| limit::ConcurrencyLimitLayer::new(500))),
        row("GlobalConcurrencyLimitLayer", Subject::layer(|| limit::GlobalConcurrencyLimitLayer::new(500))),
        row("RateLimitLayer", Subject::unclonable(|| limit::RateLimitLayer::new(500, Duration::from_secs(1)))),
        row("tower's TimeoutLayer", Subject::layer(|| tower::timeout::TimeoutLayer::new(LONG))),
        row("BufferLayer", Subject::layer(|| BufferLayer::<Request>::new(500)))
            .changes("backpressure-passed-on", "it is ready while it has a slot")
            .changes("readiness-error-passed", "it has said ready before it asks")
            .changes("same-task", "its worker calls"),
        row("ServiceBuilder::map_request", Subject::layer(|| ServiceBuilder::new().map_request(|r: Request| r))),
        row("ServiceBuilder::map_response", Subject::layer(|| ServiceBuilder::new().map_response(|r: Response| r))),
        row("ServiceBuilder::map_err", Subject::layer(|| ServiceBuilder::new().map_err(|error: SourceError| error))),
        row(
            "ServiceBuilder::then",
            Subject::layer(|| ServiceBuilder::new().then(async |r: Result<Response, SourceError>| r)),
        ),
        row(
            "ServiceBuilder::and_then",
            Subject::layer(|| ServiceBuilder::new().and_then(async |r: Response| Ok::<_, SourceError>(r))),
        ),
        row("MapFutureLayer", Subject::layer(|| util::MapFutureLayer::new(|future| future))),
        row("option_layer", Subject::layer(|| util::option_layer(None::<limit::ConcurrencyLimitLayer>))),
        row("BoxCloneServiceLayer", Subject::layer(|| util::BoxCloneServiceLayer::new(Identity::new()))),
        row("BoxError's map_err", Subject::boxed(|| ServiceBuilder::new().map_err(|error: BoxError| error))),
    ]
}

fn of_axum() -> Vec<Row> {
    vec![
        row("from_fn", Subject::infallible(|| from_fn(async |request: Request, next: Next| next.run(request).await))),
        row(
            "from_fn in Router::layer",
            Subject::app(|routes| routes.layer(from_fn(async |request: Request, next: Next| next.run(request).await))),
        ),
        row("map_request", Subject::infallible(|| map_request(allowed))),
        row("map_response", Subject::infallible(|| map_response(async |response: Response| response))),
        row("from_extractor", Subject::infallible(from_extractor::<HeaderMap>)),
        row("fallback_service", Subject::app(|routes| axum::Router::new().fallback_service(routes))),
        row(
            "HandleErrorLayer",
            Subject::layer(|| HandleErrorLayer::new(async |_: SourceError| StatusCode::BAD_GATEWAY)),
        )
        .changes("backpressure-passed-on", "it asks for readiness in the call, so that its errors become answers")
        .changes("readiness-error-passed", "errors become answers")
        .changes("late-readiness-error-told", "errors become answers")
        .changes("service-error-unchanged", "errors become answers"),
    ]
}

fn of_tower_http() -> Vec<Row> {
    let gzip = || compression::CompressionLayer::new();
    vec![
        row("TraceLayer", Subject::layer(trace::TraceLayer::new_for_http)),
        row(
            "TimeoutLayer",
            Subject::layer(|| timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, LONG)),
        ),
        row("RequestBodyTimeoutLayer", Subject::layer(|| timeout::RequestBodyTimeoutLayer::new(LONG))),
        row("ResponseBodyTimeoutLayer", Subject::layer(|| timeout::ResponseBodyTimeoutLayer::new(LONG))),
        row(
            "SetRequestIdLayer",
            Subject::layer(|| request_id::SetRequestIdLayer::x_request_id(CountingIds::default())),
        )
        .touches("request header x-request-id"),
        row("PropagateRequestIdLayer", Subject::layer(request_id::PropagateRequestIdLayer::x_request_id)),
        row("CatchPanicLayer", Subject::layer(catch_panic::CatchPanicLayer::new)),
        row("CorsLayer::permissive", Subject::layer(cors::CorsLayer::permissive))
            .touches("response header access-control-allow-origin")
            .touches("response header access-control-expose-headers")
            .changes("methods-pass", "it answers each OPTIONS itself, which is documented"),
        row("CompressionLayer, not asked", Subject::layer(gzip)).touches("response header vary"),
        row("CompressionLayer, gzip", Subject::layer(gzip).decoding(gunzip))
            .asking("accept-encoding", "gzip")
            .touches("response header content-encoding")
            .touches("response header content-length")
            .touches("response header vary"),
        row(
            "a usual stack",
            Subject::app(|routes| {
                let stack = ServiceBuilder::new()
                    .layer(request_id::SetRequestIdLayer::x_request_id(CountingIds::default()))
                    .layer(trace::TraceLayer::new_for_http())
                    .layer(request_id::PropagateRequestIdLayer::x_request_id())
                    .layer(catch_panic::CatchPanicLayer::new())
                    .layer(timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, LONG));
                routes.layer(stack)
            }),
        )
        .touches("request header x-request-id")
        .touches("response header x-request-id"),
    ]
}

#[derive(Clone, Default)]
struct CountingIds(u64);

impl request_id::MakeRequestId for CountingIds {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<request_id::RequestId> {
        self.0 += 1;
        Some(request_id::RequestId::new(HeaderValue::from(self.0)))
    }
}

fn gunzip(coded: Vec<u8>) -> Vec<u8> {
    let mut plain = Vec::new();
    // What is no gzip decodes to less, and the clause says so.
    let _ = std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&coded[..]), &mut plain);
    plain
}

#[test]
fn published_layers_break_what_they_break() {
    let mut told = String::new();
    for Row { name, subject, contract } in of_tower().into_iter().chain(of_axum()).chain(of_tower_http()) {
        let report = conform::check(subject, &contract);
        assert!(report.faults.is_empty(), "{name}: {:?}", report.faults);
        let stale = report.stale();
        let word = if report.conforms() { "conforms" } else { "does not conform" };
        told.push_str(&format!("{name}: {word}\n"));
        for key in report.findings() {
            let judged = report.clause(key).expect("it was judged");
            told.push_str(&format!("    {key} -> {}\n", judged.observed.as_deref().unwrap_or_default()));
        }
        let follow: Vec<&str> = report.broken().into_iter().filter(|key| !report.findings().contains(key)).collect();
        if !follow.is_empty() {
            told.push_str(&format!("    also follows: {}\n", follow.join(", ")));
        }
        if !stale.is_empty() {
            told.push_str(&format!("    stale: {}\n", stale.join(", ")));
        }
    }
    insta::assert_snapshot!("published_layers", told);
}

/// Where a header is set that is nobody's business, the contract says so, and nothing else is excused.
#[test]
fn a_touched_header_excuses_nothing_else() {
    let two = || {
        Subject::app(|routes| {
            routes.layer(map_response(async |mut response: Response| {
                for name in ["x-served-by", "x-runtime"] {
                    response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
                }
                response
            }))
        })
    };
    let one = Contract::transparent().touches("response header x-served-by");
    let report = conform::check(two(), &one);
    assert_eq!(report.findings(), ["response-head-kept"]);
    let observed = report.clause("response-head-kept").and_then(|judged| judged.observed.clone());
    assert_eq!(observed.as_deref(), Some("response header x-runtime was added"));
    let report = conform::check(two(), &one.touches("response header x-runtime"));
    assert!(report.conforms(), "{report}");
    assert!(report.stale().is_empty(), "{report}");
}
