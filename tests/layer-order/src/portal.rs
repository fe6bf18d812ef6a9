//! What the specification supplies: identity, routes, quota and sinks, with what they see; and the requests.

use std::{
    future::pending,
    mem,
    panic::panic_any,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::{future::BoxFuture, stream};
use tokio::{
    sync::{Semaphore, mpsc::unbounded_channel},
    task::{AbortHandle, yield_now},
    time::sleep,
};

use lab::{Answer, Broken, Connection, Feed, Lab, Protocol, Scene, Server, control, locked};

use crate::{App, Audited, Logged};

/// How long an answer may take, unless a scene says otherwise.
pub(crate) const BUDGET_MS: u64 = 2_000;

/// How many bytes a body may have.
pub(crate) const LIMIT: usize = 1_024;

/// How many permits a scene begins with, unless it says otherwise.
pub(crate) const PERMITS: usize = 100;

/// Where the app in the browser comes from.
pub(crate) const ORIGIN: &str = "https://portal.test";

/// The note that a good request brings.
pub(crate) const NOTE: &str = "two pills\n";

// ===== Requests =====

/// A request: who asks for what, and the status that is due.
#[derive(Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) what: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) user: Option<&'static str>,
    pub(crate) brings: Brings,
    pub(crate) status: u16,
}

/// Credentials that are good, and no text in UTF-8.
pub(crate) const IN_LATIN_1: &[u8] = b"Bearer ren\xe9";

/// Bytes as text, so that no two of them look alike.
pub(crate) fn in_latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What a request brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brings {
    Nothing,
    /// So many bytes, announced.
    Announced(usize),
    /// So many bytes, in two frames and unannounced.
    Chunked(usize),
}

pub(crate) const GOOD: Visit = Visit {
    what: "a note",
    method: "POST",
    path: "/notes?day=2",
    user: Some("ada"),
    brings: Brings::Announced(NOTE.len()),
    status: 200,
};

pub(crate) const WRONG: Visit = Visit { what: "a note with wrong credentials", user: Some("eve"), status: 401, ..GOOD };

pub(crate) const READ: Visit =
    Visit { what: "a look at the notes", method: "GET", brings: Brings::Nothing, path: "/notes?day=3", ..GOOD };

/// One of each way in which the portal answers, but for the quota that is used up.
pub(crate) const ENDINGS: [Visit; 11] = [
    GOOD,
    READ,
    Visit { what: "a look at one note", path: "/notes/7?day=3", ..READ },
    Visit { what: "a note to a route that keeps its requests", path: "/kept?day=2", ..GOOD },
    WRONG,
    Visit { what: "an unknown path", path: "/nowhere?day=2", status: 404, ..READ },
    Visit { what: "a body over the limit", brings: Brings::Announced(LIMIT + 1), status: 413, ..GOOD },
    Visit { what: "an unannounced body over the limit", brings: Brings::Chunked(LIMIT + 1), status: 413, ..GOOD },
    Visit { what: "a route that fails", path: "/fails", status: 500, ..READ },
    Visit { what: "a route that hangs", path: "/hangs?day=2", status: 504, ..READ },
    Visit { what: "a route that panics", path: "/panics?day=2", status: 500, ..READ },
];

/// The quota is used up.
pub(crate) const REFUSED: Visit = Visit { what: "a note beyond the quota", status: 429, ..GOOD };

impl Visit {
    pub(crate) fn request(&self) -> Request {
        let body = match self.brings {
            Brings::Nothing => Body::empty(),
            Brings::Announced(length) => Body::from(content(length)),
            Brings::Chunked(length) => {
                let bytes = content(length);
                let frames = [bytes.slice(..length / 2), bytes.slice(length / 2..)];
                let frames = frames.map(Ok::<_, std::io::Error>);
                Body::from_stream(stream::iter(frames))
            }
        };
        self.bringing(body)
    }

