//! The specification of `ignored-deadline`: a checkout that answers by a deadline, and must not charge an order behind the
//! back of a client who was told that it failed.
//!
//! In each scene the bank first agrees at once to an order that is then charged, so that a promise is never kept by an app
//! that does nothing. Only then comes the fault.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc as standard,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_TYPE, TE, TRAILER},
    },
    response::{IntoResponse, Response},
};
use http_body::Frame;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::{JoinHandle, yield_now},
    time::{advance, sleep, timeout},
};
use tower::ServiceExt;

use lab::{
    Arrival, Asked, Broken, Connection, Course, End, Ghost, HeldClock, Lab, Limits, Proof, Protocol, Received, Report,
    Scene, Server, Specification, Visit, control, escaped,
    hammer::{Force, Hammered},
    locked, receive_within,
};

mod hammer;

pub use hammer::hammer;

/// Seals a receipt: work for the CPU, done off the threads that serve requests.
pub type Seal = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Makes the app under test from the bank, the seal, the ledger and the longest time that a client may wait.
pub type App = Arc<dyn Fn(Router, Seal, UnboundedSender<String>, Duration) -> Router + Send + Sync>;

/// The header in which the budget travels.
const BUDGET: &str = "x-budget-ms";

const ANSWER_BY_DEADLINE: Asked = Asked::new(
    "answer-by-deadline",
    "A client whose order isn't done gets its 504 by the deadline, and not before nine tenths of its time, whether \
     the bank or the seal is slow.",
);
const TIGHTER_LIMIT_WINS: Asked = Asked::new(
    "tighter-limit-wins",
    "The deadline is the tighter of the app's own limit and the budget that the client sends.",
);
const MALFORMED_BUDGET_DOES_NO_HARM: Asked = Asked::new(
    "malformed-budget-does-no-harm",
    "A budget that isn't a number of milliseconds is refused with 400, or ignored.",
);
const SPENT_BUDGET_ASKS_NOBODY: Asked =
    Asked::new("spent-budget-asks-nobody", "A request whose budget is 0 fails at once, without a call to the bank.");
const BANK_KNOWS_WHAT_IS_LEFT: Asked = Asked::new(
    "bank-knows-what-is-left",
    "Each call tells the bank a budget that's more than 0 and no more than what's left, on the second try and over \
     two hops as well.",
);
const WORK_IN_TIME_IS_KEPT: Asked = Asked::new(
    "work-in-time-is-kept",
    "Work that's done within nine tenths of the budget is kept: the order is charged, the statement is whole.",
);
const ANSWER_MATCHES_LEDGER: Asked = Asked::new(
    "answer-matches-ledger",
    "An order that is answered 200 is charged exactly once; any other is never charged, not even later.",
);
const LATE_SEAL_CHARGES_NOTHING: Asked = Asked::new(
    "late-seal-charges-nothing",
    "An order whose receipt is still being sealed at the deadline isn't charged when the receipt is sealed.",
);
const NOTHING_RUNS_ON: Asked =
    Asked::new("nothing-runs-on", "Once a request has been cut off at its deadline, none of its tasks is left.");
const STATEMENT_ENDS_AT_DEADLINE: Asked = Asked::new(
    "statement-ends-at-deadline",
    "A streamed statement arrives up to the deadline and then ends with an error, whether the bank has gone quiet or \
     always has another line; nothing more is read from the bank.",
);
const CHARGE_AND_DEADLINE_AGREE: Asked = Asked::new(
    "charge-and-deadline-agree",
    "An order that's being charged exactly at the deadline is either answered 200 with its whole receipt, or not \
     charged.",
);
const HANG_UP_STOPS_NO_ORDER: Asked = Asked::new(
    "hang-up-stops-no-order",
    "An order whose client hangs up is charged once if the bank agrees and the receipt is sealed before the deadline, \
     and never after it.",
);
const ORDERS_AS_EVER: Asked = Asked::new(
    "orders-as-ever",
    "An order that's charged is answered with its sealed receipt, and one that the bank refuses is answered with the \
     bank's status. When many come at once, each gets its own.",
);
const STATEMENTS_AS_SENT: Asked = Asked::new(
    "statements-as-sent",
    "Before the deadline, a statement comes as the bank sends it, in whatever order that is: status, headers, \
     length, each line at once, trailers and errors.",
);

const SPENT: Asked =
    Asked::new("spent", "A budget of 0 is spent: the client gets an error at once, and the bank isn't asked.");
const WHOLE_MILLISECONDS: Asked = Asked::new(
    "whole-milliseconds",
    "`x-budget-ms` is a whole number of milliseconds, for the bank as well as for the client. When less than one is \
     left, the bank isn't asked: 0 would be spent, and 1 would be too much.",
);
const BUSY_ONCE_MORE: Asked = Asked::new(
    "busy-once-more",
    "The bank is asked for the client's path, once more after a 503, and never a third time. After any other answer \
     it isn't asked again.",
);
const SEALED_ELSEWHERE: Asked = Asked::new(
    "sealed-elsewhere",
    "Receipts are sealed on a different thread from the one that serves the requests; it doesn't matter which.",
);
const READ_AHEAD: Asked = Asked::new(
    "read-ahead",
    "While its client isn't reading, at most 64 KiB more of a statement are taken from the bank than a server \
     without the gateway would take.",
);

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(Router, Seal, UnboundedSender<String>, Duration) -> Router + Send + Sync + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(ANSWER_BY_DEADLINE, answer_by_deadline)
        .promise(TIGHTER_LIMIT_WINS, tighter_limit_wins)
        .promise(MALFORMED_BUDGET_DOES_NO_HARM, malformed_budget_does_no_harm)
        .promise(SPENT_BUDGET_ASKS_NOBODY, spent_budget_asks_nobody)
        .promise(BANK_KNOWS_WHAT_IS_LEFT, bank_knows_what_is_left)
        .promise(WORK_IN_TIME_IS_KEPT, work_in_time_is_kept)
        .promise(ANSWER_MATCHES_LEDGER, answer_matches_ledger)
        .promise(LATE_SEAL_CHARGES_NOTHING, late_seal_charges_nothing)
        .promise(NOTHING_RUNS_ON, nothing_runs_on)
        .promise(STATEMENT_ENDS_AT_DEADLINE, statement_ends_at_deadline)
        .promise(CHARGE_AND_DEADLINE_AGREE, charge_and_deadline_agree)
        .promise(HANG_UP_STOPS_NO_ORDER, hang_up_stops_no_order)
        .promise(ORDERS_AS_EVER, orders_as_ever)
        .promise(STATEMENTS_AS_SENT, statements_as_sent)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "ignored-deadline";
    type App = fn(Router, Seal, UnboundedSender<String>, Duration) -> Router;
    type StandIns = (Router, Seal, UnboundedSender<String>, Duration);
    const ASKED: &'static [Asked] = &[SPENT, WHOLE_MILLISECONDS, BUSY_ONCE_MORE, SEALED_ELSEWHERE, READ_AHEAD];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// A bank, a seal, a ledger and a limit to try the app with on a real socket: the bank takes three seconds for the order
    /// `slow-bank`, the seal for `slow-seal`; the bank and the ledger say on stderr what they are told.
    fn stand_ins() -> Self::StandIns {
        let pause = |slow: bool| Duration::from_millis(if slow { 3000 } else { 100 });
        let bank = async move |request: Request| {
            let budget = request.headers().get(BUDGET).and_then(|value| value.to_str().ok());
            let told = budget.map_or("no budget".to_owned(), |budget| format!("{BUDGET}: {budget}"));
            lab::say(format_args!("bank: {} {} ({told})", request.method(), request.uri().path()));
            if request.method() == Method::GET {
                let lines = futures_util::stream::unfold(1, |line| async move {
                    sleep(Duration::from_millis(500)).await;
                    (line <= 20).then(|| (Ok::<_, Infallible>(format!("line {line}\n")), line + 1))
                });
                return Body::from_stream(lines).into_response();
            }
            sleep(pause(request.uri().path().ends_with("/slow-bank"))).await;
            StatusCode::OK.into_response()
        };
        let seal = move |order: &str| {
            thread::park_timeout(pause(order == "slow-seal"));
            format!("sealed {order}\n")
        };
        let (ledger, mut entries) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(order) = entries.recv().await {
                lab::say(format_args!("ledger: charged {order}"));
            }
        });
        (Router::new().fallback(bank), Arc::new(seal), ledger, Duration::from_secs(2))
    }

    fn serve(app: Self::App, (bank, seal, ledger, budget): Self::StandIns) -> Router {
        app(bank, seal, ledger, budget)
    }
}

