//! What the desk is served with: orders, and a log that can be stopped.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, DuplexStream},
    sync::watch,
    time::sleep,
};

/// What the pipe to the shipper holds, in bytes.
const PIPE: usize = 64;
/// How many lines may wait.
const CAPACITY: usize = 4;
/// For how long they are written after `stop`.
const FLUSH: Duration = Duration::from_secs(2);

/// What the desk is served with.
pub struct StandIns {
    /// The end of the log that the app gets.
    log: DuplexStream,
    lost: Arc<AtomicU64>,
    stopping: watch::Receiver<bool>,
    /// The switches, which are not behind the log.
    switches: Router,
}

impl fmt::Debug for StandIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIns").finish_non_exhaustive()
    }
}

/// The other end of the log: what it has to be read by, and whether that has been stopped.
#[derive(Debug)]
pub struct Log {
    /// The bytes.
    pub end: DuplexStream,
    /// True while nothing may be read.
    pub stopped: watch::Receiver<bool>,
}

impl StandIns {
    /// Orders that take 100 ms, and a shipper in memory that says each line and can be stopped. Call it inside a runtime.
    pub fn in_memory() -> Self {
        Self::shipped_by(|log| {
            tokio::spawn(say_each_line(log));
        })
    }

    /// The same, where `ship` has the other end of the log.
    pub fn shipped_by(ship: impl FnOnce(Log)) -> Self {
        let (log, end) = tokio::io::duplex(PIPE);
        let (stop, stopping) = watch::channel(false);
        let (stall, stopped) = watch::channel(false);
        ship(Log { end, stopped });
        let lost = Arc::new(AtomicU64::new(0));
        let told = lost.clone();
        let switches = Router::new()
            .route("/lost", get(async move || format!("{} lines lost\n", told.load(SeqCst))))
            .route(
                "/shipper/{to}",
                post(async move |Path(to): Path<String>| {
                    stall.send_replace(to == "stop");
                    lab::say(format_args!("shipper: {to}"));
                }),
            )
            .route(
                "/stop",
                post(async move || {
                    lab::say("the desk is told to stop");
                    stop.send_replace(true);
                }),
            );
        Self { log, lost, stopping, switches }
    }

    /// The desk, with the switches beside it.
    pub fn serve(
        self,
        app: impl FnOnce(Router, DuplexStream, Arc<AtomicU64>, usize, watch::Receiver<bool>, Duration) -> Router,
    ) -> Router {
        let order = async |Path(number): Path<String>| {
            sleep(Duration::from_millis(100)).await;
            format!("order {number} is on its way\n")
        };
        let orders = Router::new().route("/orders/{number}", get(order));
        self.switches.merge(app(orders, self.log, self.lost, CAPACITY, self.stopping, FLUSH))
    }
}

async fn say_each_line(log: Log) {
    let Log { end, mut stopped } = log;
    let mut lines = BufReader::with_capacity(1, end).lines();
    loop {
        // The switch goes with the server.
        if stopped.wait_for(|stopped| !stopped).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            changed = stopped.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            line = lines.next_line() => match line {
                Ok(Some(line)) => lab::say(format_args!("log: {line}")),
                _ => return lab::say("log: closed"),
            },
        }
    }
}
