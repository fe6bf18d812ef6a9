//! Spools with one fault each, beside a right one that differs in nothing else: what the specification says of each.

use std::{
    fmt::Write,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use body_double_close_spec::{Line, check};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::Fuse};
use lab::Report;
use tokio::sync::mpsc::{self, UnboundedSender};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A frame that is no data ends the upload.
    TrailersAreTheEnd,
    /// Where no byte is left, the upload ends, whatever else there is.
    NoBytesLeftIsTheEnd,
    NoSizeHint,
    SlotsFromSeven,
    /// What the client calls its slot stays beside the true one.
    ClientsSlotKept,
    /// The slot goes with what its handler has of the request.
    HeldByTheExtensions,
    /// What is not posted is no upload.
    PostsOnly,
    /// A body that outlives the answer fails.
    CutOffByTheAnswer,
    /// An upload that breaks off has ended.
    BreachIsTheEnd,
    /// A task reads one frame ahead, and counts it.
    CountsAhead,
    /// A task reads all that there is.
    ReadsAhead,
    /// The upload is read whole before its handler is called.
    CollectedFirst,
    /// What nobody reads is read by a task.
    Drained,
    /// Likewise, once the handler has answered. That is right.
    DrainedAfterTheAnswer,
}

#[test]
fn without_a_fault_all_is_kept() {
    let report = judged(Fault::None);
    assert!(report.all_kept(), "{report}");
}

#[test]
fn request_trailers_are_not_the_end() {
    rejected(Fault::TrailersAreTheEnd, "arrives-as-sent", "no trailers");
}

#[test]
fn a_body_without_bytes_left_may_have_trailers() {
    rejected(Fault::NoBytesLeftIsTheEnd, "arrives-as-sent", "no trailers");
}

#[test]
fn a_handler_may_keep_the_rest_of_its_request() {
    rejected(Fault::HeldByTheExtensions, "free-at-last-byte", "the slot is not free");
}

#[test]
fn an_upload_may_have_any_method() {
    rejected(Fault::PostsOnly, "audit-is-true", "an upload by GET");
}

#[test]
fn a_length_that_is_known_stays_known() {
    rejected(Fault::NoSizeHint, "arrives-as-sent", "the reader saw an unknown length");
}

#[test]
fn two_slots_are_not_numbered_seven_and_eight() {
    rejected(Fault::SlotsFromSeven, "slot-has-one-upload", "was told slot \"7\", with 2 slots");
}

#[test]
fn a_client_does_not_choose_its_slot() {
    rejected(Fault::ClientsSlotKept, "slot-has-one-upload", "was told slot \"7, 0\"");
}

#[test]
fn a_task_that_outlives_the_answer_still_reads_the_upload() {
    rejected(Fault::CutOffByTheAnswer, "arrives-as-sent", "and an error; without the layer");
}

#[test]
fn an_upload_that_breaks_off_is_no_end() {
    rejected(Fault::BreachIsTheEnd, "arrives-as-sent", "the task that reads it was told the end");
}

#[test]
fn a_frame_that_waits_has_not_been_received() {
    rejected(Fault::CountsAhead, "audit-is-true", "the handler answers after one frame, and more wait");
}

#[test]
fn an_upload_is_not_read_without_bound() {
    rejected(Fault::ReadsAhead, "arrives-as-sent", "more than 64 KiB of the upload were taken");
}

#[test]
fn an_upload_is_not_collected_first() {
    rejected(Fault::CollectedFirst, "nobody-waits", "dora, whose upload was refused at its first bytes");
}

#[test]
fn what_nobody_reads_ends_with_its_request() {
    rejected(Fault::Drained, "leaves-the-rest-alone", "the request body lives on");
}

/// The slot is free, the answer is out, and the body ends with its client. The broken twin reads as much and holds the answer.
#[test]
fn what_is_left_after_the_answer_may_be_read_for_nobody() {
    let report = judged(Fault::DrainedAfterTheAnswer);
    assert!(report.all_kept(), "{report}");
}

fn judged(fault: Fault) -> Report {
    check(move |slots, uploads, audit| spool(fault, slots, uploads, audit))
}

/// The promise is broken, and for that reason; which others, the snapshot says.
fn rejected(fault: Fault, promise: &str, because: &str) {
    let report = judged(fault);
    let broken = report.promises.iter().filter_map(|judged| Some((judged.key.as_str(), judged.observed.as_deref()?)));
    let mut told = String::new();
    for (key, observed) in broken.clone() {
        writeln!(told, "    {key}: {observed}").expect("a string grows");
    }
    insta::assert_snapshot!(format!("{fault:?}"), told);
    assert!(broken.into_iter().any(|(key, observed)| key == promise && observed.contains(because)), "{report}");
}

fn spool(fault: Fault, slots: usize, uploads: Router, audit: UnboundedSender<Line>) -> Router {
    let first = if fault == Fault::SlotsFromSeven { 7 } else { 0 };
    let slots: Slots = Arc::new(Mutex::new((first..first + slots).rev().collect()));
    uploads.layer(from_fn(move |request, next| hold_slot(fault, slots.clone(), audit.clone(), request, next)))
}

type Slots = Arc<Mutex<Vec<usize>>>;

