//! The specification of `no-bulkhead`: a shop with a report desk, whose orders must not notice how busy the desk is.
//!
//! The specification is both routers. A request that is in can be held at its head or in its body, and ends there in each
//! way; that it is in is seen by the router that receives it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Path, Request},
    http::{Extensions, HeaderMap, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::any,
};
use conform::{Contract, Subject, the_rest};
use futures_util::{FutureExt, poll};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tower::ServiceExt;

use lab::{
    Arrival, Asked, Broken, Connection, Course, Feed, Ghost, Lab, Leaving, Limits, Pending, Proof, Protocol, Report,
    Scene, Server, Shown, Specification, arranged_panic, control,
    hammer::{Force, Hammered},
    locked,
};

mod hammer;
pub mod interleavings;

pub use hammer::hammer;

/// Makes the app under test from the orders, the reports, the number of places, the share of the reports in them and the
/// longest wait of an order.
pub type App = Arc<dyn Fn(Router, Router, usize, usize, Duration) -> Router + Send + Sync>;

/// How long an order waits for a place at most.
const WAIT_MS: u64 = 1000;
/// How long the routers take for a request, where a scene says nothing else.
const TAKES_MS: u64 = 200;
/// What the report desk is asked for beyond its share.
const FORTY: usize = 40;

const ORDERS_DESPITE_REPORTS: Asked = Asked::new(
    "orders-despite-reports",
    "While `share` reports are under way and forty more are asked for, `places` − `share` orders at once are all answered \
     200, each as soon as if it were alone.",
);
const NEVER_MORE_THAN_PLACES: Asked = Asked::new(
    "never-more-than-places",
    "The two routers never have more than `places` requests together, nor `reports` more than `share`, over forty \
     connections and over forty streams of one HTTP/2 connection.",
);
const REPORTS_BEYOND_SHARE_REFUSED: Asked = Asked::new(
    "reports-beyond-share-refused",
    "With nothing else under way, `share` reports run at once. Each further one is answered 503 within `wait`, and \
     `reports` never receives it.",
);
const IDLE_PLACES_ARE_LENT: Asked = Asked::new(
    "idle-places-are-lent",
    "A place that no report has is an order's: with no report under way, `places` orders run at once.",
);
const WAITING_ORDER_IS_NEXT: Asked = Asked::new(
    "waiting-order-is-next",
    "An order that finds all places taken waits. It starts at once when a place is given back, by an order or by a \
     report, and is otherwise answered 503 after `wait`.",
);
const NO_REPORT_BEFORE_AN_ORDER: Asked =
    Asked::new("no-report-before-an-order", "No report starts while an order waits, even if it asked first.");
const HELD_TO_THE_END: Asked =
    Asked::new("held-to-the-end", "A request has its place until the body of its answer is done, or dropped.");
const PLACES_COME_BACK: Asked = Asked::new(
    "places-come-back",
    "After two hundred requests of each class that failed, panicked, or left while they waited, while they ran or in \
     the middle of the body, as many requests of each class can be in as before.",
);
const ALIVE_WHEN_FULL: Asked = Asked::new(
    "alive-when-full",
    "`GET /livez` is answered 200 at once, also when all places are taken and orders wait.",
);
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Whatever passes is as it was: the upload, the answer with its length, its frames and its trailers, and the end of \
     a client that leaves.",
);

const PARKED: Asked = IDLE_PLACES_ARE_LENT;
const RETRY_AFTER_SECONDS: Asked =
    Asked::new("retry-after-seconds", "A 503 for want of a place has a `retry-after` in whole seconds, at least 1.");
const NINE_TENTHS: Asked = Asked::new(
    "nine-tenths",
    "An order that's told 503 has waited for at least nine tenths of `wait`, and no longer than `wait`.",
);
const ONLY_THE_WAITING: Asked =
    Asked::new("only-the-waiting", "`wait` bounds only the waiting, however long a request then takes.");
const REPORTS_MAY_WAIT: Asked = Asked::new(
    "reports-may-wait",
    "A report that gets no place may be refused at once, or wait for one for up to `wait`.",
);
const ANY_ORDER: Asked = Asked::new("any-order", "Of the orders that wait, whichever you like is the next.");
const NESTED: Asked = Asked::new(
    "nested",
    "`orders` has what is below `/orders`, and `reports` what is below `/admin`, whatever the method. `share` is at least \
     1, and less than `places`.",
);

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Router, Router, usize, usize, Duration) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(ORDERS_DESPITE_REPORTS, orders_despite_reports)
        .promise(NEVER_MORE_THAN_PLACES, never_more_than_places)
        .promise(REPORTS_BEYOND_SHARE_REFUSED, reports_beyond_share_refused)
        .promise(IDLE_PLACES_ARE_LENT, idle_places_are_lent)
        .promise(WAITING_ORDER_IS_NEXT, waiting_order_is_next)
        .promise(NO_REPORT_BEFORE_AN_ORDER, no_report_before_an_order)
        .promise(HELD_TO_THE_END, held_to_the_end)
        .promise(PLACES_COME_BACK, places_come_back)
        .promise(ALIVE_WHEN_FULL, alive_when_full)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the shop changes on purpose.
pub fn contract() -> Contract {
    Contract::transparent()
}

/// What passes through as it was, beside what *must*.
const SHOULD: [&str; 22] = [
    "lets-through",
    "methods-pass",
    "calls-overlap",
    "body-drop-reaches-inner",
    "request-body-released",
    "head-before-body",
    "response-streams",
    "response-not-read-ahead",
    "request-body-untouched",
    "request-streams",
    "request-not-read-ahead",
    "trailers-kept",
    "request-trailers-kept",
    "lengths-are-kept",
    "coded-trailers-kept",
    "coded-bodies-stream",
    "extensions-kept",
    "not-polled-after-end",
    "cancel-reaches-inner",
    "upgrade-passes",
    "extended-connect-passes",
    "continue-when-read",
];

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "no-bulkhead";
    type App = fn(Router, Router, usize, usize, Duration) -> Router;
    type StandIns = (Router, Router, usize, usize, Duration);
    const ASKED: &'static [Asked] =
        &[RETRY_AFTER_SECONDS, NINE_TENTHS, ONLY_THE_WAITING, REPORTS_MAY_WAIT, ANY_ORDER, NESTED];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// Orders that take 100 ms, a summary that takes 10 s, four places and a share of two. What the routers receive stands
    /// on stderr.
    fn stand_ins() -> Self::StandIns {
        let router = |class: &'static str, takes: Duration| {
            let handler = move |request: Request| async move {
                lab::say(format_args!("{class}: {} {}", request.method(), request.uri().path()));
                sleep(takes).await;
                format!("{class}: {} is done\n", request.uri().path())
            };
            Router::new().route("/{*path}", any(handler))
        };
        let orders = router("orders", Duration::from_millis(100));
        (orders, router("reports", Duration::from_secs(10)), 4, 2, Duration::from_secs(1))
    }

    fn serve(app: Self::App, (orders, reports, places, share, wait): Self::StandIns) -> Router {
        app(orders, reports, places, share, wait)
    }
}

