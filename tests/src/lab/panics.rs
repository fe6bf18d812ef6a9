//! The one panic hook. It writes the panics of a promise's thread into that promise's scene, and leaves all others to the
//! hook that was there before.

use std::{
    cell::RefCell,
    panic::{self, Location, PanicHookInfo},
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::scene::Stage;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

static BEFORE: OnceLock<Hook> = OnceLock::new();
/// Specifications that change something process-wide hold the write side, all others the read side.
static ALONE: RwLock<()> = RwLock::new(());

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Held while one specification is judged.
pub(super) enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

pub(super) fn take_turn(alone: bool) -> Turn {
    if alone {
        Turn::Alone { _guard: ALONE.write().unwrap_or_else(PoisonError::into_inner) }
    } else {
        Turn::Shared { _guard: ALONE.read().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// Makes ours the process's hook. Called before each promise: an app under test may have put its own in the place.
pub(super) fn own_the_hook() {
    if BEFORE.get().is_none() {
        let before = panic::take_hook();
        // Two threads may both come here; the second one's `before` is then ours, and is dropped.
        let _ = BEFORE.set(before);
    }
    panic::set_hook(Box::new(hook));
}

/// Sends the panics of this thread to `stage`, until the next call.
pub(super) fn watch(stage: Option<Stage>) {
    STAGE.with(|watched| *watched.borrow_mut() = stage);
}

fn hook(info: &PanicHookInfo<'_>) {
    let stage = STAGE.try_with(|watched| watched.borrow().clone()).ok().flatten();
    match (stage, BEFORE.get()) {
        (Some(stage), _) => stage.panicked(info.location().map(site).unwrap_or(Site::App("an unknown place".into()))),
        (None, Some(before)) => before(info),
        (None, None) => {}
    }
}

/// Where a panic came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// The specification made it on purpose.
    Arranged,
    /// The app under test, or a library that it called: file and line, the same on every machine.
    App(String),
}

fn site(location: &Location<'_>) -> Site {
    let file = location.file().replace('\\', "/");
    // This crate's own files, however cargo was told to name them.
    let here = file!().replace('\\', "/");
    let own = here.trim_end_matches("lab/panics.rs");
    if file.starts_with(own) {
        return Site::Arranged;
    }
    let short = match file.split_once("/registry/src/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, path)| path),
        None if file.starts_with("/rustc/") => "the standard library",
        None => file.strip_prefix(&root()).unwrap_or(&file),
    };
    Site::App(format!("{short}:{}", location.line()))
}

/// The folder of the workspace, with a slash at its end.
fn root() -> String {
    env!("CARGO_MANIFEST_DIR").replace('\\', "/").trim_end_matches("tests").to_owned()
}
