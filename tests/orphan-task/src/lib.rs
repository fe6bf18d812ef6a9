//! The specification of `orphan-task`: live boards, each with one subscription upstream that must end with its last reader.
//!
//! The specification is upstream. It keeps the senders, and so sees when a subscription's receiver is dropped. After a reader
//! has left it sends nothing until it has judged: one message more would wake an orphan, and hide the ghost.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    BoxError, Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use tokio::sync::mpsc;
use tower::util::BoxCloneSyncService;

use lab::{
    Asked, Connection, Ghost, Lab, Limits, Listener, Pending, Proof, Protocol, Received, Report, Scene, Server,
    Specification, control,
    hammer::{Force, Hammered},
};

mod hammer;
pub mod interleavings;
mod promises;
mod station;

use self::station::Station;
pub use hammer::hammer;

/// Subscribes to a board: what it says comes from the receiver, for as long as that lives.
pub type Upstream = BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>;

/// What a reader is shown of a message.
pub type Render = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Makes the service under test from what is upstream of it, and how a message is rendered.
pub type App = Arc<dyn Fn(Upstream, Render) -> Router + Send + Sync>;

const LAST_READER_ENDS_IT: Asked = Asked::new(
    "last-reader-ends-it",
    "When the last reader of a quiet board leaves, the board's subscription is dropped before the clock moves, and so is \
     a dial that's still under way.",
);
const THOUSAND_LEAVE_NO_TRACE: Asked = Asked::new(
    "thousand-leave-no-trace",
    "After 1,000 readers of 1,000 boards have come and gone, there are as many tasks as after the first, and no \
     subscription.",
);
const ONE_SUBSCRIPTION_A_BOARD: Asked = Asked::new(
    "one-subscription-a-board",
    "All readers of a board share one subscription. Each has the head of the answer before the first message, and gets \
     each of the board's messages once, in order, before the clock moves. When one leaves, or doesn't read, the others go on.",
);
const NEXT_READER_IS_SERVED: Asked = Asked::new(
    "next-reader-is-served",
    "Whoever comes after the last reader has left, later or in the same instant, gets the messages of a living \
     subscription, and whoever comes then shares it. At rest a board has at most one.",
);
const UPSTREAMS_END_IS_TOLD: Asked = Asked::new(
    "upstreams-end-is-told",
    "When a dial fails or upstream ends, the board's readers are told before the clock moves, no more tasks are left than \
     before, and the next reader dials again.",
);
const SLOW_DIAL_HOLDS_UP_ITS_BOARD: Asked = Asked::new(
    "slow-dial-holds-up-its-board",
    "A dial that hangs holds up the readers of its own board only, and when one of those leaves, the others are served.",
);
const PANIC_COSTS_ONE_MESSAGE: Asked = Asked::new(
    "panic-costs-one-message",
    "If `render` panics for a message, exactly one ERROR event has the panic's text and the board's name. Its reader gets \
     the next message, other boards go on, and the last reader's leaving still ends the subscription.",
);
const NOTHING_OUTLIVES_THE_ROUTER: Asked = Asked::new(
    "nothing-outlives-the-router",
    "When the router, the connections and the bodies are dropped, no task and no subscription is left.",
);
const EVERYDAY: Asked = Asked::new(
    "everyday",
    "A board is dialled by the name in its path when a reader comes and not before, and what isn't a board is no board.",
);

const EVENT_STREAM: Asked = Asked::new(
    "event-stream",
    "The answer is a 200 with `content-type: text/event-stream`, one event with the rendered text as its `data` for each \
     message. Comments may stand between them.",
);
const TEXTS: Asked = Asked::new("texts", "Neither messages nor rendered texts have line breaks, and none is empty.");
const TOLD_OF_THE_END: Asked = Asked::new(
    "told-of-the-end",
    "A reader whose dial fails is told by a 5xx or by the end of the stream, clean or not; one whose upstream ends, by the \
     end of the stream, after all messages that came before. Whoever comes in the very instant of the end may be ended with \
     the others.",
);
const NOT_PROMISED: Asked = Asked::new(
    "not-promised",
    "A reader who doesn't read for more than 15 messages may miss some; once she reads again, she gets what comes then. \
     Nothing is asked of a dial that panics.",
);
const STATUSES: Asked =
    Asked::new("statuses", "Another path is a 404, and another method than GET, HEAD and OPTIONS a 405.");

const HEADS: Asked = Asked::new("heads", "A HEAD is a reader who leaves at once: it leaves no subscription behind.");

