//! The layers of other crates, each as its documentation puts it, with what it declares. Where a declaration has a reason, the
//! reason is what the layer's own documentation says, or what it is for.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response},
};
use conform::Subject;
use matrix::{Row, coded, sending};
use tower::ServiceBuilder;

use crate::adapters::{Backend, Synced};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// Every row, in the order of the page.
pub fn all() -> Vec<Row> {
    [tower_http(), older_tower_http(), of_axum(), observers(), resilience(), caches()].into_iter().flatten().collect()
}

async fn allowed(request: Request<Body>) -> Result<Request<Body>, Response<Body>> {
    Ok(request)
}

fn tower_http() -> Vec<Row> {
    use tower_http::{auth, compression::CompressionLayer, decompression, follow_redirect, validate_request};
    let of = |name, put, subject| Row::new("tower-http 0.7", name, put, subject);
    vec![
        of(
            "AsyncRequireAuthorizationLayer",
            "new(|request| async { Ok(request) })",
            Subject::layer(|| auth::AsyncRequireAuthorizationLayer::new(allowed)),
        ),
        of("AddAuthorizationLayer", "bearer(token)", Subject::layer(|| auth::AddAuthorizationLayer::bearer("token")))
            .touches("request header authorization"),
        of(
            "ValidateRequestHeaderLayer",
            "accept(\"text/plain\")",
            Subject::layer(|| {
                validate_request::ValidateRequestHeaderLayer::<validate_request::AcceptHeader<Body>>::accept(
                    "text/plain",
                )
            }),
        ),
        of("FollowRedirectLayer", "new()", Subject::layer(follow_redirect::FollowRedirectLayer::new)),
        coded(of(
            "CompressionLayer, br",
            "new(), accept-encoding: br",
            Subject::layer(CompressionLayer::new).asking(sending("accept-encoding", "br")),
        ))
        .changes("response-not-read-ahead", "brotli at its default quality looks far ahead"),
        coded(of(
            "CompressionLayer, zstd",
            "new(), accept-encoding: zstd",
            Subject::layer(CompressionLayer::new).asking(sending("accept-encoding", "zstd")),
        ))
        .changes("response-not-read-ahead", "a block of zstd is 128 KiB"),
        coded(of(
            "CompressionLayer, deflate",
            "new(), accept-encoding: deflate",
            Subject::layer(CompressionLayer::new).asking(sending("accept-encoding", "deflate")),
        )),
        of("DecompressionLayer, all codings", "new()", Subject::layer(decompression::DecompressionLayer::new))
            .touches("request header accept-encoding"),
        of(
            "RequestDecompressionLayer, all codings",
            "new()",
            Subject::layer(decompression::RequestDecompressionLayer::new),
        ),
    ]
}

