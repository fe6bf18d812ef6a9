//! A right stock service, and the ways in which it is spoilt.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{StreamExt, stream};
use lab::{
    abreast,
    hammer::{Force, Hammered},
    lingering::linger,
};
use leaked_permit_spec::{Connect, Dialled, check, hammer};
use tokio::{
    select,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::yield_now,
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
    SparesWhatIsLeftBetweenPages,
    BoundsTheDial,
    AddsAPlaceAfterAnHour,
    SwallowsTheRefusal,
    EndsWhereItBrokeOff,
    GathersTheRows,
    PumpsTheRows,
    NamesNobody,
    NamesForEver,
    NamesByTheirId,
    SparesNothingThatFailed,
    PlaceBeforeItsConnection,
    WaitsAnewWhenWokenInVain,
    /// These are right.
    DialsInATaskOfItsOwn,
    NewestFirst,
    /// Right on a clock that goes.
    TimersOfItsOwn,
    /// With these all is well on one thread.
    LooksBeforeItIsNotified,
    ListOfHoldersCopied,
    PlaceBeforeItsName,
}

#[test]
fn the_service_is_right_until_it_is_spoilt() {
    let report = check(service(Fault::None));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn a_pool_that_dials_in_a_task_of_its_own_is_right() {
    let report = check(service(Fault::DialsInATaskOfItsOwn));
    assert!(report.all_kept(), "{report}");
}

#[test]
fn the_newest_of_those_who_wait_may_be_served_first() {
    let report = check(service(Fault::NewestFirst));
    assert!(report.all_kept(), "{report}");
    let hammered = hammer(Arc::new(service(Fault::NewestFirst)), Force { time: Duration::from_secs(600), tries: 200 });
    assert_eq!(hammered, Hammered::NothingSeen { tries: 200 });
}

#[test]
fn a_pool_with_timers_of_its_own_is_told_whose_timers_count() {
    let report = check(service(Fault::TimersOfItsOwn));
    let told = report.promises.iter().filter_map(|judged| judged.observed.as_deref());
    let which = "which only tokio's timers follow";
    assert!(told.into_iter().any(|observed| observed.contains(which)), "{report}");
}

/// Every promise is kept on one thread, and two show what is wrong. A thread lingers where the other must come, so that it
/// takes a fraction of this time.
fn falls_on_real_threads(fault: Fault) {
    let report = check(service(fault));
    assert!(report.all_kept(), "{report}");
    let hammered = hammer(Arc::new(service(fault)), Force { time: Duration::from_secs(300), tries: u64::MAX });
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}

#[test]
fn a_place_that_comes_between_the_look_and_the_wait_is_missed() {
    falls_on_real_threads(Fault::LooksBeforeItIsNotified);
}

#[test]
fn a_list_of_holders_that_is_written_from_a_copy_forgets_a_change() {
    falls_on_real_threads(Fault::ListOfHoldersCopied);
}

#[test]
fn a_name_that_is_removed_by_its_number_after_the_place_is_anothers() {
    falls_on_real_threads(Fault::PlaceBeforeItsName);
}

#[test]
fn each_spoilt_service_is_rejected_for_its_own_reason() {
    let spoilt = [
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
        (Fault::SparesWhatIsLeftBetweenPages, "spoilt-is-not-used-again"),
        (Fault::BoundsTheDial, "wait-is-bounded"),
        (Fault::AddsAPlaceAfterAnHour, "no-more-than-size"),
        (Fault::SwallowsTheRefusal, "what-happened-is-told"),
        (Fault::EndsWhereItBrokeOff, "what-happened-is-told"),
        (Fault::GathersTheRows, "rows-come-as-fetched"),
        (Fault::PumpsTheRows, "rows-come-as-fetched"),
        (Fault::NamesNobody, "holders-are-named"),
        (Fault::NamesForEver, "holders-are-named"),
        (Fault::NamesByTheirId, "holders-are-named"),
        (Fault::SparesNothingThatFailed, "no-more-than-size"),
        (Fault::PlaceBeforeItsConnection, "no-more-than-size"),
        (Fault::WaitsAnewWhenWokenInVain, "wait-is-bounded"),
    ];
    let reports = abreast(spoilt, |(fault, _)| check(service(fault)));
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

fn service(fault: Fault) -> impl Fn(usize, Duration, Connect) -> Router {
    move |size, wait, connect| {
        let places = Arc::new(Semaphore::new(size));
        let (given_back, idle, holders) = (Arc::default(), Arc::default(), Arc::default());
        let desk = Desk { fault, places, given_back, idle, waiting: Arc::default(), holders, size, wait, connect };
        Router::new().route("/stock/{item}", get(stock)).with_state(desk)
    }
}

#[derive(Clone)]
struct Desk {
    fault: Fault,
    places: Arc<Semaphore>,
    /// Told when a place was given back.
    given_back: Arc<Notify>,
    idle: Arc<Mutex<Vec<Dialled>>>,
    /// Who waits, where the newest is served first.
    waiting: Arc<Mutex<Vec<Arc<Notify>>>>,
    /// Who has a connection.
    holders: Arc<Mutex<Vec<Arc<str>>>>,
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
    /// Whether a query is under way.
    asking: bool,
    who: Arc<str>,
}

impl Desk {
    async fn check_out(&self, who: Arc<str>) -> Result<Lease, Response> {
        let desk = self.clone();
        let mut lease = Lease { desk, place: None, connection: None, clean: true, failed: false, asking: false, who };
        if self.fault == Fault::DialsBeforeItHasAPlace {
            lease.connection = Some(self.dial().await?);
        }
        lease.place = Some(self.place().await?);
        self.holders_become(|holders| holders.push(lease.who.clone()));
        let idle = self.idle.lock().unwrap().pop().filter(|_| self.fault != Fault::DialsEachTime);
        lease.connection = lease.connection.take().or(idle);
        if lease.connection.is_some() {
            return Ok(lease);
        }
        match self.fault {
            Fault::DialsInATaskOfItsOwn => {
                let dialled = tokio::spawn(lease.dial()).await;
                dialled.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?
            }
            Fault::BoundsTheDial => timeout(self.wait, lease.dial()).await.map_err(|_| self.exhausted())?,
            _ => lease.dial().await,
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Response> {
        let granted = match self.fault {
            Fault::RefusesAtOnce => self.places.clone().try_acquire_owned().ok(),
            Fault::GivesUpHalfWay => timeout(self.wait / 2, self.acquired()).await.ok(),
            Fault::WaitsWithoutEnd => Some(self.acquired().await),
            Fault::LooksNowAndThen => timeout(self.wait, self.looked_for()).await.ok(),
            Fault::NewestFirst => timeout(self.wait, self.newest_first()).await.ok(),
            Fault::TimersOfItsOwn => {
                let (tell, told) = oneshot::channel::<()>();
                let wait = self.wait;
                thread::spawn(move || {
                    let (_never, nothing) = std::sync::mpsc::channel::<()>();
                    let _ = nothing.recv_timeout(wait);
                    drop(tell);
                });
                select! {
                    place = self.acquired() => Some(place),
                    _ = told => None,
                }
            }
            Fault::LooksBeforeItIsNotified => timeout(self.wait, self.notified()).await.ok(),
            Fault::WaitsAnewWhenWokenInVain => self.waited_anew().await,
            _ => timeout(self.wait, self.acquired()).await.ok(),
        };
        let place = granted.ok_or_else(|| self.exhausted())?;
        if self.fault == Fault::AddsAPlaceAfterAnHour {
            let places = self.places.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(3600)).await;
                if places.available_permits() == 0 {
                    places.add_permits(1);
                }
            });
        }
        Ok(place)
    }

    fn exhausted(&self) -> Response {
        let mut text = match self.fault {
            Fault::NamesNoNumbers => "busy".to_owned(),
            _ => format!("all {} are taken, after {} ms", self.size, self.wait.as_millis()),
        };
        for who in self.holders.lock().unwrap().iter().filter(|_| self.fault != Fault::NamesNobody) {
            text.push_str(&format!(", {who} has one"));
        }
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }

    async fn acquired(&self) -> OwnedSemaphorePermit {
        self.places.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn newest_first(&self) -> OwnedSemaphorePermit {
        let ours = Arc::new(Notify::new());
        let _waiting = Waiting(self.clone(), ours.clone());
        loop {
            {
                let mut waiting = self.waiting.lock().unwrap();
                waiting.retain(|other| !Arc::ptr_eq(other, &ours));
                if let Ok(place) = self.places.clone().try_acquire_owned() {
                    return place;
                }
                waiting.push(ours.clone());
            }
            ours.notified().await;
        }
    }

    async fn notified(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return place;
            }
            linger();
            self.given_back.notified().await;
        }
    }

    async fn waited_anew(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return Some(place);
            }
            timeout(self.wait, self.given_back.notified()).await.ok()?;
        }
    }

    fn holders_become(&self, change: impl FnOnce(&mut Vec<Arc<str>>)) {
        if self.fault == Fault::ListOfHoldersCopied {
            let mut holders = self.holders.lock().unwrap().clone();
            change(&mut holders);
            linger();
            *self.holders.lock().unwrap() = holders;
        } else {
            change(&mut self.holders.lock().unwrap());
        }
    }

    /// Wakes the newest who waits.
    fn wake(&self) {
        if let Some(newest) = self.waiting.lock().unwrap().pop() {
            newest.notify_one();
        }
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

/// Whoever stops waiting leaves the queue, and may have been woken for the next.
struct Waiting(Desk, Arc<Notify>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &self.1));
        if self.0.places.available_permits() > 0 {
            self.0.wake();
        }
    }
}

