//! The laboratory: a real HTTP wire, a clock that only moves when nothing else can, and a guard that survives the app
//! under test.
//!
//! A [`Specification`] is a list of promises. Each is proven by an `async fn` that stages one or more [`Scene`]s: it gives
//! the app its surroundings, serves it, sends requests, and says with [`require`] what must be seen. Each promise runs on a
//! thread and a runtime of its own, with the clock paused: time passes only when every task waits, so an hour costs
//! nothing and two runs are the same to the byte.
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use lab::{Asked, Lab, Limits, Proof, Protocol, Specification, require};
//!
//! async fn answers(lab: Lab, app: fn() -> Router) -> Proof {
//!     for protocol in Protocol::BOTH {
//!         let scene = lab.scene(protocol.to_string());
//!         let client = scene.serve(app()).connect("client", protocol).await;
//!         let answer = client.send(Request::get("/").body(Body::empty()).unwrap()).await?;
//!         let body = answer.read().await;
//!         require(body.text() == "boo", format!("expected boo, got {:?}", body.text()))?;
//!     }
//!     Ok(())
//! }
//!
//! let app = || Router::new().route("/", get(|| async { "boo" }));
//! let report = Specification::of("an-example", app as fn() -> Router)
//!     .promise(Asked::new("answers", "A request is answered."), answers)
//!     .judge(Limits::default());
//! assert!(report.all_kept(), "{report}");
//! ```
//!
//! # A specification of your own
//!
//! 1. Take the app as a constructor whose parameters are everything that puts it under stress: the inner routes, the
//!    dependency that it calls, the sinks that it writes to, its limits. The proof supplies them and so decides who waits for
//!    whom; it judges only what they saw and what the client got.
//!    Where the contract of `Service` is the subject, the constructor makes a layer, and the proof wraps a service of its own
//!    in it and calls it without a wire, as the specification of `unready-clone` does.
//! 2. Write one `async fn(Lab, App) -> Proof` for each promise. It begins a [`Scene`] for each protocol, kind or ending that
//!    the promise speaks of, and serves a new app in each.
//! 3. First show with [`control`] that the app works before the fault. Then bring the fault about, and say with [`require`]
//!    what must be seen; what is `observed` otherwise is the sentence that the reader of the report gets.
//! 4. Gates are channels, semaphores and notifies: the proof holds the one end and an inner route the other. A source of a
//!    body is a [`Feed`]. To let everything run that can run, [`settle`](Scene::settle). To let time pass, `sleep`.
//! 5. Write down what the parts that you supply see and do with [`Scene::note`]; wire and log lines stand there by
//!    themselves.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use lab::{Asked, Lab, Limits, Proof, Protocol, Specification, control, require};
//! use tokio::{sync::Semaphore, time::{sleep, timeout}};
//!
//! /// A gateway that gives its backend one second.
//! fn gateway(backend: Router) -> Router {
//!     use axum::{extract::Request, http::StatusCode, middleware::{Next, from_fn}, response::IntoResponse};
//!     backend.layer(from_fn(async |request: Request, next: Next| {
//!         let answer = timeout(Duration::from_secs(1), next.run(request)).await;
//!         answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
//!     }))
//! }
//!
//! async fn answers_in_time(lab: Lab, app: fn(Router) -> Router) -> Proof {
//!     for protocol in Protocol::BOTH {
//!         let scene = lab.scene(protocol.to_string());
//!         let gate = Arc::new(Semaphore::new(1));
//!         let (seen, waits) = (scene.clone(), gate.clone());
//!         let backend = Router::new().route("/", get(async move || {
//!             seen.note("backend", "is asked");
//!             waits.acquire().await.expect("never closed").forget();
//!             "boo"
//!         }));
//!         let client = scene.serve(app(backend)).connect("client", protocol).await;
//!         let asking = || Request::get("/").body(Body::empty()).expect("a path");
//!
//!         let answer = client.send(asking()).await?;
//!         control(answer.status() == 200, format!("expected 200, got {}", answer.status()))?;
//!         answer.read().await;
//!
//!         let asked = scene.now_ms();
//!         let answer = client.send(asking()).await?;
//!         let waited = scene.now_ms() - asked;
//!         require(answer.status() == 504, format!("expected 504, got {}", answer.status()))?;
//!         require(waited <= 1000, format!("the answer took {waited} ms"))?;
//!         drop((answer, client));
//!         scene.settle().await;
//!         require(scene.app_tasks() == 0, "a task of the request lives on")?;
//!     }
//!     Ok(())
//! }
//!
//! let report = Specification::of("a-gateway", gateway as fn(Router) -> Router)
//!     .promise(Asked::new("answers-in-time", "The client is answered within a second."), answers_in_time)
//!     .judge(Limits::default());
//! assert!(report.all_kept(), "{report}");
//! ```
//!
//! # One order is not every order
//!
//! The scenes above let things settle between two events, and so judge one order only. Where the promise is about a stream, a
//! crowd or a client that leaves, loop over all:
//!
//! - a body comes in each order of [`Arrival::ALL`], played by a [`Course`]; where the app must not poll a source after its
//!   end, the source is one that [ends once](Scene::feed_that_ends_once),
//! - callers come [all at once](Server::crowd),
//! - a client [leaves](Connection::leaves_at) at each [moment](Scene::moments_to_leave) of a scene that was played once,
//! - a service is [asked twice](ready_twice) whether it is ready.
//!
//! A part that the specification supplies and that is used as it must not be says so with [`Scene::breach`].
//!
//! # What keeps the clock still, and a proof repeatable
//!
//! No timer in hyper's connections, no `date` header, small buffers and windows (see [`wire`]), one thread. A loop round
//! `yield_now` never lets the runtime rest, and the clock never moves again. Two timers that are due in the same millisecond
//! are a tie that `select!` breaks at random: choose times that differ. Time does not pass by itself while a closure of
//! `spawn_blocking` runs: learn from a channel that it has started, move the clock with `tokio::time::advance`, let it go,
//! and judge what it did in [`Lab::afterwards`]. A request that must change threads is polled by hand with
//! [`Scene::poll_elsewhere`].
//!
//! An app may call what the specification supplies from a thread of its own, a `std::thread` or a pool's, of which the clock
//! knows nothing. Where it may, [hold the clock](Scene::hold_the_clock) from what sets the app going until the part is
//! entered or the answer is there, and again from when the part returns until its thread [has left](Visit::left).
//!
//! # What the guard makes of an app that misbehaves
//!
//! | the app | the line in the report |
//! |---|---|
//! | panics, wherever, caught or not | *the app panicked at src/lib.rs:7* |
//! | waits for ever | *still waiting after 60 s of virtual time*, with who waits and for what ([`Scene::patience`]) |
//! | spins, or blocks its thread | *the app did not yield*, after [`Limits::unresponsive`] by the wall clock in one scene; a sixth of it and a child tells |
//! | exits, aborts, overflows its stack | the process ends: judge it with [`in_child`] |
//!
//! Each line begins with the scene in which it was seen: *in HTTP/2: the app panicked at src/lib.rs:7*. Time is virtual, and an
//! app whose library has timers or sleeping threads of its own waits for something that never comes: only tokio's timers
//! follow the clock.
//!
//! A panic whose place is in the source of `lab` or of a specification beside it is the specification's own, and not counted against the app; one that
//! is arranged elsewhere says so with [`arranged_panic`]. An app that sets the panic hook or changes something else that is
//! the process's is judged [`alone`](Specification::alone): its hook and the laboratory's then both hear each panic, once.

