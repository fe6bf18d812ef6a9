//! A drill from its beginning to its end. Dropped, it leaves nothing behind: no process, no port, no file.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use axum::Router;
use ghosts::{Refusal, checkout::Checkout};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    answer::{self, Answer, Grade},
    draw::Draw,
    edge,
    evidence::{Evidence, Line, Sample},
    load::Plan,
    locked,
    logs::Journal,
    looks::{self, Look, Shown},
    part::Part,
    served::Served,
    services,
};

/// How a drill is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decides the haunted service, its neighbours, the load and the herrings.
    pub seed: u64,
    /// The ghost, where it is not to be drawn.
    pub slug: Option<String>,
    /// Whether there is a second symptom, which has nothing to do with the first.
    pub hard: bool,
    /// How much faster than a clock the drill runs: 1 for people, more for tests.
    pub speed: f64,
    /// The program that drives the load when it is called with `load`.
    pub program: PathBuf,
}

/// A drill that runs.
pub struct Drill {
    /// What the seed has drawn.
    pub draw: Draw,
    start: Instant,
    speed: f64,
    edge: SocketAddr,
    served: Vec<Served>,
    journal: Journal,
    ticked: watch::Sender<usize>,
    state: Mutex<State>,
    load: Mutex<Option<Child>>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct State {
    samples: Vec<Sample>,
    /// What was looked at.
    bought: Vec<Shown>,
    grade: Option<Grade>,
}

/// How many samples are kept.
const MOST_SAMPLES: usize = 3600;

impl Drill {
    /// Starts the services, the edge and the load.
    ///
    /// # Errors
    /// If the ghost cannot be drilled, or something cannot be started; whatever was started has ended then.
    pub fn begin(checkout: &Checkout, options: &Options) -> Result<Arc<Self>, Refusal> {
        let cannot = |what: &str, error: io::Error| Refusal::new(format!("cannot start {what}: {error}"));
        let draw = Draw::of(checkout, options.seed, options.slug.as_deref(), options.hard)?;
        let start = Instant::now();
        let journal = Journal::new(start, options.speed);
        let mut served = Vec::new();
        for (number, drawn) in draw.services.iter().enumerate() {
            let serve = services::of(drawn.slug).ok_or_else(|| {
                Refusal::new(format!(
                    "cases/{}/case.toml has a section [drill], and no drill knows how to serve it",
                    drawn.slug
                ))
            })?;
            let part = Part::new(start, options.speed);
            let fixed = number != draw.haunted;
            let name = &drawn.drill.service;
            let one = Served::start(name, &part, &journal, draw.second == Some(number), |part| serve(fixed, part));
            served.push(one.map_err(|error| cannot("a service", error))?);
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| cannot("a runtime", error))?;
        let edge = open_edge(&runtime, &served).map_err(|error| cannot("the edge", error))?;
        let kinds = draw
            .services
            .iter()
            .flat_map(|drawn| drawn.drill.load.iter().map(|load| (drawn.drill.service.clone(), load.clone())));
        let plan = Plan { edge, speed: options.speed, seed: options.seed, kinds: kinds.collect() };
        let load = Some(start_load(options, &plan).map_err(|error| cannot("the load", error))?);
        let drill = Arc::new(Self {
            draw,
            start,
            speed: options.speed,
            edge,
            served,
            journal,
            ticked: watch::Sender::new(0),
            state: Mutex::default(),
            load: Mutex::new(load),
            runtime: Some(runtime),
        });
        drill.runtime().spawn(watch_over(Arc::downgrade(&drill), Duration::from_secs(1).div_f64(options.speed)));
        Ok(drill)
    }

    /// The address of the edge.
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// The process id of the load, while it runs.
    pub fn load_id(&self) -> Option<u32> {
        locked(&self.load).as_ref().map(Child::id)
    }

    /// Where what shows the drill runs.
    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until this is dropped")
    }

    /// The second of the drill, without what looks have cost.
    pub fn second(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * self.speed
    }

