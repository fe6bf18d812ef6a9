//! Tempting because the flag is looked at again once the line is in: if the door was closed meanwhile, the line is counted. The
//! shipper may have written it in between.

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
    sync::{Notify, watch},
    time::sleep,
};

use self::shared::{Queue, Taken};
use crate::sync::{Arc, atomic::AtomicU64};

mod shared;

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
    let queue = Queue::new(capacity, lost);
    let lines = Arc::new(Lines { queue, came: Notify::new() });
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
    queue: Queue,
    came: Notify,
}

impl Lines {
    /// Puts a line into the queue, or counts it as lost.
    fn write(&self, line: String) {
        self.queue.offer(line);
        self.came.notify_one();
    }

    /// Closes the queue when `stop` turns true, and ends `flush` later.
    async fn stopped(&self, mut stop: watch::Receiver<bool>, flush: Duration) {
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left to say it.
            pending::<()>().await;
        }
        self.queue.close();
        self.came.notify_one();
        sleep(flush).await;
    }
}

/// Brings the lines to the log, one after the other.
async fn ship(lines: Arc<Lines>, mut log: DuplexStream, stop: watch::Receiver<bool>, flush: Duration) {
    let mut over = pin!(lines.stopped(stop, flush));
    loop {
        match lines.queue.take() {
            Taken::Line(line) => {
                let written = select! {
                    biased;
                    done = log.write_all(line.as_bytes()) => done.is_ok(),
                    () = over.as_mut() => break lines.queue.lose(),
                };
                if !written {
                    lines.queue.lose();
                }
            }
            Taken::Nothing => select! {
                biased;
                () = lines.came.notified() => {}
                () = over.as_mut() => break,
            },
            Taken::Closed => return,
        }
    }
    // The time is over, and what still waits is not written any more.
    while let Taken::Line(_) = lines.queue.take() {
        lines.queue.lose();
    }
}
