//! Nothing gives away which ghost it is: not the page, not what the page is sent, not the logs, not the processes.

use drills::{Drill, looks::Look, page};
use ghosts::{catalogue::ghosts::ALL, checkout::Checkout, read::serve};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;

use crate::support::{quick, until};

/// The slug as it is, as a crate, and as a path of its source.
fn forms(slug: &str) -> [String; 3] {
    [slug.to_owned(), slug.replace('-', "_"), format!("cases/{slug}")]
}

/// How often each ghost is named.
fn named(text: &str) -> Vec<(&'static str, usize)> {
    ALL.iter()
        .map(|ghost| (ghost.slug, forms(ghost.slug).iter().map(|form| text.matches(form).count()).sum()))
        .collect()
}

#[test]
fn what_the_page_is_sent_names_every_ghost_as_often_or_none() {
    // One that panics, one that speaks by its dependency, and whatever the seed draws.
    let drawn = [(0, None), (1, Some("body-double-close")), (2, Some("unready-clone"))];
    for (seed, drill) in drawn.map(|(seed, slug)| (seed, quick(seed, slug))) {
        until(&drill, 50.0);
        let texts = fetched(&drill);
        for (path, text) in &texts {
            assert!(!text.is_empty(), "{path}");
            let counts: Vec<usize> = named(text).into_iter().map(|(_, count)| count).collect();
            let even = counts.iter().all(|count| *count == counts[0]);
            assert!(even, "seed {seed}: {path} names some ghosts more than others: {:?}", named(text));
        }
        assert!(texts.iter().any(|(path, text)| path == "/setup" && named(text).iter().all(|(_, count)| *count == 1)));
    }
}

#[test]
fn no_look_names_a_ghost() {
    let drawn = [(3, Some("layer-order")), (4, Some("body-double-close")), (5, Some("unready-clone"))];
    for (seed, drill) in drawn.map(|(seed, slug)| (seed, quick(seed, slug))) {
        until(&drill, 50.0);
        for drawn in &drill.draw.services {
            let service = drawn.drill.service.clone();
            let ask = Look::Ask {
                service: service.clone(),
                method: String::new(),
                path: "/livez".to_owned(),
                header: String::new(),
            };
            for look in [Look::Bundle { service: service.clone() }, ask] {
                let shown = drill.runtime().block_on(drill.look(&look)).expect("a look");
                let text = format!("{} {}", shown.title, shown.text);
                assert!(named(&text).iter().all(|(_, count)| *count == 0), "seed {seed}: {text}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_process_and_no_thread_is_named_after_a_ghost() {
    let drill = quick(2, None);
    let load = drill.load_id().expect("a load");
    let mut told = std::fs::read_to_string(format!("/proc/{load}/cmdline")).expect("its command line");
    for process in [load, std::process::id()] {
        for thread in std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads").flatten() {
            // The threads of tests are named after the tests, and none of these after a ghost.
            told += &std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        }
    }
    assert!(named(&told).iter().all(|(_, count)| *count == 0), "{told}");
}

/// All that the page can ask for.
fn fetched(drill: &std::sync::Arc<Drill>) -> Vec<(String, String)> {
    drill.runtime().block_on(async {
        let listener = serve::bind(0).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(page::serve(listener, drill.clone(), None::<Checkout>));
        let mut texts = Vec::new();
        for path in ["/", "/room", "/drill.js", "/drill.css", "/setup", "/evidence.json", "/events"] {
            let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await.expect("a connection"));
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("HTTP");
            tokio::spawn(connection);
            let request = http::Request::get(path).header("host", address.to_string());
            let request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
            let mut answer = sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            let mut text = String::new();
            // The events go on; the first has all that there was.
            while let Some(frame) = answer.body_mut().frame().await {
                let data = frame.expect("a frame").into_data().unwrap_or_default();
                text += &String::from_utf8_lossy(&data);
                if path == "/events" && text.ends_with("\n\n") {
                    break;
                }
            }
            texts.push((path.to_owned(), text));
        }
        texts
    })
}