async fn answer_by_deadline(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, the bank never answers"), protocol, 1000).await?;
        shop.bank.will([Reply::Never, Reply::Never]);
        in_time(&shop.order("7", None).await?, 1000)?;
        in_time(&shop.ask(Method::GET, "/statements/7", None).await?, 1000)?;

        let shop = Shop::open(&lab, &app, format!("{protocol}, the seal is slow"), protocol, 1000).await?;
        let answer = shop.stand_at_the_seal().await?;
        shop.advance_to(890).await;
        ANSWER_BY_DEADLINE.require(
            !answer.is_finished(),
            "the deadline was at 1000 ms, and the client had an answer before 890 ms",
        )?;
        shop.advance_to(1000).await;
        let by_then = answer.is_finished();
        shop.advance_to(1500).await;
        shop.finish_the_receipt().await;
        let told = finished(answer).await?;
        ANSWER_BY_DEADLINE
            .require(by_then, format!("{told}, when the receipt had been sealed; the deadline was at 1000 ms"))?;
        in_time(&told, 1000)?;
    }
    Ok(())
}

async fn tighter_limit_wins(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, a limit of 5000 ms"), protocol, 5000).await?;
        for (order, budget, tighter) in [("2", "2000", 2000), ("3", "10000", 5000), ("4", "18446744073709551615", 5000)]
        {
            shop.bank.will([Reply::Never]);
            in_time(&shop.order(order, Some(budget)).await?, tighter)?;
        }
    }
    Ok(())
}

async fn malformed_budget_does_no_harm(lab: Lab, app: App) -> Proof {
    let malformed = ["soon", "-5", "1.5", "", "99999999999999999999999", "\u{e9}"];
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, budgets that are none"), protocol, 1000).await?;
        for (order, budget) in ["2", "3", "4", "5", "6", "7"].into_iter().zip(malformed) {
            shop.bank.forget();
            shop.bank.will([ok_after(100)]);
            let told = shop.order(order, Some(budget)).await?;
            let harmless = [StatusCode::OK, StatusCode::BAD_REQUEST].contains(&told.status);
            MALFORMED_BUDGET_DOES_NO_HARM.require(
                harmless,
                format!("{told} to a budget of {budget:?}; it should be 400, or 200 if it is ignored"),
            )?;
            shop.ledger.matches(&told)?;
        }
    }
    Ok(())
}

async fn spent_budget_asks_nobody(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, a budget of 0"), protocol, 1000).await?;
        for (method, path) in [(Method::POST, "/orders/7"), (Method::GET, "/statements/7")] {
            shop.bank.will([ok_after(0)]);
            let told = shop.ask(method, path, Some("0")).await?;
            shop.scene.settle().await;
            SPENT_BUDGET_ASKS_NOBODY
                .require(shop.bank.calls().is_empty(), "the client had no time left, and the bank was asked anyway")?;
            SPENT.require(!told.status.is_success() && told.after_ms == 0, format!("{told} to a budget of 0"))?;
            shop.ledger.matches(&told)?;
        }
    }
    Ok(())
}

async fn bank_knows_what_is_left(lab: Lab, app: App) -> Proof {
    let busy_at_first = || [busy_after(400), ok_after(100)];
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, a bank that is busy at first"), protocol, 1000).await?;
        for (order, budget, granted) in [("6", None, 1000), ("7", Some("800"), 800)] {
            shop.bank.forget();
            shop.bank.will(busy_at_first());
            let told = shop.order(order, budget).await?;
            shop.bank.was_told(&told, granted)?;
        }
        shop.bank.forget();
        shop.bank.will([ok_after(0)]);
        let told = shop.ask(Method::GET, "/statements/7", None).await?;
        shop.bank.was_told(&told, 1000)?;

        half_a_millisecond_is_left(&lab, &app, protocol).await?;

        let scene = lab.scene(format!("{protocol}, two hops"));
        let bank = Bank::new(&scene);
        let (second_ledger, _entries) = mpsc::unbounded_channel();
        let (seal, _gate) = gated(&scene);
        let second = app(bank.router(), seal, second_ledger, Duration::from_secs(5));
        let line = bank.behind_a_line_to(second);
        line.will([Reply::Onwards]);
        bank.will([ok_after(0)]);
        let shop = Shop::serve(scene, &app, line, protocol, 1000).await?;
        bank.forget();
        shop.bank.will([busy_after(200), Reply::Onwards]);
        bank.will(busy_at_first());
        let told = shop.order("7", None).await?;
        shop.bank.was_told(&told, 1000)?;
        bank.was_told(&told, 1000)?;
    }
    Ok(())
}

/// The bank is busy, and says so half a millisecond before the deadline.
async fn half_a_millisecond_is_left(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let title = format!("{protocol}, half a millisecond is left for the second try");
    let shop = Shop::open(lab, app, title, protocol, 1000).await?;
    let (tell, told) = oneshot::channel();
    shop.bank.will([Reply::When(told, StatusCode::SERVICE_UNAVAILABLE), ok_after(0)]);
    let answer = shop.begin("7");
    rest().await;
    control(shop.bank.calls().len() == 1, "the bank was not asked at once")?;
    advance(Duration::from_micros(999_500)).await;
    rest().await;
    // Whoever has given up by now is right, too.
    let _ = tell.send(());
    rest().await;
    if let Some(call) = shop.bank.calls().get(1) {
        let told = call.budget.as_ref().map_or("no budget".to_owned(), |budget| format!("{BUDGET}: {budget}"));
        let observed = format!("half a millisecond was left, and the bank was asked again, and told {told}");
        return WHOLE_MILLISECONDS.require(false, observed);
    }
    let told = finished(answer).await?;
    shop.ledger.matches(&told)
}

