/// The head of a message that came to nothing: all that support may want to know of it.
enum Incident {
    Refused(StatusCode, request::Parts),
    Failed(Uri, response::Parts),
}

/// The support page: a line for each incident, the latest first.
async fn incidents(State(gate): State<Gate>) -> String {
    let line = |incident: &Incident| match incident {
        Incident::Refused(status, head) => format!("{} {}\n", status.as_u16(), head.uri.path()),
        Incident::Failed(asked, head) => format!("502 {asked}: the store says {}\n", head.status),
    };
    gate.incidents.lock().expect("nobody panics with it").iter().map(line).collect()
}

async fn upload(State(gate): State<Gate>, request: Request) -> Response {
    if let Err(status) = admit(request.headers()) {
        // ①
        let (head, _unread) = request.into_parts();
        gate.report(Incident::Refused(status, head));
        return status.into_response();
    }
    gate.relay(Request::post("/upload"), request.into_body()).await
}
