//! What a specification is to whoever judges and serves apps without knowing which ghost it is.

use axum::Router;

use crate::{Asked, Limits, Report};

/// One ghost, as its specification knows it.
pub trait Ghost {
    /// The slug.
    const SLUG: &'static str;
    /// What makes the app: the type of its constructor, a function pointer.
    type App: Copy + Send + Sync + 'static;
    /// The believable surroundings in which the app is served.
    type StandIns;
    /// Every status, order, header, unit and limit that is demanded beside the promises' own sentences: *What is asked* on
    /// the exercise's page.
    const ASKED: &'static [Asked] = &[];

    /// Holds the app against every promise.
    fn judge(app: Self::App, limits: Limits<'_>) -> Report;

    /// The surroundings. Called inside a runtime.
    fn stand_ins() -> Self::StandIns;

    /// The app in surroundings: those of [`stand_ins`](Self::stand_ins), or others that take a part's place, such as a real
    /// database.
    fn serve(app: Self::App, stand_ins: Self::StandIns) -> Router;
}
