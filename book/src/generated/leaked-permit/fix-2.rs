impl Desk {
    /// Waits for a place, and dials where it has no connection.
    async fn check_out(&self, who: String) -> Result<Lease, Response> {
        let place = timeout(self.wait, self.pool.place()).await.map_err(|_| self.exhausted())?;
        // ①
        let mut lease = Lease { desk: self.clone(), place, clean: true };
        self.holders.lock().unwrap().insert(lease.place.number, (who, Instant::now()));
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
