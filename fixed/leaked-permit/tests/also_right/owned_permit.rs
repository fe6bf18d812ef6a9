//! The place is an owned permit of tokio's semaphore, which lives beside the connection and goes with it into the body.

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
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, BoxService},
};

/// Serves `GET /stock/{item}` over at most `size` connections; for one of them a request waits no longer than `wait`.
///
/// A connection is asked `stock {item}` for the first rows and `more` for the next, until there are none. After the error
/// `broken` it cannot be used any more, and neither can it while rows are left in it.
pub fn app(size: usize, wait: Duration, connect: BoxCloneSyncService<(), Connection, BoxError>) -> Router {
    let desk = Desk {
        places: Arc::new(Semaphore::new(size)),
        idle: Arc::default(),
        holders: Arc::default(),
        size,
        wait,
        connect,
    };
    Router::new().route("/stock/{item}", get(stock)).with_state(desk)
}

type Connection = BoxService<String, Vec<String>, BoxError>;

#[derive(Clone)]
struct Desk {
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// Who has a connection.
    holders: Arc<Mutex<Vec<Arc<str>>>>,
    size: usize,
    wait: Duration,
    connect: BoxCloneSyncService<(), Connection, BoxError>,
}

/// A connection in use; it goes back to the others if nothing is left in it.
struct Lease {
    desk: Desk,
    who: Arc<str>,
    connection: Option<Connection>,
    clean: bool,
    /// The last field: it is given back when the connection is.
    _place: OwnedSemaphorePermit,
}

impl Desk {
    /// Waits for a place, and takes an idle connection or dials one.
    async fn check_out(&self, who: Arc<str>) -> Result<Lease, Response> {
        let place = timeout(self.wait, self.places.clone().acquire_owned()).await.map_err(|_| self.exhausted())?;
        let place = place.expect("the semaphore is never closed");
        self.holders.lock().unwrap().push(who.clone());
        let connection = self.idle.lock().unwrap().pop();
        let mut lease = Lease { desk: self.clone(), who, connection, clean: true, _place: place };
        if lease.connection.is_none() {
            lease.connection = Some(self.connect.clone().oneshot(()).await.map_err(unavailable)?);
        }
        Ok(lease)
    }

    fn exhausted(&self) -> Response {
        let mut text = format!("none of {} connections came back in {} ms\n", self.size, self.wait.as_millis());
        for who in self.holders.lock().unwrap().iter() {
            text.push_str(&format!("{who} has one\n"));
        }
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
        self.desk.holders.lock().unwrap().retain(|holder| !Arc::ptr_eq(holder, &self.who));
        self.desk.idle.lock().unwrap().extend(self.connection.take().filter(|_| self.clean));
    }
}

async fn stock(State(desk): State<Desk>, Path(item): Path<String>, headers: HeaderMap) -> Result<Response, Response> {
    let who = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("somebody");
    let mut lease = desk.check_out(who.into()).await?;
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
