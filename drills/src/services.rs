//! The services of a drill: each twin among surroundings that on-call can look at.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::{Path, Request},
    http::{HeaderMap, Method, StatusCode},
    response::IntoResponse,
    routing::{any, get, post, put},
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::{Semaphore, mpsc, watch},
    time::sleep,
};
use tower::{
    ServiceBuilder, service_fn,
    util::{BoxCloneSyncService, BoxCloneSyncServiceLayer, BoxService},
};

use crate::{
    also_right, locked,
    part::{How, Part},
};

/// Which twin is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The broken one.
    Broken,
    /// The fixed one.
    Fixed,
    /// The near miss of this name.
    NearMiss(&'static str),
    /// The right fix of this name that is not ours. Only who measures asks for it.
    AlsoRight(&'static str),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "broken",
            Self::Fixed => "fixed",
            Self::NearMiss(name) | Self::AlsoRight(name) => name,
        })
    }
}

impl Which {
    fn of<A: Copy>(self, near_misses: &[(&str, A)], also_right: &[(&str, A)], broken: A, fixed: A) -> A {
        let (name, known, otherwise) = match self {
            Self::Broken => return broken,
            Self::Fixed => return fixed,
            Self::NearMiss(name) => (name, near_misses, broken),
            Self::AlsoRight(name) => (name, also_right, fixed),
        };
        known.iter().find(|(known, _)| *known == name).map_or(otherwise, |(_, app)| *app)
    }
}

/// Serves a twin among its surroundings.
pub(crate) type Serve = fn(which: Which, part: &Part) -> Router;

/// Every ghost that can be drilled.
pub(crate) const ALL: [(&str, Serve); 17] = [
    ("blocked-log-channel", dispatch),
    ("body-double-close", spool),
    ("broken-chain", room),
    ("cancelled-cleanup", editor),
    ("closure-captured-state", desk),
    ("extension-collision", mail),
    ("hidden-flush", builds),
    ("ignored-deadline", checkout),
    ("layer-order", portal),
    ("leaked-permit", stock),
    ("lying-health-check", orders),
    ("no-bulkhead", shop),
    ("orphan-task", boards),
    ("silenced-error", invoices),
    ("swallowed-panic", ledger),
    ("unread-body", gate),
    ("unready-clone", prints),
];

/// The service that this ghost haunts.
pub(crate) fn of(slug: &str) -> Option<Serve> {
    ALL.iter().find(|(known, _)| *known == slug).map(|(_, serve)| *serve)
}

/// The names of the right fixes of this ghost that are not ours.
pub(crate) fn also_right(slug: &str) -> Vec<&'static str> {
    also_right::ALL.iter().filter(|(known, _)| *known == slug).flat_map(|(_, names)| names.iter().copied()).collect()
}

/// Eight connections; mugs are refused.
fn stock(which: Which, part: &Part) -> Router {
    let app = which.of(
        leaked_permit::near_misses::ALL,
        also_right::LEAKED_PERMIT,
        leaked_permit::app,
        leaked_permit_fixed::app,
    );
    let part = part.clone();
    let connect = service_fn(move |()| {
        let part = part.clone();
        let mut page = 0;
        let connection = service_fn(move |query: String| {
            page = if query == "more" { page + 1 } else { 1 };
            let (call, page) = (part.call(query.clone()), page);
            async move {
                sleep(Duration::from_millis(8)).await;
                if query == "stock mugs" {
                    call.ends(How::Failed);
                    return Err(BoxError::from("lock timeout"));
                }
                call.ends(How::Served);
                Ok(if page > 3 { Vec::new() } else { vec![format!("{page} on shelf {page}")] })
            }
        });
        async move { Ok::<_, BoxError>(BoxService::new(connection)) }
    });
    app(8, Duration::from_millis(800), BoxCloneSyncService::new(connect))
}

