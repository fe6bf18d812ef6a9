impl Lines {
    /// Puts a line into the queue, or counts it as lost.
    fn write(&self, line: String) {
        // ②
        self.queue.offer(line);
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
        sleep(flush).await;
    }
}
