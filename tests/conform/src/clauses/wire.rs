//! The layer behind hyper's own server, with hyper's own client before it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use lab::{Connection, End, Protocol, Scene, SourceError, locked};
use tokio::time::sleep;
use tower::{Service, ServiceExt};

use super::{
    Clause, Level,
    head::{differences, odd_headers},
};
use crate::{
    body::{Script, chain, noise, read},
    probe::{Answering, Handler},
    stand::{Fall, PLENTY, Proof, Stand, at_once, needs, require},
    subject::Subject,
};

pub(super) const ALL: &[Clause] = &[SAME_OVER_HTTP1, SAME_OVER_HTTP2, EMPTY_STAYS_EMPTY, CONTINUE_WHEN_READ];

pub(super) const NO_CLONE: &str = "the service cannot be cloned, and a server makes a clone for each request";

/// The subject as an app for a server.
pub(super) fn app(stand: &Stand, subject: &Subject, scene: &Scene, handler: Handler) -> Router {
    let outer = Arc::new(Mutex::new(subject.make(stand.back(scene, PLENTY, handler))));
    let (subject, scene) = (subject.clone(), scene.clone());
    let service = tower::service_fn(move |mut request: Request<Body>| {
        subject.ask(&mut request);
        let twin = locked(&outer).twin();
        let scene = scene.clone();
        async move {
            let mut twin = twin.expect("a clause about the wire needs a service that can be cloned");
            let answer = match twin.ready().await {
                Ok(ready) => ready.call(request).await,
                Err(error) => Err(error),
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                scene.note("server", format!("gets an error of the layer: {}", chain(&*error)));
                let mut answer = Response::default();
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                answer
            }))
        }
    });
    Router::new().fallback_service(service)
}

/// Plays the same twice, without the layer and with it.
async fn both<T>(
    stand: &Stand,
    protocol: Protocol,
    handler: &Handler,
    play: impl AsyncFn(&Scene, Connection) -> Result<T, Fall>,
) -> Result<(T, T), Fall> {
    let without = stand.subject.without();
    let mut played = Vec::new();
    for (who, subject) in [("without the layer", &without), ("with it", &stand.subject)] {
        let scene = stand.lab.scene(format!("{protocol}, {who}"));
        let client = scene.serve(app(stand, subject, &scene, handler.clone())).connect("client", protocol).await;
        played.push(play(&scene, client).await?);
    }
    let with = played.pop().expect("two were played");
    Ok((played.pop().expect("two were played"), with))
}

fn asking(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).expect("known parts")
}

const SAME_OVER_HTTP1: Clause = Clause {
    key: "same-over-http1",
    sentence: "Over HTTP/1.1, head, bytes, trailers and end come as they would without the layer.",
    level: Level::Must,
    source: "RFC 9112",
    ghost: None,
    prove: |stand| Box::pin(same_over(stand, Protocol::Http1)),
};

const SAME_OVER_HTTP2: Clause = Clause {
    key: "same-over-http2",
    sentence: "Over HTTP/2, head, bytes, trailers and end come as they would without the layer.",
    level: Level::Must,
    source: "RFC 9113",
    ghost: None,
    prove: |stand| Box::pin(same_over(stand, Protocol::Http2)),
};

/// What a client got of one answer.
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    raw: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
}

async fn same_over(stand: Stand, protocol: Protocol) -> Proof {
    needs(stand.subject.clonable, NO_CLONE)?;
    let handler: Handler = Arc::new(|scene, request| -> Answering {
        Box::pin(async move {
            let known = request.uri().path() == "/known";
            let seen = read(&scene, request.into_body()).await;
            if let Some((error, _)) = seen.error {
                return Err(SourceError(error));
            }
            let sent = Frame::data(Bytes::from(seen.bytes()));
            let mut answer = if known {
                Response::new(Body::from(noise()))
            } else {
                let count = HeaderValue::from(seen.trailers.iter().map(HeaderMap::len).sum::<usize>());
                let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-trailers"), count)]);
                Response::new(Script::new([sent, Frame::data(noise()), Frame::trailers(trailers)]).body())
            };
            odd_headers(answer.headers_mut());
            answer.headers_mut().insert("trailer", HeaderValue::from_static("x-trailers"));
            Ok(answer)
        })
    });
    let play = async |scene: &Scene, client: Connection| {
        let mut rows = Vec::new();
        for path in ["/streamed/1", "/streamed/2", "/known"] {
            let mut request = asking(Method::POST, path);
            let (mut source, body) = scene.feed("request body");
            *request.body_mut() = body;
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            request.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
            source.data("letters ");
            source.data("and more");
            source.trailers(HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from(7))]));
            source.end();
            let answer = client.send(request).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let received = answer.read().await;
            let end = received.end.map(|(_, end)| end);
            rows.push(Got { status, headers, raw: received.raw, trailers: received.trailers, end });
        }
        Ok(rows)
    };
    let (without, with) = both(&stand, protocol, &handler, play).await?;
    without.iter().zip(&with).try_for_each(|(before, after)| same_answer(&stand, before, after))
}

