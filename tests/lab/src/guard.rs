//! Judges a specification, promise by promise, and survives the app under test.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::runtime;

use super::{
    asked::Asked,
    attendance, child, panics,
    report::{Judged, Outcome, Report},
    scene::{Broken, Lab, Stage},
    stillness::Holding,
    transcript::SceneRecord,
};

/// What came of a proof: nothing to tell, or why the promise does not hold.
pub type Proof = Result<(), Broken>;

/// What the guard allows an app under test. What it may wait for in virtual time is each
/// [scene's own](super::Scene::patience).
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// How long one scene of a promise may take by the wall clock before the app is given up as spinning or blocked; however
    /// slow the machine is, a proof whose next scene begins goes on. For a sixth of it a [held clock](super::Scene::hold_the_clock) waits for the app.
    pub unresponsive: Duration,
    /// The key of the one promise to judge. The report has no line for the others, and is empty if it is the key of none.
    pub only: Option<&'a str>,
    /// Whether promises that are judged [beside](Specification::beside) the scenes are judged; if not, the report has no line
    /// for them.
    pub beside: bool,
}

impl Default for Limits<'_> {
    fn default() -> Self {
        Self { unresponsive: Duration::from_secs(30), only: None, beside: true }
    }
}

/// The proof of one promise for one app. What the app is does not show, so that what follows is compiled once for all.
type Run = Box<dyn FnOnce(Lab) -> Pin<Box<dyn Future<Output = Proof>>> + Send>;

/// What came of a promise that is judged beside the scenes, and the scenes that its judge has played.
pub type Shown = (Proof, Vec<SceneRecord>);

struct Promise {
    asked: Asked,
    way: Way,
}

