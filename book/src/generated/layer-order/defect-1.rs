routes
    .layer(from_fn_with_state(Arc::<AtomicU64>::default(), identify))
    .layer(CatchPanicLayer::new())
    // ①
    .layer(from_fn_with_state(access_log, log_access))
    .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, budget))
    .layer(from_fn_with_state(quota, admit))
    .layer(cors)
    // ②
    .layer(from_fn_with_state(identity, authenticate))
    .layer(from_fn_with_state(limit, bound))
    // ③
    .layer(from_fn_with_state(audit, record))
