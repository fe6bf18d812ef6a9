//! The heads of requests and answers.

use axum::body::Body;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, request, response,
};
use hyper::ext::Protocol;

use super::{Clause, Level};
use crate::stand::{PLENTY, Proof, Slot, Stand, at_once, require};

pub(super) const ALL: &[Clause] =
    &[REQUEST_HEAD_KEPT, RESPONSE_HEAD_KEPT, HEADER_ORDER_KEPT, EXTENSIONS_KEPT, HEAD_MARKS_KEPT];

/// Something that only this suite puts into extensions.
#[derive(Clone, Debug, PartialEq)]
struct Marker(&'static str);

/// Headers of the kinds that get lost: repeated, empty, no text, sensitive.
pub(super) fn odd_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        ("x-twice", "first"),
        ("x-twice", "second"),
        ("x-twice", "also third"),
        ("x-empty", ""),
        ("link", "</a>; rel=next, </b>; rel=prev"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers.append("x-bytes", HeaderValue::from_bytes(b"caf\xe9").expect("obs-text"));
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    headers.append("x-sensitive", secret);
}

/// What differs between two heads: the part, in the words of a contract, and a sentence. What a layer sets is not told, as it
/// may be different on each run.
pub(super) fn differences(direction: &str, before: &HeaderMap, after: &HeaderMap) -> Vec<(String, String)> {
    let mut names: Vec<&HeaderName> = before.keys().chain(after.keys()).collect();
    names.sort_by_key(|name| name.as_str());
    names.dedup();
    let values = |headers: &HeaderMap, name| {
        let mut values: Vec<Vec<u8>> = headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
        values.sort();
        values
    };
    let differ = names.into_iter().filter_map(|name| {
        let (before, after) = (values(before, name), values(after, name));
        let part = format!("{direction} header {name}");
        let told = match (before.len(), after.len()) {
            (0, _) => format!("{part} was added"),
            (_, 0) => format!("{part} is lost"),
            (before, after) if before != after => format!("{part} had {before} values and has {after}"),
            _ => format!("{part} has another value"),
        };
        (before != after).then_some((part, told))
    });
    differ.collect()
}

/// No difference but in what the contract touches.
pub(super) fn undeclared(stand: &Stand, differ: Vec<(String, String)>) -> Proof {
    let told: Vec<String> =
        differ.into_iter().filter(|(part, _)| !stand.may_touch(part)).map(|(_, told)| told).collect();
    require(told.is_empty(), told.join("; "))
}

fn part(direction: &str, what: &str, before: &str, after: &str) -> Option<(String, String)> {
    let part = format!("{direction} {what}");
    let told = format!("{part} was {before} and is {after}");
    (before != after).then_some((part, told))
}

/// Sends this request, and gets what came of its head.
async fn passed(
    stand: &Stand,
    title: &str,
    request: Request<()>,
) -> Result<(Request<()>, request::Parts), crate::stand::Fall> {
    let inner = Slot::new();
    let seen = inner.clone();
    let handler = at_once(move |request: Request<Body>| {
        seen.put(request.into_parts().0);
        Response::default()
    });
    let mut bench = stand.open(title, PLENTY, handler);
    let mut request = request.map(|()| Body::empty());
    stand.subject.ask(&mut request);
    let (parts, body) = request.into_parts();
    let sent = Request::from_parts(parts.clone(), ());
    let answer = bench.send(Request::from_parts(parts, body)).await?;
    let told = format!("it was answered {} and did not reach the inner service", answer.status());
    let inner = inner.take().ok_or_else(|| crate::stand::Fall::follows(told, "methods-pass"))?;
    Ok((sent, inner))
}

/// Answers with this head, and gets what came of it.
async fn answered(
    stand: &Stand,
    title: &str,
    head: Response<()>,
) -> Result<(Response<Body>, response::Parts), crate::stand::Fall> {
    let body = || Body::from("letters");
    let (parts, ()) = head.into_parts();
    let given = parts.clone();
    let handler = at_once(move |_| Response::from_parts(given.clone(), body()));
    let mut bench = stand.open(title, PLENTY, handler);
    let answer = bench.send(bench.get("/probe/1")).await?;
    let mut before = Response::from_parts(parts, body());
    (stand.subject.answers)(&mut before);
    Ok((before, answer.into_parts().0))
}

fn request(method: &str, uri: &str) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri).body(()).expect("known parts");
    odd_headers(request.headers_mut());
    request
}

