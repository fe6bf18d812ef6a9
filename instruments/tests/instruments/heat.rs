use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Path, routing::get};
use http::Request;
use instruments::{Heat, Observe, heat::PANELS};
use tokio::time::{Instant, advance, sleep};
use tower::ServiceExt;

/// What the cells say when they are pointed at, and the words.
fn read(svg: &str) -> (Vec<String>, Vec<String>) {
    let document = roxmltree::Document::parse(svg).unwrap();
    let of = |name: &'static str| document.descendants().filter(move |node| node.has_tag_name(name));
    let text = |node: roxmltree::Node| node.text().unwrap().to_owned();
    let cells = of("title").map(text).filter(|told| told.contains(" ms, ")).collect();
    (cells, of("text").map(text).collect())
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_a_cell_of_its_route_its_time_and_its_latency() {
    let heat = Heat::new();
    let app = Router::new()
        .route("/takes/{ms}", get(async |Path(ms): Path<u64>| sleep(Duration::from_millis(ms)).await))
        .layer(Observe::new().then(heat.recorder()));
    for ms in [5, 5, 900] {
        let request = Request::get(format!("/takes/{ms}")).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    let (cells, words) = read(&heat.to_svg());
    assert_eq!(cells, ["2 of 4.0 to 6.3 ms, 0.0 s after the start", "1 of 631.0 to 1000.0 ms, 0.0 s after the start"]);
    assert!(words.contains(&"/takes/{ms}: 3 answers, at most 2 in a cell".to_owned()), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn each_bound_is_in_the_row_that_begins_with_it_and_the_ends_are_open() {
    for (micros, cell) in [
        (0, "1 of 0.1 to 0.2 ms"),
        (100, "1 of 0.1 to 0.2 ms"),
        (1_000, "1 of 1.0 to 1.6 ms"),
        (10_000, "1 of 10.0 to 15.8 ms"),
        (9_999, "1 of 6.3 to 10.0 ms"),
        (100_000_000, "1 of 63095.7 to 100000.0 ms"),
        (u64::MAX / 1_000_000_000, "1 of 63095.7 to 100000.0 ms"),
    ] {
        let heat = Heat::of_width(Duration::from_secs(1_000_000));
        heat.record(&Arc::from("/"), Instant::now(), Duration::from_micros(micros));
        let (cells, _) = read(&heat.to_svg());
        assert!(cells[0].starts_with(cell), "{micros}: {cells:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_map_is_gone_however_long_nothing_came() {
    let heat = Heat::new();
    let record = || heat.record(&Arc::from("/"), Instant::now(), Duration::from_millis(1));
    for _ in 0..90 {
        record();
        advance(Duration::from_secs(1)).await;
    }
    let (cells, _) = read(&heat.to_svg());
    // The column of now is empty yet.
    assert_eq!((cells.len(), cells[0].as_str()), (59, "1 of 1.0 to 1.6 ms, 31.0 s after the start"));
    advance(Duration::from_secs(1_000_000_000)).await;
    assert!(read(&heat.to_svg()).1.contains(&"no request has ended".to_owned()));
    record();
    heat.record(&Arc::from("/"), Instant::now() - Duration::from_secs(100), Duration::ZERO);
    assert_eq!(read(&heat.to_svg()).0.len(), 1, "what ended before the oldest column isn't shown");
}

#[tokio::test(start_paused = true)]
async fn the_busiest_routes_have_a_panel_and_the_others_share_one() {
    let heat = Heat::new();
    for n in 0..PANELS + 5 {
        for _ in 0..=n {
            heat.record(&Arc::from(format!("/{n:02}")), Instant::now(), Duration::from_millis(1));
        }
    }
    let (_, words) = read(&heat.to_svg());
    let panels: Vec<_> = words.iter().filter(|word| word.contains("answers")).collect();
    assert_eq!(panels.len(), PANELS + 1);
    assert!(panels[0].starts_with("/16: 17 answers"), "{panels:?}");
    assert_eq!(panels[PANELS], "5 other routes: 15 answers, at most 15 in a cell");
}
