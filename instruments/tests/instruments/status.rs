use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use instruments::{
    Chain, Faults, Heat, Observe, Status, Tasks, redact,
    status::{MOST, Resource},
};
use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tower::ServiceExt;

const TOKEN: &str = "a-token-of-the-test";

struct Pool;

impl Resource for Pool {
    fn snapshot(&self) -> Value {
        json!({ "idle": 3, "waiting": 1, "password": "hunter2", "replicas": [{ "url": "postgres://app:hunter2@db/orders" }] })
    }
}

struct Service {
    app: Router,
    tasks: Tasks,
}

fn service() -> Service {
    let (tasks, chain, heat) = (Tasks::new(), Chain::new(), Heat::new());
    let status = Status::new(TOKEN).unwrap();
    let status = status.tasks(&tasks).chain(&chain).heat(&heat).faults(&Faults::off()).resource("pool", Arc::new(Pool));
    let app = Router::new()
        .route("/parcels/{id}", get(async || sleep(Duration::from_secs(30)).await))
        .layer(chain.mark("handler"))
        .layer(Observe::new().then(heat.recorder()))
        .merge(status.router())
        .with_state(());
    Service { app, tasks }
}

fn from(address: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(path).extension(ConnectInfo::<SocketAddr>(address.parse().unwrap()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// A page, for an address that nobody else has.
async fn page(app: &Router, n: u8, path: &str) -> Response<Body> {
    let request = from(&format!("10.0.0.{n}:1"), path, &[("authorization", &bearer())]);
    app.clone().oneshot(request).await.unwrap()
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_page_shows_what_the_docs_say() {
    let Service { app, tasks } = service();
    tasks.spawn("flush", std::future::pending::<()>());
    for n in 0..2 {
        let request = Request::get("/parcels/7").body(Body::empty()).unwrap();
        let asking = app.clone().oneshot(request);
        match n {
            0 => drop(asking.await.unwrap()),
            _ => drop(tokio::spawn(asking)),
        }
    }
    sleep(Duration::from_millis(1_500)).await;
    let mut told = String::new();
    let index: Value = serde_json::from_str(&text(page(&app, 0, "/debug").await).await).unwrap();
    for (n, path) in index["pages"].as_array().unwrap().iter().enumerate() {
        let path = path.as_str().unwrap();
        let answer = page(&app, n as u8 + 1, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(answer.body().size_hint().exact().is_some(), "one snapshot, in memory");
        let text = text(answer).await;
        assert!(!text.contains("hunter2"), "{text}");
        match path.ends_with(".svg") {
            true => drop(roxmltree::Document::parse(&text).unwrap()),
            false => told += &format!("{path}\n{text}\n\n"),
        }
    }
    let place = told.find("instruments/tests/").unwrap();
    let end = told[place..].find('"').unwrap();
    told.replace_range(place..place + end, "a place");
    insta::assert_snapshot!(told);
}

#[tokio::test(start_paused = true)]
async fn without_the_token_in_the_header_there_is_nothing_to_see() {
    let Service { app, .. } = service();
    let right = bearer();
    let too_long = format!("{right}!");
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let refused: &[(&str, Headers<'_>, u16)] = &[
        ("/debug/tasks", &[], 401),
        ("/debug/tasks", &[("authorization", "Bearer ")], 401),
        ("/debug/tasks", &[("authorization", TOKEN)], 401),
        ("/debug/tasks", &[("authorization", &too_long)], 401),
        ("/debug/tasks", &[("authorization", &right[..right.len() - 1])], 401),
        ("/debug/tasks", &[("authorization", &right), ("authorization", &right)], 401),
        ("/debug/tasks", &[("cookie", &right)], 401),
        ("/debug/tasks?token=a-token-of-the-test", &[], 400),
        ("/debug/tasks?token=a-token-of-the-test", &[("authorization", &right)], 400),
        ("/debug/tasks?", &[("authorization", &right)], 400),
    ];
    for (n, (path, headers, status)) in refused.iter().enumerate() {
        let answer = app.clone().oneshot(from(&format!("10.0.0.{n}:1"), path, headers)).await.unwrap();
        assert_eq!(answer.status().as_u16(), *status, "{path} {headers:?}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers().contains_key("www-authenticate"), *status == 401);
        let text = text(answer).await;
        assert!(!text.contains(TOKEN) && text.lines().count() == 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_has_five_requests_in_any_minute() {
    let Service { app, .. } = service();
    // One every 10 s: the sixth would be the sixth in a minute.
    for _ in 0..MOST {
        assert_eq!(page(&app, 1, "/debug").await.status(), StatusCode::OK);
        advance(Duration::from_secs(10)).await;
    }
    let answer = page(&app, 1, "/debug").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (429, &b"10"[..]));
    assert_eq!(page(&app, 2, "/debug").await.status(), StatusCode::OK, "another address");
    advance(Duration::from_millis(9_999)).await;
    let answer = page(&app, 1, "/debug").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (429, &b"1"[..]));
    advance(Duration::from_millis(1)).await;
    assert_eq!(page(&app, 1, "/debug").await.status(), StatusCode::OK);
    assert_eq!(page(&app, 1, "/debug").await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn who_guesses_is_limited_too_and_no_header_changes_the_address() {
    let Service { app, .. } = service();
    for n in 0..20 {
        let forwarded = format!("10.9.9.{n}");
        let request =
            from("[2001:db8::1]:1", "/debug", &[("x-forwarded-for", &forwarded), ("authorization", "Bearer no")]);
        let expected = if n < MOST { 401 } else { 429 };
        assert_eq!(app.clone().oneshot(request).await.unwrap().status().as_u16(), expected);
    }
    // The same network, another host of it.
    let request = from("[2001:db8::2:1]:1", "/debug", &[("authorization", &bearer())]);
    assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn where_no_address_is_known_all_share_one() {
    let Service { app, .. } = service();
    for n in 0..6 {
        let request = Request::get("/debug").header("authorization", bearer()).body(Body::empty()).unwrap();
        let expected = if n < MOST { 200 } else { 429 };
        assert_eq!(app.clone().oneshot(request).await.unwrap().status().as_u16(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_a_second_are_told_so_and_the_service_goes_on() {
    let Service { app, .. } = service();
    let mut seen = std::collections::BTreeMap::<u16, usize>::new();
    for n in 0..1_000 {
        *seen.entry(page(&app, 1, "/debug/tasks").await.status().as_u16()).or_default() += 1;
        advance(Duration::from_millis(1)).await;
        // As many others, none of whom comes back.
        let request = from(&format!("11.{}.{}.1:1", n / 250, n % 250), "/debug/tasks", &[]);
        app.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(Vec::from_iter(seen), [(200, 5), (429, 995)]);
    let request = Request::get("/parcels/7").body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_holds_nothing() {
    let Service { app, tasks } = service();
    let unread = page(&app, 1, "/debug/tasks").await;
    let task = tasks.spawn("flush", async {});
    task.await.unwrap();
    assert_eq!(page(&app, 2, "/debug/tasks").await.status(), StatusCode::OK);
    assert!(text(unread).await.contains("\"tasks\":[]"), "what it is shown is what was");
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    for token in ["", "short", "fifteen-letters", "with a space in it", "with-ä-in-the-token", "a-line\n-in-the-token"]
    {
        let why = Status::new(token).unwrap_err().to_string();
        assert_eq!(why, "the token of the status pages needs at least 16 characters, visible ones of ASCII");
    }
}

#[tokio::test]
async fn without_a_token_in_the_environment_there_are_no_pages() {
    let app = Router::<()>::new().merge(Status::from_env().unwrap().tasks(&Tasks::new()).router());
    assert_eq!(page(&app, 1, "/debug/tasks").await.status(), StatusCode::NOT_FOUND);
}

#[test]
fn secrets_are_hidden_by_header_by_field_and_in_addresses() {
    let mut headers = HeaderMap::new();
    for name in ["authorization", "cookie", "x-api-key", "x-csrf-token", "user-agent", "referer"] {
        headers.insert(name, "https://me:pw@host/path".parse().unwrap());
    }
    let mut marked: http::HeaderValue = "marked".parse().unwrap();
    marked.set_sensitive(true);
    headers.insert("x-marked", marked);
    let shown: Vec<_> = redact::headers(&headers).into_iter().filter(|(_, value)| value != redact::REDACTED).collect();
    let left = |name: &str| (name.to_owned(), "https://[redacted]@host/path".to_owned());
    assert_eq!(shown, [left("referer"), left("user-agent")]);

    let mut value = json!({
        "Session_Id": 7, "PASSWORD": null, "keys": ["a"], "monkey": "b",
        "nested": [{ "clientSecret": { "a": "b" } }], "text": "no address: me@host", "two": "http://a@b http://c/d@e ftp://f:g@h"
    });
    redact::json(&mut value);
    let expected = json!({
        "Session_Id": "[redacted]", "PASSWORD": null, "keys": ["a"], "monkey": "b",
        "nested": [{ "clientSecret": "[redacted]" }], "text": "no address: me@host",
        "two": "http://[redacted]@b http://c/d@e ftp://[redacted]@h"
    });
    assert_eq!(value, expected);
}
