//! hyper's own server and client at both ends of an in-memory connection.
//!
//! Everything is small and stated, so that back-pressure is felt after kilobytes and not after megabytes: a connection holds
//! 16 KiB in each direction, HTTP/2 windows are 16 KiB for a stream and 64 KiB for a connection, and hyper buffers at most
//! 16 KiB at each end. No connection has a timer and no answer a `date`.
//!
//! What a client does is said by what its handles do: to leave is to [`leave`](Connection::leave), to take a request back is
//! to [`cancel`](Pending::cancel) it, to stop reading is to hold the [`Answer`] and not to listen.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use axum::{
    Router,
    body::Body,
    extract::connect_info::ConnectInfo,
    http::{
        HeaderMap, HeaderValue, Request, StatusCode, Uri,
        header::{CONTENT_ENCODING, HOST},
    },
};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tower::ServiceExt;

use super::{
    leaving::{Instant, Leaving},
    locked,
    raw::RawConnection,
    scene::{Broken, Scene},
    transcript::escaped,
};

/// What a connection holds in each direction before the writer waits, in bytes.
pub const CONNECTION_BUFFER: usize = 16 * 1024;
/// The HTTP/2 window of a stream, in bytes.
pub const STREAM_WINDOW: u32 = 16 * 1024;
/// The HTTP/2 window of a connection, in bytes.
pub const CONNECTION_WINDOW: u32 = 64 * 1024;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, with keep-alive.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
}

impl Protocol {
    /// Both, HTTP/1.1 first.
    pub const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

// ===== Server =====

/// An app that accepts connections. Connections outlive it.
///
/// The peer of each connection, as axum's `ConnectInfo<SocketAddr>` tells it, is 127.0.0.1 with a port of its own: 40001 for
/// the first, 40002 for the second.
#[derive(Debug)]
#[must_use = "an app that nobody connects to does nothing"]
pub struct Server {
    scene: Scene,
    app: Router,
    watched: Mutex<Vec<Arc<Mutex<ConnectionWatch>>>>,
}

/// What is known of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionWatch {
    /// The lane of the client that opened it.
    pub client: String,
    /// How many requests the app was given on it.
    pub requests: usize,
    /// When and how it ended, as the server saw it: milliseconds of the scene, and who ended it.
    pub ended: Option<(u64, EndedBy)>,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The client left first.
    Client,
    /// The server closed it, after an answer or because of an error.
    Server,
    /// The server's connection task panicked.
    Panic,
}

impl Server {
    pub(super) fn new(scene: Scene, app: Router) -> Self {
        Self { scene, app, watched: Mutex::default() }
    }

    /// Opens a connection; `client` is its lane in the transcript.
    pub async fn connect(&self, client: &str, protocol: Protocol) -> Connection {
        let (tap, watch) = self.accept(client, protocol);
        Connection::open(self.scene.clone(), client, protocol, tap, watch).await
    }

    /// Sends each of these requests from a client of its own, `client-1`, `client-2` and so on: all of them before the app is
    /// asked for the first time. A client stays as long as its connection.
    pub async fn crowd(
        &self,
        protocol: Protocol,
        requests: impl IntoIterator<Item = Request<Body>>,
    ) -> Vec<(Connection, Pending)> {
        let mut clients = Vec::new();
        for (place, request) in requests.into_iter().enumerate() {
            clients.push((self.connect(&format!("client-{}", place + 1), protocol).await, request));
        }
        clients
            .into_iter()
            .map(|(client, request)| {
                let asked = client.begin(request);
                (client, asked)
            })
            .collect()
    }

    /// Opens a connection on which the specification writes and reads the bytes itself.
    pub fn connect_raw(&self, client: &str, protocol: Protocol) -> RawConnection {
        let (tap, watch) = self.accept(client, protocol);
        RawConnection::new(self.scene.clone(), client, tap, watch)
    }

