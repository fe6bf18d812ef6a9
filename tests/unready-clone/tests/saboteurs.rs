//! A right layer, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode},
    response::Response,
};
use lab::abreast;
use tower::{BoxError, Layer, Service};
use tracing::{Instrument, Span, info_span};
use unready_clone_spec::{Inner, check};

/// What is wrong with the layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OneIdForAll,
    IdsOfEachClone,
    IdOfReadinessCloned,
    ClientsIdKept,
    ClientsIdBeside,
    AnswerWithoutId,
    ErrorInOtherWords,
    ErrorOfReadinessAwaited,
    WakesNobody,
    GoesOnWithoutCaller,
    ForgetsWhenDropped,
    CallsTwice,
    TriesAgainUnasked,
    AnswersByItself,
    ServicesIdKept,
    ReservesWheneverAsked,
    NoSpan,
    SpanWithAnotherId,
    SpanInTheCallOnly,
    SpanInTheFutureOnly,
    SpanLeftOpen,
    SpanNotRoundTheDrop,
    BodyMadeAnew,
    MethodsRefused,
}

#[test]
fn the_layer_is_right_until_it_is_spoilt() {
    let report = check(|| Stamp(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_layer_is_rejected_for_its_own_reason() {
    let spoilt = [
        (Fault::OneIdForAll, "id-of-its-own"),
        (Fault::IdsOfEachClone, "id-of-its-own"),
        (Fault::IdOfReadinessCloned, "id-of-its-own"),
        (Fault::ClientsIdKept, "id-of-its-own"),
        (Fault::ClientsIdBeside, "id-of-its-own"),
        (Fault::AnswerWithoutId, "id-of-its-own"),
        (Fault::ErrorInOtherWords, "errors-unchanged"),
        (Fault::ErrorOfReadinessAwaited, "errors-unchanged"),
        (Fault::WakesNobody, "not-ready-at-the-limit"),
        (Fault::GoesOnWithoutCaller, "nothing-left-reserved"),
        (Fault::ForgetsWhenDropped, "nothing-left-reserved"),
        (Fault::CallsTwice, "called-where-ready"),
        (Fault::TriesAgainUnasked, "called-where-ready"),
        (Fault::AnswersByItself, "called-where-ready"),
        (Fault::ServicesIdKept, "id-of-its-own"),
        (Fault::ReservesWheneverAsked, "ready-keeps-its-place"),
        (Fault::NoSpan, "id-in-the-log"),
        (Fault::SpanWithAnotherId, "id-in-the-log"),
        (Fault::SpanInTheCallOnly, "id-in-the-log"),
        (Fault::SpanInTheFutureOnly, "id-in-the-log"),
        (Fault::SpanLeftOpen, "id-in-the-log"),
        (Fault::SpanNotRoundTheDrop, "id-in-the-log"),
        (Fault::BodyMadeAnew, "leaves-the-rest-alone"),
        (Fault::MethodsRefused, "leaves-the-rest-alone"),
    ];
    let reports = abreast(spoilt, |(fault, _)| check(move || Stamp(fault)));
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

struct Stamp(Fault);

impl Layer<Inner> for Stamp {
    type Service = Stamped;

    fn layer(&self, inner: Inner) -> Stamped {
        // Far apart, so that the ids of two services of one layer differ.
        static SERVICES: AtomicU64 = AtomicU64::new(0);
        let first = SERVICES.fetch_add(1, Ordering::Relaxed) << 32;
        Stamped { inner: Some(inner), asked: None, next: Arc::new(AtomicU64::new(first)), drawn: None, fault: self.0 }
    }
}

struct Stamped {
    /// Gone only when this is dropped.
    inner: Option<Inner>,
    /// What was asked last, where that is not `inner`.
    asked: Option<Inner>,
    next: Arc<AtomicU64>,
    /// Where it is drawn when readiness is asked for.
    drawn: Option<u64>,
    fault: Fault,
}

impl Clone for Stamped {
    fn clone(&self) -> Self {
        let next = match self.fault {
            Fault::IdsOfEachClone => Arc::new(AtomicU64::new(self.next.load(Ordering::Relaxed))),
            _ => self.next.clone(),
        };
        Self { inner: self.inner.clone(), asked: None, next, drawn: self.drawn, fault: self.fault }
    }
}

impl Drop for Stamped {
    fn drop(&mut self) {
        if self.fault == Fault::ForgetsWhenDropped {
            mem::forget(self.inner.take());
        }
    }
}

impl Service<Request> for Stamped {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let inner = self.inner.as_mut().expect("it has not been dropped");
        if self.fault == Fault::IdOfReadinessCloned && self.drawn.is_none() {
            self.drawn = Some(self.next.fetch_add(1, Ordering::Relaxed));
        }
        match self.fault {
            Fault::WakesNobody => inner.poll_ready(&mut Context::from_waker(Waker::noop())),
            Fault::ErrorOfReadinessAwaited => match inner.poll_ready(cx) {
                Poll::Ready(Err(_)) => Poll::Pending,
                other => other,
            },
            Fault::ReservesWheneverAsked => {
                ready!(inner.poll_ready(cx))?;
                let clone = inner.clone();
                self.asked = Some(mem::replace(inner, clone));
                Poll::Ready(Ok(()))
            }
            _ => inner.poll_ready(cx),
        }
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let fault = self.fault;
        let number = match fault {
            Fault::OneIdForAll => self.next.load(Ordering::Relaxed),
            Fault::IdOfReadinessCloned => self.drawn.take().expect("it was ready"),
            _ => self.next.fetch_add(1, Ordering::Relaxed),
        };
        let mut id = HeaderValue::from(number);
        let headers = request.headers_mut();
        match headers.get("x-request-id") {
            Some(sent) if fault == Fault::ClientsIdKept => id = sent.clone(),
            _ if fault == Fault::ClientsIdBeside => drop(headers.append("x-request-id", id.clone())),
            _ => drop(headers.insert("x-request-id", id.clone())),
        }
        let span = match fault {
            Fault::NoSpan => Span::none(),
            Fault::SpanWithAnotherId => info_span!("request", id = self.next.fetch_add(1, Ordering::Relaxed)),
            _ => info_span!("request", ?id),
        };
        let mut asked = self.asked.take();
        let inner = asked.as_mut().or(self.inner.as_mut()).expect("it has not been dropped");
        if fault == Fault::MethodsRefused && request.method() == Method::DELETE {
            let mut refused = Response::default();
            *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Box::pin(async { Ok(refused) });
        }
        let again = Request::get(request.uri()).header("x-request-id", "again");
        let again = again.body(Default::default()).expect("a path that was one before");
        if fault == Fault::TriesAgainUnasked {
            let (answer, mut inner) = (inner.call(request), inner.clone());
            return Box::pin(async move {
                let mut answer = match answer.await {
                    Err(_) => inner.call(again).await?,
                    Ok(answer) => answer,
                };
                answer.headers_mut().insert("x-request-id", id);
                Ok(answer)
            });
        }
        if fault == Fault::AnswersByItself {
            return Box::pin(async { Ok(Response::default()) });
        }
        if fault == Fault::CallsTwice {
            drop(inner.call(again));
        }
        let answer = match fault {
            Fault::SpanInTheFutureOnly => inner.call(request),
            _ => span.in_scope(|| inner.call(request)),
        };
        let stamped = async move {
            let mut answer = match (answer.await, fault) {
                (Err(error), Fault::ErrorInOtherWords) => return Err(format!("the request failed: {error}").into()),
                (answer, _) => answer?,
            };
            let has_one = answer.headers().contains_key("x-request-id");
            if fault != Fault::AnswerWithoutId && !(fault == Fault::ServicesIdKept && has_one) {
                answer.headers_mut().insert("x-request-id", id);
            }
            match fault {
                Fault::BodyMadeAnew => Ok(answer.map(|body| Body::from_stream(body.into_data_stream()))),
                _ => Ok(answer),
            }
        };
        match fault {
            Fault::GoesOnWithoutCaller => {
                let task = tokio::spawn(stamped);
                Box::pin(async move { task.await? })
            }
            Fault::SpanInTheCallOnly => Box::pin(stamped),
            Fault::SpanNotRoundTheDrop => {
                let mut stamped = Box::pin(stamped);
                Box::pin(poll_fn(move |cx| span.in_scope(|| stamped.as_mut().poll(cx))))
            }
            Fault::SpanLeftOpen => {
                mem::forget(span.clone().entered());
                Box::pin(stamped.instrument(span))
            }
            _ => Box::pin(stamped.instrument(span)),
        }
    }
}