async fn work_in_time_is_kept(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let title = format!("{protocol}, work that takes 890 ms of 1000");
        let shop = Shop::open(&lab, &app, title, protocol, 1000).await?;
        for (order, replies) in [("6", vec![ok_after(890)]), ("7", vec![busy_after(440), ok_after(450)])] {
            shop.bank.will(replies);
            let told = shop.order(order, None).await?;
            WORK_IN_TIME_IS_KEPT
                .require(told.status == StatusCode::OK, format!("the bank agreed at 890 ms of 1000, and {told}"))?;
            shop.ledger.matches(&told)?;
        }
        let (mut feed, body) = shop.scene.feed("bank");
        shop.bank.will([Reply::Stream(0, body)]);
        let listener = shop.client.send(request(Method::GET, "/statements/7", None)).await?.listen();
        feed.data("opening\n");
        sleep(Duration::from_millis(890)).await;
        feed.data("closing\n");
        feed.end();
        let statement = listener.ended().await;
        let whole = statement.text() == "opening\nclosing\n" && matches!(statement.end, Some((_, End::Clean)));
        WORK_IN_TIME_IS_KEPT
            .require(whole, "the statement ended at 890 ms of 1000, and did not arrive whole and with a clean end")?;
    }
    Ok(())
}

async fn answer_matches_ledger(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, the bank answers in time"), protocol, 1000).await?;
        let declined = Reply::After(300, StatusCode::PAYMENT_REQUIRED);
        for (order, what, agreed, replies) in [
            ("4", "the bank agreed in time", true, vec![ok_after(500)]),
            ("5", "the bank was busy, then agreed in time", true, vec![busy_after(300), ok_after(300)]),
            ("6", "the bank declined", false, vec![declined]),
            ("7", "the bank was busy twice", false, vec![busy_after(100), busy_after(100), ok_after(100)]),
        ] {
            shop.bank.forget();
            shop.bank.will(replies);
            let told = shop.order(order, None).await?;
            sleep(Duration::from_secs(10)).await;
            ANSWER_MATCHES_LEDGER.require(told.status.is_success() == agreed, format!("{what}, and {told}"))?;
            shop.ledger.matches(&told)?;
            let calls = shop.bank.calls().len();
            BUSY_ONCE_MORE.require(calls <= 2, format!("the bank was asked {calls} times for one order"))?;
        }

        for (title, replies) in [
            ("the bank agrees after the deadline", vec![ok_after(3000)]),
            ("the bank is busy, then agrees after the deadline", vec![busy_after(600), ok_after(600)]),
        ] {
            let shop = Shop::open(&lab, &app, format!("{protocol}, {title}"), protocol, 1000).await?;
            shop.bank.will(replies);
            let told = shop.order("7", None).await?;
            sleep(Duration::from_secs(20)).await;
            shop.ledger.matches(&told)?;
            ANSWER_MATCHES_LEDGER.require(!told.status.is_success(), format!("{title}, at 1000 ms, and {told}"))?;
        }
    }
    Ok(())
}

async fn late_seal_charges_nothing(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, the seal is slow"), protocol, 1000).await?;
        let answer = shop.stand_at_the_seal().await?;
        shop.advance_to(1000).await;
        shop.advance_to(1500).await;
        shop.finish_the_receipt().await;
        let told = finished(answer).await?;
        shop.ledger.matches(&told)?;
        let ledger = shop.ledger.clone();
        lab.afterwards(move || {
            ledger.close();
            ledger.matches(&told)
        });
    }
    Ok(())
}

async fn nothing_runs_on(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, a bank that never finishes"), protocol, 1000).await?;
        shop.scene.settle().await;
        let before = shop.scene.app_tasks();
        for order in ["5", "6", "7"] {
            shop.bank.will([Reply::Never]);
            shop.order(order, None).await?;
        }
        shop.scene.settle().await;
        let left = shop.scene.app_tasks().saturating_sub(before);
        NOTHING_RUNS_ON.require(
            left == 0,
            format!("three orders were cut off at their deadline, and {} still running", are(left)),
        )?;

        let (feed, body) = shop.scene.feed("bank");
        shop.bank.will([Reply::Stream(0, body)]);
        let _listener = shop.client.send(request(Method::GET, "/statements/7", None)).await?.listen();
        feed.data("opening\n");
        sleep(Duration::from_secs(2)).await;
        let left = shop.scene.app_tasks().saturating_sub(before);
        NOTHING_RUNS_ON
            .require(left == 0, format!("a second after the statement's deadline {} still running", are(left)))?;

        let shop = Shop::open(&lab, &app, format!("{protocol}, a receipt that is not sealed"), protocol, 1000).await?;
        shop.scene.settle().await;
        let before = shop.scene.app_tasks();
        let answer = shop.stand_at_the_seal().await?;
        shop.advance_to(1000).await;
        shop.advance_to(1500).await;
        let left = shop.scene.app_tasks().saturating_sub(before);
        shop.finish_the_receipt().await;
        finished(answer).await?;
        NOTHING_RUNS_ON.require(
            left == 0,
            format!(
                "half a second after the deadline of an order whose receipt is being sealed, {} still running",
                are(left)
            ),
        )?;
    }
    Ok(())
}

async fn statement_ends_at_deadline(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (kind, budget, deadline, moments) in [
            ("a line now and then", None, 1000, [300, 600, 800].as_slice()),
            ("a line now and then and a budget of 500 ms", Some("500"), 500, [200, 400].as_slice()),
            ("one line and then nothing", None, 1000, [150].as_slice()),
        ] {
            let shop = Shop::open(&lab, &app, format!("{protocol}, {kind}"), protocol, 1000).await?;
            let (feed, body) = shop.scene.feed("bank");
            shop.bank.will([Reply::Stream(100, body)]);
            let listener = shop.client.send(request(Method::GET, "/statements/7", budget)).await?.listen();
            for moment in moments {
                shop.sleep_until(*moment).await;
                feed.data(format!("line at {moment}\n"));
            }
            shop.sleep_until(deadline + 50).await;
            let (in_time, taken) = (listener.so_far(), feed.taken());
            if moments.len() > 1 {
                shop.sleep_until(deadline + 100).await;
                feed.data("a line too late\n");
            }
            shop.sleep_until(deadline + 5000).await;
            for moment in moments {
                let observed = format!(
                    "the bank sent a line at {moment} ms, and it had not come by the deadline at {deadline} ms"
                );
                STATEMENT_ENDS_AT_DEADLINE
                    .require(in_time.came_at_ms(&format!("line at {moment}\n")).is_some(), observed)?;
            }
            let Some((ended, how)) = listener.end() else {
                let observed = format!("the deadline was at {deadline} ms, and 5 s later the statement was still open");
                return Err(Broken::because(observed));
            };
            let ended = ended - shop.began_ms;
            let observed = format!("the deadline was at {deadline} ms, and the statement ended at {ended} ms");
            STATEMENT_ENDS_AT_DEADLINE.require(ended <= deadline && ended * 10 >= deadline * 9, observed)?;
            STATEMENT_ENDS_AT_DEADLINE.require(
                how == End::Error,
                "the statement was cut off at its deadline, and ended as if it were whole",
            )?;
            let later = feed.taken() - taken;
            STATEMENT_ENDS_AT_DEADLINE
                .require(later == 0, format!("{later} bytes were read from the bank after the deadline"))?;
        }
        never_without_a_line(&lab, &app, protocol).await?;
    }
    Ok(())
}

