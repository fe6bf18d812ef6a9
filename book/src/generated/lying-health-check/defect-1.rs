impl IntoResponse for Health {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl Database {
    /// A connection of the pool, for an order.
    async fn connect(&self) -> Option<SemaphorePermit<'_>> {
        self.pool.acquire().await.ok()
    }

    /// Asks for a sign of life, on a connection of its own so as not to queue behind the orders.
    async fn ping(&self) -> bool {
        // ①
        let ping = Request::get("/ping").body(Body::empty()).expect("a request that never changes");
        self.ask(ping).await.status().is_success()
    }
}
