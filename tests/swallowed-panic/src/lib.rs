//! The specification of `swallowed-panic`: a tenant gateway that must answer a panic, tell of it, and go on.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use conform::{Contract, Subject, the_rest};
use futures_util::{FutureExt, stream};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};
use tower::ServiceExt;
use tracing::Level;

use lab::{
    Answer, Asked, Broken, Connection, End, Ghost, Lab, Limits, LogLine, Proof, Protocol, Received, Report, Scene,
    Server, Shown, Specification, control,
    hammer::{Force, Hammered},
    locked,
    wire::EndedBy,
};

mod hammer;

pub use hammer::hammer;

/// Finds the tenant that the headers of a request stand for.
pub type Tenant = Arc<dyn Fn(&HeaderMap) -> Option<String> + Send + Sync>;

/// Makes the gateway under test from the routes behind it, the look-up, the gauge and the sink of the access log.
pub type App =
    Arc<dyn Fn(Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>) -> Router + Send + Sync>;

const PANIC_ANSWERED_WITH_BARE_500: Asked = Asked::new(
    "panic-answered-with-bare-500",
    "A panic in a handler is answered with 500, and nothing in the answer says what panicked or where.",
);
const PANIC_LOGGED_ONCE: Asked = Asked::new(
    "panic-logged-once",
    "Exactly one ERROR event carries the message of the panic, and it or the spans around it name the request and \
     its route.",
);
const OUTER_LAYERS_SEE_A_500: Asked = Asked::new(
    "outer-layers-see-a-500",
    "The access log, the gauge and the CORS headers are the same for a panic as for any other 500.",
);
const LOOK_UP_PANIC_LIKE_HANDLER_PANIC: Asked = Asked::new(
    "look-up-panic-like-handler-panic",
    "A panic in the tenant look-up is answered, logged and counted like one in a handler.",
);
const NEXT_REQUEST_WORKS: Asked = Asked::new(
    "next-request-works",
    "After a panic, the next request is served, on the same HTTP/2 connection and on a new HTTP/1.1 one, and so is a \
     request that comes while another panics. No request is left in flight.",
);
const HANDLER_LEAVES_WITH_CLIENT: Asked = Asked::new(
    "handler-leaves-with-client",
    "A handler is dropped, and no longer in flight, the instant its client leaves.",
);
const BODY_PANIC_ENDS_IN_ERROR: Asked = Asked::new(
    "body-panic-ends-in-error",
    "A panic in a streamed body, before its first frame or after any, ends the body with an error and never cleanly. \
     It doesn't unwind the connection, is logged once, spares the streams beside it, and leaves nothing in \
     flight.",
);
const PAYLOAD_OF_ANY_TYPE: Asked = Asked::new(
    "payload-of-any-type",
    "A panic whose payload isn't text is answered, logged and counted like any other.",
);
const BILLING_GOES_ON: Asked = Asked::new(
    "billing-goes-on",
    "Each request of a known tenant is billed to it once, whatever has panicked before, and the count goes on from \
     where it was.",
);
const NO_PANIC_AS_EVER: Asked = Asked::new(
    "no-panic-as-ever",
    "A request in which nothing panics is answered as before, whether by the route, with a 401 or a 404, or as a \
     CORS preflight.",
);
const LEAVES_THE_REST_ALONE: Asked = Asked::new(
    "leaves-the-rest-alone",
    "Everything else that passes through comes out as it went in: requests and answers, with their heads, bodies, \
     lengths, trailers and errors, each part as soon as it's there and not before it's wanted.",
);

const NAMES: Asked = Asked::new(
    "id-and-route",
    "The ERROR event of a panic, or a span round it, has the request's `x-request-id` and the template of its route, \
     such as `/invoices/{id}`.",
);
const NOTHING_TOLD: Asked = Asked::new(
    "nothing-told",
    "Neither the headers nor the body of the answer to a panic contain any of its message, or the name of a source \
     file.",
);
const NOBODY_WORKS_ON: Asked = Asked::new(
    "nobody-works-on",
    "A request is over when its client leaves, whatever it runs in: its handler is dropped, not run to its end.",
);
const CONNECTION_SPARED: Asked = Asked::new(
    "connection-spared",
    "A panic in a body is an error of that body, not a panic of its connection's task.",
);
const ENTRIES: Asked = Asked::new(
    "one-entry-an-answer",
    "Each answer leaves one entry in the access log, its route and its status. A path that has no route is logged as \
     `unmatched`, and an answer whose body panics later has the status of its head.",
);
const GAUGE: Asked = Asked::new(
    "gauge-of-the-waiting",
    "The gauge is 1 while one request waits for its answer, and 0 when none is under way.",
);
const BILL: Asked = Asked::new(
    "bill",
    "For each request of a known tenant there's an event, at any level and at the latest when the answer's head is \
     there, that has the fields `tenant` and `requests`: how many requests the tenant has made, this one \
     included. A request whose look-up panics is billed to nobody.",
);
const TENANT_TOLD: Asked = Asked::new(
    "x-tenant",
    "A route is told the tenant in `x-tenant`, whatever `x-tenant` the client sends; a request without a tenant gets \
     a 401 and reaches no route.",
);
const CORS: Asked = Asked::new(
    "cors",
    "Each answer has the CORS headers that an ordinary 500 has, and a CORS preflight is answered with 200, whoever \
     sends it.",
);
const LOG_MAY_STOP: Asked = Asked::new(
    "log-may-stop",
    "Requests are still served as before when nobody takes the access log's entries any more.",
);
const PASSES_THROUGH: Asked = Asked::new(
    "passes-through",
    "A body that knows its length still does, and keeps its trailers; it streams in both directions, no more than 64 \
     KiB are read ahead, and nothing is read before the route or the client asks. It's dropped with its \
     client, and not polled after its end. Requests run concurrently. Extensions, 100 Continue, upgrades and \
     extended CONNECT pass.",
);

