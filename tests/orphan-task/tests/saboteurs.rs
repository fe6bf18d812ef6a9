//! A right service of live boards, and the ways in which it is spoilt.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use futures_util::stream;
use lab::abreast;
use orphan_task_spec::{Render, Upstream, check};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};
use tower::ServiceExt;

/// What is wrong with the service.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    PlainText,
    SaidTwice,
    LastFirst,
    Unrendered,
    FirstMessageLost,
    LateByASecond,
    OneBoardForAll,
    LastWordLost,
    StreamStaysOpen,
    TaskStaysOn,
    FailureIsCached,
    FailureIsA404,
    DialNotDropped,
    ToldWithoutBoard,
    ToldTwice,
    PanicEndsTheReader,
    PanicEndsTheBoard,
    LingersASecond,
    HeadCounts,
    DialledForPosts,
    NamesInLowerCase,
    AnyPath,
    KeepsEight,
    WhoMissesSomeIsEnded,
    CommentsAreFine,
}

const ALL: [Fault; 24] = [
    Fault::PlainText,
    Fault::SaidTwice,
    Fault::LastFirst,
    Fault::Unrendered,
    Fault::FirstMessageLost,
    Fault::LateByASecond,
    Fault::OneBoardForAll,
    Fault::LastWordLost,
    Fault::StreamStaysOpen,
    Fault::TaskStaysOn,
    Fault::FailureIsCached,
    Fault::FailureIsA404,
    Fault::DialNotDropped,
    Fault::ToldWithoutBoard,
    Fault::ToldTwice,
    Fault::PanicEndsTheReader,
    Fault::PanicEndsTheBoard,
    Fault::LingersASecond,
    Fault::HeadCounts,
    Fault::DialledForPosts,
    Fault::NamesInLowerCase,
    Fault::AnyPath,
    Fault::KeepsEight,
    Fault::WhoMissesSomeIsEnded,
];

#[test]
fn the_service_is_right_until_it_is_spoilt() {
    for fault in [Fault::None, Fault::CommentsAreFine] {
        let report = check(service(fault));
        assert!(report.all_kept(), "{report}");
    }
}

#[test]
fn each_spoilt_service_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |fault| check(service(fault)));
    let mut rejections = String::new();
    for (fault, report) in ALL.into_iter().zip(reports) {
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

/// Each promise is broken by a spoilt service, so that none is kept by whatever one hands in.
#[test]
fn each_promise_is_broken_by_something() {
    let reports = abreast(ALL, |fault| check(service(fault)));
    let promises = reports[0].promises.iter().map(|judged| judged.key.as_str());
    let unbroken: Vec<_> =
        promises.filter(|promise| !reports.iter().any(|report| report.broken().contains(promise))).collect();
    assert_eq!(unbroken, [""; 0]);
}

fn service(fault: Fault) -> impl Fn(Upstream, Render) -> Router + Send + Sync + 'static {
    move |upstream, render| {
        let boards = Boards { fault, upstream, render, open: Arc::default() };
        let path = "/boards/{board}/events";
        let router = match fault {
            Fault::AnyPath => {
                Router::new().route("/boards/{board}/{*rest}", get(events_of_any)).route(path, get(events))
            }
            Fault::DialledForPosts => Router::new().route(path, any(events)),
            _ => Router::new().route(path, get(events)),
        };
        router.with_state(boards)
    }
}

#[derive(Clone)]
struct Boards {
    fault: Fault,
    upstream: Upstream,
    render: Render,
    open: Arc<Mutex<HashMap<String, broadcast::Sender<String>>>>,
}

async fn events_of_any(boards: State<Boards>, Path((board, _)): Path<(String, String)>) -> Response {
    events(boards, Path(board)).await
}

