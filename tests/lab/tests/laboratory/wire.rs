//! The wire: hyper at both ends, and everything that a client may do to a server.

use std::{
    convert::Infallible,
    future::pending,
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    response::IntoResponse,
    routing::{any, get as on_get, post as on_post},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use lab::{
    Broken, End, EndedBy, Feed, Lab, Proof, Protocol, Scene, Server, control, require,
    wire::{CONNECTION_BUFFER, CONNECTION_WINDOW, STREAM_WINDOW},
};
use tokio::{sync::Semaphore, time::sleep};

use crate::{get, holds, judged, misbehaving, post, transcript};

/// Whatever holds in both protocols.
#[track_caller]
fn holds_in_both(proof: impl AsyncFn(Scene, Protocol) -> Proof + Send + 'static) {
    holds(async move |lab: Lab, ()| {
        for protocol in Protocol::BOTH {
            proof(lab.scene(protocol.to_string()), protocol).await?;
        }
        Ok(())
    });
}

/// Answers `GET /` with `body`, once, and `GET /ok` always.
fn streaming(body: Body) -> Router {
    let held = Arc::new(Mutex::new(Some(body)));
    let stream = move || std::future::ready(held.lock().ok().and_then(|mut held| held.take()).unwrap_or_default());
    Router::new()
        .route("/", on_get(stream))
        .route("/ok", on_get(|| async { "ok" }))
        .route("/never", on_get(pending::<()>))
}

fn dropped(feed: &Feed, at_ms: u64) -> Proof {
    let at = feed.dropped_at_ms();
    require(at == Some(at_ms), format!("expected the source to be dropped at {at_ms} ms, seen: {at:?}"))
}

#[test]
fn a_connection_is_used_again_and_its_requests_are_counted() {
    holds_in_both(async |scene, protocol| {
        let server = scene.serve(misbehaving::healthy());
        let client = server.connect("client", protocol).await;
        for _ in 0..3 {
            require(client.send(get("/")).await?.read().await.text() == "boo", "no boo")?;
        }
        let clone = client.clone();
        drop(client);
        require(clone.send(get("/")).await?.read().await.text() == "boo", "closed with its first handle")?;
        let watch = clone.watch();
        require(watch.requests == 4 && watch.ended.is_none(), format!("{watch:?}"))?;
        require(server.connections() == [watch], "the server tells another story")
    });
}

#[test]
fn streams_of_one_connection_are_interleaved() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("HTTP/2");
        let gates = Arc::new([Semaphore::new(0), Semaphore::new(0)]);
        let waiting = gates.clone();
        let handler = move |Path(gate): Path<usize>| async move {
            drop(waiting[gate].acquire().await);
            format!("past gate {gate}")
        };
        let client =
            scene.serve(Router::new().route("/{gate}", on_get(handler))).connect("client", Protocol::Http2).await;
        let (first, second) = (client.begin(get("/0")), client.begin(get("/1")));
        scene.settle().await;
        gates[1].add_permits(1);
        let second = second.answer().await?.read().await;
        require(!first.is_answered(), "the first one was answered too")?;
        gates[0].add_permits(1);
        let first = first.answer().await?.read().await;
        require(first.text() == "past gate 0" && second.text() == "past gate 1", "mixed up")
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn on_http1_a_second_request_waits_for_the_first_to_be_read() {
    holds(async |lab, ()| {
        let scene = lab.scene("HTTP/1.1");
        let (mut feed, body) = scene.feed("source");
        let client = scene.serve(streaming(body)).connect("client", Protocol::Http1).await;
        let listener = client.send(get("/")).await?.listen();
        let second = client.begin(get("/ok"));
        scene.settle().await;
        require(!second.is_answered() && client.watch().requests == 1, "two requests at once on HTTP/1.1")?;
        feed.end();
        listener.ended().await;
        require(second.answer().await?.read().await.text() == "ok", "the second one was lost")
    });
}

/// A client reads a little of a stream, and does `deed`; the source must be gone at once.
fn source_is_dropped_when(deed: impl AsyncFn(Scene, &Server, Protocol) -> Result<(), Broken> + Send + Copy + 'static) {
    holds_in_both(async move |scene, protocol| {
        let (feed, body) = scene.feed("source");
        let server = scene.serve(streaming(body));
        feed.data("one\n");
        deed(scene.clone(), &server, protocol).await?;
        scene.settle().await;
        control(feed.taken() == 4, "nothing was taken from the source")?;
        dropped(&feed, 5000)
    });
}

#[test]
fn a_client_that_leaves_in_mid_body_is_seen_by_the_server() {
    source_is_dropped_when(async |scene, server, protocol| {
        let client = server.connect("client", protocol).await;
        let mut listener = client.send(get("/")).await?.listen();
        listener.hears("one\n").await?;
        sleep(Duration::from_secs(5)).await;
        let other = client.clone();
        client.leave();
        let body = listener.ended().await;
        require(body.end == Some((5000, End::Error)), format!("the client's own end: {:?}", body.end))?;
        require(other.send(get("/ok")).await.is_err(), "a client that has left is answered")?;
        scene.settle().await;
        require(other.watch().ended == Some((5000, EndedBy::Client)), format!("{:?}", other.watch()))
    });
}

#[test]
fn a_client_whose_handles_all_go_has_left() {
    source_is_dropped_when(async |scene, server, protocol| {
        let client = server.connect("client", protocol).await;
        let answer = client.send(get("/")).await?;
        drop(client);
        sleep(Duration::from_secs(5)).await;
        require(server.connections()[0].ended.is_none(), "an answer does not hold the connection")?;
        drop(answer);
        scene.settle().await;
        require(server.connections()[0].ended == Some((5000, EndedBy::Client)), "not ended, or not by the client")?;
        // What the caller looks at next was seen a millisecond ago.
        Ok(())
    });
}

#[test]
fn a_client_that_leaves_while_the_handler_waits_is_seen_by_the_server() {
    holds_in_both(async |scene, protocol| {
        struct Gone(Scene);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.note("handler", "is dropped");
            }
        }
        let seen = scene.clone();
        let waits = async move || {
            let _held = Gone(seen);
            pending::<()>().await
        };
        let client = scene.serve(Router::new().route("/", on_get(waits))).connect("client", protocol).await;
        let waiting = client.begin(get("/"));
        sleep(Duration::from_secs(5)).await;
        control(!waiting.is_answered(), "the handler does not wait")?;
        let watch = client.clone();
        client.leave();
        require(waiting.answer().await.is_err(), "a client that has left is answered")?;
        scene.settle().await;
        require(watch.watch().ended == Some((5000, EndedBy::Client)), format!("{:?}", watch.watch()))
    });
}

