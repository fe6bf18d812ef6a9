/// Keeps a panic from the connection: it becomes an ERROR event and a 500 without details.
async fn recover(request: Request, next: Next) -> Response {
    let span = Span::current();
    // ①
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = outcome.unwrap_or_else(|payload| {
        log_panic(&span, &*payload);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    response.map(|inner| Body::new(RecoveredBody { inner, span }))
}

/// A body whose panic is an error, so that no client takes half an answer for a whole one.
struct RecoveredBody {
    inner: Body,
    /// The span of the request, because the connection polls a body outside of it.
    // ②
    span: Span,
}
