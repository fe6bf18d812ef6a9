//! What the proof of a clause works with: the subject in one scene.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use lab::{Closed, Lab, Scene, SourceError, locked};
use tokio::{task::JoinHandle, time::timeout};
use tower::{BoxError, Service, ServiceExt};

use crate::{
    body::{Seen, chain, read},
    probe::{Answering, Back, Evidence, Handler},
    subject::{Subject, Wrapped},
};

/// More places than a scene takes.
pub(crate) const PLENTY: usize = 16;
/// How long it takes an inner service or a client to do the next thing. A scene lasts less than a second, so that no timeout of a
/// layer's own strikes.
pub(crate) const PAUSE: Duration = Duration::from_millis(30);
/// How long a clause waits for what has to come at once, in virtual time.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Why a clause is not kept, or has no meaning.
#[derive(Debug)]
pub(crate) enum Fall {
    Broken {
        observed: String,
        /// The clauses whose breach explains this one: the first of them that is broken too.
        causes: Vec<&'static str>,
        /// The clause without which this one cannot be judged at all.
        certain: Option<&'static str>,
    },
    NotApplicable(String),
}

pub(crate) type Proof = Result<(), Fall>;

impl Fall {
    pub(crate) fn because(observed: impl Into<String>) -> Self {
        Self::Broken { observed: observed.into(), causes: Vec::new(), certain: None }
    }

    /// It could not come otherwise, once the clause `cause` is not kept. Where the contract changes that, this one has no meaning.
    pub(crate) fn follows(observed: impl Into<String>, cause: &'static str) -> Self {
        Self::Broken { observed: observed.into(), causes: vec![cause], certain: Some(cause) }
    }

    /// Names a cause. Those that were named before are nearer.
    pub(crate) fn or_follows(mut self, key: &'static str) -> Self {
        if let Self::Broken { causes, .. } = &mut self {
            causes.push(key);
        }
        self
    }

    /// Names a cause, where there is evidence of it.
    pub(crate) fn or_follows_if(self, evidence: bool, key: &'static str) -> Self {
        if evidence { self.or_follows(key) } else { self }
    }
}

impl From<Closed> for Fall {
    fn from(closed: Closed) -> Self {
        Self::because(closed.to_string())
    }
}

pub(crate) fn require(holds: bool, observed: impl Into<String>) -> Proof {
    if holds { Ok(()) } else { Err(Fall::because(observed)) }
}

/// Like [`require`]; a breach [follows](Fall::follows) from that of the clause `cause`.
pub(crate) fn require_but(holds: bool, cause: &'static str, observed: impl Into<String>) -> Proof {
    if holds { Ok(()) } else { Err(Fall::follows(observed, cause)) }
}

pub(crate) fn needs(holds: bool, why_not: &'static str) -> Proof {
    if holds { Ok(()) } else { Err(Fall::NotApplicable(why_not.to_owned())) }
}

/// What a proof leaves behind for the report.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Of the last scene.
    pub(crate) evidence: Mutex<Arc<Evidence>>,
    /// The declared parts that were seen to be touched.
    pub(crate) touched: Mutex<BTreeSet<String>>,
    /// Whether a request reached the inner service and an answer came back.
    pub(crate) answered: AtomicBool,
}

impl Notes {
    /// The clauses that explain a breach, by what the inner service has seen of it.
    pub(crate) fn causes(&self) -> Vec<&'static str> {
        let evidence = locked(&self.evidence).clone();
        let mut causes = Vec::new();
        if evidence.called_again.load(Ordering::SeqCst) {
            causes.push("lets-through");
        }
        if evidence.called_unready.load(Ordering::SeqCst) {
            causes.push("called-where-ready");
        }
        causes
    }
}

/// What a proof is given.
#[derive(Clone)]
pub(crate) struct Stand {
    pub(crate) lab: Lab,
    pub(crate) subject: Subject,
    pub(crate) touches: Arc<[String]>,
    pub(crate) changes: Arc<[String]>,
    pub(crate) notes: Arc<Notes>,
}

impl Stand {
    /// Begins a scene in which the inner service has so many places and answers so.
    pub(crate) fn open(
        &self,
        title: impl Into<String>,
        places: usize,
        handler: impl Fn(Scene, Request<Body>) -> Answering + Send + Sync + 'static,
    ) -> Bench {
        let scene = self.lab.scene(title);
        let back = self.back(&scene, places, Arc::new(handler));
        Bench { scene, outer: self.subject.make(back.clone()), back, subject: self.subject.clone() }
    }

    pub(crate) fn back(&self, scene: &Scene, places: usize, handler: Handler) -> Arc<Back> {
        let evidence = Arc::<Evidence>::default();
        *locked(&self.notes.evidence) = evidence.clone();
        let own = scene.clone();
        let answerer = Box::new(move |request| handler(own.clone(), request));
        Back::new(Some(scene.clone()), places, answerer, self.subject.answers.clone(), evidence)
    }

    /// Whether the contract changes this clause, so that another that shows the same is not to tell it again.
    pub(crate) fn changes(&self, key: &str) -> bool {
        self.changes.iter().any(|changed| changed == key)
    }

    /// Whether the contract lets the layer touch this part. That it was touched is remembered.
    pub(crate) fn may_touch(&self, part: &str) -> bool {
        let declared = self.touches.iter().any(|declared| declared == part);
        if declared {
            locked(&self.notes.touched).insert(part.to_owned());
        }
        declared
    }