    /// The request with this body.
    pub(crate) fn bringing(&self, body: Body) -> Request {
        let request = Request::builder().method(self.method).uri(self.path).header("origin", ORIGIN);
        let request = match self.user {
            Some(user) => request.header("authorization", format!("Bearer {user}")),
            None => request,
        };
        request.body(body).expect("a method, a path and a name")
    }

    /// The path, as the access log has it.
    pub(crate) fn logged_path(&self) -> &'static str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// A body of this length: the note and an X-ray, which is no text, again and again.
pub(crate) fn content(length: usize) -> Bytes {
    NOTE.bytes().chain([0xff, 0xd8, 0x00]).cycle().take(length).collect()
}

/// What a browser asks before it sends a note.
pub(crate) fn preflight(path: &str) -> Request {
    Request::builder()
        .method(Method::OPTIONS)
        .uri(path)
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .body(Body::empty())
        .expect("a path")
}

// ===== The portal and what surrounds it =====

/// The app under test in its surroundings.
pub(crate) struct Portal {
    pub(crate) scene: Scene,
    pub(crate) server: Server,
    pub(crate) quota: Arc<Semaphore>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    sinks: [AbortHandle; 2],
}

/// What the supplied parts saw since they were last asked.
#[derive(Default)]
pub(crate) struct Seen {
    /// What identity was asked.
    pub(crate) verified: Vec<Heard>,
    /// What reached a route.
    pub(crate) reached: Vec<Heard>,
    pub(crate) logged: Vec<Logged>,
    pub(crate) audited: Vec<Audited>,
    /// How many calls of identity and routes are under way.
    pub(crate) open: usize,
    /// When a call was dropped before its answer, in milliseconds.
    pub(crate) dropped: Vec<u64>,
    /// What the next look at `/given` gets.
    pub(crate) given: Option<Response>,
    /// What lay in the extensions of requests for `/kept`, which keeps them.
    pub(crate) kept: Vec<Extensions>,
}

/// What identity, or a route, was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) asked: String,
    pub(crate) ids: Vec<String>,
    pub(crate) credentials: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// What a client got, and what the parts saw meanwhile.
pub(crate) struct Came {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// When the head came, in milliseconds.
    pub(crate) at_ms: u64,
    pub(crate) seen: Seen,
}

impl Came {
    /// The id of the answer, if there is one, and only one.
    pub(crate) fn id(&self) -> Option<&str> {
        let mut ids = self.headers.get_all("x-request-id").iter();
        let id = ids.next()?.to_str().ok().filter(|id| !id.is_empty())?;
        ids.next().is_none().then_some(id)
    }
}

impl Portal {
    pub(crate) fn open(scene: &Scene, app: &App) -> Self {
        Self::with(scene, app, PERMITS, BUDGET_MS)
    }

    pub(crate) fn with(scene: &Scene, app: &App, permits: usize, budget_ms: u64) -> Self {
        Self::limited(scene, app, permits, budget_ms, LIMIT)
    }

    pub(crate) fn limited(scene: &Scene, app: &App, permits: usize, budget_ms: u64, limit: usize) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let quota = Arc::new(Semaphore::new(permits));
        let (access_log, mut logged) = unbounded_channel::<Logged>();
        let (audit, mut audited) = unbounded_channel::<Audited>();
        let (clock, weak) = (scene.clone(), Arc::downgrade(&seen));
        let log = scene.spawn(async move {
            while let Some(entry) = logged.recv().await {
                let (id, path, status) = &entry;
                clock.note("access log", format!("gets {path} {}{}", status.as_u16(), of_id(&clock, id)));
                note(&weak, |seen| seen.logged.push(entry));
            }
        });
        let (clock, weak) = (scene.clone(), Arc::downgrade(&seen));
        let trail = scene.spawn(async move {
            while let Some(entry) = audited.recv().await {
                let (id, body) = &entry;
                clock.note("audit", format!("gets {} bytes{}", body.len(), of_id(&clock, id)));
                note(&weak, |seen| seen.audited.push(entry));
            }
        });
        let sinks = [log.abort_handle(), trail.abort_handle()];
        let identity = part(scene, &seen, "identity", &["/verify"], at_identity);
        let routes = part(scene, &seen, "route", &PATHS, at_route);
        let budget = Duration::from_millis(budget_ms);
        let router = app(routes, identity, quota.clone(), access_log, audit, budget, limit);
        Self { scene: scene.clone(), server: scene.serve(router), quota, seen, sinks }
    }

