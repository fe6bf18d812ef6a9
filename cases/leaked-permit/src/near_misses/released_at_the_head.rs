//! Tempting because a permit of tokio's semaphore gives itself back when the handler returns, however it returns.
//! When the handler returns, the head of the answer is done, and the rows are still being fetched.

use std::time::Duration;

use axum::{
    BoxError, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use tokio::{sync::Semaphore, time::timeout};
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, BoxService},
};

use crate::sync::{Arc, Mutex};

/// Serves `GET /stock/{item}` over at most `size` connections; for one of them a request waits no longer than `wait`.
///
/// A connection is asked `stock {item}` for the first rows and `more` for the next, until there are none. After the error
/// `broken` it cannot be used any more, and neither can it while rows are left in it.
pub fn app(size: usize, wait: Duration, connect: BoxCloneSyncService<(), Connection, BoxError>) -> Router {
    let desk = Desk { places: Arc::new(Semaphore::new(size)), idle: Arc::default(), size, wait, connect };
    Router::new().route("/stock/{item}", get(stock)).with_state(desk)
}

type Connection = BoxService<String, Vec<String>, BoxError>;

#[derive(Clone)]
struct Desk {
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    size: usize,
    wait: Duration,
    connect: BoxCloneSyncService<(), Connection, BoxError>,
}

/// A connection in use; it goes back to the others if nothing is left in it.
struct Lease {
    desk: Desk,
    connection: Option<Connection>,
    clean: bool,
}

impl Desk {
    /// Takes an idle connection, or dials one.
    async fn connection(&self) -> Result<Lease, Response> {
        let idle = self.idle.lock().unwrap().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect.clone().oneshot(()).await.map_err(unavailable)?,
        };
        Ok(Lease { desk: self.clone(), connection: Some(connection), clean: true })
    }

    fn exhausted(&self) -> Response {
        let text = format!("none of {} connections came back in {} ms\n", self.size, self.wait.as_millis());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

impl Lease {
    /// Asks the connection for rows; an empty page is the last.
    async fn query(&mut self, query: String) -> Result<Vec<String>, BoxError> {
        let Some(connection) = &mut self.connection else { return Err("there is no connection".into()) };
        self.clean = false;
        let page = connection.ready().await?.call(query).await;
        self.clean = match &page {
            Ok(rows) => rows.is_empty(),
            Err(error) => error.to_string() != "broken",
        };
        page
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.desk.idle.lock().unwrap().extend(self.connection.take().filter(|_| self.clean));
    }
}

async fn stock(State(desk): State<Desk>, Path(item): Path<String>) -> Result<Response, Response> {
    // The place is given back when this function returns, by whatever way.
    let _place = timeout(desk.wait, desk.places.acquire()).await.map_err(|_| desk.exhausted())?;
    let mut lease = desk.connection().await?;
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
