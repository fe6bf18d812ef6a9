//! Tempting because a send without a receiver fails: the channel itself says that nobody is left.
//! It says so when something is sent, and a quiet board sends nothing.

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
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::sync::{Arc, Mutex};

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
    open: Arc<Mutex<HashMap<String, broadcast::Sender<String>>>>,
}

async fn events(State(boards): State<Boards>, Path(name): Path<String>) -> impl IntoResponse {
    Sse::new(stream::unfold(boards.join(name), |mut rendered| async move {
        loop {
            match rendered.recv().await {
                Ok(text) => return Some((Ok::<_, Infallible>(Event::default().data(text)), rendered)),
                // Whoever reads too slowly misses something.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }))
}

impl Boards {
    /// What a board says from now on. It is opened if nobody has it.
    fn join(&self, name: String) -> broadcast::Receiver<String> {
        let mut open = self.open.lock().unwrap();
        if let Some(to_all) = open.get(&name) {
            return to_all.subscribe();
        }
        let (to_all, rendered) = broadcast::channel(64);
        tokio::spawn(self.clone().follow(name.clone(), to_all.clone()));
        open.insert(name, to_all);
        rendered
    }

    /// Passes on what upstream says, until it ends or nobody is there to hear it.
    async fn follow(self, name: String, to_all: broadcast::Sender<String>) {
        let following = async {
            let mut messages = match self.upstream.clone().oneshot(name.clone()).await {
                Ok(messages) => messages,
                Err(error) => return tracing::warn!(board = name, error = &*error, "upstream refuses"),
            };
            while let Some(message) = messages.recv().await {
                let Some(text) = self.rendered(&name, &message) else { continue };
                if to_all.send(text).is_err() {
                    return;
                }
            }
        };
        following.await;
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