#[test]
fn what_is_dropped_on_http2_takes_only_its_own_stream() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("HTTP/2");
        let feeds: Vec<(Feed, Body)> = ["answer", "listener"].map(|lane| scene.feed(lane)).into();
        let (feeds, bodies): (Vec<Feed>, Vec<Body>) = feeds.into_iter().unzip();
        let bodies = Arc::new(Mutex::new(bodies));
        let next =
            move || std::future::ready(bodies.lock().ok().map(|mut bodies| bodies.remove(0)).unwrap_or_default());
        let app = Router::new()
            .route("/", on_get(next))
            .route("/never", on_get(pending::<()>))
            .route("/ok", on_get(|| async { "ok" }));
        let client = scene.serve(app).connect("client", Protocol::Http2).await;
        let answer = client.send(get("/")).await?;
        let listener = client.send(get("/")).await?.listen();
        let waiting = client.begin(get("/never"));
        sleep(Duration::from_secs(1)).await;
        answer.cancel();
        sleep(Duration::from_secs(1)).await;
        listener.cancel();
        sleep(Duration::from_secs(1)).await;
        waiting.cancel();
        scene.settle().await;
        dropped(&feeds[0], 1000)?;
        dropped(&feeds[1], 2000)?;
        require(client.send(get("/ok")).await?.read().await.text() == "ok", "the connection does not go on")?;
        require(client.watch().ended.is_none(), "the connection was closed")
    });
    assert!(report.all_kept(), "{report}");
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn what_is_dropped_on_http1_takes_its_connection() {
    holds(async |lab, ()| {
        for (path, listens) in [("/", false), ("/", true), ("/never", false)] {
            let scene = lab.scene(format!("HTTP/1.1, {path}, {listens}"));
            let (feed, body) = scene.feed("source");
            feed.data("one");
            let client = scene.serve(streaming(body)).connect("client", Protocol::Http1).await;
            let waiting = client.begin(get(path));
            sleep(Duration::from_secs(1)).await;
            if path == "/never" {
                waiting.cancel();
            } else if listens {
                waiting.answer().await?.listen().cancel();
            } else {
                waiting.answer().await?.cancel();
            }
            scene.settle().await;
            let watch = client.watch();
            require(watch.ended == Some((1000, EndedBy::Client)), format!("{watch:?}"))?;
            require(client.send(get("/ok")).await.is_err(), "a closed connection goes on")?;
        }
        Ok(())
    });
}