    /// What is known of each connection, in the order in which they were opened.
    pub fn connections(&self) -> Vec<ConnectionWatch> {
        locked(&self.watched).iter().map(|watch| locked(watch).clone()).collect()
    }

    fn accept(&self, client: &str, protocol: Protocol) -> (Tap, Arc<Mutex<ConnectionWatch>>) {
        let (client_end, server_end) = tokio::io::duplex(CONNECTION_BUFFER);
        let watch = ConnectionWatch { client: client.to_owned(), requests: 0, ended: None };
        let watch = Arc::new(Mutex::new(watch));
        let mut watched = locked(&self.watched);
        watched.push(watch.clone());
        let port = 40_000 + u16::try_from(watched.len()).unwrap_or(0);
        let line = Line::new(client_end);
        let tap = Tap(line.clone());
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        let serving = serve(self.scene.clone(), self.app.clone(), protocol, server_end, peer, watch.clone());
        let (scene, ending) = (self.scene.clone(), watch.clone());
        self.scene.spawn(async move {
            let by = match std::panic::AssertUnwindSafe(serving).catch_unwind().await {
                Err(payload) => {
                    // The app chose it, and it may panic when it is dropped.
                    std::mem::forget(payload);
                    EndedBy::Panic
                }
                Ok(()) if line.is_cut() => EndedBy::Client,
                Ok(()) => EndedBy::Server,
            };
            let mut watch = locked(&ending);
            watch.ended = Some((scene.now_ms(), by));
            match by {
                EndedBy::Panic => scene.note("server", format!("loses the connection of {} to a panic", watch.client)),
                EndedBy::Server => scene.note("server", format!("closes the connection of {}", watch.client)),
                EndedBy::Client => {}
            }
        });
        (tap, watch)
    }
}

async fn serve(
    scene: Scene,
    app: Router,
    protocol: Protocol,
    io: DuplexStream,
    peer: SocketAddr,
    watch: Arc<Mutex<ConnectionWatch>>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        locked(&watch).requests += 1;
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    });
    let io = TokioIo::new(io);
    // How a connection ended is seen by the client; the error of its task adds nothing that two runs would share.
    let _ = match protocol {
        Protocol::Http1 => {
            let mut http1 = server::conn::http1::Builder::new();
            http1.auto_date_header(false).max_buf_size(CONNECTION_BUFFER).serve_connection(io, service).await
        }
        Protocol::Http2 => {
            let mut http2 = server::conn::http2::Builder::new(SceneExecutor(scene));
            http2
                .auto_date_header(false)
                .adaptive_window(false)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(CONNECTION_BUFFER)
                .serve_connection(io, service)
                .await
        }
    };
}

/// Runs what hyper spawns as the laboratory's own tasks, so that only the app's are left to be counted.
#[derive(Clone)]
struct SceneExecutor(Scene);

impl<F> hyper::rt::Executor<F> for SceneExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

// ===== Connection =====

/// The client's end of a connection. Clones share it; it closes when it is told to [`leave`](Connection::leave), or when
/// the last clone, the last request and the last answer are gone.
#[derive(Clone)]
#[must_use = "dropping it leaves"]
pub struct Connection {
    scene: Scene,
    client: String,
    protocol: Protocol,
    sender: Sender,
    open: Arc<Open>,
    watch: Arc<Mutex<ConnectionWatch>>,
}

#[derive(Clone)]
enum Sender {
    // HTTP/1.1 takes one request at a time.
    Http1(Arc<tokio::sync::Mutex<client::conn::http1::SendRequest<Body>>>),
    Http2(client::conn::http2::SendRequest<Body>),
}

/// Keeps the connection open, and cuts it when the last one who holds it lets go.
struct Open {
    line: Line,
    /// Whether the client left by itself. A line is also cut when hyper gives up a connection that the server closed.
    left: AtomicBool,
}

