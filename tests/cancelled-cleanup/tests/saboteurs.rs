//! A right document editor, and the ways in which it is spoilt.

use std::{
    convert::Infallible,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use cancelled_cleanup_spec::check;
use lab::abreast;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{sleep, timeout},
};
use tower::ServiceExt;
use tracing::{debug, warn};

/// What is wrong with the editor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    GivesBackBeforeTheWork,
    LeaseUsedTwice,
    ForgetsOneInAHundred,
    GuardedFromTheGrant,
    DrainHeldForADay,
    DrainNotHeld,
    TakesTwiceThePatience,
    NamesNothing,
    SaysSoAtDebug,
    AnswerWaits,
    RunsToTheEnd,
    NoLeaseOnA423,
    RefusedIsA423,
    RefusedIsIgnored,
    LocksWhateverIsPut,
    LocksWhatIsRead,
    TrailersLost,
    StatusBecomes200,
    RestIsADataStream,
    RestIsCutOff,
    A423FreesTheDocument,
    HeldByItsRequest,
    EachEditorCounts,
}

const ALL: [(Fault, &str); 23] = [
    (Fault::GivesBackBeforeTheWork, "free-after-every-ending"),
    (Fault::LeaseUsedTwice, "free-after-every-ending"),
    (Fault::ForgetsOneInAHundred, "free-after-every-ending"),
    (Fault::GuardedFromTheGrant, "leaving-while-taken"),
    (Fault::DrainHeldForADay, "drain-waits-for-the-clean-up"),
    (Fault::DrainNotHeld, "drain-waits-for-the-clean-up"),
    (Fault::TakesTwiceThePatience, "given-up-in-time"),
    (Fault::NamesNothing, "given-up-in-time"),
    (Fault::SaysSoAtDebug, "given-up-in-time"),
    (Fault::AnswerWaits, "given-up-in-time"),
    (Fault::RunsToTheEnd, "cancel-reaches-handler"),
    (Fault::NoLeaseOnA423, "work-needs-a-lease"),
    (Fault::RefusedIsA423, "work-needs-a-lease"),
    (Fault::RefusedIsIgnored, "work-needs-a-lease"),
    (Fault::LocksWhateverIsPut, "work-needs-a-lease"),
    (Fault::LocksWhatIsRead, "work-needs-a-lease"),
    (Fault::TrailersLost, "write-passes-as-it-comes"),
    (Fault::StatusBecomes200, "write-passes-as-it-comes"),
    (Fault::RestIsADataStream, "leaves-the-rest-alone"),
    (Fault::RestIsCutOff, "leaves-the-rest-alone"),
    (Fault::A423FreesTheDocument, "next-write-succeeds"),
    (Fault::HeldByItsRequest, "free-after-every-ending"),
    (Fault::EachEditorCounts, "work-needs-a-lease"),
];