#[test]
fn a_request_that_waits_for_its_turn_can_be_taken_back() {
    holds(async |lab, ()| {
        let scene = lab.scene("HTTP/1.1");
        let (mut feed, body) = scene.feed("source");
        let client = scene.serve(streaming(body)).connect("client", Protocol::Http1).await;
        let listener = client.send(get("/")).await?.listen();
        client.begin(get("/never")).cancel();
        scene.settle().await;
        feed.end();
        listener.ended().await;
        require(client.send(get("/ok")).await?.read().await.text() == "ok", "the connection does not go on")?;
        require(client.watch().requests == 2, "the request was sent all the same")
    });
}

/// What an endless source gave to a reader that has stopped, and the most that the stated buffers hold.
#[test]
fn a_reader_that_has_stopped_is_felt_after_the_stated_buffers() {
    holds_in_both(async |scene, protocol| {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = taken.clone();
        let endless = move || {
            let counted = counted.clone();
            let piece = move || {
                counted.fetch_add(1024, Ordering::Relaxed);
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024]))
            };
            std::future::ready(Body::from_stream(stream::iter(std::iter::repeat_with(piece))))
        };
        let client = scene.serve(Router::new().route("/", on_get(endless))).connect("client", protocol).await;
        let held = client.send(get("/")).await?;
        sleep(Duration::from_secs(10)).await;
        let taken = taken.load(Ordering::Relaxed);
        let most = match protocol {
            // The wire, and hyper's buffer at each end.
            Protocol::Http1 => 3 * CONNECTION_BUFFER as u64,
            // The window, and hyper's buffer at the server's end.
            Protocol::Http2 => u64::from(STREAM_WINDOW) + CONNECTION_BUFFER as u64,
        };
        held.cancel();
        // One piece may be on its way.
        require(
            taken <= most + 2 * 1024,
            format!("{protocol}: {taken} bytes were taken, {most} is what the buffers hold"),
        )
    });
}

#[test]
fn an_upload_that_nobody_reads_is_felt_after_the_stated_buffers() {
    holds_in_both(async |scene, protocol| {
        let waits = async |_body: Request| pending::<()>().await;
        let client = scene.serve(Router::new().route("/", on_post(waits))).connect("client", protocol).await;
        let (feed, body) = scene.feed("upload");
        let uploading = client.begin(post("/", body));
        for _ in 0..1024 {
            feed.data(vec![b'x'; 1024]);
        }
        scene.settle().await;
        let taken = feed.taken();
        uploading.cancel();
        let most = 4 * CONNECTION_BUFFER as u64 + 2 * 1024;
        require(taken <= most, format!("{protocol}: {taken} bytes were taken"))
    });
}

#[test]
fn a_whole_connection_holds_what_its_window_says() {
    holds(async |lab, ()| {
        let scene = lab.scene("HTTP/2");
        let client = scene.serve(endless()).connect("client", Protocol::Http2).await;
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(client.send(get("/")).await?);
        }
        scene.settle().await;
        let received = client.received().len();
        let window = CONNECTION_WINDOW as usize;
        require((window..window + 2048).contains(&received), format!("{received} bytes in a window of {window}"))
    });
}

