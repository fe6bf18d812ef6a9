//! The pool is deadpool's. Its `Object` gives itself back when it is dropped, and is looked at when it is taken again.

use std::time::Duration;

use axum::{
    BoxError, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
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
    Router::new().route("/stock/{item}", get(stock)).with_state(pool)
}

type Connection = BoxService<String, Vec<String>, BoxError>;

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

async fn stock(State(pool): State<Pool<Dial>>, Path(item): Path<String>) -> Result<Response, Response> {
    let mut lease: Object<Dial> = pool.get().await.map_err(|error| match error {
        PoolError::Timeout(TimeoutType::Wait) => {
            let (size, wait) = (pool.status().max_size, pool.timeouts().wait.unwrap_or_default());
            let text = format!("none of {size} connections came back in {} ms\n", wait.as_millis());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        PoolError::Backend(error) => unavailable(error),
        error => unavailable(error.to_string().into()),
    })?;
    let first = lease.query(format!("stock {item}")).await.map_err(unavailable)?;
    let rows = stream::try_unfold((lease, Some(first)), |(mut lease, fetched)| async move {
        let page = match fetched {
            Some(page) => page,
            None => lease.query("more".to_owned()).await?,
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