// ===== The promises =====

async fn orders_despite_reports(lab: Lab, app: App) -> Proof {
    let small = Size { places: 3, share: 1, wait_ms: WAIT_MS };
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, small, "three reports, and then an order");
        let alone_ms = stage.works().await?;
        let mut reports = Vec::new();
        for number in 1..=3 {
            reports.push(stage.ask(Class::Report, format!("log-{number}"), Manner::HELD).await);
            stage.scene.settle().await;
        }
        let ada = stage.told(stage.ask(Class::Order, "ada".to_owned(), Manner::Takes(TAKES_MS)).await).await?;
        ORDERS_DESPITE_REPORTS.require(
            ada.is_served() && ada.after_ms == alone_ms,
            format!("three reports were asked for, and an order that takes {alone_ms} ms alone, {ada}"),
        )?;
    }
    for (protocol, size) in each() {
        let stage = Stage::open(&lab, &app, protocol, size, "reports are parked, and forty more are asked for");
        let alone_ms = stage.works().await?;
        let _parked = stage.park(Class::Report, size.share).await?;
        let _more = stage.ask_for(Class::Report, FORTY, Manner::HELD).await;
        for later_ms in [0, 1, WAIT_MS / 2, 2 * WAIT_MS] {
            sleep(Duration::from_millis(later_ms)).await;
            stage.orders_are_served(size.places - size.share, alone_ms).await?;
        }
        let _again = stage.ask_for(Class::Report, FORTY, Manner::HELD).await;
        stage.orders_are_served(size.places - size.share, alone_ms).await?;

        let title = "forty reports are asked for at once, and then the orders";
        let stage = Stage::open(&lab, &app, protocol, size, title);
        let alone_ms = stage.works().await?;
        let _reports = stage.ask_for(Class::Report, FORTY, Manner::HELD).await;
        stage.orders_are_served(size.places - size.share, alone_ms).await?;

        let title = "forty who press reload, again and again";
        let stage = Stage::open(&lab, &app, protocol, size, title);
        let alone_ms = stage.works().await?;
        let mut reports = Vec::new();
        for round in 0..4 {
            reports.push(stage.ask_for(Class::Report, FORTY, Manner::Takes(350)).await);
            sleep(Duration::from_millis(TAKES_MS + round)).await;
            stage.orders_are_served(size.places - size.share, alone_ms).await?;
        }
    }
    Ok(())
}

async fn never_more_than_places(lab: Lab, app: App) -> Proof {
    for (protocol, size) in each() {
        for (title, classes) in [
            ("forty orders and forty reports by turns", [Class::Order, Class::Report]),
            ("forty reports and forty orders by turns", [Class::Report, Class::Order]),
        ] {
            let stage = Stage::open(&lab, &app, protocol, size, title);
            stage.works().await?;
            let mut callers = Vec::new();
            for number in 0..2 * FORTY {
                let manner = Manner::Takes(50 + 10 * (number as u64 % 7));
                callers.extend(stage.ask_for(classes[number % 2], 1, manner).await);
            }
            sleep(Duration::from_millis(3 * WAIT_MS)).await;
            stage.was_never_more()?;
        }
        for class in Class::BOTH {
            let stage = Stage::open(&lab, &app, protocol, size, format!("forty {class}s, and forty more"));
            stage.works().await?;
            let _first = stage.ask_for(class, FORTY, Manner::Takes(TAKES_MS)).await;
            sleep(Duration::from_millis(WAIT_MS / 2)).await;
            let _more = stage.ask_for(class, FORTY, Manner::Takes(TAKES_MS)).await;
            sleep(Duration::from_millis(3 * WAIT_MS)).await;
            stage.was_never_more()?;
        }
        let stage = Stage::open(&lab, &app, protocol, size, "all places taken by orders, then by reports and orders");
        stage.works().await?;
        let orders = stage.park(Class::Order, size.places).await?;
        let _reports = stage.ask_for(Class::Report, FORTY, Manner::Takes(TAKES_MS)).await;
        stage.scene.settle().await;
        stage.was_never_more()?;
        for order in orders {
            stage.finish(order).await?;
            let _reports = stage.ask_for(Class::Report, 2, Manner::HELD).await;
            stage.scene.settle().await;
        }
        let _orders = stage.ask_for(Class::Order, FORTY, Manner::Takes(TAKES_MS)).await;
        sleep(Duration::from_millis(3 * WAIT_MS)).await;
        stage.was_never_more()?;
    }
    Ok(())
}

async fn reports_beyond_share_refused(lab: Lab, app: App) -> Proof {
    // `axum::serve` makes one service of a router for each connection, and on one of HTTP/2 many requests share that.
    let made = app.clone();
    let of_one_connection: App =
        Arc::new(move |orders, reports, places, share, wait| made(orders, reports, places, share, wait).with_state(()));
    let titles = ["nothing but reports", "nothing but reports, as one connection has them"];
    for ((protocol, size), (app, title)) in
        each().flat_map(|each| [(each, (&app, titles[0])), (each, (&of_one_connection, titles[1]))])
    {
        let stage = Stage::open(&lab, app, protocol, size, title);
        stage.works().await?;
        let parked = stage.ask_for(Class::Report, size.share, Manner::HELD).await;
        stage.scene.settle().await;
        let at_once = parked.iter().filter(|report| stage.shop.has(&report.name)).count();
        REPORTS_BEYOND_SHARE_REFUSED.require(
            at_once == size.share,
            format!("nothing else was under way, and {at_once} of {} reports ran at once", size.share),
        )?;
        for number in [1, 10] {
            let further = stage.ask_for(Class::Report, number, Manner::HELD).await;
            let names: Vec<String> = further.iter().map(|report| report.name.clone()).collect();
            sleep(Duration::from_millis(WAIT_MS + 1)).await;
            stage.none_came(REPORTS_BEYOND_SHARE_REFUSED, &names, "was beyond the share")?;
            for report in further {
                stage.told(report).await?.is_refused(REPORTS_BEYOND_SHARE_REFUSED, "beyond the share")?;
            }
        }
        for report in parked {
            stage.finish(report).await?;
        }
        stage.scene.settle().await;
        let _again = stage.park(Class::Report, size.share).await?;
        stage.scene.settle().await;
        stage.was_never_more()?;
    }
    Ok(())
}