/// A bank that takes three seconds for an order from abroad.
fn checkout(which: Which, part: &Part) -> Router {
    let app = which.of(
        ignored_deadline::near_misses::ALL,
        also_right::IGNORED_DEADLINE,
        ignored_deadline::app,
        ignored_deadline_fixed::app,
    );
    let bank = {
        let part = part.clone();
        Router::new().fallback(move |request: Request| {
            let part = part.clone();
            async move {
                let call = part.call(format!("{} {}", request.method(), request.uri().path()));
                let slow = request.uri().path().ends_with("-abroad");
                sleep(Duration::from_millis(if slow { 3000 } else { 60 })).await;
                call.ends(How::Served);
                StatusCode::OK
            }
        })
    };
    let seal = Arc::new(|order: &str| format!("sealed {order}\n"));
    let (ledger, mut entries) = mpsc::unbounded_channel();
    let part = part.clone();
    // It is the ledger's own, and ends with the service.
    tokio::spawn(async move {
        while let Some(order) = entries.recv().await {
            part.says(format!("ledger: charged {order}"));
        }
    });
    app(bank, seal, ledger, Duration::from_millis(800))
}

/// An archive that cannot read invoice 13, and breaks off in the middle of invoice 21.
fn invoices(which: Which, part: &Part) -> Router {
    let app = which.of(
        silenced_error::near_misses::ALL,
        also_right::SILENCED_ERROR,
        silenced_error::app,
        silenced_error_fixed::app,
    );
    let failure = || io::Error::other("segment 4 of the archive has a wrong checksum");
    let part = part.clone();
    app(BoxCloneSyncService::new(service_fn(move |number: String| {
        let call = part.call(format!("read {number}"));
        let part = part.clone();
        async move {
            sleep(Duration::from_millis(20)).await;
            match number.as_str() {
                "13" => {
                    call.ends(How::Failed);
                    part.says("archive: read 13: segment 4 has a wrong checksum");
                    Err(failure())
                }
                "21" => {
                    let lines = stream::unfold((0, Some(call)), move |(line, mut call)| {
                        let part = part.clone();
                        async move {
                            sleep(Duration::from_millis(100 * line)).await;
                            let text = Bytes::from_static(b"invoice 21: 2150\n");
                            if line > 0
                                && let Some(call) = call.take()
                            {
                                call.ends(How::Failed);
                                part.says("archive: read 21: segment 4 has a wrong checksum");
                            }
                            Some((if line == 0 { Ok(text) } else { Err(failure()) }, (line + 1, call)))
                        }
                    });
                    Ok(Body::from_stream(lines))
                }
                _ => {
                    call.ends(How::Served);
                    Ok(Body::from(format!("invoice {number}: 1900\n")))
                }
            }
        }
    })))
}

/// A database that is out of reach for half a minute of each.
fn orders(which: Which, part: &Part) -> Router {
    let app = which.of(
        lying_health_check::near_misses::ALL,
        also_right::LYING_HEALTH_CHECK,
        lying_health_check::app,
        lying_health_check_fixed::app,
    );
    let part = part.clone();
    let database = Router::new().fallback(move |request: Request| {
        let part = part.clone();
        async move {
            let call = part.call(format!("{} {}", request.method(), request.uri().path()));
            sleep(Duration::from_millis(15)).await;
            if part.second() % 60.0 >= 25.0 {
                call.ends(How::Failed);
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            call.ends(How::Served);
            "order 4711 is taken\n".into_response()
        }
    });
    app(database, Arc::new(Semaphore::new(16)), Duration::from_millis(500))
}

/// A shipper of lines that stops reading for most of each minute.
fn dispatch(which: Which, part: &Part) -> Router {
    let app = which.of(
        blocked_log_channel::near_misses::ALL,
        also_right::BLOCKED_LOG_CHANNEL,
        blocked_log_channel::app,
        blocked_log_channel_fixed::app,
    );
    let routes = Router::new().route(
        "/orders/{number}",
        get(async |Path(number): Path<String>| {
            sleep(Duration::from_millis(40)).await;
            format!("order {number} is on its way\n")
        }),
    );
    let (log, end) = tokio::io::duplex(256);
    let (stop, stopping) = watch::channel(false);
    let lost = Arc::new(AtomicU64::new(0));
    let (part, told) = (part.clone(), lost.clone());
    tokio::spawn(async move {
        let mut lines = BufReader::with_capacity(64, end).lines();
        let mut lost = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            let call = part.call(format!("ship {line}"));
            while (25.0..55.0).contains(&(part.second() % 60.0)) {
                sleep(Duration::from_millis(20)).await;
            }
            call.ends(How::Served);
            let now = told.load(SeqCst);
            if now > lost {
                part.says(format!("shipper: {} lines lost", now - lost));
                lost = now;
            }
        }
        // The switch goes with the shipper.
        drop(stop);
    });
    app(routes, log, lost, 16, stopping, Duration::from_secs(2))
}

