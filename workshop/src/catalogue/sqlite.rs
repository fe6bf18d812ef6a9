//! The stock of `leaked-permit` in SQLite, for `serve` and the end-to-end suite: the specification has it in memory, because
//! calls that block would stop its clock.
//!
//! An answer is one transaction, so a connection that is left halfway cannot begin another.
//!
//! SQLite's calls are made in place: in a closure on a thread for blocking work they would outlive a request that is dropped, and
//! the connection with them, for a moment in which the pool dials its successor. So a runtime with more than one thread is needed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::BoxError;
use leaked_permit_spec::{Connect, Dialled};
use rusqlite::{Connection, OpenFlags};
use tokio::{task::block_in_place, time::sleep};
use tower::{
    service_fn,
    util::{BoxCloneSyncService, BoxService},
};

/// All connections of one process see this database, for as long as one of them is open.
const STOCK: &str = "file:stock?mode=memory&cache=shared";

/// A database with cups, teapots and plates on three shelves each. There is no table of mugs, and plates break a connection.
pub struct Stock {
    /// Keeps the database.
    _first: Mutex<Connection>,
    open: Arc<AtomicUsize>,
    pause: Duration,
}

/// A connection, and how far it is with an answer.
struct Cursor {
    connection: Connection,
    item: String,
    fetched: i64,
    open: Arc<AtomicUsize>,
}

/// What `serve` dials, with the same pause at each page as what is in memory.
///
/// # Panics
/// If SQLite cannot open a database in memory. What is dialled panics on a runtime of one thread.
pub fn stand_in() -> Connect {
    let stock = Stock::new(Duration::from_millis(300)).expect("SQLite opens a database in memory");
    Arc::new(stock).connect()
}

impl Stock {
    /// Fills the database; a page of rows takes `pause` and what SQLite needs.
    ///
    /// # Errors
    /// If SQLite cannot open or fill it.
    pub fn new(pause: Duration) -> Result<Self, BoxError> {
        let first = open()?;
        first.execute_batch("CREATE TABLE IF NOT EXISTS stock (item TEXT, shelf INTEGER, UNIQUE (item, shelf))")?;
        for item in ["cups", "teapots", "plates"] {
            for shelf in 1..=3 {
                first.execute("INSERT OR IGNORE INTO stock VALUES (?1, ?2)", (item, shelf))?;
            }
        }
        Ok(Self { _first: Mutex::new(first), open: Arc::default(), pause })
    }

    /// How many connections were dialled and are open.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// What dials connections. The database lives as long as this does.
    ///
    /// # Panics
    /// Dialling and each query panic on a runtime of one thread.
    pub fn connect(self: Arc<Self>) -> Connect {
        BoxCloneSyncService::new(service_fn(move |()| {
            let stock = self.clone();
            async move {
                let connection = block_in_place(open)?;
                stock.open.fetch_add(1, SeqCst);
                let cursor = Cursor { connection, item: String::new(), fetched: 0, open: stock.open.clone() };
                Ok::<_, BoxError>(dialled(Arc::new(Mutex::new(cursor)), stock.pause))
            }
        }))
    }
}

fn open() -> Result<Connection, rusqlite::Error> {
    Connection::open_with_flags(STOCK, OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI)
}

fn dialled(cursor: Arc<Mutex<Cursor>>, pause: Duration) -> Dialled {
    BoxService::new(service_fn(move |query: String| {
        let cursor = cursor.clone();
        async move {
            sleep(pause).await;
            block_in_place(|| cursor.lock().unwrap_or_else(PoisonError::into_inner).page(&query))
        }
    }))
}

impl Cursor {
    fn page(&mut self, query: &str) -> Result<Vec<String>, BoxError> {
        if let Some(item) = query.strip_prefix("stock ") {
            self.connection.execute_batch("BEGIN")?;
            (self.item, self.fetched) = (item.to_owned(), 0);
        }
        let table = if self.item == "mugs" { "mugs" } else { "stock" };
        let select = format!("SELECT shelf FROM {table} WHERE item = ?1 ORDER BY shelf LIMIT 1 OFFSET ?2");
        match self.rows(&select) {
            Ok(_) if self.item == "plates" => Err("broken".into()),
            Ok(rows) => {
                self.fetched += 1;
                if rows.is_empty() {
                    self.connection.execute_batch("COMMIT")?;
                }
                Ok(rows)
            }
            Err(error) => {
                self.connection.execute_batch("ROLLBACK")?;
                Err(error.into())
            }
        }
    }

    fn rows(&self, select: &str) -> Result<Vec<String>, rusqlite::Error> {
        let mut statement = self.connection.prepare(select)?;
        let row = |row: &rusqlite::Row<'_>| row.get(0).map(|shelf: i64| format!("{shelf} on shelf {shelf}"));
        statement.query_map((&self.item, self.fetched), row)?.collect()
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.open.fetch_sub(1, SeqCst);
    }
}