impl Lease {
    async fn dial(mut self) -> Result<Self, Response> {
        match self.desk.dial().await {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(self)
            }
            Err(answer) => {
                self.failed = true;
                Err(answer)
            }
        }
    }

    async fn query(&mut self, query: &str) -> Result<Vec<String>, BoxError> {
        let connection = self.connection.as_mut().ok_or("there is no connection")?;
        (self.clean, self.asking) = (false, true);
        let page = connection.ready().await?.call(query.to_owned()).await;
        (self.failed, self.asking) = (page.is_err(), false);
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
            Fault::SparesWhatIsLeftBetweenPages => self.clean || !self.failed && !self.asking,
            Fault::SparesNothingThatFailed => self.clean && !self.failed,
            _ => self.clean,
        };
        match fault {
            Fault::NamesForEver | Fault::PlaceBeforeItsName => {}
            Fault::NamesByTheirId => self.desk.holders_become(|holders| holders.retain(|holder| *holder != self.who)),
            _ => self.desk.holders_become(|holders| holders.retain(|holder| !Arc::ptr_eq(holder, &self.who))),
        }
        if fault == Fault::PlaceBeforeItsConnection {
            drop(self.place.take());
        }
        self.desk.idle.lock().unwrap().extend(self.connection.take().filter(|_| good));
        let Some(place) = self.place.take() else { return };
        match fault {
            Fault::NewestFirst | Fault::LooksBeforeItIsNotified | Fault::WaitsAnewWhenWokenInVain => {
                drop(place);
                self.desk.given_back.notify_waiters();
                self.desk.wake();
                return;
            }
            Fault::PlaceBeforeItsName => {
                let number = self.desk.holders.lock().unwrap().iter().position(|holder| Arc::ptr_eq(holder, &self.who));
                drop(place);
                linger();
                let mut holders = self.desk.holders.lock().unwrap();
                number.filter(|number| *number < holders.len()).map(|number| holders.remove(number));
                return;
            }
            _ => {}
        }
        if fault == Fault::NoPlaceForAPanic && thread::panicking() {
            place.forget();
        } else if fault == Fault::TwoPlacesForAnError && self.failed {
            self.desk.places.add_permits(1);
        }
    }
}

