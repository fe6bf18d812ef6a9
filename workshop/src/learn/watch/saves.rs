//! Which file events are saves, and when a burst of them is over.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind},
};

use crate::learn::exercise::Exercise;

/// An editor writes, renames and removes several files for one save; after such a pause it is done.
const PAUSE: Duration = Duration::from_millis(80);
/// A burst that does not end is judged all the same.
const LONGEST: Duration = Duration::from_millis(800);

/// What has happened to an exercise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// One of its files was saved.
    Saved,
    /// Its folder, or that of all exercises, came or went.
    Folder,
}

/// Watches an exercise, whether it is there or not, until it is dropped.
///
/// A folder that has come back is another one for the system: after a [`Change::Folder`] a new watcher is needed.
pub(super) fn watcher(
    exercise: &Exercise<'_>,
    tell: impl Fn(Change) + Send + 'static,
) -> notify::Result<RecommendedWatcher> {
    let (exercises, folder) = (exercise.checkout.exercises(), exercise.folder());
    let (all, one) = (exercises.clone(), folder.clone());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is one of a folder that has just gone, and its parent tells of that.
        if let Some(change) = event.ok().and_then(|event| change(&event, &all, &one)) {
            tell(change);
        }
    })?;
    watcher.watch(exercise.checkout.root(), RecursiveMode::NonRecursive)?;
    for (folder, mode) in [(&exercises, RecursiveMode::NonRecursive), (&folder, RecursiveMode::Recursive)] {
        if folder.exists() {
            watcher.watch(folder, mode)?;
        }
    }
    Ok(watcher)
}

fn change(event: &Event, exercises: &Path, exercise: &Path) -> Option<Change> {
    let came_or_went = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Any
    );
    if came_or_went && event.paths.iter().any(|path| path == exercises || path == exercise) {
        return Some(Change::Folder);
    }
    let mut inside = event.paths.iter().filter_map(|path| path.strip_prefix(exercise).ok());
    inside.any(|path| is_save(&event.kind, path)).then_some(Change::Saved)
}

/// Whether this event, at a path inside of the exercise, may change its verdict. What editors write beside the file that
/// they save (`.lib.rs.swp`, `lib.rs~`, `4913`, `#lib.rs#`) does not, nor does what a build writes.
fn is_save(kind: &EventKind, path: &Path) -> bool {
    let hidden = |part: &OsStr| part.to_string_lossy().starts_with(['.', '#']);
    if path.starts_with("target") || path.iter().any(hidden) {
        return false;
    }
    let of_a_folder = matches!(
        kind,
        EventKind::Create(CreateKind::Folder)
            | EventKind::Remove(RemoveKind::Folder)
            | EventKind::Modify(ModifyKind::Name(_))
    );
    let written = match kind {
        // A judgement reads the files: that is no save.
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        _ => true,
    };
    match path.extension().and_then(OsStr::to_str) {
        Some("rs" | "toml") => written,
        Some(_) => false,
        None => of_a_folder,
    }
}

/// A burst of saves, judged once, when it is over.
#[derive(Debug, Default)]
pub(super) struct Burst(Option<(Instant, Instant)>);

impl Burst {
    /// There was a save.
    pub(super) fn saved(&mut self, now: Instant) {
        let first = self.0.map_or(now, |(first, _)| first);
        self.0 = Some((first, now));
    }

    /// When it will be over if nothing more comes; `None` if there is none.
    pub(super) fn over_at(&self) -> Option<Instant> {
        self.0.map(|(first, last)| (last + PAUSE).min(first + LONGEST))
    }

    /// Whether it is over now; if so, it is forgotten.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let over = self.over_at().is_some_and(|at| at <= now);
        if over {
            self.0 = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, sync::mpsc};

    use notify::event::{DataChange, MetadataKind, RenameMode};

