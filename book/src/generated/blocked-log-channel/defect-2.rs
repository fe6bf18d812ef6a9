impl Lines {
    /// Puts a line into the queue.
    async fn write(&self, mut line: String) {
        loop {
            let room = self.room.notified();
            match self.queue.offer(line) {
                Ok(()) => return self.came.notify_one(),
                Err(back) => line = back,
            }
            // ②
            room.await;
        }
    }

    /// Closes the queue when `stop` turns true, and ends `flush` later.
    async fn stopped(&self, mut stop: watch::Receiver<bool>, flush: Duration) {
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left to say it.
            pending::<()>().await;
        }
        self.queue.close();
        self.came.notify_one();
        self.room.notify_waiters();
        sleep(flush).await;
    }
}
