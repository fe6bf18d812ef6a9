//! A right layer, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::{extract::Request, http::HeaderValue, response::Response};
use tower::{BoxError, Layer, Service};
use unready_clone_spec::{Inner, check};

/// What is wrong with the layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OneIdForAll,
    IdsOfEachClone,
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
}

#[test]
fn the_layer_is_right_until_it_is_spoilt() {
    let report = check(|| Stamp(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_layer_is_rejected_for_its_own_reason() {
    let mut rejections = String::new();
    for (fault, promise) in [
        (Fault::OneIdForAll, "id-of-its-own"),
        (Fault::IdsOfEachClone, "id-of-its-own"),
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
    ] {
        let report = check(move || Stamp(fault));
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
        Stamped { inner: Some(inner), next: Arc::new(AtomicU64::new(first)), fault: self.0 }
    }
}

struct Stamped {
    /// Gone only when this is dropped.
    inner: Option<Inner>,
    next: Arc<AtomicU64>,
    fault: Fault,
}

impl Clone for Stamped {
    fn clone(&self) -> Self {
        let next = match self.fault {
            Fault::IdsOfEachClone => Arc::new(AtomicU64::new(self.next.load(Ordering::Relaxed))),
            _ => self.next.clone(),
        };
        Self { inner: self.inner.clone(), next, fault: self.fault }
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
        match self.fault {
            Fault::WakesNobody => inner.poll_ready(&mut Context::from_waker(Waker::noop())),
            Fault::ErrorOfReadinessAwaited => match inner.poll_ready(cx) {
                Poll::Ready(Err(_)) => Poll::Pending,
                other => other,
            },
            _ => inner.poll_ready(cx),
        }
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let fault = self.fault;
        let number = match fault {
            Fault::OneIdForAll => self.next.load(Ordering::Relaxed),
            _ => self.next.fetch_add(1, Ordering::Relaxed),
        };
        let mut id = HeaderValue::from(number);
        let headers = request.headers_mut();
        match headers.get("x-request-id") {
            Some(sent) if fault == Fault::ClientsIdKept => id = sent.clone(),
            _ if fault == Fault::ClientsIdBeside => drop(headers.append("x-request-id", id.clone())),
            _ => drop(headers.insert("x-request-id", id.clone())),
        }
        let inner = self.inner.as_mut().expect("it has not been dropped");
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
        let answer = inner.call(request);
        let stamped = async move {
            let mut answer = match (answer.await, fault) {
                (Err(error), Fault::ErrorInOtherWords) => return Err(format!("the request failed: {error}").into()),
                (answer, _) => answer?,
            };
            if fault != Fault::AnswerWithoutId {
                answer.headers_mut().insert("x-request-id", id);
            }
            Ok(answer)
        };
        match fault {
            Fault::GoesOnWithoutCaller => {
                let task = tokio::spawn(stamped);
                Box::pin(async move { task.await? })
            }
            _ => Box::pin(stamped),
        }
    }
}