/// Holds `app` against every promise.
pub fn check(
    app: impl Fn(Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>) -> Router + Send + Sync + 'static,
) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app)
        .alone()
        .promise(PANIC_ANSWERED_WITH_BARE_500, panic_answered_with_bare_500)
        .promise(PANIC_LOGGED_ONCE, panic_logged_once)
        .promise(OUTER_LAYERS_SEE_A_500, outer_layers_see_a_500)
        .promise(LOOK_UP_PANIC_LIKE_HANDLER_PANIC, look_up_panic_like_handler_panic)
        .promise(NEXT_REQUEST_WORKS, next_request_works)
        .promise(HANDLER_LEAVES_WITH_CLIENT, handler_leaves_with_client)
        .promise(BODY_PANIC_ENDS_IN_ERROR, body_panic_ends_in_error)
        .promise(PAYLOAD_OF_ANY_TYPE, payload_of_any_type)
        .promise(BILLING_GOES_ON, billing_goes_on)
        .promise(NO_PANIC_AS_EVER, no_panic_as_ever)
        .beside(LEAVES_THE_REST_ALONE, leaves_the_rest_alone)
        .judge(limits)
}

/// What the gateway changes on purpose, and what its own promises judge.
pub fn contract() -> Contract {
    let task = "a request may run in a task of its own, and that it ends with its client is a promise";
    Contract::transparent()
        .touches("request header x-tenant")
        .touches("response header access-control-allow-origin")
        .touches("response header vary")
        .changes("methods-pass", "CORS answers what could be a preflight")
        .changes("survives-a-panic", "the ghost")
        .changes("same-task", task)
        .changes("nothing-left-reserved", task)
        .changes("cancel-reaches-inner", task)
        .changes("cancelled-at-each-step", task)
        .changes("nothing-left-running", task)
}

/// What passes through as it was, beside what *must*: the clauses of [`PASSES_THROUGH`].
const SHOULD: [&str; 20] = [
    "lets-through",
    "calls-overlap",
    "body-drop-reaches-inner",
    "request-body-released",
    "head-before-body",
    "response-streams",
    "response-not-read-ahead",
    "request-body-untouched",
    "request-streams",
    "request-not-read-ahead",
    "trailers-kept",
    "request-trailers-kept",
    "lengths-are-kept",
    "coded-trailers-kept",
    "coded-bodies-stream",
    "extensions-kept",
    "not-polled-after-end",
    "upgrade-passes",
    "extended-connect-passes",
    "continue-when-read",
];

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "swallowed-panic";
    type App = fn(Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>) -> Router;
    type StandIns = (Router, Tenant, Arc<AtomicI64>, UnboundedSender<(String, StatusCode)>);
    const ASKED: &'static [Asked] = &[
        NAMES,
        NOTHING_TOLD,
        NOBODY_WORKS_ON,
        CONNECTION_SPARED,
        ENTRIES,
        GAUGE,
        BILL,
        TENANT_TOLD,
        CORS,
        LOG_MAY_STOP,
        PASSES_THROUGH,
    ];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    fn hammer(app: Self::App, force: Force) -> Hammered {
        hammer(Arc::new(app), force)
    }

    /// Believable dependencies: a small ledger. Invoice 13 panics, a key without a dot panics in the look-up, and the export
    /// panics after its first line. Call it inside a runtime.
    fn stand_ins() -> Self::StandIns {
        let (log, mut access_log) = unbounded_channel::<(String, StatusCode)>();
        tokio::spawn(async move {
            while let Some((route, status)) = access_log.recv().await {
                lab::say(format_args!("access log: {} {route}", status.as_u16()));
            }
        });
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

    fn serve(app: Self::App, (routes, tenant, in_flight, access_log): Self::StandIns) -> Router {
        app(routes, tenant, in_flight, access_log)
    }
}

