//! Which promise, and which of its scenes, this thread works for: what the panic hook and the log collector ask.

use std::cell::{Cell, RefCell};

use tracing::dispatcher::DefaultGuard;

use super::{logs, scene::Stage};

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
    static SCENE: Cell<Option<usize>> = const { Cell::new(None) };
    static LENT: RefCell<Option<Attended>> = const { RefCell::new(None) };
}

/// While it lives, the panics and the log lines of its thread go to a stage.
pub(super) struct Attended {
    before: Option<Stage>,
    _logs: DefaultGuard,
}

/// Sends the panics and the log lines of this thread to `stage`.
pub(super) fn attend(stage: Stage) -> Attended {
    let before = STAGE.with(|attended| attended.replace(Some(stage)));
    Attended { before, _logs: logs::collect() }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let before = self.before.take();
        // The thread may be at its end, and the slot gone.
        let _ = STAGE.try_with(|attended| attended.replace(before));
    }
}

/// Like [`attend`], until [`dismiss`]: for threads that begin and end in callbacks.
pub(super) fn lend(stage: Stage) {
    let attended = attend(stage);
    LENT.with(|lent| *lent.borrow_mut() = Some(attended));
}

/// Ends what [`lend`] began.
pub(super) fn dismiss() {
    let attended = LENT.with(|lent| lent.borrow_mut().take());
    drop(attended);
}

/// The stage of the promise that this thread works for.
pub(super) fn stage_of_this_thread() -> Option<Stage> {
    STAGE.try_with(|attended| attended.borrow().clone()).ok().flatten()
}

/// Does some work of the scene with this number.
pub(super) fn in_scene<T>(number: usize, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = SCENE.try_with(|scene| scene.set(self.0));
        }
    }
    // Also when the work panics.
    let _restore = Restore(SCENE.try_with(|scene| scene.replace(Some(number))).ok().flatten());
    work()
}

/// The number of the scene whose task this thread is polling or dropping; `None` if the task is the app's own.
pub(super) fn scene_of_this_task() -> Option<usize> {
    SCENE.try_with(Cell::get).ok().flatten()
}
