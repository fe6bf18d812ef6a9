use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request as AxumRequest,
    middleware::{Next, from_fn},
    routing::get,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use instruments::{
    Chain,
    chain::{KEPT, MOST_SPANS, Times, Trace},
};
use serde_json::Value;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

fn asked(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}

/// Name, ready, before, inner, after, itself, body: in milliseconds.
fn told(trace: &Trace) -> Vec<String> {
    let line = |name, Times { ready, before, inner, after, itself, body, .. }: Times| {
        format!("{name} {:?}", [ready, before, inner, after, itself, body].map(millis))
    };
    trace.spans.iter().map(|(span, times)| line(span.name, *times)).collect()
}

async fn takes(before: u64, after: u64, request: AxumRequest, next: Next) -> Response<Body> {
    sleep(Duration::from_millis(before)).await;
    let answer = next.run(request).await;
    sleep(Duration::from_millis(after)).await;
    answer
}

/// 20 ms to the head, and a byte 10 and 20 ms later.
async fn handler() -> Response<Body> {
    sleep(Duration::from_millis(20)).await;
    let frames = futures_util::stream::unfold(0, async |n| {
        sleep(Duration::from_millis(10)).await;
        (n < 2).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), n + 1))
    });
    Response::new(Body::new(StreamBody::new(frames)))
}

/// Four names: two that take time, one that has to be waited for, and what is inside.
fn gateway(chain: &Chain) -> Router {
    let slow = |before, after| from_fn(move |request, next| takes(before, after, request, next));
    let routes = Router::new().route("/parcels/{id}", get(handler)).layer(
        ServiceBuilder::new()
            .layer(chain.named("auth", slow(5, 3)))
            .layer(chain.named("limit", ConcurrencyLimitLayer::new(1)))
            .layer(chain.named("stamp", slow(0, 1)))
            .layer(chain.mark("handler")),
    );
    // As a server does; a router without its state makes its layers anew for each request, and a limit then limits nothing.
    routes.with_state(())
}

#[tokio::test(start_paused = true)]
async fn the_time_of_each_layer_is_its_own() {
    let chain = Chain::new();
    let answer = gateway(&chain).oneshot(asked("/parcels/7")).await.unwrap();
    assert_eq!(chain.open().len(), 1, "the body has not ended");
    answer.into_body().collect().await.unwrap();
    assert!(chain.open().is_empty());
    let [trace] = &*chain.ended() else { panic!("one request") };
    assert_eq!((&*trace.route, trace.status.unwrap().as_u16(), millis(trace.age())), ("/parcels/{id}", 200, 59));
    assert_eq!(
        told(trace),
        [
            "auth [0, 5, 21, 3, 8, 30]",
            "limit [0, 0, 21, 0, 0, 33]",
            "stamp [0, 0, 20, 1, 1, 33]",
            "handler [0, 20, 0, 0, 20, 34]"
        ]
    );
    insta::assert_snapshot!(trace);
}

#[tokio::test(start_paused = true)]
async fn waiting_to_be_ready_is_told_apart() {
    let chain = Chain::new();
    let app = gateway(&chain);
    let whole = async |path| app.clone().oneshot(asked(path)).await.unwrap().into_body().collect().await.unwrap();
    tokio::join!(whole("/parcels/1"), whole("/parcels/2"));
    let traces = chain.ended();
    // The limit lets the second go with the head of the first, and axum's `from_fn` is ready when what is inside it is.
    assert_eq!(told(&traces[1])[..2], ["auth [26, 5, 21, 3, 8, 30]", "limit [26, 0, 21, 0, 0, 33]"]);
    assert_eq!(millis(traces[1].age()), 26 + 59);
}

