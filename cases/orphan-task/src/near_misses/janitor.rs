//! Tempting because one task that tidies up needs no guard in any body, and cannot be forgotten on some way out.
//! For half a minute each board that was left stays, dial included; with enough comings and goings that is always.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
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
    time::sleep,
};
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::sync::{Arc, Mutex, Weak};

type Upstream = BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>;
type Render = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves `GET /boards/{board}/events`: each message that `upstream` sends for the board, as `render` writes it.
pub fn app(upstream: Upstream, render: Render) -> Router {
    let boards = Boards { upstream, render, open: Arc::default() };
    tokio::spawn(janitor(Arc::downgrade(&boards.open)));
    Router::new().route("/boards/{board}/events", get(events)).with_state(boards)
}

/// The boards that are open, each with the task that fills it.
type Open = Mutex<HashMap<String, (broadcast::Sender<String>, AbortHandle)>>;

#[derive(Clone)]
struct Boards {
    upstream: Upstream,
    render: Render,
    open: Arc<Open>,
}

/// Ends what nobody reads, for as long as the app is there.
async fn janitor(open: Weak<Open>) {
    loop {
        sleep(Duration::from_secs(30)).await;
        let Some(open) = open.upgrade() else { return };
        open.lock().unwrap().retain(|_, (to_all, task)| {
            let is_read = to_all.receiver_count() > 0;
            if !is_read {
                task.abort();
            }
            is_read
        });
    }
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
        if let Some((to_all, _)) = open.get(&name) {
            return to_all.subscribe();
        }
        let (to_all, rendered) = broadcast::channel(64);
        let task = tokio::spawn(self.clone().follow(name.clone(), to_all.clone())).abort_handle();
        open.insert(name, (to_all, task));
        rendered
    }

    /// Passes on what upstream says, until it ends.
    async fn follow(self, name: String, to_all: broadcast::Sender<String>) {
        let following = async {
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