/// The bank is never without a line: a body that is looked at only when it has none is never looked at.
async fn never_without_a_line(lab: &Lab, app: &App, protocol: Protocol) -> Proof {
    let shop = Shop::open(lab, app, format!("{protocol}, a bank that always has another line"), protocol, 1000).await?;
    let stop = Arc::new(AtomicBool::new(false));
    shop.bank.will([Reply::Stream(100, Body::new(Endless(stop.clone())))]);
    let listener = shop.client.send(request(Method::GET, "/statements/7", None)).await?.listen();
    shop.advance_to(900).await;
    let early = listener.end().is_some();
    shop.advance_to(1050).await;
    // What was sent before the deadline is still on its way.
    for _ in 0..TURNS_TO_ARRIVE {
        if listener.end().is_none() {
            rest().await;
        }
    }
    let how = listener.end().map(|(_, how)| how);
    stop.store(true, SeqCst);
    STATEMENT_ENDS_AT_DEADLINE.require(!early, "the statement ended 100 ms before its deadline")?;
    STATEMENT_ENDS_AT_DEADLINE.require(
        how == Some(End::Error),
        match how {
            None => "the deadline has passed, and the statement goes on",
            Some(_) => "the statement was cut off at its deadline, and ended as if it were whole",
        },
    )
}

/// How often all that can run is let run until a statement has arrived.
const TURNS_TO_ARRIVE: usize = 30;

/// A body that always has a line, until it is told to stop.
struct Endless(Arc<AtomicBool>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = (!self.0.load(SeqCst)).then(|| Ok(Frame::data(Bytes::from_static(&[b'-'; LINE]))));
        Poll::Ready(line)
    }
}

async fn charge_and_deadline_agree(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let title = format!("{protocol}, the deadline comes while the order is being charged");
        let shop = Shop::open(&lab, &app, title, protocol, 1000).await?;
        let (mut charging, release) = shop.ledger.turnstile.shut();
        shop.bank.will([ok_after(0)]);
        let mut answer = shop.begin("7");
        // Whoever charges on the thread that serves is not held up, and has answered by then.
        let told = tokio::select! {
            _ = charging.recv() => {
                // The ledger's reader was woken before we were.
                rest().await;
                shop.scene.note("ledger", "is being charged");
                shop.advance_to(1000).await;
                shop.advance_to(1100).await;
                drop(release);
                finished(answer).await?
            }
            told = &mut answer => told.unwrap_or_else(|_| Err(Broken::because("the client got no answer")))?,
        };
        shop.scene.let_threads_run().await;
        shop.scene.settle().await;
        shop.ledger.matches(&told)?;
        told.has_its_receipt(CHARGE_AND_DEADLINE_AGREE)?;
    }
    Ok(())
}

async fn hang_up_stops_no_order(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (title, agrees_ms, leaves_ms, sealed_ms, charged) in [
            ("hangs up while the bank thinks", 500, 300, 500, true),
            ("hangs up while the receipt is sealed", 200, 300, 600, true),
            ("hangs up, and the receipt is sealed too late", 200, 300, 1500, false),
        ] {
            let shop = Shop::open(&lab, &app, format!("{protocol}, a client that {title}"), protocol, 1000).await?;
            shop.bank.will([ok_after(agrees_ms)]);
            let begin = async {
                drop(shop.begin("7"));
                if leaves_ms < agrees_ms {
                    shop.sleep_until(leaves_ms).await;
                    shop.hang_up();
                }
            };
            shop.gate.hold_within(begin).await?;
            shop.scene.note("seal", "goes on");
            if leaves_ms > agrees_ms {
                shop.advance_to(leaves_ms).await;
                shop.hang_up();
            }
            rest().await;
            for moment_ms in [sealed_ms.min(1000), sealed_ms] {
                shop.advance_to(moment_ms).await;
            }
            shop.finish_the_receipt().await;
            shop.charged(charged)?;
            let ledger = shop.ledger.clone();
            lab.afterwards(move || {
                ledger.close();
                let charges = ledger.charges_of("7").len();
                HANG_UP_STOPS_NO_ORDER.require(charges == usize::from(charged), after_a_hang_up(charged, charges))
            });
        }
        for (title, replies) in [
            ("hangs up, and the bank agrees too late", vec![ok_after(3000)]),
            ("hangs up, and the bank is busy and agrees too late", vec![busy_after(600), ok_after(600)]),
            ("hangs up, and the bank declines", vec![Reply::After(500, StatusCode::PAYMENT_REQUIRED)]),
        ] {
            let shop = Shop::open(&lab, &app, format!("{protocol}, a client that {title}"), protocol, 1000).await?;
            shop.bank.will(replies);
            drop(shop.begin("7"));
            shop.sleep_until(300).await;
            shop.hang_up();
            shop.bank.clock.client_is_told();
            shop.sleep_until(20_000).await;
            shop.charged(false)?;
            let left = shop.scene.app_tasks();
            NOTHING_RUNS_ON.require(left == 0, format!("long after the deadline {} still running", are(left)))?;
        }
    }
    Ok(())
}

fn after_a_hang_up(due: bool, charges: usize) -> String {
    let due =
        if due { "the bank agreed and the receipt was sealed in time" } else { "it was not ready by the deadline" };
    format!("the client hung up, {due}, and the order was charged {}", times(charges))
}

