impl Lines {
    /// Puts a line into the queue.
    async fn write(&self, mut line: String) {
        while let Err(back) = self.queue.offer(line) {
            line = back;
            // ②
            self.room.notified().await;
        }
        self.came.notify_one();
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