    /// The bytes of an answer as the inner service gave them, as far as the suite is told how to undo what the layer made of
    /// them. `None` if it is not to compare them.
    pub(crate) fn comparable(&self, coded: bool, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match &self.subject.decoding {
            Some(decoding) if coded => Some(decoding(bytes)),
            None if coded && self.may_touch("response body") => None,
            _ => Some(bytes),
        }
    }

    /// Holds the bytes of an answer against those that were sent.
    pub(crate) fn same_response(&self, coded: bool, bytes: Vec<u8>, sent: &[u8]) -> Proof {
        let Some(got) = self.comparable(coded, bytes) else { return Ok(()) };
        if got == sent || self.may_touch("response body") {
            return Ok(());
        }
        same_bytes("the client", &got, sent)
    }
}

pub(crate) fn same_bytes(who: &str, got: &[u8], sent: &[u8]) -> Proof {
    let other = got.iter().zip(sent).position(|(got, sent)| got != sent);
    require(
        got == sent,
        match other {
            Some(at) => format!("{who} got another byte at {at} of {}", sent.len()),
            None => format!("{who} got {} bytes, and {} were sent", got.len(), sent.len()),
        },
    )
}

/// The subject in one scene.
pub(crate) struct Bench {
    pub(crate) scene: Scene,
    pub(crate) back: Arc<Back>,
    pub(crate) outer: Wrapped,
    subject: Subject,
}

impl Bench {
    /// A request that the layer lets through. Each has a path of its own where a cache would otherwise answer.
    pub(crate) fn get(&self, path: &str) -> Request<Body> {
        let mut request = Request::get(path).body(Body::empty()).expect("a path");
        self.subject.ask(&mut request);
        request
    }

    pub(crate) fn post(&self, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::post(path).body(body).expect("a path");
        self.subject.ask(&mut request);
        request
    }

    pub(crate) fn twin(&self) -> Option<Wrapped> {
        self.outer.twin()
    }

    /// Waits until the layer is ready, and calls it. The future is not polled yet.
    pub(crate) async fn call(
        &mut self,
        request: Request<Body>,
    ) -> Result<impl Future<Output = Result<Response<Body>, Failed>> + Send + use<>, Failed> {
        call(&mut self.outer, request).await
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Body>, Failed> {
        self.call(request).await?.await
    }

    /// Sends a request whose answer has a body that is not at its end, and must come all the same.
    pub(crate) async fn head_of(&mut self, request: Request<Body>) -> Result<Response<Body>, Fall> {
        let call = self.call(request).await?;
        match timeout(SOON, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                let told = "the head did not come in 10 s while the body had not ended";
                Err(Fall::follows(told, "head-before-body"))
            }
        }
    }

    /// Reads an answer to its end.
    pub(crate) async fn read(&self, answer: Response<Body>) -> Seen {
        read(&self.scene, answer.into_body()).await
    }

    /// How many places of the inner service are taken, when everything has come to rest.
    pub(crate) async fn taken(&self, of: usize) -> usize {
        self.scene.settle().await;
        of.saturating_sub(self.back.places.available_permits())
    }

    /// A breach that follows from the layer's own tasks, where there are any.
    pub(crate) fn unless_spawned(&self, proof: Proof) -> Proof {
        let tasks = self.scene.app_tasks();
        proof.map_err(|fall| fall.or_follows_if(tasks > 0, "same-task"))
    }
}

pub(crate) async fn call(
    outer: &mut Wrapped,
    request: Request<Body>,
) -> Result<impl Future<Output = Result<Response<Body>, Failed>> + Send + use<>, Failed> {
    let answer = outer.ready().await.map_err(Failed)?.call(request);
    Ok(async move { answer.await.map_err(Failed) })
}

/// An error that came to a caller.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) BoxError);

impl From<Failed> for Fall {
    fn from(Failed(error): Failed) -> Self {
        Self::because(format!("nothing had failed, and the caller got the error \"{}\"", chain(&*error)))
    }
}

/// What came of a task of the scene's.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> Result<T, Fall> {
    task.await.map_err(|_| Fall::because("a call ended in a panic"))
}

// ===== What an inner service does =====

/// Answers at once with this.
pub(crate) fn at_once(answer: impl Fn(Request<Body>) -> Response<Body>) -> impl Fn(Scene, Request<Body>) -> Answering {
    move |_, request| {
        let answer = answer(request);
        Box::pin(async move { Ok(answer) })
    }
}

/// Answers after as many milliseconds as the path says in its end.
pub(crate) fn by_path(_: Scene, request: Request<Body>) -> Answering {
    let path = request.uri().path();
    let length = path.rsplit('/').next().and_then(|length| length.parse().ok()).unwrap_or_default();
    Box::pin(async move {
        // The request lives no longer than its answer takes.
        let _request = request;
        tokio::time::sleep(Duration::from_millis(length)).await;
        Ok(Response::new(Body::from("done")))
    })
}

/// Fails with the suite's error.
pub(crate) fn fails(_: Scene, _: Request<Body>) -> Answering {
    Box::pin(async { Err(SourceError(OUT_OF_PAPER.to_owned())) })
}

/// What a service says that [`fails`].
pub(crate) const OUT_OF_PAPER: &str = "out of paper";

/// What one side of a scene puts down and the other takes.
pub(crate) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    pub(crate) fn put(&self, value: T) {
        *locked(&self.0) = Some(value);
    }

    pub(crate) fn take(&self) -> Option<T> {
        locked(&self.0).take()
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
