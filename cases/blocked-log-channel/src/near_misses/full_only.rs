//! Tempting because a channel that is full is what the metric was made for. After `stop` it is closed, and what is sent then is lost
//! without being counted.

use std::{future::pending, pin::pin, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    select,
    sync::{mpsc, watch},
    time::sleep,
};

use crate::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
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
    let (lines, waiting) = mpsc::channel(capacity);
    tokio::spawn(ship(waiting, lost.clone(), log, stop, flush));
    routes.layer(from_fn_with_state(Arc::new(Lines { lines, lost }), logged))
}

async fn logged(State(lines): State<Arc<Lines>>, request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-").to_owned();
    lines.write(format!("{id} begun\n"));
    let answer = next.run(request).await;
    lines.write(format!("{id} ended {}\n", answer.status().as_u16()));
    answer
}

/// Where the lines are put.
struct Lines {
    lines: mpsc::Sender<String>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn write(&self, line: String) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.lines.try_send(line) {
            self.lost.fetch_add(1, SeqCst);
        }
    }
}

/// Ends when `stop` turns true.
async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left to say it.
        pending::<()>().await;
    }
}

/// Brings the lines to the log, one after the other.
async fn ship(
    mut lines: mpsc::Receiver<String>,
    lost: Arc<AtomicU64>,
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