async fn orders_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let shop = Shop::open(&lab, &app, format!("{protocol}, what the bank says"), protocol, 1000).await?;
        for (order, status) in [("2", 402), ("3", 404), ("4", 409), ("5", 429), ("6", 500)] {
            shop.bank.forget();
            let status = StatusCode::from_u16(status).expect("a status");
            shop.bank.will([Reply::After(100, status), ok_after(0)]);
            let told = shop.order(order, None).await?;
            let observed = format!("the bank answered {}, and {told}", status.as_u16());
            ORDERS_AS_EVER.require(told.status == status, observed)?;
            let calls = shop.bank.calls();
            let observed = format!("the bank answered {}, and was asked {}", status.as_u16(), times(calls.len()));
            BUSY_ONCE_MORE.require(calls.len() == 1, observed)?;
            shop.ledger.matches(&told)?;
        }
        shop.bank.forget();
        shop.bank.will([busy_after(100), ok_after(100)]);
        let told = shop.order("7", None).await?;
        ORDERS_AS_EVER.require(told.status == StatusCode::OK, format!("the bank was busy, then agreed, and {told}"))?;
        told.has_its_receipt(ORDERS_AS_EVER)?;
        let calls = shop.bank.calls();
        let same = calls.iter().all(|call| call.question == "POST /orders/7");
        BUSY_ONCE_MORE.require(
            calls.len() == 2 && same,
            format!("the bank was busy at first, and was asked {}, not POST /orders/7 twice", asked(&calls)),
        )?;

        let shop = Shop::open(&lab, &app, format!("{protocol}, many at once"), protocol, 1000).await?;
        let orders: Vec<String> = (10..20).map(|order| order.to_string()).collect();
        shop.bank.will(orders.iter().map(|_| ok_after(100)));
        let mut asking = Vec::new();
        for order in &orders {
            asking.push(shop.begin_from(shop.server.connect(order, protocol).await, order));
        }
        for answer in asking {
            let told = finished(answer).await?;
            ORDERS_AS_EVER.require(told.status == StatusCode::OK, format!("one of ten at once: {told}"))?;
            told.has_its_receipt(ORDERS_AS_EVER)?;
            shop.ledger.matches(&told)?;
        }
    }
    Ok(())
}

/// What a client sees of a statement, and when.
async fn statement_seen(shop: &Seen, arrival: Arrival, fails: bool) -> Result<String, Broken> {
    let (feed, body) = shop.scene.feed_that_ends_once("bank");
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("41"))]);
    let mut course = Course::new(&shop.scene, feed, arrival, &["opening\n", "closing\n"], Some(trailers));
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::NON_AUTHORITATIVE_INFORMATION;
    answer.headers_mut().insert("x-page", HeaderValue::from_static("1 of 7"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/csv"));
    answer.headers_mut().insert(TRAILER, HeaderValue::from_static("x-sum"));
    shop.bank.will([Reply::As(answer)]);
    let mut question = request(Method::GET, "/statements/7", None);
    question.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    let began = shop.scene.now_ms();
    let answer = shop.client.begin(question);
    if fails {
        let answer = answer.answer().await?;
        course.feed().data("opening\n");
        shop.scene.settle().await;
        course.feed().fail("the bank breaks off");
        let received = answer.read().await;
        return Ok(format!("{:?} and {}", received.text(), ending(&received)));
    }
    course.run().await;
    let answer = answer.answer().await?;
    let headers: Vec<String> = answer.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    let status = answer.status().as_u16();
    let received = answer.read().await;
    // How it is cut into frames is nobody's business, when each part comes is.
    let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
    for (at_ms, data) in received.data.iter().filter(|(_, data)| !data.is_empty()) {
        match parts.last_mut().filter(|(last_ms, _)| *last_ms == at_ms - began) {
            Some((_, part)) => part.extend_from_slice(data),
            None => parts.push((at_ms - began, data.to_vec())),
        }
    }
    let parts: Vec<String> = parts.iter().map(|(at_ms, part)| format!("{} at {at_ms} ms", escaped(part))).collect();
    let trailers = received.trailers.as_ref().map_or(0, HeaderMap::len);
    let (headers, parts, end) = (headers.join(", "), parts.join(", "), ending(&received));
    Ok(format!("{status} with {headers}; {parts}; {trailers} trailers and {end}"))
}

fn ending(received: &Received) -> &'static str {
    match received.end {
        Some((_, End::Clean)) => "a clean end",
        Some((_, End::Error)) => "an error",
        None => "no end",
    }
}

/// The bank, behind the app or alone.
struct Seen {
    scene: Scene,
    bank: Bank,
    client: Connection,
}

impl Seen {
    /// Two minutes are enough for any order in which a statement may come.
    async fn open(lab: &Lab, app: Option<&App>, title: String, protocol: Protocol) -> Result<Self, Broken> {
        match app {
            Some(app) => {
                let Shop { scene, bank, client, .. } = Shop::open(lab, app, title, protocol, 120_000).await?;
                Ok(Self { scene, bank, client })
            }
            None => {
                let scene = lab.scene(format!("{title}, from the bank itself"));
                let bank = Bank::new(&scene);
                let client = scene.serve(bank.router()).connect("client", protocol).await;
                Ok(Self { scene, bank, client })
            }
        }
    }
}

async fn statements_as_sent(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (arrival, fails) in
            Arrival::ALL.into_iter().map(|arrival| (arrival, false)).chain([(Arrival::FrameByFrame, true)])
        {
            let title = format!("{protocol}, {arrival}{}", if fails { ", and the bank breaks off" } else { "" });
            let alone = statement_seen(&Seen::open(&lab, None, title.clone(), protocol).await?, arrival, fails).await?;
            let seen = statement_seen(&Seen::open(&lab, Some(&app), title, protocol).await?, arrival, fails).await?;
            STATEMENTS_AS_SENT
                .require(seen == alone, format!("the bank's own client gets {alone}; ours gets {seen}"))?;
        }
        let known = async |app: Option<&App>| {
            let shop = Seen::open(&lab, app, format!("{protocol}, a statement of known length"), protocol).await?;
            shop.bank.will([Reply::As(Response::new(Body::from("opening\nclosing\n")))]);
            let answer = shop.client.send(request(Method::GET, "/statements/7", None)).await?;
            let length = answer.header("content-length").unwrap_or("none").to_owned();
            Ok::<_, Broken>(format!("length {length}, {:?}", answer.read().await.text()))
        };
        let (alone, seen) = (known(None).await?, known(Some(&app)).await?);
        STATEMENTS_AS_SENT.require(seen == alone, format!("the bank's own client gets {alone}; ours gets {seen}"))?;

        for status in [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE] {
            let shop = Seen::open(&lab, Some(&app), format!("{protocol}, the bank says {}", status.as_u16()), protocol);
            let shop = shop.await?;
            shop.bank.forget();
            shop.bank.will([Reply::After(0, status)]);
            let told = shop.client.send(request(Method::GET, "/statements/7", None)).await?.status();
            let observed = format!("the bank answered {}, and the client was told {}", status.as_u16(), told.as_u16());
            STATEMENTS_AS_SENT.require(told == status, observed)?;
        }

        let unread = async |app: Option<&App>| {
            let shop = Seen::open(&lab, app, format!("{protocol}, a client that does not read"), protocol).await?;
            let (feed, body) = shop.scene.feed("bank");
            shop.bank.will([Reply::As(Response::new(body))]);
            let held = shop.client.send(request(Method::GET, "/statements/7", None)).await?;
            for _ in 0..LINES {
                feed.data([b'-'; LINE].as_slice());
            }
            sleep(Duration::from_secs(10)).await;
            drop(held);
            Ok::<_, Broken>(feed.taken())
        };
        let (alone, taken) = (unread(None).await?, unread(Some(&app)).await?);
        READ_AHEAD.require(
            taken <= alone + MOST_AHEAD,
            "nobody reads the statement, and more than 64 KiB of it were taken anyway",
        )?;
    }
    Ok(())
}