fn response(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    odd_headers(response.headers_mut());
    for (name, value) in [
        ("content-type", "text/plain"),
        ("etag", "\"v1\""),
        ("vary", "cookie"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2; Path=/"),
    ] {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    response
}

const FORWARD: &str = "RFC 9110 section 5.1: header fields that are not recognised are forwarded";

const REQUEST_HEAD_KEPT: Clause = Clause {
    key: "request-head-kept",
    sentence: "Method, URI and headers, including repeated ones and those that aren't text, reach the inner service as \
               they were sent.",
    level: Level::Must,
    source: FORWARD,
    ghost: None,
    prove: |stand| Box::pin(request_head_kept(stand)),
};

async fn request_head_kept(stand: Stand) -> Proof {
    for (method, uri) in [("GET", "/probe/a%2Fb/?x=1&x=2&y"), ("PURGE", "http://ghost.test/probe//c/"), ("PUT", "/*")] {
        let (sent, inner) = passed(&stand, &format!("{method} {uri}"), request(method, uri)).await?;
        let mut differ = differences("request", sent.headers(), &inner.headers);
        differ.extend(part("request", "method", sent.method().as_str(), inner.method.as_str()));
        differ.extend(part("request", "uri", &sent.uri().to_string(), &inner.uri.to_string()));
        undeclared(&stand, differ)?;
    }
    Ok(())
}

const RESPONSE_HEAD_KEPT: Clause = Clause {
    key: "response-head-kept",
    sentence: "Status and headers, including repeated ones and those that aren't text, reach the client as the inner \
               service gave them.",
    level: Level::Must,
    source: FORWARD,
    ghost: None,
    prove: |stand| Box::pin(response_head_kept(stand)),
};

async fn response_head_kept(stand: Stand) -> Proof {
    for status in [200, 201, 302, 404, 418, 503] {
        let status = StatusCode::from_u16(status).expect("a status");
        let (before, after) = answered(&stand, &format!("an answer {}", status.as_u16()), response(status)).await?;
        let mut differ = differences("response", before.headers(), &after.headers);
        differ.extend(part("response", "status", before.status().as_str(), after.status.as_str()));
        undeclared(&stand, differ)?;
    }
    Ok(())
}

const HEADER_ORDER_KEPT: Clause = Clause {
    key: "header-order-kept",
    sentence: "Several values of one header name stay in their order, in both directions.",
    level: Level::Must,
    source: "RFC 9110 section 5.3: the order of field lines of one name is not changed",
    ghost: None,
    prove: |stand| Box::pin(header_order_kept(stand)),
};

async fn header_order_kept(stand: Stand) -> Proof {
    let (sent, inner) = passed(&stand, "a request with repeated headers", request("GET", "/probe/1")).await?;
    in_order(&stand, "request", sent.headers(), &inner.headers)?;
    let (before, after) = answered(&stand, "an answer with repeated headers", response(StatusCode::OK)).await?;
    in_order(&stand, "response", before.headers(), &after.headers)
}

/// The same values are in the same order. Other values are another clause's.
fn in_order(stand: &Stand, direction: &str, before: &HeaderMap, after: &HeaderMap) -> Proof {
    for name in ["x-twice", "set-cookie"] {
        let values = |headers: &HeaderMap| -> Vec<String> {
            headers.get_all(name).iter().map(|value| value.as_bytes().escape_ascii().to_string()).collect()
        };
        let (before, after) = (values(before), values(after));
        let (mut sorted, mut sorted_after) = (before.clone(), after.clone());
        sorted.sort();
        sorted_after.sort();
        let kept = before == after || sorted != sorted_after || stand.may_touch(&format!("{direction} header {name}"));
        require(kept, format!("{direction} header {name} was {before:?} and is {after:?}"))?;
    }
    Ok(())
}

const EXTENSIONS_KEPT: Clause = Clause {
    key: "extensions-kept",
    sentence: "Extensions of a request reach the inner service, and those of a response come back.",
    level: Level::Should,
    source: "http 1, Extensions: what layers and servers tell one another; hyper's upgrade is one",
    ghost: None,
    prove: |stand| Box::pin(extensions_kept(stand)),
};

async fn extensions_kept(stand: Stand) -> Proof {
    let told = |extensions: &Extensions| {
        let marker = extensions.get::<Marker>().map_or("none", |marker| marker.0);
        format!("{marker} and {}", extensions.get::<Protocol>().map_or("none", Protocol::as_str))
    };
    let mut request = request("GET", "/probe/1");
    request.extensions_mut().insert(Marker("a marker"));
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let (sent, inner) = passed(&stand, "a request with two extensions", request).await?;
    undeclared(
        &stand,
        Vec::from_iter(part("request", "extensions", &told(sent.extensions()), &told(&inner.extensions))),
    )?;

    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        let mut response = response(status);
        response.extensions_mut().insert(Marker("a marker"));
        let title = format!("an answer {} with an extension", status.as_u16());
        let (before, after) = answered(&stand, &title, response).await?;
        let differ = part("response", "extensions", &told(before.extensions()), &told(&after.extensions));
        undeclared(&stand, Vec::from_iter(differ))?;
    }
    Ok(())
}

const HEAD_MARKS_KEPT: Clause = Clause {
    key: "head-marks-kept",
    sentence: "The version of a message stays as it was, and a header that is marked as sensitive stays marked.",
    level: Level::Info,
    source: "http 1, HeaderValue::set_sensitive: such a value is not to be printed or indexed",
    ghost: None,
    prove: |stand| Box::pin(head_marks_kept(stand)),
};

async fn head_marks_kept(stand: Stand) -> Proof {
    let marks = |direction: &str, version: (Version, Version), headers: &HeaderMap| {
        let lost = headers.get("x-sensitive").is_some_and(|secret| !secret.is_sensitive());
        let name = format!("{direction} header x-sensitive");
        let told = format!("{name} is no longer marked as sensitive");
        let (before, after) = (format!("{:?}", version.0), format!("{:?}", version.1));
        let version = part(direction, "version", &before, &after);
        version.into_iter().chain(lost.then_some((name, told))).collect::<Vec<_>>()
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut request = request(Method::GET.as_str(), "http://ghost.test/probe/1");
        *request.version_mut() = version;
        let (_, inner) = passed(&stand, &format!("a request of {version:?}"), request).await?;
        undeclared(&stand, marks("request", (version, inner.version), &inner.headers))?;
        let mut response = response(StatusCode::OK);
        *response.version_mut() = version;
        let (_, after) = answered(&stand, &format!("an answer of {version:?}"), response).await?;
        undeclared(&stand, marks("response", (version, after.version), &after.headers))?;
    }
    Ok(())
}
