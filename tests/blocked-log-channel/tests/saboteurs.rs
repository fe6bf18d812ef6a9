//! A right dispatch desk, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use blocked_log_channel_spec::check;
use lab::abreast;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    select,
    sync::{mpsc, watch},
    time::sleep,
};

/// What is wrong with the desk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    RoomForOne,
    LosesWhatHasStatus500,
    StatusInWords,
    AlwaysEnds200,
    EndedBeforeBegun,
    LostIsCountedTwice,
    GivesUpAtStop,
    ClosesADayLater,
    AnswersLaterAtStop,
    TrailersLost,
    AnswerCollected,
}

const ALL: [(Fault, &str); 11] = [
    (Fault::RoomForOne, "nothing-lost-needlessly"),
    (Fault::LosesWhatHasStatus500, "lines-are-whole"),
    (Fault::StatusInWords, "lines-are-whole"),
    (Fault::AlwaysEnds200, "lines-are-whole"),
    (Fault::EndedBeforeBegun, "lines-are-whole"),
    (Fault::LostIsCountedTwice, "written-or-counted"),
    (Fault::GivesUpAtStop, "stop-writes-what-waits"),
    (Fault::ClosesADayLater, "flush-is-bounded"),
    (Fault::AnswersLaterAtStop, "stop-is-no-end"),
    (Fault::TrailersLost, "leaves-the-rest-alone"),
    (Fault::AnswerCollected, "leaves-the-rest-alone"),
];

#[test]
fn the_desk_is_right_until_it_is_spoilt() {
    let report = check(desk(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_desk_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |(fault, _)| check(desk(fault)));
    let mut rejections = String::new();
    for ((fault, promise), report) in ALL.into_iter().zip(reports) {
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

type Metric = Arc<AtomicU64>;

fn desk(fault: Fault) -> impl Fn(Router, DuplexStream, Metric, usize, watch::Receiver<bool>, Duration) -> Router {
    move |routes, log, lost, capacity, stop, flush| {
        let room = if fault == Fault::RoomForOne { 1 } else { capacity };
        let (lines, waiting) = mpsc::channel(room);
        let flush = match fault {
            Fault::GivesUpAtStop => Duration::ZERO,
            Fault::ClosesADayLater => flush + Duration::from_secs(24 * 3600),
            _ => flush,
        };
        tokio::spawn(ship(waiting, lost.clone(), log, stop.clone(), flush));
        routes.layer(from_fn_with_state(Desk { fault, lines, lost, stop }, logged))
    }
}

#[derive(Clone)]
struct Desk {
    fault: Fault,
    lines: mpsc::Sender<String>,
    lost: Metric,
    stop: watch::Receiver<bool>,
}

impl Desk {
    fn leave(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            let count = if self.fault == Fault::LostIsCountedTwice { 2 } else { 1 };
            self.lost.fetch_add(count, SeqCst);
        }
    }
}

async fn logged(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let fault = desk.fault;
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-").to_owned();
    if fault != Fault::EndedBeforeBegun {
        desk.leave(format!("{id} begun\n"));
    }
    let answer = next.run(request).await;
    let status = match fault {
        Fault::AlwaysEnds200 => "200".to_owned(),
        Fault::StatusInWords => answer.status().to_string(),
        _ => answer.status().as_u16().to_string(),
    };
    if fault != Fault::LosesWhatHasStatus500 || answer.status() != StatusCode::INTERNAL_SERVER_ERROR {
        desk.leave(format!("{id} ended {status}\n"));
    }
    if fault == Fault::EndedBeforeBegun {
        desk.leave(format!("{id} begun\n"));
    }
    match fault {
        Fault::AnswersLaterAtStop if *desk.stop.borrow() => {
            sleep(Duration::from_secs(1)).await;
            answer
        }
        Fault::TrailersLost => answer.map(|body| Body::from_stream(body.into_data_stream())),
        Fault::AnswerCollected => {
            let (parts, body) = answer.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            Response::from_parts(parts, bytes.into())
        }
        _ => answer,
    }
}

/// Ends when `stop` turns true.
async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        pending::<()>().await;
    }
}

async fn ship(
    mut lines: mpsc::Receiver<String>,
    lost: Metric,
    mut log: DuplexStream,
    stop: watch::Receiver<bool>,
    flush: Duration,
) {
    let mut stopped = pin!(stopped(stop));
    let mut over = pin!(sleep(Duration::MAX));
    let mut closed = false;
    loop {
        let line = select! {
            biased;
            () = stopped.as_mut(), if !closed => {
                closed = true;
                lines.close();
                over.set(sleep(flush));
                continue;
            }
            line = lines.recv() => line,
        };
        let Some(line) = line else { return };
        let mut written = pin!(log.write_all(line.as_bytes()));
        let written = loop {
            select! {
                biased;
                done = written.as_mut() => break done.is_ok(),
                () = stopped.as_mut(), if !closed => {
                    closed = true;
                    lines.close();
                    over.set(sleep(flush));
                }
                () = over.as_mut(), if closed => break false,
            }
        };
        if !written {
            lost.fetch_add(1, SeqCst);
        }
    }
}