/// How a promise is judged.
enum Way {
    /// In scenes, on a thread and a runtime of its own.
    Scenes(Run),
    /// By a judge that has guards of its own.
    Beside(Box<dyn FnOnce(Limits<'_>) -> Shown + Send>),
}

/// On what terms the promises of one judgement are proven.
#[derive(Clone)]
pub(super) struct Terms {
    /// Whether no other specification is judged meanwhile.
    pub(super) alone: bool,
    /// [`Limits::unresponsive`].
    limit: Duration,
    pub(super) holding: Holding,
}

/// The promises of one ghost, about to be held against one app.
pub struct Specification<A> {
    ghost: &'static str,
    app: A,
    promises: Vec<Promise>,
    alone: bool,
}

impl<A: Clone + Send + 'static> Specification<A> {
    /// The specification of the ghost `ghost` for the app that the constructor `app` makes.
    pub fn of(ghost: &'static str, app: A) -> Self {
        Self { ghost, app, promises: Vec::new(), alone: false }
    }

    /// No other specification is judged in this process meanwhile. For apps that change something process-wide, such as the
    /// panic hook. A hook that the app sets once, in whatever promise, is there in all that come after; one that the app
    /// sets each time it is made takes the place of the one before. It hears each panic once, and the laboratory does too,
    /// whether or not it goes on to the hook that it found. When the specification has been judged it is gone.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Adds a promise: what is `asked`, and the `proof` that it is kept. The proof gets a laboratory and the constructor of its
    /// own; what it does not need to send to other threads need not be `Send`.
    pub fn promise<F>(mut self, asked: Asked, proof: F) -> Self
    where
        F: AsyncFnOnce(Lab, A) -> Proof + Send + 'static,
    {
        let app = self.app.clone();
        let proof: Run = Box::new(|lab| Box::pin(async move { proof(lab, app).await }));
        self.promises.push(Promise { asked, way: Way::Scenes(proof) });
        self
    }

    /// Adds a promise that another judge holds the app against, one with threads, runtimes and guards of its own such as a
    /// conformance suite. It gets the constructor and the limits.
    pub fn beside(mut self, asked: Asked, judge: impl FnOnce(A, Limits<'_>) -> Shown + Send + 'static) -> Self {
        let app = self.app.clone();
        let judge = Box::new(move |limits: Limits<'_>| judge(app, limits));
        self.promises.push(Promise { asked, way: Way::Beside(judge) });
        self
    }

    /// Holds the app against each promise, on a thread and a runtime of its own. Blocks the caller, also one inside a runtime.
    ///
    /// An app that spins or blocks its thread is given up with that thread, which stays behind. Where the judgement is the
    /// first of a child that [`in_child`](super::in_child) has started, the promises after it are judged in a further process,
    /// which is ended, and those after a second spin are not judged. Elsewhere those after the first are not.
    ///
    /// # Panics
    /// If the system gives no thread.
    pub fn judge(mut self, limits: Limits<'_>) -> Report {
        let is_wanted = |promise: &Promise| limits.beside || matches!(promise.way, Way::Scenes(_));
        self.promises.retain(|promise| is_wanted(promise) && limits.only.is_none_or(|only| only == promise.asked.key));
        let _turn = panics::take_turn(self.alone);
        Report::new(self.ghost, prove_all(self.promises, self.alone, limits))
    }
}

fn prove_all(promises: Vec<Promise>, alone: bool, limits: Limits<'_>) -> Vec<Judged> {
    let holding = Holding { limit: limits.unresponsive / 6, in_vain: Arc::default() };
    let terms = Terms { alone, limit: limits.unresponsive, holding };
    let mut judged: Vec<Judged> = Vec::new();
    let mut given_up = None;
    // In a process that is there for the rest: the promises up to this one were judged elsewhere.
    let after = child::judges_after();
    let mut skipped = after.clone();
    for Promise { asked: Asked { key, sentence }, way } in promises {
        if let Some(last) = &skipped {
            let done = last == key;
            judged.push(Judged::not_judged(key, sentence, "it was judged elsewhere".to_owned()));
            skipped = skipped.filter(|_| !done);
            continue;
        }
        child::mark(key);
        let (proof, scenes) = match way {
            _ if given_up.is_some() => (None, Vec::new()),
            Way::Scenes(proof) => prove_on_a_thread(key, proof, &terms),
            Way::Beside(judge) => {
                let (proof, scenes) = judge(limits);
                (Some(proof), scenes)
            }
        };
        let (outcome, observed) = match (proof, given_up) {
            (Some(Ok(())), _) => (Outcome::Kept, None),
            (Some(Err(broken)), _) => (Outcome::Broken, Some(broken.to_string())),
            (None, Some(earlier)) => (Outcome::NotJudged, Some(format!("the app was given up at `{earlier}`"))),
            (None, None) => {
                given_up = Some(key);
                let spins = Broken::because("the app did not yield: it spins, or it blocks its thread");
                let scene = scenes.last().map(|scene| scene.title.as_str());
                (Outcome::Broken, Some(spins.seen_in(scene).to_string()))
            }
        };
        judged.push(Judged { key: key.to_owned(), promise: sentence.to_owned(), outcome, observed, scenes });
        if given_up == Some(key)
            && let Some(mut rest) = child::judge_the_rest(key)
            // Of the same specification.
            && rest.iter().zip(&judged).all(|(there, here)| there.key == here.key)
        {
            judged.extend(rest.drain(judged.len().min(rest.len())..));
            break;
        }
    }
    if after.is_some() {
        child::hand_over(&judged);
    }
    judged
}

/// No proof if the thread did not come to an end in time. It is then left behind.
fn prove_on_a_thread(key: &'static str, proof: Run, terms: &Terms) -> (Option<Proof>, Vec<SceneRecord>) {
    if terms.alone {
        panics::adopt_the_apps_hook();
    } else {
        panics::own_the_hook();
    }
    let (done, ended) = mpsc::channel();
    let stage = Arc::new(OnceLock::<Stage>::new());
    let (its_stage, its_terms) = (stage.clone(), terms.clone());
    let work = move || {
        // The caller may have given this promise up.
        let _ = done.send(prove(proof, &its_terms, &its_stage));
    };
    thread::Builder::new().name(key.to_owned()).spawn(work).expect("a thread for the promise");
    let (mut parts, mut scene) = (0, 0);
    let goes_on = || {
        let before = mem::replace(&mut scene, stage.get().map_or(0, Stage::scenes_begun));
        if scene != before {
            parts = 0;
            return true;
        }
        parts += 1;
        // A sixth of the limit, 5 s as a rule.
        if parts == PARTS / 6 {
            child::tell(&format!(
                "`{key}`: the app has not yielded so far; it is given up after {}",
                spelled(terms.limit)
            ));
        }
        false
    };
    match receive_in_parts(&ended, terms.limit, goes_on) {
        Ok(proof) => (Some(proof), stage.get().map(Stage::take_scenes).unwrap_or_default()),
        Err(RecvTimeoutError::Timeout) => (None, stage.get().map(Stage::take_beginnings).unwrap_or_default()),
        Err(RecvTimeoutError::Disconnected) => {
            let ended = Broken::because("the thread of the promise ended before its proof");
            (Some(Err(ended)), stage.get().map(Stage::take_scenes).unwrap_or_default())
        }
    }
}

/// How many parts a wait by the wall clock has.
const PARTS: u32 = 100;

/// Waits for a message as [`receive_within`], and asks between two parts whether the time begins anew.
pub(super) fn receive_in_parts<T>(
    from: &Receiver<T>,
    limit: Duration,
    mut anew: impl FnMut() -> bool,
) -> Result<T, RecvTimeoutError> {
    let mut parts = 0;
    while parts < PARTS {
        let part = from.recv_timeout(limit / PARTS);
        if !matches!(part, Err(RecvTimeoutError::Timeout)) {
            return part;
        }
        parts = if anew() { 0 } else { parts + 1 };
    }
    Err(RecvTimeoutError::Timeout)
}

/// Waits for a message, for `limit` in all, in parts: a process that is stopped meanwhile (Ctrl-Z, a laptop that sleeps) loses
/// one of them, and not its whole time.
///
/// # Errors
/// If none came in time, or none can come any more.
pub fn receive_within<T>(from: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
    receive_in_parts(from, limit, || false)
}

fn prove(proof: Run, terms: &Terms, slot: &Arc<OnceLock<Stage>>) -> Proof {
    let lent = slot.clone();
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // The threads of `spawn_blocking`.
        .on_thread_start(move || lent.get().into_iter().for_each(|stage| attendance::lend(stage.clone())))
        .on_thread_stop(attendance::dismiss)
        .build()
        .expect("a runtime for the promise");
    let stage = slot.get_or_init(|| Stage::open(runtime.handle(), terms));
    let attended = attendance::attend(stage.clone());
    let lab = Lab { stage: stage.clone() };
    let run = async {
        let proof = proof(lab);
        tokio::select! {
            biased;
            proof = proof => proof,
            (patience, waits) = stage.impatience() => Err(Broken::because(still_waiting(patience, &waits))),
        }
    };
    let proof = unless_panicked(stage, || runtime.block_on(run));
    let proof = proof.map_err(|broken| broken.seen_in(stage.title().as_deref()));
    stage.close();
    let dropped = unless_panicked(stage, || {
        drop(runtime);
        Ok(())
    });
    let afterwards = stage.take_afterwards().into_iter().try_for_each(|step| unless_panicked(stage, step));
    drop(attended);
    let verdict = proof.and(dropped).and(afterwards);
    let verdict = match (verdict, stage.take_breach()) {
        (verdict, None) => verdict,
        (Ok(()), Some(breach)) => Err(breach),
        (Err(broken), Some(breach)) => Err(Broken::because(format!("{broken}; {breach}"))),
    };
    let Some((place, scene)) = stage.panic_site() else { return verdict };
    let panicked = format!("the app panicked at {place}");
    Err(match verdict {
        Ok(()) => Broken::because(panicked).seen_in(scene.as_deref()),
        Err(broken) if broken.to_string().contains(&panicked) => broken,
        // Seldom a coincidence.
        Err(broken) => Broken::because(format!("{broken}; {panicked}")),
    })
}

fn unless_panicked(stage: &Stage, work: impl FnOnce() -> Proof) -> Proof {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        // The app chose it, and it may panic when it is dropped.
        mem::forget(payload);
        let told = match (stage.panic_site(), stage.arranged_site()) {
            (Some((place, scene)), _) => {
                return Err(Broken::because(format!("the app panicked at {place}")).seen_in(scene.as_deref()));
            }
            (None, Some(place)) => {
                format!("a panic of the specification's own came through to the guard, from {place}")
            }
            (None, None) => "a panic without a message came through to the guard".to_owned(),
        };
        Err(Broken::because(told))
    })
}

/// A wait without an end, and whose it is.
fn still_waiting(patience: Duration, waits: &[String]) -> String {
    let waiting =
        format!("still waiting after {} of virtual time, which only tokio's timers follow", spelled(patience));
    if waits.is_empty() { waiting } else { format!("{waiting}: {}", waits.join(", ")) }
}

fn spelled(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}