/// The same answer, but for what the contract touches, or changes by a clause that shows the same without a wire.
fn same_answer(stand: &Stand, before: &Got, after: &Got) -> Proof {
    let differs = |holds: bool, told: String, cause: &'static str| match holds || stand.changes(cause) {
        true => Ok(()),
        false => Err(Fall::follows(told, cause)),
    };
    let same = before.status == after.status || stand.may_touch("response status");
    differs(same, format!("the status was {} and is {}", before.status, after.status), "response-head-kept")?;
    for (part, told) in differences("response", &before.headers, &after.headers) {
        let cause = match part.as_str() {
            // It is hyper's, and follows from the length.
            "response header transfer-encoding" => continue,
            "response header content-length" => "lengths-are-kept",
            _ => "response-head-kept",
        };
        let framed = cause == "lengths-are-kept" && stand.may_touch("response body");
        differs(framed || stand.may_touch(&part), told, cause)?;
    }
    let coded = after.headers.contains_key("content-encoding");
    if !stand.changes("bytes-once-in-order") {
        let proof = stand.same_response(coded, after.raw.clone(), &before.raw);
        proof.map_err(|fall| fall.or_follows("bytes-once-in-order"))?;
    }
    let counted = after.trailers.as_ref().is_some_and(|trailers| trailers.contains_key("x-trailers"));
    let cause = if counted { "request-trailers-kept" } else { "trailers-kept" };
    let same = before.trailers == after.trailers || stand.may_touch("response trailers");
    differs(same, format!("without the layer {}, with it {}", trailers(before), trailers(after)), cause)?;
    let told = format!("without the layer the body ended {}, with it {}", ended(before), ended(after));
    require(before.end == after.end, told)
}

fn trailers(got: &Got) -> String {
    got.trailers.as_ref().map_or("there are no trailers".to_owned(), |trailers| {
        let counts = trailers.iter().map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()));
        format!("there are the trailers {}", counts.collect::<Vec<_>>().join(", "))
    })
}

fn ended(got: &Got) -> &'static str {
    match got.end {
        Some(End::Clean) => "as it should",
        Some(End::Error) => "with an error",
        None => "not at all",
    }
}

const EMPTY_STAYS_EMPTY: Clause = Clause {
    key: "empty-stays-empty",
    sentence: "On the wire an answer to HEAD, a 204 and a 304 have no body, and state no length that the same answer would \
               not have.",
    level: Level::Must,
    source: "RFC 9110 sections 8.6, 9.3.2, 15.3.5 and 15.4.5",
    ghost: Some("hidden-flush"),
    prove: |stand| Box::pin(empty_stays_empty(stand)),
};

