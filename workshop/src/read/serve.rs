//! One twin on a real socket.

use std::{
    convert::Infallible,
    future::{poll_fn, ready},
    io,
    path::Path,
    task::Poll,
    time::Duration,
};

use axum::{Extension, Router, extract::ConnectInfo, serve::IncomingStream};
use serde::Serialize;
use tokio::{net::TcpListener, runtime, signal, sync::oneshot};
use tower::service_fn;
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

use crate::{
    Refusal,
    catalogue::{
        case::{self, Case},
        ghosts::Ghost,
        log_file,
        typed::typed,
    },
    checkout::Checkout,
    terminal::{print, print_json, wrapped},
};

/// How long requests in flight may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Serving<'a> {
    schema: u32,
    slug: &'static str,
    twin: &'static str,
    base: &'a str,
}

/// Serves until Ctrl-C.
///
/// # Errors
/// If the port is taken, the address cannot be bound, or the log cannot go where it is to go.
pub fn run(
    checkout: &Checkout,
    ghost: &Ghost,
    fixed: bool,
    port: u16,
    log_path: Option<&Path>,
    json: bool,
) -> Result<bool, Refusal> {
    if log_path.is_some() && ghost.slug != log_file::OF {
        return Err(Refusal::new(format!("--log is for {}; {} has no log of its own", log_file::OF, ghost.slug)));
    }
    let case = case::read(checkout, ghost.slug)?;
    // The app's log goes to standard error, where the supplied parts tell what they do as well.
    log(io::stderr).init();
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::new(format!("cannot start a runtime: {error}")))?;
    let served = runtime.block_on(async {
        let app = match log_path {
            Some(path) => log_file::serve(fixed, path)?,
            None => ghost.serve(fixed),
        };
        let listener = bind(port).await?;
        let mut interrupted = Box::pin(signal::ctrl_c());
        // The first poll sets the handler up: whoever reads our first line may interrupt us.
        let _ = poll_fn(|cx| Poll::Ready(interrupted.as_mut().poll(cx))).await;
        let address = listener.local_addr().map_err(|error| Refusal::new(format!("cannot read the port: {error}")))?;
        let base = format!("http://{address}");
        if json {
            let twin = if fixed { "fixed" } else { "broken" };
            print_json(&Serving { schema: 1, slug: ghost.slug, twin, base: &base })?;
        } else {
            print(&invitation(ghost, &case, fixed, &base))?;
        }
        until(listener, app, async { drop(interrupted.await) }).await
    });
    runtime.shutdown_background();
    served?;
    if !json {
        print("\nthe ghost is gone\n")?;
    }
    Ok(true)
}

/// How the app's log is told: a line an event, without times, which differ each time, and without targets.
pub(crate) fn log<W>(writer: W) -> impl SubscriberInitExt
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_writer(writer).with_ansi(false).without_time().with_target(false).finish()
}

/// Serves `app` until `stop` ends; what is in flight then may go on for a second.
///
/// # Errors
/// If connections can no longer be accepted.
pub async fn until(
    listener: TcpListener,
    app: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Refusal> {
    // As `axum::serve` makes it of a bare router, anew for each connection, and with its peer: a service that all connections
    // have in common would hide a layer whose state is not.
    let app = service_fn(move |stream: IncomingStream<'_, TcpListener>| {
        let peer = Extension(ConnectInfo(*stream.remote_addr()));
        ready(Ok::<Router, Infallible>(app.clone().layer(peer).with_state(())))
    });
    let (stopping, stopped) = oneshot::channel();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop.await;
        // The other end waits for nothing else.
        let _ = stopping.send(());
    });
    tokio::select! {
        served = serving => served.map_err(|error| Refusal::new(format!("cannot serve: {error}"))),
        // A stream that never ends must not keep the server from ending.
        () = async { drop(stopped.await); tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

/// Listens on a port of 127.0.0.1; 0 takes any free one.
///
/// # Errors
/// If the port is taken or may not be used.
pub async fn bind(port: u16) -> Result<TcpListener, Refusal> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        Refusal::new(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("port {port} is taken; choose another with --port N, or --port 0 for any free one")
            }
            io::ErrorKind::PermissionDenied => {
                format!("port {port} may not be used; choose one above 1023 with --port N")
            }
            _ => format!("cannot listen on 127.0.0.1:{port}: {error}"),
        })
    })
}

fn invitation(ghost: &Ghost, case: &Case, fixed: bool, base: &str) -> String {
    let (twin, other) = if fixed { ("fixed", "") } else { ("broken", " --fixed") };
    let laid = if fixed { "Laid to rest here: " } else { "" };
    let mut text = format!("{}, {twin} twin, on {base}\n", ghost.slug);
    text.push_str(&wrapped(&format!("{laid}{}", case.symptom), ""));
    text.push_str("\nIn a second terminal:\n");
    for line in &case.tries {
        text.push_str(&format!("\n  {}\n", typed(&line.curl, base).replace('\n', "\n  ")));
        text.push_str(&wrapped(&line.shows, "    "));
    }
    if ghost.slug == log_file::OF {
        text.push_str(&format!("\n{}", wrapped(log_file::TOLD, "")));
    }
    text.push_str(&format!("\nCtrl-C stops it. The other twin: cargo ghosts serve {}{other}\n", ghost.slug));
    text
}
