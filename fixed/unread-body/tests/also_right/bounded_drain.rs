//! Reads what is left on both sides, with both limits: the rest of an upload in a task, so that its answer does not wait.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{CONTENT_LENGTH, HOST},
        request::{self, Builder},
        response,
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, task::AbortHandle, time::timeout};
use tower::{ServiceExt, util::BoxCloneSyncService};

/// Uploads of this length and more are refused, in bytes.
const LARGEST: u64 = 256 * 1024;
/// How many incidents the support page shows.
const LATEST: usize = 100;
/// How much of an unwanted body is read, in bytes, and for how long.
const LEFTOVER: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves `POST /upload`, `GET /fetch/{name}` and `GET /incidents` in front of the store to which `dial` connects.
pub fn app(dial: BoxCloneSyncService<(), DuplexStream, io::Error>) -> Router {
    let store = Store { dial, connections: Arc::default() };
    Router::new()
        .route("/upload", post(upload))
        .route("/fetch/{name}", get(fetch))
        .route("/incidents", get(incidents))
        .with_state(Gate { store, incidents: Arc::default() })
}

/// What a request needs; it is cloned for each.
#[derive(Clone)]
struct Gate {
    store: Store,
    incidents: Arc<Mutex<VecDeque<Incident>>>,
}

/// The head of a message that came to nothing: all that support may want to know of it.
enum Incident {
    Refused(StatusCode, request::Parts),
    Failed(Uri, response::Parts),
}

/// The support page: a line for each incident, the latest first.
async fn incidents(State(gate): State<Gate>) -> String {
    let line = |incident: &Incident| match incident {
        Incident::Refused(status, head) => format!("{} {}\n", status.as_u16(), head.uri.path()),
        Incident::Failed(asked, head) => format!("502 {asked}: the store says {}\n", head.status),
    };
    gate.incidents.lock().expect("nobody panics with it").iter().map(line).collect()
}

async fn upload(State(gate): State<Gate>, request: Request) -> Response {
    if let Err(status) = admit(request.headers()) {
        let (head, unread) = request.into_parts();
        tokio::spawn(timeout(PATIENCE, Limited::new(unread, LEFTOVER).collect()));
        gate.report(Incident::Refused(status, head));
        return status.into_response();
    }
    gate.relay(Request::post("/upload"), request.into_body()).await
}

impl Gate {
    /// Asks the store, and passes its answer on if it is a success.
    async fn relay(&self, question: Builder, body: Body) -> Response {
        let question = question.header(HOST, "store").body(body).expect("a path that has been parsed before");
        let asked = question.uri().clone();
        match self.store.ask(question).await {
            Ok((answer, connection)) if answer.status().is_success() => {
                self.store.keep(connection);
                return answer.map(Body::new);
            }
            Ok((answer, connection)) => {
                let (head, body) = answer.into_parts();
                self.report(Incident::Failed(asked, head));
                self.store.discard(body, connection).await;
            }
            Err(_) => {}
        }
        StatusCode::BAD_GATEWAY.into_response()
    }

    fn report(&self, incident: Incident) {
        let mut incidents = self.incidents.lock().expect("nobody panics with it");
        incidents.truncate(LATEST - 1);
        incidents.push_front(incident);
    }
}

async fn fetch(State(gate): State<Gate>, uri: Uri) -> Response {
    let name = uri.path().strip_prefix("/fetch").unwrap_or_default();
    gate.relay(Request::get(name), Body::empty()).await
}

/// The user has been checked in front of us; how much is coming is known only if the upload says so.
fn admit(headers: &HeaderMap) -> Result<(), StatusCode> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    match length {
        _ if !headers.contains_key("x-user") => Err(StatusCode::FORBIDDEN),
        Some(LARGEST..) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        _ => Ok(()),
    }
}

/// The store, and the connections to it that are open.
#[derive(Clone)]
struct Store {
    dial: BoxCloneSyncService<(), DuplexStream, io::Error>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// A connection, and what ends it whatever it waits for.
type Connection = (SendRequest<Body>, AbortHandle);

impl Store {
    async fn ask(&self, question: Request) -> Result<(Response<Incoming>, Connection), BoxError> {
        let mut connection = match self.idle() {
            Some(connection) => connection,
            None => {
                let stream = self.dial.clone().oneshot(()).await?;
                let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
                (connection, tokio::spawn(driver).abort_handle())
            }
        };
        let answer = connection.0.send_request(question).await?;
        Ok((answer, connection))
    }

    fn keep(&self, connection: Connection) {
        self.connections.lock().expect("nobody panics with it").push(connection);
    }

    /// Reads an answer of which nobody wants anything, so that its connection can be used again: a little of it, for a little
    /// while. If more is to come by then, of the answer or of the question, the connection is closed.
    async fn discard(&self, body: Incoming, mut connection: Connection) {
        let rest = async {
            Limited::new(body, LEFTOVER).collect().await?;
            connection.0.ready().await.map_err(BoxError::from)
        };
        match timeout(PATIENCE, rest).await {
            Ok(Ok(())) => self.keep(connection),
            _ => connection.1.abort(),
        }
    }

    /// A connection that can take the next question.
    fn idle(&self) -> Option<Connection> {
        let mut connections = self.connections.lock().expect("nobody panics with it");
        connections.retain(|(connection, _)| !connection.is_closed());
        let idle = connections.iter().position(|(connection, _)| connection.is_ready())?;
        Some(connections.swap_remove(idle))
    }
}