async fn panic_answered_with_bare_500(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let mut client = gateway.healthy("client", protocol).await?;
        for (path, id) in [("/invoices/13", "req-2"), ("/late/20", "req-3")] {
            gateway.ask(&client, path, id, KNOWN).await?.is_a_bare_500()?;
            client = gateway.after(client, protocol).await;
        }
    }
    Ok(())
}

async fn panic_logged_once(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let client = gateway.healthy("client", protocol).await?;
        // Whether they are answered is another promise.
        let _ = gateway.ask(&client, "/invoices/13", "req-2", KNOWN).await;
        gateway.scene.settle().await;
        gateway.logged_once(&["req-2"], "/invoices/{id}")?;
        // Two requests that wait at the same time, and panic in turns.
        let first = gateway.server.connect("first", protocol).await;
        let second =
            if protocol == Protocol::Http1 { gateway.server.connect("second", protocol).await } else { first.clone() };
        let first = first.begin(asking("/late/30", "req-3", KNOWN));
        sleep(Duration::from_millis(10)).await;
        let second = second.begin(asking("/late/10", "req-4", KNOWN));
        sleep(Duration::from_millis(50)).await;
        drop((first, second));
        gateway.logged_once(&["req-3", "req-4"], "/late/{ms}")?;

        let title = format!("{protocol}, another thread panics while the handler's panic unwinds");
        let mut gateway = Gateway::open(lab.scene(title), &app);
        let client = gateway.healthy("client", protocol).await?;
        let _ = gateway.ask(&client, "/crowds/13", "req-2", KNOWN).await;
        gateway.scene.settle().await;
        gateway.logged_once(&["req-2"], "/crowds/{id}")?;
    }
    Ok(())
}