async fn idle_places_are_lent(lab: Lab, app: App) -> Proof {
    for (protocol, size) in each() {
        for reports in 0..=size.share {
            let stage =
                Stage::open(&lab, &app, protocol, size, format!("{reports} reports are in, and orders have the rest"));
            stage.works().await?;
            let parked = stage.park(Class::Report, reports).await?;
            let most = size.places - reports;
            for _ in 0..2 {
                let orders = stage.ask_for(Class::Order, most, Manner::HELD).await;
                stage.scene.settle().await;
                let at_once = orders.iter().filter(|order| stage.shop.came_at(order, order.sent_ms)).count();
                IDLE_PLACES_ARE_LENT.require(
                    at_once == most,
                    format!("{reports} reports were in, and {at_once} of {most} orders ran at once"),
                )?;
                for order in orders {
                    stage.finish(order).await?;
                }
                stage.scene.settle().await;
            }
            for report in parked {
                stage.finish(report).await?;
            }
        }
    }
    Ok(())
}

async fn waiting_order_is_next(lab: Lab, app: App) -> Proof {
    for (protocol, size) in each() {
        let stage = Stage::open(&lab, &app, protocol, size, "orders wait in vain");
        stage.works().await?;
        let _orders = stage.park(Class::Order, size.places).await?;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.extend(stage.ask_for(Class::Order, 1, Manner::HELD).await);
            sleep(Duration::from_millis(70)).await;
        }
        let names: Vec<String> = waiting.iter().map(|order| order.name.clone()).collect();
        sleep(Duration::from_millis(2 * WAIT_MS)).await;
        stage.none_came(WAITING_ORDER_IS_NEXT, &names, "found all places taken")?;
        for order in waiting {
            stage.told(order).await?.has_waited_in_vain()?;
        }
    }
    for protocol in Protocol::BOTH {
        let hasty = Size { wait_ms: WAIT_MS / 4, ..Size::FIVE };
        let stage = Stage::open(&lab, &app, protocol, hasty, "an order waits in vain for a quarter of a second");
        stage.works().await?;
        let _orders = stage.park(Class::Order, hasty.places).await?;
        for order in stage.ask_for(Class::Order, 1, Manner::HELD).await {
            stage.told(order).await?.is_refused(WAITING_ORDER_IS_NEXT, "kept waiting until its time was over")?;
        }
    }
    for protocol in Protocol::BOTH {
        for giver in Class::BOTH {
            for end in Ending::ALL {
                let size = Size::FIVE;
                let stage = Stage::open(&lab, &app, protocol, size, format!("two orders wait, and {giver} {end}"));
                stage.works().await?;
                let (leaving, _others) = stage.fill(giver, end).await?;
                let mut waiting = stage.ask_for(Class::Order, 2, Manner::HELD).await;
                sleep(Duration::from_millis(WAIT_MS / 2)).await;
                let early = waiting.iter().any(|order| stage.shop.has(&order.name));
                NEVER_MORE_THAN_PLACES.require(!early, "all places were taken, and an order came in")?;
                let at_ms = stage.scene.now_ms();
                stage.end(leaving, end).await;
                let next = waiting.iter().position(|order| stage.shop.came_at(order, at_ms));
                WAITING_ORDER_IS_NEXT.require(
                    next.is_some(),
                    format!("the place of {giver} that {end} came back, and no order that waited got it at once"),
                )?;
                // Longer than the wait: that bounds the waiting only.
                let next = waiting.swap_remove(next.unwrap_or_default());
                sleep(Duration::from_millis(2 * WAIT_MS)).await;
                stage.finish_by(ONLY_THE_WAITING, next).await?;
            }
        }
        let stage = Stage::open(&lab, &app, protocol, Size::FIVE, "two places come back at once");
        stage.works().await?;
        let mut orders = stage.park(Class::Order, 5).await?;
        let waiting = stage.ask_for(Class::Order, 3, Manner::HELD).await;
        sleep(Duration::from_millis(WAIT_MS / 2)).await;
        let at_ms = stage.scene.now_ms();
        for order in orders.drain(..2) {
            stage.shop.open(&order.name);
        }
        stage.scene.settle().await;
        let came = waiting.iter().filter(|order| stage.shop.came_at(order, at_ms)).count();
        WAITING_ORDER_IS_NEXT.require(
            came == 2,
            format!("two places came back while three orders waited, and {came} started at once"),
        )?;
    }
    for who in ["first", "second"] {
        let title = format!("the {who} of two that wait is granted a place, and leaves");
        let stage = Stage::open(&lab, &app, Protocol::Http1, Size::FIVE, title);
        stage.works().await?;
        let mut orders = stage.park(Class::Order, 5).await?;
        let (mut ben, mut cem) = (Box::pin(stage.by_hand(Class::Order, "ben")), Vec::new());
        if who == "first" {
            control(poll!(&mut ben).is_pending(), "all places were taken, and an order was answered")?;
        }
        cem.extend(stage.ask_for(Class::Order, 1, Manner::HELD).await);
        stage.scene.settle().await;
        if who == "second" {
            control(poll!(&mut ben).is_pending(), "all places were taken, and an order was answered")?;
        }
        stage.shop.open(&orders.remove(0).name);
        stage.scene.settle().await;
        // Nobody has polled it again: granted or not, it has not fetched what it waits for.
        stage.scene.note("ben", "leaves");
        drop(ben);
        stage.scene.settle().await;
        WAITING_ORDER_IS_NEXT.require(
            stage.shop.has(&cem[0].name),
            "a place came back while ben and another order waited, ben left, and the other order did not get it",
        )?;
    }
    Ok(())
}

async fn no_report_before_an_order(lab: Lab, app: App) -> Proof {
    for (protocol, size) in each() {
        for (title, order_first) in
            [("a report asks, and then an order", false), ("an order asks, and then a report", true)]
        {
            for giver in Class::BOTH {
                // The giver's place is the last that is taken: reports have room in their share.
                let title = format!("{title}; {giver} gives its place back");
                let stage = Stage::open(&lab, &app, protocol, size, title);
                stage.works().await?;
                let (leaving, others) = stage.fill(giver, Ending::Done).await?;
                let (mut waiting, mut reports) = (Vec::new(), Vec::new());
                for turn in 0..2 {
                    if order_first == (turn == 0) {
                        waiting.extend(stage.ask_for(Class::Order, 2, Manner::HELD).await);
                    } else {
                        reports.extend(stage.ask_for(Class::Report, 2, Manner::HELD).await);
                    }
                    sleep(Duration::from_millis(WAIT_MS / 4)).await;
                }
                let names: Vec<String> = reports.iter().map(|report| report.name.clone()).collect();
                stage.end(leaving, Ending::Done).await;
                stage.no_report_came(&names)?;
                let came = waiting.iter().filter(|order| stage.shop.has(&order.name)).count();
                WAITING_ORDER_IS_NEXT.require(came == 1, format!("a place came back, and {came} orders started"))?;
                // One more waits, and another report asks while a place comes back.
                let late = stage.ask_for(Class::Report, 1, Manner::HELD).await;
                if let Some(order) = others.into_iter().find(|other| other.class == Class::Order) {
                    stage.shop.open(&order.name);
                    stage.scene.settle().await;
                    stage.no_report_came(&names)?;
                    stage.no_report_came(&[late[0].name.clone()])?;
                }
            }
        }
    }
    for giver in Class::BOTH {
        let title = format!("{giver} gives its place back, and a report is there before the order that waits has it");
        let stage = Stage::open(&lab, &app, Protocol::Http1, Size::FIVE, title);
        stage.works().await?;
        let others: usize = 4;
        let _others = stage.park(Class::Order, others).await?;
        stage.shop.plan("ada", Manner::Takes(0));
        let ada = stage.by_hand(giver, "ada").await;
        control(ada.status() == StatusCode::OK, "a request got no place while one was free")?;
        let waiting = stage.ask_for(Class::Order, 1, Manner::HELD).await;
        sleep(Duration::from_millis(WAIT_MS / 2)).await;
        let mut report = Box::pin(stage.by_hand(Class::Report, "ben"));
        // Both at one instant: nobody else runs between the two.
        drop(ada);
        let _ = poll!(&mut report);
        stage.no_report_came(&["ben".to_owned()])?;
        stage.scene.settle().await;
        WAITING_ORDER_IS_NEXT.require(
            stage.shop.has(&waiting[0].name),
            "a place came back while an order waited and a report came, and the order did not get it at once",
        )?;
    }
    Ok(())
}

