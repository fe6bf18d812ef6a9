//! Is a tower service, written out: user and log id are locals of the future that it returns, and the
//! handler reads the header again with an extractor, so that nothing is passed on at all; the log has a span.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::{Service, ServiceExt, layer::layer_fn};
use tracing::Instrument;

pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let last_log_id = Arc::new(AtomicU64::new(0));
    Router::new()
        .route("/orders", get(orders))
        .layer(layer_fn(move |inner| Identify {
            inner,
            last_log_id: last_log_id.clone(),
            access_log: access_log.clone(),
        }))
        .with_state(warehouse)
}

/// Puts the name and the log id on the answer and into the access log.
#[derive(Clone)]
struct Identify<S> {
    inner: S,
    last_log_id: Arc<AtomicU64>,
    access_log: UnboundedSender<(String, String, StatusCode)>,
}

impl<S> Service<Request> for Identify<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(user) = bearer(request.headers()).map(str::to_owned) else {
            return Box::pin(async { Ok(StatusCode::UNAUTHORIZED.into_response()) });
        };
        let log_id = self.last_log_id.fetch_add(1, Ordering::Relaxed).to_string();
        let access_log = self.access_log.clone();
        // The instance that was polled ready serves; the clone stays for the next request.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let span = tracing::info_span!("request", user, log_id);
            let response = inner.call(request).instrument(span).await?;
            let _ = access_log.send((user.clone(), log_id.clone(), response.status()));
            Ok(([("x-user", user), ("x-log-id", log_id)], response).into_response())
        })
    }
}

/// Who asks.
struct User(String);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let user = bearer(&parts.headers).ok_or(StatusCode::UNAUTHORIZED)?;
        Ok(Self(user.to_owned()))
    }
}

async fn orders(State(warehouse): State<Router>, User(user): User) -> Result<String, StatusCode> {
    let orders = ask(&warehouse, "/orders", &user).await?;
    let parcels = ask(&warehouse, "/parcels", &user).await?;
    Ok(orders + &parcels)
}

async fn ask(warehouse: &Router, path: &'static str, user: &str) -> Result<String, StatusCode> {
    tracing::info!("asking for {path}");
    let question =
        Request::get(path).header("x-user", user).body(Body::empty()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let Ok(answer) = warehouse.clone().oneshot(question).await;
    if !answer.status().is_success() {
        return Err(answer.status());
    }
    let list = to_bytes(answer.into_body(), 64 * 1024).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    String::from_utf8(list.into()).map_err(|_| StatusCode::BAD_GATEWAY)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