/// A statement that is longer than what may be read ahead, in bytes.
const LINES: usize = 1000;
const LINE: usize = 1024;
const MOST_AHEAD: u64 = 64 * 1024;

// ===== The shop =====

/// The app in one scene: served, with one client, a bank, a seal and a ledger.
struct Shop {
    scene: Scene,
    server: Server,
    client: Connection,
    bank: Bank,
    gate: Gate,
    ledger: Ledger,
    /// When the fault may begin, in milliseconds of the scene.
    began_ms: u64,
}

impl Shop {
    /// Opens a shop whose limit is `limit_ms`.
    async fn open(lab: &Lab, app: &App, title: String, protocol: Protocol, limit_ms: u64) -> Result<Self, Broken> {
        let scene = lab.scene(title);
        let bank = Bank::new(&scene);
        bank.will([ok_after(0)]);
        Self::serve(scene, app, bank, protocol, limit_ms).await
    }

    /// Serves the app, and sees that it charges an order to which the bank agrees.
    async fn serve(scene: Scene, app: &App, bank: Bank, protocol: Protocol, limit_ms: u64) -> Result<Self, Broken> {
        let (seal, gate) = gated(&scene);
        let (ledger, sender) = Ledger::new(&scene);
        let app = app(bank.router(), seal, sender, Duration::from_millis(limit_ms));
        let server = scene.serve(app);
        let client = server.connect("client", protocol).await;
        let mut shop = Self { scene, server, client, bank, gate, ledger, began_ms: 0 };
        let told = shop.ask(Method::POST, "/orders/1", None).await?;
        let charged = shop.ledger.charges_of("1").len();
        let works = told.status == StatusCode::OK && charged == 1;
        control(works, format!("the bank agreed at once, {told}, and the order was charged {}", times(charged)))?;
        shop.bank.forget();
        shop.began_ms = shop.scene.now_ms();
        Ok(shop)
    }

    async fn order(&self, order: &str, budget: Option<&str>) -> Result<Told, Broken> {
        self.ask(Method::POST, &format!("/orders/{order}"), budget).await
    }

    async fn ask(&self, method: Method, path: &str, budget: Option<&str>) -> Result<Told, Broken> {
        let clock = self.bank.clock.clone();
        tell(self.scene.clone(), self.client.clone(), clock, request(method, path, budget)).await
    }

    /// Orders, and does not wait for the answer.
    fn begin(&self, order: &str) -> JoinHandle<Result<Told, Broken>> {
        self.begin_from(self.client.clone(), order)
    }

    fn begin_from(&self, client: Connection, order: &str) -> JoinHandle<Result<Told, Broken>> {
        let question = request(Method::POST, &format!("/orders/{order}"), None);
        self.scene.spawn(tell(self.scene.clone(), client, self.bank.clock.clone(), question))
    }

    /// The client is gone. The clock goes on standing still while its receipt may be sealed.
    fn hang_up(&self) {
        self.bank.clock.client_asks();
        self.client.clone().leave();
    }

    /// Sees that the order of a client that hung up was charged once, or not at all.
    fn charged(&self, due: bool) -> Proof {
        let charges = self.ledger.charges_of("7").len();
        HANG_UP_STOPS_NO_ORDER.require(charges == usize::from(due), after_a_hang_up(due, charges))
    }

    /// Orders, and returns when the receipt is being sealed, which goes on until the gate is opened.
    async fn stand_at_the_seal(&self) -> Result<JoinHandle<Result<Told, Broken>>, Broken> {
        self.bank.will([ok_after(0)]);
        let mut answer = None;
        self.gate.hold(|| answer = Some(self.begin("7"))).await?;
        Ok(answer.expect("the gate is shut before the order is sent"))
    }

    /// Opens the gate, and returns when all that comes of it has happened.
    async fn finish_the_receipt(&self) {
        let held = self.scene.hold_the_clock();
        let sealing = self.gate.open(&self.scene);
        tokio::select! {
            () = sealing.left() => {}
            () = self.scene.let_threads_run() => {}
        }
        drop(held);
        self.bank.clock.goes_on();
        // While a closure of `spawn_blocking` runs the clock stands still, so this sleep ends after it.
        sleep(Duration::from_secs(1)).await;
    }

    async fn sleep_until(&self, moment_ms: u64) {
        let now_ms = self.scene.now_ms() - self.began_ms;
        sleep(Duration::from_millis(moment_ms.saturating_sub(now_ms))).await;
    }

    /// Moves the clock by hand, because it does not move by itself while a closure runs on another thread.
    async fn advance_to(&self, moment_ms: u64) {
        let now_ms = self.scene.now_ms() - self.began_ms;
        advance(Duration::from_millis(moment_ms.saturating_sub(now_ms))).await;
        rest().await;
    }
}

/// Asks, and reads the whole answer. The clock is told meanwhile that somebody waits.
async fn tell(scene: Scene, client: Connection, clock: Clock, question: Request) -> Result<Told, Broken> {
    let (path, sent_ms) = (question.uri().path().to_owned(), scene.now_ms());
    clock.client_asks();
    let answer = client.send(question).await;
    clock.client_is_told();
    let answer = answer?;
    let mut told = Told::now(&scene, &path, sent_ms, answer.status());
    let body = answer.read().await;
    let clean = matches!(body.end, Some((_, End::Clean)));
    told.receipt = clean.then(|| body.text());
    Ok(told)
}

/// What the client was told, and when.
struct Told {
    order: String,
    status: StatusCode,
    sent_ms: u64,
    after_ms: u64,
    /// What the answer says, if it came whole.
    receipt: Option<String>,
}

impl Told {
    fn now(scene: &Scene, path: &str, sent_ms: u64, status: StatusCode) -> Self {
        let order = path.rsplit('/').next().unwrap_or_default().to_owned();
        Self { order, status, sent_ms, after_ms: scene.now_ms() - sent_ms, receipt: None }
    }

    /// Sees that whoever was told 200 has the sealed receipt.
    fn has_its_receipt(&self, asked: Asked) -> Proof {
        let sealed = format!("sealed {}", self.order);
        let observed = match &self.receipt {
            Some(receipt) => format!("{self}, and {receipt:?} is not the sealed receipt"),
            None => format!("{self}, and the receipt broke off"),
        };
        asked.require(self.status != StatusCode::OK || self.receipt.as_deref() == Some(&sealed), observed)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client was told {} after {} ms", self.status.as_u16(), self.after_ms)
    }
}

fn in_time(told: &Told, deadline_ms: u64) -> Proof {
    let on_time = told.after_ms <= deadline_ms && told.after_ms * 10 >= deadline_ms * 9;
    let as_it_should = told.status == StatusCode::GATEWAY_TIMEOUT && on_time;
    ANSWER_BY_DEADLINE.require(as_it_should, format!("the deadline was at {deadline_ms} ms, and {told}"))
}

async fn finished(answer: JoinHandle<Result<Told, Broken>>) -> Result<Told, Broken> {
    answer.await.unwrap_or_else(|_| Err(Broken::because("the client got no answer")))
}