/// Orders, and reports that take four seconds.
fn shop(which: Which, part: &Part) -> Router {
    let app =
        which.of(no_bulkhead::near_misses::ALL, also_right::NO_BULKHEAD, no_bulkhead::app, no_bulkhead_fixed::app);
    let router = |class: &'static str, takes: Duration| {
        let part = part.clone();
        Router::new().route(
            "/{*path}",
            any(move |method: Method, Path(path): Path<String>| {
                let part = part.clone();
                async move {
                    let call = part.call(format!("{class}: {method} {path}"));
                    sleep(takes).await;
                    call.ends(How::Served);
                    format!("{class}: {path} is done\n")
                }
            }),
        )
    };
    let (orders, reports) = (router("orders", Duration::from_millis(60)), router("reports", Duration::from_secs(4)));
    app(orders, reports, 8, 2, Duration::from_millis(500))
}

/// Boards that say something once a second, for as long as somebody is subscribed.
fn boards(which: Which, part: &Part) -> Router {
    let app =
        which.of(orphan_task::near_misses::ALL, also_right::ORPHAN_TASK, orphan_task::app, orphan_task_fixed::app);
    let part = part.clone();
    let upstream = service_fn(move |board: String| {
        let call = part.call(format!("subscribe {board}"));
        async move {
            let (sender, receiver) = mpsc::channel(16);
            tokio::spawn(async move {
                let talk = async {
                    for second in 0.. {
                        if sender.send(format!("{board}, {second} s")).await.is_err() {
                            return;
                        }
                        sleep(Duration::from_secs(1)).await;
                    }
                };
                tokio::select! {
                    () = talk => {}
                    () = sender.closed() => {}
                }
                call.ends(How::Served);
            });
            Ok::<_, BoxError>(receiver)
        }
    });
    app(BoxCloneSyncService::new(upstream), Arc::new(str::to_uppercase))
}

/// Build logs of four lines, a third of a second apart.
fn builds(which: Which, part: &Part) -> Router {
    let app =
        which.of(hidden_flush::near_misses::ALL, also_right::HIDDEN_FLUSH, hidden_flush::app, hidden_flush_fixed::app);
    let part = part.clone();
    let log = move |Path(build): Path<String>| {
        let call = part.call(format!("log {build}"));
        let part = part.clone();
        async move {
            let lines = ["fetching 41 crates", "compiling", "running 118 tests", "build passed"].into_iter();
            let lines = stream::unfold((lines, Some(call)), move |(mut lines, mut call)| {
                let (part, build) = (part.clone(), build.clone());
                async move {
                    let Some(line) = lines.next() else {
                        if let Some(call) = call.take() {
                            call.ends(How::Served);
                        }
                        return None;
                    };
                    sleep(Duration::from_millis(330)).await;
                    part.says(format!("build {build}: {line}"));
                    Some((Ok::<_, Infallible>(format!("{line}\n")), (lines, call)))
                }
            });
            ([("content-type", "text/plain")], Body::from_stream(lines)).into_response()
        }
    };
    app(Router::new().route("/builds/{build}/log", get(log)))
}

/// Invoices of which number 13 panics, and a key without a dot, which panics in the look-up.
fn ledger(which: Which, part: &Part) -> Router {
    let app = which.of(
        swallowed_panic::near_misses::ALL,
        also_right::SWALLOWED_PANIC,
        swallowed_panic::app,
        swallowed_panic_fixed::app,
    );
    let (log, mut access_log) = mpsc::unbounded_channel::<(String, StatusCode)>();
    let told = part.clone();
    tokio::spawn(async move {
        while let Some((route, status)) = access_log.recv().await {
            told.says(format!("access log: {} {route}", status.as_u16()));
        }
    });
    let part = part.clone();
    let invoice = move |Path(id): Path<u64>| {
        let call = part.call(format!("book {id}"));
        async move {
            sleep(Duration::from_millis(25)).await;
            let lines: &[u64] = if id == 13 { &[] } else { &[1900, 250] };
            let text = format!("invoice {id}: {} + {}\n", lines[0], lines[1]);
            call.ends(How::Served);
            text
        }
    };
    let tenant = |headers: &HeaderMap| {
        let key = headers.get("x-api-key")?.to_str().ok()?;
        let (tenant, _) = key.split_once('.').expect("a key is a tenant, a dot and a secret");
        Some(tenant.to_owned())
    };
    app(Router::new().route("/invoices/{id}", get(invoice)), Arc::new(tenant), Arc::default(), log)
}

