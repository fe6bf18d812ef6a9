/// Takes a seat at a board, which is opened if nobody has one.
fn join(&self, name: String) -> (Seat, broadcast::Receiver<String>) {
    let seat = |board: &Arc<Board>| Seat { boards: self.clone(), board: board.clone() };
    let mut open = self.open.lock().unwrap();
    if let Some(board) = open.get(&name).filter(|board| board.feed.join()) {
        return (seat(board), board.rendered.resubscribe());
    }
    let (to_all, rendered) = broadcast::channel(64);
    let (feed, stop) = (Feed::open(), CancellationToken::new());
    let board = Arc::new(Board { name: name.clone(), feed, stop, rendered: to_all.subscribe() });
    // The task needs the board as much as a reader does: it has a seat of its own.
    // ①
    tokio::spawn(self.clone().follow(seat(&board), to_all));
    open.insert(name, board.clone());
    (seat(&board), rendered)
}
