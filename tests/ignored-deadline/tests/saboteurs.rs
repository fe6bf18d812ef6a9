//! A right checkout, and the ways in which it is spoilt.

use std::{fmt::Write, thread, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use ignored_deadline_spec::{Seal, check};
use tokio::{
    sync::{
        mpsc::{UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout_at},
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
}

#[test]
fn the_checkout_is_right_until_it_is_spoilt() {
    let report = check(checkout(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_checkout_is_rejected_for_its_own_reason() {
    let mut rejections = String::new();
    for (fault, promise) in [
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
    ] {
        let report = check(checkout(fault));
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

fn checkout(fault: Fault) -> impl Fn(Router, Seal, UnboundedSender<String>, Duration) -> Router {
    move |bank, seal, ledger, limit| {
        Router::new()
            .route("/orders/{order}", post(place_order))
            .route("/statements/{order}", get(statement))
            .with_state(Shop { bank, seal, ledger, limit, fault })
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
    let deadline = match shop.deadline(&headers) {
        Ok(deadline) => deadline,
        Err(status) => return status.into_response(),
    };
    let tries = if shop.fault == Fault::AsksThreeTimes { 3 } else { 2 };
    let work = async {
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        for _ in 0..tries {
            if shop.fault == Fault::ChargesForEachTry {
                shop.charge(&order);
            }
            status = shop.ask(Method::POST, &uri, deadline).await.status();
            if status != StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
        }
        if status != StatusCode::OK {
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
            _ => spawn_blocking(move || seal(&text)).await.expect("a seal does not panic"),
        };
        if shop.fault != Fault::ChargesForEachTry {
            shop.charge(&order);
        }
        receipt.into_response()
    };
    match timeout_at(deadline, work).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            if shop.fault == Fault::ChargesWhenShutDown {
                let late = ChargeOnDrop(shop.ledger.clone(), order);
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
    let mut frames = answer.into_body().into_data_stream();
    let (sender, receiver) = unbounded_channel();
    if shop.fault == Fault::StatementReadOn {
        tokio::spawn(async move {
            while let Some(frame) = frames.next().await {
                let _ = sender.send(frame);
            }
        });
        frames = Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|frame| (frame, receiver))
        }))
        .into_data_stream();
    }
    let until = stream::once(async move {
        sleep_until(deadline).await;
        Err(axum::Error::new("the deadline has passed"))
    });
    if shop.fault == Fault::StatementEndsCleanly {
        return Body::from_stream(frames.take_until(sleep_until(deadline))).into_response();
    }
    // Whichever ends first: the frames, or the time.
    let frames = frames.map(Some).chain(stream::once(async { None }));
    let both = stream::select(frames, until.map(Some)).take_while(|frame| std::future::ready(frame.is_some()));
    Body::from_stream(both.map(|frame| frame.expect("the end was taken off"))).into_response()
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
        let left = deadline.duration_since(Instant::now()).as_millis() as u64;
        if left == 0 {
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
