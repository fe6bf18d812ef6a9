//! A right checkout, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use ignored_deadline_spec::{Seal, check, hammer};
use lab::{abreast, hammer::Force, lingering::linger};
use tokio::{
    sync::{
        mpsc::{UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::spawn_blocking,
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tower::ServiceExt;

/// What is wrong with the checkout.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    ClientMayAskForMore,
    ClientIsNotHeard,
    GivesUpHalfWay,
    MalformedBudgetIsSpent,
    AsksThreeTimes,
    ChargesForEachTry,
    ChargesWhenShutDown,
    SealsInLine,
    ThreadCharges,
    StatementCollected,
    StatementEndsCleanly,
    StatementReadOn,
    TrailersLost,
    LooksWhenPending,
    TellsZero,
    TellsOne,
    ClockBeforeCharge,
    HangUpStopsIt,
    HangUpStopsTheDeadline,
    EachRefusalIsABadGateway,
    BankBusyIsAskedOnce,
    /// With two cells, a look at the other's and a mark in one's own: on one thread all is well.
    LooksThenCharges,
}

#[test]
fn the_checkout_is_right_until_it_is_spoilt() {
    let report = check(checkout(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_checkout_is_rejected_for_its_own_reason() {
    let spoilt = [
        (Fault::ClientMayAskForMore, "tighter-limit-wins"),
        (Fault::ClientIsNotHeard, "tighter-limit-wins"),
        (Fault::GivesUpHalfWay, "answer-by-deadline"),
        (Fault::MalformedBudgetIsSpent, "malformed-budget-does-no-harm"),
        (Fault::AsksThreeTimes, "answer-matches-ledger"),
        (Fault::ChargesForEachTry, "answer-matches-ledger"),
        (Fault::ChargesWhenShutDown, "late-seal-charges-nothing"),
        (Fault::SealsInLine, "answer-by-deadline"),
        (Fault::ThreadCharges, "late-seal-charges-nothing"),
        (Fault::StatementCollected, "statement-ends-at-deadline"),
        (Fault::StatementEndsCleanly, "statement-ends-at-deadline"),
        (Fault::StatementReadOn, "statement-ends-at-deadline"),
        (Fault::TrailersLost, "statements-as-sent"),
        (Fault::LooksWhenPending, "statement-ends-at-deadline"),
        (Fault::TellsZero, "bank-knows-what-is-left"),
        (Fault::TellsOne, "bank-knows-what-is-left"),
        (Fault::ClockBeforeCharge, "charge-and-deadline-agree"),
        (Fault::HangUpStopsIt, "hang-up-stops-no-order"),
        (Fault::HangUpStopsTheDeadline, "hang-up-stops-no-order"),
        (Fault::EachRefusalIsABadGateway, "orders-as-ever"),
        (Fault::BankBusyIsAskedOnce, "orders-as-ever"),
    ];
    let reports = abreast(spoilt, |(fault, _)| check(checkout(fault)));
    let mut rejections = String::new();
    for ((fault, promise), report) in spoilt.into_iter().zip(reports) {
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

#[test]
fn two_cells_of_the_apps_own_are_no_agreement() {
    let report = check(checkout(Fault::LooksThenCharges));
    assert!(report.all_kept(), "{report}");
    // A thread lingers where the other must come: it takes a fraction of this.
    let force = Force { time: Duration::from_secs(300), tries: u64::MAX };
    let hammered = hammer(Arc::new(checkout(Fault::LooksThenCharges)), force);
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}

fn checkout(fault: Fault) -> impl Fn(Router, Seal, UnboundedSender<String>, Duration) -> Router {
    move |bank, seal, ledger, limit| {
        Router::new()
            .route("/orders/{order}", post(place_order))
            .route("/statements/{order}", get(statement))
            .with_state(Shop { bank, seal, ledger, limit, fault })
            .layer(from_fn(move |request: Request, next: Next| async move {
                let goes_on = request.method() == Method::POST
                    && ![Fault::HangUpStopsIt, Fault::HangUpStopsTheDeadline].contains(&fault);
                match goes_on {
                    true => tokio::spawn(next.run(request)).await.expect("no handler panics"),
                    false => next.run(request).await,
                }
            }))
    }
}

#[derive(Clone)]
struct Shop {
    bank: Router,
    seal: Seal,
    ledger: UnboundedSender<String>,
    limit: Duration,
    fault: Fault,
}

/// Charges an order when it is dropped.
struct ChargeOnDrop(UnboundedSender<String>, String);

impl Drop for ChargeOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(self.1.clone());
    }
}

async fn place_order(State(shop): State<Shop>, headers: HeaderMap, Path(order): Path<String>, uri: Uri) -> Response {
    if shop.fault != Fault::HangUpStopsTheDeadline {
        return check_out(shop, headers, order, uri, None).await;
    }
    // The work has a task of its own, and its deadline stays here.
    let deadline = match shop.deadline(&headers) {
        Ok(deadline) => deadline,
        Err(status) => return status.into_response(),
    };
    let ages = Duration::from_secs(1 << 30);
    let mut work = tokio::spawn(check_out(shop, headers, order, uri, Some(Instant::now() + ages)));
    match timeout_at(deadline, &mut work).await {
        Ok(answer) => answer.expect("no handler panics"),
        Err(_elapsed) => {
            work.abort();
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

async fn check_out(shop: Shop, headers: HeaderMap, order: String, uri: Uri, ends: Option<Instant>) -> Response {
    let told = match shop.deadline(&headers) {
        Ok(deadline) => deadline,
        Err(status) => return status.into_response(),
    };
    let deadline = ends.unwrap_or(told);
    let tries = match shop.fault {
        Fault::AsksThreeTimes => 3,
        Fault::BankBusyIsAskedOnce => 1,
        _ => 2,
    };
    let (expired, charged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut work = pin!(async {
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        for _ in 0..tries {
            if shop.fault == Fault::ChargesForEachTry {
                shop.charge(&order);
            }
            status = shop.ask(Method::POST, &uri, told).await.status();
            if status != StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
        }
        if status != StatusCode::OK {
            if shop.fault == Fault::EachRefusalIsABadGateway {
                status = StatusCode::BAD_GATEWAY;
            }
            return status.into_response();
        }
        let (seal, text) = (shop.seal.clone(), order.clone());
        let receipt = match shop.fault {
            Fault::SealsInLine => seal(&text),
            Fault::ThreadCharges => {
                let (tell, told) = oneshot::channel();
                let charging = shop.clone();
                thread::spawn(move || {
                    let receipt = seal(&text);
                    charging.charge(&text);
                    let _ = tell.send(receipt);
                });
                return told.await.expect("a seal does not panic").into_response();
            }
            Fault::LooksThenCharges => {
                let (charging, expired, charged) = (shop.clone(), expired.clone(), charged.clone());
                let sealed = spawn_blocking(move || {
                    let receipt = seal(&text);
                    if !expired.load(SeqCst) {
                        linger();
                        charged.store(true, SeqCst);
                        charging.charge(&text);
                    }
                    receipt
                });
                return sealed.await.expect("a seal does not panic").into_response();
            }
            Fault::ClockBeforeCharge => {
                let charging = shop.clone();
                let sealed = spawn_blocking(move || {
                    let receipt = seal(&text);
                    if Instant::now() < deadline {
                        charging.charge(&text);
                    }
                    receipt
                });
                return sealed.await.expect("a seal does not panic").into_response();
            }
            _ => spawn_blocking(move || seal(&text)).await.expect("a seal does not panic"),
        };
        if shop.fault != Fault::ChargesForEachTry {
            shop.charge(&order);
        }
        receipt.into_response()
    });
    match timeout_at(deadline, &mut work).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            expired.store(true, SeqCst);
            if charged.load(SeqCst) {
                return work.await;
            }
            if shop.fault == Fault::ChargesWhenShutDown {
                let late = ChargeOnDrop(shop.ledger.clone(), order.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_secs(3600)).await;
                    drop(late);
                });
            }
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

async fn statement(State(shop): State<Shop>, headers: HeaderMap, uri: Uri) -> Response {
    let deadline = match shop.deadline(&headers) {
        Ok(deadline) => deadline,
        Err(status) => return status.into_response(),
    };
    let Ok(answer) = timeout_at(deadline, shop.ask(Method::GET, &uri, deadline)).await else {
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    };
    if !answer.status().is_success() {
        return answer;
    }
    if shop.fault == Fault::StatementCollected {
        return match timeout_at(deadline, answer.into_body().collect()).await {
            Ok(Ok(whole)) => whole.to_bytes().into_response(),
            _ => StatusCode::GATEWAY_TIMEOUT.into_response(),
        };
    }
    let (parts, mut body) = answer.into_parts();
    if shop.fault == Fault::StatementReadOn {
        let mut frames = body.into_data_stream();
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            while let Some(frame) = frames.next().await {
                let _ = sender.send(frame);
            }
        });
        body = Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|frame| (frame, receiver))
        }));
    }
    if shop.fault == Fault::TrailersLost {
        body = Body::from_stream(body.into_data_stream());
    }
    let body = match shop.fault {
        Fault::StatementEndsCleanly => Body::from_stream(body.into_data_stream().take_until(sleep_until(deadline))),
        fault => Body::new(Until {
            body: Some(body),
            deadline: Box::pin(sleep_until(deadline)),
            looks_when_pending: fault == Fault::LooksWhenPending,
        }),
    };
    Response::from_parts(parts, body)
}

/// A body that fails at its deadline.
struct Until {
    body: Option<Body>,
    deadline: Pin<Box<Sleep>>,
    looks_when_pending: bool,
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body: inner, deadline, looks_when_pending } = &mut *self;
        let Some(body) = inner else { return Poll::Ready(None) };
        if *looks_when_pending && let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if deadline.as_mut().poll(cx).is_ready() {
            *inner = None;
            return Poll::Ready(Some(Err(axum::Error::new("the deadline has passed"))));
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Shop {
    fn deadline(&self, headers: &HeaderMap) -> Result<Instant, StatusCode> {
        let now = Instant::now();
        let sent = headers.get("x-budget-ms").map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
        let granted = match (sent, self.fault) {
            (Some(Some(wanted)), Fault::ClientMayAskForMore) => Duration::from_millis(u64::min(wanted, 1 << 40)),
            (None, _) | (_, Fault::ClientIsNotHeard) => self.limit,
            (Some(Some(wanted)), _) => self.limit.min(Duration::from_millis(wanted)),
            (Some(None), Fault::MalformedBudgetIsSpent) => return Err(StatusCode::GATEWAY_TIMEOUT),
            (Some(None), _) => return Err(StatusCode::BAD_REQUEST),
        };
        Ok(now + if self.fault == Fault::GivesUpHalfWay { granted / 2 } else { granted })
    }

    async fn ask(&self, method: Method, uri: &Uri, deadline: Instant) -> Response {
        let exactly = deadline.duration_since(Instant::now());
        let mut left = exactly.as_millis() as u64;
        if self.fault == Fault::TellsOne && !exactly.is_zero() {
            left = left.max(1);
        }
        if left == 0 && (self.fault != Fault::TellsZero || exactly.is_zero()) {
            return StatusCode::GATEWAY_TIMEOUT.into_response();
        }
        let question = Request::builder().method(method).uri(uri.path()).header("x-budget-ms", left);
        let question = question.body(Body::empty()).expect("a request that never changes");
        let Ok(answer) = self.bank.clone().oneshot(question).await;
        answer
    }

    fn charge(&self, order: &str) {
        self.ledger.send(order.to_owned()).expect("the ledger is open");
    }
}