/// Holds `app` against every promise.
pub fn check(app: impl Fn(Upstream, Render) -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .promise(LAST_READER_ENDS_IT, promises::last_reader_ends_it)
        .promise(THOUSAND_LEAVE_NO_TRACE, promises::thousand_leave_no_trace)
        .promise(ONE_SUBSCRIPTION_A_BOARD, promises::one_subscription_a_board)
        .promise(NEXT_READER_IS_SERVED, promises::next_reader_is_served)
        .promise(UPSTREAMS_END_IS_TOLD, promises::upstreams_end_is_told)
        .promise(SLOW_DIAL_HOLDS_UP_ITS_BOARD, promises::slow_dial_holds_up_its_board)
        .promise(PANIC_COSTS_ONE_MESSAGE, promises::panic_costs_one_message)
        .promise(NOTHING_OUTLIVES_THE_ROUTER, promises::nothing_outlives_the_router)
        .promise(EVERYDAY, promises::everyday)
        .judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "orphan-task";
    type App = fn(Upstream, Render) -> Router;
    type StandIns = (Upstream, Render);
    const ASKED: &'static [Asked] = &[EVENT_STREAM, TEXTS, TOLD_OF_THE_END, NOT_PROMISED, STATUSES, HEADS];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// An upstream that says on stderr who subscribes and how many subscriptions are open. A board tells the time since it was
    /// opened, once a second; `quiet` says one thing and is silent then, and `nowhere` cannot be subscribed to.
    fn stand_ins() -> Self::StandIns {
        station::stand_ins()
    }

    fn serve(app: Self::App, (upstream, render): Self::StandIns) -> Router {
        app(upstream, render)
    }
}

/// The service under test in its surroundings.
struct Desk {
    scene: Scene,
    /// Another handle of what is served.
    router: Option<Router>,
    server: Option<Server>,
    station: Station,
}

impl Desk {
    fn open(lab: &Lab, app: &App, title: impl fmt::Display) -> Self {
        let scene = lab.scene(title.to_string());
        let station = Station::new(&scene);
        let router = app(station.upstream(), Arc::new(station::render));
        let server = Some(scene.serve(router.clone()));
        Self { scene, router: Some(router), server, station }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it is there until it is closed")
    }

    /// Somebody on a connection of their own begins to read a board.
    async fn comes(&self, name: &str, protocol: Protocol, board: &str) -> Reader {
        let connection = self.server().connect(name, protocol).await;
        self.comes_on(name, &connection, board)
    }

    /// The same on a connection that is there.
    fn comes_on(&self, name: &str, connection: &Connection, board: &str) -> Reader {
        let state = Reading::Asked(connection.begin(asking(Method::GET, board)));
        Reader { name: name.to_owned(), connection: connection.clone(), state, status: None, leaves_by: Manner::Leaves }
    }

    /// The readers have their heads, and listen.
    async fn listen(&self, readers: &mut [&mut Reader]) -> Proof {
        self.scene.settle().await;
        for reader in readers.iter_mut() {
            reader.listens().await?;
        }
        self.scene.settle().await;
        Ok(())
    }

    /// The board says something, and each of these readers gets it before the clock moves, once, and nothing else.
    async fn all_hear(&self, asked: Asked, board: &str, messages: &[&str], readers: &[&Reader]) -> Proof {
        let before: Vec<usize> = readers.iter().map(|reader| reader.heard().len()).collect();
        let at_ms = self.scene.now_ms();
        messages.iter().for_each(|message| self.station.sends(board, message));
        self.scene.settle().await;
        for (reader, before) in readers.iter().zip(before) {
            let heard = reader.heard();
            let new = &heard[before.min(heard.len())..];
            let due: Vec<_> = messages.iter().map(|message| (at_ms, station::render(message))).collect();
            let observed = format!(
                "at {at_ms} ms {board} said {messages:?}, and {} heard {}",
                reader.name,
                if new.is_empty() { "nothing".to_owned() } else { told(new) },
            );
            asked.require(new == due, observed)?;
        }
        Ok(())
    }

    /// The control: a reader gets what the board says.
    async fn works(&self, board: &str, reader: &Reader) -> Proof {
        let before = reader.heard().len();
        self.station.sends(board, "one");
        self.scene.settle().await;
        let heard = reader.heard();
        let new = &heard[before.min(heard.len())..];
        let whole = new.iter().map(|(_, text)| text.as_str()).eq(["<one>"]);
        control(whole, format!("{board} said one, and {} heard {}", reader.name, told(new)))
    }

