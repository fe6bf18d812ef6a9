async fn hold_lease(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let Some(document) = written(&request) else { return next.run(request).await };
    let lease = Lease::new(desk, document);
    // ①
    match lease.ask(Method::PUT).await {
        StatusCode::CREATED => {}
        StatusCode::LOCKED => return StatusCode::LOCKED.into_response(),
        _ => return StatusCode::BAD_GATEWAY.into_response(),
    }
    // ②
    let answer = next.run(request).await;
    // ③
    lease.give_back().await;
    answer
}
