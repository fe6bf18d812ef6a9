//! Judges a specification, promise by promise, and survives the app under test.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::runtime;

use super::{
    logs, panics,
    report::{Judged, Outcome, Report},
    scene::{Broken, Lab, Stage},
};

/// What came of a proof.
pub type Proof = Result<(), Broken>;

/// What the guard allows an app under test.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long one promise may take by the wall clock before the app is given up as spinning or blocked.
    pub unresponsive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unresponsive: Duration::from_secs(30) }
    }
}

type Run<A> = Box<dyn FnOnce(Lab, A) -> Pin<Box<dyn Future<Output = Proof>>> + Send>;

struct Promise<A> {
    key: &'static str,
    sentence: &'static str,
    proof: Run<A>,
}

/// The promises of one ghost, about to be held against one app.
pub struct Specification<A> {
    ghost: &'static str,
    app: A,
    promises: Vec<Promise<A>>,
    alone: bool,
}

impl<A: Clone + Send + 'static> Specification<A> {
    /// The specification of the ghost `ghost` for the app that the constructor `app` makes.
    pub fn of(ghost: &'static str, app: A) -> Self {
        Self { ghost, app, promises: Vec::new(), alone: false }
    }

    /// No other specification is judged in this process meanwhile. For apps that change something process-wide, such as the
    /// panic hook.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Adds a promise: its kebab-case `key`, its `sentence`, and the `proof` that it is kept.
    pub fn promise<F>(mut self, key: &'static str, sentence: &'static str, proof: F) -> Self
    where
        F: AsyncFnOnce(Lab, A) -> Proof + Send + 'static,
    {
        let proof: Run<A> = Box::new(|lab, app| Box::pin(async move { proof(lab, app).await }));
        self.promises.push(Promise { key, sentence, proof });
        self
    }

    /// Holds the app against each promise, on a thread and a runtime of its own.
    pub fn judge(self, limits: Limits) -> Report {
        let _turn = panics::take_turn(self.alone);
        let mut judged: Vec<Judged> = Vec::new();
        let mut given_up = None;
        for Promise { key, sentence, proof } in self.promises {
            let (outcome, observed, scenes) = if let Some(earlier) = given_up {
                (Outcome::NotJudged, Some(format!("the app was given up at `{earlier}`")), Vec::new())
            } else {
                let stage = Stage::default();
                match prove_on_a_thread(key, proof, self.app.clone(), stage.clone(), limits) {
                    Some(Ok(())) => (Outcome::Kept, None, stage.take_scenes()),
                    Some(Err(broken)) => (Outcome::Broken, Some(broken.to_string()), stage.take_scenes()),
                    None => {
                        given_up = Some(key);
                        let observed = "the app did not yield: it spins, or it blocks its thread".to_owned();
                        (Outcome::Broken, Some(observed), stage.take_scenes())
                    }
                }
            };
            judged.push(Judged { key: key.to_owned(), promise: sentence.to_owned(), outcome, observed, scenes });
        }
        Report::new(self.ghost, judged)
    }
}

/// `None` if the thread did not come to an end in time. It is then left behind.
fn prove_on_a_thread<A: Send + 'static>(
    key: &'static str,
    proof: Run<A>,
    app: A,
    stage: Stage,
    limits: Limits,
) -> Option<Proof> {
    panics::own_the_hook();
    let (done, ended) = mpsc::channel();
    let work = move || {
        // The caller may have given this promise up.
        let _ = done.send(prove(proof, app, &stage));
    };
    thread::Builder::new().name(key.to_owned()).spawn(work).expect("a thread for the promise");
    ended.recv_timeout(limits.unresponsive).ok()
}

fn prove<A: 'static>(proof: Run<A>, app: A, stage: &Stage) -> Proof {
    panics::watch(Some(stage.clone()));
    let logs = tracing::subscriber::set_default(logs::collector(stage.clone()));
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime for the promise");
    let lab = Lab { stage: stage.clone() };
    let run = async {
        stage.open();
        let proof = pin!(proof(lab, app));
        let proof = tokio::select! {
            biased;
            proof = proof => proof,
            patience = stage.impatience() => Err(Broken::because(format!(
                "still waiting after {} s of virtual time",
                patience.as_secs()
            ))),
        };
        stage.close();
        proof
    };
    let proof = unless_panicked(stage, || runtime.block_on(run));
    let dropped = unless_panicked(stage, || {
        drop(runtime);
        Ok(())
    });
    let afterwards = stage.take_afterwards().into_iter().try_for_each(|step| step());
    drop(logs);
    panics::watch(None);
    let panicked = match stage.panic_site() {
        Some(place) => Err(Broken::because(format!("the app panicked at {place}"))),
        None => Ok(()),
    };
    proof.and(dropped).and(afterwards).and(panicked)
}

fn unless_panicked(stage: &Stage, work: impl FnOnce() -> Proof) -> Proof {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let place =
            stage.panic_site().map_or("in a place that the specification arranged".to_owned(), |at| format!("at {at}"));
        Err(Broken::because(format!("the app panicked {place}")))
    })
}