fn sometimes_empty(request: &Request<Body>) -> Response<Body> {
    let mut answer = Response::new(Body::from(Bytes::from(noise().repeat(4))));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    match request.uri().path() {
        "/204" => {
            answer = Response::default();
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        "/304" => {
            answer = Response::default();
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer.headers_mut().insert("etag", HeaderValue::from_static("\"v1\""));
        }
        "/stated" => {
            *answer.body_mut() = Body::empty();
            answer.headers_mut().insert("content-length", HeaderValue::from_static("4096"));
        }
        _ => {}
    }
    answer
}

struct Empty {
    what: String,
    status: StatusCode,
    length: Option<String>,
    coded: bool,
    bytes: usize,
    clean: bool,
}

async fn empty_stays_empty(stand: Stand) -> Proof {
    needs(stand.subject.clonable, NO_CLONE)?;
    let handler: Handler = Arc::new(at_once(|request: Request<Body>| sometimes_empty(&request)));
    for protocol in Protocol::BOTH {
        let play = async |_: &Scene, client: Connection| {
            let got = client.send(asking(Method::GET, "/get")).await?.read().await.raw.len();
            let mut rows = Vec::new();
            for (method, path) in
                [(Method::HEAD, "/get"), (Method::HEAD, "/stated"), (Method::GET, "/204"), (Method::GET, "/304")]
            {
                let what = format!("{protocol}, {method} {path}");
                let answer = client.send(asking(method, path)).await?;
                let (status, length) = (answer.status(), answer.header("content-length").map(str::to_owned));
                let coded = answer.header("content-encoding").is_some();
                let received = answer.read().await;
                let clean = received.end.is_some_and(|(_, end)| end == End::Clean);
                rows.push(Empty { what, status, length, coded, bytes: received.raw.len(), clean });
            }
            Ok((got, rows))
        };
        let ((_, without), (got, with)) = both(&stand, protocol, &handler, play).await?;
        for (before, after) in without.iter().zip(&with) {
            is_empty(&stand, before, after, got)?;
        }
    }
    Ok(())
}

fn is_empty(stand: &Stand, before: &Empty, after: &Empty, got: usize) -> Proof {
    let what = &after.what;
    if after.status != before.status {
        let told = format!("{what}: the status was {} and is {}", before.status, after.status);
        // Another status may have a body, and a length.
        return if stand.may_touch("response status") {
            Ok(())
        } else {
            Err(Fall::follows(told, "response-head-kept"))
        };
    }
    require(after.bytes == 0, format!("{what}: a body of {} bytes came", after.bytes))?;
    // hyper resets an HTTP/2 stream whose answer to HEAD has a body.
    require(after.clean || !before.clean, format!("{what}: the answer did not end as it should"))?;
    let fits = match &after.length {
        None => true,
        // What a GET would state, by the layer or by the inner service.
        Some(stated) if what.contains("HEAD") => {
            *stated == got.to_string() || !after.coded && after.length == before.length
        }
        Some(_) => after.length == before.length,
    };
    let told =
        |length: &Option<String>| length.clone().map_or("no length".to_owned(), |length| format!("length {length}"));
    let observed = format!("{what}: it states {}, without the layer {}", told(&after.length), told(&before.length));
    require(fits, format!("{observed}; a GET has {got} bytes"))
}

const CONTINUE_WHEN_READ: Clause = Clause {
    key: "continue-when-read",
    sentence: "A client that expects 100 Continue gets it when the inner service first reads the body, and not if the \
               service refuses without reading it.",
    level: Level::Should,
    source: "RFC 9110 section 10.1.1; hyper 1 sends it when the body is first polled",
    ghost: Some("unread-body"),
    prove: |stand| Box::pin(continue_when_read(stand)),
};

async fn continue_when_read(stand: Stand) -> Proof {
    needs(stand.subject.clonable, NO_CLONE)?;
    let handler: Handler = Arc::new(|scene, request| -> Answering {
        Box::pin(async move {
            sleep(Duration::from_millis(50)).await;
            let mut answer = Response::default();
            if request.uri().path() == "/refused" {
                *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            } else {
                scene.note("service", "reads the body");
                read(&scene, request.into_body()).await;
            }
            Ok(answer)
        })
    });
    for (path, welcome) in [("/read", true), ("/refused", false)] {
        let scene = stand.lab.scene(format!("POST {path} with expect: 100-continue"));
        let server = scene.serve(app(&stand, &stand.subject, &scene, handler.clone()));
        let mut client = server.connect_raw("client", Protocol::Http1);
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: ghost.test\r\nexpect: 100-continue\r\ncontent-length: 7\r\n\r\n");
        client.write(head.as_bytes()).await;
        sleep(Duration::from_millis(40)).await;
        let early = client.text();
        let first = early.lines().next().unwrap_or_default();
        let told = format!("before the inner service had read, the client got {first:?}");
        let proof = require(early.is_empty(), told);
        proof.map_err(|fall| fall.or_follows_if(first.contains(" 100"), "request-body-untouched"))?;
        sleep(Duration::from_millis(20)).await;
        let continued = client.text().starts_with("HTTP/1.1 100");
        let told = if welcome { "read, and no 100 came" } else { "refused unread, and a 100 came" };
        require(continued == welcome, format!("the inner service {told}"))?;
        if welcome {
            client.write(b"letters").await;
            sleep(Duration::from_millis(20)).await;
        }
        let text = client.text();
        let finals = text.split("\r\n").find(|line| line.starts_with("HTTP/1.1") && !line.contains(" 100 "));
        require(finals.is_some(), "no answer came")?;
    }
    Ok(())
}