fn endless() -> Router {
    let piece = || Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024]));
    let answer = move || async move { Body::from_stream(stream::iter(std::iter::repeat_with(piece))) };
    Router::new().route("/", on_get(answer))
}

#[test]
fn trailers_cross_the_wire() {
    holds_in_both(async |scene, protocol| {
        let (mut feed, body) = scene.feed("source");
        let held = Arc::new(Mutex::new(Some(body)));
        let answer = move || {
            let body = held.lock().ok().and_then(|mut held| held.take()).unwrap_or_default();
            std::future::ready(([("trailer", "x-sum")], body))
        };
        let client = scene.serve(Router::new().route("/", on_get(answer))).connect("client", protocol).await;
        let mut request = get("/");
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let listener = client.send(request).await?.listen();
        feed.data("one\n");
        feed.trailers(HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("7"))]));
        feed.end();
        let received = listener.ended().await;
        let sum = received.trailers.as_ref().and_then(|trailers| trailers.get("x-sum"));
        require(sum.is_some_and(|sum| sum == "7"), format!("got {:?}", received.trailers))?;
        require(received.text() == "one\n" && received.end == Some((0, End::Clean)), "no clean end")
    });
}

#[test]
fn the_raw_bytes_of_a_connection_are_kept_in_order() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("HTTP/1.1");
        let client = scene.serve(misbehaving::healthy()).connect("client", Protocol::Http1).await;
        client.send(get("/")).await?.read().await;
        for segment in client.segments() {
            let who = if segment.from_client { "client" } else { "server" };
            scene.note(who, String::from_utf8_lossy(&segment.bytes));
        }
        Ok(())
    });
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn who_ended_a_connection_is_known() {
    holds(async |lab, ()| {
        let scene = lab.scene("three ends");
        let app = misbehaving::healthy().merge(
            Router::new()
                .route("/close", on_get(|| async { [("connection", "close")] }))
                .route("/panic", on_get(async || -> () { lab::arranged_panic("boo") })),
        );
        let server = scene.serve(app);
        for (path, by) in [("/", EndedBy::Client), ("/close", EndedBy::Server), ("/panic", EndedBy::Panic)] {
            let client = server.connect(path, Protocol::Http1).await;
            if let Ok(answer) = client.send(get(path)).await {
                answer.read().await;
            }
            let watch = client.clone();
            client.leave();
            scene.settle().await;
            let ended = watch.watch().ended.map(|(_, by)| by);
            require(ended == Some(by), format!("{path}: expected {by:?}, got {ended:?}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_panic_on_http2_takes_its_stream_and_not_the_connection() {
    holds(async |lab, ()| {
        let scene = lab.scene("HTTP/2");
        let panics = async || -> () { lab::arranged_panic("boo") };
        let app = misbehaving::healthy().route("/panic", on_get(panics));
        let client = scene.serve(app).connect("client", Protocol::Http2).await;
        require(client.send(get("/panic")).await.is_err(), "a panic is answered")?;
        require(client.send(get("/")).await?.read().await.text() == "boo", "the connection does not go on")?;
        require(client.watch().ended.is_none(), "the connection was closed")
    });
}

#[test]
fn garbage_is_answered_with_400_and_the_connection_closed() {
    holds(async |lab, ()| {
        let scene = lab.scene("HTTP/1.1");
        let server = scene.serve(misbehaving::healthy());
        let mut raw = server.connect_raw("client", Protocol::Http1);
        raw.write(b"boo\r\n\r\n").await;
        raw.closed().await;
        require(raw.text().starts_with("HTTP/1.1 400 Bad Request\r\n"), raw.text())?;
        let watch = raw.watch();
        require(watch.requests == 0 && watch.ended == Some((0, EndedBy::Server)), format!("{watch:?}"))?;
        let mut raw = server.connect_raw("client", Protocol::Http2);
        raw.write(b"boo\r\n\r\n").await;
        raw.write(&[b' '; 64]).await;
        raw.closed().await;
        require(raw.is_closed() && raw.watch().ended.is_some(), "garbage is welcome on HTTP/2")
    });
}

#[test]
fn a_raw_client_may_pipeline_finish_and_leave() {
    holds(async |lab, ()| {
        let scene = lab.scene("pipelined");
        let server = scene.serve(streaming(Body::empty()));
        let mut raw = server.connect_raw("client", Protocol::Http1);
        raw.write(b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\nGET /never HTTP/1.1\r\nhost: a\r\n\r\n").await;
        require(raw.hears("\r\n\r\nok").await, raw.text())?;
        require(raw.watch().requests == 2 && !raw.is_closed(), format!("{:?}", raw.watch()))?;
        raw.finish().await;
        raw.closed().await;
        require(!raw.hears("never said").await, "it heard what was never said")?;
        require(raw.watch().ended.is_some(), "a client that sends no more keeps the handler")?;

        let scene = lab.scene("left");
        let (feed, body) = scene.feed("source");
        let server = scene.serve(streaming(body));
        let mut raw = server.connect_raw("client", Protocol::Http1);
        raw.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        feed.data("one\n");
        require(raw.hears("one\n").await, raw.text())?;
        raw.leave();
        scene.settle().await;
        dropped(&feed, 0)?;
        require(server.connections()[0].ended == Some((0, EndedBy::Client)), "not ended, or not by the client")
    });
}

#[test]
fn answers_without_a_body_have_none() {
    holds_in_both(async |scene, protocol| {
        let app = Router::new()
            .route("/", any(|| async { "boo" }))
            .route("/204", any(|| async { StatusCode::NO_CONTENT }))
            .route("/304", any(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"boo\"")]) }));
        let client = scene.serve(app).connect("client", protocol).await;
        for (method, path, status) in
            [(Method::HEAD, "/", 200), (Method::GET, "/204", 204), (Method::GET, "/304", 304), (Method::GET, "/", 200)]
        {
            let mut request = get(path);
            *request.method_mut() = method.clone();
            let answer = client.send(request).await?;
            require(answer.status() == status, format!("{method} {path}: {}", answer.status()))?;
            let length = answer.header("content-length");
            require(path != "/" || length == Some("3"), format!("{method} {path}: content-length {length:?}"))?;
            let received = answer.read().await;
            let has_body = method == Method::GET && path == "/";
            require(received.text().is_empty() != has_body, format!("{method} {path}: {:?}", received.text()))?;
            require(received.end.is_some_and(|(_, end)| end == End::Clean), format!("{method} {path}: no clean end"))?;
        }
        Ok(())
    });
}

#[test]
fn a_client_that_expects_100_gets_it_when_the_body_is_read() {
    holds(async |lab, ()| {
        for (path, continues) in [("/reads", true), ("/refuses", false)] {
            let scene = lab.scene(path);
            let app = Router::new()
                .route("/reads", on_post(|body: String| async move { body }))
                .route("/refuses", on_post(|| async { StatusCode::PAYLOAD_TOO_LARGE.into_response() }));
            let mut raw = scene.serve(app).connect_raw("client", Protocol::Http1);
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
            raw.write(head.as_bytes()).await;
            scene.settle().await;
            let continued = raw.text().starts_with("HTTP/1.1 100 Continue\r\n");
            require(continued == continues, format!("{path}: {}", raw.text()))?;
            raw.write(b"boo").await;
            scene.settle().await;
            require(raw.text().contains(if continues { "\r\n\r\nboo" } else { "413" }), raw.text())?;
        }
        Ok(())
    });
}

#[test]
fn gzip_is_decoded_across_frames_as_soon_as_it_can_be() {
    holds_in_both(async |scene, protocol| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(b"one\n").and_then(|()| encoder.flush());
        control(written.is_ok(), "no gzip")?;
        let first = std::mem::take(encoder.get_mut());
        let written = encoder.write_all(b"two\n");
        let rest = encoder.finish().unwrap_or_default();
        control(written.is_ok() && !rest.is_empty(), "no gzip")?;

        let (mut feed, body) = scene.feed("source");
        let held = Arc::new(Mutex::new(Some(body)));
        let answer = move || {
            let body = held.lock().ok().and_then(|mut held| held.take()).unwrap_or_default();
            std::future::ready(([("content-encoding", "gzip")], body))
        };
        let client = scene.serve(Router::new().route("/", on_get(answer))).connect("client", protocol).await;
        let listener = client.send(get("/")).await?.listen();
        for byte in &first {
            feed.data(vec![*byte]);
            sleep(Duration::from_secs(1)).await;
        }
        let flushed = 1000 * (first.len() as u64);
        require(
            listener.so_far().text() == "one\n",
            format!("flushed and not decoded: {:?}", listener.so_far().text()),
        )?;
        feed.data(rest.clone());
        feed.end();
        let received = listener.ended().await;
        require(received.text() == "one\ntwo\n", received.text())?;
        require(received.came_at_ms("two") == Some(flushed), format!("came at {:?}", received.came_at_ms("two")))?;
        require(received.raw == [first, rest].concat(), "the raw bytes differ")
    });
}

#[test]
fn of_gzip_everything_that_was_flushed_is_decoded_at_once_however_much_it_is() {
    // One line again and again, of which little is left; a list of numbers; and bytes that gzip cannot make smaller.
    let line = b"the same again\n".repeat(14_000);
    let list: Vec<u8> = (0..40_000).flat_map(|number: u32| format!("{number}\n").into_bytes()).collect();
    let mut last = 1_u32;
    let noise = std::iter::repeat_with(|| {
        last = last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (last >> 24) as u8
    });
    let noise: Vec<u8> = noise.take(200_000).collect();
    for sent in [line, list, noise] {
        holds_in_both(async move |scene, protocol| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let written = encoder.write_all(&sent).and_then(|()| encoder.flush());
            control(written.is_ok(), "no gzip")?;
            let flushed = std::mem::take(encoder.get_mut());
            let (mut feed, body) = scene.feed("source");
            let held = Arc::new(Mutex::new(Some(body)));
            let answer = move || {
                let body = held.lock().ok().and_then(|mut held| held.take()).unwrap_or_default();
                std::future::ready(([("content-encoding", "gzip")], body))
            };
            let client = scene.serve(Router::new().route("/", on_get(answer))).connect("client", protocol).await;
            let listener = client.send(get("/")).await?.listen();
            feed.data(flushed.clone());
            sleep(Duration::from_secs(1)).await;
            let so_far = listener.so_far();
            require(so_far.raw == flushed, format!("{} of {} bytes came", so_far.raw.len(), flushed.len()))?;
            let decoded = so_far.bytes();
            require(decoded == sent, format!("{} of {} bytes were decoded", decoded.len(), sent.len()))?;
            feed.data(encoder.finish().unwrap_or_default());
            feed.end();
            require(listener.ended().await.bytes() == sent, "more or fewer came with the end")
        });
    }
}

