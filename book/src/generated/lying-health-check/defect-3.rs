/// Passes an order on to the database.
async fn orders(State(shop): State<Shop>, order: Request) -> Response {
    let Some(_connection) = shop.database.connect().await else {
        return DOWN.into_response();
    };
    let answer = shop.database.ask(order).await;
    if answer.status().is_server_error() { DOWN.into_response() } else { answer }
}
