//! The specification of `swallowed-panic`: a tenant gateway that must answer a panic, tell of it, and go on.

use std::{
    panic::panic_any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Request, StatusCode},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};
use tracing::Level;

use crate::lab::{
    Answer, Broken, Connection, End, Lab, Limits, Proof, Protocol, Received, Report, Scene, Server, Specification,
    control, require, wire::EndedBy,
};

/// Finds the tenant that the headers of a request stand for.
pub type Tenant = Arc<dyn Fn(&HeaderMap) -> Option<String> + Send + Sync>;

/// Makes the gateway under test from the routes behind it, the look-up, the gauge and the sink of the access log.
pub type App =
    Arc<dyn Fn(Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>) -> Router + Send + Sync>;

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>) -> Router + Send + Sync + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits) -> Report {
    Specification::of("swallowed-panic", app)
        .alone()
        .promise(
            "panic-answered-with-bare-500",
            "A panic in a handler is answered with 500, and nothing in the answer tells what panicked or where.",
            panic_answered_with_bare_500,
        )
        .promise(
            "panic-logged-once",
            "Exactly one ERROR event carries the message of the panic, and it or the spans around it name the request and \
             its route.",
            panic_logged_once,
        )
        .promise(
            "outer-layers-see-a-500",
            "The access log, the gauge and the CORS headers are for a panic as for any other 500.",
            outer_layers_see_a_500,
        )
        .promise(
            "look-up-panic-like-handler-panic",
            "A panic in the tenant look-up is answered, logged and counted like one in a handler.",
            look_up_panic_like_handler_panic,
        )
        .promise(
            "next-request-works",
            "After a panic the next request is served, on the same HTTP/2 connection and on a new HTTP/1.1 one, and no \
             request is left in flight.",
            next_request_works,
        )
        .promise(
            "handler-leaves-with-client",
            "A handler is dropped, and no longer in flight, at the instant at which its client leaves.",
            handler_leaves_with_client,
        )
        .promise(
            "body-panic-ends-in-error",
            "A panic in a streamed body, after a frame has come, ends the body with an error and never cleanly; it is \
             logged once, takes no connection and no other stream with it, and leaves nothing in flight.",
            body_panic_ends_in_error,
        )
        .promise(
            "payload-of-any-type",
            "A panic whose payload is not text is answered, logged and counted like any other.",
            payload_of_any_type,
        )
        .judge(limits)
}

/// Believable dependencies: a small ledger. Invoice 13 panics, a key without a dot panics in the look-up, and the export
/// panics after its first line.
pub fn stand_ins() -> (Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>) {
    let (log, mut access_log) = unbounded_channel::<(String, StatusCode)>();
    let print = move || {
        while let Some((route, status)) = access_log.blocking_recv() {
            tracing::info!(route, status = status.as_u16(), "access log");
        }
    };
    thread::spawn(print);
    let invoice = |Path(id): Path<u64>| async move {
        let lines: &[u64] = if id == 13 { &[] } else { &[1900, 250] };
        format!("invoice {id}: {} + {}\n", lines[0], lines[1])
    };
    let export = || async {
        let lines = stream::unfold(0, |line: u64| async move {
            sleep(Duration::from_secs(line)).await;
            assert!(line < 1, "line {line} of the export has no amount");
            Some((Ok::<_, std::io::Error>(Bytes::from("invoice 7;2150\n")), line + 1))
        });
        Body::from_stream(lines)
    };
    let tenant = |headers: &HeaderMap| {
        let key = headers.get("x-api-key")?.to_str().ok()?;
        let (tenant, _) = key.split_once('.').expect("a key is a tenant, a dot and a secret");
        Some(tenant.to_owned())
    };
    let routes = Router::new().route("/invoices/{id}", get(invoice)).route("/export", get(export));
    (routes, Arc::new(tenant), Arc::default(), log)
}

