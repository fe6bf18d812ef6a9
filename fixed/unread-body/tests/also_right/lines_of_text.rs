//! No handler sees the message: a middleware turns refused uploads away, the page has lines of text, and of an error the
//! gate reads what support wants to see of it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    io::DuplexStream,
    sync::{Mutex as AsyncMutex, Notify},
    time::timeout,
};
use tower::{ServiceExt, util::BoxCloneSyncService};

const LARGEST: u64 = 256 * 1024;

/// Serves `POST /upload`, `GET /fetch/{name}` and `GET /incidents` in front of the store to which `dial` connects.
pub fn app(dial: BoxCloneSyncService<(), DuplexStream, io::Error>) -> Router {
    let gate = Gate { dial, idle: Arc::default(), lines: Arc::default() };
    let admitted = post(upload).layer(from_fn_with_state(gate.clone(), admit));
    let page = async |State(gate): State<Gate>| gate.lines.lock().expect("no panic").make_contiguous().concat();
    Router::new()
        .route("/upload", admitted)
        .route("/fetch/{name}", get(fetch))
        .route("/incidents", get(page))
        .with_state(gate)
}

#[derive(Clone)]
struct Gate {
    dial: BoxCloneSyncService<(), DuplexStream, io::Error>,
    /// Given back when the next request finds that it is ready.
    idle: Arc<AsyncMutex<Vec<Connection>>>,
    lines: Arc<Mutex<VecDeque<String>>>,
}

async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let status = if !request.headers().contains_key("x-user") {
        StatusCode::FORBIDDEN
    } else if length.is_some_and(|length: u64| length >= LARGEST) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        return next.run(request).await;
    };
    gate.report(format!("{status} {}\n", request.uri()));
    status.into_response()
}

async fn upload(State(gate): State<Gate>, body: Body) -> Result<Response, StatusCode> {
    gate.relay(Request::post("/upload"), body).await
}

async fn fetch(State(gate): State<Gate>, Path(name): Path<String>) -> Result<Response, StatusCode> {
    gate.relay(Request::get(format!("/{name}")), Body::empty()).await
}

impl Gate {
    async fn relay(&self, question: axum::http::request::Builder, body: Body) -> Result<Response, StatusCode> {
        let question = question.header(header::HOST, "store").body(body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let asked = question.uri().path().to_owned();
        let (answer, mut connection) = self.ask(question).await.map_err(|()| StatusCode::BAD_GATEWAY)?;
        if answer.status().is_success() {
            self.idle.lock().await.push(connection);
            return Ok(answer);
        }
        let status = answer.status();
        let said = timeout(Duration::from_secs(2), to_bytes(answer.into_body(), 16 * 1024)).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        self.report(format!("502 {asked}, after {status} with {} bytes\n", said.len()));
        // If there is more to come, on either side, that is enough of the connection.
        match timeout(Duration::from_secs(1), connection.requests.ready()).await {
            Ok(Ok(())) => self.idle.lock().await.push(connection),
            _ => connection.enough.notify_one(),
        }
        Err(StatusCode::BAD_GATEWAY)
    }

    async fn ask(&self, question: Request) -> Result<(Response, Connection), ()> {
        let ready = self.idle.lock().await.extract_if(.., |connection| connection.requests.is_ready()).next();
        let mut connection = match ready {
            Some(connection) => connection,
            None => {
                let stream = self.dial.clone().oneshot(()).await.map_err(drop)?;
                let (requests, driver) = handshake(TokioIo::new(stream)).await.map_err(drop)?;
                let enough = Arc::new(Notify::new());
                let told = enough.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = driver => {}
                        () = told.notified() => {}
                    }
                });
                Connection { requests, enough }
            }
        };
        let answer = connection.requests.send_request(question).await.map_err(drop)?;
        Ok((answer.map(Body::new), connection))
    }

    fn report(&self, line: String) {
        let mut lines = self.lines.lock().expect("no panic");
        lines.truncate(99);
        lines.push_front(line);
    }
}

/// A connection to the store, and what ends it.
struct Connection {
    requests: SendRequest<Body>,
    enough: Arc<Notify>,
}