    /// What was there of the board was dropped when its last reader left, at this time.
    async fn is_over(&self, asked: Asked, board: &str, left_ms: u64) -> Proof {
        self.scene.settle().await;
        match self.station.last(board) {
            None => Ok(()),
            Some(station::Last::Ended) => Ok(()),
            Some(station::Last::DroppedAt(at_ms)) => asked.require(
                at_ms <= left_ms,
                format!("the last reader left at {left_ms} ms, and the subscription to {board} ended at {at_ms} ms"),
            ),
            Some(station::Last::Lives(what)) => {
                asked.require(false, format!("the last reader left at {left_ms} ms, and {what} {board} is still there"))
            }
        }
    }
}

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Its connection is gone.
    Leaves,
    /// It gives its request up. HTTP/2 resets the stream, HTTP/1.1 closes.
    GivesUp,
}

impl Manner {
    const BOTH: [Self; 2] = [Self::Leaves, Self::GivesUp];
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaves => "the client is gone",
            Self::GivesUp => "the client gives the answer up",
        })
    }
}

/// A reader of a board.
struct Reader {
    name: String,
    connection: Connection,
    state: Reading,
    /// Of an answer that was begun.
    status: Option<StatusCode>,
    leaves_by: Manner,
}

enum Reading {
    Asked(Pending),
    Listens(Listener),
    Over,
}

impl Reader {
    fn leaving_by(self, leaves_by: Manner) -> Self {
        Self { leaves_by, ..self }
    }

    /// The head is there, as it must be, and what comes after it is listened to.
    async fn listens(&mut self) -> Proof {
        let Reading::Asked(pending) = std::mem::replace(&mut self.state, Reading::Over) else { return Ok(()) };
        let observed = format!("{} asked for a board, and has no head while the board is quiet", self.name);
        ONE_SUBSCRIPTION_A_BOARD.require(pending.is_answered(), observed)?;
        let answer = pending.answer().await?;
        let status = answer.status().as_u16();
        EVENT_STREAM.require(status == 200, format!("{} asked for a board and was told {status}", self.name))?;
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        let is_stream = kind.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream");
        EVENT_STREAM.require(is_stream, format!("{} got a content type of {kind:?}", self.name))?;
        self.state = Reading::Listens(answer.listen());
        Ok(())
    }

    /// Like [`listens`](Self::listens), of one whose dial may not be over, and who may be told so by a status.
    async fn told(&mut self) -> Option<StatusCode> {
        match std::mem::replace(&mut self.state, Reading::Over) {
            Reading::Asked(pending) if pending.is_answered() => {
                // No answer at all is what it is to be told nothing.
                let answer = pending.answer().await.ok()?;
                let status = answer.status();
                self.status = Some(status);
                self.state = Reading::Listens(answer.listen());
                Some(status)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn is_answered(&self) -> bool {
        match &self.state {
            Reading::Asked(pending) => pending.is_answered(),
            Reading::Listens(_) | Reading::Over => true,
        }
    }

    fn received(&self) -> Received {
        match &self.state {
            Reading::Listens(listener) => listener.so_far(),
            Reading::Asked(_) | Reading::Over => Received::default(),
        }
    }

    /// The events so far, each with the time at which it was whole.
    fn heard(&self) -> Vec<(u64, String)> {
        events(&self.received())
    }

    fn ended_ms(&self) -> Option<u64> {
        self.received().end.map(|(at_ms, _)| at_ms)
    }

    /// Goes, and tells when.
    fn leaves(self, scene: &Scene) -> u64 {
        let at_ms = scene.now_ms();
        match self.leaves_by {
            Manner::Leaves => self.connection.leave(),
            Manner::GivesUp => match self.state {
                Reading::Asked(pending) => pending.cancel(),
                Reading::Listens(listener) => listener.cancel(),
                Reading::Over => {}
            },
        }
        at_ms
    }
}

fn asking(method: Method, board: &str) -> Request<Body> {
    at(method, &format!("/boards/{board}/events"))
}

fn at(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).expect("a path")
}

/// What a client of `text/event-stream` makes of what has come.
fn events(received: &Received) -> Vec<(u64, String)> {
    let (mut line, mut data, mut events) = (String::new(), Vec::new(), Vec::new());
    for (at_ms, bytes) in &received.data {
        // A text of several bytes a letter may be cut anywhere; the specification's own are ASCII.
        for letter in String::from_utf8_lossy(bytes).chars().filter(|letter| *letter != '\r') {
            if letter != '\n' {
                line.push(letter);
                continue;
            }
            let whole = std::mem::take(&mut line);
            if let Some(text) = whole.strip_prefix("data:") {
                data.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
            } else if whole.is_empty() && !data.is_empty() {
                events.push((*at_ms, std::mem::take(&mut data).join("\n")));
            }
        }
    }
    events
}

fn told(events: &[(u64, String)]) -> String {
    let told: Vec<_> = events.iter().map(|(at_ms, text)| format!("{text:?} at {at_ms} ms")).collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}

/// What a scene that is played in process has to say of time.
const A_MOMENT: Duration = Duration::from_millis(10);
