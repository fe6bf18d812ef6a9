//! One task for the app owns every board and its readers' count; nobody else touches them. It's told who comes and who goes,
//! in one order, and ends with the router.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use axum::{
    BoxError, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::get,
};
use futures_util::stream;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc, oneshot,
};
use tokio_util::task::AbortOnDropHandle;
use tower::{ServiceExt, util::BoxCloneSyncService};

type Upstream = BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>;
type Render = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves `GET /boards/{board}/events`: each message that `upstream` sends for the board, as `render` writes it.
pub fn app(upstream: Upstream, render: Render) -> Router {
    let (hub, words) = mpsc::unbounded_channel();
    tokio::spawn(run(Boards { upstream, render }, words));
    Router::new().route("/boards/{board}/events", get(events)).with_state(hub)
}

/// What the hub is told.
enum Word {
    Comes(String, oneshot::Sender<(Seat, broadcast::Receiver<String>)>, mpsc::UnboundedSender<Word>),
    Goes(String, u64),
}

struct Board {
    /// Tells it from others of its name.
    number: u64,
    readers: usize,
    rendered: broadcast::Receiver<String>,
    task: AbortOnDropHandle<()>,
}

/// A reader's place at a board: the hub is told when it goes, also if it goes before the reader has it.
struct Seat {
    name: String,
    number: u64,
    hub: mpsc::UnboundedSender<Word>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Without the hub there is no board either.
        let _ = self.hub.send(Word::Goes(std::mem::take(&mut self.name), self.number));
    }
}

/// Owns every board. It ends when the router and the last seat are gone.
async fn run(boards: Boards, mut words: mpsc::UnboundedReceiver<Word>) {
    let (mut open, mut number) = (HashMap::<String, Board>::new(), 0);
    while let Some(word) = words.recv().await {
        match word {
            Word::Comes(name, seated, hub) => {
                if open.get(&name).is_none_or(|board| board.task.is_finished()) {
                    number += 1;
                    let (to_all, rendered) = broadcast::channel(64);
                    let task = AbortOnDropHandle::new(tokio::spawn(boards.clone().follow(name.clone(), to_all)));
                    open.insert(name.clone(), Board { number, readers: 0, rendered, task });
                }
                if let Some(board) = open.get_mut(&name) {
                    board.readers += 1;
                    let seat = Seat { name, number: board.number, hub };
                    // Whoever has gone meanwhile drops the seat.
                    let _ = seated.send((seat, board.rendered.resubscribe()));
                }
            }
            Word::Goes(name, number) => {
                let Some(board) = open.get_mut(&name).filter(|board| board.number == number) else { continue };
                board.readers -= 1;
                if board.readers == 0 {
                    open.remove(&name);
                }
            }
        }
    }
}

#[derive(Clone)]
struct Boards {
    upstream: Upstream,
    render: Render,
}

async fn events(State(hub): State<mpsc::UnboundedSender<Word>>, Path(name): Path<String>) -> Response {
    let (seated, seat) = oneshot::channel();
    // Without the hub nobody is seated.
    let _ = hub.send(Word::Comes(name, seated, hub.clone()));
    let Ok(seat) = seat.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let events = stream::unfold(seat, |(seat, mut rendered)| async move {
        loop {
            match rendered.recv().await {
                Ok(text) => return Some((Ok::<_, Infallible>(Event::default().data(text)), (seat, rendered))),
                // Whoever reads too slowly misses something.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(events).into_response()
}

impl Boards {
    /// Passes on what upstream says, until it ends.
    async fn follow(self, name: String, to_all: broadcast::Sender<String>) {
        let mut messages = match self.upstream.clone().oneshot(name.clone()).await {
            Ok(messages) => messages,
            Err(error) => return tracing::warn!(board = name, error = &*error, "upstream refuses"),
        };
        while let Some(message) = messages.recv().await {
            if let Some(text) = self.rendered(&name, &message) {
                // Without a reader it goes nowhere.
                let _ = to_all.send(text);
            }
        }
    }

    /// A message that cannot be rendered is lost, and no other.
    fn rendered(&self, board: &str, message: &str) -> Option<String> {
        let rendered = catch_unwind(AssertUnwindSafe(|| (self.render)(message)));
        rendered
            .map_err(|panic| {
                let text = panic.downcast_ref::<&str>().copied();
                let text = text.or_else(|| panic.downcast_ref().map(String::as_str)).unwrap_or("no message");
                tracing::error!(board, panic = text, "a message could not be rendered");
            })
            .ok()
    }
}