fn request(method: Method, path: &str, budget: Option<&str>) -> Request {
    let request = Request::builder().method(method).uri(path);
    let request = match budget {
        Some(budget) => request.header(BUDGET, budget.as_bytes()),
        None => request,
    };
    request.body(Body::empty()).expect("a request that never changes")
}

fn times(count: usize) -> String {
    match count {
        0 => "not at all".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

fn asked(calls: &[Call]) -> String {
    if calls.is_empty() {
        return "nothing".to_owned();
    }
    calls.iter().map(|call| call.question.clone()).collect::<Vec<_>>().join(", ")
}

fn are(tasks: usize) -> String {
    if tasks == 1 { "1 task is".to_owned() } else { format!("{tasks} tasks are") }
}

// ===== The bank =====

fn ok_after(milliseconds: u64) -> Reply {
    Reply::After(milliseconds, StatusCode::OK)
}

fn busy_after(milliseconds: u64) -> Reply {
    Reply::After(milliseconds, StatusCode::SERVICE_UNAVAILABLE)
}

/// What the bank does with a call.
enum Reply {
    /// Answers so many milliseconds later.
    After(u64, StatusCode),
    /// Begins to answer so many milliseconds later, with this body.
    Stream(u64, Body),
    /// Answers with this.
    As(Response),
    /// Answers when it is told to.
    When(oneshot::Receiver<()>, StatusCode),
    /// Never answers.
    Never,
    /// Passes the call on.
    Onwards,
}

/// What the app calls; it does as it was told to, one reply a call.
#[derive(Clone)]
struct Bank {
    scene: Scene,
    lane: &'static str,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    next: Router,
    clock: Clock,
}

/// A call as the bank received it.
#[derive(Clone)]
struct Call {
    at_ms: u64,
    /// Method and path.
    question: String,
    budget: Option<String>,
}

impl Bank {
    fn new(scene: &Scene) -> Self {
        let clock = Clock { scene: scene.clone(), still: Arc::default() };
        let (replies, calls, next) = (Arc::default(), Arc::default(), Router::new());
        Self { scene: scene.clone(), lane: "bank", replies, calls, next, clock }
    }

    /// A line to an app that asks this bank.
    fn behind_a_line_to(&self, next: Router) -> Self {
        Self { lane: "line", replies: Arc::default(), calls: Arc::default(), next, ..self.clone() }
    }

    fn router(&self) -> Router {
        let bank = self.clone();
        Router::new().fallback(async move |request: Request| bank.answer(request).await)
    }

    /// Adds to what the bank does next.
    fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        locked(&self.replies).extend(replies);
    }

    /// Forgets the calls so far, and what it had not come to do.
    fn forget(&self) {
        locked(&self.calls).clear();
        locked(&self.replies).clear();
    }

    fn calls(&self) -> Vec<Call> {
        locked(&self.calls).clone()
    }

    /// Sees that each call carried a budget of more than 0 and of no more than was left of `granted_ms`.
    fn was_told(&self, told: &Told, granted_ms: u64) -> Proof {
        let calls = self.calls();
        BANK_KNOWS_WHAT_IS_LEFT.require(!calls.is_empty(), format!("the {} was not asked at all", self.lane))?;
        for (call, which) in calls.iter().zip(["first", "second", "third"]) {
            let elapsed = call.at_ms - told.sent_ms;
            let left = granted_ms.saturating_sub(elapsed);
            let asked = format!("the {} was asked for the {which} time at {elapsed} ms of {granted_ms}", self.lane);
            let Some(budget) = &call.budget else {
                return Err(Broken::because(format!("{asked}, and was told no budget")));
            };
            let right = budget.parse().is_ok_and(|budget: u64| budget > 0 && budget <= left);
            BANK_KNOWS_WHAT_IS_LEFT
                .require(right, format!("{asked}, so that {left} ms were left, and was told {budget:?}"))?;
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Response {
        let budget = request.headers().get(BUDGET).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let told = budget.as_ref().map_or("no budget".to_owned(), |budget| format!("{BUDGET}: {budget}"));
        self.scene.note(self.lane, format!("is asked {} {} ({told})", request.method(), request.uri().path()));
        let question = format!("{} {}", request.method(), request.uri().path());
        locked(&self.calls).push(Call { at_ms: self.scene.now_ms(), question, budget });
        let reply = locked(&self.replies).pop_front();
        let order = request.method() == Method::POST;
        let mut call = OpenCall { bank: self, answered: false };
        let response = match reply {
            Some(Reply::After(after_ms, status)) => {
                sleep(Duration::from_millis(after_ms)).await;
                status.into_response()
            }
            Some(Reply::Stream(after_ms, body)) => {
                sleep(Duration::from_millis(after_ms)).await;
                Response::new(body)
            }
            Some(Reply::As(answer)) => answer,
            Some(Reply::When(told, status)) => {
                // Nobody tells it when the scene is over.
                let _ = told.await;
                status.into_response()
            }
            Some(Reply::Onwards) => self.next.clone().oneshot(request).await.into_response(),
            Some(Reply::Never) => pending().await,
            None => StatusCode::NOT_FOUND.into_response(),
        };
        call.answered = true;
        self.scene.note(self.lane, format!("answers {}", response.status().as_u16()));
        if order && response.status().is_success() {
            self.clock.receipt_may_be_sealed();
        }
        response
    }
}

/// Stands still from when the bank agrees to an order until its client is told: meanwhile the app seals the receipt, on
/// whatever thread it likes.
#[derive(Clone)]
struct Clock {
    scene: Scene,
    still: Arc<Mutex<Still>>,
}

#[derive(Default)]
struct Still {
    /// How many clients wait to be told.
    waiting: usize,
    held: Vec<HeldClock>,
}

impl Clock {
    fn client_asks(&self) {
        locked(&self.still).waiting += 1;
    }

    fn client_is_told(&self) {
        let mut still = locked(&self.still);
        still.waiting -= 1;
        if still.waiting == 0 {
            still.held.clear();
        }
    }

    fn receipt_may_be_sealed(&self) {
        let held = self.scene.hold_the_clock();
        let mut still = locked(&self.still);
        if still.waiting > 0 {
            still.held.push(held);
        } else {
            // It should not be sealed any more, and nobody says when it is.
            let scene = self.scene.clone();
            drop(self.scene.spawn(async move {
                scene.let_threads_run().await;
                drop(held);
            }));
        }
    }

    fn goes_on(&self) {
        locked(&self.still).held.clear();
    }
}

/// Notes when the caller gives the call up.
struct OpenCall<'a> {
    bank: &'a Bank,
    answered: bool,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.bank.scene.note(self.bank.lane, "is hung up on");
        }
    }
}

// ===== The seal =====

/// Holds up the sealing of receipts.
struct Gate {
    /// Takes the next receipt while the gate is shut.
    shut: Arc<Mutex<Option<UnboundedSender<Receipt>>>>,
    held: Mutex<Option<Receipt>>,
}

/// A receipt that is being sealed, until it is dropped.
struct Receipt {
    order: String,
    /// Whether another thread seals it than the one that serves the requests.
    elsewhere: bool,
    visit: Visit,
    _sealed: standard::Sender<()>,
}

