/// Checks out in a task of its own, so that a client who hangs up does not interrupt a payment halfway.
async fn place_order(
    State(shop): State<Shop>,
    Extension(settlement): Extension<Arc<Settlement>>,
    Path(order): Path<String>,
    uri: Uri,
) -> Result<String, StatusCode> {
    // ②
    let checkout = tokio::spawn(shop.check_out(order, uri, settlement));
    checkout.await.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR))
}
