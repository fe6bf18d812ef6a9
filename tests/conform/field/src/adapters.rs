//! What some layers need before they can be put round a service.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use axum::body::Body;
use axum_login::{AuthUser, AuthnBackend};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A body that is `Sync`, as tower-http-cache wants it; axum's is not.
pub struct Synced(Mutex<Body>);

impl Synced {
    /// The same body.
    pub fn new(body: Body) -> Self {
        Self(Mutex::new(body))
    }
}

impl http_body::Body for Synced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = self.get_mut().0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_ok_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().map(|body| body.size_hint()).unwrap_or_default()
    }
}

/// Nobody is logged in.
#[derive(Clone, Debug)]
pub struct Backend;

/// Somebody; there is nobody.
#[derive(Clone, Debug)]
pub struct Somebody;

impl AuthUser for Somebody {
    type Id = u32;

    fn id(&self) -> u32 {
        0
    }

    fn session_auth_hash(&self) -> &[u8] {
        b""
    }
}

impl AuthnBackend for Backend {
    type User = Somebody;
    type Credentials = ();
    type Error = Infallible;

    async fn authenticate(&self, (): ()) -> Result<Option<Somebody>, Infallible> {
        Ok(None)
    }

    async fn get_user(&self, _: &u32) -> Result<Option<Somebody>, Infallible> {
        Ok(None)
    }
}