    /// A portal that has let a note pass: the control.
    pub(crate) async fn healthy(lab: &Lab, app: &App, protocol: Protocol) -> Result<(), Broken> {
        let portal = Self::open(&lab.scene(format!("{protocol}, a note")), app);
        let came = portal.comes(protocol, GOOD).await?;
        let reached = came.seen.reached.len();
        let told = format!("a note got {}, and reached a route {reached} times", came.status.as_u16());
        control(came.status == StatusCode::OK && reached == 1, told)
    }

    /// Nobody reads the access log and the audit trail any more.
    pub(crate) async fn close_the_sinks(&self) {
        self.sinks.iter().for_each(AbortHandle::abort);
        self.scene.settle().await;
    }

    /// A visit on a connection of its own.
    pub(crate) async fn comes(&self, protocol: Protocol, visit: Visit) -> Result<Came, Broken> {
        self.asked(protocol, visit.request()).await
    }

    /// A request on a connection of its own.
    pub(crate) async fn asked(&self, protocol: Protocol, request: Request) -> Result<Came, Broken> {
        let client = self.server.connect("client", protocol).await;
        self.asked_on(&client, request).await
    }

    pub(crate) async fn asked_on(&self, client: &Connection, request: Request) -> Result<Came, Broken> {
        self.forget();
        let answer = client.send(request).await?;
        self.came(answer).await
    }

    /// The rest of an answer, and what the parts saw up to its end.
    pub(crate) async fn came(&self, answer: Answer) -> Result<Came, Broken> {
        let (at_ms, status, headers) = (self.scene.now_ms(), answer.status(), answer.headers().clone());
        for id in headers.get_all("x-request-id") {
            self.scene.id(&String::from_utf8_lossy(id.as_bytes()));
        }
        let text = answer.read().await.text();
        // The sinks are read by tasks.
        self.scene.settle().await;
        Ok(Came { status, headers, text, at_ms, seen: self.forget() })
    }

    /// What the parts have seen; from now on they begin anew.
    pub(crate) fn forget(&self) -> Seen {
        let mut seen = locked(&self.seen);
        let open = seen.open;
        let given = seen.given.take();
        let before = mem::take(&mut *seen);
        (seen.open, seen.given) = (open, given);
        Seen { open, ..before }
    }

    /// The quota is used up.
    pub(crate) fn use_up(&self) {
        self.quota.forget_permits(self.quota.available_permits());
        self.scene.note("quota", "is used up");
    }

    /// A body that comes when the specification says so, or never.
    pub(crate) fn held_back(&self, visit: Visit, announced: Option<usize>) -> (Feed, Request) {
        let (feed, body) = self.scene.feed("upload");
        let mut request = visit.bringing(body);
        if let Some(length) = announced {
            request.headers_mut().insert("content-length", HeaderValue::from(length));
        }
        (feed, request)
    }
}

/// The id as the transcript has it.
fn of_id(scene: &Scene, id: &str) -> String {
    if id.is_empty() {
        return ", without an id".to_owned();
    }
    format!(", {}", scene.id(id))
}

fn note(seen: &Weak<Mutex<Seen>>, what: impl FnOnce(&mut Seen)) {
    if let Some(seen) = seen.upgrade() {
        what(&mut locked(&seen));
    }
}

