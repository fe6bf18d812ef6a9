//! The pool is deadpool's. Its `Object` gives itself back when it is dropped, and is looked at when it is taken again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, TimeoutType},
};
use futures_util::stream;
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, BoxService},
};

/// Serves `GET /stock/{item}` over at most `size` connections; for one of them a request waits no longer than `wait`.
///
/// A connection is asked `stock {item}` for the first rows and `more` for the next, until there are none. After the error
/// `broken` it cannot be used any more, and neither can it while rows are left in it.
pub fn app(size: usize, wait: Duration, connect: BoxCloneSyncService<(), Connection, BoxError>) -> Router {
    let pool = Pool::builder(Dial(connect)).max_size(size).wait_timeout(Some(wait)).runtime(Runtime::Tokio1);
    let pool = pool.build().expect("a runtime is named");
    Router::new().route("/stock/{item}", get(stock)).with_state(Desk { pool, holders: Arc::default() })
}

type Connection = BoxService<String, Vec<String>, BoxError>;

#[derive(Clone)]
struct Desk {
    pool: Pool<Dial>,
    /// Who has a connection.
    holders: Arc<Mutex<Vec<Arc<str>>>>,
}

/// A connection in use, and who has it. The name goes first.
struct Lease {
    desk: Desk,
    who: Arc<str>,
    object: Object<Dial>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.desk.holders.lock().unwrap().retain(|holder| !Arc::ptr_eq(holder, &self.who));
    }
}

struct Dial(BoxCloneSyncService<(), Connection, BoxError>);

/// A connection, and whether nothing is left in it.
struct Dialled {
    connection: Connection,
    clean: bool,
}

impl Manager for Dial {
    type Type = Dialled;
    type Error = BoxError;

    async fn create(&self) -> Result<Dialled, BoxError> {
        Ok(Dialled { connection: self.0.clone().oneshot(()).await?, clean: true })
    }

    async fn recycle(&self, dialled: &mut Dialled, _: &Metrics) -> RecycleResult<BoxError> {
        if dialled.clean { Ok(()) } else { Err(RecycleError::message("rows are left in it")) }
    }
}

impl Dialled {
    /// Asks the connection for rows; an empty page is the last.
    async fn query(&mut self, query: String) -> Result<Vec<String>, BoxError> {
        self.clean = false;
        let page = self.connection.ready().await?.call(query).await;
        self.clean = match &page {
            Ok(rows) => rows.is_empty(),
            Err(error) => error.to_string() != "broken",
        };
        page
    }
}

impl Desk {
    /// Waits for a connection; only the waiting is bounded.
    async fn check_out(&self, who: Arc<str>) -> Result<Lease, Response> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => self.exhausted(),
            PoolError::Backend(error) => unavailable(error),
            error => unavailable(error.to_string().into()),
        })?;
        self.holders.lock().unwrap().push(who.clone());
        Ok(Lease { desk: self.clone(), who, object })
    }

    fn exhausted(&self) -> Response {
        let (size, wait) = (self.pool.status().max_size, self.pool.timeouts().wait.unwrap_or_default());
        let mut text = format!("none of {size} connections came back in {} ms\n", wait.as_millis());
        for who in self.holders.lock().unwrap().iter() {
            text.push_str(&format!("{who} has one\n"));
        }
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn stock(State(desk): State<Desk>, Path(item): Path<String>, headers: HeaderMap) -> Result<Response, Response> {
    let who = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("somebody");
    let mut lease = desk.check_out(who.into()).await?;
    let first = lease.object.query(format!("stock {item}")).await.map_err(unavailable)?;
    let rows = stream::try_unfold((lease, Some(first)), |(mut lease, fetched)| async move {
        let page = match fetched {
            Some(page) => page,
            None => lease.object.query("more".to_owned()).await?,
        };
        if page.is_empty() {
            return Ok(None);
        }
        let text = page.iter().map(|row| format!("{row}\n")).collect::<String>();
        Ok::<_, BoxError>(Some((text, (lease, None))))
    });
    Ok(Body::from_stream(rows).into_response())
}

fn unavailable(error: BoxError) -> Response {
    (StatusCode::BAD_GATEWAY, format!("the stock cannot be asked: {error}\n")).into_response()
}
