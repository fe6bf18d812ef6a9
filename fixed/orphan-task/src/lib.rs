//! Live boards: departures, scores, prices. Each board has one subscription upstream, however many people read it.
//!
//! # Symptom
//! The number of upstream connections only rises. After a week nearly all of them are for boards that nobody reads, and
//! upstream refuses new ones. Memory grows with them. No request is slow, and nothing is logged.
//!
//! # Trigger
//! 1. Ada opens a board. The service subscribes to it upstream.
//! 2. Ada leaves.
//! 3. The board is quiet, or goes on: the subscription stays, and so does the task that reads it.
//!
//! # Fix
//! Only readers are counted. The task works for them: it has no seat, so the last reader to leave is the last of all, and
//! stops it, whether it waits for a message or for the dial.
//!
//! # Cost
//! One task and one upstream connection for each board that somebody reads.
//!
//! # Start here
//! Count who has a `Seat` on a board that one person reads.

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
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, util::BoxCloneSyncService};

use self::{
    shared::Feed,
    sync::{Arc, Mutex},
};

mod shared;
mod sync {
    pub(crate) use std::sync::*;
}

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
    open: Arc<Mutex<HashMap<String, Arc<Board>>>>,
}

struct Board {
    name: String,
    feed: Feed,
    stop: CancellationToken,
    /// Nobody reads this one. Whoever joins gets a receiver that begins where it stands.
    rendered: broadcast::Receiver<String>,
}

/// Somebody's use of a board. The last to go stops the board's task.
struct Seat {
    boards: Boards,
    board: Arc<Board>,
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
    // ANCHOR: fix
    /// Takes a seat at a board, which is opened if nobody has one.
    fn join(&self, name: String) -> (Seat, broadcast::Receiver<String>) {
        let seat = |board: &Arc<Board>| Seat { boards: self.clone(), board: board.clone() };
        let mut open = self.open.lock().unwrap();
        if let Some(board) = open.get(&name).filter(|board| board.feed.join()) {
            return (seat(board), board.rendered.resubscribe());
        }
        let (to_all, rendered) = broadcast::channel(64);
        let (feed, stop) = (Feed::open(), CancellationToken::new());
        let board = Arc::new(Board { name: name.clone(), feed, stop, rendered: to_all.subscribe() });
        // The task has the board and no seat: it ends when the last reader leaves.
        // ANCHOR: mark-1-asks
        tokio::spawn(self.clone().follow(board.clone(), to_all));
        // ANCHOR_END: mark-1-asks
        open.insert(name, board.clone());
        (seat(&board), rendered)
    }

    /// Passes on what upstream says, whether or not somebody hears it, until it ends or the board is told to stop.
    async fn follow(self, board: Arc<Board>, to_all: broadcast::Sender<String>) {
        let following = async {
            let mut messages = match self.upstream.clone().oneshot(board.name.clone()).await {
                Ok(messages) => messages,
                Err(error) => return tracing::warn!(board = board.name, error = &*error, "upstream refuses"),
            };
            while let Some(message) = messages.recv().await {
                if let Some(text) = self.rendered(&board, &message) {
                    let _ = to_all.send(text);
                }
            }
        };
        // ANCHOR: mark-2-lost
        board.stop.run_until_cancelled(following).await;
        // ANCHOR_END: mark-2-lost
        self.forget(&board);
    }
    // ANCHOR_END: fix

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
        if open.get(&board.name).is_some_and(|known| Arc::ptr_eq(known, board)) {
            open.remove(&board.name);
        }
    }
}

// ANCHOR: leave
impl Drop for Seat {
    fn drop(&mut self) {
        // ANCHOR: mark-leaves
        if self.board.feed.leave() {
            self.board.stop.cancel();
            // ANCHOR_END: mark-leaves
            self.boards.forget(&self.board);
        }
    }
}
// ANCHOR_END: leave
