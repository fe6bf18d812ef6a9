/// Brings the lines to the log, one after the other. What still waits when the time is over is lost.
async fn ship(lines: Arc<Lines>, mut log: DuplexStream, stop: watch::Receiver<bool>, flush: Duration) {
    let mut over = pin!(lines.stopped(stop, flush));
    loop {
        match lines.queue.take() {
            Taken::Line(line) => {
                select! {
                    biased;
                    done = log.write_all(line.as_bytes()) => if done.is_err() { lines.queue.lose() },
                    () = over.as_mut() => break lines.queue.lose(),
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
    while let Taken::Line(_) = lines.queue.take() {
        lines.queue.lose();
    }
}
