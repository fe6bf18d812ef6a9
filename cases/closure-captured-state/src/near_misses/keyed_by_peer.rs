//! A slot for each peer address.
//!
//! It tempts because two customers never share an address and a port, and HTTP/1.1 carries one request at a time.
//! Over HTTP/2 one connection carries many requests at once, and behind a proxy the requests of many customers.

use std::{collections::HashMap, net::SocketAddr};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{Extensions, HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// The user and the log id of each peer's request.
type Current = HashMap<Option<SocketAddr>, (String, u64)>;

/// Who asks, and the id under which the logs know the request, for each peer.
#[derive(Clone)]
struct RequestContext {
    current: Arc<Mutex<Current>>,
    last_log_id: Arc<AtomicU64>,
}

impl RequestContext {
    fn new() -> Self {
        Self { current: Arc::new(Mutex::new(Current::new())), last_log_id: Arc::new(AtomicU64::new(0)) }
    }

    /// Starts a request of `user` under the next log id.
    fn begin(&self, peer: Option<SocketAddr>, user: &str) {
        let log_id = self.last_log_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.lock().unwrap().insert(peer, (user.to_owned(), log_id));
    }

    /// The user and the log id of the request that comes from `peer`.
    fn of(&self, peer: Option<SocketAddr>) -> (String, String) {
        let current = self.current.lock().unwrap();
        let (user, log_id) = current.get(&peer).cloned().unwrap_or_default();
        (user, format!("desk-{log_id}"))
    }
}

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let context = RequestContext::new();
    Router::new()
        .route("/orders", get(orders))
        .layer(Extension(context.clone()))
        .layer(from_fn(move |request, next| identify(context.clone(), access_log.clone(), request, next)))
        .with_state(warehouse)
}

/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(
    context: RequestContext,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let peer = peer(request.extensions());
    context.begin(peer, user);
    let response = next.run(request).await;
    let (user, log_id) = context.of(peer);
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((user.clone(), log_id.clone(), response.status()));
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}

/// The user's open orders, and the parcels that are on their way.
async fn orders(
    State(warehouse): State<Router>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Result<String, StatusCode> {
    let peer = peer(request.extensions());
    let orders = ask(&warehouse, "/orders", context.of(peer)).await?;
    let parcels = ask(&warehouse, "/parcels", context.of(peer)).await?;
    Ok(orders + &parcels)
}

/// Asks the warehouse in the name of the user.
async fn ask(warehouse: &Router, path: &'static str, (user, log_id): (String, String)) -> Result<String, StatusCode> {
    tracing::info!(log_id, user, "asking for {path}");
    let question =
        Request::get(path).header("x-user", user).body(Body::empty()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let Ok(answer) = warehouse.clone().oneshot(question).await;
    if !answer.status().is_success() {
        return Err(answer.status());
    }
    let list = to_bytes(answer.into_body(), 64 * 1024).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    String::from_utf8(list.into()).map_err(|_| StatusCode::BAD_GATEWAY)
}

/// The address at the other end of the connection, if the server was told to note it.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let ConnectInfo(peer) = extensions.get()?;
    Some(*peer)
}

/// The user named by `authorization: Bearer <user>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
