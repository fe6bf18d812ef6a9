/// Answers 504 once the time is up that the client, or else `limit`, allows.
async fn within_budget(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let deadline = Instant::now() + granted(request.headers(), limit);
    let settlement = Arc::new(Settlement::new());
    request.extensions_mut().insert(Arc::clone(&settlement));
    // ②
    request.extensions_mut().insert(deadline);
    let mut answer = pin!(next.run(request));
    if let Ok(answer) = timeout_at(deadline, &mut answer).await {
        return answer;
    }
    if !settlement.expire() {
        // The charge was quicker by a hair, so the receipt is all but there.
        return answer.await;
    }
    warn!("the deadline has passed");
    StatusCode::GATEWAY_TIMEOUT.into_response()
}
