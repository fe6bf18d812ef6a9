//! Keeps the shared map, but under the id of the request, and a guard takes the entry out however the request ends.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

/// The users of the requests that are being served.
#[derive(Clone, Default)]
struct Desk {
    users: Arc<Mutex<HashMap<u64, String>>>,
    last_log_id: Arc<AtomicU64>,
}

impl Desk {
    /// Starts a request of `user` under the next log id.
    fn begin(&self, user: &str) -> Visit {
        let log_id = self.last_log_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.users.lock().unwrap().insert(log_id, user.to_owned());
        Visit { desk: self.clone(), log_id }
    }
}

/// The place of one request in the desk's map.
struct Visit {
    desk: Desk,
    log_id: u64,
}

impl Visit {
    fn context(&self) -> RequestContext {
        RequestContext { desk: self.desk.clone(), log_id: self.log_id }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.desk.users.lock().unwrap().remove(&self.log_id);
    }
}

/// What the handler is given to look itself up.
#[derive(Clone)]
struct RequestContext {
    desk: Desk,
    log_id: u64,
}

impl RequestContext {
    fn user(&self) -> String {
        self.desk.users.lock().unwrap()[&self.log_id].clone()
    }

    fn log_id(&self) -> String {
        format!("desk-{}", self.log_id)
    }
}

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let desk = Desk::default();
    Router::new()
        .route("/orders", get(orders))
        .layer(from_fn(move |request, next| identify(desk.clone(), access_log.clone(), request, next)))
        .with_state(warehouse)
}

/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(
    desk: Desk,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let visit = desk.begin(user);
    let context = visit.context();
    request.extensions_mut().insert(context.clone());
    let response = next.run(request).await;
    let (user, log_id) = (context.user(), context.log_id());
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((user.clone(), log_id.clone(), response.status()));
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}

/// The user's open orders, and the parcels that are on their way.
async fn orders(
    State(warehouse): State<Router>,
    Extension(context): Extension<RequestContext>,
) -> Result<String, StatusCode> {
    let orders = ask(&warehouse, "/orders", &context).await?;
    let parcels = ask(&warehouse, "/parcels", &context).await?;
    Ok(orders + &parcels)
}

/// Asks the warehouse in the name of the user.
async fn ask(warehouse: &Router, path: &'static str, context: &RequestContext) -> Result<String, StatusCode> {
    let (user, log_id) = (context.user(), context.log_id());
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

/// The user named by `authorization: Bearer <user>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