#[test]
fn the_editor_is_right_until_it_is_spoilt() {
    let report = check(editor(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_editor_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |(fault, _)| check(editor(fault)));
    let mut rejections = String::new();
    for ((fault, promise), report) in ALL.into_iter().zip(reports) {
        assert!(report.broken().contains(&promise), "{fault:?}\n{report}");
        writeln!(rejections, "{fault:?}").expect("a string grows");
        for judged in report.promises {
            if let Some(observed) = judged.observed {
                writeln!(rejections, "    {}: {observed}", judged.key).expect("a string grows");
            }
        }
    }
    insta::assert_snapshot!(rejections);
}

fn editor(fault: Fault) -> impl Fn(Router, Router, Duration, mpsc::Sender<Infallible>) -> Router {
    move |routes, locks, patience, drain| {
        let (holder, dropped, taken) = (Arc::default(), Arc::default(), Arc::default());
        routes.layer(from_fn_with_state(Desk { fault, locks, patience, drain, holder, dropped, taken }, hold_lease))
    }
}

#[derive(Clone)]
struct Desk {
    fault: Fault,
    locks: Router,
    patience: Duration,
    drain: mpsc::Sender<Infallible>,
    /// The last lease that was granted.
    holder: Arc<Mutex<String>>,
    /// How many leases were to be given back.
    dropped: Arc<AtomicU64>,
    /// How many leases were to be taken.
    taken: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Lease {
    desk: Desk,
    document: String,
    id: String,
}

impl Lease {
    async fn ask(&self, method: Method) -> StatusCode {
        let question = Request::builder()
            .method(method)
            .uri(format!("/locks/{}", self.document))
            .header("x-lease", &self.id)
            .body(Body::empty())
            .expect("a path that has been parsed before");
        let Ok(answer) = self.desk.locks.clone().oneshot(question).await;
        answer.status()
    }

    async fn give_back(self) {
        let Desk { fault, patience, .. } = self.desk;
        let given_back = async {
            while !matches!(self.ask(Method::DELETE).await, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) {
                sleep(patience / 20).await;
            }
        };
        let allowed = if fault == Fault::TakesTwiceThePatience { 2 * patience } else { patience };
        if timeout(allowed, given_back).await.is_err() {
            match fault {
                Fault::NamesNothing => warn!("the lock service did not take a lease back"),
                Fault::SaysSoAtDebug => {
                    debug!(document = self.document, "the lock service did not take the lease back")
                }
                _ => warn!(document = self.document, "the lock service did not take the lease back"),
            }
        }
        if fault == Fault::DrainHeldForADay {
            sleep(Duration::from_secs(24 * 3600)).await;
        }
    }
}

/// Gives the lease back when it is dropped.
struct Held {
    lease: Option<Lease>,
    runtime: Handle,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        let dropped = lease.desk.dropped.fetch_add(1, Ordering::Relaxed);
        if lease.desk.fault == Fault::ForgetsOneInAHundred && dropped % 100 == 99 {
            return;
        }
        if lease.desk.fault == Fault::DrainNotHeld {
            lease.desk.drain = mpsc::channel(1).0;
        }
        self.runtime.spawn(lease.give_back());
    }
}

async fn hold_lease(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    let fault = desk.fault;
    let Some(document) = written(fault, &request) else { return rest(fault, next.run(request).await).await };
    static LEASES: AtomicU64 = AtomicU64::new(0);
    let number = match fault {
        Fault::LeaseUsedTwice => 0,
        Fault::EachEditorCounts => desk.taken.fetch_add(1, Ordering::Relaxed),
        _ => LEASES.fetch_add(1, Ordering::Relaxed),
    };
    let mut lease = Lease { desk: desk.clone(), document, id: format!("lease-{number}") };
    let mut held = Held { lease: None, runtime: Handle::current() };
    if fault != Fault::GuardedFromTheGrant {
        held.lease = Some(lease.clone());
    }
    match lease.ask(Method::PUT).await {
        StatusCode::CREATED => {}
        StatusCode::LOCKED if fault == Fault::NoLeaseOnA423 => {}
        StatusCode::LOCKED => {
            if fault == Fault::A423FreesTheDocument {
                lease.id = desk.holder.lock().unwrap().clone();
                held.lease = Some(lease);
            }
            return StatusCode::LOCKED.into_response();
        }
        _ if fault == Fault::RefusedIsA423 => return StatusCode::LOCKED.into_response(),
        _ if fault == Fault::RefusedIsIgnored => {}
        _ => return StatusCode::BAD_GATEWAY.into_response(),
    }
    desk.holder.lock().unwrap().clone_from(&lease.id);
    held.lease = Some(lease.clone());
    if fault == Fault::GivesBackBeforeTheWork {
        drop(held.lease.take().map(|lease| Held { lease: Some(lease), runtime: Handle::current() }));
    }
    let under_way = Arc::new(Mutex::new(Some(held)));
    if fault == Fault::HeldByItsRequest {
        request.extensions_mut().insert(under_way.clone());
    }
    let mut answer = if fault == Fault::RunsToTheEnd {
        let handled = tokio::spawn(next.run(request)).await;
        handled.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    } else {
        next.run(request).await
    };
    let mut held = under_way.lock().unwrap().take().expect("it ends here");
    match fault {
        Fault::AnswerWaits => {
            held.lease = None;
            while !matches!(lease.ask(Method::DELETE).await, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) {
                sleep(desk.patience).await;
            }
        }
        Fault::TrailersLost => return answer.map(|body| Body::from_stream(body.into_data_stream())),
        Fault::StatusBecomes200 => *answer.status_mut() = StatusCode::OK,
        _ => {}
    }
    answer
}

/// What becomes of an answer that needed no lease.
async fn rest(fault: Fault, answer: Response) -> Response {
    match fault {
        Fault::RestIsADataStream => answer.map(|body| Body::from_stream(body.into_data_stream())),
        Fault::RestIsCutOff => {
            let (parts, body) = answer.into_parts();
            let bytes = axum::body::to_bytes(body, 1024).await.unwrap_or_default();
            Response::from_parts(parts, bytes.into())
        }
        _ => answer,
    }
}

fn written(fault: Fault, request: &Request) -> Option<String> {
    let path = request.uri().path();
    let document = match (fault, path.strip_prefix("/documents/")) {
        (Fault::LocksWhateverIsPut, None) => path.trim_start_matches('/').replace('/', "-"),
        (_, document) => document?.to_owned(),
    };
    let is_one = !document.is_empty() && !document.contains('/');
    let writes = request.method() == Method::PUT || fault == Fault::LocksWhatIsRead;
    (writes && is_one).then_some(document)
}
