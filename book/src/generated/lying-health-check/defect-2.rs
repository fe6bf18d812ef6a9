/// Checks the database once a period, until nobody wants to know any more.
async fn check_each_period(database: Database, period: Duration, verdict: watch::Sender<Health>) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !verdict.is_closed() {
        ticks.tick().await;
        // ②
        let answered = timeout(period / 2, database.ping()).await.unwrap_or(false);
        let health = if answered { UP } else { DOWN };
        if verdict.send_replace(health) != health {
            info!(health = health.status, "the health has changed");
        }
    }
}

/// Tells how the service is.
async fn readyz(State(shop): State<Shop>) -> Health {
    *shop.health.borrow()
}