impl Open {
    /// Notes what the client sees, unless it has left.
    fn note(&self, scene: &Scene, client: &str, what: impl FnOnce() -> String) {
        if !self.left.load(Ordering::SeqCst) {
            scene.note(client, what());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.line.cut();
    }
}

/// The connection closed, or the stream was reset, before an answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    client: String,
    /// The request, in words.
    asked: String,
    /// What the client's end of the connection says of it, in its own words.
    cause: String,
}

impl Closed {
    fn new(client: &str, asked: &str, cause: impl Into<String>) -> Self {
        Self { client: client.to_owned(), asked: asked.to_owned(), cause: cause.into() }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, asked, cause } = self;
        write!(f, "{client} got no answer to {asked}: {cause}")
    }
}

impl std::error::Error for Closed {}

/// An error and its causes, which hyper and h2 do not repeat.
fn caused(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push_str(&format!(": {error}"));
        cause = error.source();
    }
    chain
}

impl Connection {
    async fn open(
        scene: Scene,
        client: &str,
        protocol: Protocol,
        tap: Tap,
        watch: Arc<Mutex<ConnectionWatch>>,
    ) -> Self {
        let open = Arc::new(Open { line: tap.0.clone(), left: AtomicBool::new(false) });
        let io = TokioIo::new(tap);
        let sender = match protocol {
            Protocol::Http1 => {
                let mut http1 = client::conn::http1::Builder::new();
                http1.max_buf_size(CONNECTION_BUFFER);
                let (sender, connection) = http1.handshake(io).await.expect("a handshake of HTTP/1.1 writes nothing");
                scene.spawn(async move { drop(connection.await) });
                Sender::Http1(Arc::new(tokio::sync::Mutex::new(sender)))
            }
            Protocol::Http2 => {
                let mut http2 = client::conn::http2::Builder::new(SceneExecutor(scene.clone()));
                http2
                    .adaptive_window(false)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_send_buf_size(CONNECTION_BUFFER);
                let (sender, connection) = http2.handshake(io).await.expect("a preface fits an empty connection");
                scene.spawn(async move { drop(connection.await) });
                Sender::Http2(sender)
            }
        };
        Self { scene, client: client.to_owned(), protocol, sender, open, watch }
    }

    /// Sends a request and waits for the head of the answer. `host` and the absolute URI of HTTP/2 are added.
    ///
    /// # Errors
    /// If the connection closes, or the stream is reset, before a head comes.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer, Closed> {
        self.begin(request).answer().await
    }

    /// Sends a request and does not wait. On HTTP/1.1 it is sent when the answers before it have been read.
    pub fn begin(&self, request: Request<Body>) -> Pending {
        let request = self.addressed(request);
        self.scene.note(&self.client, sends(&request));
        self.scene.headers_cross(request.headers(), true);
        let asked = asked(&request);
        let (head, answered) = oneshot::channel();
        let (sender, client, scene) = (self.sender.clone(), self.client.clone(), self.scene.clone());
        let asking = asked.clone();
        let open = self.open.clone();
        let task = self.scene.spawn(async move {
            let answer = match sender {
                Sender::Http1(sender) => {
                    let mut sender = sender.lock().await;
                    match sender.ready().await {
                        Ok(()) => sender.send_request(request).await,
                        Err(closed) => Err(closed),
                    }
                }
                Sender::Http2(mut sender) => sender.send_request(request).await,
            };
            let answer = match answer {
                Ok(response) => {
                    open.note(&scene, &client, || gets(&response));
                    scene.headers_cross(response.headers(), false);
                    let (parts, body) = response.into_parts();
                    let gzip = parts.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
                    let decoder = gzip.then(|| flate2::write::MultiGzDecoder::new(Vec::new()));
                    let (status, headers) = (parts.status, parts.headers);
                    Ok(Answer { scene, client, asked: asking, status, headers, body, decoder, open })
                }
                Err(error) => {
                    open.note(&scene, &client, || "gets no answer: closed".to_owned());
                    Err(Closed::new(&client, &asking, caused(&error)))
                }
            };
            // Nobody waits for it any more.
            let _ = head.send(answer);
        });
        Pending { task, answered, scene: self.scene.clone(), client: self.client.clone(), asked }
    }

    /// The client is gone, at once and without a word, with everything that it had begun: the server finds the connection
    /// closed, and what was not answered is [`Closed`].
    pub fn leave(self) {
        self.scene.note(&self.client, "leaves");
        self.open.left.store(true, Ordering::SeqCst);
        self.open.line.cut();
    }

    /// Leaves at this moment, which another play of the same scene [has told](Scene::moments_to_leave). Nothing happens if the
    /// scene does not come to it.
    pub fn leaves_at(&self, moment: &Leaving) {
        let (scene, client, instant) = (self.scene.clone(), self.clone(), moment.instant);
        self.scene.at_step(moment.step, move || match instant {
            Instant::During => client.leave(),
            Instant::AtRest => {
                drop(scene.clone().spawn(async move {
                    scene.settle().await;
                    client.leave();
                }));
            }
        });
    }

    /// The bytes that crossed the wire so far, in either direction, in order.
    pub fn segments(&self) -> Vec<Segment> {
        self.open.line.segments()
    }

    /// The bytes that the client received so far.
    pub fn received(&self) -> Vec<u8> {
        self.segments().into_iter().filter(|part| !part.from_client).map(|part| part.bytes).collect::<Vec<_>>().concat()
    }

    /// What the server knows of this connection.
    pub fn watch(&self) -> ConnectionWatch {
        locked(&self.watch).clone()
    }

    fn addressed(&self, mut request: Request<Body>) -> Request<Body> {
        match self.protocol {
            Protocol::Http1 => {
                request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("ghost.test"));
            }
            Protocol::Http2 => {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let absolute = Uri::builder().scheme("http").authority("ghost.test").path_and_query(path);
                *request.uri_mut() = absolute.build().expect("a path that was valid before");
            }
        }
        request
    }
}