async fn held_to_the_end(lab: Lab, app: App) -> Proof {
    const DATA: [&str; 2] = ["one\n", "two\n"];
    for protocol in Protocol::BOTH {
        for arrival in Arrival::ALL {
            let patient = Size { wait_ms: 20 * WAIT_MS, ..Size::FIVE };
            let stage = Stage::open(&lab, &app, protocol, patient, format!("an order's body: {arrival}"));
            stage.works().await?;
            let _orders = stage.park(Class::Order, 4).await?;
            let trailers = HeaderMap::from_iter([("x-sum".parse().expect("a name"), "8".parse().expect("a value"))]);
            let (feed, body) = stage.scene.feed_that_ends_once("ada's body");
            let mut course = Course::new(&stage.scene, feed, arrival, &DATA, Some(trailers));
            stage.shop.streams("ada", body);
            let (_ada, pending) = stage.send(Class::Order, "ada", Manner::Streams).await;
            let answer = pending.answer().await?;
            let waiting = stage.ask_for(Class::Order, 1, Manner::HELD).await;
            let listener = answer.listen();
            course.run().await;
            let heard = listener.ended().await;
            let ended_ms = heard.end.as_ref().map_or(u64::MAX, |(ended_ms, _)| *ended_ms);
            let came = stage.shop.came_ms(&waiting[0].name);
            let whole = heard.text() == course.text();
            LEAVES_THE_REST_ALONE
                .require(whole, format!("{:?} was sent, and {:?} came", course.text(), heard.text()))?;
            stage.scene.settle().await;
            HELD_TO_THE_END.require(
                came.is_none_or(|came_ms| came_ms >= ended_ms),
                format!("the body ended at {ended_ms} ms, and the place was given back before that"),
            )?;
            WAITING_ORDER_IS_NEXT
                .require(stage.shop.has(&waiting[0].name), "the body was done, and its place was not given back")?;
        }
        for class in Class::BOTH {
            let stage = Stage::open(&lab, &app, protocol, Size::FIVE, format!("the body of {class} goes on"));
            stage.works().await?;
            let (streaming, others) = stage.fill(class, Ending::LeavesInTheBody).await?;
            let waiting = stage.ask_for(Class::Order, 1, Manner::HELD).await;
            sleep(Duration::from_millis(WAIT_MS * 3 / 4)).await;
            HELD_TO_THE_END.require(
                !stage.shop.has(&waiting[0].name),
                format!("the body of {class} was not done, and another request had its place"),
            )?;
            let at_ms = stage.scene.now_ms();
            stage.end(streaming, Ending::LeavesInTheBody).await;
            WAITING_ORDER_IS_NEXT.require(
                stage.shop.came_at(&waiting[0], at_ms),
                format!("the body of {class} was dropped, and the order that waited did not start at once"),
            )?;
            drop(others);
        }
        let share = Size::FIVE.share;
        let stage = Stage::open(&lab, &app, protocol, Size::FIVE, "reports are in, and have not answered yet");
        stage.works().await?;
        let _reports = stage.park(Class::Report, share).await?;
        if !stage.as_many_as_can_be(Class::Report, 1).await.0.is_empty() {
            // The share holds nobody back, and no body can change that.
            continue;
        }
        let stage = Stage::open(&lab, &app, protocol, Size::FIVE, "the bodies of all reports in the share go on");
        stage.works().await?;
        let mut streaming = Vec::new();
        for _ in 0..share {
            streaming.push(stage.begin(Class::Report, Ending::BodyEnds).await?);
        }
        for later_ms in [0, WAIT_MS / 2, 2 * WAIT_MS] {
            sleep(Duration::from_millis(later_ms)).await;
            let further = stage.ask_for(Class::Report, 1, Manner::HELD).await;
            sleep(Duration::from_millis(WAIT_MS * 3 / 4)).await;
            let came = stage.shop.has(&further[0].name);
            HELD_TO_THE_END.require(!came, "the body of a report was not done, and another report had its share")?;
        }
        for report in streaming {
            stage.end(report, Ending::BodyEnds).await;
        }
        stage.park(Class::Report, share).await?;
    }
    Ok(())
}

