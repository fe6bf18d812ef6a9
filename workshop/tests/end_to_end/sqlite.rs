//! `leaked-permit` in front of SQLite, on real sockets: thousands of requests that end in every way, and as many connections
//! afterwards as before.

use std::{sync::Arc, time::Duration};

use ghosts::catalogue::sqlite::Stock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::sleep,
};

use crate::serving::Serving;

const PLACES: usize = 4;

/// How a client behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Reads the answer to its end.
    Reads,
    /// Leaves as soon as it has asked.
    LeavesAtOnce,
    /// Leaves when the answer begins.
    LeavesAtTheHead,
}

/// What the client has received when it leaves, or when the server has closed the connection.
async fn ask(address: String, item: &str, manner: Manner) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the twin listens");
    let request = format!("GET /stock/{item} HTTP/1.1\r\nhost: ghost.test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request fits the socket");
    let mut answer = Vec::new();
    match manner {
        Manner::Reads => drop(stream.read_to_end(&mut answer).await),
        Manner::LeavesAtOnce => sleep(Duration::from_millis(1)).await,
        Manner::LeavesAtTheHead => drop(stream.read_buf(&mut answer).await),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaked_permit_fixed_has_all_connections_after_four_thousand_requests() {
    let stock = Arc::new(Stock::new(Duration::from_millis(1)).expect("a database"));
    let app = leaked_permit_fixed::app(PLACES, Duration::from_millis(200), stock.clone().connect());
    let listener = ghosts::read::serve::bind(0).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(ghosts::read::serve::until(listener, app, async { drop(stopped.await) }));

    let mut served = 0;
    for _ in 0..100 {
        let mut clients = JoinSet::new();
        for number in 0..40 {
            let item = ["cups", "mugs", "plates", "teapots"][number % 4];
            let manner = [Manner::Reads, Manner::LeavesAtOnce, Manner::LeavesAtTheHead][number % 3];
            clients.spawn(ask(address.clone(), item, manner));
        }
        while let Some(answer) = clients.join_next().await {
            served += usize::from(answer.expect("a client").starts_with("HTTP/1.1 200"));
            assert!(stock.open() <= PLACES, "{} connections are open", stock.open());
        }
    }
    assert!(served > 0, "nobody was served");
    println!("4000 requests, {served} answers of 200");

    // Each takes its connection for four milliseconds and more, and none waits for so long as it may.
    for _ in 0..10 {
        let answers = [(); PLACES].map(|()| tokio::spawn(ask(address.clone(), "cups", Manner::Reads)));
        for answer in answers {
            let answer = answer.await.expect("a client");
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("3 on shelf 3"), "{answer}");
        }
    }
    stop.send(()).expect("it serves");
    server.await.expect("no panic").expect("a clean end");
}

/// What is told to who asks for cups when there were as many clients who left in mid-answer as there are connections.
async fn cups_after_two_have_left(fixed: bool) -> String {
    let twin = Serving::start("leaked-permit", fixed);
    for _ in 0..2 {
        let begun = ask(twin.address.clone(), "cups", Manner::LeavesAtTheHead).await;
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    }
    ask(twin.address.clone(), "cups", Manner::Reads).await
}

#[tokio::test]
async fn leaked_permit_two_who_leave_in_mid_answer_take_both_connections() {
    let answer = cups_after_two_have_left(false).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn leaked_permit_fixed_two_who_leave_in_mid_answer_take_nothing() {
    let answer = cups_after_two_have_left(true).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("3 on shelf 3"), "{answer}");
}

#[tokio::test]
async fn leaked_permit_fixed_is_refused_by_sqlite_itself() {
    let twin = Serving::start("leaked-permit", true);
    let answer = ask(twin.address.clone(), "mugs", Manner::Reads).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("no such table: mugs"), "{answer}");
}