/// A call that has no answer yet.
struct Open {
    scene: Scene,
    lane: &'static str,
    seen: Weak<Mutex<Seen>>,
    answered: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = self.scene.now_ms();
        note(&self.seen, |seen| {
            seen.open -= 1;
            if !self.answered {
                seen.dropped.push(now);
            }
        });
        if !self.answered {
            self.scene.note(self.lane, "is given up");
        }
    }
}

type Answering = fn(Heard, Arc<Mutex<Seen>>) -> BoxFuture<'static, Response>;

/// The paths of the routes.
const PATHS: [&str; 9] =
    ["/notes", "/notes/{id}", "/kept", "/fails", "/hangs", "/panics", "/panics/number", "/slow/{ms}", "/given"];

/// Identity, or the routes: notes what comes, and answers it.
fn part(scene: &Scene, seen: &Arc<Mutex<Seen>>, lane: &'static str, paths: &[&str], answering: Answering) -> Router {
    let (scene, seen) = (scene.clone(), Arc::downgrade(seen));
    let service = move |request: Request| {
        let (scene, seen) = (scene.clone(), seen.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            if parts.uri.path() == "/kept" {
                note(&seen, |seen| seen.kept.push(mem::take(&mut parts.extensions)));
            }
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let asked = format!("{} {path}", parts.method);
            let all = |name| {
                let values = parts.headers.get_all(name).iter();
                values.map(|value| in_latin_1(value.as_bytes())).collect::<Vec<_>>()
            };
            let (ids, credentials) = (all("x-request-id"), all("authorization"));
            // What was sent to log and trail before stands in the transcript before.
            yield_now().await;
            let id = ids.join(" and ");
            let who = credentials.join(" and ");
            let who = if who.is_empty() { "nobody".to_owned() } else { who.replace("Bearer ", "") };
            scene.note(lane, format!("is asked {asked} by {who}{}", of_id(&scene, &id)));
            let mut open = Open { scene: scene.clone(), lane, seen: seen.clone(), answered: false };
            note(&seen, |seen| seen.open += 1);
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default().to_vec();
            let heard = Heard { asked, ids, credentials, body };
            let Some(all) = seen.upgrade() else { return StatusCode::GONE.into_response() };
            let list = heard.clone();
            note(&seen, |seen| if lane == "identity" { seen.verified.push(list) } else { seen.reached.push(list) });
            let answer = answering(heard, all).await;
            open.answered = true;
            answer
        }
    };
    paths.iter().fold(Router::new(), |router, path| router.route(path, any(service.clone())))
}

/// How long `slow-300` or `/slow/300` takes.
fn slow(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

fn at_identity(heard: Heard, _: Arc<Mutex<Seen>>) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        let credentials = heard.credentials.join(" and ");
        let user = credentials.strip_prefix("Bearer ").unwrap_or_default();
        if let Some(takes) = user.strip_prefix("slow-").and_then(slow) {
            sleep(takes).await;
            return StatusCode::OK.into_response();
        }
        let status = match user {
            // The last one is `IN_LATIN_1`.
            "ada" | "bob" | "ren\u{e9}" => StatusCode::OK,
            "hangs" => pending().await,
            "moved" => StatusCode::NO_CONTENT,
            "barred" => StatusCode::FORBIDDEN,
            "broken" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNAUTHORIZED,
        };
        status.into_response()
    })
}

fn at_route(heard: Heard, seen: Arc<Mutex<Seen>>) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        let path = heard.asked.split_once(' ').map_or("/", |(_, path)| path);
        let path = path.split('?').next().unwrap_or_default();
        if let Some(takes) = path.strip_prefix("/slow/").and_then(slow) {
            sleep(takes).await;
            return "at last\n".into_response();
        }
        match path {
            "/notes" | "/kept" => "noted\n".into_response(),
            "/fails" => (StatusCode::INTERNAL_SERVER_ERROR, "the cupboard is locked\n").into_response(),
            "/hangs" => pending().await,
            "/panics" => panic!("the page is torn"),
            "/panics/number" => panic_any(7),
            _ => locked(&seen).given.take().unwrap_or_default(),
        }
    })
}
