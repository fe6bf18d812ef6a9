//! The one panic hook. It takes the panics of a promise's threads down in that promise's scene, and leaves all others to the
//! hook that was there before.
//!
//! Where a specification is judged alone, the app may have a hook of its own. Ours is then put in front of it and calls it, so
//! that a hook which was set once, in the first promise, is heard in all, and one that each app sets anew does not pile up.

use std::{
    cell::Cell,
    mem,
    panic::{self, Location, PanicHookInfo},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{attendance, child};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// The hook that was there before ours, while ours is there.
static BEFORE: RwLock<Option<Hook>> = RwLock::new(None);
/// The hook of the app under test, while ours is in front of it.
static APPS: RwLock<Option<Hook>> = RwLock::new(None);
/// How ours is known when it is met again.
static OURS: Mutex<Option<Known>> = Mutex::new(None);
/// How many specifications are being judged.
static JUDGING: Mutex<usize> = Mutex::new(0);
/// Specifications that change something process-wide hold the write side, all others the read side.
static ALONE: RwLock<()> = RwLock::new(());

thread_local! {
    /// Whether a specification is being judged on behalf of this thread.
    static HAS_A_TURN: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is in the app's hook, called by ours: the app's may go on to ours, which it found there before.
    static IN_THE_APPS: Cell<bool> = const { Cell::new(false) };
}
/// The apps of ours that misbehave are apps all the same.
const HOSTILE: &str = "src/hostile.rs";

/// The thread on which the package `model` explores.
const EXPLORATION: &str = "loom";

/// Held while one specification is judged. The last one to end puts the hook back that was there before the first.
pub(super) struct Turn {
    alone: Alone,
}

enum Alone {
    /// A judgement within another one, on the same thread.
    Within,
    No {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Yes {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

pub(super) fn take_turn(alone: bool) -> Turn {
    let alone = if HAS_A_TURN.get() {
        Alone::Within
    } else if alone {
        Alone::Yes { _guard: ALONE.write().unwrap_or_else(PoisonError::into_inner) }
    } else {
        Alone::No { _guard: ALONE.read().unwrap_or_else(PoisonError::into_inner) }
    };
    let mut judging = JUDGING.lock().unwrap_or_else(PoisonError::into_inner);
    if *judging == 0 {
        // Never with our lock held: a thread in its hook holds std's lock and waits for ours.
        let before = panic::take_hook();
        // Ours is still there where a turn ended in a panic.
        BEFORE.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(before);
        own_the_hook();
    }
    *judging += 1;
    HAS_A_TURN.set(true);
    Turn { alone }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !matches!(self.alone, Alone::Within) {
            HAS_A_TURN.set(false);
        }
        let mut judging = JUDGING.lock().unwrap_or_else(PoisonError::into_inner);
        *judging -= 1;
        // A hook cannot be set while the thread panics.
        if *judging > 0 || thread::panicking() {
            return;
        }
        drop(panic::take_hook());
        put_away(&APPS, None);
        let before = BEFORE.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            panic::set_hook(before);
        }
    }
}

/// Panics on behalf of the specification: the panic is not counted against the app under test. What panics in the source of
/// `lab` or of a specification beside it needs no such word; one elsewhere does.
///
/// # Panics
/// With `message`, always.
pub fn arranged_panic(message: impl Into<String>) -> ! {
    panic!("{}", message.into())
}

/// Makes ours the process's hook, in the place of any other. Called before each promise of a specification that others may be
/// judged beside.
pub(super) fn own_the_hook() {
    let gone = Arc::new(AtomicBool::new(false));
    let held = Held { gone: gone.clone() };
    let ours: Hook = Box::new(move |info| hook(&held, info));
    *OURS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known { place: place(&ours), gone });
    panic::set_hook(ours);
}

/// Puts ours in front of a hook that the app under test has set since the last call, and forgets the app's that was there
/// before. Called when a scene begins and when its app has been made, in a specification that is judged alone.
pub(super) fn adopt_the_apps_hook() {
    let found = panic::take_hook();
    let known = OURS.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|ours| ours.is(&found));
    if known {
        panic::set_hook(found);
    } else {
        put_away(&APPS, Some(found));
        own_the_hook();
    }
}

/// Puts `new` in the place of a hook, which is dropped when nothing is locked any more.
fn put_away(place: &RwLock<Option<Hook>>, new: Option<Hook>) {
    let old = mem::replace(&mut *place.write().unwrap_or_else(PoisonError::into_inner), new);
    drop(old);
}

