/// A message that came to nothing, with all that support may want to know of it.
enum Incident {
    // ①
    Refused(StatusCode, Request),
    Failed(Uri, Response<Incoming>),
}

/// The support page: a line for each incident, the latest first.
async fn incidents(State(gate): State<Gate>) -> String {
    let line = |incident: &Incident| match incident {
        Incident::Refused(status, request) => format!("{} {}\n", status.as_u16(), request.uri().path()),
        Incident::Failed(asked, answer) => format!("502 {asked}: the store says {}\n", answer.status()),
    };
    gate.incidents.lock().expect("nobody panics with it").iter().map(line).collect()
}

async fn upload(State(gate): State<Gate>, request: Request) -> Response {
    if let Err(status) = admit(request.headers()) {
        gate.report(Incident::Refused(status, request));
        return status.into_response();
    }
    gate.relay(Request::post("/upload"), request.into_body()).await
}
