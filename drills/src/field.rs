//! Services behind one edge, under load, with a sample a second. Dropped, it leaves nothing behind: no process, no port, no file.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use axum::Router;
use ghosts::{Refusal, catalogue::case};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    edge,
    evidence::{Evidence, Line, Sample},
    load::Plan,
    locked,
    logs::Journal,
    part::Part,
    served::Served,
    services::{self, Which},
};

/// A service that is to be served.
pub struct Stand {
    /// The ghost whose twin it is.
    pub slug: &'static str,
    /// Which twin.
    pub which: Which,
    /// Its drill.
    pub drill: case::Drill,
    /// Whether each tenth request waits for the network.
    pub slowed: bool,
}

/// How a field is to be.
pub struct Plot<'a> {
    /// The services.
    pub stands: Vec<Stand>,
    /// What people say, with the second in which they say it.
    pub said: Vec<(u64, String)>,
    /// What decides when within its interval a request is sent.
    pub seed: u64,
    /// How much faster than a clock it runs.
    pub speed: f64,
    /// The program that drives the load when it is called with `load`.
    pub program: &'a Path,
}

/// Services under load.
pub struct Field {
    start: Instant,
    speed: f64,
    edge: SocketAddr,
    pub(crate) served: Vec<Served>,
    said: Vec<(u64, String)>,
    journal: Journal,
    ticked: watch::Sender<usize>,
    samples: Mutex<Vec<Sample>>,
    load: Mutex<Option<Child>>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

/// How many samples are kept.
const MOST_SAMPLES: usize = 3600;

impl Field {
    /// Starts the services, the edge and the load.
    ///
    /// # Errors
    /// If something cannot be started; whatever was started has ended then.
    pub fn begin(plot: Plot<'_>) -> Result<Arc<Self>, Refusal> {
        let cannot = |what: &str, error: io::Error| Refusal::new(format!("cannot start {what}: {error}"));
        let start = Instant::now();
        let journal = Journal::new(start, plot.speed);
        let (mut served, mut kinds) = (Vec::new(), Vec::new());
        for stand in plot.stands {
            let serve = services::of(stand.slug).ok_or_else(|| {
                Refusal::new(format!("cases/{}/case.toml has a drill, and no drill knows how to serve it", stand.slug))
            })?;
            let (part, name) = (Part::new(start, plot.speed), stand.drill.service);
            let one = Served::start(&name, &part, &journal, stand.slowed, |part| serve(stand.which, part));
            served.push(one.map_err(|error| cannot("a service", error))?);
            kinds.extend(stand.drill.load.into_iter().map(|load| (name.clone(), load)));
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| cannot("a runtime", error))?;
        let edge = open_edge(&runtime, &served).map_err(|error| cannot("the edge", error))?;
        let plan = Plan { edge, speed: plot.speed, seed: plot.seed, kinds };
        let load = start_load(plot.program, &plan).map_err(|error| cannot("the load", error))?;
        let field = Arc::new(Self {
            start,
            speed: plot.speed,
            edge,
            served,
            said: plot.said,
            journal,
            ticked: watch::Sender::new(0),
            samples: Mutex::default(),
            load: Mutex::new(Some(load)),
            runtime: Some(runtime),
        });
        field.runtime().spawn(watch_over(Arc::downgrade(&field), Duration::from_secs(1).div_f64(plot.speed)));
        Ok(field)
    }

    /// The address of the edge.
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// The process id of the load, while it runs.
    pub fn load_id(&self) -> Option<u32> {
        locked(&self.load).as_ref().map(Child::id)
    }

    /// Where what shows it runs.
    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until this is dropped")
    }

    /// How many seconds it has run.
    pub fn second(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * self.speed
    }

    /// Tells whenever there is a new sample, or the load has ended.
    pub fn ticks(&self) -> watch::Receiver<usize> {
        self.ticked.subscribe()
    }

    /// The samples from this number on.
    pub fn samples_since(&self, number: usize) -> Vec<Sample> {
        locked(&self.samples).get(number..).unwrap_or_default().to_vec()
    }

    /// The lines of the log from this number on.
    pub fn lines_since(&self, number: u64) -> Vec<Line> {
        self.journal.since(number)
    }

    /// The names of the services.
    pub fn names(&self) -> Vec<&str> {
        self.served.iter().map(|served| served.name.as_str()).collect()
    }

    /// All that an operator can have.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            schema: 1,
            services: self.names().into_iter().map(str::to_owned).collect(),
            samples: self.samples_since(0),
            log: self.lines_since(0),
        }
    }

    /// Ends the load, and no sample is taken any more.
    pub fn end_load(&self) {
        if let Some(mut load) = locked(&self.load).take() {
            // It may have ended by itself.
            let _ = load.kill();
            let _ = load.wait();
        }
        self.ticked.send_modify(|_| {});
    }

    fn tick(&self) {
        if self.load_id().is_none() {
            return;
        }
        let at_s = self.second();
        let mut samples = locked(&self.samples);
        let told = samples.last().map_or(0.0, |sample| sample.at_s);
        for (_, text) in self.said.iter().filter(|(second, _)| (told..at_s).contains(&(*second as f64))) {
            self.journal.write("#ops", "SAYS", text.clone());
        }
        if samples.len() < MOST_SAMPLES {
            samples.push(Sample { at_s, points: self.served.iter().map(Served::sample).collect() });
        }
        let count = samples.len();
        drop(samples);
        self.ticked.send_replace(count);
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.end_load();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn watch_over(field: Weak<Field>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once, and there is nothing yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(field) = field.upgrade() else { return };
        field.tick();
    }
}

fn open_edge(runtime: &Runtime, served: &[Served]) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let places = served.iter().map(|served| (served.name.clone(), served.address)).collect();
    let app = Router::new().fallback(edge::pass_on).with_state(Arc::new(places));
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener that does not block");
        axum::serve(listener, app).await
    });
    Ok(address)
}

fn start_load(program: &Path, plan: &Plan) -> io::Result<Child> {
    let mut load = Command::new(program)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let line = serde_json::to_string(plan)? + "\n";
    // It stays open: its end is the end of the load.
    let told =
        load.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()));
    if told.is_err() {
        let _ = load.kill();
        let _ = load.wait();
    }
    told.map(|()| load)
}
