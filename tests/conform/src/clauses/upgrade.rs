//! Connections that change hands.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::{body::Incoming, ext::Protocol, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use lab::Scene;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};
use tower::ServiceExt;

use super::{
    Clause, Level,
    wire::{NO_CLONE, app},
};
use crate::{
    probe::{Answering, Handler},
    stand::{Fall, Proof, SOON, Stand, needs, require_but},
};

pub(super) const ALL: &[Clause] = &[UPGRADE_PASSES, EXTENDED_CONNECT_PASSES];

/// Takes the connection over, if it is offered, and sends back what comes.
fn echo(status: StatusCode) -> Handler {
    Arc::new(move |scene: Scene, mut request: Request<Body>| -> Answering {
        Box::pin(async move {
            let upgrade = hyper::upgrade::on(&mut request);
            let protocol = request.extensions().get::<Protocol>().is_some();
            let noting = scene.clone();
            scene.spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                noting.note("service", "takes the connection over");
                let mut io = TokioIo::new(upgraded);
                let mut buffer = [0; 4];
                if io.read_exact(&mut buffer).await.is_ok() {
                    // A client that is gone wants no echo.
                    let _ = io.write_all(&buffer).await;
                }
                std::future::pending::<()>().await;
            });
            let mut answer = Response::default();
            *answer.status_mut() = status;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
                answer.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
            } else if !protocol {
                *answer.status_mut() = StatusCode::BAD_REQUEST;
            }
            Ok(answer)
        })
    })
}

const UPGRADE_PASSES: Clause = Clause {
    key: "upgrade-passes",
    sentence: "An HTTP/1.1 upgrade goes through: the inner service takes the connection over, and bytes pass both ways.",
    level: Level::Should,
    source: "RFC 9110 section 7.8; hyper 1, upgrade::on: the request's extensions carry it",
    ghost: None,
    prove: |stand| Box::pin(upgrade_passes(stand)),
};

async fn upgrade_passes(stand: Stand) -> Proof {
    needs(stand.subject.clonable, NO_CLONE)?;
    let scene = stand.lab.scene("GET with upgrade: echo");
    let (mut client, server) = tokio::io::duplex(16 * 1024);
    serve(&stand, &scene, server, lab::Protocol::Http1, StatusCode::SWITCHING_PROTOCOLS);
    let head = b"GET /probe/1 HTTP/1.1\r\nhost: ghost.test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut answer = Vec::new();
    let talk = async {
        client.write_all(head).await.ok()?;
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(client.read_u8().await.ok()?);
        }
        client.write_all(b"ping").await.ok()?;
        let mut echo = [0; 4];
        client.read_exact(&mut echo).await.ok()?;
        Some(echo)
    };
    let echo = timeout(SOON, talk).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let line = answer.lines().next().unwrap_or_default();
    scene.note("client", format!("gets {line}"));
    let told = format!("the inner service answered 101, and the client got {line:?}");
    require_but(line.starts_with("HTTP/1.1 101"), "response-head-kept", told)?;
    require_but(echo == Ok(Some(*b"ping")), "extensions-kept", "the client got 101, and no byte came back")
}

const EXTENDED_CONNECT_PASSES: Clause = Clause {
    key: "extended-connect-passes",
    sentence: "An extended CONNECT of HTTP/2 goes through: the inner service sees its protocol and takes the stream over, and \
               bytes pass both ways.",
    level: Level::Should,
    source: "RFC 8441; hyper 1, ext::Protocol and upgrade::on",
    ghost: None,
    prove: |stand| Box::pin(extended_connect_passes(stand)),
};

async fn extended_connect_passes(stand: Stand) -> Proof {
    needs(stand.subject.clonable, NO_CLONE)?;
    let scene = stand.lab.scene("CONNECT with :protocol websocket");
    let (client, server) = tokio::io::duplex(16 * 1024);
    serve(&stand, &scene, server, lab::Protocol::Http2, StatusCode::OK);
    let http2 = hyper::client::conn::http2::Builder::new(Tasks(scene.clone()));
    let handshake = http2.handshake::<_, Body>(TokioIo::new(client)).await;
    let (mut sender, connection) = handshake.map_err(|_| Fall::because("no handshake"))?;
    scene.spawn(async move { drop(connection.await) });
    // The server's settings, which allow it, come first.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://ghost.test/chat".parse().expect("a uri");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let Ok(Ok(answer)) = timeout(SOON, sender.send_request(request)).await else {
        return Err(Fall::because("the inner service answered, and the client got no answer"));
    };
    let status = answer.status();
    scene.note("client", format!("gets {status}"));
    let told = match status {
        StatusCode::BAD_REQUEST => "the inner service did not see the protocol".to_owned(),
        status => format!("the inner service answered 200, and the client got {status}"),
    };
    require_but(status == StatusCode::OK, "extensions-kept", told)?;
    let talk = async {
        let mut io: TokioIo<Upgraded> = TokioIo::new(hyper::upgrade::on(answer).await.ok()?);
        io.write_all(b"ping").await.ok()?;
        let mut echo = [0; 4];
        io.read_exact(&mut echo).await.ok()?;
        Some(echo)
    };
    let echo = timeout(SOON, talk).await;
    require_but(echo == Ok(Some(*b"ping")), "extensions-kept", "the client got 200, and no byte came back")
}

/// The laboratory's servers do not let go of their connections; this one does.
fn serve(stand: &Stand, scene: &Scene, io: DuplexStream, protocol: lab::Protocol, status: StatusCode) {
    let router = app(stand, &stand.subject, scene, echo(status));
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let io = TokioIo::new(io);
    let tasks = Tasks(scene.clone());
    scene.spawn(async move {
        // How the connection ended is seen by the client.
        let _ = match protocol {
            lab::Protocol::Http1 => {
                let mut http1 = hyper::server::conn::http1::Builder::new();
                http1.auto_date_header(false).serve_connection(io, service).with_upgrades().await
            }
            lab::Protocol::Http2 => {
                let mut http2 = hyper::server::conn::http2::Builder::new(tasks);
                http2.auto_date_header(false).enable_connect_protocol().serve_connection(io, service).await
            }
        };
    });
}

/// Runs what hyper spawns as tasks of the scene.
#[derive(Clone)]
struct Tasks(Scene);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