async fn hold_slot(
    fault: Fault,
    slots: Slots,
    audit: UnboundedSender<Line>,
    mut request: Request,
    next: Next,
) -> Response {
    if fault == Fault::PostsOnly && request.method() != Method::POST {
        return next.run(request).await;
    }
    let Some(slot) = slots.lock().unwrap().pop() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response();
    };
    if fault == Fault::ClientsSlotKept {
        request.headers_mut().append("x-slot", HeaderValue::from(slot));
    } else {
        request.headers_mut().insert("x-slot", HeaderValue::from(slot));
    }
    let outcome = if request.body().is_end_stream() { "complete" } else { "abandoned" };
    let held = Arc::new(Held { slots, slot, received: Arc::default(), outcome: Mutex::new(outcome), audit });
    let answered = Arc::new(AtomicBool::new(false));
    let (mut parts, inner) = request.into_parts();
    let inner = match fault {
        Fault::CountsAhead => pumped(inner, 1, Some(held.received.clone())),
        Fault::ReadsAhead => pumped(inner, 10_000, None),
        Fault::CollectedFirst => match inner.collect().await {
            Ok(whole) => Body::new(whole),
            Err(_) => return StatusCode::BAD_REQUEST.into_response(),
        },
        _ => inner,
    };
    let rest = Arc::<Mutex<Option<_>>>::default();
    let inner = Fuse::new(inner);
    if fault == Fault::HeldByTheExtensions {
        parts.extensions.insert(held.clone());
    }
    let body =
        UploadBody { fault, inner, ended: false, held: Some(held), answered: answered.clone(), rest: rest.clone() };
    let answer = next.run(Request::from_parts(parts, Body::new(body))).await;
    answered.store(true, SeqCst);
    rest.lock().unwrap().take().into_iter().for_each(drain);
    answer
}

/// Reads it in a task, to its end.
fn drain(mut rest: Fuse<Body>) {
    tokio::spawn(async move { while let Some(Ok(_)) = rest.frame().await {} });
}

/// A slot, until it is dropped.
struct Held {
    slots: Slots,
    slot: usize,
    received: Arc<AtomicU64>,
    outcome: Mutex<&'static str>,
    audit: UnboundedSender<Line>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.slots.lock().unwrap().push(self.slot);
        // Nobody need read it.
        let _ = self.audit.send((self.slot, self.received.load(SeqCst), (*self.outcome.lock().unwrap()).to_owned()));
    }
}

struct UploadBody {
    fault: Fault,
    inner: Fuse<Body>,
    ended: bool,
    held: Option<Arc<Held>>,
    answered: Arc<AtomicBool>,
    /// What was left when the body was dropped.
    rest: Arc<Mutex<Option<Fuse<Body>>>>,
}

impl UploadBody {
    fn close(&mut self, outcome: &'static str) {
        if let Some(held) = self.held.take() {
            *held.outcome.lock().unwrap() = outcome;
        }
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        if self.held.take().is_none() {
            return;
        }
        let rest = mem::replace(&mut self.inner, Fuse::new(Body::empty()));
        match self.fault {
            Fault::Drained => drain(rest),
            Fault::DrainedAfterTheAnswer if self.answered.load(SeqCst) => drain(rest),
            Fault::DrainedAfterTheAnswer => *self.rest.lock().unwrap() = Some(rest),
            _ => {}
        }
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.fault == Fault::CutOffByTheAnswer && self.answered.load(SeqCst) {
            self.close("failed");
            return Poll::Ready(Some(Err(axum::Error::new("the answer has been given"))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let frame = match frame {
            Some(Ok(frame)) if self.fault == Fault::TrailersAreTheEnd && !frame.is_data() => None,
            Some(Err(_)) if self.fault == Fault::BreachIsTheEnd => None,
            frame => frame,
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(held) = self.held.as_ref().filter(|_| self.fault != Fault::CountsAhead) {
                    held.received.fetch_add(bytes, SeqCst);
                }
                let no_bytes_left =
                    self.fault == Fault::NoBytesLeftIsTheEnd && self.inner.size_hint().exact() == Some(0);
                self.ended |= no_bytes_left;
                if self.inner.is_end_stream() || no_bytes_left {
                    self.close("complete");
                }
            }
            Some(Err(_)) => self.close("failed"),
            None => self.close("complete"),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.fault == Fault::NoSizeHint { SizeHint::default() } else { self.inner.size_hint() }
    }
}

/// A body that a task reads, as many frames ahead as the channel holds.
fn pumped(mut inner: Body, ahead: usize, counts: Option<Arc<AtomicU64>>) -> Body {
    let (frames, received) = mpsc::channel(ahead);
    let left = inner.size_hint().exact();
    tokio::spawn(async move {
        while let Some(frame) = inner.frame().await {
            let bytes = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            if let Some(counts) = &counts {
                counts.fetch_add(bytes as u64, SeqCst);
            }
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    });
    Body::new(Pumped { received, left })
}

struct Pumped {
    received: mpsc::Receiver<Result<Frame<Bytes>, axum::Error>>,
    /// How many bytes are to come, if that is known.
    left: Option<u64>,
}

impl http_body::Body for Pumped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(self.received.poll_recv(cx));
        let bytes = frame.iter().flatten().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        self.left = self.left.map(|left| left - bytes as u64);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