fn older_tower_http() -> Vec<Row> {
    let six = |name, put, subject| Row::new("tower-http 0.6", name, put, subject);
    let five = |name, put, subject| Row::new("tower-http 0.5", name, put, subject);
    vec![
        six("TraceLayer", "new_for_http()", Subject::layer(tower_http_06::trace::TraceLayer::new_for_http)),
        six("TimeoutLayer", "new(1 h)", Subject::layer(|| tower_http_06::timeout::TimeoutLayer::new(AN_HOUR))),
        six(
            "RequestBodyTimeoutLayer",
            "new(1 h)",
            Subject::layer(|| tower_http_06::timeout::RequestBodyTimeoutLayer::new(AN_HOUR)),
        ),
        six(
            "ResponseBodyTimeoutLayer",
            "new(1 h)",
            Subject::layer(|| tower_http_06::timeout::ResponseBodyTimeoutLayer::new(AN_HOUR)),
        ),
        six("CatchPanicLayer", "new()", Subject::layer(tower_http_06::catch_panic::CatchPanicLayer::new)),
        six(
            "RequestBodyLimitLayer",
            "new(1 GiB)",
            Subject::layer(|| tower_http_06::limit::RequestBodyLimitLayer::new(1 << 30)),
        ),
        six("CorsLayer", "permissive()", Subject::layer(tower_http_06::cors::CorsLayer::permissive))
            .touches("response header access-control-allow-origin")
            .touches("response header access-control-expose-headers")
            .touches("response header vary")
            .changes("methods-pass", "answers every OPTIONS itself (tower-rs/tower-http#497: intended)"),
        six(
            "AsyncRequireAuthorizationLayer",
            "new(|request| async { Ok(request) })",
            Subject::layer(|| tower_http_06::auth::AsyncRequireAuthorizationLayer::new(allowed)),
        ),
        six("CompressionLayer, not asked", "new()", Subject::layer(tower_http_06::compression::CompressionLayer::new))
            .touches("response header vary"),
        coded(six(
            "CompressionLayer, gzip",
            "new(), accept-encoding: gzip",
            Subject::layer(tower_http_06::compression::CompressionLayer::new)
                .asking(sending("accept-encoding", "gzip")),
        )),
        six("DecompressionLayer", "new()", Subject::layer(tower_http_06::decompression::DecompressionLayer::new))
            .touches("request header accept-encoding"),
        five("TimeoutLayer", "new(1 h)", Subject::layer(|| tower_http_05::timeout::TimeoutLayer::new(AN_HOUR))),
        five(
            "ResponseBodyTimeoutLayer",
            "new(1 h)",
            Subject::layer(|| tower_http_05::timeout::ResponseBodyTimeoutLayer::new(AN_HOUR)),
        ),
        five(
            "AsyncRequireAuthorizationLayer",
            "new(|request| async { Ok(request) })",
            Subject::layer(|| tower_http_05::auth::AsyncRequireAuthorizationLayer::new(allowed)),
        ),
        five("CompressionLayer, not asked", "new()", Subject::layer(tower_http_05::compression::CompressionLayer::new))
            .touches("response header vary"),
        coded(five(
            "CompressionLayer, gzip",
            "new(), accept-encoding: gzip",
            Subject::layer(tower_http_05::compression::CompressionLayer::new)
                .asking(sending("accept-encoding", "gzip")),
        )),
        five("DecompressionLayer", "new()", Subject::layer(tower_http_05::decompression::DecompressionLayer::new))
            .touches("request header accept-encoding"),
    ]
}

