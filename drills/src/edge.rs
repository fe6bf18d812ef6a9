//! The edge: one address for all services, which are told apart by the first part of the path.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, uri::PathAndQuery},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(2);

/// Where each service is.
pub(crate) type Places = Arc<BTreeMap<String, SocketAddr>>;

/// Passes a request on, on a connection of its own, which ends with it.
pub(crate) async fn pass_on(State(places): State<Places>, request: Request) -> Response {
    let Some((place, request)) = addressed(&places, request) else {
        return (StatusCode::NOT_FOUND, "no such service\n").into_response();
    };
    asked(place, request)
        .await
        .unwrap_or_else(|why| (StatusCode::BAD_GATEWAY, format!("the edge: {why}\n")).into_response())
}

fn addressed(places: &Places, mut request: Request) -> Option<(SocketAddr, Request)> {
    let whole = request.uri().path_and_query()?.as_str();
    let (service, rest) = whole.strip_prefix('/')?.split_once('/')?;
    let place = *places.get(service)?;
    let path: PathAndQuery = format!("/{rest}").parse().ok()?;
    *request.uri_mut() = Uri::from(path);
    Some((place, request))
}

/// Sends a request to this address and has its answer, whose body ends the connection.
pub(crate) async fn asked(place: SocketAddr, request: Request) -> Result<Response, String> {
    let dialled = timeout(DIAL, TcpStream::connect(place)).await.map_err(|_| "the dial took too long".to_owned())?;
    let stream = TokioIo::new(dialled.map_err(|error| error.to_string())?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let connection = Ends(tokio::spawn(async move { drop(connection.await) }));
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // It is there as long as the body.
            let _ = &connection;
            frame
        }))
    }))
}

/// A connection that ends with whoever has this.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
