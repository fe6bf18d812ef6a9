//! A place is sent to the one who waits together with its owner: where nobody fetches it, its `Drop` passes it on.

use std::{
    collections::VecDeque,
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
use tokio::{sync::oneshot, time::timeout};
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, BoxService},
};

/// Serves `GET /stock/{item}` over at most `size` connections; for one of them a request waits no longer than `wait`.
///
/// A connection is asked `stock {item}` for the first rows and `more` for the next, until there are none. After the error
/// `broken` it cannot be used any more, and neither can it while rows are left in it.
pub fn app(size: usize, wait: Duration, connect: BoxCloneSyncService<(), Connection, BoxError>) -> Router {
    let free = (0..size).map(|_| None).collect();
    let desk = Desk {
        books: Arc::new(Mutex::new(Books { free, queue: VecDeque::new() })),
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
    books: Arc<Mutex<Books>>,
    /// Who has a connection.
    holders: Arc<Mutex<Vec<Arc<str>>>>,
    size: usize,
    wait: Duration,
    connect: BoxCloneSyncService<(), Connection, BoxError>,
}

struct Books {
    /// The places that nobody has, each with its connection, if it has one.
    free: Vec<Option<Connection>>,
    queue: VecDeque<oneshot::Sender<Lease>>,
}

/// The owner of a place; its connection goes back with it if nothing is left in it.
struct Lease {
    desk: Desk,
    /// `None` until it has come to the one who waits.
    who: Option<Arc<str>>,
    connection: Option<Connection>,
    clean: bool,
}

impl Desk {
    /// Waits for a place, and dials where it has no connection.
    async fn check_out(&self, who: Arc<str>) -> Result<Lease, Response> {
        let (sender, receiver) = oneshot::channel();
        let free = {
            let mut books = self.books.lock().unwrap();
            let free = books.free.pop();
            if free.is_none() {
                books.queue.push_back(sender);
            }
            free
        };
        let mut lease = match free {
            Some(connection) => self.lease(connection),
            None => match timeout(self.wait, receiver).await {
                Ok(Ok(lease)) => lease,
                _ => return Err(self.exhausted()),
            },
        };
        self.holders.lock().unwrap().push(who.clone());
        lease.who = Some(who);
        if lease.connection.is_none() {
            lease.connection = Some(self.connect.clone().oneshot(()).await.map_err(unavailable)?);
        }
        Ok(lease)
    }

    fn lease(&self, connection: Option<Connection>) -> Lease {
        Lease { desk: self.clone(), who: None, connection, clean: true }
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
        if let Some(who) = self.who.take() {
            self.desk.holders.lock().unwrap().retain(|holder| !Arc::ptr_eq(holder, &who));
        }
        let connection = self.connection.take().filter(|_| self.clean);
        let mut books = self.desk.books.lock().unwrap();
        // Who has gone already is passed over.
        while let Some(next) = books.queue.pop_front() {
            if !next.is_closed() {
                drop(books);
                // Who goes at this moment does not take it: it comes back here with its owner.
                drop(next.send(self.desk.lease(connection)));
                return;
            }
        }
        let at = if connection.is_some() { books.free.len() } else { 0 };
        books.free.insert(at, connection);
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