fn of_axum() -> Vec<Row> {
    use axum_extra::middleware::option_layer;
    use tower_sessions::{MemoryStore, SessionManagerLayer};
    vec![
        Row::new(
            "axum-extra",
            "option_layer, none",
            "option_layer(None::<ConcurrencyLimitLayer>)",
            Subject::layer(|| option_layer(None::<tower::limit::ConcurrencyLimitLayer>)),
        ),
        Row::new(
            "axum-extra",
            "option_layer, some",
            "option_layer(Some(ConcurrencyLimitLayer::new(64)))",
            Subject::layer(|| option_layer(Some(tower::limit::ConcurrencyLimitLayer::new(64)))),
        ),
        Row::new("axum-htmx", "AutoVaryLayer", "AutoVaryLayer", Subject::infallible(|| axum_htmx::AutoVaryLayer)),
        Row::new(
            "axum-htmx",
            "HxRequestGuardLayer",
            "default(), hx-request: true",
            Subject::layer(axum_htmx::HxRequestGuardLayer::default).asking(sending("hx-request", "true")),
        ),
        Row::new(
            "axum-login",
            "AuthManagerLayer",
            "AuthManagerLayerBuilder::new(backend, sessions).build()",
            Subject::infallible(|| {
                let sessions = tower_sessions_014::SessionManagerLayer::new(tower_sessions_014::MemoryStore::default());
                axum_login::AuthManagerLayerBuilder::new(Backend, sessions).build()
            }),
        ),
        Row::new(
            "axum-messages",
            "MessagesManagerLayer",
            "in a SessionManagerLayer",
            Subject::infallible(|| {
                ServiceBuilder::new()
                    .layer(tower_sessions_014::SessionManagerLayer::new(tower_sessions_014::MemoryStore::default()))
                    .layer(axum_messages::MessagesManagerLayer)
            }),
        ),
        Row::new(
            "tower-cookies",
            "CookieManagerLayer",
            "new()",
            Subject::layer(tower_cookies::CookieManagerLayer::new),
        ),
        Row::new(
            "tower-sessions 0.15",
            "SessionManagerLayer",
            "new(MemoryStore::default())",
            Subject::layer(|| SessionManagerLayer::new(MemoryStore::default())),
        ),
        Row::new(
            "tower_governor",
            "GovernorLayer",
            "new(10,000 at once)",
            Subject::layer(|| {
                let mut config = tower_governor::governor::GovernorConfigBuilder::default();
                tower_governor::GovernorLayer::new(
                    config.per_second(1).burst_size(10_000).finish().expect("a configuration"),
                )
            })
            .asking(|request| {
                request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40001))));
            }),
        ),
        Row::new(
            "tower_allowed_hosts",
            "AllowedHostLayer",
            "new(\"ghost.test\")",
            Subject::layer(|| tower_allowed_hosts::AllowedHostLayer::new("ghost.test"))
                .asking(sending("host", "ghost.test")),
        ),
        Row::new(
            "tower-request-id",
            "RequestIdLayer",
            "RequestIdLayer",
            Subject::layer(|| tower_request_id::RequestIdLayer),
        ),
        helmet(),
        Row::new(
            "tonic",
            "InterceptorLayer",
            "InterceptorLayer::new(Ok)",
            Subject::layer(|| tonic::service::InterceptorLayer::new(Ok)),
        ),
        Row::new(
            "tower-livereload",
            "LiveReloadLayer",
            "new()",
            Subject::infallible(tower_livereload::LiveReloadLayer::new),
        ),
    ]
}

fn helmet() -> Row {
    let row = Row::new(
        "tower-helmet",
        "HelmetLayer",
        "with_defaults()",
        Subject::layer(tower_helmet::HelmetLayer::with_defaults),
    );
    let sets = [
        "content-security-policy",
        "cross-origin-embedder-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "expect-ct",
        "origin-agent-cluster",
        "referrer-policy",
        "strict-transport-security",
        "x-content-type-options",
        "x-dns-prefetch-control",
        "x-download-options",
        "x-frame-options",
        "x-permitted-cross-domain-policies",
        "x-xss-protection",
    ];
    sets.into_iter().fold(row, |row, name| row.touches(format!("response header {name}")))
}

fn observers() -> Vec<Row> {
    vec![
        Row::new(
            "axum-server-timing",
            "ServerTimingLayer",
            "new(\"probe\")",
            Subject::layer(|| axum_server_timing::ServerTimingLayer::new("probe")),
        )
        .touches("response header server-timing"),
        Row::new(
            "axum-prometheus",
            "PrometheusMetricLayer",
            "new()",
            Subject::infallible(axum_prometheus::PrometheusMetricLayer::new),
        ),
        Row::new(
            "axum-otel-metrics",
            "HttpMetricsLayer",
            "HttpMetricsLayerBuilder::new().build()",
            Subject::infallible(|| axum_otel_metrics::HttpMetricsLayerBuilder::new().build()),
        ),
        Row::new(
            "axum-tracing-opentelemetry",
            "OtelAxumLayer",
            "default()",
            Subject::infallible(axum_tracing_opentelemetry::middleware::OtelAxumLayer::default),
        ),
        Row::new(
            "axum-tracing-opentelemetry",
            "OtelInResponseLayer",
            "OtelInResponseLayer",
            Subject::layer(|| axum_tracing_opentelemetry::middleware::OtelInResponseLayer),
        ),
        Row::new(
            "opentelemetry-instrumentation-tower",
            "HTTPLayer",
            "http::server::Layer::new()",
            Subject::layer(opentelemetry_instrumentation_tower::http::server::Layer::new),
        ),
        Row::new(
            "sentry-tower",
            "NewSentryLayer",
            "new_from_top()",
            Subject::layer(sentry_tower::NewSentryLayer::<Request<Body>>::new_from_top),
        ),
        Row::new("sentry-tower", "SentryHttpLayer", "new()", Subject::layer(sentry_tower::SentryHttpLayer::new)),
    ]
}

