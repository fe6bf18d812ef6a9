/// Registers a visit, and how it ended.
async fn attend(State(room): State<Room>, request: Request, next: Next) -> Result<Response, StatusCode> {
    if is_preflight(&request) {
        return Ok(allow());
    }
    let id = request.headers().get("x-request-id").cloned().unwrap_or(HeaderValue::from_static("unknown"));
    // ①
    let visit = Visit::open(&room, &id);

    // ②
    authenticate(&request)?;
    measure(&request, room.limit)?;
    // ③
    let answer = timeout(room.budget, next.run(request)).await;
    let mut response = answer.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;

    // ④
    visit.close(response.status());
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response.headers_mut().insert("x-request-id", id);
    Ok(response)
}