/// A seal that is done at once while its gate is open. Even then it leaves the app the time to wait for it, so that what
/// comes of the two threads comes in one order.
fn gated(scene: &Scene) -> (Seal, Gate) {
    let gate = Gate { shut: Arc::default(), held: Mutex::default() };
    let (begins, mut begun) = mpsc::unbounded_channel::<Receipt>();
    let (clock, shut) = (scene.clone(), gate.shut.clone());
    scene.spawn(async move {
        while let Some(receipt) = begun.recv().await {
            rest().await;
            if let Some(holder) = locked(&shut).take() {
                clock.note("seal", format!("begins with the receipt of {}", receipt.order));
                // The proof may have ended meanwhile.
                let _ = holder.send(receipt);
            }
        }
    });
    let serving = thread::current().id();
    let seal = move |order: &str| {
        let (sealed, done) = standard::channel();
        let elsewhere = thread::current().id() != serving;
        // At the end of the scene nobody listens, and the receipt is sealed.
        let _ = begins.send(Receipt { order: order.to_owned(), elsewhere, visit: Visit::begin(), _sealed: sealed });
        if elsewhere {
            let _ = done.recv();
        }
        format!("sealed {order}")
    };
    (Arc::new(seal), gate)
}

impl Gate {
    /// Holds up the next receipt, and waits for it to be begun.
    async fn hold(&self, begin: impl FnOnce()) -> Proof {
        let mut held = self.shut();
        begin();
        self.holds(held.recv().await)
    }

    /// Like [`hold`](Self::hold), where it may be that no receipt is begun any more.
    async fn hold_within(&self, begin: impl Future<Output = ()>) -> Proof {
        let mut held = self.shut();
        begin.await;
        let Ok(receipt) = timeout(Duration::from_secs(5), held.recv()).await else {
            let observed = "the client hung up, the bank agreed before the deadline, and no receipt was sealed";
            return HANG_UP_STOPS_NO_ORDER.require(false, observed);
        };
        self.holds(receipt)
    }

    fn shut(&self) -> UnboundedReceiver<Receipt> {
        let (holder, held) = mpsc::unbounded_channel();
        *locked(&self.shut) = Some(holder);
        held
    }

    fn holds(&self, receipt: Option<Receipt>) -> Proof {
        let elsewhere = receipt.as_ref().is_some_and(|receipt| receipt.elsewhere);
        *locked(&self.held) = receipt;
        let observed = "the receipt was sealed on the thread that serves the requests, and all of them had to wait";
        SEALED_ELSEWHERE.require(elsewhere, observed)
    }

    /// Lets the receipt be finished, by a thread whose visit it returns.
    fn open(&self, scene: &Scene) -> Visit {
        scene.note("seal", "is done with the receipt");
        let receipt = locked(&self.held).take();
        receipt.expect("it is held until the gate is opened").visit
    }
}

/// Lets run what can run, without time passing: an answer takes a few turns from the app to its client.
async fn rest() {
    for _ in 0..40 {
        yield_now().await;
    }
}

// ===== The ledger =====

/// Where orders are charged.
#[derive(Clone)]
struct Ledger {
    entries: Arc<Mutex<Vec<Entry>>>,
    channel: Arc<Mutex<UnboundedReceiver<String>>>,
    turnstile: Turnstile,
}

/// Whoever charges an order wakes the ledger's reader, and has to pass here before its `send` returns.
#[derive(Clone)]
struct Turnstile {
    shut: Arc<Mutex<Option<HeldUp>>>,
    serving: ThreadId,
}

/// Whom to tell of the next charge, and what holds it up.
type HeldUp = (UnboundedSender<()>, standard::Receiver<()>);

/// How long a charge is held up at most, by the wall clock.
const HELD_UP: Duration = Duration::from_secs(1);

impl Turnstile {
    /// Holds up the next charge, which is told, until the second part is dropped.
    fn shut(&self) -> (UnboundedReceiver<()>, standard::Sender<()>) {
        let (charging, told) = mpsc::unbounded_channel();
        let (release, released) = standard::channel();
        *locked(&self.shut) = Some((charging, released));
        (told, release)
    }

    fn pass(&self) {
        // The thread that serves the requests must not be held up: nobody could tell the deadline then.
        if thread::current().id() == self.serving {
            return;
        }
        let shut = locked(&self.shut).take();
        if let Some((charging, released)) = shut {
            // The proof may have ended meanwhile. Nothing is ever sent.
            let _ = charging.send(());
            // Whoever charges under a lock for which the deadline waits would keep us here for ever, and is right.
            let _ = receive_within(&released, HELD_UP);
        }
    }
}

struct WakeAndPass(Turnstile, Waker);

impl Wake for WakeAndPass {
    fn wake(self: Arc<Self>) {
        // What is charged is read in any case, however long it takes the other thread to go on.
        self.1.wake_by_ref();
        self.0.pass();
    }
}

struct Entry {
    order: String,
    /// `None` once the runtime is gone.
    at_ms: Option<u64>,
}

impl Ledger {
    fn new(scene: &Scene) -> (Self, UnboundedSender<String>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let turnstile = Turnstile { shut: Arc::default(), serving: thread::current().id() };
        let ledger = Self { entries: Arc::default(), channel: Arc::new(Mutex::new(receiver)), turnstile };
        let (reader, clock) = (ledger.clone(), scene.clone());
        scene.spawn(async move {
            let next = || {
                poll_fn(|cx| {
                    let waker = Waker::from(Arc::new(WakeAndPass(reader.turnstile.clone(), cx.waker().clone())));
                    locked(&reader.channel).poll_recv(&mut Context::from_waker(&waker))
                })
            };
            while let Some(order) = next().await {
                clock.note("ledger", format!("charges {order}"));
                locked(&reader.entries).push(Entry { order, at_ms: Some(clock.now_ms()) });
            }
        });
        (ledger, sender)
    }

    fn charges_of(&self, order: &str) -> Vec<Option<u64>> {
        locked(&self.entries).iter().filter(|entry| entry.order == order).map(|entry| entry.at_ms).collect()
    }

    /// Sees that the order was charged once if the client was told so, and else not at all.
    fn matches(&self, told: &Told) -> Proof {
        let charges = self.charges_of(&told.order);
        if told.status == StatusCode::OK {
            return ANSWER_MATCHES_LEDGER
                .require(charges.len() == 1, format!("{told}, and the order was charged {}", times(charges.len())));
        }
        let Some(charge) = charges.first() else { return Ok(()) };
        let when = match charge {
            Some(at_ms) => format!("at {} ms", at_ms - told.sent_ms),
            None => "when the server had been shut down".to_owned(),
        };
        Err(Broken::because(format!("{told}, and the order was charged {when}")))
    }

    /// Takes in what was charged while the runtime was dropped.
    fn close(&self) {
        while let Ok(order) = locked(&self.channel).try_recv() {
            locked(&self.entries).push(Entry { order, at_ms: None });
        }
    }
}