/// What our hook holds. It has a size, so that the hook has a place in memory that no other has while it is there.
struct Held {
    gone: Arc<AtomicBool>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

/// Where ours is, and whether it still is.
struct Known {
    place: usize,
    gone: Arc<AtomicBool>,
}

impl Known {
    fn is(&self, hook: &Hook) -> bool {
        !self.gone.load(Ordering::SeqCst) && self.place == place(hook)
    }
}

fn place(hook: &Hook) -> usize {
    (&raw const **hook).cast::<()>().addr()
}

fn hook(_: &Held, info: &PanicHookInfo<'_>) {
    let stage = attendance::stage_of_this_thread();
    let again = IN_THE_APPS.try_with(Cell::get).unwrap_or(false);
    if let Some(stage) = stage.as_ref().filter(|_| !again) {
        let site = info.location().map_or_else(|| Site::App("an unknown place".to_owned()), site);
        if matches!(site, Site::App(_)) {
            child::hear(info);
        }
        stage.panicked(site);
    }
    if !again && let Some(apps) = &*APPS.read().unwrap_or_else(PoisonError::into_inner) {
        let _ = IN_THE_APPS.try_with(|within| within.set(true));
        apps(info);
        let _ = IN_THE_APPS.try_with(|within| within.set(false));
    } else if stage.is_some() {
        // It is in the transcript, and on standard error in a child only, where it is kept for whoever has started that.
    } else if thread::current().name() == Some(EXPLORATION) {
        // loom ends its threads with panics, hundreds in one exploration; the package `model` tells the one that counts.
    } else if let Some(before) = &*BEFORE.read().unwrap_or_else(PoisonError::into_inner) {
        before(info);
    }
}

/// Where a panic came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// The specification made it, as a rule on purpose: file and line in `tests`.
    Arranged(String),
    /// The app under test, or a library that it called: file and line, the same on every machine.
    App(String),
}

fn site(location: &Location<'_>) -> Site {
    let place = |file: &str| format!("{file}:{}", location.line());
    let file = location.file().replace('\\', "/");
    // The files of this crate and of the specifications, however cargo named them to the compiler.
    let here = file!().replace('\\', "/");
    let own = here.trim_end_matches("lab/src/panics.rs");
    let source =
        |path: &&str| path.split_once('/').is_some_and(|(_, path)| path.starts_with("src/") && path != HOSTILE);
    if let Some(path) = file.strip_prefix(own).filter(source) {
        return Site::Arranged(place(&format!("tests/{path}")));
    }
    if file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/") {
        // Its lines differ between compilers.
        return Site::App("a place in the standard library".to_owned());
    }
    Site::App(place(short(&file, &root())))
}

/// The path without what differs between machines: the folders above the workspace, the registry's, the compiler's.
fn short<'a>(file: &'a str, root: &str) -> &'a str {
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        return rest.split_once('/').map_or(rest, |(_, path)| path);
    }
    if let Some(path) = file.strip_prefix(root) {
        return path;
    }
    let absolute = file.starts_with('/') || file.get(1..3) == Some(":/");
    match file.rfind("/src/").filter(|_| absolute) {
        // A package outside the workspace: its folder, and the path in it.
        Some(src) => &file[file[..src].rfind('/').map_or(0, |slash| slash + 1)..],
        None if absolute => file.rsplit_once('/').map_or(file, |(_, name)| name),
        None => file,
    }
}

/// The folder of the workspace, with a slash at its end.
fn root() -> String {
    env!("CARGO_MANIFEST_DIR").replace('\\', "/").trim_end_matches("tests/lab").to_owned()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_place_is_the_same_on_every_machine() {
        let root = "/home/ada/ghosts/";
        for (file, told) in [
            ("cases/hidden-flush/src/lib.rs", "cases/hidden-flush/src/lib.rs"),
            ("hidden-flush/src/lib.rs", "hidden-flush/src/lib.rs"),
            ("/home/ada/ghosts/fixed/hidden-flush/src/lib.rs", "fixed/hidden-flush/src/lib.rs"),
            (
                "/home/ada/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/hyper-1.12.0/src/lib.rs",
                "hyper-1.12.0/src/lib.rs",
            ),
            ("/home/ada/elsewhere/shop/src/pay/mod.rs", "shop/src/pay/mod.rs"),
            ("C:/code/shop/src/lib.rs", "shop/src/lib.rs"),
            ("/home/ada/script.rs", "script.rs"),
            ("/src/lib.rs", "src/lib.rs"),
        ] {
            assert_eq!(short(file, root).trim_start_matches('/'), told);
        }
    }
}
