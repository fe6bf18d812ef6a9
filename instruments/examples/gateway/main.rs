//! A small gateway with all instruments at work: four layers, a pool, a breaker. `cargo run -p instruments --features prometheus
//! --example gateway`, and then
//!
//! ```console
//! $ curl http://127.0.0.1:3000/parcels/7
//! $ curl http://127.0.0.1:3000/metrics
//! $ curl -H "authorization: Bearer $INSTRUMENTS_TOKEN" http://127.0.0.1:3000/debug/tasks
//! ```
//!
//! | variable | what it does |
//! |---|---|
//! | `INSTRUMENTS_TOKEN` | turns the status pages on |
//! | `INSTRUMENTS_FAULTS` | names a rule file, and turns the fault layer on |
//! | `GATEWAY_LEAKS` | a notification never ends: the leak that the difference of two snapshots finds |
//! | `GATEWAY_LISTENS` | an address other than 127.0.0.1:3000 |

mod app;

use std::{env, error::Error, net::SocketAddr};

use instruments::{Bundles, Faults, Logs, Status, Tasks, prometheus::Metrics};
use tokio::net::TcpListener;
use tracing_subscriber::{fmt, layer::SubscriberExt, util::SubscriberInitExt};

use app::{Gateway, Parts};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let logs = Logs::new();
    tracing_subscriber::registry()
        .with(logs.clone())
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(fmt::layer())
        .init();
    let tasks = Tasks::new();
    let metrics = Metrics::install()?.tasks(&tasks);
    let parts = Parts::new(tasks, Faults::from_env()?, env::var_os("GATEWAY_LEAKS").is_some());
    let text = metrics.clone();
    let bundles = Bundles::new("bundles")
        .version("gateway", env!("CARGO_PKG_VERSION"))
        .metrics(move || text.text())
        .tasks(&parts.tasks)
        .chain(&parts.chain)
        .heat(&parts.heat)
        .logs(&logs);
    let status = Status::from_env()?.bundles(&bundles);
    let gateway = Gateway::new(parts.clone(), &bundles);
    let app = gateway.router(status).merge(metrics.clone().router());

    parts.tasks.spawn("watch the rules", parts.faults.clone().watch());
    parts.tasks.spawn("watch for incidents", bundles.watch());
    parts.tasks.spawn("upkeep of the metrics", metrics.upkeep());
    let address = env::var("GATEWAY_LISTENS").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
