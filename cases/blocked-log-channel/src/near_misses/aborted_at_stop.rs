//! Tempting because a shutdown should be short: the shipper is aborted, and what waits is counted as lost. The line that it was
//! writing is torn, and nobody waits for the others, though there is time.

use std::{future::pending, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    sync::{Notify, watch},
};

use super::mended::{Queue, Taken};
use crate::sync::{Arc, atomic::AtomicU64};

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
    _flush: Duration,
) -> Router {
    let queue = Queue::new(capacity, lost);
    let lines = Arc::new(Lines { queue, came: Notify::new() });
    let shipper = tokio::spawn(ship(lines.clone(), log)).abort_handle();
    let stopping = lines.clone();
    tokio::spawn(async move {
        stopping.stopped(stop).await;
        shipper.abort();
        while let Taken::Line(_) = stopping.queue.take() {
            stopping.queue.lose();
        }
    });
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
    queue: Queue,
    came: Notify,
}

impl Lines {
    /// Puts a line into the queue, or counts it as lost.
    fn write(&self, line: String) {
        self.queue.offer(line);
        self.came.notify_one();
    }

    /// Closes the queue when `stop` turns true.
    async fn stopped(&self, mut stop: watch::Receiver<bool>) {
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left to say it.
            pending::<()>().await;
        }
        self.queue.close();
        self.came.notify_one();
    }
}

/// Brings the lines to the log, one after the other.
async fn ship(lines: Arc<Lines>, mut log: DuplexStream) {
    loop {
        match lines.queue.take() {
            Taken::Line(line) => {
                if log.write_all(line.as_bytes()).await.is_err() {
                    lines.queue.lose();
                }
            }
            Taken::Nothing => lines.came.notified().await,
            Taken::Closed => return,
        }
    }
}
