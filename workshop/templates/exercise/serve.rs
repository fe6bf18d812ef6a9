//! Serves the exercise on 127.0.0.1 until Ctrl-C: `cargo run --example serve [PORT]`. The app's log goes to standard error.

use std::{convert::Infallible, env, error::Error, future::ready, io};

use axum::{Extension, Router, extract::ConnectInfo, serve::IncomingStream};
use lab::Ghost;
use tokio::net::TcpListener;
use tower::service_fn;

use {module}_spec::Spec;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).without_time().with_target(false).init();
    let port = env::args().nth(1).map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{slug} on http://{}", listener.local_addr()?);
    // As axum::serve makes it of a bare router, anew for each connection, and with its peer.
    let app = stand_in();
    let service = service_fn(move |stream: IncomingStream<'_, TcpListener>| {
        let peer = Extension(ConnectInfo(*stream.remote_addr()));
        ready(Ok::<Router, Infallible>(app.clone().layer(peer).with_state(())))
    });
    axum::serve(listener, service).await?;
    Ok(())
}

/// The app with believable surroundings.
fn stand_in() -> Router {
    Spec::serve({app}, Spec::stand_ins())
}
