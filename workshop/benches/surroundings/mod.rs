//! What the benches share: a server at the end of an in-memory wire, and what they say of the machine.

use std::{
    env::{self, consts},
    thread,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{io::DuplexStream, runtime::Handle};

/// Serves `app` on the runtime, over HTTP/1.1, and returns the client's end of a wire that holds so many bytes.
pub(crate) fn serve(runtime: &Handle, app: Router, bytes: usize) -> DuplexStream {
    let (client, server) = tokio::io::duplex(bytes);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), TowerToHyperService::new(app));
    runtime.spawn(connection);
    client
}

/// The machine, for the head of a table.
pub(crate) fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let worth = if rehearsal() { "; a rehearsal, whose figures mean nothing" } else { "" };
    format!("on {cores} cores, {}/{}{worth}", consts::OS, consts::ARCH)
}

/// Whether this run is only to show that the bench works: `cargo test --benches`, `cargo bench -- --test`.
pub(crate) fn rehearsal() -> bool {
    !env::args().any(|argument| argument == "--bench") || env::args().any(|argument| argument == "--test")
}