async fn outer_layers_see_a_500(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let client = gateway.server.connect("client", protocol).await;
        let ordinary = gateway.ordinary_500(&client).await?;

        let late = client.begin(asking("/late/20", "req-2", KNOWN));
        sleep(Duration::from_millis(10)).await;
        let gauge = gateway.in_flight();
        control(gauge == 1, format!("one request was in flight and the gauge said {gauge}"))?;
        let answer = late.answer().await;
        gateway.scene.settle().await;
        // Where no answer came the access log tells more, and is asked first.
        gateway.recorded("/late/{ms}")?;
        Seen::of(answer?).await.has_the_cors_of(&ordinary)?;
        gateway.scene.settle().await;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn look_up_panic_like_handler_panic(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let client = gateway.server.connect("client", protocol).await;
        let ordinary = gateway.ordinary_500(&client).await?;

        let answer = gateway.ask(&client, "/invoices/7", "req-2", MISTYPED).await?;
        answer.is_a_bare_500()?;
        gateway.scene.settle().await;
        gateway.logged_once(&["req-2"], "/invoices/{id}")?;
        gateway.recorded("/invoices/{id}")?;
        answer.has_the_cors_of(&ordinary)?;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn next_request_works(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let mut client = gateway.healthy("client", protocol).await?;
        for site in ["handler", "look-up", "body"] {
            let (path, key) = match site {
                "handler" => ("/invoices/13", KNOWN),
                "look-up" => ("/invoices/7", MISTYPED),
                _ => {
                    let export = gateway.export("9");
                    export.line("line 1\n");
                    export.panics(Payload::Formatted);
                    ("/exports/9", KNOWN)
                }
            };
            // What this client sees is another promise.
            let _ = gateway.ask(&client, path, "req-2", key).await;
            gateway.scene.settle().await;
            client = gateway.after(client, protocol).await;
            let next = gateway.ask(&client, "/invoices/7", "req-3", KNOWN).await;
            let got = match next {
                Ok(next) if next.is_invoice_7() => None,
                Ok(next) => Some(next.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            let which = if protocol == Protocol::Http1 { "a new" } else { "the same" };
            let observed = format!(
                "a panic in the {site}, and the next request, on {which} connection, got {}; expected 200 with \
                 \"invoice 7\"",
                got.as_deref().unwrap_or_default()
            );
            NEXT_REQUEST_WORKS.require(got.is_none(), observed)?;
            gateway.scene.settle().await;
            gateway.nothing_in_flight()?;
        }
    }
    let gateway = Gateway::open(lab.scene("two threads"), &app);
    drop(gateway.healthy("client", Protocol::Http1).await?);
    gateway.another_comes_meanwhile().await
}

async fn handler_leaves_with_client(lab: Lab, app: App) -> Proof {
    for (protocol, how) in [
        (Protocol::Http1, "closes the connection"),
        (Protocol::Http2, "closes the connection"),
        (Protocol::Http2, "resets the stream"),
    ] {
        let gateway = Gateway::open(lab.scene(format!("{protocol}, the client {how}")), &app);
        let client = gateway.server.connect("client", protocol).await;
        let asked = client.begin(asking("/reports/7", "req-1", KNOWN));
        sleep(Duration::from_secs(5)).await;
        let gauge = gateway.in_flight();
        control(gateway.handler() == Handler::Running, "GET /reports/7 was sent and its handler did not run")?;
        control(gauge == 1, format!("one request was in flight and the gauge said {gauge}"))?;

        let left = gateway.scene.now_ms();
        if how == "resets the stream" {
            gateway.scene.note("client", "resets the stream");
            drop(asked);
        } else {
            client.leave();
        }
        gateway.scene.settle().await;
        let observed = match gateway.handler() {
            Handler::Dropped(at) => format!("the client left at {left} ms and its handler was dropped at {at} ms"),
            Handler::Idle | Handler::Running => {
                format!(
                    "the client left at {left} ms and its handler was still running at {} ms",
                    gateway.scene.now_ms()
                )
            }
        };
        NOBODY_WORKS_ON.require(gateway.handler() == Handler::Dropped(left), observed)?;
        gateway.nothing_in_flight()?;
    }
    Ok(())
}

async fn body_panic_ends_in_error(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let client = gateway.server.connect("client", protocol).await;
        let sibling = match protocol {
            Protocol::Http1 => gateway.server.connect("sibling", protocol).await,
            Protocol::Http2 => client.clone(),
        };
        let beside = gateway.export("8");
        let mut sibling = sibling.send(asking("/exports/8", "req-1", KNOWN)).await?.listen();
        beside.line("a line beside\n");
        sibling.hears("a line beside\n").await?;

        let export = gateway.export("9");
        let listener = client.send(asking("/exports/9", "req-2", KNOWN)).await?.listen();
        sleep(Duration::from_secs(5)).await;
        let sent = gateway.scene.now_ms();
        export.line("line 1\n");
        gateway.scene.settle().await;
        let came = listener.so_far().came_at_ms("line 1\n") == Some(sent);
        control(came, format!("a line of the body was produced at {sent} ms and did not come then"))?;

        sleep(Duration::from_secs(5)).await;
        let panicked = gateway.scene.now_ms();
        export.panics(Payload::Formatted);
        sleep(Duration::from_secs(5)).await;
        broke_off(&listener.so_far(), panicked)?;
        gateway.no_connection_panicked()?;
        gateway.logged_once(&["req-2"], "/exports/{id}")?;

        beside.line("another beside\n");
        let goes_on = sibling.hears("another beside\n").await.is_ok();
        drop(beside);
        let ended = sibling.ended().await.end.map(|(_, end)| end);
        BODY_PANIC_ENDS_IN_ERROR
            .require(goes_on && ended == Some(End::Clean), "the body panicked, and a stream beside it ended with it")?;
        gateway.scene.settle().await;
        gateway.nothing_in_flight()?;
        gateway.has_entries(&["200 of /exports/{id}", "200 of /exports/{id}"])?;

        for (when, lines) in
            [("before its first frame", &[][..]), ("at once after its first frames", &["line 1\n", ""])]
        {
            let mut gateway = Gateway::open(lab.scene(format!("{protocol}, the body panics {when}")), &app);
            let client = gateway.healthy("client", protocol).await?;
            gateway.new_errors();
            let export = gateway.export("9");
            lines.iter().for_each(|line| export.line(line));
            export.panics(Payload::Formatted);
            // Where the connection breaks off before the head was sent there is no answer.
            if let Ok(answer) = client.send(asking("/exports/9", "req-2", KNOWN)).await {
                let status = answer.status();
                let ended = answer.read().await.end.map(|(_, end)| end);
                let told = format!("the body panicked, and the client got a whole {}", status.as_u16());
                BODY_PANIC_ENDS_IN_ERROR.require(!status.is_success() || ended == Some(End::Error), told)?;
            }
            gateway.scene.settle().await;
            gateway.no_connection_panicked()?;
            gateway.logged_once(&["req-2"], "/exports/{id}")?;
            gateway.nothing_in_flight()?;
        }
    }
    Ok(())
}

async fn payload_of_any_type(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let mut client = gateway.healthy("client", protocol).await?;
        let export = gateway.export("9");
        let mut listener = client.send(asking("/exports/9", "req-2", KNOWN)).await?.listen();
        export.line("line 1\n");
        listener.hears("line 1\n").await?;
        let panicked = gateway.scene.now_ms();
        export.panics(Payload::Number);
        gateway.scene.settle().await;
        broke_off(&listener.so_far(), panicked)?;
        gateway.no_connection_panicked()?;
        gateway.logged("req-2", "/exports/{id}")?;

        gateway.entries();
        for (path, id, key) in [("/invoices/15", "req-3", KNOWN), ("/invoices/7", "req-4", NUMBER)] {
            client = gateway.after(client, protocol).await;
            gateway.ask(&client, path, id, key).await?.is_a_bare_500()?;
            gateway.scene.settle().await;
            gateway.logged(id, "/invoices/{id}")?;
            gateway.recorded("/invoices/{id}")?;
            gateway.nothing_in_flight()?;
        }
    }
    Ok(())
}

async fn billing_goes_on(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (site, path, key, billed) in [
            ("handler", "/invoices/13", KNOWN, true),
            ("look-up", "/invoices/7", MISTYPED, false),
            ("body", "/exports/9", KNOWN, true),
        ] {
            let mut gateway = Gateway::open(lab.scene(format!("{protocol}, a panic in the {site}")), &app);
            let client = gateway.server.connect("client", protocol).await;
            for (tenant, key, number) in [("acme", KNOWN, 1), ("acme", KNOWN, 2), ("zenith", ZENITH, 1)] {
                gateway.ask(&client, "/invoices/7", "req-1", key).await?;
                gateway
                    .billed(&[(tenant, number)])
                    .map_err(|broken| Broken::because(format!("even before the fault: {broken}")))?;
            }
            gateway.export("9").panics(Payload::Formatted);
            // What this client sees is another promise.
            let _ = gateway.ask(&client, path, "req-2", key).await;
            gateway.scene.settle().await;
            gateway.billed(if billed { &[("acme", 3)] } else { &[] })?;
            let mut number = if billed { 3 } else { 2 };
            let client = gateway.after(client, protocol).await;
            for (tenant, key) in [("zenith", ZENITH), ("acme", KNOWN), ("acme", KNOWN)] {
                gateway.ask(&client, "/invoices/7", "req-3", key).await?;
                number += u64::from(key == KNOWN);
                gateway.billed(&[(tenant, if key == KNOWN { number } else { 2 })])?;
            }
        }
    }
    Ok(())
}