async fn places_come_back(lab: Lab, app: App) -> Proof {
    let before = Capacity::of(&lab, &app, Protocol::Http1, Size::FIVE).await?;
    for class in Class::BOTH {
        for end in Ending::ALL {
            let stage = Stage::open(&lab, &app, Protocol::Http1, Size::FIVE, format!("forty times {class} {end}"));
            stage.works().await?;
            for _ in 0..FORTY {
                stage.ends_in_process(class, end).await;
            }
            stage.stands(before, &format!("forty times {class} had {}", end.past())).await?;
        }
        let stage = Stage::open(
            &lab,
            &app,
            Protocol::Http1,
            Size::FIVE,
            format!("forty times {class} is served by a router that keeps its extensions"),
        );
        stage.works().await?;
        for _ in 0..FORTY {
            let name = stage.name(class);
            stage.shop.plan(&name, Manner::Keeps);
            stage.in_process(class, &name);
            stage.scene.settle().await;
        }
        stage.stands(before, &format!("a router had kept the extensions of forty requests for {class}")).await?;
        let kept = mem::take(&mut locked(&stage.shop.books).kept);
        drop(kept);

        let stage =
            Stage::open(&lab, &app, Protocol::Http1, Size::FIVE, format!("forty times {class} leaves while it waits"));
        stage.works().await?;
        let orders = stage.park(Class::Order, 5).await?;
        for patience_ms in [0, 3, WAIT_MS - 1, WAIT_MS + 1] {
            let waiting: Vec<_> =
                (0..10).map(|number| stage.in_process(class, &format!("{patience_ms}-{number}"))).collect();
            sleep(Duration::from_millis(patience_ms)).await;
            waiting.iter().for_each(|request| request.abort());
            stage.scene.settle().await;
        }
        for order in orders {
            stage.finish(order).await?;
        }
        stage.scene.settle().await;
        stage.stands(before, &format!("forty times {class} left while it waited")).await?;

        let stage = Stage::open(
            &lab,
            &app,
            Protocol::Http1,
            Size::FIVE,
            format!("{class} is granted a place and leaves, again and again"),
        );
        stage.works().await?;
        for round in 0..FORTY / 4 {
            let mut orders = stage.park(Class::Order, 5).await?;
            let waiting: Vec<_> =
                (0..4).map(|number| Box::pin(stage.by_hand(class, &format!("{round}-{number}")))).collect();
            let mut pending = Vec::new();
            for mut request in waiting {
                if poll!(&mut request).is_pending() {
                    pending.push(request);
                }
            }
            for order in orders.drain(..4) {
                stage.finish(order).await?;
            }
            stage.scene.settle().await;
            drop(pending);
            for order in orders {
                stage.finish(order).await?;
            }
            stage.scene.settle().await;
        }
        stage.stands(before, &format!("forty times {class} had been granted a place, and left")).await?;
    }
    for protocol in Protocol::BOTH {
        let stage = Stage::open(&lab, &app, protocol, Size::FIVE, "one bad end after another");
        stage.works().await?;
        for class in Class::BOTH {
            for end in Ending::ALL {
                let caller = stage.begin(class, end).await?;
                stage.end(caller, end).await;
            }
        }
        stage.stands(before, "requests had ended badly").await?;
        let before = Capacity::of(&lab, &app, protocol, SMALL).await?;
        for who in ["ada", "ben"] {
            let (stage, moments) = one_leaves(&lab, &app, protocol, who, None).await?;
            stage.stands(before, "two orders had been served").await?;
            for moment in moments {
                let (stage, _) = one_leaves(&lab, &app, protocol, who, Some(&moment)).await?;
                stage.stands(before, &format!("{who} had left")).await?;
            }
        }
    }
    Ok(())
}

const SMALL: Size = Size { places: 2, share: 1, wait_ms: WAIT_MS };

/// An order is in. A report has the other place, and ben's order waits for it; one of the two leaves at that moment, if
/// there is one. Tells the moments at which they may.
async fn one_leaves(
    lab: &Lab,
    app: &App,
    protocol: Protocol,
    who: &str,
    moment: Option<&Leaving>,
) -> Result<(Stage, Vec<Leaving>), Broken> {
    let title = moment.map_or_else(|| format!("{who} stays"), |moment| format!("{who}: {moment}"));
    let stage = Stage::open(lab, app, protocol, SMALL, title);
    let first = stage.park(Class::Order, 1).await?;
    let mut callers = Vec::new();
    for (name, class) in [("ada", Class::Report), ("ben", Class::Order)] {
        let connection = stage.server.connect(name, protocol).await;
        if let Some(moment) = moment.filter(|_| name == who) {
            connection.leaves_at(moment);
        }
        stage.shop.plan(name, Manner::HELD);
        callers.push((connection.begin(request(class, name)), connection));
        stage.scene.settle().await;
    }
    for name in ["ada", "ben"] {
        stage.shop.open(name);
        stage.scene.settle().await;
    }
    let moments = stage.scene.moments_to_leave();
    drop(callers);
    for order in first {
        stage.finish(order).await?;
    }
    stage.scene.settle().await;
    Ok((stage, moments))
}

async fn alive_when_full(lab: Lab, app: App) -> Proof {
    for (protocol, size) in each() {
        let stage = Stage::open(&lab, &app, protocol, size, "the shop fills up");
        stage.works().await?;
        stage.is_alive("nobody was in").await?;
        let reports = stage.park(Class::Report, size.share).await?;
        let _more = stage.ask_for(Class::Report, FORTY, Manner::HELD).await;
        stage.is_alive("the report desk was asked for more than its share").await?;
        let _orders = stage.ask_for(Class::Order, FORTY, Manner::HELD).await;
        for _ in 0..3 {
            stage.is_alive("all places were taken, and orders waited").await?;
        }
        sleep(Duration::from_millis(2 * WAIT_MS)).await;
        stage.is_alive("all places were taken").await?;
        drop(reports);
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    for class in Class::BOTH {
        let app = app.clone();
        // More places than the suite has requests at a time.
        let shop = move |routes| match class {
            Class::Order => app(routes, Router::new(), 1000, 500, Duration::from_secs(900)),
            Class::Report => app(Router::new(), routes, 1000, 500, Duration::from_secs(900)),
        };
        let below = move |routes| {
            Router::new().fallback_service(shop(routes).map_request(move |request| below(class, request)))
        };
        let (proof, scenes) = the_rest(Subject::app(below), &contract(), &SHOULD, limits);
        if proof.is_err() {
            return (proof.map_err(|broken| Broken::because(format!("below {}: {broken}", class.prefix()))), scenes);
        }
    }
    (Ok(()), Vec::new())
}

/// The request as its client sends it, which the routes of this class have without the prefix.
fn below(class: Class, mut request: Request) -> Request {
    let mut parts = request.uri().clone().into_parts();
    if let Some(path) = parts.path_and_query {
        let path = format!("{}{path}", class.prefix());
        parts.path_and_query = Some(path.parse().expect("a path below a prefix"));
        *request.uri_mut() = Uri::from_parts(parts).expect("a path more");
    }
    request
}

// ===== The stage =====

/// How large the shop is.
#[derive(Clone, Copy, Debug)]
struct Size {
    places: usize,
    share: usize,
    wait_ms: u64,
}

impl Size {
    const FIVE: Self = Self { places: 5, share: 2, wait_ms: WAIT_MS };
    const ALL: [Self; 2] = [Self::FIVE, Self { places: 4, share: 3, wait_ms: WAIT_MS }];
}

fn each() -> impl Iterator<Item = (Protocol, Size)> {
    Protocol::BOTH.into_iter().flat_map(|protocol| Size::ALL.map(|size| (protocol, size)))
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Order,
    Report,
}

impl Class {
    const BOTH: [Self; 2] = [Self::Order, Self::Report];

    fn prefix(self) -> &'static str {
        match self {
            Self::Order => "/orders",
            Self::Report => "/admin",
        }
    }

    /// The router that has it.
    fn lane(self) -> &'static str {
        match self {
            Self::Order => "orders",
            Self::Report => "reports",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "order",
            Self::Report => "report",
        })
    }
}

/// What a router does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Answers after so many milliseconds.
    Takes(u64),
    /// Answers when its gate is opened, or ends then in another way.
    Held(Ending),
    /// Answers at once, with a body that the specification feeds.
    Streams,
    /// Answers at once, and keeps what lies in the request's extensions.
    Keeps,
}

impl Manner {
    const HELD: Self = Self::Held(Ending::Done);
}

/// How a request that is in ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Done,
    Fails,
    Panics,
    LeavesWhileItRuns,
    BodyEnds,
    BodyFails,
    LeavesInTheBody,
}

