/// Checks out in the future that the deadline drops: the charge is the last step.
async fn place_order(
    State(shop): State<Shop>,
    Extension(settlement): Extension<Arc<Settlement>>,
    Extension(deadline): Extension<Instant>,
    Path(order): Path<String>,
    uri: Uri,
) -> Result<String, StatusCode> {
    // ①
    shop.check_out(order, uri, settlement, deadline).await
}
