async fn logged(State(lines): State<Arc<Lines>>, request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-").to_owned();
    // ①
    lines.write(format!("{id} begun\n")).await;
    let answer = next.run(request).await;
    lines.write(format!("{id} ended {}\n", answer.status().as_u16())).await;
    answer
}

/// The lines that wait, and what is told of them.
struct Lines {
    queue: Queue,
    came: Notify,
    room: Notify,
}
