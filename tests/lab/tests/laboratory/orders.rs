//! The orders in which things may come, as lists.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, body::Body, http::HeaderMap, response::Response, routing};
use http_body_util::BodyExt;
use lab::{Arrival, Course, Lab, Proof, Protocol, Scene, control, ready_twice, require};
use tokio::{
    sync::Semaphore,
    time::{Duration, sleep},
};
use tower::ServiceExt;

use crate::{get, holds, judged, observed, post, transcript};

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().expect("a name"), "7".parse().expect("a value"))])
}

/// What a source hands out before its end, frame by frame.
async fn read(mut body: Body) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("it does not fail");
        frames.push(match frame.into_data() {
            Ok(data) => format!("{:?}", String::from_utf8_lossy(&data)),
            Err(frame) => format!("{} trailers", frame.into_trailers().expect("there is no third kind").len()),
        });
    }
    frames
}

#[test]
fn a_body_comes_in_each_order() {
    let report = judged(async |lab: Lab, ()| {
        for arrival in Arrival::ALL {
            let scene = lab.scene(arrival.to_string());
            let (feed, body) = scene.feed("source");
            let mut course = Course::new(&scene, feed, arrival, &["one", "two"], Some(trailers()));
            scene.note("scene", "gives the head");
            let reader = scene.spawn({
                let scene = scene.clone();
                async move {
                    for frame in read(body).await {
                        scene.note("reader", format!("has read {frame}"));
                    }
                }
            });
            course.run().await;
            reader.await.expect("it does not panic");
            let expected = if arrival == Arrival::TrailersOnly { "" } else { "onetwo" };
            require(course.text() == expected, course.text())?;
        }
        Ok(())
    });
    assert!(report.all_kept(), "{report}");
    let scenes = report.promises[0].scenes.iter().map(|scene| format!("{}:\n{scene}", scene.title));
    insta::assert_snapshot!(scenes.collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_was_sent_arrives_whole_in_each_order() {
    holds(async |lab: Lab, ()| {
        for protocol in Protocol::BOTH {
            for arrival in Arrival::ALL {
                let scene = lab.scene(format!("{protocol}, {arrival}"));
                let (feed, body) = scene.feed_that_ends_once("source");
                let mut course = Course::new(&scene, feed, arrival, &["one", "two"], Some(trailers()));
                let body = Arc::new(Mutex::new(Some(body)));
                let take = move || body.lock().ok().and_then(|mut body| body.take()).unwrap_or_default();
                let app = Router::new().route("/", routing::get(async move || Response::new(take())));
                let client = scene.serve(app).connect("client", protocol).await;
                let listener = client.send(get("/")).await?.listen();
                course.run().await;
                let received = listener.ended().await;
                require(received.text() == course.text(), received.text())?;
                // HTTP/1.1 sends trailers only to those who ask for them.
                let wanted = course.trailers().filter(|_| protocol == Protocol::Http2);
                require(received.trailers.as_ref() == wanted, format!("{:?}", received.trailers))?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_source_that_ends_once_says_that_it_was_polled_after_its_end() {
    let polled_again = |ends_once: bool| {
        judged(async move |lab, ()| {
            let scene = lab.scene("an unfold");
            let (mut feed, mut body) =
                if ends_once { scene.feed_that_ends_once("source") } else { scene.feed("source") };
            feed.end();
            while body.frame().await.is_some() {}
            require(body.frame().await.is_none(), "a body that has ended goes on")
        })
    };
    assert_eq!(observed(&polled_again(false)), "kept");
    let report = polled_again(true);
    assert_eq!(observed(&report), "in an unfold: the source `source` was polled after its end");
    assert_eq!(transcript(&report), "      0 ms  source  ends\n      0 ms  source  is polled after its end\n");
}

#[test]
fn a_breach_counts_beside_what_is_seen_otherwise() {
    let report = judged(async |lab, ()| {
        lab.scene("first").breach("the part was used twice");
        lab.scene("second").breach("not the first breach");
        require(false, "nothing came of it")
    });
    assert_eq!(observed(&report), "in second: nothing came of it; in first: the part was used twice");
}

#[test]
fn a_crowd_asks_before_anybody_is_answered() {
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let gate = Arc::new(Semaphore::new(0));
            let (waiting, asked) = (gate.clone(), Arc::new(Mutex::new(0)));
            let counting = asked.clone();
            let handler = async move || {
                *counting.lock().expect("nothing panics") += 1;
                waiting.acquire().await.expect("it is never closed").forget();
                "boo"
            };
            let server = scene.serve(Router::new().route("/", routing::get(handler)));
            let crowd = server.crowd(protocol, (0..20).map(|_| get("/"))).await;
            scene.settle().await;
            let at_once = *asked.lock().expect("nothing panics");
            require(at_once == 20, format!("{at_once} were asked at once"))?;
            gate.add_permits(20);
            for (_client, asked) in crowd {
                require(asked.answer().await?.status() == 200, "not answered")?;
            }
        }
        Ok(())
    });
}

/// A handler that takes two steps and waits after each; whether the client's answer came to its end.
async fn two_steps(scene: &Scene, protocol: Protocol, leaving: Option<&lab::Leaving>) -> Result<bool, lab::Broken> {
    let done = Arc::new(AtomicBool::new(false));
    let (steps, ending) = (scene.clone(), done.clone());
    let handler = move || {
        let (steps, ending) = (steps.clone(), ending.clone());
        async move {
            for step in ["takes a step", "takes another"] {
                steps.note("app", step);
                sleep(Duration::from_secs(1)).await;
            }
            ending.store(true, Ordering::SeqCst);
            "boo"
        }
    };
    let app = Router::new().route("/", routing::post(handler));
    let client = scene.serve(app).connect("client", protocol).await;
    if let Some(leaving) = leaving {
        client.leaves_at(leaving);
    }
    let answer = client.send(post("/", Body::empty())).await;
    let read = match answer {
        Ok(answer) => answer.read().await.text(),
        Err(_) => String::new(),
    };
    sleep(Duration::from_secs(10)).await;
    control(leaving.is_some() || read == "boo", "no answer")?;
    Ok(done.load(Ordering::SeqCst))
}

#[test]
fn a_client_leaves_at_each_wait_and_between_waits() {
    let report = judged(async |lab: Lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(format!("{protocol}, the client stays"));
            control(two_steps(&scene, protocol, None).await?, "it did not come to its end")?;
            for leaving in scene.moments_to_leave() {
                let scene = lab.scene(format!("{protocol}, {leaving}"));
                let done = two_steps(&scene, protocol, Some(&leaving)).await?;
                let left = if done { "stayed long enough" } else { "left first" };
                scene.note("scene", left);
            }
        }
        Ok(())
    });
    assert!(report.all_kept(), "{report}");
    let left = |scene: &lab::SceneRecord| scene.events.iter().any(|event| event.what == "leaves");
    let all = &report.promises[0].scenes;
    let stayed = all.iter().filter(|scene| !left(scene)).map(|scene| scene.title.as_str());
    assert_eq!(stayed.collect::<Vec<_>>(), ["HTTP/1.1, the client stays", "HTTP/2, the client stays"]);
    let scenes = all.iter().filter(|scene| scene.title.contains("takes another"));
    let scenes = scenes.map(|scene| format!("{}:\n{scene}", scene.title));
    insta::assert_snapshot!(scenes.collect::<Vec<_>>().join("\n"));
}

async fn asked_twice(limit: usize, clone_when_ready: bool) -> Proof {
    let inner = tower::service_fn(async |(): ()| Ok::<_, std::convert::Infallible>(()));
    let limited = tower::limit::ConcurrencyLimit::new(inner, limit);
    if clone_when_ready {
        let mut held = limited.clone();
        let _ = held.ready().await;
        let mut swapped = Swapping(limited, None);
        let _ = ready_twice(&mut swapped).await?;
    } else {
        let mut limited = limited;
        let _ = ready_twice(&mut limited).await?;
    }
    Ok(())
}

/// Takes a clone of its service whenever it is asked, and so a second place.
struct Swapping<S>(S, Option<S>);

impl<S: tower::Service<()> + Clone> tower::Service<()> for Swapping<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        let mut clone = self.0.clone();
        let polled = clone.poll_ready(cx);
        if polled.is_ready() {
            self.1 = Some(clone);
        }
        polled
    }

    fn call(&mut self, request: ()) -> S::Future {
        self.1.take().unwrap_or_else(|| self.0.clone()).call(request)
    }
}

#[test]
fn a_service_that_is_ready_stays_so() {
    holds(async |_, ()| asked_twice(1, false).await);
    let report = judged(async |_, ()| asked_twice(2, true).await);
    assert_eq!(observed(&report), "the service said that it is ready, was asked again, and is not ready any more");
}