impl Ending {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Fails,
        Self::Panics,
        Self::LeavesWhileItRuns,
        Self::BodyEnds,
        Self::BodyFails,
        Self::LeavesInTheBody,
    ];

    fn is_in_the_body(self) -> bool {
        matches!(self, Self::BodyEnds | Self::BodyFails | Self::LeavesInTheBody)
    }

    fn past(self) -> &'static str {
        match self {
            Self::Done => "been served",
            Self::Fails => "failed",
            Self::Panics => "panicked",
            Self::LeavesWhileItRuns => "left while it ran",
            Self::BodyEnds => "come to the end of its body",
            Self::BodyFails => "failed in the middle of its body",
            Self::LeavesInTheBody => "left in the middle of its body",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "is served",
            Self::Fails => "fails",
            Self::Panics => "panics",
            Self::LeavesWhileItRuns => "leaves while it runs",
            Self::BodyEnds => "comes to the end of its body",
            Self::BodyFails => "fails in the middle of its body",
            Self::LeavesInTheBody => "leaves in the middle of its body",
        })
    }
}

/// One app with its routers, and those who ask.
struct Stage {
    scene: Scene,
    app: Router,
    server: Server,
    protocol: Protocol,
    size: Size,
    shop: Shop,
    /// On HTTP/2 all requests are streams of one connection.
    shared: tokio::sync::OnceCell<Connection>,
    asked: Mutex<BTreeMap<&'static str, usize>>,
}

/// A request that was sent.
struct Caller {
    name: String,
    class: Class,
    sent_ms: u64,
    told: Telling,
}

