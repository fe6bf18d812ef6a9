impl IntoResponse for Health {
    fn into_response(self) -> Response {
        // ①
        let status = if self == UP { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self)).into_response()
    }
}

impl Database {
    /// A connection of the pool, for an order. One at a time waits for it, so that a check waits behind one and no more.
    async fn connect(&self) -> Option<SemaphorePermit<'_>> {
        let _turn = self.queue.lock().await;
        self.pool.acquire().await.ok()
    }

    /// Asks for a sign of life, on a connection of the pool, as an order asks.
    async fn ping(&self) -> bool {
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        // ②
        let Ok(_connection) = self.pool.acquire().await else {
            return false;
        };
        self.ask(ping).await.status().is_success()
    }
}
