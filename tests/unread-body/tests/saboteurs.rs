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
use futures_util::{FutureExt, StreamExt, future, stream};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lab::{Limits, abreast};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{self, UnboundedSender},
    },
    task::AbortHandle,
    time::{sleep, timeout},
};
use tower::ServiceExt;
use unread_body_spec::{Dial, check, judge};

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
    TellsTheLatestLast,
    TellsOfAllThatEverWas,
    RelaysWhatWasRefused,
    DropsErrors,
    ReadsErrorsInATask,
    ReadsRefusedUploadsInTurn,
    ReadsEightRefusedUploadsAtOnce,
    GivesTheStoreASecond,
    CutsSlowAnswers,
    CutsLargeAnswers,
    CollectsAnswers,
    ReadsAheadWithoutBound,
    LosesHeaders,
    EndsTheUploadWithItsAnswer,
    CollectsUploads,
    DialsForGoodQuestions,
    AsksTwice,
    AsksAgainOnAnotherConnection,
    TakesATornAnswerForWhole,
    PassesWhatIsMissingOn,
}

#[test]
fn the_gate_is_right_until_it_is_spoilt() {
    let report = check(gate(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn a_gate_may_say_413_first_and_may_read_a_megabyte() {
    for liberty in [Liberty::SaysTooLargeFirst, Liberty::ReadsAMegabyte] {
        let report = check(gate_with(Fault::None, Some(liberty)));
        assert!(report.all_kept(), "{liberty:?}\n{report}");
    }
}

#[test]
fn each_spoilt_gate_is_rejected_for_its_own_reason() {
    let spoilt = [
        (Fault::RefusesThePeerFromThenOn, "next-request-as-itself"),
        (Fault::ObeysWhatTheUploadSays, "next-request-as-itself"),
        (Fault::LooksIntoTheBodyFirst, "expect-gets-final-status"),
        (Fault::EndsTheAnswerAfterTheBody, "answer-before-body"),
        (Fault::HoldsTheBodyForAWhile, "used-or-closed"),
        (Fault::DialsForEachQuestion, "store-connection-reused"),
        (Fault::PassesErrorsOn, "store-connection-reused"),
        (Fault::WatchesTheBodyInATask, "nothing-left"),
        (Fault::TellsOfUploadsOnly, "incidents-are-told"),
        (Fault::TellsTheLatestLast, "incidents-are-told"),
        (Fault::TellsOfAllThatEverWas, "incidents-are-told"),
        (Fault::RelaysWhatWasRefused, "refused-relay-lets-go"),
        (Fault::DropsErrors, "store-connection-reused"),
        (Fault::ReadsErrorsInATask, "store-connection-reused"),
        (Fault::ReadsRefusedUploadsInTurn, "large-rest-closes-connection"),
        (Fault::ReadsEightRefusedUploadsAtOnce, "large-rest-closes-connection"),
        (Fault::GivesTheStoreASecond, "good-answers-whole"),
        (Fault::CutsSlowAnswers, "good-answers-whole"),
        (Fault::CutsLargeAnswers, "good-answers-whole"),
        (Fault::CollectsAnswers, "good-answers-whole"),
        (Fault::ReadsAheadWithoutBound, "good-answers-whole"),
        (Fault::LosesHeaders, "good-answers-whole"),
        (Fault::EndsTheUploadWithItsAnswer, "uploads-whole"),
        (Fault::CollectsUploads, "uploads-whole"),
        (Fault::DialsForGoodQuestions, "good-answers-share-a-connection"),
        (Fault::AsksTwice, "good-answers-share-a-connection"),
        (Fault::AsksAgainOnAnotherConnection, "failures-are-told"),
        (Fault::TakesATornAnswerForWhole, "failures-are-told"),
        (Fault::PassesWhatIsMissingOn, "failures-are-told"),
    ];
    let reports = abreast(spoilt, |(fault, promise)| {
        let limits = Limits { only: Some(promise), ..Limits::default() };
        judge(Arc::new(gate(fault)), limits)
    });
    let mut rejections = String::new();
    for ((fault, promise), report) in spoilt.into_iter().zip(reports) {
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

/// What a right gate may do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Liberty {
    SaysTooLargeFirst,
    ReadsAMegabyte,
}

fn gate(fault: Fault) -> impl Fn(Dial) -> Router {
    gate_with(fault, None)
}

fn gate_with(fault: Fault, liberty: Option<Liberty>) -> impl Fn(Dial) -> Router {
    move |dial| {
        let page = async |State(gate): State<Gate>| gate.told.lock().expect("no panic").concat();
        let (drain, mut unread) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(body) = unread.recv().await {
                let _ = timeout(Duration::from_secs(1), to_bytes(body, 16 * 1024)).await;
            }
        });
        Router::new()
            .route("/upload", post(upload))
            .route("/fetch/{name}", get(fetch))
            .route("/incidents", get(page))
            .with_state(Gate {
                dial,
                idle: Arc::default(),
                told: Arc::default(),
                refused: Arc::default(),
                drain,
                fault,
                liberty,
            })
    }
}

#[derive(Clone)]
struct Gate {
    dial: Dial,
    idle: Arc<Mutex<Vec<Connection>>>,
    told: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<HashSet<SocketAddr>>>,
    drain: UnboundedSender<Body>,
    fault: Fault,
    liberty: Option<Liberty>,
}

/// A connection to the store, and what ends it.
type Connection = (SendRequest<Body>, AbortHandle);

async fn upload(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let large = length.is_some_and(|length| length >= 256 * 1024);
    let status = match headers.contains_key("x-user") {
        false if large && gate.liberty == Some(Liberty::SaysTooLargeFirst) => StatusCode::PAYLOAD_TOO_LARGE,
        false => StatusCode::FORBIDDEN,
        true if large => StatusCode::PAYLOAD_TOO_LARGE,
        true => return gate.ask(Request::post("/upload"), request.into_body()).await,
    };
    gate.tell(format!("{status} /upload\n"));
    let mut body = request.into_body();
    if gate.liberty == Some(Liberty::ReadsAMegabyte) {
        tokio::spawn(timeout(Duration::from_secs(1), to_bytes(body, 1024 * 1024)));
        return status.into_response();
    }
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
        Fault::ReadsRefusedUploadsInTurn => drop(gate.drain.send(body)),
        Fault::ReadsEightRefusedUploadsAtOnce => {
            static TURNS: Semaphore = Semaphore::const_new(8);
            tokio::spawn(async move {
                let _turn = TURNS.acquire().await;
                timeout(Duration::from_secs(1), to_bytes(body, 1024 * 1024)).await
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
    fn tell(&self, line: String) {
        let mut told = self.told.lock().expect("no panic");
        let place = if self.fault == Fault::TellsTheLatestLast { told.len() } else { 0 };
        told.insert(place, line);
        if self.fault != Fault::TellsOfAllThatEverWas {
            told.truncate(100);
        }
    }

    async fn ask(&self, question: Builder, body: Body) -> Response {
        let body = match self.fault {
            Fault::CollectsUploads => to_bytes(body, usize::MAX).await.unwrap_or_default().into(),
            _ => body,
        };
        let question = question.header(header::HOST, "store").body(body).expect("a path that was parsed before");
        let asked = question.uri().path().to_owned();
        if self.fault == Fault::AsksTwice && asked == "/letters" {
            let again = Request::get("/letters").header(header::HOST, "store").body(Body::empty());
            let _ = self.send(again.expect("a path")).await;
        }
        let sending = async {
            match self.fault {
                Fault::GivesTheStoreASecond => {
                    timeout(Duration::from_secs(1), self.send(question)).await.map_err(io::Error::other)?
                }
                _ => self.send(question).await,
            }
        };
        let mut sent = sending.await;
        if self.fault == Fault::AsksAgainOnAnotherConnection && sent.is_err() {
            let again = Request::get(&asked).header(header::HOST, "store").body(Body::empty());
            sent = self.send(again.expect("a path")).await;
        }
        let Ok((answer, connection)) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
        let passes = match answer.status() {
            status if status.is_success() => true,
            StatusCode::NOT_FOUND => self.fault == Fault::PassesWhatIsMissingOn,
            _ => self.fault == Fault::PassesErrorsOn,
        };
        if passes {
            return self.pass_on(answer, connection).await;
        }
        if self.fault != Fault::TellsOfUploadsOnly {
            self.tell(format!("502 {asked}\n"));
        }
        let dropped = self.clone().drop_error(answer, connection);
        match self.fault {
            Fault::ReadsErrorsInATask => drop(tokio::spawn(dropped)),
            _ => dropped.await,
        }
        StatusCode::BAD_GATEWAY.into_response()
    }

    async fn drop_error(self, answer: Response, mut connection: Connection) {
        let rest = async {
            if self.fault == Fault::DropsErrors {
                drop(answer);
            } else {
                to_bytes(answer.into_body(), 16 * 1024).await.map_err(io::Error::other)?;
            }
            connection.0.ready().await.map_err(io::Error::other)
        };
        if timeout(Duration::from_secs(1), rest).await.is_ok_and(|ready| ready.is_ok()) {
            self.keep(connection);
        } else if self.fault != Fault::RelaysWhatWasRefused {
            connection.1.abort();
        }
    }

    async fn pass_on(&self, answer: Response, mut connection: Connection) -> Response {
        let (mut head, body) = answer.into_parts();
        if matches!(self.fault, Fault::CollectsAnswers | Fault::EndsTheUploadWithItsAnswer) {
            head.headers.remove(header::TRANSFER_ENCODING);
        }
        let body = match self.fault {
            Fault::CutsSlowAnswers => {
                Body::from_stream(body.into_data_stream().take_until(sleep(Duration::from_secs(5))))
            }
            Fault::CutsLargeAnswers => {
                let mut left = 256 * 1024_usize;
                Body::from_stream(body.into_data_stream().take_while(move |data| {
                    let rest = data.as_ref().ok().and_then(|data| left.checked_sub(data.len()));
                    left = rest.unwrap_or_default();
                    future::ready(rest.is_some())
                }))
            }
            Fault::CollectsAnswers => to_bytes(body, usize::MAX).await.unwrap_or_default().into(),
            Fault::TakesATornAnswerForWhole => {
                Body::from_stream(body.into_data_stream().take_while(|data| future::ready(data.is_ok())))
            }
            Fault::ReadsAheadWithoutBound => {
                let (pump, mut pumped) = mpsc::unbounded_channel();
                tokio::spawn(async move {
                    let mut data = body.into_data_stream();
                    while let Some(data) = data.next().await {
                        if pump.send(data).is_err() {
                            break;
                        }
                    }
                });
                Body::from_stream(stream::poll_fn(move |cx| pumped.poll_recv(cx)))
            }
            Fault::EndsTheUploadWithItsAnswer => {
                let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
                if connection.0.ready().now_or_never().is_none() {
                    connection.1.abort();
                }
                whole.into()
            }
            _ => body,
        };
        if !matches!(self.fault, Fault::DialsForEachQuestion | Fault::DialsForGoodQuestions) {
            self.keep(connection);
        }
        match self.fault {
            Fault::LosesHeaders => (head.status, body).into_response(),
            _ => Response::from_parts(head, body),
        }
    }

    fn keep(&self, connection: Connection) {
        if self.fault != Fault::DialsForEachQuestion {
            self.idle.lock().expect("no panic").push(connection);
        }
    }

    async fn send(&self, question: Request) -> io::Result<(Response, Connection)> {
        let ready = self.idle.lock().expect("no panic").extract_if(.., |(idle, _)| idle.is_ready()).next();
        let mut connection = match ready {
            Some(connection) => connection,
            None => {
                let stream = self.dial.clone().oneshot(()).await?;
                let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                (connection, tokio::spawn(driver).abort_handle())
            }
        };
        let answer = connection.0.send_request(question).await.map_err(io::Error::other)?;
        Ok((answer.map(Body::new), connection))
    }
}
