//! The map owns the tasks: its entry has the number of readers and the task's handle, and goes under the map's lock.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use axum::{
    BoxError, Router,
    extract::{Path, State},
    response::{IntoResponse, Sse, sse::Event},
    routing::get,
};
use futures_util::stream;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};
use tokio_util::task::AbortOnDropHandle;
use tower::{ServiceExt, util::BoxCloneSyncService};

type Upstream = BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>;
type Render = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves `GET /boards/{board}/events`: each message that `upstream` sends for the board, as `render` writes it.
pub fn app(upstream: Upstream, render: Render) -> Router {
    let boards = Boards { upstream, render, open: Arc::default() };
    Router::new().route("/boards/{board}/events", get(events)).with_state(boards)
}

#[derive(Clone)]
struct Boards {
    upstream: Upstream,
    render: Render,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    boards: HashMap<String, Board>,
    opened: u64,
}

struct Board {
    /// Tells it from others of its name.
    number: u64,
    readers: usize,
    /// Nobody reads this one. Whoever joins gets a receiver that begins where it stands.
    rendered: broadcast::Receiver<String>,
    _task: AbortOnDropHandle<()>,
}

/// A reader's place at a board.
struct Seat {
    boards: Boards,
    name: String,
    number: u64,
}

async fn events(State(boards): State<Boards>, Path(name): Path<String>) -> impl IntoResponse {
    Sse::new(stream::unfold(boards.join(name), |(seat, mut rendered)| async move {
        loop {
            match rendered.recv().await {
                Ok(text) => return Some((Ok::<_, Infallible>(Event::default().data(text)), (seat, rendered))),
                // Whoever reads too slowly misses something.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }))
}

impl Boards {
    /// Takes a seat at a board, which is opened if nobody has one.
    fn join(&self, name: String) -> (Seat, broadcast::Receiver<String>) {
        let mut open = self.open.lock().unwrap();
        if let Some(board) = open.boards.get_mut(&name) {
            board.readers += 1;
            let (number, rendered) = (board.number, board.rendered.resubscribe());
            return (Seat { boards: self.clone(), name, number }, rendered);
        }
        let (to_all, rendered) = broadcast::channel(64);
        open.opened += 1;
        let number = open.opened;
        let for_others = to_all.subscribe();
        let task = AbortOnDropHandle::new(tokio::spawn(self.clone().follow(name.clone(), number, to_all)));
        open.boards.insert(name.clone(), Board { number, readers: 1, rendered: for_others, _task: task });
        (Seat { boards: self.clone(), name, number }, rendered)
    }

    /// Passes on what upstream says, until it ends.
    async fn follow(self, name: String, number: u64, to_all: broadcast::Sender<String>) {
        match self.upstream.clone().oneshot(name.clone()).await {
            Ok(mut messages) => {
                while let Some(message) = messages.recv().await {
                    if let Some(text) = self.rendered(&name, &message) {
                        // Without a reader it goes nowhere.
                        let _ = to_all.send(text);
                    }
                }
            }
            Err(error) => tracing::warn!(board = name, error = &*error, "upstream refuses"),
        }
        self.leave(&name, number, |_| true);
    }

    /// Takes a board out of the map if `is_over` says so, which sees it under the map's lock.
    fn leave(&self, name: &str, number: u64, is_over: impl FnOnce(&mut Board) -> bool) {
        let mut open = self.open.lock().unwrap();
        let board = open.boards.get_mut(name).filter(|board| board.number == number);
        if board.is_some_and(is_over) {
            open.boards.remove(name);
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.boards.leave(&self.name, self.number, |board| {
            board.readers -= 1;
            board.readers == 0
        });
    }
}