/// A client that waits for its answer and reads it, until this is dropped.
struct Telling(JoinHandle<Result<Told, Broken>>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What came of a request.
struct Told {
    name: String,
    class: Class,
    status: StatusCode,
    after_ms: u64,
    retry_after: Option<String>,
    text: String,
}

impl Stage {
    fn open(lab: &Lab, app: &App, protocol: Protocol, size: Size, title: impl fmt::Display) -> Self {
        let Size { places, share, .. } = size;
        let scene = lab.scene(format!("{protocol}, {places} places, a share of {share}: {title}"));
        let shop = Shop { scene: scene.clone(), books: Arc::default() };
        let wait = Duration::from_millis(size.wait_ms);
        let app = app(shop.router(Class::Order), shop.router(Class::Report), places, share, wait);
        let server = scene.serve(app.clone());
        let (shared, asked) = (tokio::sync::OnceCell::new(), Mutex::default());
        Self { scene, app, server, protocol, size, shop, shared, asked }
    }

    /// Sees that an order and a report are served when nothing else is under way; tells how long the order takes.
    async fn works(&self) -> Result<u64, Broken> {
        let mut alone_ms = 0;
        for class in Class::BOTH {
            let told = self.told(self.ask_one(class, Manner::Takes(TAKES_MS)).await).await?;
            control(told.is_served(), format!("nothing was under way, and {told}"))?;
            if class == Class::Order {
                alone_ms = told.after_ms;
            }
        }
        self.scene.settle().await;
        Ok(alone_ms)
    }

    /// A name that nobody has yet.
    fn name(&self, class: Class) -> String {
        let mut asked = locked(&self.asked);
        let number = asked.entry(class.lane()).or_default();
        *number += 1;
        format!("{class}-{number}")
    }

    async fn connection(&self, name: &str) -> Connection {
        match self.protocol {
            Protocol::Http1 => self.server.connect(name, self.protocol).await,
            Protocol::Http2 => {
                let connect = async || self.server.connect("clients", self.protocol).await;
                self.shared.get_or_init(connect).await.clone()
            }
        }
    }

    async fn send(&self, class: Class, name: &str, manner: Manner) -> (Connection, Pending) {
        self.shop.plan(name, manner);
        let connection = self.connection(name).await;
        let pending = connection.begin(request(class, name));
        (connection, pending)
    }

    async fn ask(&self, class: Class, name: String, manner: Manner) -> Caller {
        let (connection, pending) = self.send(class, &name, manner).await;
        let (sent_ms, scene) = (self.scene.now_ms(), self.scene.clone());
        let client = name.clone();
        let told = self.scene.spawn(async move {
            let answer = pending.answer().await?;
            let after_ms = scene.now_ms() - sent_ms;
            let (status, retry_after) = (answer.status(), answer.header(RETRY_AFTER.as_str()).map(str::to_owned));
            let text = answer.read().await.text();
            drop(connection);
            Ok(Told { name: client, class, status, after_ms, retry_after, text })
        });
        Caller { name, class, sent_ms, told: Telling(told) }
    }

    async fn ask_one(&self, class: Class, manner: Manner) -> Caller {
        self.ask(class, self.name(class), manner).await
    }

    /// So many requests at once.
    async fn ask_for(&self, class: Class, number: usize, manner: Manner) -> Vec<Caller> {
        let mut callers = Vec::new();
        for _ in 0..number {
            callers.push(self.ask_one(class, manner).await);
        }
        callers
    }

    /// So many requests are in, and stay.
    async fn park(&self, class: Class, number: usize) -> Result<Vec<Caller>, Broken> {
        let parked = self.ask_for(class, number, Manner::HELD).await;
        self.scene.settle().await;
        let came = parked.iter().filter(|caller| self.shop.has(&caller.name)).count();
        PARKED.require(came == number, format!("places were free, and {came} of {number} {class}s came in"))?;
        Ok(parked)
    }

    /// A request that is in and will end like this.
    async fn begin(&self, class: Class, end: Ending) -> Result<Leaver, Broken> {
        let name = self.name(class);
        let feed = end.is_in_the_body().then(|| {
            let (feed, body) = self.scene.feed(&format!("the body of {name}"));
            feed.data("one\n");
            self.shop.streams(&name, body);
            feed
        });
        let manner = if feed.is_some() { Manner::Streams } else { Manner::Held(end) };
        let (connection, pending) = self.send(class, &name, manner).await;
        self.scene.settle().await;
        PARKED.require(self.shop.has(&name), format!("a place was free, and {name} did not come in"))?;
        let (pending, listener) = match feed {
            Some(_) => {
                let mut listener = pending.answer().await?.listen();
                listener.hears("one\n").await?;
                (None, Some(listener))
            }
            None => (Some(pending), None),
        };
        Ok(Leaver { name, connection, pending, listener, feed })
    }

    /// All places are taken, one of them by a request of this class that will end like this; reports have room in their share.
    async fn fill(&self, giver: Class, end: Ending) -> Result<(Leaver, Vec<Caller>), Broken> {
        let others = self.park(Class::Order, self.size.places - 1).await?;
        Ok((self.begin(giver, end).await?, others))
    }

    /// Has the request end, and lets all run that can. Its place comes back at the instant at which this is called.
    async fn end(&self, leaver: Leaver, end: Ending) {
        let Leaver { name, connection, pending, listener, feed, .. } = leaver;
        match (end, feed) {
            (Ending::LeavesWhileItRuns | Ending::LeavesInTheBody, feed) => {
                match self.protocol {
                    Protocol::Http1 => connection.leave(),
                    Protocol::Http2 => {
                        pending.into_iter().for_each(Pending::cancel);
                        listener.into_iter().for_each(lab::Listener::cancel);
                    }
                }
                self.scene.settle().await;
                drop(feed);
            }
            (Ending::BodyEnds, Some(mut feed)) => {
                feed.end();
                self.scene.settle().await;
            }
            (_, Some(feed)) => {
                feed.fail("the paper is used up");
                self.scene.settle().await;
            }
            (_, None) => {
                self.shop.open(&name);
                if let Some(pending) = pending
                    && let Ok(answer) = pending.answer().await
                {
                    answer.read().await;
                }
                self.scene.settle().await;
            }
        }
    }

    /// Lets a request go on to its good end.
    async fn finish(&self, caller: Caller) -> Proof {
        self.finish_by(LEAVES_THE_REST_ALONE, caller).await
    }

    async fn finish_by(&self, asked: Asked, caller: Caller) -> Proof {
        self.shop.open(&caller.name);
        let told = self.told(caller).await?;
        asked.require(told.is_served(), format!("a request was in, and {told}"))
    }

    /// What the client gets in the end.
    async fn told(&self, mut caller: Caller) -> Result<Told, Broken> {
        let told = (&mut caller.told.0).await;
        told.unwrap_or_else(|_| Err(Broken::because(format!("{} got no answer", caller.name))))
    }

    /// As many orders as that, all at once, are as quick as one alone.
    async fn orders_are_served(&self, number: usize, alone_ms: u64) -> Proof {
        let orders = self.ask_for(Class::Order, number, Manner::Takes(TAKES_MS)).await;
        for order in orders {
            let told = self.told(order).await?;
            ORDERS_DESPITE_REPORTS.require(
                told.is_served() && told.after_ms == alone_ms,
                format!("of {number} orders at once, each of which takes {alone_ms} ms alone, {told}"),
            )?;
        }
        self.scene.settle().await;
        self.was_never_more()
    }

    fn was_never_more(&self) -> Proof {
        let Size { places, share, .. } = self.size;
        let (most, most_reports) = self.shop.most();
        NEVER_MORE_THAN_PLACES
            .require(most_reports <= share, format!("reports had {most_reports} requests at once"))?;
        NEVER_MORE_THAN_PLACES.require(most <= places, format!("{most} requests were in at once"))
    }

    fn none_came(&self, asked: Asked, names: &[String], why: &str) -> Proof {
        let came = names.iter().find(|name| self.shop.has(name));
        let observed = format!("{} {why}, and came in all the same", came.map_or("", String::as_str));
        asked.require(came.is_none(), observed)
    }

    fn no_report_came(&self, names: &[String]) -> Proof {
        let came = names.iter().find(|name| self.shop.has(name));
        let observed = format!("an order waited, and {} started", came.map_or("", String::as_str));
        NO_REPORT_BEFORE_AN_ORDER.require(came.is_none(), observed)
    }

    /// How many requests can be in at once. Nobody is in when this is asked, nor afterwards.
    async fn capacity(&self) -> Result<Capacity, Broken> {
        // Reports first: what is asked for here makes orders wait, and that is what may keep reports out.
        let (reports, others) = self.as_many_as_can_be(Class::Report, self.size.places + 1).await;
        drop(others);
        self.scene.settle().await;
        let (beside, others) = self.as_many_as_can_be(Class::Order, self.size.places + 1).await;
        drop(others);
        self.scene.settle().await;
        let (at_once, beside_them) = (reports.len(), beside.len());
        for caller in reports.into_iter().chain(beside) {
            self.finish(caller).await?;
        }
        self.scene.settle().await;
        let (mut orders, waiting) = self.as_many_as_can_be(Class::Order, self.size.places + 1).await;
        let number = orders.len();
        // The next one has the place of the first.
        let first = orders.pop();
        let at_ms = self.scene.now_ms();
        first.iter().for_each(|order| self.shop.open(&order.name));
        self.scene.settle().await;
        let passed_on = waiting.iter().any(|order| self.shop.came_at(order, at_ms));
        for order in orders.into_iter().chain(first).chain(waiting) {
            if self.shop.has(&order.name) {
                self.finish(order).await?;
            }
        }
        self.scene.settle().await;
        Ok(Capacity { orders: number, passed_on, reports: at_once, beside: beside_them })
    }

    /// Asks for so many, and tells those that are in at once from the others.
    async fn as_many_as_can_be(&self, class: Class, number: usize) -> (Vec<Caller>, Vec<Caller>) {
        let callers = self.ask_for(class, number, Manner::HELD).await;
        self.scene.settle().await;
        callers.into_iter().partition(|caller| self.shop.has(&caller.name))
    }

    /// Sees that as many requests of each class can be in as before, whatever has happened.
    async fn stands(&self, before: Capacity, what: &str) -> Proof {
        let after = self.capacity().await?;
        PLACES_COME_BACK.require(after == before, format!("{what}, and then {after}; before it was: {before}"))
    }

    async fn is_alive(&self, when: &str) -> Proof {
        let connection = self.server.connect("prober", self.protocol).await;
        let sent_ms = self.scene.now_ms();
        let answer = connection.send(Request::get("/livez").body(Body::empty()).expect("a path")).await?;
        let (status, after_ms) = (answer.status(), self.scene.now_ms() - sent_ms);
        answer.read().await;
        self.scene.settle().await;
        ALIVE_WHEN_FULL.require(
            status == StatusCode::OK && after_ms == 0,
            format!("{when}, and GET /livez got {} after {after_ms} ms", status.as_u16()),
        )
    }

    /// A request without a connection, to be polled by hand.
    fn by_hand(&self, class: Class, name: &str) -> impl Future<Output = Response> + use<> {
        self.app.clone().oneshot(request(class, name)).map(|answer| answer.unwrap_or_else(|never| match never {}))
    }

    /// A request without a connection, whose answer is read to its end.
    fn in_process(&self, class: Class, name: &str) -> JoinHandle<()> {
        let answer = self.by_hand(class, name);
        self.scene.spawn(async move {
            let answer = answer.await;
            let _ = answer.into_body().collect().await;
        })
    }

    /// A request without a connection comes in, and ends like this.
    async fn ends_in_process(&self, class: Class, end: Ending) {
        let name = self.name(class);
        let feed = end.is_in_the_body().then(|| {
            let (feed, body) = self.scene.feed(&format!("the body of {name}"));
            feed.data("one\n");
            self.shop.streams(&name, body);
            feed
        });
        self.shop.plan(&name, if feed.is_some() { Manner::Streams } else { Manner::Held(end) });
        let request = self.in_process(class, &name);
        self.scene.settle().await;
        match (end, feed) {
            (Ending::LeavesWhileItRuns | Ending::LeavesInTheBody, _) => request.abort(),
            (Ending::BodyEnds, Some(mut feed)) => feed.end(),
            (_, Some(feed)) => feed.fail("the paper is used up"),
            (_, None) => self.shop.open(&name),
        }
        self.scene.settle().await;
    }
}

/// How many requests can be in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capacity {
    orders: usize,
    /// Whether an order that waits has a place as soon as it is given back.
    passed_on: bool,
    reports: usize,
    /// Orders beside as many reports.
    beside: usize,
}

