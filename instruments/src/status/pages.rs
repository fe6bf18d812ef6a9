//! What each page shows.

use std::{io::ErrorKind, path::Path};

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};
use serde_json::{Map, Value, json};

use super::{Status, redact};
use crate::{Bundles, Chain, bundle::NotTaken, chain::Trace};

pub(super) fn routes<S: Clone + Send + Sync + 'static>(status: Status) -> Router<S> {
    let mut pages: Vec<(&'static str, MethodRouter<S>)> = Vec::new();
    let Status { tasks, chain, heat, faults, bundles, resources, .. } = status;
    if let Some(tasks) = tasks {
        pages.push(("/debug/tasks", get(async move || Json(tasks.snapshot()))));
    }
    if let Some(chain) = chain {
        let of = |page: fn(&Chain) -> Response| {
            let chain = chain.clone();
            get(async move || page(&chain))
        };
        pages.push((
            "/debug/requests",
            of(|chain| Json(chain.open().iter().map(in_flight).collect::<Value>()).into_response()),
        ));
        pages.push(("/debug/layers", of(|chain| Json(chain.by_layer()).into_response())));
        pages.push((
            "/debug/trace.json",
            of(|chain| ([(CONTENT_TYPE, "application/json")], chain.to_chrome()).into_response()),
        ));
        pages.push(("/debug/waterfall.svg", of(slowest)));
    }
    if let Some(heat) = heat {
        pages.push(("/debug/heat.svg", get(async move || svg(heat.to_svg()))));
    }
    if let Some(faults) = faults {
        pages.push(("/debug/faults", get(async move || Json(faults.state()))));
    }
    if let Some(bundles) = bundles {
        let listed = bundles.clone();
        let page = get(async move || listed_bundles(&listed)).post(async move || taken(bundles).await);
        pages.push(("/debug/bundles", page));
    }
    if !resources.is_empty() {
        let page = async move || {
            let told: Map<String, Value> =
                resources.iter().map(|(name, resource)| ((*name).to_owned(), resource.snapshot())).collect();
            let mut told = Value::Object(told);
            redact::json(&mut told);
            Json(told)
        };
        pages.push(("/debug/resources", get(page)));
    }
    let names: Vec<&str> = pages.iter().map(|(path, _)| *path).collect();
    let index = Json(json!({ "pages": names }));
    let all = Router::new().route("/debug", get(async move || index.clone()));
    pages.into_iter().fold(all, |all, (path, page)| all.route(path, page))
}

fn in_flight(trace: &Trace) -> Value {
    json!({
        "id": trace.id,
        "method": trace.method.as_str(),
        "route": &*trace.route,
        "status": trace.status.map(|status| status.as_u16()),
        "age_ms": trace.age().as_millis() as u64,
        "layer": trace.layer(),
    })
}

fn slowest(chain: &Chain) -> Response {
    match chain.ended().into_iter().max_by_key(Trace::age) {
        Some(trace) => svg(trace.to_svg()),
        None => (StatusCode::NOT_FOUND, "no request has ended\n").into_response(),
    }
}

fn svg(picture: String) -> Response {
    // A picture runs nothing, whoever names its routes.
    let policy = (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"));
    ([(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")), policy], picture).into_response()
}

fn listed_bundles(bundles: &Bundles) -> Response {
    match bundles.list() {
        Ok(paths) => Json(paths.iter().map(|path| name(path)).collect::<Vec<_>>()).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the bundles cannot be listed: {error}\n")).into_response()
        }
    }
}

/// A client that leaves takes no bundle away from those who read it later.
async fn taken(bundles: Bundles) -> Response {
    let taking = tokio::spawn(async move { bundles.take("asked").await });
    match taking.await {
        Ok(Ok(path)) => (StatusCode::CREATED, Json(json!({ "bundle": name(&path) }))).into_response(),
        Ok(Err(error)) => {
            let status = match &error {
                NotTaken::AlreadyTaking => StatusCode::CONFLICT,
                NotTaken::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
                NotTaken::Disk(error) if error.kind() == ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
                NotTaken::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, format!("{error}\n")).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "taking the bundle panicked\n").into_response(),
    }
}

/// The folder is nobody's business.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
