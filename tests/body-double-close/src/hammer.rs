//! The spool on real threads: the end of an upload is seen by its reader and by whoever drops the request, at once.

use std::{future::pending, sync::mpsc, time::Duration};

use axum::{Router, body::Body, extract::Request, http::StatusCode, response::Response, routing::post};
use http_body_util::BodyExt;
use lab::{
    Proof,
    hammer::{ByHand, Force, Hammer, Hammered, strike},
    require,
};
use tokio::sync::mpsc::unbounded_channel;
use tower::ServiceExt;

use crate::App;

/// What the client sends.
const FRAME: &str = "data";
/// How long a handler may take to be called, before the try shows nothing. No verdict hangs on it.
const CALLED: Duration = Duration::from_millis(200);

/// Tries whether two threads can give the same slot back, or whether one can make the audit untrue for the other.
pub fn hammer(app: App, force: Force) -> Hammered {
    strike(force, move |hammer| one_upload(&app, hammer))
}

/// One upload whose handler never answers. Its client leaves while the handler drops the body, reads it to its end, or takes
/// one frame.
fn one_upload(app: &App, hammer: &mut Hammer) -> Proof {
    let (audit, mut lines) = unbounded_channel();
    let (hand_over, bodies) = mpsc::channel();
    let keep = move |request: Request| {
        // The try may be over.
        let _ = hand_over.send(request.into_body());
        pending::<Response>()
    };
    let app = app(1, Router::new().route("/", post(keep)), audit);
    let ask = || ByHand::new(app.clone().oneshot(upload()));
    let mut request = ask();
    request.poll_while_woken();
    let Ok(body) = bodies.recv_timeout(CALLED) else { return Ok(()) };

    let frames = [0, usize::MAX, 1][hammer.number() as usize % 3];
    let (read, ()) = hammer.at_once(move || read(body, frames), move || drop(request));
    let (received, rest) = read;
    drop(rest);
    let written: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
    require(
        written.len() < 2,
        format!("the client left while the body was at its end, and the audit has {written:?}"),
    )?;
    if let Some((_, counted, how)) = written.first() {
        let observed = format!("the handler received {received} bytes, and the audit says {counted}, {how}");
        require(*counted == received, observed)?;
    }

    // The only slot is free now, or as soon as the app is at rest.
    let lost = hammer.at_rest_before(|| {
        // Over at once: the body goes first, and then the request, on one thread.
        let mut request = ask();
        request.poll_while_woken();
        bodies.try_recv().is_ok()
    });
    require(
        !lost,
        "the client left while the body was at its end: all is at rest, and the only slot is gone for good",
    )?;
    // And there are not two.
    let (mut first, mut second) = (ask(), ask());
    let answers = [first.poll_while_woken(), second.poll_while_woken()];
    let live = std::iter::from_fn(|| bodies.try_recv().ok()).count();
    let refused = |answer: &Option<Result<Response, _>>| matches!(answer, Some(Ok(answer)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE);
    let both = live == 2 && !answers.iter().any(refused);
    require(!both, "there is one slot, and after it was given back two uploads have a slot at once")
}

fn upload() -> Request {
    let frames = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(FRAME)]);
    Request::post("/").body(Body::from_stream(frames)).expect("a request that never changes")
}

/// Takes so many frames, or all there are, and counts their bytes. The body is dropped where it was to be read to its end, or
/// not at all.
fn read(mut body: Body, frames: usize) -> (u64, Option<Body>) {
    let mut received = 0;
    let mut next = 0;
    while next < frames {
        let mut frame = std::pin::pin!(body.frame());
        let polled = frame.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        match polled {
            std::task::Poll::Ready(Some(Ok(frame))) => received += frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => break,
        }
        next += 1;
    }
    (received, (frames == 1).then_some(body))
}
