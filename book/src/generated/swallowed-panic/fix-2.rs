impl HttpBody for RecoveredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = || Pin::new(&mut self.inner).poll_frame(cx);
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|payload| {
            log_panic(&self.span, &*payload);
            // ③
            Poll::Ready(Some(Err(axum::Error::new("the body panicked"))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