async fn events(State(boards): State<Boards>, Path(name): Path<String>) -> Response {
    let name = match boards.fault {
        Fault::NamesInLowerCase => name.to_lowercase(),
        Fault::OneBoardForAll => "trains".to_owned(),
        _ => name,
    };
    let fault = boards.fault;
    if fault == Fault::FailureIsA404 && boards.upstream.clone().oneshot(name.clone()).await.is_err() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let rendered = boards.join(name);
    let (kept, mut is_first) = ((fault == Fault::HeadCounts).then(|| rendered.resubscribe()), true);
    if let Some(kept) = kept {
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            drop(kept);
        });
    }
    let events = stream::unfold(rendered, move |mut rendered| {
        let comment = fault == Fault::CommentsAreFine && std::mem::take(&mut is_first);
        async move {
            if comment {
                return Some((Ok::<_, Infallible>(Bytes::from(": here\r\n\r\nretry: 10\n\n")), rendered));
            }
            loop {
                match rendered.recv().await {
                    Ok(text) if text.is_empty() => return None,
                    Ok(text) => return Some((Ok(Bytes::from(format!("event: news\ndata:{text}\n\n"))), rendered)),
                    Err(RecvError::Lagged(_)) if fault == Fault::WhoMissesSomeIsEnded => return None,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) if fault == Fault::StreamStaysOpen => std::future::pending().await,
                    Err(RecvError::Closed) => return None,
                }
            }
        }
    });
    let kind = if fault == Fault::PlainText { "text/plain" } else { "text/event-stream; charset=utf-8" };
    ([(CONTENT_TYPE, kind)], Body::from_stream(events)).into_response()
}

impl Boards {
    fn join(&self, name: String) -> broadcast::Receiver<String> {
        let mut open = self.open.lock().unwrap();
        if let Some(to_all) = open.get(&name) {
            return to_all.subscribe();
        }
        let (to_all, rendered) = broadcast::channel(if self.fault == Fault::KeepsEight { 8 } else { 64 });
        tokio::spawn(self.clone().follow(name.clone(), to_all.clone()));
        open.insert(name, to_all);
        rendered
    }

    async fn follow(self, name: String, to_all: broadcast::Sender<String>) {
        let mut following = Box::pin(self.pass_on(&name, &to_all));
        loop {
            let failed = tokio::select! {
                ended = &mut following => Some(ended),
                () = to_all.closed() => None,
            };
            if self.fault == Fault::LingersASecond {
                sleep(Duration::from_secs(1)).await;
            }
            let mut open = self.open.lock().unwrap();
            if failed.is_some() || to_all.receiver_count() == 0 {
                if failed != Some(true) || self.fault != Fault::FailureIsCached {
                    open.remove(&name);
                }
                break;
            }
        }
        if self.fault == Fault::TaskStaysOn {
            drop(following);
            drop(to_all);
            std::future::pending().await
        }
    }

    /// Tells whether the dial failed.
    async fn pass_on(&self, name: &str, to_all: &broadcast::Sender<String>) -> bool {
        let dialling = self.upstream.clone().oneshot(name.to_owned());
        let dialled = match self.fault {
            // It goes on when nobody waits for it.
            Fault::DialNotDropped => tokio::spawn(dialling).await.expect("no dial panics"),
            _ => dialling.await,
        };
        let Ok(mut messages) = dialled else { return true };
        let (mut is_first, mut before) = (true, Vec::new());
        while let Some(message) = messages.recv().await {
            let is_first = std::mem::take(&mut is_first);
            let Some(text) = self.rendered(name, &message) else {
                match self.fault {
                    Fault::PanicEndsTheReader => drop(to_all.send(String::new())),
                    Fault::PanicEndsTheBoard => return false,
                    _ => {}
                }
                continue;
            };
            let text = if self.fault == Fault::Unrendered { message } else { text };
            match self.fault {
                Fault::FirstMessageLost if is_first => continue,
                Fault::LateByASecond => sleep(Duration::from_secs(1)).await,
                Fault::SaidTwice => drop(to_all.send(text.clone())),
                // What has come meanwhile is sent before it.
                Fault::LastFirst => {
                    while let Ok(newer) = messages.try_recv() {
                        before.extend(self.rendered(name, &newer));
                    }
                    before.drain(..).rev().for_each(|text| drop(to_all.send(text)));
                }
                // The end is looked for first.
                Fault::LastWordLost => {
                    tokio::task::yield_now().await;
                    if messages.is_closed() {
                        return false;
                    }
                }
                _ => {}
            }
            // Without a reader it goes nowhere.
            let _ = to_all.send(text);
        }
        false
    }

    fn rendered(&self, name: &str, message: &str) -> Option<String> {
        let rendered = catch_unwind(AssertUnwindSafe(|| (self.render)(message)));
        rendered
            .map_err(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default();
                match self.fault {
                    Fault::ToldWithoutBoard => tracing::error!(text, "not rendered"),
                    _ => tracing::error!(name, text, "not rendered"),
                }
                if self.fault == Fault::ToldTwice {
                    tracing::error!(name, text, "once more");
                }
            })
            .ok()
    }
}
