/// Passes an order on to the database, unless the service is not ready, or ceases to be while the order waits.
async fn orders(State(mut shop): State<Shop>, order: Request) -> Response {
    let connection = select! {
        biased;
        // A checker that is gone ends the wait as well.
        // ④
        _ = shop.health.wait_for(|health| *health == DOWN) => None,
        connection = shop.database.connect() => connection,
    };
    let Some(_connection) = connection else {
        return DOWN.into_response();
    };
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