/// An editor that takes 120 ms to save, and a service of locks.
fn editor(which: Which, part: &Part) -> Router {
    let app = which.of(
        cancelled_cleanup::near_misses::ALL,
        also_right::CANCELLED_CLEANUP,
        cancelled_cleanup::app,
        cancelled_cleanup_fixed::app,
    );
    let save = async |Path(document): Path<String>, text: String| {
        sleep(Duration::from_millis(120)).await;
        format!("{document} is saved, {} bytes\n", text.len())
    };
    let held = Arc::new(Mutex::new(BTreeMap::<String, String>::new()));
    let part = part.clone();
    let locks = move |Path(document): Path<String>, method: Method, headers: HeaderMap| {
        let call = part.call(format!("lock: {method} {document}"));
        let lease = headers.get("x-lease").map(|lease| String::from_utf8_lossy(lease.as_bytes()).into_owned());
        let lease = lease.unwrap_or_default();
        let mut held = locked(&held);
        let owner = held.get(&document).cloned();
        let status = match (&method, owner) {
            (&Method::PUT, None) => {
                held.insert(document, lease);
                StatusCode::CREATED
            }
            (&Method::PUT, Some(_)) => StatusCode::LOCKED,
            (_, Some(owner)) if owner == lease => {
                held.remove(&document);
                StatusCode::NO_CONTENT
            }
            _ => StatusCode::NOT_FOUND,
        };
        call.ends(if status == StatusCode::LOCKED { How::Failed } else { How::Served });
        std::future::ready(status)
    };
    let (drain, mut drained) = mpsc::channel::<Infallible>(1);
    // Whoever cleans up has a clone of the other end.
    tokio::spawn(async move { drained.recv().await });
    let routes = Router::new().route("/documents/{document}", put(save));
    app(routes, Router::new().route("/locks/{document}", any(locks)), Duration::from_secs(2), drain)
}

/// A store that takes sixty connections, and answers `failing` with an error of 2 KiB.
fn gate(which: Which, part: &Part) -> Router {
    let app =
        which.of(unread_body::near_misses::ALL, also_right::UNREAD_BODY, unread_body::app, unread_body_fixed::app);
    let (part, open) = (part.clone(), Arc::new(Semaphore::new(60)));
    app(BoxCloneSyncService::new(service_fn(move |()| {
        let (part, place) = (part.clone(), open.clone().try_acquire_owned());
        async move {
            let connection = part.call("connection");
            let Ok(place) = place else {
                connection.ends(How::Failed);
                return Err(io::Error::other("the store takes no more connections"));
            };
            let (near, far) = tokio::io::duplex(512);
            let store = move |request: Request| {
                let call = part.call(format!("{} {}", request.method(), request.uri().path()));
                async move {
                    sleep(Duration::from_millis(15)).await;
                    if request.uri().path() == "/failing" {
                        call.ends(How::Failed);
                        return (StatusCode::INTERNAL_SERVER_ERROR, "a rack is on fire\n".repeat(120)).into_response();
                    }
                    call.ends(How::Served);
                    "three letters\n".into_response()
                }
            };
            let store = TowerToHyperService::new(Router::new().fallback(store));
            tokio::spawn(async move {
                let _place = place;
                // A connection that breaks off is one that is closed.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(far), store).await;
                connection.ends(How::Served);
            });
            Ok(near)
        }
    })))
}

