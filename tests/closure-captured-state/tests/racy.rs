//! Desks that keep every promise on one thread, and mistake one customer for another on two: only the hammer tells.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use closure_captured_state_spec::{check, hammer};
use lab::{hammer::Force, lingering::linger};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

/// Until it is found: a thread lingers where the other must come, and that takes a fraction of this.
const FORCE: Force = Force { time: std::time::Duration::from_secs(300), tries: u64::MAX };

#[derive(Clone)]
struct Who {
    user: String,
    log_id: String,
}

/// Where each request's context comes from.
type Contexts = Arc<dyn Fn(&str) -> Who + Send + Sync>;

/// The name goes into a cell that all requests share, and is read back from it at once: nothing waits in between.
fn by_way_of_a_cell() -> Contexts {
    let (user, log_id) = (Arc::new(Mutex::new(String::new())), AtomicU64::new(0));
    Arc::new(move |name| {
        *user.lock().expect("never poisoned") = name.to_owned();
        linger();
        let number = log_id.fetch_add(1, SeqCst);
        let user = user.lock().expect("never poisoned").clone();
        Who { user, log_id: format!("desk-{number}") }
    })
}

/// The id is counted up and then looked at.
fn counted_then_looked_at() -> Contexts {
    let log_id = AtomicU64::new(0);
    Arc::new(move |name| {
        log_id.fetch_add(1, SeqCst);
        linger();
        Who { user: name.to_owned(), log_id: format!("desk-{}", log_id.load(SeqCst)) }
    })
}

fn desk(contexts: Contexts, warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let identify = move |mut request: Request, next: Next| {
        let (contexts, access_log) = (contexts.clone(), access_log.clone());
        async move {
            let Some(user) = bearer(request.headers()) else { return StatusCode::UNAUTHORIZED.into_response() };
            let who = contexts(user);
            request.extensions_mut().insert(who.clone());
            let response = next.run(request).await;
            let _ = access_log.send((who.user.clone(), who.log_id.clone(), response.status()));
            ([("x-user", who.user), ("x-log-id", who.log_id)], response).into_response()
        }
    };
    Router::new().route("/orders", get(orders)).layer(from_fn(identify)).with_state(warehouse)
}

async fn orders(State(warehouse): State<Router>, Extension(who): Extension<Who>) -> Result<Response, StatusCode> {
    let mut all = String::new();
    for path in ["/orders", "/parcels"] {
        tracing::info!(log_id = who.log_id, user = who.user, "asking for {path}");
        let question = Request::get(path).header("x-user", &who.user).body(Body::empty());
        let Ok(answer) = warehouse.clone().oneshot(question.map_err(|_| StatusCode::BAD_REQUEST)?).await;
        if !answer.status().is_success() {
            return Err(answer.status());
        }
        let list = to_bytes(answer.into_body(), 64 * 1024).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        all.push_str(str::from_utf8(&list).map_err(|_| StatusCode::BAD_GATEWAY)?);
    }
    Ok(all.into_response())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

fn falls(contexts: fn() -> Contexts) {
    let report = check(move |warehouse, log| desk(contexts(), warehouse, log));
    assert!(report.all_kept(), "{report}");
    let hammered = hammer(Arc::new(move |warehouse, log| desk(contexts(), warehouse, log)), FORCE);
    // With --nocapture: in which try.
    println!("{hammered}");
    assert!(hammered.is_rejected(), "{hammered}");
}

#[test]
fn a_cell_that_is_read_back_at_once_names_another() {
    falls(by_way_of_a_cell);
}

#[test]
fn an_id_that_is_looked_at_after_it_was_counted_is_had_twice() {
    falls(counted_then_looked_at);
}
