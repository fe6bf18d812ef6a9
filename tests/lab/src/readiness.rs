//! What the contract of `Service` says of being asked twice.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use tower::Service;

use super::scene::Broken;

/// Waits until the service is ready, and asks once more: once `Ready`, it stays so until it is called.
///
/// # Errors
/// The breach, if the second answer is that it is not ready. Within it the service's own error, at whichever answer it came.
pub async fn ready_twice<S, Request>(service: &mut S) -> Result<Result<(), S::Error>, Broken>
where
    S: Service<Request>,
{
    if let Err(error) = poll_fn(|cx| service.poll_ready(cx)).await {
        return Ok(Err(error));
    }
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(again) => Ok(again),
        Poll::Pending => {
            Err(Broken::because("the service said that it is ready, was asked again, and is not ready any more"))
        }
    }
}
