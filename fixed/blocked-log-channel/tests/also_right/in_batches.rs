//! The shipper writes up to eight lines at once. Of a batch that fails, or that is broken off, each line is counted.

use std::{
    collections::VecDeque,
    future::pending,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    select,
    sync::{Notify, watch},
    time::sleep,
};

/// Puts `routes` behind a log of two lines a request: `<x-request-id> begun` and `<x-request-id> ended <status>`.
///
/// At most `capacity` lines wait for the log, and `lost` counts those that are not written. When `stop` turns true, what waits is
/// written, for `flush` at most, and the log is closed.
pub fn app(
    routes: Router,
    log: DuplexStream,
    lost: Arc<AtomicU64>,
    capacity: usize,
    stop: watch::Receiver<bool>,
    flush: Duration,
) -> Router {
    let lines = Arc::new(Lines { waiting: Mutex::default(), came: Notify::new(), capacity, lost });
    tokio::spawn(ship(lines.clone(), log, stop, flush));
    routes.layer(from_fn_with_state(lines, logged))
}

async fn logged(State(lines): State<Arc<Lines>>, request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-").to_owned();
    lines.write(format!("{id} begun\n"));
    let answer = next.run(request).await;
    lines.write(format!("{id} ended {}\n", answer.status().as_u16()));
    answer
}

/// The lines that wait, and what is told of them.
struct Lines {
    waiting: Mutex<Waiting>,
    came: Notify,
    capacity: usize,
    lost: Arc<AtomicU64>,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<String>,
    closed: bool,
}

impl Lines {
    /// Puts a line into the queue, or counts it as lost.
    fn write(&self, line: String) {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.lines.len() == self.capacity {
            return self.lose(1);
        }
        waiting.lines.push_back(line);
        drop(waiting);
        self.came.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap()
    }

    fn lose(&self, lines: usize) {
        self.lost.fetch_add(lines as u64, SeqCst);
    }

    /// Closes the queue when `stop` turns true, and ends `flush` later.
    async fn stopped(&self, mut stop: watch::Receiver<bool>, flush: Duration) {
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left to say it.
            pending::<()>().await;
        }
        self.waiting().closed = true;
        self.came.notify_one();
        sleep(flush).await;
    }
}

/// How many lines are written at once.
const BATCH: usize = 8;

/// Brings the lines to the log, some at a time.
async fn ship(lines: Arc<Lines>, mut log: DuplexStream, stop: watch::Receiver<bool>, flush: Duration) {
    let mut over = pin!(lines.stopped(stop, flush));
    loop {
        let (batch, closed) = {
            let mut waiting = lines.waiting();
            let some = waiting.lines.len().min(BATCH);
            (waiting.lines.drain(..some).collect::<Vec<_>>(), waiting.closed)
        };
        if batch.is_empty() {
            if closed {
                return;
            }
            select! {
                biased;
                () = lines.came.notified() => {}
                () = over.as_mut() => break,
            }
            continue;
        }
        let bytes = batch.concat();
        let written = select! {
            biased;
            done = log.write_all(bytes.as_bytes()) => done.is_ok(),
            () = over.as_mut() => break lines.lose(batch.len()),
        };
        if !written {
            lines.lose(batch.len());
        }
    }
    let rest = lines.waiting().lines.drain(..).count();
    lines.lose(rest);
}