fn asked(request: &Request<Body>) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("{} {path}", request.method())
}

fn sends(request: &Request<Body>) -> String {
    format!("sends {}{}", asked(request), listed(request.headers(), &["host"]))
}

fn gets(response: &hyper::Response<Incoming>) -> String {
    format!("gets {}{}", response.status().as_u16(), listed(response.headers(), &["date"]))
}

/// The headers in the order of the alphabet, without those that say nothing.
fn listed(headers: &HeaderMap, left_out: &[&str]) -> String {
    let mut lines: Vec<String> = headers
        .iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()).escape_debug()))
        .collect();
    lines.sort();
    if lines.is_empty() { String::new() } else { format!(" ({})", lines.join(", ")) }
}

// ===== Pending and Answer =====

/// A request that was sent and not answered yet. Dropping it takes the request back: HTTP/2 resets the stream, HTTP/1.1 has
/// to close the connection, unless the request was not sent yet.
#[derive(Debug)]
#[must_use = "dropping it takes the request back"]
pub struct Pending {
    task: JoinHandle<()>,
    answered: oneshot::Receiver<Result<Answer, Closed>>,
    scene: Scene,
    client: String,
    asked: String,
}

impl Pending {
    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// If the connection closes, or the stream is reset, before a head comes.
    pub async fn answer(mut self) -> Result<Answer, Closed> {
        let _waits = self.scene.waits(&self.client, format_args!("the answer to {}", self.asked));
        let taken_back = Closed::new(&self.client, &self.asked, "the request was taken back");
        (&mut self.answered).await.unwrap_or(Err(taken_back))
    }

    /// Takes the request back, and says so in the transcript.
    pub fn cancel(self) {
        self.scene.note(&self.client, "takes the request back");
    }

