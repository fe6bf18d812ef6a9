//! A dispatch desk with a log: each request leaves two lines, and a task brings them to the log shipper.
//!
//! # Symptom
//! Latency climbs to two seconds, and some minutes later no request is answered. The routes are fast and idle.
//!
//! # Trigger
//! 1. The log shipper stops reading for a while.
//! 2. Ada and Ben are answered as ever, and their lines wait.
//! 3. Cem sends a request, and nothing comes back until the shipper reads again.
//! 4. At the next deploy some requests have lines that are neither in the log nor in the metric of lost lines.
//!
//! # Cause
//! Only so many lines may wait, and a request whose line finds no room waits for some. So the shipper's latency becomes the
//! latency of each request. And whether the door is closed is asked before the lock is taken: a line may come in after the last
//! look.
//!
//! # Cost
//! A log that is down takes the service down with it. What is lost at a deploy is not counted.
//!
//! # Start here
//! `logged` has two lines that write to the log. Follow one of them: what must have happened before it returns?

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

use self::{
    shared::{Queue, Taken},
    sync::{Arc, atomic::AtomicU64},
};

mod shared;
mod sync {
    pub(crate) use std::sync::*;
}
#[doc(hidden)]
pub mod near_misses;

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
    let lines = Arc::new(Lines { queue, came: Notify::new(), room: Notify::new() });
    tokio::spawn(ship(lines.clone(), log, stop, flush));
    routes.layer(from_fn_with_state(lines, logged))
}

// ANCHOR: defect
async fn logged(State(lines): State<Arc<Lines>>, request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-").to_owned();
    // ANCHOR: mark-1
    lines.write(format!("{id} begun\n")).await;
    // ANCHOR_END: mark-1
    let answer = next.run(request).await;
    lines.write(format!("{id} ended {}\n", answer.status().as_u16())).await;
    answer
}

/// The lines that wait, and what is told of them.
struct Lines {
    queue: Queue,
    came: Notify,
    room: Notify,
}

impl Lines {
    /// Puts a line into the queue.
    async fn write(&self, mut line: String) {
        while let Err(back) = self.queue.offer(line) {
            line = back;
            // ANCHOR: mark-2-waits
            self.room.notified().await;
            // ANCHOR_END: mark-2-waits
        }
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
        self.room.notify_waiters();
        sleep(flush).await;
    }
}

/// Brings the lines to the log, one after the other. What still waits when the time is over is lost.
async fn ship(lines: Arc<Lines>, mut log: DuplexStream, stop: watch::Receiver<bool>, flush: Duration) {
    let mut over = pin!(lines.stopped(stop, flush));
    loop {
        match lines.queue.take() {
            Taken::Line(line) => {
                lines.room.notify_one();
                select! {
                    biased;
                    done = log.write_all(line.as_bytes()) => if done.is_err() { lines.queue.lose() },
                    () = over.as_mut() => break lines.queue.lose(),
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
    while let Taken::Line(_) = lines.queue.take() {
        lines.queue.lose();
    }
}
// ANCHOR_END: defect
