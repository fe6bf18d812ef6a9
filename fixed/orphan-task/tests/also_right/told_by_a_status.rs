//! The head waits for the dial, and a dial that fails is a 502. A reader holds the board from the first line on, and not only
//! once there is a body.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, Weak},
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
    mpsc, watch,
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
    open: Arc<Mutex<HashMap<String, Weak<Board>>>>,
}

/// A board that somebody reads: it goes with the last of them.
struct Board {
    name: String,
    boards: Boards,
    /// Nobody reads this one. Whoever joins gets a receiver that begins where it stands.
    rendered: broadcast::Receiver<String>,
    dialled: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

async fn events(State(boards): State<Boards>, Path(name): Path<String>) -> Response {
    let (board, rendered) = boards.join(name);
    // The board is held from here on, so whoever leaves while it is dialled lets go of it.
    if board.dialled.clone().wait_for(|dialled| *dialled).await.is_err() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let events = stream::unfold((board, rendered), |(board, mut rendered)| async move {
        loop {
            match rendered.recv().await {
                Ok(text) => return Some((Ok::<_, Infallible>(Event::default().data(text)), (board, rendered))),
                // Whoever reads too slowly misses something.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(events).into_response()
}

impl Boards {
    /// Takes part in a board, which is opened if nobody has it.
    fn join(&self, name: String) -> (Arc<Board>, broadcast::Receiver<String>) {
        let mut open = self.open.lock().unwrap();
        if let Some(board) = open.get(&name).and_then(Weak::upgrade) {
            let rendered = board.rendered.resubscribe();
            return (board, rendered);
        }
        let (to_all, rendered) = broadcast::channel(64);
        let (for_others, (tell, dialled)) = (to_all.subscribe(), watch::channel(false));
        let task = AbortOnDropHandle::new(tokio::spawn(self.clone().follow(name.clone(), to_all, tell)));
        let board = Board { name: name.clone(), boards: self.clone(), rendered: for_others, dialled, _task: task };
        let board = Arc::new(board);
        open.insert(name, Arc::downgrade(&board));
        (board, rendered)
    }

    /// Passes on what upstream says, until it ends.
    async fn follow(self, name: String, to_all: broadcast::Sender<String>, tell: watch::Sender<bool>) {
        match self.upstream.clone().oneshot(name.clone()).await {
            Ok(mut messages) => {
                // Whoever waits holds a receiver.
                let _ = tell.send(true);
                while let Some(message) = messages.recv().await {
                    if let Some(text) = self.rendered(&name, &message) {
                        // Without a reader it goes nowhere.
                        let _ = to_all.send(text);
                    }
                }
            }
            Err(error) => tracing::warn!(board = name, error = &*error, "upstream refuses"),
        }
        // It is this board's own entry: with another in its place this task would have been aborted.
        self.open.lock().unwrap().remove(&name);
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

impl Drop for Board {
    fn drop(&mut self) {
        let mut open = self.boards.open.lock().unwrap();
        // Another may have taken its place.
        if open.get(&self.name).is_some_and(|known| known.strong_count() == 0) {
            open.remove(&self.name);
        }
    }
}
