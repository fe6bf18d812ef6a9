//! The specification of `{slug}`: one sentence on what must not happen.

use std::sync::Arc;

use axum::{Router, body::Body, http::Request};

use lab::{Asked, Ghost, Lab, Limits, Proof, Protocol, Report, Specification};

/// Makes the app under test.
pub type App = Arc<dyn Fn() -> Router + Send + Sync>;

const SAYS_BOO: Asked = Asked::new("says-boo", "A request is answered with boo.");

/// Holds `app` against every promise.
pub fn check(app: impl Fn() -> Router + Send + Sync + 'static) -> Report {
    judge(Arc::new(app), Limits::default())
}

/// Like [`check`], with limits of the caller's.
pub fn judge(app: App, limits: Limits<'_>) -> Report {
    Specification::of(Spec::SLUG, app).promise(SAYS_BOO, says_boo).judge(limits)
}

/// The ghost, for whoever does not know which it is.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl Ghost for Spec {
    const SLUG: &'static str = "{slug}";
    type App = fn() -> Router;
    type StandIns = ();
    /// What is demanded beside the promises' sentences: nothing, as yet.
    const ASKED: &'static [Asked] = &[];

    fn judge(app: Self::App, limits: Limits<'_>) -> Report {
        judge(Arc::new(app), limits)
    }

    /// Believable surroundings for `serve`: none, as yet.
    fn stand_ins() -> Self::StandIns {}

    fn serve(app: Self::App, (): Self::StandIns) -> Router {
        app()
    }
}

async fn says_boo(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let scene = lab.scene(protocol.to_string());
        let client = scene.serve(app()).connect("client", protocol).await;
        let request = Request::get("/").body(Body::empty()).expect("a request that never changes");
        let said = client.send(request).await?.read().await.text();
        SAYS_BOO.require(said == "boo", format!("expected boo, and it said {said}"))?;
    }
    Ok(())
}