async fn no_panic_as_ever(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let mut gateway = Gateway::open(lab.scene(protocol.to_string()), &app);
        let client = gateway.server.connect("client", protocol).await;
        let ordinary = gateway.ordinary_500(&client).await?;
        let told = format!("GET /invoices/0 got {ordinary}");
        NO_PANIC_AS_EVER.require(ordinary.text == "the ledger is closed", told)?;
        for (path, key, status, text, entry) in [
            ("/tenants", KNOWN, 200, Some("acme"), "200 of /tenants"),
            ("/tenants", ZENITH, 200, Some("zenith"), "200 of /tenants"),
            ("/invoices/7", KNOWN, 200, Some("invoice 7"), "200 of /invoices/{id}"),
            ("/audits/45", KNOWN, 200, Some("audited for 45 s"), "200 of /audits/{seconds}"),
            ("/tenants", "", 401, None, "401 of /tenants"),
            ("/exports/9", KNOWN, 404, None, "404 of /exports/{id}"),
            ("/nowhere", KNOWN, 404, None, "404 of unmatched"),
        ] {
            let mut request = asking(path, "req-2", key);
            request.headers_mut().insert("x-tenant", HeaderValue::from_static("zenith.bank"));
            let answer = Seen::of(client.send(request).await?).await;
            let who = if key.is_empty() { "nobody" } else { key.trim_end_matches(".secret") };
            let due = text.map_or(String::new(), |text| format!(" with {text:?}"));
            let told = format!("GET {path} with the key of {who} got {answer}, expected {status}{due}");
            let asked = if path == "/tenants" { TENANT_TOLD } else { NO_PANIC_AS_EVER };
            asked.require(answer.status == status && text.is_none_or(|text| text == answer.text), told)?;
            answer.has_the_cors_of(&ordinary)?;
            gateway.scene.settle().await;
            gateway.has_entries(&[entry])?;
            gateway.nothing_in_flight()?;
        }
        let mut preflight = asking("/invoices/7", "req-3", "");
        *preflight.method_mut() = Method::OPTIONS;
        preflight.headers_mut().insert("access-control-request-method", HeaderValue::from_static("GET"));
        let answer = Seen::of(client.send(preflight).await?).await;
        CORS.require(
            answer.status == StatusCode::OK && !answer.cors().is_empty(),
            format!("a CORS preflight got {answer}"),
        )?;
        gateway.scene.settle().await;
        gateway.has_entries(&["200 of /invoices/{id}"])?;

        gateway.access_log.close();
        let answer = gateway.ask(&client, "/invoices/7", "req-4", KNOWN).await?;
        LOG_MAY_STOP
            .require(answer.is_invoice_7(), format!("the access log stopped, and GET /invoices/7 got {answer}"))?;
    }
    Ok(())
}

