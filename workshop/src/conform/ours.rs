//! The ghosts of this book that are a middleware, as rows: the broken twin, each near miss, the fixed twin.

use std::sync::{Arc, atomic::AtomicI64};

use axum::Router;
use conform::Subject;
use matrix::{Row, sending};
use tokio::sync::mpsc::unbounded_channel;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

/// The name of a row that has to break something, but for the near misses that only their specification rejects.
pub(super) const BROKEN: &str = "broken";
/// The name of a row that may break nothing.
pub(super) const FIXED: &str = "fixed";

/// Every row, in the order of the page.
pub(super) fn all() -> Vec<Row> {
    [unready_clone(), hidden_flush(), body_double_close(), swallowed_panic()].into_iter().flatten().collect()
}

fn unready_clone() -> Vec<Row> {
    let of = |name, put, subject| {
        Row::new("unready-clone", name, put, subject)
            .touches("request header x-request-id")
            .touches("response header x-request-id")
    };
    let mut rows = vec![of(BROKEN, "layer()", Subject::layer(unready_clone::layer))];
    rows.extend(unready_clone::near_misses::ALL.iter().map(|&(name, layer)| {
        let boxed = move || ServiceBuilder::new().layer(layer()).layer_fn(BoxCloneSyncService::new);
        of(name, "layer()", Subject::boxed(boxed))
    }));
    rows.push(of(FIXED, "layer()", Subject::layer(unready_clone_fixed::layer)));
    rows
}

fn hidden_flush() -> Vec<Row> {
    let of = |name, app: fn(Router) -> Router| {
        let subject = Subject::app(app).asking(sending("accept-encoding", "gzip"));
        matrix::coded(Row::new("hidden-flush", name, "app(routes), accept-encoding: gzip", subject))
    };
    let mut rows = vec![of(BROKEN, hidden_flush::app)];
    rows.extend(hidden_flush::near_misses::ALL.iter().map(|&(name, app)| of(name, app)));
    rows.push(of(FIXED, hidden_flush_fixed::app));
    rows
}

fn body_double_close() -> Vec<Row> {
    let of = |name, app: body_double_close::near_misses::App| {
        let subject = Subject::app(move |routes| app(8, routes, unbounded_channel().0));
        Row::new("body-double-close", name, "app(8, routes, audit)", subject).touches("request header x-slot")
    };
    let mut rows = vec![of(BROKEN, body_double_close::app)];
    rows.extend(body_double_close::near_misses::ALL.iter().map(|&(name, app)| of(name, app)));
    rows.push(of(FIXED, body_double_close_fixed::app));
    rows
}

fn swallowed_panic() -> Vec<Row> {
    let of = |name, app: swallowed_panic::near_misses::App| {
        let tenant = || Arc::new(|_: &axum::http::HeaderMap| Some("acme".to_owned()));
        let subject =
            Subject::app(move |routes| app(routes, tenant(), Arc::<AtomicI64>::default(), unbounded_channel().0));
        Row::new("swallowed-panic", name, "app(routes, tenant, in_flight, access_log)", subject)
            .touches("request header x-tenant")
            .touches("response header access-control-allow-origin")
            .changes("methods-pass", "CorsLayer answers every OPTIONS itself (tower-rs/tower-http#497: intended)")
    };
    let mut rows = vec![of(BROKEN, swallowed_panic::app)];
    rows.extend(swallowed_panic::near_misses::ALL.iter().map(|&(name, app)| of(name, app)));
    rows.push(of(FIXED, swallowed_panic_fixed::app));
    rows
}
