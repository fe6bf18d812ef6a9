//! Tempting because it is what the sentence says: look whether the feed has stopped, and if not, count one more.
//! Between the look and the count the last one may leave: the feed is stopped, and somebody is let in.

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

use self::shared::Feed;
use crate::sync::{Arc, Mutex};

mod shared;

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
        tokio::spawn(self.clone().follow(board.clone(), to_all));
        open.insert(name, board.clone());
        (seat(&board), rendered)
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
        board.stop.run_until_cancelled(following).await;
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
        if open.get(&board.name).is_some_and(|known| Arc::ptr_eq(known, board)) {
            open.remove(&board.name);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.board.feed.leave() {
            self.board.stop.cancel();
            self.boards.forget(&self.board);
        }
    }
}