fn leaves_the_rest_alone(app: App, limits: Limits<'_>) -> Shown {
    let (access_log, _entries) = unbounded_channel();
    let gateway = Subject::app(move |routes| {
        app(routes, Arc::new(|_| Some("acme".to_owned())), Arc::default(), access_log.clone())
    });
    let (proof, scenes) = the_rest(gateway, &contract(), &SHOULD, limits);
    (proof.or_else(|broken| PASSES_THROUGH.require(false, broken.to_string())), scenes)
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

/// What an arranged panic says, unless its payload is a number. No client may read any of it.
const MESSAGE: &str = "the invoice of Ada Byron has no lines";
const TELLING: [&str; 3] = ["Ada Byron", "no lines", file!()];
/// Keys that belong to a tenant, one that makes the look-up panic, and one that makes it panic with a number.
const KNOWN: &str = "acme.secret";
const ZENITH: &str = "zenith.secret";
const MISTYPED: &str = "acme";
const NUMBER: &str = "13";
/// One that makes it panic when something else was done meanwhile.
const MEANWHILE: &str = "later";
/// How many turns another thread gets to come to where it waits.
const TURNS: usize = 500;

type Meantime = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A thread comes and goes, so that others have their turn. It is no proof that they have done anything.
fn let_another_thread_run() {
    let _ = thread::spawn(|| ()).join();
}

/// What an arranged panic throws.
enum Payload {
    Literal,
    Formatted,
    Number,
}

impl Payload {
    fn panics(self) -> ! {
        match self {
            Self::Literal => panic_any(MESSAGE),
            Self::Formatted => panic_any(MESSAGE.to_owned()),
            Self::Number => panic_any(13_u32),
        }
    }
}

/// One gateway with its surroundings.
struct Gateway {
    scene: Scene,
    router: Router,
    meanwhile: Meantime,
    server: Server,
    in_flight: Arc<AtomicI64>,
    access_log: UnboundedReceiver<(String, StatusCode)>,
    exports: Exports,
    handler: Arc<Mutex<Handler>>,
    logs_seen: usize,
}

impl Gateway {
    fn open(scene: Scene, app: &App) -> Self {
        let in_flight = Arc::<AtomicI64>::default();
        let exports = Exports::default();
        let handler = Arc::new(Mutex::new(Handler::Idle));
        let (log, access_log) = unbounded_channel();
        let meanwhile = Meantime::default();
        let due = meanwhile.clone();
        let tenant = move |headers: &HeaderMap| match headers.get("x-api-key")?.to_str().ok()? {
            MISTYPED => Payload::Formatted.panics(),
            MEANWHILE => {
                let deed = locked(&due).take();
                deed.into_iter().for_each(|deed| deed());
                Payload::Formatted.panics()
            }
            NUMBER => Payload::Number.panics(),
            key => key.split_once('.').map(|(tenant, _)| tenant.to_owned()),
        };
        let routes = routes(&scene, exports.clone(), handler.clone());
        let router = app(routes, Arc::new(tenant), in_flight.clone(), log);
        let server = scene.serve(router.clone());
        Self { scene, router, meanwhile, server, in_flight, access_log, exports, handler, logs_seen: 0 }
    }

    /// A client that has seen the gateway work.
    async fn healthy(&self, lane: &str, protocol: Protocol) -> Result<Connection, Broken> {
        let client = self.server.connect(lane, protocol).await;
        let answer = self.ask(&client, "/invoices/7", "req-1", KNOWN).await?;
        control(answer.is_invoice_7(), format!("GET /invoices/7 got {answer}"))?;
        Ok(client)
    }

    /// The connection for the next request: after a panic the gateway may close one of HTTP/1.1.
    async fn after(&self, client: Connection, protocol: Protocol) -> Connection {
        match protocol {
            Protocol::Http1 => self.server.connect("next", protocol).await,
            Protocol::Http2 => client,
        }
    }

    /// A request that comes on another thread while the look-up of one is about to panic, and may wait for what that one holds.
    async fn another_comes_meanwhile(&self) -> Proof {
        let (router, scene, gauge) = (self.router.clone(), self.scene.clone(), self.in_flight.clone());
        let (hand_over, other) = mpsc::channel();
        let deed = move || {
            let over = Arc::new(AtomicBool::new(false));
            let is_over = over.clone();
            thread::spawn(move || {
                let mut asked = Box::pin(router.oneshot(asking("/invoices/7", "req-3", KNOWN)));
                let polled = scene.poll_elsewhere(&mut asked);
                over.store(true, Ordering::SeqCst);
                // Where the proof has ended nobody waits for it.
                let _ = hand_over.send((polled, asked));
            });
            // It has come when it is in flight, and then has a short way to wherever it waits, if it waits.
            let has_come = || gauge.load(Ordering::SeqCst) > 1;
            let mut turns = 0..TURNS;
            while !is_over.load(Ordering::SeqCst) && !has_come() && turns.next().is_some() {
                let_another_thread_run();
            }
            let mut turns = 0..TURNS;
            while !is_over.load(Ordering::SeqCst) && turns.next().is_some() {
                let_another_thread_run();
            }
        };
        *locked(&self.meanwhile) = Some(Box::new(deed));
        // What this one gets is another promise.
        let one = self.router.clone().oneshot(asking("/invoices/7", "req-2", MEANWHILE));
        drop(AssertUnwindSafe(one).catch_unwind().await);
        drop(locked(&self.meanwhile).take());
        let Ok((polled, asked)) = other.recv() else { return control(false, "the look-up was not asked for a tenant") };
        let Ok(answer) = match polled {
            Poll::Ready(answer) => answer,
            Poll::Pending => asked.await,
        };
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1024).await.unwrap_or_default();
        let observed = format!("a request that came while another's look-up panicked got {}", status.as_u16());
        NEXT_REQUEST_WORKS.require(status == StatusCode::OK && body == "invoice 7", observed)?;
        self.scene.settle().await;
        self.nothing_in_flight()
    }

    /// A 500 that no panic made, to compare with.
    async fn ordinary_500(&mut self, client: &Connection) -> Result<Seen, Broken> {
        let answer = self.ask(client, "/invoices/0", "req-1", KNOWN).await?;
        control(answer.status == StatusCode::INTERNAL_SERVER_ERROR, format!("GET /invoices/0 got {answer}"))?;
        self.scene.settle().await;
        let entries = self.entries();
        control(entries == ["500 of /invoices/{id}"], format!("for a 500 the access log has {}", all(&entries)))?;
        control(!answer.cors().is_empty(), "an ordinary 500 has no CORS headers")?;
        self.nothing_in_flight().map_err(|gauge| Broken::because(format!("even before the fault: {gauge}")))?;
        Ok(answer)
    }

    async fn ask(&self, client: &Connection, path: &str, id: &str, key: &str) -> Result<Seen, Broken> {
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
        GAUGE.require(gauge == 0, format!("no request was in flight and the gauge said {gauge}"))
    }

    /// The access log has one entry more: a 500 of `route`.
    fn recorded(&mut self, route: &str) -> Proof {
        let (entries, expected) = (self.entries(), format!("500 of {route}"));
        let observed = format!("expected one entry more in the access log, {expected}, got {}", all(&entries));
        ENTRIES.require(entries == [expected], observed)
    }

    /// The access log has these entries more.
    fn has_entries(&mut self, expected: &[&str]) -> Proof {
        let entries = self.entries();
        let observed = format!("expected in the access log {}, got {}", expected.join(", "), all(&entries));
        ENTRIES.require(entries == expected, observed)
    }

    fn no_connection_panicked(&self) -> Proof {
        let panicked =
            self.server.connections().into_iter().find(|watch| matches!(watch.ended, Some((_, EndedBy::Panic))));
        let client = panicked.map(|watch| watch.client);
        CONNECTION_SPARED.require(
            client.is_none(),
            format!("the body's panic unwound the connection of the {}", client.unwrap_or_default()),
        )
    }

    /// The events that have come since the last call.
    fn new_events(&mut self) -> Vec<LogLine> {
        let logs = self.scene.logs();
        let new = logs.get(self.logs_seen..).unwrap_or_default().to_vec();
        self.logs_seen = logs.len();
        new
    }

    /// The ERROR events among them.
    fn new_errors(&mut self) -> Vec<LogLine> {
        self.new_events().into_iter().filter(|line| line.level == Level::ERROR).collect()
    }

    /// Since the last call these tenants were billed, each for its request of this number.
    fn billed(&mut self, expected: &[(&str, u64)]) -> Proof {
        let bills = self.new_events();
        let bills = bills.iter().filter_map(|line| Some((field_of(line, "tenant")?, field_of(line, "requests")?)));
        let bills: Vec<String> = bills.map(|(tenant, number)| format!("request {number} of {tenant}")).collect();
        let expected: Vec<String> =
            expected.iter().map(|(tenant, number)| format!("request {number} of {tenant}")).collect();
        BILL.require(bills == expected, format!("expected to be billed: {}, got {}", all(&expected), all(&bills)))
    }

    /// Each of the requests `ids` has just panicked, and one ERROR event says what panicked, for whom and where.
    fn logged_once(&mut self, ids: &[&str], route: &str) -> Proof {
        let mut errors = self.new_errors();
        errors.retain(|line| line.carries(MESSAGE));
        let (count, expected) = (errors.len(), ids.len());
        PANIC_LOGGED_ONCE
            .require(count > 0, format!("no ERROR event carries the message of the panic, {MESSAGE:?}"))?;
        let observed = format!("{count} ERROR events carry the message of the panic, expected {expected}");
        PANIC_LOGGED_ONCE.require(count == expected, observed)?;
        ids.iter().try_for_each(|id| named(&errors, id, route))
    }

    /// The request `id` has just panicked, with nothing that an event could carry, so that any that names it will do.
    fn logged(&mut self, id: &str, route: &str) -> Proof {
        let logged = self.new_errors().iter().any(|line| line.mentions(id) && line.mentions(route));
        NAMES.require(logged, format!("no ERROR event names the request {id} and the route {route}"))
    }
}

