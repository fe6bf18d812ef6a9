//! Heads that are rebuilt, cleaned, or taken for something else.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    Bad,
    support::{app, on_request, on_response},
};

pub(crate) fn all() -> Vec<Bad> {
    vec![
        on_request("last-header-wins", "request-head-kept", |mut request| {
            let headers = std::mem::take(request.headers_mut());
            request.headers_mut().extend(last_of_each(headers));
            request
        }),
        on_response("text-headers-only", "response-head-kept", |mut answer| {
            let headers = std::mem::take(answer.headers_mut());
            for (name, value) in &headers {
                if value.to_str().is_ok() {
                    answer.headers_mut().append(name, value.clone());
                }
            }
            answer
        }),
        on_response("turns-headers-round", "header-order-kept", |mut answer| {
            let headers = std::mem::take(answer.headers_mut());
            let mut lines: Vec<_> = headers.iter().collect();
            lines.reverse();
            for (name, value) in lines {
                answer.headers_mut().append(name, value.clone());
            }
            answer
        }),
        on_request("new-request", "extensions-kept", |request| {
            let (parts, body) = request.into_parts();
            let mut anew = Request::new(Body::empty());
            *anew.method_mut() = parts.method;
            *anew.uri_mut() = parts.uri;
            *anew.version_mut() = parts.version;
            *anew.headers_mut() = parts.headers;
            *anew.body_mut() = body;
            anew
        }),
        on_response("copies-values", "head-marks-kept", |mut answer| {
            for value in answer.headers_mut().values_mut() {
                *value = HeaderValue::from_bytes(value.as_bytes()).expect("it was one before");
            }
            answer
        }),
        app("echoes-the-host", "same-over-http1", async |request: Request, next: Next| {
            let host = request.headers().get("host").cloned();
            let mut answer = next.run(request).await;
            answer.headers_mut().extend(host.map(|host| (HeaderName::from_static("x-served-for"), host)));
            answer
        }),
        app("http2-without-trailer", "same-over-http2", async |request: Request, next: Next| {
            let version = request.version();
            let mut answer = next.run(request).await;
            if version == Version::HTTP_2 {
                answer.headers_mut().remove("trailer");
            }
            answer
        }),
        app("refuses-expectations", "continue-when-read", async |request: Request, next: Next| {
            if request.headers().contains_key("expect") {
                return StatusCode::EXPECTATION_FAILED.into_response();
            }
            next.run(request).await
        }),
        app("never-switches", "upgrade-passes", async |request: Request, next: Next| {
            let answer = next.run(request).await;
            match answer.status() {
                StatusCode::SWITCHING_PROTOCOLS => StatusCode::NOT_IMPLEMENTED.into_response(),
                _ => answer,
            }
        }),
        app("no-websockets-over-http2", "extended-connect-passes", async |request: Request, next: Next| {
            let asked = request.version() == Version::HTTP_2 && request.uri().path() == "/chat";
            if asked { Response::default() } else { next.run(request).await }
        }),
    ]
}

fn last_of_each(headers: HeaderMap) -> HeaderMap {
    let mut last = HeaderMap::new();
    let mut current = None;
    for (name, value) in headers {
        current = name.or(current);
        last.extend(current.clone().map(|name| (name, value)));
    }
    let names: Vec<HeaderName> = last.keys().cloned().collect();
    names
        .into_iter()
        .filter_map(|name| last.get_all(&name).iter().next_back().cloned().map(|value| (name, value)))
        .collect()
}
