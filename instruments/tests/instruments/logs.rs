use std::time::Duration;

use instruments::{
    Logs,
    logs::{KEPT, MOST_BYTES},
};
use tokio::time::advance;
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;

fn collecting(logs: &Logs) -> tracing::subscriber::DefaultGuard {
    tracing::subscriber::set_default(tracing_subscriber::registry().with(logs.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_line_is_an_object_with_its_secrets_hidden() {
    let logs = Logs::new();
    let _guard = collecting(&logs);
    advance(Duration::from_millis(40)).await;
    let error = std::io::Error::other("postgres://app:hunter2@db is gone");
    tracing::warn!(target: "shop", parcel = 7, share = 0.5, first = true, %error, api_key = "k-1", "two\nlines");
    tracing::debug!("not kept");
    let expected = r#"{"api_key":"[redacted]","error":"postgres://[redacted]@db is gone","first":true,"level":"WARN","message":"two\nlines","ms":40,"parcel":7,"share":0.5,"target":"shop"}"#;
    assert_eq!(logs.text(), format!("{expected}\n"));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_or_too_much_is_gone() {
    let logs = Logs::new().level(Level::DEBUG);
    let _guard = collecting(&logs);
    tracing::debug!("old");
    advance(KEPT).await;
    tracing::info!("young");
    assert_eq!(logs.text().lines().count(), 2);
    advance(Duration::from_millis(1)).await;
    assert_eq!(logs.text().lines().count(), 1);
    for _ in 0..3_000 {
        tracing::info!("{}", "ä".repeat(5_000));
    }
    let text = logs.text();
    assert!(text.len() <= MOST_BYTES && text.len() > MOST_BYTES - 5_000, "{}", text.len());
    assert!(text.lines().all(|line| line.contains("ä…\"") && line.len() < 4_200), "a value is cut");
    advance(2 * KEPT).await;
    assert_eq!(logs.text(), "");
}