/// The value of a field of an event.
fn field_of<'a>(line: &'a LogLine, name: &str) -> Option<&'a str> {
    line.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim_matches('"'))
}

fn named(errors: &[LogLine], id: &str, route: &str) -> Proof {
    let named = errors.iter().filter(|line| line.mentions(id) && line.mentions(route)).count();
    let observed = match named {
        0 => format!("no ERROR event of the panic names the request {id} and the route {route}"),
        _ => format!("{named} ERROR events of the panics name the request {id}, expected 1"),
    };
    NAMES.require(named == 1, observed)
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
        let failed = self.status == StatusCode::INTERNAL_SERVER_ERROR;
        PANIC_ANSWERED_WITH_BARE_500
            .require(failed, format!("expected 500 for the request that panicked, got {self}"))?;
        let headers = self.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let told = headers.chain([self.text.clone()]).find(|text| TELLING.iter().any(|word| text.contains(word)));
        NOTHING_TOLD.require(told.is_none(), format!("the answer tells every client {:?}", told.unwrap_or_default()))
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
        CORS.require(got == expected, observed)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "{} with an empty body", self.status.as_u16()),
            text => write!(f, "{} with {text:?}", self.status.as_u16()),
        }
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
    Panic(Payload),
}

impl Export {
    fn line(&self, line: &'static str) {
        // The body may be gone; the specification learns that from the client.
        let _ = self.steps.send(Step::Line(line));
    }

