/// Brings the lines to the log, one after the other.
async fn ship(lines: Arc<Lines>, mut log: DuplexStream, stop: watch::Receiver<bool>, flush: Duration) {
    let mut over = pin!(lines.stopped(stop, flush));
    loop {
        match lines.queue.take() {
            Taken::Line(line) => {
                lines.room.notify_one();
                let written = select! {
                    biased;
                    done = log.write_all(line.as_bytes()) => done.is_ok(),
                    () = over.as_mut() => break lines.queue.lose(),
                };
                if !written {
                    lines.queue.lose();
                }
            }
            Taken::Nothing => select! {
                biased;
                () = lines.came.notified() => {}
                () = over.as_mut() => break,
            },
            Taken::Closed => return,
        }
    }
    // The time is over, and what still waits is not written any more.
    while let Taken::Line(_) = lines.queue.take() {
        lines.queue.lose();
    }
}