/// A reading room whose register has each visit open until it is closed.
fn room(which: Which, part: &Part) -> Router {
    let app =
        which.of(broken_chain::near_misses::ALL, also_right::BROKEN_CHAIN, broken_chain::app, broken_chain_fixed::app);
    let (register, mut entries) = mpsc::unbounded_channel::<(String, String, Option<StatusCode>)>();
    let part = part.clone();
    tokio::spawn(async move {
        let mut visits = HashMap::new();
        while let Some((id, what, status)) = entries.recv().await {
            part.says(format!(
                "register: {id} {what} {}",
                status.map_or_else(String::new, |status| status.to_string())
            ));
            if what == "opened" {
                visits.insert(id.clone(), part.call(format!("visit {id}")));
            } else if let Some(visit) = visits.remove(&id) {
                visit.ends(if what == "closed" { How::Served } else { How::GivenUp });
            }
        }
    });
    let record = async |Path(id): Path<u64>| {
        sleep(Duration::from_millis(30)).await;
        format!("record {id}: a deed of sale\n")
    };
    let records = Router::new().route("/records/{id}", get(record));
    app(records, Router::new(), register, 1024, Duration::from_secs(2))
}

/// A warehouse that takes 120 ms for each question, and an access log.
fn desk(which: Which, part: &Part) -> Router {
    let app = which.of(
        closure_captured_state::near_misses::ALL,
        also_right::CLOSURE_CAPTURED_STATE,
        closure_captured_state::app,
        closure_captured_state_fixed::app,
    );
    let (log, mut access_log) = mpsc::unbounded_channel::<(String, String, StatusCode)>();
    let told = part.clone();
    tokio::spawn(async move {
        while let Some((user, log_id, status)) = access_log.recv().await {
            told.says(format!("access log: {} for {user}, {log_id}", status.as_u16()));
        }
    });
    let part = part.clone();
    let warehouse = move |request: Request| {
        let (list, user) = (request.uri().path().trim_start_matches('/').to_owned(), header(&request, "x-user"));
        let call = part.call(format!("{list} of {user}"));
        async move {
            sleep(Duration::from_millis(120)).await;
            call.ends(How::Served);
            format!("{list} of {user}\n")
        }
    };
    app(Router::new().fallback(warehouse), log)
}

/// A store of letters. Ada may read Bob's, and nobody else may read another's.
fn mail(which: Which, part: &Part) -> Router {
    let app = which.of(
        extension_collision::near_misses::ALL,
        also_right::EXTENSION_COLLISION,
        extension_collision::app,
        extension_collision_fixed::app,
    );
    let may_read = |caller: &str, mailbox: &str| caller == mailbox || (caller, mailbox) == ("ada", "bob");
    let (audit, mut trail) = mpsc::unbounded_channel::<(String, String, StatusCode)>();
    let told = part.clone();
    tokio::spawn(async move {
        while let Some((caller, mailbox, status)) = trail.recv().await {
            told.says(format!("audit: {caller} asked about {mailbox}: {}", status.as_u16()));
        }
    });
    let part = part.clone();
    let store = move |request: Request| {
        let (caller, mailbox) = (header(&request, "x-caller"), header(&request, "x-mailbox"));
        let call = part.call(format!("{} of {mailbox}, for {caller}", request.uri().path()));
        async move {
            sleep(Duration::from_millis(20)).await;
            call.ends(How::Served);
            format!("three letters to {mailbox}\n")
        }
    };
    app(Arc::new(may_read), Router::new().fallback(store), audit)
}

/// An album that is told which slot each picture is in, works on for 80 ms, and takes no films.
fn spool(which: Which, part: &Part) -> Router {
    let app = which.of(
        body_double_close::near_misses::ALL,
        also_right::BODY_DOUBLE_CLOSE,
        body_double_close::app,
        body_double_close_fixed::app,
    );
    let (audit, mut lines) = mpsc::unbounded_channel::<(usize, u64, String)>();
    let told = part.clone();
    tokio::spawn(async move {
        while let Some((slot, bytes, outcome)) = lines.recv().await {
            told.says(format!("audit: slot {slot}, {bytes} bytes, {outcome}"));
        }
    });
    let (part, written) = (part.clone(), Arc::new(Mutex::new(BTreeMap::<String, String>::new())));
    let store = move |Path(name): Path<String>, request: Request| {
        let (part, written) = (part.clone(), written.clone());
        async move {
            if name.ends_with(".mov") {
                return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "no films\n").into_response();
            }
            let slot = header(&request, "x-slot");
            let call = part.call(format!("write {name} into slot {slot}"));
            let other = locked(&written).insert(slot.clone(), name.clone());
            let mut body = request.into_body();
            let mut whole = true;
            while let Some(frame) = body.frame().await {
                whole &= frame.is_ok();
            }
            {
                let mut written = locked(&written);
                if written.get(&slot) == Some(&name) {
                    written.remove(&slot);
                }
            }
            match other {
                Some(other) => {
                    part.says(format!("store: {name} and {other} were both written into slot {slot}"));
                    call.ends(How::Failed);
                }
                None if whole => call.ends(How::Served),
                None => drop(call),
            }
            // What it reads of the picture now, it reads from the slot.
            sleep(Duration::from_millis(80)).await;
            drop(body);
            format!("{name} is in the album\n").into_response()
        }
    };
    app(24, Router::new().route("/uploads/{name}", post(store)), audit)
}