/// Their errors tell what the inner error says and do not have it as their source.
const NO_SOURCE: &str =
    "documented: no source(), so that a BoxError can be wrapped (joshrotenberg/tower-resilience#443)";

fn resilience() -> Vec<Row> {
    use tower_resilience::{
        bulkhead::BulkheadLayer, circuitbreaker::CircuitBreakerLayer, ratelimiter::RateLimiterLayer,
        timelimiter::TimeLimiterLayer,
    };
    let of = |name, put, subject| {
        Row::new("tower-resilience", name, put, subject)
            .changes("readiness-error-passed", NO_SOURCE)
            .changes("late-readiness-error-told", NO_SOURCE)
            .changes("service-error-unchanged", NO_SOURCE)
    };
    vec![
        of(
            "BulkheadLayer, backpressure",
            "max_concurrent_calls(64).backpressure()",
            Subject::layer(|| {
                BulkheadLayer::builder().max_concurrent_calls(64).backpressure().build().expect("a configuration")
            }),
        ),
        of(
            "BulkheadLayer, reject",
            "max_concurrent_calls(64).reject_when_full()",
            Subject::layer(|| {
                BulkheadLayer::builder().max_concurrent_calls(64).reject_when_full().build().expect("a configuration")
            }),
        ),
        of(
            "TimeLimiterLayer",
            "timeout_duration(1 h)",
            Subject::layer(|| TimeLimiterLayer::builder().timeout_duration(AN_HOUR).build()),
        ),
        of(
            "RateLimiterLayer",
            "10,000 a second",
            Subject::layer(|| {
                let config =
                    RateLimiterLayer::builder().limit_for_period(10_000).refresh_period(Duration::from_secs(1));
                config.build().expect("a configuration")
            }),
        ),
        of(
            "CircuitBreakerLayer",
            "builder().build()",
            Subject::layer(|| CircuitBreakerLayer::builder().build().expect("a configuration")),
        ),
        Row::new(
            "tower-resilience-timelimiter 0.9",
            "TimeLimiterLayer",
            "timeout_duration(1 h)",
            Subject::layer(|| {
                tower_resilience_timelimiter_09::TimeLimiterLayer::builder().timeout_duration(AN_HOUR).build()
            }),
        ),
    ]
}

/// Both keep the whole body before they answer, which is how they have it for the next request.
fn collecting(row: Row) -> Row {
    let whole = "keeps the whole body before it answers";
    row.changes("response-streams", whole)
        .changes("head-before-body", whole)
        .changes("coded-bodies-stream", whole)
        .changes("nothing-left-running", whole)
        .changes("response-not-read-ahead", whole)
        .changes("body-drop-reaches-inner", whole)
        .changes("body-error-after-its-bytes", "a body that fails has no answer")
        .touches("response header content-length")
}

fn caches() -> Vec<Row> {
    use tower_http_cache::prelude::{CacheLayer, InMemoryBackend};
    vec![
        collecting(Row::new(
            "axum-response-cache",
            "CacheLayer",
            "with_lifespan(1 h)",
            Subject::infallible(|| axum_response_cache::CacheLayer::with_lifespan(AN_HOUR)),
        )),
        collecting(Row::new(
            "tower-http-cache",
            "CacheLayer",
            "builder(InMemoryBackend::new(100)).ttl(1 h), bodies made Sync",
            Subject::layer(|| {
                ServiceBuilder::new()
                    .layer(CacheLayer::builder(InMemoryBackend::new(100)).ttl(AN_HOUR).build())
                    .map_response(|answer: Response<Body>| answer.map(Synced::new))
            }),
        )),
    ]
}
