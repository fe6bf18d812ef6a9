//! The checkout on real threads: a receipt is sealed at the very deadline.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::StatusCode};
use lab::{
    Proof,
    hammer::{Force, Hammer, Hammered, strike},
    require,
};
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::App;

/// The time that a client has: of less than two milliseconds an app may have nothing left to tell its bank. The deadline must strike for it to be raced; whoever is too slow for it is told 504 and is not
/// charged, as ever.
const LIMIT: Duration = Duration::from_millis(2);
/// How long a try may last. One that lasts longer shows nothing.
const TRY: Duration = Duration::from_secs(1);

/// Tries whether an order can be charged whose client is told that it failed.
pub fn hammer(app: App, force: Force) -> Hammered {
    strike(force, move |hammer| sealed_at_the_deadline(&app, hammer))
}

fn sealed_at_the_deadline(app: &App, hammer: &mut Hammer) -> Proof {
    let struck = Arc::new(Struck::default());
    let (at_the_seal, later) = (struck.clone(), hammer.number() % 64 * 16);
    let seal = move |order: &str| {
        while !at_the_seal.0.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        (0..later).for_each(|_| std::hint::spin_loop());
        format!("sealed {order}")
    };
    let bank = Router::new().fallback(async || StatusCode::OK);
    let (ledger, mut charges) = unbounded_channel();
    let app = app(bank, Arc::new(seal), ledger, LIMIT);
    let order = Request::post("/orders/7").body(Body::empty()).expect("a request that never changes");
    let one_try = async move {
        // A timer of the same tick as the app's; who waits for it is woken with the app.
        let mut deadline = pin!(sleep(LIMIT));
        let _ = deadline.as_mut().poll(&mut Context::from_waker(&Waker::from(struck.clone())));
        let answer = tokio::spawn(app.oneshot(order)).await;
        // Also where the app was quicker.
        struck.0.store(true, Ordering::SeqCst);
        let Ok(Ok(answer)) = answer else { return (None, 0) };
        let mut charged = 0;
        // Until the app, and whatever it has left running, has let go of the ledger.
        while charges.recv().await.is_some() {
            charged += 1;
        }
        (Some(answer.status()), charged)
    };
    let Ok((Some(status), charged)) = hammer.block_on(async { timeout(TRY, one_try).await }) else { return Ok(()) };
    let observed =
        format!("a receipt was sealed at the deadline: the client was told {status}, and the order was charged");
    require(status.is_success() || charged == 0, observed)?;
    require(charged < 2, format!("one order was charged {charged} times"))
}

/// The deadline has struck.
#[derive(Default)]
struct Struck(AtomicBool);

impl Wake for Struck {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
