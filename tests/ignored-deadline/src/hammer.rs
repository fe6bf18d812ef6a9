//! The checkout on real threads: a receipt is sealed at the very deadline.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::StatusCode};
use futures_util::future::join_all;
use lab::{
    Proof,
    hammer::{Aim, Force, Hammer, Hammered, strike},
    locked, require,
};
use tokio::{
    sync::mpsc::unbounded_channel,
    task::yield_now,
    time::{advance, sleep, timeout},
};
use tower::ServiceExt;

use crate::App;

/// The time that a client has: of less than two milliseconds an app may have nothing left to tell its bank. The deadline must strike for it to be raced; whoever is too slow for it is told 504 and is not
/// charged, as ever.
const LIMIT: Duration = Duration::from_millis(2);
/// How long a crowd may take. One that takes longer shows nothing.
const TRY: Duration = Duration::from_secs(1);
/// How many orders have their deadline at once where that costs time, and how seldom they come.
const CROWD: usize = 16;
const SELDOM: u64 = 24;
/// How often it is looked at most whether a receipt is being sealed.
const LOOKS: usize = 100_000;

/// Tries whether an order can be charged whose client is told that it failed.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (mut aim, mut round) = (Aim::default(), 0_u64);
    strike(force, move |hammer| {
        round += 1;
        if round.is_multiple_of(SELDOM) { a_crowd(&app, hammer) } else { one_order(&app, &mut aim, hammer) }
    })
}

/// The deadline strikes for the runtime while the receipt of one order is ready on another thread. The clock does not move
/// before.
fn one_order(app: &App, aim: &mut Aim, hammer: &Hammer) -> Proof {
    let sealing = Arc::new(AtomicBool::new(false));
    let strikes = Arc::new(AtomicBool::new(false));
    let later = aim.turns();
    let (enters, waits) = (sealing.clone(), strikes.clone());
    let seal = move |order: &str| {
        enters.store(true, Ordering::SeqCst);
        let mut looks = 0_u32;
        while !waits.load(Ordering::SeqCst) {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(2000) { thread::yield_now() } else { std::hint::spin_loop() }
        }
        Aim::wait(later);
        format!("sealed {order}")
    };
    let (ledger, mut charges) = unbounded_channel();
    let (answer, charged) = hammer.block_on_a_still_clock(async {
        let answer = tokio::spawn(app(bank(), Arc::new(seal), ledger, LIMIT).oneshot(order(7)));
        // As long as there is something to do, the clock does not go on by itself.
        for _ in 0..LOOKS {
            if sealing.load(Ordering::SeqCst) || answer.is_finished() {
                break;
            }
            yield_now().await;
        }
        strikes.store(true, Ordering::SeqCst);
        advance(LIMIT).await;
        let answer = answer.await;
        let mut charged = 0;
        // Until the app, and whatever it has left running, has let go of the ledger.
        while charges.recv().await.is_some() {
            charged += 1;
        }
        (answer, charged)
    });
    let Ok(Ok(answer)) = answer else { return Ok(()) };
    aim.was_first(answer.status().is_success());
    agree(answer.status(), charged)
}

/// Many orders have their deadline at once, on a clock that goes, and in a runtime of more than one thread.
fn a_crowd(app: &App, hammer: &mut Hammer) -> Proof {
    let orders = hammer.tries_at_once(CROWD);
    let (strike, struck): (Vec<_>, Vec<_>) = (0..orders)
        .map(|_| {
            let (strike, struck) = mpsc::channel();
            (Arc::new(Deadline(strike)), Mutex::new(struck))
        })
        .unzip();
    let later = Arc::new(AtomicU64::new(0));
    let seal = move |order: &str| {
        // The deadline of this order, or the end of the try.
        let _ = order.parse().ok().and_then(|order: usize| struck.get(order)).map(|struck| locked(struck).recv());
        Aim::wait(later.fetch_add(1, Ordering::SeqCst) % 4 * 64);
        format!("sealed {order}")
    };
    let (ledger, mut charges) = unbounded_channel();
    let app = app(bank(), Arc::new(seal), ledger, LIMIT);
    let all = async move {
        let asked: Vec<_> = strike
            .iter()
            .enumerate()
            .map(|(number, strike)| {
                // A timer of the same tick as the app's; who waits for it is woken with the app.
                let mut deadline = Box::pin(sleep(LIMIT));
                let waker = Waker::from(strike.clone());
                let _ = pin!(&mut deadline).poll(&mut Context::from_waker(&waker));
                let answer = tokio::spawn(app.clone().oneshot(order(number)));
                async move {
                    let answer = answer.await;
                    drop(deadline);
                    answer.ok().and_then(Result::ok).map(|answer| answer.status())
                }
            })
            .collect();
        drop(app);
        let told = join_all(asked).await;
        // Also where the app was quicker.
        drop(strike);
        let mut charged = vec![0; told.len()];
        while let Some(order) = charges.recv().await {
            let place = order.parse().ok().and_then(|order: usize| charged.get_mut(order));
            place.into_iter().for_each(|charged| *charged += 1);
        }
        told.into_iter().zip(charged).collect::<Vec<_>>()
    };
    let Ok(told) = hammer.block_on(async { timeout(TRY, all).await }) else { return Ok(()) };
    told.into_iter().try_for_each(|(status, charged)| status.map_or(Ok(()), |status| agree(status, charged)))
}

fn agree(status: StatusCode, charged: usize) -> Proof {
    let observed =
        format!("a receipt was sealed at the deadline: the client was told {status}, and the order was charged");
    require(status.is_success() || charged == 0, observed)?;
    require(charged < 2, format!("one order was charged {charged} times"))
}

fn bank() -> Router {
    Router::new().fallback(async || StatusCode::OK)
}

fn order(number: usize) -> Request {
    Request::post(format!("/orders/{number}")).body(Body::empty()).expect("a path of digits")
}

/// Says that the deadline has struck.
struct Deadline(mpsc::Sender<()>);

impl Wake for Deadline {
    fn wake(self: Arc<Self>) {
        // Nobody waits where no receipt is sealed.
        let _ = self.0.send(());
    }
}
