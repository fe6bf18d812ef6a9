async fn hold_lease(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let Some(document) = written(&request) else { return next.run(request).await };
    // ①
    let held = Held { lease: Lease::new(desk, document), runtime: Handle::current() };
    match held.lease.ask(Method::PUT).await {
        StatusCode::CREATED => {}
        StatusCode::LOCKED => return StatusCode::LOCKED.into_response(),
        _ => return StatusCode::BAD_GATEWAY.into_response(),
    }
    next.run(request).await
}

/// Gives the lease back when it is dropped, also one that the lock service has not granted: that does no harm.
struct Held {
    lease: Lease,
    runtime: Handle,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The lease brings its clone of `drain` into the task.
        // ②
        self.runtime.spawn(self.lease.clone().give_back());
    }
}
