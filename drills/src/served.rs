//! A service on a socket and a runtime of its own, seen from outside.

use std::{
    collections::VecDeque,
    io,
    net::{self, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering::SeqCst},
    },
};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, Request, State},
    http,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use instruments::{
    Observe,
    observe::{Outcome, Seen},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::{Duration, sleep},
};
use tower::util::MapRequestLayer;

use crate::{
    evidence::{End, Ended, Point},
    locked,
    logs::Journal,
    part::Part,
};

/// How many requests are remembered one by one.
const KEPT: usize = 600;

/// A service that runs until this is dropped.
pub(crate) struct Served {
    /// Its name behind the edge.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) part: Part,
    eyes: Arc<Eyes>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

/// What is seen of it from outside.
#[derive(Default)]
pub(crate) struct Eyes {
    begun: AtomicU64,
    ended: AtomicU64,
    connections: AtomicU64,
    /// The last status of the probe; 0 where there was none.
    probe: AtomicU16,
    second: Mutex<Vec<Seen>>,
    last: Mutex<VecDeque<Seen>>,
}

fn ended(seen: &Seen) -> Ended {
    Ended {
        route: seen.route.to_string(),
        preflight: seen.method == http::Method::OPTIONS,
        status: seen.status.map(|status| status.as_u16()),
        how: match seen.outcome {
            Outcome::Complete => End::Complete,
            Outcome::Abandoned => End::Left,
            Outcome::Failed | Outcome::Panicked => End::Broken,
        },
        head_ms: seen.head.map(ms),
        first_ms: seen.first.map(ms),
        last_ms: ms(seen.last),
    }
}

/// How long each tenth request waits for the network in a hard drill.
pub(crate) const HARD: Duration = Duration::from_millis(700);

async fn each_tenth_waits(State(count): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    if count.fetch_add(1, SeqCst) % 10 == 9 {
        sleep(HARD).await;
    }
    next.run(request).await
}

/// Where a probe asks.
const PROBES: [&str; 2] = ["/readyz", "/livez"];

impl Served {
    /// Starts `app`, which is made on its own runtime, for some begin to work there at once.
    pub(crate) fn start(
        name: &str,
        part: &Part,
        journal: &Journal,
        slowed: bool,
        app: impl FnOnce(&Part) -> Router,
    ) -> io::Result<Self> {
        let (speaker, ear) = (name.to_owned(), journal.clone());
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .on_thread_start(move || ear.hears_this_thread_as(&speaker))
            .enable_all()
            .build()?;
        let eyes = Arc::new(Eyes::default());
        let (hook, begins) = (eyes.clone(), eyes.clone());
        let (edge, service) = (journal.clone(), name.to_owned());
        let app = {
            let _inside = runtime.enter();
            app(part)
        };
        let app = if slowed { app.layer(from_fn_with_state(Arc::default(), each_tenth_waits)) } else { app };
        let app = app
            .layer(Observe::new().then(move |seen| {
                hook.sees(seen);
                tell(&edge, &service, seen);
            }))
            .layer(MapRequestLayer::new(move |request: http::Request<_>| {
                begins.begun.fetch_add(1, SeqCst);
                request
            }));
        let listener = net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, app, eyes.clone()));
        Ok(Self { name: name.to_owned(), address, part: part.clone(), eyes, runtime: Some(runtime) })
    }

    /// What was seen since this was asked last.
    pub(crate) fn sample(&self) -> Point {
        let seen = std::mem::take(&mut *locked(&self.eyes.second));
        let ended: Vec<Ended> = seen.iter().map(ended).collect();
        let probe = self.eyes.probe.load(SeqCst);
        Point {
            in_flight: self.in_flight(),
            tasks: self.tasks(),
            connections: self.connections(),
            probe: (probe > 0).then_some(probe),
            dependency: self.part.sample(),
            ..Point::of(&ended)
        }
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.eyes.begun.load(SeqCst).saturating_sub(self.eyes.ended.load(SeqCst))
    }

    pub(crate) fn tasks(&self) -> u64 {
        self.runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.eyes.connections.load(SeqCst)
    }

    /// The last requests that have ended.
    pub(crate) fn last(&self) -> Vec<Seen> {
        locked(&self.eyes.last).iter().cloned().collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Some of them are blocked, which is what this is about.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Eyes {
    fn sees(&self, seen: &Seen) {
        self.ended.fetch_add(1, SeqCst);
        if let Some(status) = seen.status.filter(|_| PROBES.contains(&&*seen.route)) {
            self.probe.store(status.as_u16(), SeqCst);
        }
        locked(&self.second).push(seen.clone());
        let mut last = locked(&self.last);
        last.push_back(seen.clone());
        if last.len() > KEPT {
            last.pop_front();
        }
    }
}

/// What the edge logs: what was no success.
fn tell(edge: &Journal, service: &str, seen: &Seen) {
    let served = seen.status.is_some_and(|status| !status.is_server_error());
    if served && matches!(seen.outcome, Outcome::Complete | Outcome::Abandoned) {
        return;
    }
    let status = seen.status.map_or("no head".to_owned(), |status| status.as_u16().to_string());
    let (method, route, outcome, took) = (&seen.method, &seen.route, seen.outcome, ms(seen.last));
    edge.write("edge", "WARN", format!("{service} {method} {route} {status} {outcome} {took:.0} ms"));
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A connection that is open until this is dropped.
struct Open(Arc<Eyes>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, SeqCst);
    }
}

async fn accept(listener: TcpListener, app: Router, eyes: Arc<Eyes>) {
    // An error of one connection is none of the others'.
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        eyes.connections.fetch_add(1, SeqCst);
        let open = Open(eyes.clone());
        // Anew for each connection, as `axum::serve` makes it of a router.
        let app: Router = app.clone().layer(Extension(ConnectInfo(peer))).with_state(());
        tokio::spawn(async move {
            let _open = open;
            let connection = auto::Builder::new(TokioExecutor::new());
            // How it ends is told by what it carried.
            let _ = connection.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).await;
        });
    }
}