#[test]
fn a_source_that_fails_reaches_the_client_as_an_error_after_what_came_before() {
    holds_in_both(async |scene, protocol| {
        let (feed, body) = scene.feed("source");
        let client = scene.serve(streaming(body)).connect("client", protocol).await;
        let mut listener = client.send(get("/")).await?.listen();
        feed.data("one\n");
        listener.hears("one\n").await?;
        feed.fail("the disk is gone");
        feed.data("a word from the dead");
        let late = listener.hears("dead").await;
        require(late.is_err(), "a source that has failed goes on")?;
        let received = listener.ended().await;
        require(received.end == Some((0, End::Error)) && received.text() == "one\n", format!("{received:?}"))
    });
}

#[test]
fn a_fed_body_that_has_ended_stays_ended() {
    use http_body_util::BodyExt;
    holds(async |lab, ()| {
        let scene = lab.scene("polled again");
        for fails in [false, true] {
            let (mut feed, mut body) = scene.feed("source");
            feed.data("one");
            if fails {
                feed.fail("the disk is gone");
                feed.data("a word from the dead");
            }
            feed.end();
            feed.data("too late");
            let mut frames = Vec::new();
            for _ in 0..5 {
                frames.push(body.frame().await.map(|frame| frame.is_ok()));
            }
            let expected = [Some(true), fails.then_some(false), None, None, None];
            require(frames == expected, format!("{frames:?}"))?;
            drop(body);
            feed.dropped().await;
            dropped(&feed, 0)?;
        }
        Ok(())
    });
}
