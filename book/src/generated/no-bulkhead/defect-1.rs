/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`. An order waits for a place for at most `wait`. `GET /livez` tells who is in.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, wait: Duration) -> Router {
    let door = Door { places: Arc::new(Places::new(places, share)), freed: Arc::new(Notify::new()), wait };
    let orders = orders.layer(from_fn_with_state((door.clone(), Class::Order), in_a_place));
    let reports = reports.layer(from_fn_with_state((door.clone(), Class::Report), in_a_place));
    // ①
    let reports = reports.layer(ConcurrencyLimitLayer::new(share));
    Router::new().nest("/orders", orders).nest("/admin", reports).route("/livez", get(livez).with_state(door))
}

/// Where requests get their places.
#[derive(Clone)]
struct Door {
    places: Arc<Places>,
    /// Told whenever a place is given back.
    freed: Arc<Notify>,
    wait: Duration,
}
