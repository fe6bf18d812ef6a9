//! A right shop, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body::{Frame, SizeHint};
use lab::abreast;
use no_bulkhead_spec::check;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

/// What is wrong with the shop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OnePlaceMoreThanTheShare,
    ReportsAreServedAnyway,
    ReportsNeedAnOrder,
    OrdersGiveUpEarly,
    RefusedUntilSoon,
    RefusedForNoTime,
    NoReportsAfterAWait,
    PlaceInTheExtensions,
    LivezTakesAMoment,
    TrailersLost,
    AnswerCollected,
}

const ALL: [(Fault, &str); 11] = [
    (Fault::OnePlaceMoreThanTheShare, "idle-places-are-lent"),
    (Fault::ReportsAreServedAnyway, "never-more-than-places"),
    (Fault::ReportsNeedAnOrder, "reports-beyond-share-refused"),
    (Fault::OrdersGiveUpEarly, "waiting-order-is-next"),
    (Fault::RefusedUntilSoon, "waiting-order-is-next"),
    (Fault::RefusedForNoTime, "waiting-order-is-next"),
    (Fault::NoReportsAfterAWait, "places-come-back"),
    (Fault::PlaceInTheExtensions, "places-come-back"),
    (Fault::LivezTakesAMoment, "alive-when-full"),
    (Fault::TrailersLost, "leaves-the-rest-alone"),
    (Fault::AnswerCollected, "leaves-the-rest-alone"),
];

#[test]
fn the_shop_is_right_until_it_is_spoilt() {
    let report = check(shop(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_shop_is_rejected_for_its_own_reason() {
    let reports = abreast(ALL, |(fault, _)| check(shop(fault)));
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

fn shop(fault: Fault) -> impl Fn(Router, Router, usize, usize, Duration) -> Router {
    move |orders, reports, places, share, wait| {
        let places = if fault == Fault::OnePlaceMoreThanTheShare { share + 1 } else { places };
        let door =
            Door { fault, places: Arc::new(Semaphore::new(places)), share: Arc::new(Semaphore::new(share)), wait };
        let livez = async move || {
            if fault == Fault::LivezTakesAMoment {
                sleep(Duration::from_millis(1)).await;
            }
            "alive\n"
        };
        Router::new()
            .nest("/orders", orders.layer(from_fn_with_state(door.clone(), order)))
            .nest("/admin", reports.layer(from_fn_with_state(door, report)))
            .route("/livez", get(livez))
    }
}

#[derive(Clone)]
struct Door {
    fault: Fault,
    places: Arc<Semaphore>,
    share: Arc<Semaphore>,
    wait: Duration,
}

async fn order(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let fault = door.fault;
    let wait = if fault == Fault::OrdersGiveUpEarly { door.wait / 2 } else { door.wait };
    if fault == Fault::NoReportsAfterAWait && door.places.available_permits() == 0 {
        // It is counted as one that waits, and stays so.
        door.share.close();
    }
    let Ok(Ok(place)) = timeout(wait, door.places.acquire_owned()).await else { return full(fault) };
    let place = Arc::new(place);
    if fault == Fault::PlaceInTheExtensions {
        request.extensions_mut().insert(place.clone());
    }
    held(fault, next.run(request).await, place).await
}

async fn report(State(door): State<Door>, request: Request, next: Next) -> Response {
    let fault = door.fault;
    let Ok(share) = door.share.try_acquire_owned() else { return full(fault) };
    let Ok(place) = door.places.clone().try_acquire_owned() else {
        return match fault {
            Fault::ReportsAreServedAnyway => next.run(request).await,
            _ => full(fault),
        };
    };
    if fault == Fault::ReportsNeedAnOrder && door.places.try_acquire_owned().is_ok() {
        return full(fault);
    }
    held(fault, next.run(request).await, (place, share)).await
}

fn full(fault: Fault) -> Response {
    let after = match fault {
        Fault::RefusedUntilSoon => "soon",
        Fault::RefusedForNoTime => "0",
        _ => "1",
    };
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, after)], "the shop is full\n").into_response()
}

/// The answer, whose body has its place.
async fn held(fault: Fault, answer: Response, place: impl Send + Unpin + 'static) -> Response {
    match fault {
        Fault::TrailersLost => {
            answer.map(|body| Body::from_stream(Body::new(Held { body, _place: place }).into_data_stream()))
        }
        Fault::AnswerCollected => {
            let (parts, body) = answer.into_parts();
            let bytes = to_bytes(Body::new(Held { body, _place: place }), usize::MAX).await.unwrap_or_default();
            Response::from_parts(parts, bytes.into())
        }
        _ => answer.map(|body| Body::new(Held { body, _place: place })),
    }
}

struct Held<P> {
    body: Body,
    _place: P,
}

impl<P: Unpin> HttpBody for Held<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