    /// Whether the head has come, or never will.
    pub fn is_answered(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of an answer, and its body, not yet read: while it is only held, the client is a reader that has stopped.
/// Dropping it gives the rest of the body up: HTTP/2 resets the stream, HTTP/1.1 has to close the connection.
pub struct Answer {
    scene: Scene,
    client: String,
    asked: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    decoder: Option<flate2::write::MultiGzDecoder<Vec<u8>>>,
    open: Arc<Open>,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The value of a header, if it is there once or more and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Gives the body up, and says so in the transcript.
    pub fn cancel(self) {
        self.scene.note(&self.client, "gives the answer up");
    }

    /// Reads the body in the background from now on.
    pub fn listen(mut self) -> Listener {
        let (news, arrived) = watch::channel(Received { status: self.status, ..Received::default() });
        let (scene, client, asked) = (self.scene.clone(), self.client.clone(), self.asked.clone());
        let task = scene.spawn(async move {
            while news.borrow().end.is_none() {
                self.hear(&news).await;
            }
        });
        Listener { task, arrived, scene, client, asked }
    }

    /// Reads the whole body.
    pub async fn read(self) -> Received {
        self.listen().ended().await
    }

    /// Waits for the next frame and tells it.
    async fn hear(&mut self, news: &watch::Sender<Received>) {
        let frame = self.body.frame().await;
        let now = self.scene.now_ms();
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(raw) => {
                    let (data, coded) = self.decoded(&raw);
                    self.open.note(&self.scene, &self.client, || format!("gets {}{coded}", escaped(&data)));
                    news.send_modify(|received| {
                        received.raw.extend_from_slice(&raw);
                        received.data.push((now, data));
                    });
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.open.note(&self.scene, &self.client, || format!("gets trailers{}", listed(&trailers, &[])));
                    news.send_modify(|received| received.trailers = Some(trailers));
                }
            },
            Some(Err(_)) => {
                self.open.note(&self.scene, &self.client, || "gets an error: the body broke off".to_owned());
                news.send_modify(|received| received.end = Some((now, End::Error)));
            }
            None => {
                self.open.note(&self.scene, &self.client, || "gets the end".to_owned());
                news.send_modify(|received| received.end = Some((now, End::Clean)));
            }
        }
    }

    /// What the bytes say, and how they were coded.
    fn decoded(&mut self, raw: &Bytes) -> (Bytes, String) {
        use std::io::Write;
        let Some(decoder) = &mut self.decoder else { return (raw.clone(), String::new()) };
        // Bytes that are no gzip decode to nothing; the promise then misses what it expected.
        let _ = decoder.write_all(raw).and_then(|()| decoder.flush());
        let data = std::mem::take(decoder.get_mut());
        (Bytes::from(data), format!(", as {} bytes of gzip", raw.len()))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

// ===== Listener =====

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As HTTP says that a body ends.
    Clean,
    /// With an error: the connection closed in mid-body, or the stream was reset.
    Error,
}

/// What has come of a body.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The status of the answer.
    pub status: StatusCode,
    /// The data frames, decoded if they were gzip, each with the milliseconds of the scene at which it came.
    pub data: Vec<(u64, Bytes)>,
    /// All data as it came, in its coding. Whether it is a whole gzip is for the specification to say.
    pub raw: Vec<u8>,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
    /// When and how it ended.
    pub end: Option<(u64, End)>,
}

impl Received {
    /// All data, decoded, as one.
    pub fn bytes(&self) -> Vec<u8> {
        self.data.iter().map(|(_, data)| &data[..]).collect::<Vec<_>>().concat()
    }

    /// All data, decoded, as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// When the data that has come first contained `text`, in milliseconds of the scene.
    pub fn came_at_ms(&self, text: &str) -> Option<u64> {
        let mut so_far = Vec::new();
        self.data.iter().find_map(|(at, data)| {
            so_far.extend_from_slice(data);
            String::from_utf8_lossy(&so_far).contains(text).then_some(*at)
        })
    }
}

/// Reads a body in the background. Dropping it gives the rest of the body up, as with an [`Answer`].
#[derive(Debug)]
#[must_use = "dropping it gives the rest of the body up"]
pub struct Listener {
    task: JoinHandle<()>,
    arrived: watch::Receiver<Received>,
    scene: Scene,
    client: String,
    asked: String,
}