    /// The second of the drill's clock, on which looks cost time.
    pub fn clock(&self) -> f64 {
        let state = locked(&self.state);
        if let Some(grade) = &state.grade {
            return grade.took_s;
        }
        let minutes: u32 = state.bought.iter().map(|shown| shown.minutes).sum();
        self.second() + f64::from(60 * minutes)
    }

    /// The second at which the time is over.
    pub fn limit(&self) -> f64 {
        f64::from(60 * self.draw.haunted().drill.minutes)
    }

    /// Tells whenever there is a new sample.
    pub fn ticks(&self) -> watch::Receiver<usize> {
        self.ticked.subscribe()
    }

    /// The samples from this number on.
    pub fn samples_since(&self, number: usize) -> Vec<Sample> {
        locked(&self.state).samples.get(number..).unwrap_or_default().to_vec()
    }

    /// The lines of the log from this number on.
    pub fn lines_since(&self, number: u64) -> Vec<Line> {
        self.journal.since(number)
    }

    /// All that an operator can have.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            schema: 1,
            services: self.served.iter().map(|served| served.name.clone()).collect(),
            samples: self.samples_since(0),
            log: self.lines_since(0),
        }
    }

    /// What was looked at, in order.
    pub fn bought(&self) -> Vec<Shown> {
        locked(&self.state).bought.clone()
    }

    /// Looks at something, which costs time on the drill's clock.
    ///
    /// # Errors
    /// If there is no such service, or the drill is over.
    pub async fn look(&self, look: &Look) -> Result<Shown, Refusal> {
        if self.grade().is_some() {
            return Err(Refusal::new("the drill is over"));
        }
        let at_s = self.clock();
        let served = self.served.iter().find(|served| served.name == look.service());
        let served = served.ok_or_else(|| {
            let names: Vec<&str> = self.served.iter().map(|served| served.name.as_str()).collect();
            Refusal::new(format!(
                "there is no service `{}`; there are {}",
                look.service().escape_debug(),
                names.join(", ")
            ))
        })?;
        let place = self.served.iter().position(|one| one.name == served.name).unwrap_or_default();
        let samples = self.samples_since(0);
        let text = looks::text(look, served, &samples, place, self.edge, &self.lines_since(0)).await;
        let shown = Shown { at_s, minutes: look.minutes(), title: look.title(), text };
        locked(&self.state).bought.push(shown.clone());
        Ok(shown)
    }

    /// Grades an answer and ends the drill: the load stops, and what was seen can still be looked at.
    pub fn answer(&self, given: Answer) -> Grade {
        if let Some(grade) = self.grade() {
            return grade;
        }
        let took_s = self.clock();
        let grade = answer::grade(&self.draw, given, took_s, took_s > self.limit());
        locked(&self.state).grade = Some(grade.clone());
        self.end_load();
        self.ticked.send_modify(|_| {});
        grade
    }

    /// What came of it, once it was answered.
    pub fn grade(&self) -> Option<Grade> {
        locked(&self.state).grade.clone()
    }

    fn end_load(&self) {
        if let Some(mut load) = locked(&self.load).take() {
            // It may have ended by itself.
            let _ = load.kill();
            let _ = load.wait();
        }
    }

    fn tick(&self) {
        if self.grade().is_some() {
            return;
        }
        let at_s = self.second();
        let told = self.samples_since(0).last().map_or(0.0, |sample| sample.at_s);
        let said = self.draw.herrings.iter().filter(|(second, _)| (told..at_s).contains(&(*second as f64)));
        for (_, text) in said {
            self.journal.write("#ops", "SAYS", text.clone());
        }
        let points = self.served.iter().map(Served::sample).collect();
        let mut state = locked(&self.state);
        if state.samples.len() < MOST_SAMPLES {
            state.samples.push(Sample { at_s, points });
        }
        let count = state.samples.len();
        drop(state);
        self.ticked.send_replace(count);
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        self.end_load();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn watch_over(drill: Weak<Drill>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once, and there is nothing yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(drill) = drill.upgrade() else { return };
        drill.tick();
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

fn start_load(options: &Options, plan: &Plan) -> io::Result<Child> {
    let mut load = Command::new(&options.program)
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