mod abreast;
mod arrival;
mod asked;
mod attendance;
mod child;
mod feed;
mod ghost;
mod guard;
pub mod hammer;
pub mod hostile;
mod leaving;
pub mod lingering;
mod logs;
mod panics;
mod raw;
mod readiness;
mod report;
mod scene;
mod stillness;
mod transcript;
pub mod wire;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use abreast::abreast;
pub use arrival::{Arrival, Course};
pub use asked::Asked;
pub use child::{
    Ended, Heard, Said, child_of, child_of_hearing, child_of_telling, in_child, in_child_within, in_exercise,
    tried_in_exercise,
};
pub use feed::{Feed, SourceError};
pub use ghost::Ghost;
pub use guard::{Limits, Proof, Shown, Specification, receive_within};
pub use leaving::Leaving;
pub use logs::{LogLine, LogSpan};
pub use panics::arranged_panic;
pub use raw::RawConnection;
pub use readiness::ready_twice;
pub use report::{Beside, Judged, Outcome, Report, Verdicts};
pub use scene::{Broken, Lab, Scene, Waits, control, require};
pub use stillness::{HeldClock, Visit};
pub use transcript::{Event, SceneRecord, escaped};
pub use wire::{
    Answer, Closed, Connection, ConnectionWatch, End, EndedBy, Listener, Pending, Protocol, Received, Segment, Server,
};

/// What a mutex holds, also after a panic of the app while it was locked: such a panic is noted elsewhere.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line for whoever watches the server: what a stand-in does or sees. It goes to standard error; in the laboratory, to the
/// transcript, in the lane `says`.
pub fn say(line: impl fmt::Display) {
    match attendance::stage_of_this_thread() {
        Some(stage) => stage.said(line.to_string()),
        None => eprintln!("{line}"),
    }
}