async fn panic_answered_with_bare_500(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (path, when) in [("/invoices/13", "at once"), ("/late/20", "after 20 ms")] {
            let gateway = Gateway::open(lab.scene(format!("{protocol}, a panic {when}")), &app, Payload::Formatted);
            let client = gateway.healthy("client", protocol).await?;
            let answer = gateway.ask(&client, path, "req-2").await?;
            answer.is_a_bare_500()?;
        }
    }
    Ok(())
}

async fn panic_logged_once(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for payload in [Payload::Literal, Payload::Formatted] {
            let gateway = Gateway::open(lab.scene(format!("{protocol}, {}", payload.name())), &app, payload);
            let client = gateway.healthy("client", protocol).await?;
            // Whether it is answered is another promise.
            let _ = gateway.ask(&client, "/invoices/13", "req-2").await;
            gateway.scene.settle().await;
            gateway.logged_once(&["req-2"], "/invoices/{id}", payload)?;
        }
    }
    let scene = lab.scene("HTTP/2, two panics in turns");
    let gateway = Gateway::open(scene, &app, Payload::Formatted);
    let client = gateway.healthy("client", Protocol::Http2).await?;
    let slow = client.begin(asking("/late/30", "req-2", KNOWN));
    sleep(Duration::from_millis(10)).await;
    let quick = client.begin(asking("/late/10", "req-3", KNOWN));
    sleep(Duration::from_millis(50)).await;
    drop((slow, quick));
    gateway.logged_once(&["req-2", "req-3"], "/late/{ms}", Payload::Formatted)
}

async fn outer_layers_see_a_500(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app, Payload::Formatted);
        let client = gateway.healthy("client", protocol).await?;
        let ordinary = gateway.ordinary_500(&client).await?;

        let late = client.begin(asking("/late/20", "req-3", KNOWN));
        sleep(Duration::from_millis(10)).await;
        let gauge = gateway.in_flight();
        control(gauge == 1, format!("one request was in flight and the gauge said {gauge}"))?;
        // Where no answer comes the access log tells more of it, and is asked first.
        let answer = late.answer().await;
        gateway.scene.settle().await;
        gateway.recorded("/late/{ms}")?;
        Seen::of(answer?).await.has_the_cors_of(&ordinary)?;
        gateway.scene.settle().await;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn look_up_panic_like_handler_panic(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app, Payload::Formatted);
        let client = gateway.healthy("client", protocol).await?;
        let ordinary = gateway.ordinary_500(&client).await?;

        let answer = gateway.ask_as(&client, "/invoices/7", "req-3", MISTYPED).await?;
        answer.is_a_bare_500()?;
        gateway.scene.settle().await;
        gateway.logged_once(&["req-3"], "/invoices/{id}", Payload::Formatted)?;
        gateway.recorded("/invoices/{id}")?;
        answer.has_the_cors_of(&ordinary)?;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn next_request_works(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for site in [Site::Handler, Site::LookUp, Site::StreamedBody] {
            let gateway = Gateway::open(lab.scene(format!("{protocol}, {}", site.name())), &app, Payload::Formatted);
            let client = gateway.healthy("client", protocol).await?;
            // What this client sees is another promise.
            match site {
                Site::Handler => drop(gateway.ask(&client, "/invoices/13", "req-2").await),
                Site::LookUp => drop(gateway.ask_as(&client, "/invoices/7", "req-2", MISTYPED).await),
                Site::StreamedBody => {
                    let body = gateway.export("9");
                    body.line("line 1\n");
                    body.panics();
                    drop(gateway.ask(&client, "/exports/9", "req-2").await);
                }
            }
            gateway.scene.settle().await;
            let (next, which) = match protocol {
                Protocol::Http1 => (gateway.server.connect("next", protocol).await, "on a new connection"),
                Protocol::Http2 => (client, "on the same connection"),
            };
            for id in ["req-3", "req-4"] {
                let served = gateway.ask(&next, "/invoices/7", id).await.map_err(|closed| {
                    Broken::because(format!("after {}, the next request {which}: {closed}", site.name()))
                })?;
                let observed = format!(
                    "after {}, the next request {which} got {} with {:?}, expected 200 with \"invoice 7\"",
                    site.name(),
                    served.status.as_u16(),
                    served.text
                );
                require(served.is_invoice_7(), observed)?;
            }
            gateway.scene.settle().await;
            gateway.nothing_in_flight()?;
        }
    }
    Ok(())
}