/// Notes of patients. Identity knows Ada and Bob, and takes three seconds for Bob.
fn portal(which: Which, part: &Part) -> Router {
    let app =
        which.of(layer_order::near_misses::ALL, also_right::LAYER_ORDER, layer_order::app, layer_order_fixed::app);
    let notes = get(async || "2 pills in the morning\n").post(async |note: String| format!("noted: {note}\n"));
    let asked = part.clone();
    let verify = move |headers: HeaderMap| {
        let user = headers.get("authorization").map(|user| String::from_utf8_lossy(user.as_bytes()).into_owned());
        let user = user.unwrap_or_default();
        let call = asked.call(format!("verify {user}"));
        async move {
            sleep(Duration::from_millis(if user == "Bearer bob" { 3000 } else { 40 })).await;
            call.ends(How::Served);
            if ["Bearer ada", "Bearer bob"].contains(&&*user) { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
        }
    };
    let (access_log, mut logged) = mpsc::unbounded_channel::<(String, String, StatusCode)>();
    let (audit, mut audited) = mpsc::unbounded_channel::<(String, Vec<u8>)>();
    let part = part.clone();
    tokio::spawn(async move {
        let id = |id: String| if id.is_empty() { "no id".to_owned() } else { format!("id {id}") };
        loop {
            tokio::select! {
                Some((of, path, status)) = logged.recv() => {
                    part.says(format!("access log: {}, {} {path}", id(of), status.as_u16()));
                }
                Some((of, body)) = audited.recv() => {
                    if !body.is_empty() {
                        part.says(format!("audit trail: {}, {:?}", id(of), String::from_utf8_lossy(&body)));
                    }
                }
                else => return,
            }
        }
    });
    let (routes, identity) = (Router::new().route("/notes", notes), Router::new().route("/verify", post(verify)));
    app(routes, identity, Arc::new(Semaphore::new(1 << 20)), access_log, audit, Duration::from_millis(800), 1024)
}

/// A print shop that prints labels, and two reports at a time.
fn prints(which: Which, part: &Part) -> Router {
    let layer = which.of(
        unready_clone::near_misses::ALL,
        also_right::UNREADY_CLONE,
        || BoxCloneSyncServiceLayer::new(unready_clone::layer()),
        || BoxCloneSyncServiceLayer::new(unready_clone_fixed::layer()),
    )();
    let print = |what: &'static str, takes: Duration| {
        let part = part.clone();
        get(move |Path(number): Path<u64>| {
            let call = part.call(format!("print {what} {number}"));
            async move {
                sleep(takes).await;
                call.ends(How::Served);
                format!("{what} {number} is printed\n")
            }
        })
    };
    let failed = async |error: BoxError| (StatusCode::BAD_GATEWAY, format!("{error}\n"));
    let labels = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(failed))
        .layer(&layer)
        .layer_fn(unready_clone::near_misses::Inner::new)
        .map_err(BoxError::from)
        .service(print("label", Duration::from_millis(25)));
    let reports = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(failed))
        .layer(&layer)
        .layer_fn(unready_clone::near_misses::Inner::new)
        .concurrency_limit(2)
        .map_err(BoxError::from)
        .service(print("report", Duration::from_millis(120)));
    Router::new().route_service("/labels/{number}", labels).route_service("/reports/{number}", reports)
}

fn header(request: &Request, name: &str) -> String {
    let value = request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    value.unwrap_or_else(|| "nobody".to_owned())
}
