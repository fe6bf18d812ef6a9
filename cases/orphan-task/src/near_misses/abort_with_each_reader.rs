//! Tempting because a reader's guard ends what the reader began, and an aborted task is no orphan.
//! The board has other readers, and theirs is the same task.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
};

use axum::{
    BoxError, Router,
    extract::{Path, State},
    response::{IntoResponse, Sse, sse::Event},
    routing::get,
};
use futures_util::stream;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    task::AbortHandle,
};
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::sync::{Arc, Mutex};

type Upstream = BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>;
type Render = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves `GET /boards/{board}/events`: each message that `upstream` sends for the board, as `render` writes it.
pub fn app(upstream: Upstream, render: Render) -> Router {
    let boards = Boards { upstream, render, open: Arc::default() };
    Router::new().route("/boards/{board}/events", get(events)).with_state(boards)
}

/// The boards that are open, each with the task that fills it.
type Open = HashMap<String, (Arc<Board>, AbortHandle)>;

#[derive(Clone)]
struct Boards {
    upstream: Upstream,
    render: Render,
    open: Arc<Mutex<Open>>,
}

struct Board {
    name: String,
    /// Nobody reads this one. Whoever joins gets a receiver that begins where it stands.
    rendered: broadcast::Receiver<String>,
}

/// Somebody's use of a board, and what goes with it.
struct Seat {
    boards: Boards,
    board: Arc<Board>,
    task: AbortHandle,
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
        let seat = |board: &Arc<Board>, task: &AbortHandle| Seat {
            boards: self.clone(),
            board: board.clone(),
            task: task.clone(),
        };
        let mut open = self.open.lock().unwrap();
        if let Some((board, task)) = open.get(&name) {
            return (seat(board, task), board.rendered.resubscribe());
        }
        let (to_all, rendered) = broadcast::channel(64);
        let board = Arc::new(Board { name: name.clone(), rendered: to_all.subscribe() });
        let task = tokio::spawn(self.clone().follow(board.clone(), to_all)).abort_handle();
        open.insert(name, (board.clone(), task.clone()));
        (seat(&board, &task), rendered)
    }

    /// Passes on what upstream says, until it ends or the board is told to stop.
    async fn follow(self, board: Arc<Board>, to_all: broadcast::Sender<String>) {
        let following = async {
            let mut messages = match self.upstream.clone().oneshot(board.name.clone()).await {
                Ok(messages) => messages,
                Err(error) => return tracing::warn!(board = board.name, error = &*error, "upstream refuses"),
            };
            while let Some(message) = messages.recv().await {
                if let Some(text) = self.rendered(&board, &message) {
                    // Without a reader it goes nowhere.
                    let _ = to_all.send(text);
                }
            }
        };
        following.await;
        self.forget(&board);
    }

    /// A message that cannot be rendered is lost, and no other.
    fn rendered(&self, board: &Board, message: &str) -> Option<String> {
        let rendered = catch_unwind(AssertUnwindSafe(|| (self.render)(message)));
        rendered
            .map_err(|panic| {
                let text = panic.downcast_ref::<&str>().copied();
                let text = text.or_else(|| panic.downcast_ref().map(String::as_str)).unwrap_or("no message");
                tracing::error!(board = board.name, panic = text, "a message could not be rendered");
            })
            .ok()
    }

    /// Takes the board out of those that are open, unless another has taken its place.
    fn forget(&self, board: &Arc<Board>) {
        let mut open = self.open.lock().unwrap();
        if open.get(&board.name).is_some_and(|(known, _)| Arc::ptr_eq(known, board)) {
            open.remove(&board.name);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.task.abort();
        self.boards.forget(&self.board);
    }
}
