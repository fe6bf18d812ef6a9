//! A right gate, and the ways in which it is spoilt.

use std::{
    collections::HashSet,
    convert::Infallible,
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, Uri, header, request::Builder},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use unread_body_spec::{Dial, check};

/// What is wrong with the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    RefusesThePeerFromThenOn,
    ObeysWhatTheUploadSays,
    LooksIntoTheBodyFirst,
    EndsTheAnswerAfterTheBody,
    HoldsTheBodyForAWhile,
    DialsForEachQuestion,
    PassesErrorsOn,
    WatchesTheBodyInATask,
    TellsOfUploadsOnly,
}

#[test]
fn the_gate_is_right_until_it_is_spoilt() {
    let report = check(gate(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_gate_is_rejected_for_its_own_reason() {
    let mut rejections = String::new();
    for (fault, promise) in [
        (Fault::RefusesThePeerFromThenOn, "next-request-as-itself"),
        (Fault::ObeysWhatTheUploadSays, "next-request-as-itself"),
        (Fault::LooksIntoTheBodyFirst, "expect-gets-final-status"),
        (Fault::EndsTheAnswerAfterTheBody, "answer-before-body"),
        (Fault::HoldsTheBodyForAWhile, "used-or-closed"),
        (Fault::DialsForEachQuestion, "store-connection-reused"),
        (Fault::PassesErrorsOn, "store-connection-reused"),
        (Fault::WatchesTheBodyInATask, "nothing-left"),
        (Fault::TellsOfUploadsOnly, "incidents-are-told"),
    ] {
        let report = check(gate(fault));
        assert!(report.broken().contains(&promise), "{fault:?}\n{report}");
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

fn gate(fault: Fault) -> impl Fn(Dial) -> Router {
    move |dial| {
        let page = async |State(gate): State<Gate>| gate.told.lock().expect("no panic").concat();
        Router::new()
            .route("/upload", post(upload))
            .route("/fetch/{name}", get(fetch))
            .route("/incidents", get(page))
            .with_state(Gate { dial, idle: Arc::default(), told: Arc::default(), refused: Arc::default(), fault })
    }
}

#[derive(Clone)]
struct Gate {
    dial: Dial,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
    told: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<HashSet<SocketAddr>>>,
    fault: Fault,
}

async fn upload(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let status = if !headers.contains_key("x-user") {
        StatusCode::FORBIDDEN
    } else if length.is_some_and(|length| length > 512 * 1024) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        return gate.ask(Request::post("/upload"), request.into_body()).await;
    };
    gate.told.lock().expect("no panic").push(format!("{status} /upload\n"));
    let mut body = request.into_body();
    match gate.fault {
        Fault::RefusesThePeerFromThenOn => drop(gate.refused.lock().expect("no panic").insert(peer)),
        Fault::ObeysWhatTheUploadSays => {
            let said = to_bytes(body, 1024).now_or_never().and_then(Result::ok).unwrap_or_default();
            if let Some(path) = String::from_utf8_lossy(&said).split(' ').nth(1)
                && path.starts_with("/fetch/")
            {
                drop(gate.ask(Request::get(path.trim_start_matches("/fetch")), Body::empty()).await);
            }
        }
        Fault::LooksIntoTheBodyFirst => drop(timeout(Duration::from_millis(10), body.frame()).await),
        Fault::EndsTheAnswerAfterTheBody => {
            let rest = body.into_data_stream().filter_map(async |_| None::<Result<Bytes, Infallible>>);
            let answer = stream::once(async { Ok(Bytes::from("refused\n")) }).chain(rest);
            return (status, Body::from_stream(answer)).into_response();
        }
        Fault::HoldsTheBodyForAWhile => {
            tokio::spawn(async move {
                sleep(Duration::from_secs(9)).await;
                drop(body);
            });
        }
        Fault::WatchesTheBodyInATask => {
            // It has had enough as soon as it looks, and stays to see what comes.
            tokio::spawn(async move {
                drop(body);
                sleep(Duration::from_secs(9)).await;
            });
        }
        _ => {}
    }
    status.into_response()
}

async fn fetch(State(gate): State<Gate>, ConnectInfo(peer): ConnectInfo<SocketAddr>, uri: Uri) -> Response {
    if gate.refused.lock().expect("no panic").contains(&peer) {
        return StatusCode::FORBIDDEN.into_response();
    }
    gate.ask(Request::get(uri.path().strip_prefix("/fetch").unwrap_or_default()), Body::empty()).await
}

impl Gate {
    async fn ask(&self, question: Builder, body: Body) -> Response {
        let question = question.header(header::HOST, "store").body(body).expect("a path that was parsed before");
        let asked = question.uri().path().to_owned();
        let Ok(answer) = self.send(question).await else { return StatusCode::BAD_GATEWAY.into_response() };
        if answer.status().is_success() || self.fault == Fault::PassesErrorsOn {
            return answer;
        }
        drop(timeout(Duration::from_secs(1), to_bytes(answer.into_body(), 16 * 1024)).await);
        if self.fault != Fault::TellsOfUploadsOnly {
            self.told.lock().expect("no panic").push(format!("502 {asked}\n"));
        }
        StatusCode::BAD_GATEWAY.into_response()
    }

    async fn send(&self, question: Request) -> io::Result<Response> {
        let ready = self.idle.lock().expect("no panic").extract_if(.., |idle| idle.is_ready()).next();
        let mut connection = match ready {
            Some(connection) => connection,
            None => {
                let stream = self.dial.clone().oneshot(()).await?;
                let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                tokio::spawn(driver);
                connection
            }
        };
        let answer = connection.send_request(question).await.map_err(io::Error::other)?;
        if self.fault != Fault::DialsForEachQuestion {
            self.idle.lock().expect("no panic").push(connection);
        }
        Ok(answer.map(Body::new))
    }
}
