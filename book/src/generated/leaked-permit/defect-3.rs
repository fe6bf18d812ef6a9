impl Lease {
    /// Asks the connection for rows; an empty page is the last.
    async fn query(&mut self, query: String) -> Result<Vec<String>, BoxError> {
        let Some(connection) = &mut self.place.connection else { return Err("there is no connection".into()) };
        connection.ready().await?.call(query).await
    }

    /// Gives the place back, with its connection.
    fn release(self) {
        self.desk.holders.lock().unwrap().remove(&self.place.number);
        self.desk.pool.give_back(self.place);
    }
}
