//! A right stock service, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use leaked_permit_spec::{Connect, Dialled, check};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::{Service, ServiceExt};

/// What is wrong with the service.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    DialsEachTime,
    DialsBeforeItHasAPlace,
    RefusesAtOnce,
    GivesUpHalfWay,
    WaitsWithoutEnd,
    NamesNoNumbers,
    LooksNowAndThen,
    RunsToTheEnd,
    TwoPlacesForAnError,
    NoPlaceForAPanic,
    PlaceBackWithTheFirstRows,
    ConnectionsForAll,
    SparesBrokenOnesOnly,
}

#[test]
fn the_service_is_right_until_it_is_spoilt() {
    let report = check(service(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn each_spoilt_service_is_rejected_for_its_own_reason() {
    let mut rejections = String::new();
    for (fault, promise) in [
        (Fault::DialsEachTime, "no-more-than-size"),
        (Fault::DialsBeforeItHasAPlace, "no-more-than-size"),
        (Fault::RefusesAtOnce, "wait-is-bounded"),
        (Fault::GivesUpHalfWay, "wait-is-bounded"),
        (Fault::WaitsWithoutEnd, "wait-is-bounded"),
        (Fault::NamesNoNumbers, "wait-is-bounded"),
        (Fault::LooksNowAndThen, "release-wakes-a-waiter"),
        (Fault::RunsToTheEnd, "capacity-is-kept"),
        (Fault::TwoPlacesForAnError, "capacity-is-kept"),
        (Fault::NoPlaceForAPanic, "capacity-is-kept"),
        (Fault::PlaceBackWithTheFirstRows, "held-to-the-last-row"),
        (Fault::ConnectionsForAll, "one-request-per-connection"),
        (Fault::SparesBrokenOnesOnly, "spoilt-is-not-used-again"),
    ] {
        let report = check(service(fault));
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

fn service(fault: Fault) -> impl Fn(usize, Duration, Connect) -> Router {
    move |size, wait, connect| {
        let places = Arc::new(Semaphore::new(size));
        let desk = Desk { fault, places, idle: Arc::default(), size, wait, connect };
        Router::new().route("/stock/{item}", get(stock)).with_state(desk)
    }
}

#[derive(Clone)]
struct Desk {
    fault: Fault,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Dialled>>>,
    size: usize,
    wait: Duration,
    connect: Connect,
}

/// A place and its connection, until it is dropped.
struct Lease {
    desk: Desk,
    place: Option<OwnedSemaphorePermit>,
    connection: Option<Dialled>,
    clean: bool,
    failed: bool,
}

impl Desk {
    async fn check_out(&self) -> Result<Lease, Response> {
        let mut lease = Lease { desk: self.clone(), place: None, connection: None, clean: true, failed: false };
        if self.fault == Fault::DialsBeforeItHasAPlace {
            lease.connection = Some(self.dial().await?);
        }
        lease.place = Some(self.place().await?);
        let idle = self.idle.lock().unwrap().pop().filter(|_| self.fault != Fault::DialsEachTime);
        lease.connection = match lease.connection.take().or(idle) {
            Some(connection) => Some(connection),
            None => match self.dial().await {
                Ok(connection) => Some(connection),
                Err(answer) => {
                    lease.failed = true;
                    return Err(answer);
                }
            },
        };
        Ok(lease)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Response> {
        let granted = match self.fault {
            Fault::RefusesAtOnce => self.places.clone().try_acquire_owned().ok(),
            Fault::GivesUpHalfWay => timeout(self.wait / 2, self.acquired()).await.ok(),
            Fault::WaitsWithoutEnd => Some(self.acquired().await),
            Fault::LooksNowAndThen => timeout(self.wait, self.looked_for()).await.ok(),
            _ => timeout(self.wait, self.acquired()).await.ok(),
        };
        granted.ok_or_else(|| {
            let text = match self.fault {
                Fault::NamesNoNumbers => "busy".to_owned(),
                _ => format!("all {} are taken, after {} ms", self.size, self.wait.as_millis()),
            };
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        })
    }

    async fn acquired(&self) -> OwnedSemaphorePermit {
        self.places.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn looked_for(&self) -> OwnedSemaphorePermit {
        loop {
            match self.places.clone().try_acquire_owned() {
                Ok(place) => return place,
                Err(_) => sleep(Duration::from_millis(7)).await,
            }
        }
    }

    async fn dial(&self) -> Result<Dialled, Response> {
        self.connect.clone().oneshot(()).await.map_err(unavailable)
    }
}

impl Lease {
    async fn query(&mut self, query: &str) -> Result<Vec<String>, BoxError> {
        let connection = self.connection.as_mut().ok_or("there is no connection")?;
        self.clean = false;
        let page = connection.ready().await?.call(query.to_owned()).await;
        self.failed = page.is_err();
        self.clean = match &page {
            Ok(rows) => rows.is_empty(),
            Err(error) => error.to_string() != "broken",
        };
        page
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let fault = self.desk.fault;
        let good = match fault {
            Fault::ConnectionsForAll => true,
            Fault::SparesBrokenOnesOnly => self.clean || !self.failed,
            _ => self.clean,
        };
        self.desk.idle.lock().unwrap().extend(self.connection.take().filter(|_| good));
        let Some(place) = self.place.take() else { return };
        if fault == Fault::NoPlaceForAPanic && thread::panicking() {
            place.forget();
        } else if fault == Fault::TwoPlacesForAnError && self.failed {
            self.desk.places.add_permits(1);
        }
    }
}

async fn stock(State(desk): State<Desk>, Path(item): Path<String>) -> Response {
    if desk.fault == Fault::RunsToTheEnd {
        let answer = tokio::spawn(async move { answered(desk, item).await });
        return answer.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    }
    answered(desk, item).await
}

async fn answered(desk: Desk, item: String) -> Response {
    rows(desk, item).await.unwrap_or_else(|answer| answer)
}

async fn rows(desk: Desk, item: String) -> Result<Response, Response> {
    let mut lease = desk.check_out().await?;
    let first = lease.query(&format!("stock {item}")).await.map_err(unavailable)?;
    match desk.fault {
        Fault::PlaceBackWithTheFirstRows => drop(lease.place.take()),
        Fault::ConnectionsForAll => desk.idle.lock().unwrap().extend(lease.connection.take()),
        _ => {}
    }
    let rows = stream::try_unfold((lease, Some(first)), |(mut lease, fetched)| async move {
        let page = match fetched {
            Some(page) => page,
            None => {
                if lease.connection.is_none() {
                    lease.connection = lease.desk.idle.lock().unwrap().pop();
                }
                lease.query("more").await?
            }
        };
        let text = page.iter().map(|row| format!("{row}\n")).collect::<String>();
        Ok::<_, BoxError>((!page.is_empty()).then_some((text, (lease, None))))
    });
    Ok(Body::from_stream(rows).into_response())
}

fn unavailable(error: BoxError) -> Response {
    (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
}