#[tokio::test(start_paused = true)]
async fn waiting_in_the_call_is_neither_before_nor_inner() {
    // A service that asks for readiness when it has a request, as axum's routes do.
    let chain = Chain::new();
    let inner = chain.named("limit", ConcurrencyLimitLayer::new(1)).layer(service_fn(async |_: Request<Body>| {
        sleep(Duration::from_millis(10)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let outer = chain.mark("outer").layer(service_fn(move |request| inner.clone().oneshot(request)));
    let (first, second) = tokio::join!(outer.clone().oneshot(asked("/")), outer.oneshot(asked("/")));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(told(&chain.ended()[1]), ["outer [0, 0, 10, 0, 0, 0]", "limit [10, 10, 0, 0, 10, 0]"]);
}

#[tokio::test(start_paused = true)]
async fn between_two_tries_it_is_the_retrying_layer() {
    let chain = Chain::new();
    let inner = chain.mark("try").layer(service_fn(async |_: Request<Body>| {
        sleep(Duration::from_millis(10)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let retries = move |request: Request<Body>| {
        let mut inner = inner.clone();
        async move {
            let again = request.extensions().clone();
            inner.ready().await?.call(request).await?;
            sleep(Duration::from_millis(7)).await;
            let mut second = asked("/");
            *second.extensions_mut() = again;
            inner.ready().await?.call(second).await
        }
    };
    chain.mark("retry").layer(service_fn(retries)).oneshot(asked("/")).await.unwrap();
    assert_eq!(
        told(&chain.ended()[0]),
        ["retry [0, 0, 20, 0, 7, 0]", "try [0, 10, 0, 0, 10, 0]", "try [0, 10, 0, 0, 10, 0]"]
    );
}

#[tokio::test(start_paused = true)]
async fn two_calls_at_once_count_once() {
    let chain = Chain::new();
    let inner = chain.mark("try").layer(service_fn(async |request: Request<Body>| {
        sleep(Duration::from_millis(request.uri().path().len() as u64 * 10)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let hedges = move |request: Request<Body>| {
        let (mut inner, mut other) = (inner.clone(), inner.clone());
        async move {
            let mut second = asked("/22");
            *second.extensions_mut() = request.extensions().clone();
            let (answer, _) = tokio::join!(inner.call(request), other.call(second));
            answer
        }
    };
    chain.mark("hedge").layer(service_fn(hedges)).oneshot(asked("/")).await.unwrap();
    assert_eq!(told(&chain.ended()[0])[0], "hedge [0, 0, 30, 0, 0, 0]");
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_answers_itself_has_nothing_inside() {
    let chain = Chain::new();
    let refuses = from_fn(async |_: AxumRequest, _: Next| {
        sleep(Duration::from_millis(4)).await;
        http::StatusCode::FORBIDDEN
    });
    let stack = ServiceBuilder::new().layer(chain.named("auth", refuses)).layer(chain.mark("handler"));
    let app = Router::new().route("/", get(handler)).layer(stack);
    app.oneshot(asked("/")).await.unwrap();
    assert_eq!(told(&chain.ended()[0]), ["auth [0, 4, 0, 0, 4, 0]"]);
}

#[tokio::test(start_paused = true)]
async fn in_flight_it_tells_the_layer_and_the_age() {
    let chain = Chain::new();
    let app = gateway(&chain);
    let at = async |after| {
        let _ = tokio::time::timeout(Duration::from_millis(after), app.clone().oneshot(asked("/parcels/7"))).await;
    };
    let looking = async {
        let mut seen = Vec::new();
        for _ in 0..5 {
            sleep(Duration::from_millis(6)).await;
            seen.extend(chain.open().iter().map(|trace| (trace.layer().unwrap(), millis(trace.age()))));
        }
        seen
    };
    let (_, seen) = tokio::join!(at(27), looking);
    // After 27 ms the client has left.
    assert_eq!(seen, [("handler", 6), ("handler", 12), ("handler", 18), ("handler", 24)]);
    assert!(chain.open().is_empty());
    assert_eq!(told(&chain.ended()[0])[0], "auth [0, 5, 21, 1, 6, 0]");
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_trace() {
    let chain = Chain::new();
    let panics = service_fn(async |_: Request<Body>| -> Result<Response<Body>, Infallible> { panic!("on purpose") });
    let service = chain.mark("outer").layer(chain.mark("inner").layer(panics));
    tokio::spawn(service.oneshot(asked("/"))).await.unwrap_err();
    assert_eq!((chain.open().len(), chain.ended().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let chain = Chain::new();
    let inner =
        chain.mark("try").layer(service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty()))));
    let tries = move |request: Request<Body>| {
        let mut inner = inner.clone();
        async move {
            for _ in 0..2 * MOST_SPANS {
                let mut again = asked("/");
                *again.extensions_mut() = request.extensions().clone();
                inner.ready().await?.call(again).await?;
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    };
    let service = chain.mark("retry").layer(service_fn(tries));
    for _ in 0..3 * KEPT {
        service.clone().oneshot(asked("/")).await.unwrap();
    }
    let ended = chain.ended();
    assert_eq!((ended.len(), ended[0].spans.len()), (KEPT, MOST_SPANS));
    assert_eq!(ended.last().unwrap().id, 3 * KEPT as u64);
    assert_eq!(chain.by_layer().iter().map(|layer| layer.calls).sum::<u64>(), (3 * KEPT * MOST_SPANS) as u64);
}

#[tokio::test(start_paused = true)]
async fn the_table_by_layer_sums_up() {
    let chain = Chain::new();
    let app = gateway(&chain);
    for _ in 0..10 {
        app.clone().oneshot(asked("/parcels/7")).await.unwrap().into_body().collect().await.unwrap();
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&chain.by_layer()).unwrap());
}

/// Two requests, one of which waits, and one that is abandoned.
async fn played() -> Chain {
    let chain = Chain::new();
    let app = gateway(&chain);
    let whole = async |path| app.clone().oneshot(asked(path)).await.unwrap().into_body().collect().await.unwrap();
    tokio::join!(whole("/parcels/1"), whole("/parcels/2"));
    let _ = tokio::time::timeout(Duration::from_millis(12), app.clone().oneshot(asked("/parcels/3"))).await;
    chain
}

#[tokio::test(start_paused = true)]
async fn the_waterfall_is_a_well_formed_picture_and_the_same_every_time() {
    let chain = played().await;
    let svg = chain.ended()[1].to_svg();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let words: Vec<_> =
        document.descendants().filter(|node| node.has_tag_name("text")).filter_map(|node| node.text()).collect();
    for word in ["auth", "limit", "stamp", "handler", "ready", "itself", "GET /parcels/{id} 200, 85.000 ms"] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
    assert_eq!(svg, played().await.ended()[1].to_svg());
}

#[tokio::test(start_paused = true)]
async fn names_with_signs_of_their_own_leave_the_picture_well_formed() {
    let chain = Chain::new().route(|_, _| Some("<&\">"));
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    chain.mark("<b>").layer(service).oneshot(asked("/")).await.unwrap();
    let svg = chain.ended()[0].to_svg();
    let document = roxmltree::Document::parse(&svg).unwrap();
    assert_eq!(document.root_element().first_element_child().unwrap().text(), Some("GET <&\"> 200, 0.000 ms"));
}

/// The Trace Event Format, as far as Perfetto's importer of JSON asks for it: the fields of each phase with their types, and complete
/// events of one track that nest.
#[tokio::test(start_paused = true)]
async fn the_trace_file_keeps_the_schema_of_the_trace_event_format() {
    let file: Value = serde_json::from_str(&played().await.to_chrome()).unwrap();
    assert!(["ms", "ns"].contains(&file["displayTimeUnit"].as_str().unwrap()));
    let mut tracks = std::collections::BTreeMap::<u64, Vec<(f64, f64)>>::new();
    let mut names = std::collections::BTreeSet::new();
    for event in file["traceEvents"].as_array().unwrap() {
        assert!(event["name"].is_string() && event["pid"].is_u64() && event["args"].is_object(), "{event}");
        let track = event["tid"].as_u64().unwrap();
        match event["ph"].as_str().unwrap() {
            "M" => {
                assert!(["process_name", "thread_name"].contains(&event["name"].as_str().unwrap()), "{event}");
                assert!(event["args"]["name"].is_string());
            }
            "X" => {
                let (from, lasted) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
                assert!(from >= 0.0 && lasted >= 0.0 && event["cat"].is_string(), "{event}");
                tracks.entry(track).or_default().push((from, from + lasted));
                names.insert(event["name"].as_str().unwrap().to_owned());
            }
            other => panic!("no phase that is written here: {other}"),
        }
    }
    assert_eq!(Vec::from_iter(names), ["auth", "handler", "limit", "stamp"]);
    // Three requests, and the readiness of one.
    assert_eq!(tracks.len(), 4);
    for mut calls in tracks.into_values() {
        calls.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut open = Vec::<(f64, f64)>::new();
        for (from, to) in calls {
            open.retain(|outside| outside.1 > from);
            assert!(open.iter().all(|outside| to <= outside.1), "{from} to {to} in {open:?}");
            open.push((from, to));
        }
    }
}
