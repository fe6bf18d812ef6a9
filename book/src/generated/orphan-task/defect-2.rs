/// Passes on what upstream says, whether or not somebody hears it, until it ends or the board is told to stop.
async fn follow(self, seat: Seat, to_all: broadcast::Sender<String>) {
    let board = seat.board.clone();
    let following = async {
        let mut messages = match self.upstream.clone().oneshot(board.name.clone()).await {
            Ok(messages) => messages,
            Err(error) => return tracing::warn!(board = board.name, error = &*error, "upstream refuses"),
        };
        while let Some(message) = messages.recv().await {
            if let Some(text) = self.rendered(&board, &message) {
                let _ = to_all.send(text);
            }
        }
    };
    // ②
    board.stop.run_until_cancelled(following).await;
    self.forget(&board);
}