async fn stock(State(desk): State<Desk>, Path(item): Path<String>, headers: HeaderMap) -> Response {
    let who: Arc<str> = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("somebody").into();
    if desk.fault == Fault::RunsToTheEnd {
        let answer = tokio::spawn(async move { answered(desk, item, who).await });
        return answer.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    }
    answered(desk, item, who).await
}

async fn answered(desk: Desk, item: String, who: Arc<str>) -> Response {
    rows(desk, item, who).await.unwrap_or_else(|answer| answer)
}

async fn rows(desk: Desk, item: String, who: Arc<str>) -> Result<Response, Response> {
    let mut lease = desk.check_out(who).await?;
    let first = lease.query(&format!("stock {item}")).await;
    let first = match desk.fault {
        Fault::SwallowsTheRefusal => first.unwrap_or_default(),
        _ => first.map_err(unavailable)?,
    };
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
                match lease.query("more").await {
                    Err(_) if lease.desk.fault == Fault::EndsWhereItBrokeOff => Vec::new(),
                    page => page?,
                }
            }
        };
        let text = page.iter().map(|row| format!("{row}\n")).collect::<String>();
        Ok::<_, BoxError>((!page.is_empty()).then_some((text, (lease, None))))
    });
    let mut body = Body::from_stream(rows);
    match desk.fault {
        Fault::GathersTheRows => {
            body = Body::from(to_bytes(body, usize::MAX).await.map_err(|e| unavailable(e.into()))?)
        }
        Fault::PumpsTheRows => {
            let (rows, pumped) = mpsc::unbounded_channel();
            let mut read = body.into_data_stream();
            tokio::spawn(async move {
                while let Some(row) = read.next().await {
                    // Nobody tells it that the client has left.
                    let _ = rows.send(row);
                    yield_now().await;
                }
            });
            body = Body::from_stream(stream::unfold(pumped, async |mut pumped| Some((pumped.recv().await?, pumped))));
        }
        _ => {}
    }
    Ok(body.into_response())
}

fn unavailable(error: BoxError) -> Response {
    (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
}
