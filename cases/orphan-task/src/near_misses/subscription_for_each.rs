//! Tempting because a reader's own subscription ends with the reader's own body: no task, no count, no map.
//! A board that a thousand people read is then subscribed to a thousand times.

use std::{
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
use tokio::sync::mpsc;
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::sync::Arc;

type Upstream = BoxCloneSyncService<String, mpsc::Receiver<String>, BoxError>;
type Render = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves `GET /boards/{board}/events`: each message that `upstream` sends for the board, as `render` writes it.
pub fn app(upstream: Upstream, render: Render) -> Router {
    let boards = Boards { upstream, render };
    Router::new().route("/boards/{board}/events", get(events)).with_state(boards)
}

#[derive(Clone)]
struct Boards {
    upstream: Upstream,
    render: Render,
}

async fn events(State(boards): State<Boards>, Path(name): Path<String>) -> impl IntoResponse {
    Sse::new(stream::unfold((boards, name, None), |(boards, name, messages)| async move {
        let mut messages = match messages {
            Some(messages) => messages,
            None => boards.dial(&name).await?,
        };
        loop {
            let message = messages.recv().await?;
            if let Some(text) = boards.rendered(&name, &message) {
                let event = Ok::<_, Infallible>(Event::default().data(text));
                return Some((event, (boards, name, Some(messages))));
            }
        }
    }))
}

impl Boards {
    async fn dial(&self, name: &str) -> Option<mpsc::Receiver<String>> {
        let dialled = self.upstream.clone().oneshot(name.to_owned()).await;
        dialled.inspect_err(|error| tracing::warn!(board = name, error = &**error, "upstream refuses")).ok()
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
