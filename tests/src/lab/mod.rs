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
//! use spec::lab::{Lab, Limits, Proof, Protocol, Specification, require};
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
//!     .promise("answers", "A request is answered.", answers)
//!     .judge(Limits::default());
//! assert!(report.all_kept(), "{report}");
//! ```
//!
//! What keeps the clock still, and a proof repeatable: no timer in hyper's connections, no `date` header, small buffers and
//! windows (see [`wire`]), and proofs that wait on channels, semaphores and notifies. A loop round `yield_now` never lets
//! the runtime rest, and the clock never moves again.

mod attendance;
mod feed;
mod guard;
mod logs;
mod panics;
mod raw;
mod report;
mod scene;
mod transcript;
pub mod wire;

pub use feed::{Feed, SourceError};
pub use guard::{Limits, Proof, Specification};
pub use logs::{LogLine, LogSpan};
pub use panics::arranged_panic;
pub use raw::RawConnection;
pub use report::{Beside, Judged, Outcome, Report, Verdicts};
pub use scene::{Broken, Lab, Scene, control, require};
pub use transcript::{Event, SceneRecord, escaped};
pub use wire::{
    Answer, Closed, Connection, ConnectionWatch, End, EndedBy, Listener, Pending, Protocol, Received, Segment, Server,
};
