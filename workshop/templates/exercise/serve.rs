//! Serves the exercise on 127.0.0.1 until Ctrl-C: `cargo run --example serve [PORT]`. The app's log goes to standard error.

use std::{env, error::Error, io, net::SocketAddr};

use lab::Ghost;
use tokio::net::TcpListener;

use {module}_spec::Spec;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).without_time().with_target(false).init();
    let port = env::args().nth(1).map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{slug} on http://{}", listener.local_addr()?);
    axum::serve(listener, stand_in().into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// The app with believable surroundings.
fn stand_in() -> axum::Router {
    Spec::serve({app}, Spec::stand_ins())
}
