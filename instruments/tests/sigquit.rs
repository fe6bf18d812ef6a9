//! A bundle on SIGQUIT. A process of its own: every watcher of the process gets the signal.

#![cfg(unix)]

use std::{fs, path::Path, sync::Arc};

use instruments::{Bundles, bundle};
use tokio::sync::Notify;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Tells when a bundle was taken, or not.
struct Told(Arc<Notify>);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "instruments::bundle" {
            self.0.notify_one();
        }
    }
}

#[tokio::test]
async fn sigquit_takes_a_bundle_and_the_process_goes_on() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sigquit");
    let _ = fs::remove_dir_all(&folder);
    let told = Arc::new(Notify::new());
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(Told(told.clone())));
    let bundles = Bundles::new(&folder);
    tokio::spawn(bundles.clone().watch());
    // The handler is there once the task has been polled.
    tokio::task::yield_now().await;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::QUIT).expect("it's our own");
    told.notified().await;
    let taken = bundles.list().expect("the folder can be read");
    let parts = bundle::read(fs::File::open(&taken[0]).expect("it is there")).expect("it is whole");
    let manifest = String::from_utf8_lossy(&parts[0].bytes).into_owned();
    assert!(manifest.contains(r#""reason":"sigquit""#), "{manifest}");
    fs::remove_dir_all(&folder).expect("it is ours");
}
