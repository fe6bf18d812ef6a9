fn log_panic(span: &Span, payload: &(dyn Any + Send)) {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    error!(parent: span, panic = text, "the request panicked");
}
