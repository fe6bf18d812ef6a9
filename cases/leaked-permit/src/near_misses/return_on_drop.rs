//! Tempting because a `Drop` is all that was missing: whatever happens, place and connection come back.
//! So does a connection that is broken, or that still has the rows of the request that left.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    BoxError, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use tokio::time::{Instant, timeout};
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, BoxService},
};

use super::mended::{Place, Pool};
use crate::sync::{Arc, Mutex};

/// Serves `GET /stock/{item}` over at most `size` connections; for one of them a request waits no longer than `wait`.
///
/// A connection is asked `stock {item}` for the first rows and `more` for the next, until there are none. After the error
/// `broken` it cannot be used any more, and neither can it while rows are left in it.
pub fn app(size: usize, wait: Duration, connect: BoxCloneSyncService<(), Connection, BoxError>) -> Router {
    let desk = Desk { pool: Pool::new(size), holders: Arc::default(), size, wait, connect };
    Router::new().route("/stock/{item}", get(stock)).with_state(desk)
}

type Connection = BoxService<String, Vec<String>, BoxError>;

#[derive(Clone)]
struct Desk {
    pool: Pool<Connection>,
    /// Who has which place, and since when.
    holders: Arc<Mutex<BTreeMap<usize, (String, Instant)>>>,
    size: usize,
    wait: Duration,
    connect: BoxCloneSyncService<(), Connection, BoxError>,
}

/// A place in use.
struct Lease {
    desk: Desk,
    place: Place<Connection>,
}

impl Desk {
    /// Waits for a place, and dials where it has no connection.
    async fn check_out(&self, who: String) -> Result<Lease, Response> {
        let place = timeout(self.wait, self.pool.place()).await.map_err(|_| self.exhausted())?;
        self.holders.lock().unwrap().insert(place.number, (who, Instant::now()));
        let mut lease = Lease { desk: self.clone(), place };
        if lease.place.connection.is_none() {
            lease.place.connection = Some(self.connect.clone().oneshot(()).await.map_err(unavailable)?);
        }
        Ok(lease)
    }

    /// The answer to a request that has waited in vain: it tells who has the connections.
    fn exhausted(&self) -> Response {
        let mut text = format!("none of {} connections came back in {} ms\n", self.size, self.wait.as_millis());
        for (who, since) in self.holders.lock().unwrap().values() {
            text.push_str(&format!("{who} has one for {} ms\n", since.elapsed().as_millis()));
        }
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

impl Lease {
    /// Asks the connection for rows; an empty page is the last.
    async fn query(&mut self, query: String) -> Result<Vec<String>, BoxError> {
        let Some(connection) = &mut self.place.connection else { return Err("there is no connection".into()) };
        connection.ready().await?.call(query).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.desk.holders.lock().unwrap().remove(&self.place.number);
        let connection = self.place.connection.take();
        self.desk.pool.give_back(Place { number: self.place.number, connection });
    }
}

async fn stock(State(desk): State<Desk>, Path(item): Path<String>, headers: HeaderMap) -> Result<Response, Response> {
    let who = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("somebody");
    let mut lease = desk.check_out(who.to_owned()).await?;
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