    fn panics(&self, payload: Payload) {
        let _ = self.steps.send(Step::Panic(payload));
    }
}

type Exports = Arc<Mutex<Vec<(String, UnboundedReceiver<Step>)>>>;

fn routes(scene: &Scene, exports: Exports, handler: Arc<Mutex<Handler>>) -> Router {
    let invoice = |Path(id): Path<u64>| async move {
        match id {
            0 => (StatusCode::INTERNAL_SERVER_ERROR, "the ledger is closed").into_response(),
            13 => Payload::Formatted.panics(),
            15 => Payload::Number.panics(),
            _ => format!("invoice {id}").into_response(),
        }
    };
    let clock = scene.clone();
    let crowd = move |Path(_): Path<u64>| panics_in_a_crowd(Meanwhile { scene: clock.clone() });
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
        let lines = stream::unfold(steps, |mut steps| async move {
            match steps.recv().await? {
                Step::Line(line) => Some((Ok::<_, std::io::Error>(Bytes::from(line)), steps)),
                Step::Panic(payload) => payload.panics(),
            }
        });
        Body::from_stream(lines).into_response()
    };
    Router::new()
        .route("/invoices/{id}", get(invoice))
        .route("/crowds/{id}", get(crowd))
        .route("/tenants", get(tenants))
        .route("/audits/{seconds}", get(audit))
        .route("/late/{ms}", get(late_panic))
        .route("/reports/{id}", get(report))
        .route("/exports/{id}", get(export))
}

/// Lets another thread panic, for a reason of its own, while the panic of the one that drops it unwinds.
struct Meanwhile {
    scene: Scene,
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        if thread::panicking() {
            self.scene.on_another_thread(|| drop(catch_unwind(|| panic_any("somebody else's business"))));
        }
    }
}

async fn panics_in_a_crowd(_meanwhile: Meanwhile) {
    Payload::Formatted.panics()
}

/// Says which tenants it is told.
async fn tenants(headers: HeaderMap) -> String {
    let told = headers.get_all("x-tenant").iter().map(|tenant| String::from_utf8_lossy(tenant.as_bytes()).into_owned());
    told.collect::<Vec<_>>().join(", ")
}

/// Takes its time.
async fn audit(Path(seconds): Path<u64>) -> String {
    sleep(Duration::from_secs(seconds)).await;
    format!("audited for {seconds} s")
}

/// Waits, then panics.
async fn late_panic(Path(ms): Path<u64>) {
    sleep(Duration::from_millis(ms)).await;
    Payload::Literal.panics()
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