impl Listener {
    /// Gives the rest of the body up, and says so in the transcript.
    pub fn cancel(self) {
        self.scene.note(&self.client, "gives the answer up");
    }

    /// What has come so far.
    pub fn so_far(&self) -> Received {
        self.arrived.borrow().clone()
    }

    /// When and how it has ended, if it has.
    pub fn end(&self) -> Option<(u64, End)> {
        self.arrived.borrow().end
    }

    /// Waits for the end of the body.
    pub async fn ended(mut self) -> Received {
        let _waits = self.scene.waits(&self.client, format_args!("the end of the answer to {}", self.asked));
        self.arrived
            .wait_for(|received| received.end.is_some())
            .await
            .map(|received| received.clone())
            .unwrap_or_default()
    }

    /// Waits until the data contains `text`, or the body has ended without it.
    ///
    /// # Errors
    /// If the body ends without it.
    pub async fn hears(&mut self, text: &str) -> Result<(), Broken> {
        let told = escaped(text.as_bytes());
        let _waits = self.scene.waits(&self.client, format_args!("{told} in the answer to {}", self.asked));
        let heard = |received: &Received| received.came_at_ms(text).is_some();
        let received = self.arrived.wait_for(|received| received.end.is_some() || heard(received)).await;
        let found = received.is_ok_and(|received| heard(&received));
        super::require(found, format!("the body ended before {told} came"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// ===== Tap =====

/// Some bytes that crossed the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whether the client wrote them.
    pub from_client: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The client's end of the wire, as seen by those who may cut it.
#[derive(Clone)]
pub(super) struct Line(Arc<Mutex<Ends>>);

struct Ends {
    /// `None` when the client has left.
    io: Option<DuplexStream>,
    /// Who waits on the client's side. The connection's tasks would otherwise never learn that it was cut.
    waiting: Vec<Waker>,
    segments: Vec<Segment>,
}

impl Line {
    fn new(io: DuplexStream) -> Self {
        Self(Arc::new(Mutex::new(Ends { io: Some(io), waiting: Vec::new(), segments: Vec::new() })))
    }

    /// The client is gone: the server finds the connection closed, the client's own tasks find it broken.
    pub(super) fn cut(&self) {
        let (io, waiting) = {
            let mut ends = locked(&self.0);
            (ends.io.take(), std::mem::take(&mut ends.waiting))
        };
        drop(io);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_cut(&self) -> bool {
        locked(&self.0).io.is_none()
    }

    fn segments(&self) -> Vec<Segment> {
        locked(&self.0).segments.clone()
    }

    /// Does something with the stream, and remembers who waits for it.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        work: impl FnOnce(Pin<&mut DuplexStream>, &mut Context<'_>, &mut Vec<Segment>) -> Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        let mut ends = locked(&self.0);
        let Ends { io, waiting, segments } = &mut *ends;
        let Some(io) = io else { return Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into())) };
        let done = work(Pin::new(io), cx, segments);
        if done.is_pending() && !waiting.iter().any(|known| known.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        done
    }
}

/// What the client's connection reads and writes. Records what passes. Dropping it leaves.
pub(super) struct Tap(pub(super) Line);

impl Drop for Tap {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.0.poll(cx, |io, cx, segments| {
            let before = buf.filled().len();
            ready!(io.poll_read(cx, buf))?;
            record(segments, false, &buf.filled()[before..]);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.poll(cx, |io, cx, segments| {
            let written = ready!(io.poll_write(cx, bytes))?;
            record(segments, true, &bytes[..written]);
            Poll::Ready(Ok(written))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.poll(cx, |io, cx, _| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.poll(cx, |io, cx, _| io.poll_shutdown(cx))
    }
}

fn record(segments: &mut Vec<Segment>, from_client: bool, bytes: &[u8]) {
    if !bytes.is_empty() {
        segments.push(Segment { from_client, bytes: bytes.to_vec() });
    }
}