impl Capacity {
    /// That of a shop in which nothing has happened.
    async fn of(lab: &Lab, app: &App, protocol: Protocol, size: Size) -> Result<Self, Broken> {
        let stage = Stage::open(lab, app, protocol, size, "nothing has happened");
        stage.works().await?;
        stage.capacity().await
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { orders, passed_on, reports, beside } = self;
        write!(f, "{orders} orders were in at once, ")?;
        f.write_str(if *passed_on { "the next had the first place, " } else { "no other had the first place, " })?;
        write!(f, "{reports} reports, and beside them {beside} orders")
    }
}

/// A request that is in, and the means by which it ends.
struct Leaver {
    name: String,
    connection: Connection,
    pending: Option<Pending>,
    listener: Option<lab::Listener>,
    feed: Option<Feed>,
}

impl Told {
    fn is_served(&self) -> bool {
        self.status == StatusCode::OK && self.text == text_of(self.class, &self.name)
    }

    /// Sees that it was turned away as it has to be, and not later than `wait`.
    fn is_refused(&self, asked: Asked, why: &str) -> Proof {
        let refused = self.status == StatusCode::SERVICE_UNAVAILABLE && self.after_ms <= WAIT_MS;
        asked.require(refused, format!("{} was {why}, and {self}", self.name))?;
        let seconds = self.retry_after.as_deref().and_then(|value| value.parse::<u64>().ok());
        RETRY_AFTER_SECONDS.require(
            seconds.is_some_and(|seconds| seconds >= 1),
            format!("{} was told 503 with {:?} for retry-after", self.name, self.retry_after),
        )
    }

    fn has_waited_in_vain(&self) -> Proof {
        self.is_refused(WAITING_ORDER_IS_NEXT, "waiting in vain")?;
        NINE_TENTHS.require(self.after_ms * 10 >= WAIT_MS * 9, format!("the wait is {WAIT_MS} ms, and {self}"))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} got {} after {} ms", self.name, self.status.as_u16(), self.after_ms)
    }
}

fn request(class: Class, name: &str) -> Request {
    Request::get(format!("{}/{name}", class.prefix())).body(Body::empty()).expect("a path without spaces")
}

fn text_of(class: Class, name: &str) -> String {
    format!("{class} {name}\n")
}

// ===== The routers =====

/// What both routers know.
#[derive(Clone)]
struct Shop {
    scene: Scene,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    manners: HashMap<String, Manner>,
    gates: HashMap<String, Arc<Semaphore>>,
    bodies: HashMap<String, Body>,
    kept: Vec<Extensions>,
    /// When a request was received.
    came: HashMap<String, u64>,
    orders: usize,
    reports: usize,
    most: usize,
    most_reports: usize,
}

impl Shop {
    fn router(&self, class: Class) -> Router {
        let shop = self.clone();
        let handler =
            async move |Path(name): Path<String>, extensions| shop.clone().answer(class, name, extensions).await;
        Router::new().route("/{name}", any(handler))
    }

    async fn answer(self, class: Class, name: String, extensions: Extensions) -> Response {
        let inside = Inside::begin(&self, class, &name);
        let manner = locked(&self.books).manners.get(&name).copied().unwrap_or(Manner::HELD);
        let body = match manner {
            Manner::Takes(ms) => {
                sleep(Duration::from_millis(ms)).await;
                Body::from(text_of(class, &name))
            }
            Manner::Held(end) => {
                let gate = self.gate(&name);
                gate.acquire().await.expect("never closed").forget();
                match end {
                    Ending::Panics => arranged_panic("the paper is used up"),
                    Ending::Fails => {
                        return (StatusCode::INTERNAL_SERVER_ERROR, inside.within(Body::empty())).into_response();
                    }
                    _ => Body::from(text_of(class, &name)),
                }
            }
            Manner::Streams => locked(&self.books).bodies.remove(&name).unwrap_or_default(),
            Manner::Keeps => {
                locked(&self.books).kept.push(extensions);
                Body::from(text_of(class, &name))
            }
        };
        inside.within(body).into_response()
    }

    fn plan(&self, name: &str, manner: Manner) {
        locked(&self.books).manners.insert(name.to_owned(), manner);
    }

    fn streams(&self, name: &str, body: Body) {
        locked(&self.books).bodies.insert(name.to_owned(), body);
    }

    fn gate(&self, name: &str) -> Arc<Semaphore> {
        let gate = || Arc::new(Semaphore::new(0));
        locked(&self.books).gates.entry(name.to_owned()).or_insert_with(gate).clone()
    }

    /// Lets a request go on, if it comes.
    fn open(&self, name: &str) {
        self.gate(name).add_permits(1);
    }

    fn came_ms(&self, name: &str) -> Option<u64> {
        locked(&self.books).came.get(name).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.came_ms(name).is_some()
    }

    fn came_at(&self, caller: &Caller, at_ms: u64) -> bool {
        self.came_ms(&caller.name) == Some(at_ms)
    }

    /// The most requests that were in at once, and the most reports among them.
    fn most(&self) -> (usize, usize) {
        let books = locked(&self.books);
        (books.most, books.most_reports)
    }
}

/// A request that a router has, until its answer's body is dropped.
struct Inside {
    shop: Shop,
    class: Class,
    name: String,
}

impl Inside {
    fn begin(shop: &Shop, class: Class, name: &str) -> Self {
        shop.scene.note(class.lane(), format!("has {name}"));
        let now_ms = shop.scene.now_ms();
        let mut books = locked(&shop.books);
        books.came.entry(name.to_owned()).or_insert(now_ms);
        match class {
            Class::Order => books.orders += 1,
            Class::Report => books.reports += 1,
        }
        books.most = books.most.max(books.orders + books.reports);
        books.most_reports = books.most_reports.max(books.reports);
        drop(books);
        Self { shop: shop.clone(), class, name: name.to_owned() }
    }

    fn within(self, body: Body) -> Body {
        Body::new(Within { body, _inside: self })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.shop.scene.note(self.class.lane(), format!("is done with {}", self.name));
        let mut books = locked(&self.shop.books);
        match self.class {
            Class::Order => books.orders -= 1,
            Class::Report => books.reports -= 1,
        }
    }
}

/// A body whose request is in as long as it is there.
struct Within {
    body: Body,
    _inside: Inside,
}

impl HttpBody for Within {
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
