impl Lease {
    /// Asks the connection for rows; an empty page is the last.
    async fn query(&mut self, query: String) -> Result<Vec<String>, BoxError> {
        let Some(connection) = &mut self.place.connection else { return Err("there is no connection".into()) };
        // ②
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
        self.desk.holders.lock().unwrap().remove(&self.place.number);
        let connection = self.place.connection.take().filter(|_| self.clean);
        self.desk.pool.give_back(Place { number: self.place.number, connection });
    }
}