    use super::*;
    use crate::{catalogue::ghosts, checkout::Checkout};

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::Any));

    fn seen(kind: EventKind, path: &str) -> Option<Change> {
        let event = Event::new(kind).add_path(PathBuf::from(path));
        change(&event, Path::new("/clone/exercises"), Path::new("/clone/exercises/hidden-flush"))
    }

    #[test]
    fn a_source_or_manifest_written_or_renamed_is_a_save() {
        for path in ["src/lib.rs", "src/shared.rs", "Cargo.toml", "tests/holds.rs", "src/deep/er.rs"] {
            let path = format!("/clone/exercises/hidden-flush/{path}");
            for kind in [WRITTEN, RENAMED, EventKind::Create(CreateKind::File), EventKind::Remove(RemoveKind::File)] {
                assert_eq!(seen(kind, &path), Some(Change::Saved), "{kind:?} {path}");
            }
        }
    }

    #[test]
    fn what_editors_leave_beside_it_is_no_save() {
        let vim = ["src/.lib.rs.swp", "src/.lib.rs.swx", "src/4913", "src/lib.rs~"];
        let emacs = ["src/.#lib.rs", "src/#lib.rs#", "src/lib.rs~"];
        let others = ["src/lib.rs___jb_tmp___", "src/.goutputstream-X1Y2Z3", "src/lib.rs.bak", ".vscode/settings.json"];
        let builds = ["target/debug/build/x/out.rs", "Cargo.lock", ".kept/lib.rs"];
        for path in vim.iter().chain(&emacs).chain(&others).chain(&builds) {
            let path = format!("/clone/exercises/hidden-flush/{path}");
            for kind in [WRITTEN, EventKind::Create(CreateKind::File), EventKind::Remove(RemoveKind::File)] {
                assert_eq!(seen(kind, &path), None, "{kind:?} {path}");
            }
        }
    }

    #[test]
    fn a_judgement_that_reads_the_files_is_no_save() {
        let path = "/clone/exercises/hidden-flush/src/lib.rs";
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let touched = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        for kind in [opened, closed, touched] {
            assert_eq!(seen(kind, path), None, "{kind:?}");
        }
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(seen(written, path), Some(Change::Saved));
    }

    #[test]
    fn a_folder_that_comes_or_goes_is_told() {
        for path in ["/clone/exercises", "/clone/exercises/hidden-flush"] {
            for kind in [RENAMED, EventKind::Create(CreateKind::Folder), EventKind::Remove(RemoveKind::Folder)] {
                assert_eq!(seen(kind, path), Some(Change::Folder), "{kind:?} {path}");
            }
        }
        assert_eq!(seen(RENAMED, "/clone/exercises/hidden-flush/src"), Some(Change::Saved));
    }

    #[test]
    fn what_happens_elsewhere_is_nothing() {
        for path in
            ["/clone/exercises/progress.jsonl", "/clone/exercises/swallowed-panic/src/lib.rs", "/clone/README.md"]
        {
            assert_eq!(seen(WRITTEN, path), None, "{path}");
            assert_eq!(seen(EventKind::Create(CreateKind::Any), path), None, "{path}");
        }
    }

    #[test]
    fn a_burst_is_over_after_a_pause() {
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        let mut burst = Burst::default();
        assert_eq!(burst.over_at(), None);
        burst.saved(begin);
        burst.saved(after(50));
        assert!(!burst.take(after(100)), "it may go on");
        assert!(burst.take(after(130)), "80 ms after the last save");
        assert!(!burst.take(after(131)), "it was taken");
    }

    #[test]
    fn a_burst_without_an_end_is_taken_all_the_same() {
        let begin = Instant::now();
        let mut burst = Burst::default();
        for ms in (0..=800).step_by(10) {
            burst.saved(begin + Duration::from_millis(ms));
        }
        assert_eq!(burst.over_at(), Some(begin + LONGEST));
    }

    #[test]
    fn the_watcher_tells_of_a_save_by_renaming_and_of_a_folder_that_went() {
        let root = std::env::temp_dir().join(format!("ghosts-watcher-{}", std::process::id()));
        let source = root.join("exercises/hidden-flush/src");
        fs::create_dir_all(&source).expect("a folder of our own");
        let checkout = Checkout::at(root.canonicalize().expect("it is there"));
        let exercise = Exercise::of(&checkout, ghosts::find("hidden-flush").expect("a ghost"));
        let (tell, told) = mpsc::channel();
        let _watcher = watcher(&exercise, move |change| {
            // The test may have seen enough.
            let _ = tell.send(change);
        })
        .expect("file events");
        fs::write(source.join("lib.rs.new"), "// saved").expect("a file of our own");
        fs::rename(source.join("lib.rs.new"), source.join("lib.rs")).expect("a file of our own");
        assert_eq!(told.recv(), Ok(Change::Saved));
        fs::rename(exercise.folder(), checkout.path("exercises/moved")).expect("a folder of our own");
        assert!(told.iter().any(|change| change == Change::Folder));
        fs::remove_dir_all(&root).expect("a folder of our own");
    }
}
