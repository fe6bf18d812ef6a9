//! The metrics as Prometheus reads them, for a service that has no exporter yet. Behind the feature `prometheus`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use instruments::{Observe, Tasks, prometheus::Metrics};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let metrics = Metrics::install().expect("no other recorder is installed").tasks(&Tasks::new());
//! let app: Router = Router::new()
//!     .route("/parcels/{id}", get(async || "on its way"))
//!     .layer(Observe::new())
//!     .merge(metrics.router());
//! # let _ = app;
//! # }
//! ```
//!
//! It is [`metrics_exporter_prometheus`] with buckets for what is in seconds, which the rules of [`Alerts`](crate::Alerts) need: by
//! default that crate makes summaries, and a quantile of those cannot be summed up. It keeps each value until it is next read, so
//! `/metrics` has to be scraped, or [`Metrics::upkeep`] spawned; without either, memory grows with the number of requests.

use std::{fmt, time::Duration};

use axum::{Router, routing::get};
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;

use crate::Tasks;

/// The bounds of the buckets, in seconds.
pub const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];
const UPKEEP: Duration = Duration::from_secs(5);

/// The installed recorder.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    tasks: Option<Tasks>,
}

impl Metrics {
    /// Installs the recorder of the process. It has to be there before the first request.
    ///
    /// # Errors
    ///
    /// Where another recorder is installed.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        Ok(Self { handle, tasks: None })
    }

    /// Tells the number of these tasks, too.
    pub fn tasks(mut self, tasks: &Tasks) -> Self {
        self.tasks = Some(tasks.clone());
        self
    }

    /// What is answered to a scrape.
    pub fn text(&self) -> String {
        if let Some(tasks) = &self.tasks {
            tasks.publish();
        }
        if let Ok(runtime) = Handle::try_current() {
            let runtime = runtime.metrics();
            metrics::describe_gauge!("tokio_workers", "Threads of the runtime.");
            metrics::describe_gauge!("tokio_tasks_alive", "Tasks of the runtime that have not ended, named or not.");
            metrics::describe_gauge!("tokio_global_queue_depth", "Tasks that wait for any thread to run them.");
            metrics::gauge!("tokio_workers").set(runtime.num_workers() as f64);
            metrics::gauge!("tokio_tasks_alive").set(runtime.num_alive_tasks() as f64);
            metrics::gauge!("tokio_global_queue_depth").set(runtime.global_queue_depth() as f64);
        }
        self.handle.render()
    }

    /// The route `/metrics`.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let page = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], self.text());
        Router::new().route("/metrics", get(page))
    }

    /// Empties the buffers of the recorder every 5 s, for ever. Spawn it where `/metrics` may not be scraped for long.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.handle.run_upkeep();
        }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
