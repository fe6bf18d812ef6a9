//! Tempting because the answer doesn't have to wait if a task reads the rest.
//! The task ends when the body does: it takes a megabyte from a client that was refused, and waits for one that has stalled.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
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
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tower::{ServiceExt, util::BoxCloneSyncService};

/// Uploads of this length and more are refused, in bytes.
const LARGEST: u64 = 256 * 1024;
/// How many incidents the support page shows.
const LATEST: usize = 100;

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
        tokio::spawn(discard(unread));
        gate.report(Incident::Refused(status, head));
        return status.into_response();
    }
    gate.relay(Request::post("/upload"), request.into_body()).await
}

/// Reads a body of which nobody wants anything, so that its connection can be used again.
async fn discard(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
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
                self.store.keep(connection);
                let (head, body) = answer.into_parts();
                self.report(Incident::Failed(asked, head));
                tokio::spawn(discard(Body::new(body)));
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

/// A connection, on which one question follows the other.
type Connection = SendRequest<Body>;

impl Store {
    async fn ask(&self, question: Request) -> Result<(Response<Incoming>, Connection), BoxError> {
        let mut connection = match self.idle() {
            Some(connection) => connection,
            None => {
                let stream = self.dial.clone().oneshot(()).await?;
                let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(driver);
                connection
            }
        };
        let answer = connection.send_request(question).await?;
        Ok((answer, connection))
    }

    fn keep(&self, connection: Connection) {
        self.connections.lock().expect("nobody panics with it").push(connection);
    }

    /// A connection that can take the next question.
    fn idle(&self) -> Option<Connection> {
        let mut connections = self.connections.lock().expect("nobody panics with it");
        connections.retain(|connection| !connection.is_closed());
        let idle = connections.iter().position(SendRequest::is_ready)?;
        Some(connections.swap_remove(idle))
    }
}
