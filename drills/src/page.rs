//! The page: what on-call sees in a browser. Everything on it comes from this process.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::{get, post},
};
use futures_util::stream;
use ghosts::{Refusal, checkout::Checkout, progress};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    Drill,
    answer::{Answer, Grade},
    draw::Choices,
    evidence::{Evidence, Line, Sample},
    looks::{Look, Shown},
};

/// What a page needs to begin with.
#[derive(Serialize)]
struct Setup<'a> {
    seed: u64,
    pager: &'a str,
    minutes: u32,
    services: Vec<&'a str>,
    /// What an everyday request of each service looks like: methods and paths.
    examples: Vec<Vec<(String, String)>>,
    choices: &'a Choices,
    edge: String,
}

/// What has happened since the last message.
#[derive(Serialize)]
struct News {
    clock_s: f64,
    limit_s: f64,
    samples: Vec<Sample>,
    lines: Vec<Line>,
    bought: Vec<Shown>,
    grade: Option<Grade>,
}

/// A drill, and where what comes of it is written.
#[derive(Clone)]
struct Desk {
    drill: Arc<Drill>,
    checkout: Option<Checkout>,
}

/// Serves the page for ever. What comes of the drill is written into the progress of `checkout`, if there is one.
///
/// # Errors
/// If connections can no longer be accepted.
pub async fn serve(listener: TcpListener, drill: Arc<Drill>, checkout: Option<Checkout>) -> Result<(), Refusal> {
    let app = router(drill, checkout);
    axum::serve(listener, app).await.map_err(|error| Refusal::new(format!("cannot serve: {error}")))
}

fn router(drill: Arc<Drill>, checkout: Option<Checkout>) -> Router {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let css = HeaderValue::from_static("text/css; charset=utf-8");
    let js = HeaderValue::from_static("text/javascript; charset=utf-8");
    let file = |kind: HeaderValue, text: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], text));
    Router::new()
        .route("/", file(html.clone(), include_str!("page/drill.html")))
        .route("/room", file(html, include_str!("page/room.html")))
        .route("/drill.css", file(css, include_str!("page/drill.css")))
        .route("/drill.js", file(js, include_str!("page/drill.js")))
        .route("/setup", get(setup))
        .route("/events", get(events))
        .route("/evidence.json", get(evidence))
        .route("/look", post(look))
        .route("/answer", post(answer))
        .layer(from_fn(ours_alone))
        .with_state(Desk { drill, checkout })
}

/// Nothing is asked of anybody else, and no other page shows or asks this one.
async fn ours_alone(request: axum::extract::Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    if !["127.0.0.1", "localhost"].contains(&host) {
        return (StatusCode::FORBIDDEN, "this page is for 127.0.0.1\n").into_response();
    }
    let mut answer = next.run(request).await;
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                  form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn setup(State(Desk { drill, .. }): State<Desk>) -> Response {
    let haunted = &drill.draw.haunted().drill;
    Json(Setup {
        seed: drill.draw.seed,
        pager: &drill.draw.pager,
        minutes: haunted.minutes,
        services: drill.draw.services.iter().map(|drawn| drawn.drill.service.as_str()).collect(),
        examples: drill.draw.services.iter().map(|drawn| drawn.drill.examples()).collect(),
        choices: &drill.draw.choices,
        edge: format!("http://{}", drill.edge()),
    })
    .into_response()
}

async fn events(State(Desk { drill, .. }): State<Desk>) -> impl IntoResponse {
    let mut ticks = drill.ticks();
    // What there is already is the first news.
    ticks.mark_changed();
    Sse::new(stream::unfold((drill, ticks, 0, 0), async |(drill, mut ticks, samples, lines)| {
        ticks.changed().await.ok()?;
        let news = News {
            clock_s: drill.clock(),
            limit_s: drill.limit(),
            samples: drill.samples_since(samples),
            lines: drill.lines_since(lines),
            bought: drill.bought(),
            grade: drill.grade(),
        };
        let samples = samples + news.samples.len();
        let lines = news.lines.last().map_or(lines, |line| line.number + 1);
        let event = Event::default().json_data(&news).ok()?;
        Some((Ok::<_, Infallible>(event), (drill, ticks, samples, lines)))
    }))
}

async fn evidence(State(Desk { drill, .. }): State<Desk>) -> Json<Evidence> {
    Json(drill.evidence())
}

async fn look(State(Desk { drill, .. }): State<Desk>, Json(look): Json<Look>) -> Response {
    match drill.look(&look).await {
        Ok(shown) => Json(shown).into_response(),
        Err(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()).into_response(),
    }
}

async fn answer(State(Desk { drill, checkout }): State<Desk>, Json(given): Json<Answer>) -> Json<Grade> {
    let first = drill.grade().is_none();
    let grade = drill.answer(given);
    if let Some(checkout) = checkout.filter(|_| first) {
        // A full disk costs the line in the progress, and not the answer.
        let _ = write_down(&checkout, &grade);
    }
    Json(grade)
}

/// Writes what came of a drill into the progress of a clone.
///
/// # Errors
/// If it cannot be written.
pub fn write_down(checkout: &Checkout, grade: &Grade) -> Result<(), Refusal> {
    let deed = progress::Deed::Drilled {
        seed: grade.seed,
        named: grade.ghost,
        points: grade.points(),
        seconds: grade.took_s as u64,
    };
    progress::append(checkout, &progress::Event::now(&grade.slug, deed))
}