async fn handler_leaves_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, how) in [
        (Protocol::Http1, "closes the connection"),
        (Protocol::Http2, "closes the connection"),
        (Protocol::Http2, "resets the stream"),
    ] {
        let gateway = Gateway::open(lab.scene(format!("{protocol}, the client {how}")), &app, Payload::Formatted);
        let client = gateway.healthy("client", protocol).await?;
        let asked = client.begin(asking("/reports/7", "req-2", KNOWN));
        sleep(Duration::from_secs(5)).await;
        let running = gateway.handler() == Handler::Running;
        control(running && gateway.in_flight() == 1, "the report was asked for and its handler is not in flight")?;

        let left = gateway.scene.now_ms();
        if how == "resets the stream" {
            gateway.scene.note("client", "resets the stream");
            drop(asked);
        } else {
            client.clone().leave();
        }
        gateway.scene.settle().await;
        let observed = match gateway.handler() {
            Handler::Dropped(at) => format!("the client left at {left} ms and its handler was dropped at {at} ms"),
            Handler::Idle | Handler::Running => format!(
                "the client left at {left} ms and its handler was still running at {} ms",
                gateway.scene.now_ms()
            ),
        };
        require(gateway.handler() == Handler::Dropped(left), observed)?;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn body_panic_ends_in_error(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let gateway = Gateway::open(lab.scene(protocol.to_string()), &app, Payload::Formatted);
        let client = gateway.healthy("client", protocol).await?;
        let sibling_export = gateway.export("8");
        let export = gateway.export("9");
        let sibling = match protocol {
            Protocol::Http1 => gateway.server.connect("sibling", protocol).await,
            Protocol::Http2 => client.clone(),
        };
        let mut sibling = sibling.send(asking("/exports/8", "req-2", KNOWN)).await?.listen();
        sibling_export.line("sibling 1\n");
        sibling.hears("sibling 1\n").await?;

        let listener = client.send(asking("/exports/9", "req-3", KNOWN)).await?.listen();
        sleep(Duration::from_secs(5)).await;
        let sent = gateway.scene.now_ms();
        export.line("line 1\n");
        gateway.scene.settle().await;
        let came = listener.so_far().came_at_ms("line 1\n");
        control(came == Some(sent), format!("a line produced at {sent} ms had not come at {sent} ms"))?;

        sleep(Duration::from_secs(5)).await;
        let panicked = gateway.scene.now_ms();
        export.panics();
        sleep(Duration::from_secs(5)).await;
        let received = listener.so_far();
        broke_off(&received, panicked)?;
        let text = received.text();
        require(text == "line 1\n", format!("expected the one line before the panic, got {text:?}"))?;

        gateway.scene.settle().await;
        gateway.logged_once(&["req-3"], "/exports/{id}", Payload::Formatted)?;
        sibling_export.line("sibling 2\n");
        let went_on = sibling.hears("sibling 2\n").await.is_ok();
        require(went_on, "the body panicked and a stream beside it ended too")?;
        drop(sibling_export);
        let whole = sibling.ended().await.end.is_some_and(|(_, end)| end == End::Clean);
        require(whole, "the body panicked and a stream beside it did not end cleanly")?;
        gateway.scene.settle().await;
        gateway.no_connection_panicked()?;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn payload_of_any_type(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (site, key) in [(Site::Handler, KNOWN), (Site::LookUp, MISTYPED)] {
            let title = format!("{protocol}, {}", site.name());
            let mut gateway = Gateway::open(lab.scene(title), &app, Payload::Number);
            let client = gateway.healthy("client", protocol).await?;
            gateway.ordinary_500(&client).await?;
            gateway.ask_as(&client, "/invoices/13", "req-3", key).await?.is_a_bare_500()?;
            gateway.scene.settle().await;
            gateway.logged_once(&["req-3"], "/invoices/{id}", Payload::Number)?;
            gateway.recorded("/invoices/{id}")?;
            gateway.nothing_in_flight()?;
        }
        let gateway =
            Gateway::open(lab.scene(format!("{protocol}, {}", Site::StreamedBody.name())), &app, Payload::Number);
        let client = gateway.healthy("client", protocol).await?;
        let export = gateway.export("9");
        let mut listener = client.send(asking("/exports/9", "req-2", KNOWN)).await?.listen();
        export.line("line 1\n");
        listener.hears("line 1\n").await?;
        let panicked = gateway.scene.now_ms();
        export.panics();
        gateway.scene.settle().await;
        broke_off(&listener.so_far(), panicked)?;
        gateway.logged_once(&["req-2"], "/exports/{id}", Payload::Number)?;
        gateway.no_connection_panicked()?;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

fn broke_off(received: &Received, panicked: u64) -> Proof {
    let observed = match received.end {
        None => "still waited".to_owned(),
        Some((at, End::Clean)) => format!("was told at {at} ms that the answer is whole"),
        Some((_, End::Error)) => return Ok(()),
    };
    Err(Broken::because(format!("the body panicked at {panicked} ms and the client {observed}; expected an error")))
}

// ===== What the specification supplies =====

/// What an arranged panic says, unless its payload is no text. No client may read any of it.
const MESSAGE: &str = "the invoice of Ada Byron has no lines";
const TELLING: [&str; 4] = ["Ada Byron", "no lines", ".rs", "swallowed_panic"];
/// A key that belongs to a tenant, and one that makes the look-up panic.
const KNOWN: &str = "acme.secret";
const MISTYPED: &str = "acme";

#[derive(Clone, Copy)]
enum Payload {
    Literal,
    Formatted,
    Number,
}

impl Payload {
    fn name(self) -> &'static str {
        match self {
            Self::Literal => "a panic with a literal",
            Self::Formatted => "a panic with a formatted text",
            Self::Number => "a panic with a number",
        }
    }

    fn panics(self) -> ! {
        match self {
            Self::Literal => panic_any(MESSAGE),
            Self::Formatted => panic_any(MESSAGE.to_owned()),
            Self::Number => panic_any(13_u32),
        }
    }
}

#[derive(Clone, Copy)]
enum Site {
    Handler,
    LookUp,
    StreamedBody,
}

impl Site {
    fn name(self) -> &'static str {
        match self {
            Self::Handler => "a panic in a handler",
            Self::LookUp => "a panic in the look-up",
            Self::StreamedBody => "a panic in a body",
        }
    }
}

/// One gateway with its surroundings.
struct Gateway {
    scene: Scene,
    server: Server,
    in_flight: Arc<AtomicI64>,
    access_log: UnboundedReceiver<(String, StatusCode)>,
    exports: Exports,
    handler: Arc<Mutex<Handler>>,
}

impl Gateway {
    fn open(scene: Scene, app: &App, payload: Payload) -> Self {
        let in_flight = Arc::<AtomicI64>::default();
        let exports = Exports::default();
        let handler = Arc::new(Mutex::new(Handler::Idle));
        let (log, access_log) = unbounded_channel();
        let tenant = move |headers: &HeaderMap| match headers.get("x-api-key")?.to_str().ok()?.split_once('.') {
            Some((tenant, _)) => Some(tenant.to_owned()),
            None => payload.panics(),
        };
        let routes = routes(&scene, payload, exports.clone(), handler.clone());
        let server = scene.serve(app(routes, Arc::new(tenant), in_flight.clone(), log));
        Self { scene, server, in_flight, access_log, exports, handler }
    }

    /// A client that has seen the gateway work.
    async fn healthy(&self, lane: &str, protocol: Protocol) -> Result<Connection, Broken> {
        let client = self.server.connect(lane, protocol).await;
        let answer = self.ask(&client, "/invoices/7", "req-1").await?;
        let observed = format!("GET /invoices/7 got {} with {:?}", answer.status.as_u16(), answer.text);
        control(answer.is_invoice_7(), observed)?;
        Ok(client)
    }

    /// A 500 that no panic made, to compare with; empties the access log.
    async fn ordinary_500(&mut self, client: &Connection) -> Result<Seen, Broken> {
        self.entries();
        let answer = self.ask(client, "/invoices/0", "req-2").await?;
        self.scene.settle().await;
        let entries = self.entries();
        control(entries == ["500 of /invoices/{id}"], format!("for a 500 the access log has {}", all(&entries)))?;
        control(!answer.cors().is_empty(), "an ordinary 500 has no CORS headers")?;
        self.nothing_in_flight().map_err(|gauge| Broken::because(format!("even before the fault: {gauge}")))?;
        Ok(answer)
    }

    async fn ask(&self, client: &Connection, path: &str, id: &'static str) -> Result<Seen, Broken> {
        self.ask_as(client, path, id, KNOWN).await
    }

    async fn ask_as(
        &self,
        client: &Connection,
        path: &str,
        id: &'static str,
        key: &'static str,
    ) -> Result<Seen, Broken> {
        let answer = client.send(asking(path, id, key)).await;
        let answer =
            answer.map_err(|_| Broken::because(format!("GET {path} got no answer, only a closed connection")))?;
        Ok(Seen::of(answer).await)
    }

    /// Makes the body of the next answer to `/exports/{id}`.
    fn export(&self, id: &str) -> Export {
        let (steps, body) = unbounded_channel();
        locked(&self.exports).push((id.to_owned(), body));
        Export { steps }
    }

    fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn handler(&self) -> Handler {
        *locked(&self.handler)
    }

    /// The new entries of the access log.
    fn entries(&mut self) -> Vec<String> {
        let new = std::iter::from_fn(|| self.access_log.try_recv().ok());
        new.map(|(route, status)| format!("{} of {route}", status.as_u16())).collect()
    }

    fn nothing_in_flight(&self) -> Proof {
        let gauge = self.in_flight();
        require(gauge == 0, format!("no request was in flight and the gauge said {gauge}"))
    }

    /// The access log has one entry more: a 500 of `route`.
    fn recorded(&mut self, route: &str) -> Proof {
        let (entries, expected) = (self.entries(), format!("500 of {route}"));
        let observed = format!("expected one entry more in the access log, {expected}, got {}", all(&entries));
        require(entries == [expected], observed)
    }

    fn no_connection_panicked(&self) -> Proof {
        let panicked =
            self.server.connections().into_iter().find(|watch| matches!(watch.ended, Some((_, EndedBy::Panic))));
        let client = panicked.map(|watch| watch.client);
        require(client.is_none(), format!("the panic took the whole connection of the {}", client.unwrap_or_default()))
    }

    /// Each of the requests `ids` panicked, and there is one ERROR event for each that says what panicked and for whom. A
    /// payload that is no text leaves nothing to carry: any ERROR event of the request will do.
    fn logged_once(&self, ids: &[&str], route: &str, payload: Payload) -> Proof {
        let mut errors = self.scene.logs();
        errors.retain(|line| line.level == Level::ERROR);
        if !matches!(payload, Payload::Number) {
            errors.retain(|line| line.carries(MESSAGE));
            let (count, expected) = (errors.len(), ids.len());
            require(count > 0, format!("no ERROR event carries the message of the panic, {MESSAGE:?}"))?;
            let observed = format!("{count} ERROR events carry the message of the panic, expected {expected}");
            require(count == expected, observed)?;
        }
        for id in ids {
            let named = errors.iter().any(|line| line.mentions(id) && line.mentions(route));
            require(named, format!("no ERROR event of the panic names the request {id} and the route {route}"))?;
        }
        Ok(())
    }
}

/// The answer to a request, read to its end.
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Seen {
    async fn of(answer: Answer) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, text: answer.read().await.text() }
    }

    fn is_invoice_7(&self) -> bool {
        self.status == StatusCode::OK && self.text == "invoice 7"
    }

    fn is_a_bare_500(&self) -> Proof {
        let status = self.status;
        let observed =
            format!("expected 500 for the request that panicked, got {} with {:?}", status.as_u16(), self.text);
        require(status == StatusCode::INTERNAL_SERVER_ERROR, observed)?;
        let headers = self.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let told = headers.chain([self.text.clone()]).find(|text| TELLING.iter().any(|word| text.contains(word)));
        require(told.is_none(), format!("the answer tells every client {:?}", told.unwrap_or_default()))
    }

    fn cors(&self) -> Vec<String> {
        let headers = self.headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
        let mut cors: Vec<_> =
            headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
        cors.sort();
        cors
    }

    fn has_the_cors_of(&self, ordinary: &Self) -> Proof {
        let (expected, got) = (ordinary.cors(), self.cors());
        let observed = format!("expected the CORS headers of any 500, {}, got {}", all(&expected), all(&got));
        require(got == expected, observed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Handler {
    Idle,
    Running,
    Dropped(u64),
}

/// Says when the handler that holds it is dropped.
struct Presence {
    scene: Scene,
    handler: Arc<Mutex<Handler>>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.scene.note("handler", "is dropped");
        *locked(&self.handler) = Handler::Dropped(self.scene.now_ms());
    }
}

/// The handle of a body that the specification feeds, and lets panic.
struct Export {
    steps: UnboundedSender<Step>,
}

enum Step {
    Line(&'static str),
    Panic,
}

impl Export {
    fn line(&self, line: &'static str) {
        // The body may be gone; the specification learns that from the client.
        let _ = self.steps.send(Step::Line(line));
    }

    fn panics(&self) {
        let _ = self.steps.send(Step::Panic);
    }
}

type Exports = Arc<Mutex<Vec<(String, UnboundedReceiver<Step>)>>>;

fn routes(scene: &Scene, payload: Payload, exports: Exports, handler: Arc<Mutex<Handler>>) -> Router {
    let invoice = move |Path(id): Path<u64>| async move {
        match id {
            0 => (StatusCode::INTERNAL_SERVER_ERROR, "the ledger is closed").into_response(),
            13 => payload.panics(),
            _ => format!("invoice {id}").into_response(),
        }
    };
    let late = move |Path(ms): Path<u64>| async move {
        sleep(Duration::from_millis(ms)).await;
        if true {
            payload.panics()
        }
    };
    let scene = scene.clone();
    let report = move || {
        let presence = Presence { scene: scene.clone(), handler: handler.clone() };
        async move {
            presence.scene.note("handler", "starts a report");
            *locked(&presence.handler) = Handler::Running;
            std::future::pending::<()>().await;
        }
    };
    let export = move |Path(id): Path<String>| async move {
        let mut exports = locked(&exports);
        let place = exports.iter().position(|(known, _)| *known == id);
        let steps = place.map(|place| exports.remove(place).1);
        let Some(steps) = steps else { return StatusCode::NOT_FOUND.into_response() };
        let lines = stream::unfold(steps, move |mut steps| async move {
            match steps.recv().await? {
                Step::Line(line) => Some((Ok::<_, std::io::Error>(Bytes::from(line)), steps)),
                Step::Panic => payload.panics(),
            }
        });
        Body::from_stream(lines).into_response()
    };
    Router::new()
        .route("/invoices/{id}", get(invoice))
        .route("/late/{ms}", get(late))
        .route("/reports/{id}", get(report))
        .route("/exports/{id}", get(export))
}

fn asking(path: &str, id: &str, key: &str) -> Request<Body> {
    let request = Request::get(path).header("x-request-id", id).header("x-api-key", key);
    let request = request.header("origin", "https://ledger.test").body(Body::empty());
    request.expect("a request of known parts")
}

/// The things, or that there are none.
fn all(things: &[String]) -> String {
    if things.is_empty() { "none".to_owned() } else { things.join(", ") }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
